//! What makes a payload accountable: the marker at its beginning.
//!
//! `@` and 46 hexadecimal digits, which neither JSON nor HTTP changes on the
//! way, so a receiver finds it without parsing what it is wrapped in. The rest
//! of a payload is dots.

/// Bytes of a marker.
pub const LEN: usize = 47;

/// Where each field begins, and how many digits it has.
const RUN: (usize, usize) = (1, 8);
const TO: (usize, usize) = (9, 8);
const STREAM: (usize, usize) = (17, 4);
const SEQ: (usize, usize) = (21, 8);
const SENT: (usize, usize) = (29, 16);
/// Two digits that depend on all others: a payload that was cut or mixed up is
/// not taken for another one.
const SUM: (usize, usize) = (45, 2);

/// One payload's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Which run of the generator it belongs to.
    pub run: u32,
    /// The address that it was sent to: a mailbox or a room.
    pub to: u32,
    /// Who sent it, counted within the address; each has a sequence of its own.
    pub stream: u16,
    pub seq: u32,
    /// When, in nanoseconds of the monotonic clock.
    pub sent_ns: u64,
}

impl Marker {
    /// Writes it over the first [`LEN`] bytes.
    pub fn write(&self, out: &mut [u8]) {
        out[0] = b'@';
        put(out, RUN, u64::from(self.run));
        put(out, TO, u64::from(self.to));
        put(out, STREAM, u64::from(self.stream));
        put(out, SEQ, u64::from(self.seq));
        put(out, SENT, self.sent_ns);
        put(out, SUM, u64::from(sum(out)));
    }

    /// Reads one that begins at the start of `text`; `None` if it is damaged.
    pub fn read(text: &[u8]) -> Option<Self> {
        if text.len() < LEN || text[0] != b'@' || get(text, SUM)? != u64::from(sum(text)) {
            return None;
        }
        Some(Self {
            run: get(text, RUN)? as u32,
            to: get(text, TO)? as u32,
            stream: get(text, STREAM)? as u16,
            seq: get(text, SEQ)? as u32,
            sent_ns: get(text, SENT)?,
        })
    }
}

/// All markers in a body, in their order; `None` stands for a damaged one.
pub fn all(body: &[u8]) -> impl Iterator<Item = Option<Marker>> {
    memchr::memchr_iter(b'@', body).map(|at| Marker::read(&body[at..]))
}

fn sum(text: &[u8]) -> u8 {
    text[1..SUM.0].iter().fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(*byte))
}

fn put(out: &mut [u8], (at, digits): (usize, usize), mut value: u64) {
    for place in out[at..at + digits].iter_mut().rev() {
        *place = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn get(text: &[u8], (at, digits): (usize, usize)) -> Option<u64> {
    text[at..at + digits].iter().try_fold(0, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: Marker = Marker { run: 0xdead_beef, to: 77, stream: 3, seq: 9, sent_ns: 1 << 60 };

    #[test]
    fn what_is_written_is_read_wherever_it_stands() {
        let mut payload = vec![b'.'; 100];
        MARKER.write(&mut payload);
        let mut body = br#"{"cursor":1,"messages":[{"data":""#.to_vec();
        body.extend_from_slice(&payload);
        body.extend_from_slice(br#""},{"data":""#);
        body.extend_from_slice(&payload);
        assert_eq!(all(&body).collect::<Vec<_>>(), [Some(MARKER), Some(MARKER)]);
    }

    #[test]
    fn a_damaged_one_is_noticed() {
        let mut payload = vec![b'.'; LEN];
        MARKER.write(&mut payload);
        assert_eq!(Marker::read(&payload[..LEN - 1]), None);
        for place in 1..LEN {
            let mut damaged = payload.clone();
            damaged[place] = if damaged[place] == b'1' { b'2' } else { b'1' };
            assert_eq!(Marker::read(&damaged), None, "digit {place}");
        }
    }
}
