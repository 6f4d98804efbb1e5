//! Whether what a commit adds fits into the app's limits.

use super::{Action, Commit, CommitError, FullPolicy, Name, OpenMailbox, PluginName, state::Core};
use bytes::Bytes;
use std::collections::BTreeSet;

/// What a commit adds, at the most.
#[derive(Default)]
struct Growth<'a> {
    values: usize,
    value_bytes: usize,
    state_bytes: usize,
    timers: usize,
    /// Mailbox and group; in an order that does not depend on anything.
    joins: BTreeSet<(&'a Name, &'a Name)>,
}

impl Core {
    /// Whether everything that the commit adds fits. What it removes is not
    /// set off against it.
    pub(super) fn check_growth(&self, commit: &Commit<'_>) -> Result<(), CommitError> {
        let mut growth = Growth::default();
        if let Some(open) = &commit.open {
            growth.joins.extend(open.groups.iter().map(|group| (&open.name, group)));
        }
        // A seat takes nothing but its place.
        let new = commit.open.as_deref().filter(|open| !self.is_seat(open));
        if let Some(open) = new {
            growth.state_bytes += state_bytes(&open.states);
            self.check_first(open)?;
        }
        for action in &commit.actions {
            match action {
                Action::Put { key, value } => {
                    let (bytes, keys) = self.values.growth(key, value);
                    growth.value_bytes += bytes;
                    growth.values += keys;
                }
                Action::Join { mailbox, group, .. } => {
                    growth.joins.insert((mailbox, group));
                }
                Action::SetTimer { plugin, mailbox, name, .. } => {
                    growth.timers += usize::from(!self.has_timer(plugin, mailbox.as_ref(), name));
                }
                Action::SetState { plugin, state } => {
                    if commit.session.is_none() && commit.open.is_none() {
                        return Err(CommitError::NoSession);
                    }
                    let old = commit.session.as_ref().and_then(|session| session.state(plugin));
                    let (old, new) =
                        (old.map_or(0, |s| s.len()), state.as_ref().map_or(0, |s| s.len()));
                    growth.state_bytes += new.saturating_sub(old);
                }
                _ => {}
            }
        }
        self.check_joins(&growth, new)?;
        let limits = &self.limits;
        within("values", limits.max_values, self.values.len(), growth.values)?;
        let value_bytes = self.values.bytes();
        within("bytes of values", limits.max_value_bytes, value_bytes, growth.value_bytes)?;
        let state_bytes = self.books.totals.state_bytes;
        within("bytes of session states", limits.max_state_bytes, state_bytes, growth.state_bytes)?;
        within("timers", limits.max_timers, self.timers, growth.timers)
    }

    /// Whether an open gets a seat at a mailbox that is there.
    fn is_seat(&self, open: &OpenMailbox) -> bool {
        let found = self.mailboxes.find(open.name.as_str());
        found.is_some_and(|slot| self.mailboxes[slot].shares_with(open))
    }

    fn check_joins(
        &self,
        growth: &Growth<'_>,
        new: Option<&OpenMailbox>,
    ) -> Result<(), CommitError> {
        let (mut of, mut joined) = (None, 0);
        let mut new_groups = BTreeSet::new();
        for &(mailbox, group) in &growth.joins {
            // The name may be that of a mailbox which the new one replaces.
            let is_new = new.is_some_and(|open| open.name == *mailbox);
            let slot = self.mailboxes.find(mailbox.as_str()).filter(|_| !is_new);
            if slot.is_none() && !is_new {
                continue; // gone meanwhile: no join
            }
            if of != Some(mailbox) {
                (of, joined) = (Some(mailbox), 0);
            }
            let group_slot = self.groups.find(group.as_str());
            if group_slot.is_none() {
                new_groups.insert(group);
            }
            let is_member = slot
                .zip(group_slot)
                .is_some_and(|(slot, group)| self.mailboxes[slot].membership(group).is_some());
            joined += usize::from(!is_member);
            let now = slot.map_or(0, |slot| self.mailboxes[slot].groups.len());
            within("groups per mailbox", self.limits.max_groups_per_mailbox, now, joined)?;
        }
        within("groups", self.limits.max_groups, self.groups.len(), new_groups.len())
    }

    /// First messages that do not fit are an error, not a loss that starts
    /// with the mailbox; but a full mailbox that drops its oldest does so here,
    /// too, and tells.
    fn check_first(&self, open: &OpenMailbox) -> Result<(), CommitError> {
        let bytes: usize = open.first.iter().map(|message| message.len_bytes()).sum();
        let (queued, limits) = (self.books.totals.queued_bytes, &open.limits);
        within("bytes of messages", self.limits.max_queued_bytes, queued, bytes)?;
        let largest = open.first.iter().map(|message| message.len_bytes()).max().unwrap_or(0);
        within("bytes in the new mailbox", limits.bytes as usize, 0, largest)?;
        if limits.full == FullPolicy::Reject {
            let count = open.first.len();
            within("messages in the new mailbox", limits.messages as usize, 0, count)?;
            within("bytes in the new mailbox", limits.bytes as usize, 0, bytes)?;
        }
        Ok(())
    }

    fn has_timer(&self, plugin: &PluginName, mailbox: Option<&Name>, name: &str) -> bool {
        let timers = match mailbox {
            None => Some(&self.app_timers[..]),
            Some(mailbox) => {
                let slot = self.mailboxes.find(mailbox.as_str());
                slot.map(|slot| self.mailboxes[slot].timers())
            }
        };
        timers.is_some_and(|timers| timers.iter().any(|t| t.plugin == *plugin && *t.name == *name))
    }
}

/// What the session states of a mailbox count.
pub(super) fn state_bytes(states: &[(PluginName, Bytes)]) -> usize {
    states.iter().map(|(_, state)| state.len()).sum()
}

/// # Errors
/// If `more` on top of `now` is over the limit.
pub(super) fn within(
    what: &'static str,
    limit: usize,
    now: usize,
    more: usize,
) -> Result<(), CommitError> {
    // What is over already (limits can shrink on a reload) may stay, not grow.
    if more > 0 && now + more > limit { Err(CommitError::Limit { what, limit }) } else { Ok(()) }
}
