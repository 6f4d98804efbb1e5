//! All connections that hyper reads: their places, and how they are told to end.

use super::{
    super::{Gateway, clock::Clock},
    Site,
    conn::{Conn, FINISH, TIMED_OUT},
};
use crate::config::HttpConfig;
use parking_lot::Mutex;
use slab::Slab;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// All connections.
pub(in super::super) struct Conns {
    clock: Clock,
    all: Mutex<Slab<Arc<Conn>>>,
    /// By site: an operator gets in when clients do not, and the other way
    /// round.
    counts: [AtomicUsize; 2],
}

/// A place among all connections; given back when dropped.
pub(in super::super) struct Seat {
    gateway: Arc<Gateway>,
    site: Site,
    index: usize,
    pub conn: Arc<Conn>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let conns = &self.gateway.conns;
        conns.all.lock().remove(self.index);
        conns.counts[self.site as usize].fetch_sub(1, Relaxed);
    }
}

impl Conns {
    pub(in super::super) fn new(clock: Clock) -> Self {
        Self { clock, all: Mutex::default(), counts: Default::default() }
    }

    pub(in super::super) fn count(&self, site: Site) -> usize {
        self.counts[site as usize].load(Relaxed)
    }

    /// Takes a place for a new connection.
    pub(super) fn seat(gateway: &Arc<Gateway>, site: Site) -> Seat {
        let conns = &gateway.conns;
        let conn = Conn::new(conns.clock);
        let index = conns.all.lock().insert(conn.clone());
        conns.counts[site as usize].fetch_add(1, Relaxed);
        if gateway.is_closing() {
            // It may have come after the others were told.
            conn.order(FINISH);
        }
        Seat { gateway: gateway.clone(), site, index, conn }
    }

    /// While the gateway hands over, which began at `since_ms`: ends what cannot
    /// go along, but for what ends with the answer that it waits for.
    pub(in super::super) fn finish_for_handover(&self, since_ms: u64) {
        let now_ms = self.clock.coarse_ms();
        for (_, conn) in &*self.all.lock() {
            if conn.is_to_finish(since_ms, now_ms) {
                conn.order(FINISH);
            }
        }
    }

    pub(in super::super) fn finish_all(&self) {
        for (_, conn) in &*self.all.lock() {
            conn.order(FINISH);
        }
    }

    /// Ends the connections that are over their time; on the way down nobody
    /// waits for those who do not read.
    pub(in super::super) fn sweep(&self, http: &HttpConfig, is_stopping: bool) {
        let now_ms = self.clock.coarse_ms();
        for (_, conn) in &*self.all.lock() {
            if conn.is_late(http, now_ms, is_stopping) {
                conn.order(TIMED_OUT);
            }
        }
    }
}
