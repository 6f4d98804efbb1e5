//! Things with names in numbered slots.

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use std::hash::BuildHasher;

/// Something that has a name of its own.
pub(super) trait Named {
    fn name(&self) -> &str;
}

/// A slab plus an index by name that stores only slot numbers: the name lives
/// once, in the thing itself. The index is never iterated over, so its random
/// hashing shows nowhere.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Slab<T>,
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<T: Named> Table<T> {
    pub fn new() -> Self {
        Self {
            slots: Slab::new(),
            by_name: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn find(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, |slot| self.slots[*slot as usize].name() == name).copied()
    }

    pub fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)
    }

    /// Adds a thing whose name is not there yet.
    pub fn insert(&mut self, thing: T) -> u32 {
        let hash = self.hasher.hash_one(thing.name());
        let slot = u32::try_from(self.slots.insert(thing))
            .expect("configured limits keep tables far below 2^32");
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_name.insert_unique(hash, slot, |s| hasher.hash_one(slots[*s as usize].name()));
        slot
    }

    pub fn remove(&mut self, slot: u32) -> T {
        let thing = self.slots.remove(slot as usize);
        let hash = self.hasher.hash_one(thing.name());
        if let Ok(entry) = self.by_name.find_entry(hash, |s| *s == slot) {
            entry.remove();
        }
        // What a crowd has used is given back once it is gone.
        if self.slots.capacity() > 1024 && self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to_fit();
            let (slots, hasher) = (&self.slots, &self.hasher);
            self.by_name.shrink_to(2 * slots.len(), |s| hasher.hash_one(slots[*s as usize].name()));
        }
        thing
    }

    /// In slot order, which depends on nothing but the calls made so far.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter().map(|(slot, thing)| (slot as u32, thing))
    }
}

impl<T> std::ops::Index<u32> for Table<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        &self.slots[slot as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Table<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.slots[slot as usize]
    }
}
