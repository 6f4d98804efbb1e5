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
    state: Mutex<State>,
}

struct State {
    durability: Durability,
    /// One for each held read at the most.
    answers: Answers,
}

impl Late {
    pub fn new(store: Arc<Store>, durability: Durability) -> Self {
        Self { store, state: Mutex::new(State { durability, answers: Answers::new() }) }
    }

    /// From now on readers wait for this.
    pub fn set_durability(&self, durability: Durability) {
        self.state.lock().durability = durability;
        // What waits is looked at once more when that is done.
        self.store.hurry(Durability::Disk);
    }

    pub fn is_kept(&self, batch: &Batch) -> bool {
        batch.newest_kept() <= self.store.newest(self.state.lock().durability)
    }

    /// Takes those answers out that have to wait.
    pub fn hold_back(&self, answers: &mut Answers) {
        if answers.iter().all(|(_, answer)| newest(answer) == 0) {
            return;
        }
        let mut state = self.state.lock();
        // Under the lock: what is newer than this is found by who looks next.
        let kept = self.store.newest(state.durability);
        let before = state.answers.len();
        state.answers.extend(answers.extract_if(.., |(_, answer)| newest(answer) > kept));
        let (durability, is_late) = (state.durability, state.answers.len() > before);
        drop(state);
        if is_late {
            self.store.hurry(durability);
        }
    }

    /// Brings what has waited, for ever.
    pub async fn run(&self, readers: &Readers) {
        let mut progress = self.store.progress();
        loop {
            let mut due = {
                let mut state = self.state.lock();
                let kept = self.store.newest(state.durability);
                let is_due = |(_, answer): &mut (_, Answer)| newest(answer) <= kept;
                state.answers.extract_if(.., is_due).collect::<Answers>()
            };
            readers.deliver(&mut due);
            if progress.changed().await.is_err() {
                return; // the store has ended
            }
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
