//! The key-value space of an app.

use super::Version;
use bytes::Bytes;
use hashbrown::HashMap;

#[derive(Default, Debug)]
pub(super) struct Values {
    by_key: HashMap<Box<str>, (Bytes, Version)>,
    bytes: usize,
}

impl Values {
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Keys and values together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn get(&self, key: &str) -> Option<(&Bytes, Version)> {
        self.by_key.get(key).map(|(value, version)| (value, *version))
    }

    /// How many bytes and keys a put would add at the most.
    pub fn growth(&self, key: &str, value: &Bytes) -> (usize, usize) {
        match self.by_key.get(key) {
            Some((old, _)) => (value.len().saturating_sub(old.len()), 0),
            None => (key.len() + value.len(), 1),
        }
    }

    pub fn put(&mut self, key: &str, value: Bytes, version: Version) {
        self.bytes += value.len();
        if let Some(entry) = self.by_key.get_mut(key) {
            self.bytes -= entry.0.len();
            *entry = (value, version);
        } else {
            self.bytes += key.len();
            self.by_key.insert(key.into(), (value, version));
        }
    }

    pub fn delete(&mut self, key: &str) {
        if let Some((value, _)) = self.by_key.remove(key) {
            self.bytes -= key.len() + value.len();
        }
    }
}
