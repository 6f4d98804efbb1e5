//! Sees in the bytes of an HTTP/2 connection whether part of a head is there:
//! the one thing that hyper does not tell, and that must not take for ever.

/// What a client begins with (RFC 9113, 3.4), in bytes.
const PREFACE_BYTES: u32 = 24;

/// Of a frame (RFC 9113, 4.1).
const HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the frames of a connection from its first byte.
pub(super) struct Heads {
    header: [u8; HEADER_BYTES],
    /// So many bytes of it are there.
    header_bytes: usize,
    /// So many bytes of the frame's payload (first: of the preface) are to come.
    payload_left: u32,
    has_begun: bool,
    /// The frame is part of a head.
    is_head: bool,
    /// More frames of the same head follow.
    goes_on: bool,
}

impl Heads {
    pub(super) fn new() -> Self {
        Self {
            header: [0; HEADER_BYTES],
            header_bytes: 0,
            payload_left: PREFACE_BYTES,
            has_begun: false,
            is_head: true,
            goes_on: false,
        }
    }

    /// Part of a head is there. The beginning of a frame counts as one, too.
    pub(super) fn is_within(&self) -> bool {
        self.has_begun
            && (self.goes_on || self.header_bytes > 0 || self.is_head && self.payload_left > 0)
    }

    /// More bytes have come. True if a head ended with one of them, so that what
    /// is there now is another one.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_ended = false;
        self.has_begun |= !bytes.is_empty();
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let count = bytes.len().min(self.payload_left as usize);
                bytes = &bytes[count..];
                self.payload_left -= u32::try_from(count).unwrap_or(self.payload_left);
            } else {
                self.header[self.header_bytes] = bytes[0];
                self.header_bytes += 1;
                bytes = &bytes[1..];
                if self.header_bytes < HEADER_BYTES {
                    continue;
                }
                let [a, b, c, kind, flags, ..] = self.header;
                self.header_bytes = 0;
                self.payload_left = u32::from_be_bytes([0, a, b, c]);
                self.is_head = matches!(kind, HEADERS | CONTINUATION);
                if self.is_head {
                    self.goes_on = flags & END_HEADERS == 0;
                }
            }
            has_ended |= !self.is_within();
        }
        has_ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).expect("it is short").to_be_bytes();
        let mut frame = [&length[1..], &[kind, flags, 0, 0, 0, 1]].concat();
        frame.resize(HEADER_BYTES + payload, 0);
        frame
    }

    #[test]
    fn a_head_is_there_from_its_first_byte_to_its_last() {
        let preface = vec![0; PREFACE_BYTES as usize];
        for (what, bytes, is_within) in [
            ("nothing", vec![], false),
            ("part of the preface", vec![0; 5], true),
            ("the preface", preface.clone(), false),
            ("a setting", [preface.clone(), frame(4, 0, 6)].concat(), false),
            ("the beginning of a frame", [preface.clone(), vec![0; 3]].concat(), true),
            ("a whole head", [preface.clone(), frame(1, 4, 20)].concat(), false),
            ("an empty one", [preface.clone(), frame(1, 4, 0)].concat(), false),
            ("part of one", [preface.clone(), frame(1, 4, 20)[..15].to_vec()].concat(), true),
            ("one that goes on", [preface.clone(), frame(1, 0, 20)].concat(), true),
            (
                "one that went on",
                [preface.clone(), frame(1, 0, 2), frame(9, 0, 0), frame(9, 4, 3)].concat(),
                false,
            ),
            ("part of a body", [preface, frame(0, 0, 20)[..15].to_vec()].concat(), false),
        ] {
            // However it is cut.
            for cut in 0..=bytes.len() {
                let mut heads = Heads::new();
                heads.see(&bytes[..cut]);
                heads.see(&bytes[cut..]);
                assert_eq!(heads.is_within(), is_within, "{what}, cut at {cut}");
            }
        }
    }

    #[test]
    fn one_head_after_another_is_not_one_that_takes_long() {
        let mut heads = Heads::new();
        heads.see(&[0; PREFACE_BYTES as usize]);
        let head = frame(1, 4, 20);
        assert!(!heads.see(&head[..10]));
        let next = [&head[10..], &head[..10]].concat();
        assert!(heads.see(&next) && heads.is_within());
    }
}
