//! How the clients of a world read: by long-poll, or as streams that go on, over
//! connections that lose answers.

use super::{
    model::{Held, ModelBox},
    plugin::text,
    world::{MAX_BATCH, NAMES, World, show},
};
use cometbox::{
    app::Answers,
    core::{AccessError, Batch, ConnId, Key, Polled, ReadFrom},
};

impl World {
    pub(super) fn poll(&mut self) {
        let who = self.pick(&NAMES);
        let wait_ms = if self.rng.bool() { 0 } else { self.rng.u64(1..2_000) };
        let lost = self.rng.u32(0..5) == 0;
        let stream = self.clients.get(who).and_then(|client| client.stream);
        let is_held =
            |mailbox: &ModelBox, conn| mailbox.held.as_ref().is_some_and(|h| h.conn == conn);
        match stream {
            Some((conn, position))
                if !self.boxes.get(who).is_some_and(|mailbox| is_held(mailbox, conn))
                    && self.rng.bool() =>
            {
                self.read_on(who, conn, position, wait_ms, lost);
            }
            _ => drop(self.read(who, wait_ms, lost)),
        }
    }

    /// Whether something came. `lost`: the answer does not reach the client.
    pub(super) fn read(&mut self, who: &str, wait_ms: u64, lost: bool) -> bool {
        let cursor = self.clients.get(who).map_or(0, |client| client.cursor);
        self.next_conn += 1;
        let conn = self.next_conn;
        let mut out = Answers::new();
        let polled = self.start(who, ReadFrom::Cursor(Some(cursor)), wait_ms, conn, &mut out);
        let Some(mailbox) = self.boxes.get_mut(who) else {
            let gone = matches!(polled, Err(AccessError::NotFound | AccessError::Closed { .. }));
            assert!(gone, "{polled:?}");
            return false;
        };
        if let Some(old) = mailbox.held.take() {
            let (displaced, answer) = out.remove(0);
            assert_eq!((displaced, format!("{answer:?}")), (ConnId(old.conn), "Displaced".into()));
        }
        assert!(out.is_empty(), "a read answers nobody else");
        mailbox.confirm(cursor);
        mailbox.reader = conn;
        let client = self.clients.get_mut(who).expect("every mailbox has a client");
        client.stream = Some((conn, cursor));
        self.came(who, polled, (conn, cursor), wait_ms, lost)
    }

    /// The stream of this connection goes on.
    fn read_on(&mut self, who: &str, conn: u64, position: u64, wait_ms: u64, lost: bool) {
        let mut out = Answers::new();
        let polled = self.start(who, ReadFrom::Position(position), wait_ms, conn, &mut out);
        assert!(out.is_empty(), "going on answers nobody");
        match (self.boxes.get(who), &polled) {
            (None, Err(AccessError::NotFound | AccessError::Closed { .. })) => {}
            (Some(mailbox), Ok(Polled::Displaced)) if mailbox.reader != conn => {
                self.clients.get_mut(who).expect("it has a stream").stream = None;
            }
            (Some(mailbox), Ok(_)) if mailbox.reader == conn => {
                self.came(who, polled, (conn, position), wait_ms, lost);
            }
            (mailbox, _) => panic!("{who} {conn}: {polled:?} with {mailbox:?}"),
        }
    }

    fn start(
        &mut self,
        who: &str,
        from: ReadFrom,
        wait_ms: u64,
        conn: u64,
        out: &mut Answers,
    ) -> Result<Polled, AccessError> {
        let key = Key(self.boxes.get(who).map_or([0; 16], |b| b.key));
        let polled = self.app.poll(self.now(), who, key, from, wait_ms, ConnId(conn), out);
        self.note(format_args!("poll {who} {from:?} {wait_ms} {conn} {polled:?}"));
        polled
    }

    /// What a read that has started comes to.
    fn came(
        &mut self,
        who: &str,
        polled: Result<Polled, AccessError>,
        (conn, cursor): (u64, u64),
        wait_ms: u64,
        lost: bool,
    ) -> bool {
        let now = self.now;
        let mailbox = self.boxes.get_mut(who).expect("it was there above");
        mailbox.away_since = now;
        if !mailbox.attached {
            mailbox.attached = true;
            self.expect_notice(who, "attached");
        }
        let mailbox = self.boxes.get_mut(who).expect("it was there above");
        let expected = mailbox.take(now, cursor, MAX_BATCH);
        match (polled.expect("the mailbox is open"), expected) {
            (Polled::Ready(batch), Some(taken)) => {
                assert_eq!(show(&batch), taken, "{who} at {cursor}");
                self.receive(who, batch, conn, lost);
                true
            }
            (Polled::Nothing, None) if wait_ms == 0 => false,
            (Polled::Held(id), None) if wait_ms > 0 => {
                let until = now + wait_ms;
                mailbox.held = Some(Held { mailbox: id, conn, cursor, until });
                false
            }
            (polled, expected) => panic!("{who} got {polled:?}, expected {expected:?}"),
        }
    }

    /// A client says what it has processed, without reading.
    pub(super) fn confirm(&mut self) {
        let who = self.pick(&NAMES);
        let cursor = self.clients.get(who).map_or(0, |client| client.cursor);
        let cursor = cursor + self.rng.u64(0..20) / 18 * 100; // now and then far ahead
        let key = Key(self.boxes.get(who).map_or([0; 16], |b| b.key));
        let confirmed = self.app.confirm(self.now(), who, key, cursor);
        self.note(format_args!("confirm {who} {cursor} {confirmed:?}"));
        match (self.boxes.get_mut(who), confirmed) {
            (None, Err(AccessError::NotFound | AccessError::Closed { .. })) => {}
            (Some(mailbox), Err(AccessError::BadCursor { last })) if cursor > last => {
                assert_eq!(last, mailbox.last());
            }
            (Some(mailbox), Ok(())) if cursor <= mailbox.last() => mailbox.confirm(cursor),
            (mailbox, confirmed) => panic!("{who} {cursor}: {confirmed:?} with {mailbox:?}"),
        }
    }

    pub(super) fn receive(&mut self, who: &str, batch: Batch, conn: u64, lost: bool) {
        let client = self.clients.get_mut(who).expect("every mailbox has a client");
        if lost {
            client.stream = None; // its connection is broken
            return;
        }
        client.stream = Some((conn, batch.cursor));
        for delivery in batch.messages {
            assert!(delivery.seq > client.cursor, "{who} was handed {} twice", delivery.seq);
            let last = client.got.last().map_or(0, |(seq, _)| *seq);
            assert!(delivery.seq > last, "{who} got {} after {last}", delivery.seq);
            client.got.push((delivery.seq, text(&delivery.message.payload).to_owned()));
        }
        client.cursor = batch.cursor;
    }
}
