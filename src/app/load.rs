//! Swapping the chain.

use super::{Answers, App, AppLimits, Chain, Now, Serving};
use crate::{
    core::{Commit, CommitError, Effects},
    plugin::{Context, Event, Failure, FailureKind, Reads},
};
use std::sync::Arc;

impl App {
    /// Runs `load` on every plugin of the new chain and makes it the one that
    /// serves: every event runs wholly in the old chain or wholly in the new
    /// one. Returns the new version (1, 2, …).
    ///
    /// # Errors
    /// If a plugin refuses or fails to load; the old chain goes on serving.
    pub fn swap(&self, now: Now, chain: Chain, out: &mut Answers) -> Result<u64, Failure> {
        self.renew(now, chain, self.limits(), out)
    }

    /// The same with other limits, which are those of the events in the new chain
    /// and of its load. What is over them already stays.
    ///
    /// # Errors
    /// As above; the limits, too, are what they were.
    pub fn renew(
        &self,
        now: Now,
        chain: Chain,
        limits: AppLimits,
        out: &mut Answers,
    ) -> Result<u64, Failure> {
        self.with_effects(now, out, |fx| {
            // Mostly the gate is closed only for the commit, not for the load.
            let commit = self.load(now, &chain, self.version() > 0)?;
            let mut serving = self.gate.write();
            let before = self.set_limits(limits);
            let loaded = match self.commit_load(now, commit, fx) {
                Err(CommitError::Conflict) => self
                    .load(now, &chain, serving.version > 0)
                    .and_then(|again| self.commit_load(now, again, fx).map_err(load_failure)),
                result => result.map_err(load_failure),
            };
            if let Err(failure) = loaded {
                self.set_limits(before);
                return Err(failure);
            }
            let version = serving.version + 1;
            let old = std::mem::replace(&mut *serving, Serving { chain, version });
            drop(serving);
            drop(old); // its instances are freed while the new chain serves
            Ok(version)
        })
    }

    /// Those before. With the gate closed.
    fn set_limits(&self, limits: AppLimits) -> AppLimits {
        let before = self.limits();
        self.limits.store(Arc::new(limits));
        self.with_core(|core| core.set_limits(limits.core));
        before
    }

    fn commit_load(
        &self,
        now: Now,
        commit: Commit<'_>,
        fx: &mut Effects,
    ) -> Result<(), CommitError> {
        self.with_core(|core| core.commit(now.mono, commit, fx)).map(drop)
    }

    fn load(&self, now: Now, chain: &Chain, reload: bool) -> Result<Commit<'static>, Failure> {
        let mut reads = Reads::new(self.core.clone());
        let mut commit = Commit::default();
        for plugin in chain {
            let context = Context { now_ms: now.unix_ms, seed: self.seed() };
            let event = Event::Load { reload };
            self.counters.called(&event);
            commit.actions.extend(plugin.call(context, event, &mut reads)?.actions);
        }
        commit.reads = reads.take_seen();
        Ok(commit)
    }
}

fn load_failure(error: CommitError) -> Failure {
    Failure::Failed { kind: FailureKind::Limit, text: error.to_string() }
}
