//! System calls on sockets that never block.

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown, recv, send as send_once, shutdown},
};
use std::os::fd::BorrowedFd;

/// How much a socket took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    All,
    /// So many bytes; its buffer is full.
    Part(usize),
    /// The connection is gone.
    Broken,
}

/// Sends what the socket takes.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> Sent {
    let mut sent = 0;
    while sent < bytes.len() {
        match send_once(socket, &bytes[sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) => sent += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Sent::Part(sent),
            Err(_) => return Sent::Broken,
        }
    }
    Sent::All
}

/// What a socket had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received {
    /// So many bytes. Fewer than there was room for: that was all.
    Bytes(usize),
    Nothing,
    /// The client has closed its side, or the connection is gone.
    Ended,
}

/// Receives once.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Received {
    loop {
        return match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Received::Ended,
            Ok((count, _)) => Received::Bytes(count),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Received::Nothing,
            Err(_) => Received::Ended,
        };
    }
}

/// Whether there is something to receive.
pub(super) fn has_input(socket: BorrowedFd<'_>) -> bool {
    let peeked = recv(socket, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK);
    peeked.is_ok_and(|(count, _)| count > 0)
}

/// Receives all there is and throws it away, `left` bytes at most; whether
/// more may come.
pub(super) fn discard(socket: BorrowedFd<'_>, buffer: &mut [u8], left: &mut usize) -> bool {
    loop {
        match receive(socket, buffer) {
            Received::Bytes(count) if count <= *left => *left -= count,
            Received::Nothing => return true,
            Received::Bytes(_) | Received::Ended => return false,
        }
    }
}

/// Tells the client that nothing more comes; whether it could be told.
pub(super) fn finish(socket: BorrowedFd<'_>) -> bool {
    shutdown(socket, Shutdown::Write).is_ok()
}
