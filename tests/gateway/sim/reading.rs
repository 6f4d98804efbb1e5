//! How the clients of a world read: by long-poll, or as streams that go on, over
//! connections that lose answers.

use super::{
    model::Held,
    plugin::text,
    world::{Device, MAX_BATCH, World, show},
};
use cometbox::{
    app::Answers,
    core::{AccessError, Batch, ConnId, Key, Polled, ReadFrom},
};

impl World {
    pub(super) fn poll(&mut self) {
        let device = self.device();
        let wait_ms = if self.rng.bool() { 0 } else { self.rng.u64(1..2_000) };
        let lost = self.rng.u32(0..5) == 0;
        let stream = self.clients.get(&device).and_then(|client| client.stream);
        match stream {
            Some((conn, position)) if !self.is_held(device, conn) && self.rng.bool() => {
                self.read_on(device, conn, position, wait_ms, lost);
            }
            _ => drop(self.read(device, wait_ms, lost)),
        }
    }

    fn is_held(&mut self, device: Device, conn: u64) -> bool {
        let held = self.seat(device).and_then(|seat| seat.held.as_ref());
        held.is_some_and(|held| held.conn == conn)
    }

    /// Whether something came. `lost`: the answer does not reach the client.
    pub(super) fn read(&mut self, device: Device, wait_ms: u64, lost: bool) -> bool {
        let cursor = self.clients.get(&device).map_or(0, |client| client.cursor);
        self.next_conn += 1;
        let conn = self.next_conn;
        let mut out = Answers::new();
        let polled = self.start(device, ReadFrom::Cursor(Some(cursor)), wait_ms, conn, &mut out);
        let Some(seat) = self.seat(device) else {
            assert!(self.is_gone(device, polled.as_ref().err()), "{polled:?}");
            return false;
        };
        let key = seat.key;
        seat.reader = conn;
        if let Some(old) = seat.held.take() {
            let (displaced, answer) = out.remove(0);
            assert_eq!((displaced, format!("{answer:?}")), (ConnId(old.conn), "Displaced".into()));
        }
        assert!(out.is_empty(), "a read answers nobody else");
        self.boxes.get_mut(device.0).expect("it has a seat there").confirm(key, cursor);
        let client = self.clients.get_mut(&device).expect("every seat has a client");
        client.stream = Some((conn, cursor));
        self.came(device, polled, (conn, cursor), wait_ms, lost)
    }

    /// The stream of this connection goes on.
    fn read_on(&mut self, device: Device, conn: u64, position: u64, wait_ms: u64, lost: bool) {
        let mut out = Answers::new();
        let polled = self.start(device, ReadFrom::Position(position), wait_ms, conn, &mut out);
        assert!(out.is_empty(), "going on answers nobody");
        let reader = self.seat(device).map(|seat| seat.reader);
        match (reader, &polled) {
            (None, Err(error)) => assert!(self.is_gone(device, Some(error)), "{error:?}"),
            (Some(reader), Ok(Polled::Displaced)) if reader != conn => {
                self.clients.get_mut(&device).expect("it has a stream").stream = None;
            }
            (Some(reader), Ok(_)) if reader == conn => {
                self.came(device, polled, (conn, position), wait_ms, lost);
            }
            _ => panic!("{device:?} {conn}: {polled:?}, and {reader:?} reads"),
        }
    }

    /// Whether this is what somebody is told who has no seat.
    fn is_gone(&self, device: Device, told: Option<&AccessError>) -> bool {
        match told {
            Some(AccessError::Closed { .. }) => true,
            Some(AccessError::NotFound) => !self.boxes.contains_key(device.0),
            Some(AccessError::WrongKey) => self.boxes.contains_key(device.0),
            _ => false,
        }
    }

    fn start(
        &mut self,
        device: Device,
        from: ReadFrom,
        wait_ms: u64,
        conn: u64,
        out: &mut Answers,
    ) -> Result<Polled, AccessError> {
        let key = Key(self.key(device));
        let polled = self.app.poll(self.now(), device.0, key, from, wait_ms, ConnId(conn), out);
        self.note(format_args!("poll {device:?} {from:?} {wait_ms} {conn} {polled:?}"));
        polled
    }

    /// What a read that has started comes to.
    fn came(
        &mut self,
        device: Device,
        polled: Result<Polled, AccessError>,
        (conn, cursor): (u64, u64),
        wait_ms: u64,
        lost: bool,
    ) -> bool {
        let (now, who) = (self.now, device.0);
        let seat = self.seat(device).expect("it was there above");
        seat.away_since = now;
        let key = seat.key;
        let mailbox = self.boxes.get_mut(who).expect("it was there above");
        if !mailbox.attached {
            mailbox.attached = true;
            self.expect_notice(who, "attached");
        }
        let mailbox = self.boxes.get_mut(who).expect("it was there above");
        let expected = mailbox.take(key, now, cursor, MAX_BATCH);
        match (polled.expect("the mailbox is open"), expected) {
            (Polled::Ready(batch), Some(taken)) => {
                assert_eq!(show(&batch), taken, "{who} at {cursor}");
                self.receive(device, key, batch, conn, lost);
                true
            }
            (Polled::Nothing, None) if wait_ms == 0 => false,
            (Polled::Held(id), None) if wait_ms > 0 => {
                let until = now + wait_ms;
                let held = Some(Held { mailbox: id, conn, cursor, until });
                mailbox.seat(key).expect("it was there above").held = held;
                false
            }
            (polled, expected) => panic!("{who} got {polled:?}, expected {expected:?}"),
        }
    }

    /// A client says what it has processed, without reading.
    pub(super) fn confirm(&mut self) {
        let device = self.device();
        let cursor = self.clients.get(&device).map_or(0, |client| client.cursor);
        // Now and then far ahead, also of what a crash leaves out.
        let cursor = cursor + self.rng.u64(0..20) / 18 * (1 << 40);
        let key = self.key(device);
        let confirmed = self.app.confirm(self.now(), device.0, Key(key), cursor);
        self.note(format_args!("confirm {device:?} {cursor} {confirmed:?}"));
        if self.seat(device).is_none() {
            assert!(self.is_gone(device, confirmed.as_ref().err()), "{device:?}: {confirmed:?}");
            return;
        }
        let mailbox = self.boxes.get_mut(device.0).expect("it has a seat there");
        match confirmed {
            Err(AccessError::BadCursor { last }) if cursor > last => {
                assert_eq!(last, mailbox.last());
            }
            Ok(()) if cursor <= mailbox.last() => mailbox.confirm(key, cursor),
            confirmed => panic!("{device:?} {cursor}: {confirmed:?} with {mailbox:?}"),
        }
    }

    /// What comes by a key, if that is still the device's.
    pub(super) fn receive(
        &mut self,
        device: Device,
        key: [u8; 16],
        batch: Batch,
        conn: u64,
        lost: bool,
    ) {
        let client = self.clients.get_mut(&device).expect("every seat has a client");
        if client.key != key {
            return; // of its life before
        }
        if lost {
            client.stream = None; // its connection is broken
            return;
        }
        client.stream = Some((conn, batch.cursor));
        for delivery in batch.messages {
            let seq = delivery.seq;
            assert!(seq > client.cursor, "{device:?} was handed {seq} twice");
            let last = client.got.last().map_or(0, |(seq, _)| *seq);
            assert!(seq > last, "{device:?} got {seq} after {last}");
            let said = text(&delivery.message.payload);
            assert!(client.got.iter().all(|(_, got)| got != said), "{device:?} got {said} twice");
            client.got.push((seq, said.to_owned()));
        }
        client.cursor = batch.cursor;
    }
}
