//! The thread that writes what an app's core leaves behind.

use super::{Moment, Progress, Shared, batch::Batch, database::Database};
use crate::core::Millis;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Before a write that failed is tried again; doubles up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// When nothing happens, how often it is noted that the process is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// Then, before some more of what is free is given back to the file system.
const NEXT_SPACE: Duration = Duration::from_millis(50);

/// For so long a change that nobody waits for is kept back, for others to come: a
/// transaction of one writes some pages for it. So much more does a crash take.
pub(super) const COMPANY: Duration = Duration::from_millis(10);

/// The thread of a store.
pub(super) struct Writer {
    database: Database,
    shared: Arc<Shared>,
    name: String,
    now: Box<dyn Fn() -> Moment + Send>,
    batch: Batch,
    /// More can be given back to the file system.
    is_roomy: bool,
}

impl Writer {
    pub fn new(
        name: &str,
        database: Database,
        shared: Arc<Shared>,
        now: Box<dyn Fn() -> Moment + Send>,
    ) -> Self {
        let (name, batch) = (name.into(), Batch::default());
        Self { database, shared, name, now, batch, is_roomy: false }
    }

    /// Until the store ends.
    ///
    /// # Errors
    /// Why what came last is not written.
    pub fn run(mut self) -> Result<(), Arc<str>> {
        let mut retry = FIRST_RETRY;
        let mut is_failing = false;
        while let Some(round) = self.next_round(is_failing.then_some(retry)) {
            let started = Instant::now();
            let now = self.look_at_clocks();
            match self.database.write(&self.batch, round.sync, now) {
                Ok(()) => {
                    self.batch = Batch { next_id: self.batch.next_id, ..Batch::default() };
                    if is_failing {
                        tracing::info!(app = self.name, "the store can be written again");
                    }
                    (is_failing, retry) = (false, FIRST_RETRY);
                    self.shared.progress.send_modify(|progress| {
                        progress.with_the_os = round.up_to;
                        progress.newest_with_the_os = round.newest;
                        if round.sync {
                            progress.on_disk = round.up_to;
                            progress.newest_on_disk = round.newest;
                        }
                        progress.failing = None;
                    });
                    self.is_roomy = self.database.give_back().unwrap_or_else(|error| {
                        tracing::debug!(app = self.name, %error, "no space given back");
                        false
                    });
                }
                Err(error) => {
                    if !is_failing {
                        let ms = started.elapsed().as_millis();
                        tracing::error!(
                            app = self.name, %error, ms,
                            "the store cannot be written: nothing new is taken until it can"
                        );
                    }
                    if is_failing {
                        retry = (retry * 2).min(LAST_RETRY);
                    }
                    is_failing = true;
                    let why: Arc<str> = error.to_string().into();
                    let told = Some(why.clone());
                    self.shared.progress.send_modify(|progress| progress.failing = told);
                    if round.ends {
                        tracing::error!(app = self.name, "ends with changes that are not written");
                        return Err(why);
                    }
                }
            }
        }
        // All is written. What cannot be noted is that this was the end, so that the
        // next start takes it for a crash.
        let now = self.look_at_clocks();
        if let Err(error) = self.database.end(now) {
            tracing::error!(app = self.name, %error, "the store did not end in order");
        }
        Ok(())
    }

    fn look_at_clocks(&mut self) -> Millis {
        let now = (self.now)();
        self.database.note_calendar(now);
        now.mono
    }

    /// Waits for something to do, and takes it into the batch. None: everything
    /// is written and it is to end.
    fn next_round(&mut self, retry: Option<Duration>) -> Option<Round> {
        let mut waiting = self.shared.waiting.lock();
        if let Some(retry) = retry {
            let until = Instant::now() + retry;
            while !waiting.ends && !self.shared.wake.wait_until(&mut waiting, until).timed_out() {}
        } else {
            let until = Instant::now() + if self.is_roomy { NEXT_SPACE } else { SIGN_OF_LIFE };
            let Progress { with_the_os, on_disk, .. } = *self.shared.progress.borrow();
            while waiting.changes.is_empty() && waiting.sync_up_to <= on_disk {
                if waiting.ends {
                    return None;
                }
                if self.shared.wake.wait_until(&mut waiting, until).timed_out() {
                    break;
                }
            }
            let until = Instant::now() + COMPANY;
            while !waiting.changes.is_empty()
                && waiting.write_up_to <= with_the_os
                && waiting.sync_up_to <= on_disk
                && !waiting.ends
                && !self.shared.wake.wait_until(&mut waiting, until).timed_out()
            {}
        }
        let changes = std::mem::take(&mut waiting.changes);
        waiting.bytes = 0;
        let round = Round {
            up_to: waiting.pushed,
            newest: waiting.newest,
            sync: waiting.sync_up_to > self.shared.progress.borrow().on_disk || waiting.ends,
            ends: waiting.ends,
        };
        drop(waiting);
        changes.into_iter().for_each(|change| self.batch.add(change));
        Some(round)
    }
}

/// One transaction.
struct Round {
    /// The number of the last change in it.
    up_to: u64,
    /// The newest message that came until then.
    newest: u64,
    sync: bool,
    ends: bool,
}
