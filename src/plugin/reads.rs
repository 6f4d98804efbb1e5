//! What a plugin may look up, recorded for the commit.

use crate::core::{Core, Read};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Read access to an app's core for the calls of one event. Each look-up locks
/// the core for a moment and notes what it saw, so that the commit can tell
/// whether it still holds.
///
/// The default one sees an empty app and notes nothing; it is also what stays
/// behind while a call has taken the real one.
#[derive(Default)]
pub struct Reads {
    core: Option<Arc<Mutex<Core>>>,
    seen: Vec<Read>,
}

impl Reads {
    #[must_use]
    pub fn new(core: Arc<Mutex<Core>>) -> Self {
        Self { core: Some(core), seen: Vec::new() }
    }

    /// The members of a group, by name; empty if there is no such group.
    pub fn members(&mut self, group: &str) -> Vec<crate::core::Name> {
        let Some(core) = &self.core else {
            return Vec::new();
        };
        let (members, version) = core.lock().members(group);
        self.seen.push(Read::Group { name: group.into(), version });
        members
    }

    /// How many members a group has.
    pub fn member_count(&mut self, group: &str) -> usize {
        let Some(core) = &self.core else { return 0 };
        let (count, version) = core.lock().member_count(group);
        self.seen.push(Read::Group { name: group.into(), version });
        count
    }

    /// Whether a mailbox is attached; none if it does not exist.
    pub fn mailbox(&mut self, name: &str) -> Option<bool> {
        let attached = self.core.as_ref()?.lock().attached(name);
        self.seen.push(Read::Mailbox { name: name.into(), attached });
        attached
    }

    /// A value of the key-value space.
    pub fn value(&mut self, key: &str) -> Option<Bytes> {
        let (value, version) = self.core.as_ref()?.lock().value(key).unzip();
        self.seen.push(Read::Value { key: key.into(), version });
        value
    }

    /// What was looked up so far; leaves the record empty.
    pub fn take_seen(&mut self) -> Vec<Read> {
        std::mem::take(&mut self.seen)
    }
}
