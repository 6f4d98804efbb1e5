//! Publishing, once or again.

use super::{
    Answers, App, Now, Refusal,
    event::{Plan, append},
};
use crate::{
    core::{Address, Commit, Effects, Message, PublishId, SendReport},
    plugin::Event,
};
use std::sync::Arc;

impl App {
    /// A backend published a message.
    ///
    /// # Errors
    /// If a plugin refuses or fails.
    pub fn publish(
        &self,
        now: Now,
        to: &Address,
        message: &Arc<Message>,
        out: &mut Answers,
    ) -> Result<SendReport, Refusal> {
        self.with_effects(now, out, |fx| self.run_publish(now, None, to, message, fx))
    }

    /// The same under an id. If it was done before, within the app's window, then
    /// it is not done again, whatever it says now; the report is that of the first
    /// time.
    ///
    /// # Errors
    /// If a plugin refuses or fails, or no more ids can be remembered. Nothing was
    /// done then, so the id can be used again.
    pub fn publish_once(
        &self,
        now: Now,
        id: &PublishId,
        to: &Address,
        message: &Arc<Message>,
        out: &mut Answers,
    ) -> Result<SendReport, Refusal> {
        // Whether it was is decided by the commit; but most often it shows before
        // the plugins have worked for nothing.
        let before = self.core().done_before(now.mono, id);
        if let Some(report) = before {
            return Ok(report);
        }
        self.with_effects(now, out, |fx| self.run_publish(now, Some(id), to, message, fx))
    }

    fn run_publish(
        &self,
        now: Now,
        id: Option<&PublishId>,
        to: &Address,
        message: &Arc<Message>,
        fx: &mut Effects,
    ) -> Result<SendReport, Refusal> {
        let (committed, ()) = self.run(now, fx, |serving, reads| {
            let mut deliver = true;
            let mut commit = Commit { id, ..Commit::default() };
            for plugin in serving.chain.iter().filter(|plugin| plugin.wants().publish) {
                let event = Event::Publish { to, message };
                let outcome = self.call(now, plugin, event, reads)?;
                deliver &= outcome.deliver;
                append(&mut commit.actions, outcome.actions);
            }
            commit.publish = deliver.then_some((to, message));
            Ok(Plan { commit, rest: () })
        })?;
        let mut report = SendReport::default();
        committed.sends.into_iter().for_each(|send| report.merge(send));
        Ok(report)
    }
}
