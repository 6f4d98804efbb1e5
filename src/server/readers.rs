//! Whoever waits for the answer to a read: connections of the front, and tasks.

use super::{
    clock::Clock,
    front::{self, Front},
    full::HeldReads,
};
use crate::{app::Answers, config::CorsConfig};
use std::{io, sync::Arc};
use tokio::runtime::Handle;

/// So many answers are written at once; of more, each lot is a task, so that a
/// message to a large group neither holds its publisher up nor keeps one thread
/// busy while others have nothing to do.
const LOT: usize = 256;

/// All held reads of all apps.
pub(super) struct Readers {
    pub front: Front,
    pub held: HeldReads,
    clock: Clock,
}

impl Readers {
    /// # Errors
    /// If the system gives no epoll instance.
    pub fn new(clock: Clock, cors: &CorsConfig) -> io::Result<Arc<Self>> {
        let front = Front::new(clock, cors)?;
        Ok(Arc::new(Self { front, held: HeldReads::default(), clock }))
    }

    /// Brings each answer to its read, and leaves the list empty.
    pub fn deliver(self: &Arc<Self>, answers: &mut Answers) {
        if answers.len() > LOT
            && let Ok(runtime) = Handle::try_current()
        {
            while answers.len() > LOT {
                let mut lot = answers.split_off(answers.len() - LOT);
                let readers = self.clone();
                runtime.spawn(async move { readers.bring(&mut lot) });
            }
        }
        self.bring(answers);
    }

    fn bring(&self, answers: &mut Answers) {
        let now_ms = self.clock.coarse_ms();
        for (conn, answer) in answers.drain(..) {
            match front::is_ours(conn) {
                true => self.front.answer(conn, answer, now_ms),
                false => self.held.answer(conn, answer),
            }
        }
    }
}
