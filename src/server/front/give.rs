//! Giving connections up between two requests, for another process to go on
//! with them: their clients notice nothing.

use super::{Conn, Front};
use std::{
    io,
    net::TcpStream,
    os::fd::OwnedFd,
    sync::atomic::Ordering::{Relaxed, SeqCst},
};

/// A connection whose part of a request is longer than this goes on until all of
/// it is there, in bytes: as much goes along in one message to another process.
const MAX_UNREAD_BYTES: usize = 32 << 10;

/// A connection on its way from one gateway to another.
#[derive(Debug)]
pub struct Handed {
    pub socket: OwnedFd,
    /// What was read of its next request, at most [`Handed::MAX_UNREAD_BYTES`].
    pub unread: Vec<u8>,
}

impl Handed {
    pub const MAX_UNREAD_BYTES: usize = MAX_UNREAD_BYTES;
}

impl Front {
    /// From now on nothing more is read where no request has begun.
    pub fn start_giving(&self) {
        self.giving.store(true, SeqCst);
    }

    /// From now on connections stay here.
    pub fn stop_giving(&self) {
        self.giving.store(false, SeqCst);
    }

    /// Gives up what is between two requests; how many connections are not.
    pub fn give(&self) -> usize {
        let mut at_work = 0;
        for shard in &self.shards {
            for conn in shard.all() {
                if !self.give_one(&conn) && !conn.is_lingering() {
                    at_work += 1;
                }
            }
        }
        at_work
    }

    /// Gives a connection up, if this is the time for it.
    pub(super) fn give_one(&self, conn: &Conn) -> bool {
        if !self.giving.load(Relaxed) {
            return false;
        }
        let Some(unread) = conn.give_up() else { return false };
        match self.shard(conn).release(conn) {
            Ok(socket) => self.given.lock().push(Handed { socket, unread }),
            Err(error) => tracing::debug!(%error, "a connection could not be handed over"),
        }
        self.remove(conn);
        true
    }

    /// All that was given up so far.
    pub fn take_given(&self) -> Vec<Handed> {
        std::mem::take(&mut *self.given.lock())
    }

    /// Goes on with a connection that another gateway gave up.
    ///
    /// # Errors
    /// If its client is gone, or the system cannot watch it.
    pub fn take_in(&self, handed: Handed) -> io::Result<()> {
        let tcp = TcpStream::from(handed.socket);
        let peer = tcp.peer_addr()?;
        self.add(tcp.into(), peer.ip(), handed.unread)
    }
}
