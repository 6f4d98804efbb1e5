//! What a mailbox should do, written a second time as plainly as possible:
//! vectors, no marks, no laziness. The world compares every answer with it.

use cometbox::core::MailboxId;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
pub struct Entry {
    pub seq: u64,
    pub text: String,
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

#[derive(Clone, Debug)]
pub struct ModelBox {
    pub key: [u8; 16],
    pub groups: BTreeSet<String>,
    pub max_messages: usize,
    pub reject: bool,
    pub linger_ms: u64,
    pub away_since: u64,
    pub attached: bool,
    pub held: Option<Held>,
    /// The connection that read last; 0: none.
    pub reader: u64,
    /// When its plugin timer rings.
    pub timer: Option<u64>,
    /// The counter in its session state.
    pub state: u64,
    queue: Vec<Entry>,
    dropped: Vec<u64>,
    last: u64,
    confirmed: u64,
    handed: u64,
}

/// cursor, lost, messages
pub type Taken = (u64, u64, Vec<(u64, String)>);

impl ModelBox {
    pub fn new(key: [u8; 16], max_messages: usize, reject: bool, linger_ms: u64, now: u64) -> Self {
        Self {
            key,
            groups: BTreeSet::new(),
            max_messages,
            reject,
            linger_ms,
            away_since: now,
            attached: false,
            held: None,
            reader: 0,
            timer: None,
            state: 0,
            queue: Vec::new(),
            dropped: Vec::new(),
            last: 0,
            confirmed: 0,
            handed: 0,
        }
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether it took the message, and how many went for it.
    pub fn push(&mut self, now: u64, sent: &Sent) -> (bool, usize) {
        self.queue.retain(|e| e.expires_at > now);
        let expires_at = sent.ttl_ms.map_or(u64::MAX, |ttl| now + ttl);
        let handed = self.handed;
        if let Some(old) = self
            .queue
            .iter_mut()
            .find(|e| e.seq > handed && sent.collapse.is_some() && e.collapse == sent.collapse)
        {
            old.text.clone_from(&sent.text);
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
            dropped = usize::from(seq > self.handed);
        }
        self.last += 1;
        self.queue.push(Entry {
            seq: self.last,
            text: sent.text.clone(),
            expires_at,
            collapse: sent.collapse.clone(),
        });
        (true, dropped)
    }

    pub fn confirm(&mut self, cursor: u64) {
        self.confirmed = self.confirmed.max(cursor);
        self.handed = self.handed.max(cursor);
        self.queue.retain(|e| e.seq > cursor);
    }

    pub fn take(&mut self, now: u64, cursor: u64, max_batch: usize) -> Option<Taken> {
        self.queue.retain(|e| e.expires_at > now);
        let messages: Vec<_> = self
            .queue
            .iter()
            .filter(|e| e.seq > cursor)
            .take(max_batch)
            .map(|e| (e.seq, e.text.clone()))
            .collect();
        let more = self.queue.iter().filter(|e| e.seq > cursor).nth(messages.len());
        let up_to = more.map_or(self.last, |e| e.seq - 1);
        let lost = (cursor + 1..=up_to)
            .filter(|seq| *seq <= self.confirmed || self.dropped.contains(seq))
            .count() as u64;
        if messages.is_empty() && lost == 0 {
            return None;
        }
        self.handed = self.handed.max(up_to);
        Some((up_to, lost, messages))
    }
}
