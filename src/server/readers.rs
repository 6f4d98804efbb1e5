//! Whoever waits for the answer to a read: connections of the front, and tasks.

use super::{
    clock::Clock,
    front::{self, Front},
    full::HeldReads,
    terms::SharedTerms,
};
use crate::app::Answers;
use std::{io, sync::Arc};

/// All held reads of all apps.
pub(super) struct Readers {
    pub front: Front,
    pub held: HeldReads,
}

impl Readers {
    /// # Errors
    /// If the system gives no epoll instance.
    pub fn new(clock: Clock, terms: SharedTerms) -> io::Result<Arc<Self>> {
        let front = Front::new(clock, terms)?;
        Ok(Arc::new(Self { front, held: HeldReads::default() }))
    }

    /// Brings each answer to its read, and leaves the list empty.
    pub fn deliver(&self, answers: &mut Answers) {
        answers.extract_if(.., |(conn, _)| !front::is_ours(*conn)).for_each(|(conn, answer)| {
            self.held.answer(conn, answer);
        });
        self.front.answer(answers);
    }
}
