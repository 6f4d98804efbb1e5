//! HTTP/2 frame by frame, for what no real client does. Heads are written
//! without compression (RFC 7541, 6.2.2), so their bytes are what they seem.

use super::{NAME, Tls, World, connect, shake};
use std::{
    io::{ErrorKind, Read, Write},
    time::{Duration, Instant},
};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Ids of settings: how many headers may be remembered, so that a status is
/// always said in the same way; and the window of new streams.
const HEADER_TABLE_SIZE: u16 = 1;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames are short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// One header, of any length.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        match u8::try_from(text.len()) {
            Ok(length @ 0..127) => out.push(length),
            _ => {
                let mut rest = text.len() - 127;
                out.push(127);
                while rest >= 128 {
                    out.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                out.push(rest as u8);
            }
        }
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// What every request begins with.
pub fn head(method: &str, path: &str) -> Vec<u8> {
    [
        header(":method", method),
        header(":scheme", "https"),
        header(":authority", NAME),
        header(":path", path),
    ]
    .concat()
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head("GET", path))
}

/// With more headers.
pub fn get_with(stream: u32, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = head("GET", path);
    headers.iter().for_each(|(name, value)| head.extend(header(name, value)));
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head)
}

/// A connection that has said its preface and settings.
pub struct Raw {
    pub tls: Tls,
}

impl Raw {
    pub fn connect(world: &World, settings: &[u8]) -> Self {
        let mut tls = connect(world.addr(), world.config(&["h2"]));
        shake(&mut tls).expect("a handshake");
        let mut raw = Self { tls };
        let settings = [&setting(HEADER_TABLE_SIZE, 0), settings].concat();
        assert!(raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()));
        raw
    }

    /// False: the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.tls.write_all(bytes).and_then(|()| self.tls.flush()).is_ok()
    }

    /// None: the connection has ended.
    pub fn receive(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.fill(&mut header)?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.fill(&mut payload)?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.tls.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the gateway neither answers nor ends the connection")
            }
            Err(_) => None,
        }
    }

    /// The next frame of a kind; none if the connection ends before.
    pub fn next(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.receive()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Why the connection was ended, which it is; none if it just ended.
    pub fn end(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.receive() {
            if frame.kind == GOAWAY {
                let code = frame.payload[4..8].try_into().expect("four bytes");
                reason = Some(u32::from_be_bytes(code));
            }
        }
        reason
    }
}

/// The status in an answer's head, whose first header is one, from HPACK's table
/// or by its name in it (RFC 7541, 6.1, 6.2.2 and appendix A).
pub fn status(head: &Frame) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // Behind the table's size, if that is said (RFC 7541, 6.3).
    let payload = &head.payload[usize::from(head.payload[0] >> 5 == 1)..];
    match payload[0] {
        index @ 0x88..=0x8e => INDEXED[usize::from(index - 0x88)],
        // Huffman code (appendix B) of three digits, 5 or 6 bits each.
        _ => {
            let length = usize::from(payload[1] & 0x7f);
            let bits =
                payload[2..2 + length].iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            let mut left = length * 8;
            let mut number = 0;
            for _ in 0..3 {
                let five = (bits >> (left - 5)) & 31;
                let digit = if five <= 2 {
                    left -= 5;
                    five
                } else {
                    left -= 6;
                    ((bits >> left) & 63) - 0x19 + 3
                };
                number = number * 10 + u16::try_from(digit).expect("a digit");
            }
            number
        }
    }
}

/// Sends a body that does not come, on a connection of its own; the status that
/// is answered, and when.
pub fn slow_body(world: &World) -> (u16, Duration) {
    let mut raw = Raw::connect(world, &[]);
    let started = Instant::now();
    raw.send(&frame(HEADERS, END_HEADERS, 1, &head("POST", "/lab/mailboxes")));
    raw.send(&frame(DATA, 0, 1, b"{"));
    let answer = raw.next(HEADERS).expect("an answer");
    (status(&answer), started.elapsed())
}
