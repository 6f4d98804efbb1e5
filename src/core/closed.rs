//! Who closed a mailbox and why, for its client that comes back for the news.

use super::{CloseCause, KeptEpitaph, Key, Millis, Name};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Most keys of closed mailboxes remembered; beyond it the oldest is forgotten
/// early.
const MAX_REMEMBERED: usize = 10_000;

#[derive(Debug)]
struct Epitaph {
    name: Name,
    until: Millis,
    cause: CloseCause,
    reason: Box<str>,
}

/// Between two long-polls a client cannot be told that its mailbox was closed,
/// and "no such mailbox" would make it open a new one at once: wrong after a
/// kick. So name, key and reason are kept for a moment. By key, since the seats
/// of a mailbox have one each.
#[derive(Debug)]
pub(super) struct ClosedMemory {
    keep_ms: Millis,
    by_key: HashMap<Key, Epitaph>,
    /// In the order of forgetting, unless `keep_ms` was longer before; then some are
    /// forgotten late.
    order: VecDeque<(Millis, Key)>,
}

impl ClosedMemory {
    pub fn new(keep_ms: Millis) -> Self {
        Self { keep_ms, by_key: HashMap::new(), order: VecDeque::new() }
    }

    /// How long those are kept that come from now on.
    pub fn keep_for(&mut self, keep_ms: Millis) {
        self.keep_ms = keep_ms;
    }

    /// Remembers one for a while; until when.
    pub fn note(
        &mut self,
        now: Millis,
        name: Name,
        key: Key,
        cause: CloseCause,
        reason: &str,
    ) -> Millis {
        while self.order.len() >= MAX_REMEMBERED
            || self.order.front().is_some_and(|(until, _)| *until <= now)
        {
            let Some((_, oldest)) = self.order.pop_front() else { break };
            self.by_key.remove(&oldest);
        }
        let until = now.saturating_add(self.keep_ms);
        self.put(KeptEpitaph { name, key, cause, reason: reason.into(), until });
        until
    }

    /// Remembers one more; those come in the order of forgetting.
    pub fn put(&mut self, epitaph: KeptEpitaph) {
        let KeptEpitaph { name, key, cause, reason, until } = epitaph;
        self.order.push_back((until, key));
        self.by_key.insert(key, Epitaph { name, until, cause, reason });
    }

    /// Only for who had the key.
    pub fn find(&self, now: Millis, name: &str, key: Key) -> Option<(CloseCause, Box<str>)> {
        let epitaph = self.by_key.get(&key)?;
        (epitaph.until > now && epitaph.name.as_str() == name)
            .then(|| (epitaph.cause, epitaph.reason.clone()))
    }
}
