//! When something is due.

use super::{MailboxId, Millis, PluginName};
use std::{cmp::Reverse, collections::BinaryHeap};

/// Whose alarm it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// The app's own plugin timers.
    App,
    Mailbox(MailboxId),
}

/// What stands for the app itself among mailboxes, so that an entry takes 16
/// bytes and not 24. No mailbox has this slot: its table would hold 2^32 others.
const APP: MailboxId = MailboxId { slot: u32::MAX, serial: 0 };

impl Owner {
    fn id(self) -> MailboxId {
        match self {
            Self::App => APP,
            Self::Mailbox(id) => id,
        }
    }

    fn of(id: MailboxId) -> Self {
        if id == APP { Self::App } else { Self::Mailbox(id) }
    }
}

/// One alarm per owner, set lazily: an owner remembers when its alarm rings,
/// moves it only to an earlier time, and looks anew at what is due when it
/// rings. An entry that its owner no longer knows of is stale and is skipped.
#[derive(Default, Debug)]
pub(super) struct Alarms {
    heap: BinaryHeap<Reverse<(Millis, MailboxId)>>,
}

impl Alarms {
    pub fn set(&mut self, at: Millis, owner: Owner) {
        self.heap.push(Reverse((at, owner.id())));
    }

    /// When the next alarm rings; it may turn out stale.
    pub fn next(&self) -> Millis {
        self.heap.peek().map_or(Millis::MAX, |Reverse((at, _))| *at)
    }

    /// Takes the next alarm at or before `now`.
    pub fn pop_due(&mut self, now: Millis) -> Option<(Millis, Owner)> {
        if self.next() > now {
            return None;
        }
        self.heap.pop().map(|Reverse((at, id))| (at, Owner::of(id)))
    }

    /// Throws stale entries away once there may be more of them than owners.
    pub fn sweep(&mut self, owners: usize, is_live: impl Fn(Millis, Owner) -> bool) {
        if self.heap.len() > 2 * owners + 64 {
            self.heap.retain(|Reverse((at, id))| is_live(*at, Owner::of(*id)));
            self.heap.shrink_to(2 * self.heap.len());
        }
    }
}

/// A timer that a plugin set.
#[derive(Clone, Debug)]
pub struct PluginTimer {
    pub plugin: PluginName,
    pub name: Box<str>,
    pub at: Millis,
}

/// Sets or moves a timer; whether it is a new one.
pub(super) fn set_timer(timers: &mut Vec<PluginTimer>, new: PluginTimer) -> bool {
    let old = timers.iter_mut().find(|t| t.plugin == new.plugin && t.name == new.name);
    match old {
        Some(timer) => {
            timer.at = new.at;
            false
        }
        None => {
            timers.push(new);
            true
        }
    }
}

/// Whether there was such a timer.
pub(super) fn cancel_timer(timers: &mut Vec<PluginTimer>, plugin: &PluginName, name: &str) -> bool {
    let before = timers.len();
    timers.retain(|t| t.plugin != *plugin || *t.name != *name);
    timers.len() < before
}

/// Takes the timers that are due, earliest first.
pub(super) fn take_due(timers: &mut Vec<PluginTimer>, now: Millis) -> Vec<PluginTimer> {
    if timers.iter().all(|t| t.at > now) {
        return Vec::new();
    }
    let mut due: Vec<_> = timers.extract_if(.., |t| t.at <= now).collect();
    due.sort_by_key(|t| t.at);
    due
}

/// When the first of the timers is due.
pub(super) fn first_due(timers: &[PluginTimer]) -> Millis {
    timers.iter().map(|t| t.at).min().unwrap_or(Millis::MAX)
}
