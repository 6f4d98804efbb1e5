//! What a mailbox should do, written a second time as plainly as possible:
//! vectors, no marks, no laziness. The world compares every answer with it.

use super::world::Device;
use cometbox::core::{MailboxId, Restart};
use std::collections::BTreeSet;

/// Numbers that are left out after a crash.
const SEQ_GAP: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub struct Entry {
    pub seq: u64,
    pub text: String,
    /// The group that it came by; none: by name, or with the opening.
    pub channel: Option<String>,
    pub expires_at: u64,
    pub collapse: Option<String>,
}

/// A message as the world sends it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub text: String,
    pub ttl_ms: Option<u64>,
    pub collapse: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Held {
    /// What the core calls the mailbox; the model has no use for it.
    pub mailbox: MailboxId,
    pub conn: u64,
    pub cursor: u64,
    pub until: u64,
}

/// What one open of a mailbox has of it.
#[derive(Clone, Debug)]
pub struct Seat {
    pub key: [u8; 16],
    pub device: Device,
    pub away_since: u64,
    pub held: Option<Held>,
    /// The connection that read last; 0: none.
    pub reader: u64,
    confirmed: u64,
    handed: u64,
}

impl Seat {
    fn new(key: [u8; 16], device: Device, confirmed: u64, now: u64) -> Self {
        let handed = confirmed;
        Self { key, device, away_since: now, held: None, reader: 0, confirmed, handed }
    }
}

#[derive(Clone, Debug)]
pub struct ModelBox {
    pub groups: BTreeSet<String>,
    pub max_messages: usize,
    pub reject: bool,
    pub linger_ms: u64,
    pub shared: bool,
    pub attached: bool,
    /// When its plugin timer rings.
    pub timer: Option<u64>,
    /// The counter in its session state.
    pub state: u64,
    /// When a device last closed its seat, or the gateway started: before it
    /// nothing is told.
    pub left_at: u64,
    /// In the order of joining.
    pub seats: Vec<Seat>,
    queue: Vec<Entry>,
    dropped: Vec<u64>,
    last: u64,
}

/// cursor, lost, messages with their channel
pub type Taken = (u64, u64, Vec<(u64, String, Option<String>)>);

impl ModelBox {
    pub fn new(max_messages: usize, reject: bool, linger_ms: u64, shared: bool) -> Self {
        Self {
            groups: BTreeSet::new(),
            max_messages,
            reject,
            linger_ms,
            shared,
            attached: false,
            timer: None,
            state: 0,
            left_at: 0,
            seats: Vec::new(),
            queue: Vec::new(),
            dropped: Vec::new(),
            last: 0,
        }
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether this waits.
    pub fn has(&self, text: &str) -> bool {
        self.queue.iter().any(|entry| entry.text == text)
    }

    /// Whether this key opens it.
    pub fn has_seat(&self, key: [u8; 16]) -> bool {
        self.seats.iter().any(|seat| seat.key == key)
    }

    /// The gateway was gone, and with it every connection. What was waiting
    /// waits, and time has passed, but readers have theirs to come back.
    pub fn restart(&mut self, restart: &Restart) {
        let Restart { now, down_since, grace_ms, cut_off } = *restart;
        let over_at = (down_since + self.linger_ms).max(now + grace_ms);
        for seat in &mut self.seats {
            seat.held = None;
            seat.reader = 0;
            seat.away_since = over_at - self.linger_ms;
        }
        self.timer = self.timer.map(|at| at.max(now));
        self.left_at = now;
        if cut_off {
            self.last += SEQ_GAP;
            self.queue.iter_mut().for_each(|entry| entry.collapse = None);
        }
    }

    /// Behind which seq the new seat starts.
    pub fn join(&mut self, key: [u8; 16], device: Device, now: u64) -> u64 {
        let start = if self.seats.is_empty() { 0 } else { self.trimmed() };
        self.seats.push(Seat::new(key, device, start, now));
        start
    }

    pub fn seat(&mut self, key: [u8; 16]) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.key == key)
    }

    /// Ends all seats but those; they are returned.
    pub fn keep_seats(&mut self, keep: impl Fn(&Seat) -> bool) -> Vec<Seat> {
        let (stay, gone) = std::mem::take(&mut self.seats).into_iter().partition(keep);
        self.seats = stay;
        self.trim();
        gone
    }

    /// Since when nobody reads; none: somebody does.
    pub fn away_since(&self) -> Option<u64> {
        if self.seats.iter().any(|seat| seat.held.is_some()) {
            return None;
        }
        self.seats.iter().map(|seat| seat.away_since).max()
    }

    fn trimmed(&self) -> u64 {
        self.seats.iter().map(|seat| seat.confirmed).min().unwrap_or(self.last)
    }

    fn trim(&mut self) {
        let trimmed = self.trimmed();
        self.queue.retain(|e| e.seq > trimmed);
    }

    fn handed(&self) -> u64 {
        self.seats.iter().map(|seat| seat.handed).max().unwrap_or(0)
    }

    /// Whether it took the message, and how many went for it.
    pub fn push(&mut self, now: u64, sent: &Sent, channel: Option<&str>) -> (bool, usize) {
        self.queue.retain(|e| e.expires_at > now);
        let expires_at = sent.ttl_ms.map_or(u64::MAX, |ttl| now + ttl);
        let handed = self.handed();
        if let Some(old) = self
            .queue
            .iter_mut()
            .find(|e| e.seq > handed && sent.collapse.is_some() && e.collapse == sent.collapse)
        {
            old.text.clone_from(&sent.text);
            old.channel = channel.map(str::to_owned);
            old.expires_at = expires_at;
            return (true, 0);
        }
        let mut dropped = 0;
        if self.queue.len() == self.max_messages {
            if self.reject {
                return (false, 0);
            }
            let seq = self.queue.remove(0).seq;
            self.dropped.push(seq);
            dropped = usize::from(seq > handed);
        }
        self.last += 1;
        self.queue.push(Entry {
            seq: self.last,
            text: sent.text.clone(),
            channel: channel.map(str::to_owned),
            expires_at,
            collapse: sent.collapse.clone(),
        });
        (true, dropped)
    }

    pub fn confirm(&mut self, key: [u8; 16], cursor: u64) {
        let seat = self.seat(key).expect("whoever confirms has a seat");
        seat.confirmed = seat.confirmed.max(cursor);
        seat.handed = seat.handed.max(cursor);
        self.trim();
    }

    pub fn take(
        &mut self,
        key: [u8; 16],
        now: u64,
        cursor: u64,
        max_batch: usize,
    ) -> Option<Taken> {
        self.queue.retain(|e| e.expires_at > now);
        let messages: Vec<_> = self
            .queue
            .iter()
            .filter(|e| e.seq > cursor)
            .take(max_batch)
            .map(|e| (e.seq, e.text.clone(), e.channel.clone()))
            .collect();
        let more = self.queue.iter().filter(|e| e.seq > cursor).nth(messages.len());
        let up_to = more.map_or(self.last, |e| e.seq - 1);
        let trimmed = self.trimmed();
        let seen = cursor.max(trimmed);
        let dropped = self.dropped.iter().filter(|seq| (seen + 1..=up_to).contains(seq)).count();
        let lost = trimmed.min(up_to).saturating_sub(cursor) + dropped as u64;
        if messages.is_empty() && lost == 0 {
            return None;
        }
        let seat = self.seat(key).expect("whoever reads has a seat");
        seat.handed = seat.handed.max(up_to);
        Some((up_to, lost, messages))
    }
}
