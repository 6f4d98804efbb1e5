//! Answers that wait until the messages in them are kept, for apps that deliver
//! nothing before.

use super::readers::Readers;
use crate::{
    app::Answers,
    core::{Answer, Batch},
    store::{Durability, Store},
};
use parking_lot::Mutex;
use std::sync::Arc;

/// What is held back of one app.
pub(super) struct Late {
    store: Arc<Store>,
    durability: Durability,
    /// One for each held read at the most.
    waiting: Mutex<Answers>,
}

impl Late {
    pub fn new(store: Arc<Store>, durability: Durability) -> Self {
        Self { store, durability, waiting: Mutex::default() }
    }

    pub fn is_kept(&self, batch: &Batch) -> bool {
        batch.newest_kept() <= self.store.newest(self.durability)
    }

    /// Takes those answers out that have to wait.
    pub fn hold_back(&self, answers: &mut Answers) {
        if answers.iter().all(|(_, answer)| newest(answer) == 0) {
            return;
        }
        let mut waiting = self.waiting.lock();
        // Under the lock: what is newer than this is found by who looks next.
        let kept = self.store.newest(self.durability);
        let before = waiting.len();
        waiting.extend(answers.extract_if(.., |(_, answer)| newest(answer) > kept));
        let is_late = waiting.len() > before;
        drop(waiting);
        if is_late {
            self.store.hurry(self.durability);
        }
    }

    /// Brings what has waited, for ever.
    pub async fn run(&self, readers: &Readers) {
        let mut kept = 0;
        loop {
            kept = self.store.newer(self.durability, kept).await;
            let is_due = |(_, answer): &mut (_, Answer)| newest(answer) <= kept;
            let mut due: Answers = self.waiting.lock().extract_if(.., is_due).collect();
            readers.deliver(&mut due);
        }
    }
}

/// Of the messages in it; 0 if there are none.
fn newest(answer: &Answer) -> u64 {
    match answer {
        Answer::Batch(batch) => batch.newest_kept(),
        _ => 0,
    }
}
