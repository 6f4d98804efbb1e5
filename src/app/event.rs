//! The way of an event: snapshot, call, commit.

use super::{App, AppLimits, COSTLY_MS, Now, Opened, Refusal, SUSPECT_MS, Serving};
use crate::{
    core::{
        Action, Commit, CommitError, Committed, Effects, Key, Name, Notice, OpenMailbox, Payload,
        PluginName, Session, States,
    },
    plugin::{
        Accept, Context, Event, Failure, FailureKind, OpenRequest, Outcome, Plugin, Reads,
        SessionView,
    },
};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// How often an event runs side by side with others before it gets the gate
/// for itself.
const TRIES: usize = 4;

/// What the plugins of a chain made of an event, before it is committed.
pub(super) struct Plan<'a, T> {
    pub commit: Commit<'a>,
    pub rest: T,
}

impl App {
    pub(super) fn run_open(
        &self,
        now: Now,
        key: Key,
        request: &OpenRequest,
        fx: &mut Effects,
    ) -> Result<Opened, Refusal> {
        let (committed, (mailbox, reply)) =
            self.run(now, fx, |serving, reads| self.plan_open(now, key, request, serving, reads))?;
        Ok(Opened { mailbox, cursor: committed.cursor, reply })
    }

    fn plan_open(
        &self,
        now: Now,
        key: Key,
        request: &OpenRequest,
        serving: &Serving,
        reads: &mut Reads,
    ) -> Result<Plan<'static, (Name, Option<Payload>)>, Refusal> {
        let fresh_name = format!("m-{:016x}", self.seed());
        let mut merged = Accept::default();
        let mut states = States::new();
        let mut commit = Commit::default();
        let mut reply = None;
        let mut shares = None;
        for plugin in &serving.chain {
            let event = Event::Open {
                request,
                identity: merged.identity.as_deref(),
                mailbox: merged.mailbox.as_ref().map(Name::as_str),
                fresh_name: &fresh_name,
            };
            let outcome = self.call(now, plugin, event, reads)?;
            commit.actions.extend(outcome.actions);
            reply = outcome.reply.or(reply);
            let mut accept = outcome.accept.unwrap_or_default();
            if let Some(state) = accept.state.take() {
                states.push((plugin.name().clone(), state));
            }
            shares = accept.shared.then_some(plugin).or(shares);
            merge(&mut merged, *accept);
        }
        if let Some(plugin) = shares
            && merged.identity.is_none()
        {
            // Anybody who knows the name could read along.
            let text = "shared is for mailboxes with an identity, and no plugin has set one";
            let failure = Failure::Failed { kind: FailureKind::Error, text: text.into() };
            return Err(self.note_failure(now, &plugin.name().0, "open", failure));
        }
        let name = merged.mailbox.take().unwrap_or_else(|| {
            Name::parse(&fresh_name).expect("m- and 16 hex digits make a valid name")
        });
        commit.open = Some(Box::new(self.mailbox_to_open(name.clone(), key, states, merged)));
        Ok(Plan { commit, rest: (name, reply) })
    }

    fn mailbox_to_open(&self, name: Name, key: Key, states: States, accept: Accept) -> OpenMailbox {
        let AppLimits { mailbox: mut limits, max_mailbox: max, linger_ms, max_linger_ms, .. } =
            self.limits();
        limits.messages = accept.messages.unwrap_or(limits.messages).clamp(1, max.messages);
        limits.bytes = accept.bytes.unwrap_or(limits.bytes).min(max.bytes);
        limits.full = accept.full.unwrap_or(limits.full);
        limits.per_second = accept.per_second.unwrap_or(limits.per_second);
        let linger_ms = accept.linger_ms.unwrap_or(linger_ms);
        OpenMailbox {
            name,
            key,
            replace: accept.replace,
            shared: accept.shared,
            identity: accept.identity,
            states,
            groups: accept.groups,
            linger_ms: linger_ms.min(max_linger_ms),
            limits,
            first: accept.first,
        }
    }

    pub(super) fn run_message(
        &self,
        now: Now,
        name: &str,
        key: Key,
        channel: Option<&Name>,
        data: &Payload,
        fx: &mut Effects,
    ) -> Result<Option<Payload>, Refusal> {
        let (_, reply) = self.run(now, fx, |serving, reads| {
            let session = self.core().session(now.mono, name, key)?;
            let mut commit = Commit::default();
            let mut reply = None;
            for plugin in serving.chain.iter().filter(|plugin| plugin.wants().message) {
                let session = view(&session, plugin.name());
                let event = Event::Message { session, channel: channel.map(Name::as_str), data };
                let mut outcome = self.call(now, plugin, event, reads)?;
                reply = outcome.reply.take().or(reply);
                add_actions(&mut commit.actions, outcome, plugin.name());
            }
            commit.session = Some(session);
            Ok(Plan { commit, rest: reply })
        })?;
        Ok(reply)
    }

    pub(super) fn run_subscribe(
        &self,
        now: Now,
        name: &str,
        key: Key,
        groups: &[Name],
        fx: &mut Effects,
    ) -> Result<(), Refusal> {
        self.run(now, fx, |serving, reads| {
            let session = self.core().session(now.mono, name, key)?;
            let join = |group: &Name| Action::Join {
                mailbox: session.name.clone(),
                group: group.clone(),
                chosen: true,
            };
            let mut commit = Commit::default();
            // First, so that what a plugin sends to a group of these is heard.
            commit.actions.extend(groups.iter().map(join));
            let mut may_join = false;
            for plugin in serving.chain.iter().filter(|plugin| plugin.wants().subscribe) {
                may_join = true;
                let event = Event::Subscribe { session: view(&session, plugin.name()), groups };
                let outcome = self.call(now, plugin, event, reads)?;
                add_actions(&mut commit.actions, outcome, plugin.name());
            }
            if !may_join {
                return Err(no_subscriptions());
            }
            commit.session = Some(session);
            Ok(Plan { commit, rest: () })
        })?;
        Ok(())
    }

    /// Of a client, who may leave what it has chosen; so no plugin is asked. It
    /// stays where a plugin has put it.
    pub(super) fn run_unsubscribe(
        &self,
        now: Now,
        name: &str,
        key: Key,
        groups: &[Name],
        fx: &mut Effects,
    ) -> Result<(), Refusal> {
        self.run(now, fx, |_, _| {
            let session = self.core().session(now.mono, name, key)?;
            if let Some(group) = self.core().put_into(session.id, groups) {
                let reason = format!("a plugin has put this client into {:?}", group.as_str());
                return Err(Refusal::Rejected { status: 403, reason });
            }
            let leave = |group: &Name| Action::Leave {
                mailbox: session.name.clone(),
                group: group.clone(),
            };
            let actions = groups.iter().map(leave).collect();
            let commit = Commit { session: Some(session.clone()), actions, ..Commit::default() };
            Ok(Plan { commit, rest: () })
        })?;
        Ok(())
    }

    /// Tells the plugins what happened. There is nobody to answer: what goes
    /// wrong is in the log.
    pub(super) fn run_notice(&self, now: Now, notice: &Notice, fx: &mut Effects) {
        let wanted = |plugin: &Arc<dyn Plugin>| match notice {
            Notice::Attached(_) => plugin.wants().attached,
            Notice::Detached(_) => plugin.wants().detached,
            Notice::Closed(..) => plugin.wants().closed,
            Notice::Timer { plugin: whose, .. } => plugin.name() == whose && plugin.wants().timer,
        };
        let about = match notice {
            Notice::Attached(session) | Notice::Detached(session) => Some(session),
            Notice::Closed(..) => None,
            Notice::Timer { session, .. } => session.as_ref(),
        };
        if !self.gate.read().chain.iter().any(wanted) {
            return;
        }
        let result = self.run(now, fx, |serving, reads| {
            let mut commit = Commit::default();
            if let Some(session) = about {
                commit.session = self.core().session_again(session.id);
                if commit.session.is_none() {
                    return Ok(Plan { commit, rest: () });
                }
            }
            for plugin in serving.chain.iter().filter(|plugin| wanted(plugin)) {
                let event = notice_event(notice, commit.session.as_ref(), plugin.name());
                let outcome = self.call(now, plugin, event, reads)?;
                add_actions(&mut commit.actions, outcome, plugin.name());
            }
            if let Notice::Closed(..) = notice {
                // The mailbox is gone and its state with it.
                commit.actions.retain(|action| !matches!(action, Action::SetState { .. }));
            }
            Ok(Plan { commit, rest: () })
        });
        match result {
            Ok(_) | Err(Refusal::Failed { .. } | Refusal::NotReady) => {}
            Err(refusal) => tracing::warn!(app = %self.name, ?notice, ?refusal, "event refused"),
        }
    }

    /// Plans and commits until nothing that the plan rests on has changed in
    /// between. `plan` may run several times and must change nothing.
    pub(super) fn run<'a, T>(
        &self,
        now: Now,
        fx: &mut Effects,
        plan: impl Fn(&Serving, &mut Reads) -> Result<Plan<'a, T>, Refusal>,
    ) -> Result<(Committed, T), Refusal> {
        for _ in 0..TRIES {
            let serving = self.gate.read();
            if let Some(done) = self.try_once(now, fx, &serving, &plan)? {
                return Ok(done);
            }
            self.counters.collided();
        }
        // With the gate closed nobody else changes anything, so it cannot
        // collide once more.
        let serving = self.gate.write();
        self.try_once(now, fx, &serving, &plan)?.ok_or_else(|| {
            let text = "collided with the gate closed".to_owned();
            self.note_failure(
                now,
                "-",
                "commit",
                Failure::Failed { kind: FailureKind::Error, text },
            )
        })
    }

    /// None: it collided.
    fn try_once<'a, T>(
        &self,
        now: Now,
        fx: &mut Effects,
        serving: &Serving,
        plan: impl Fn(&Serving, &mut Reads) -> Result<Plan<'a, T>, Refusal>,
    ) -> Result<Option<(Committed, T)>, Refusal> {
        if serving.version == 0 {
            return Err(Refusal::NotReady);
        }
        let mut reads = Reads::new(self.core.clone());
        let Plan { mut commit, rest } = plan(serving, &mut reads)?;
        commit.reads = reads.take_seen();
        let result = self.with_core(|core| core.commit(now.mono, commit, fx));
        match result {
            Ok(committed) => Ok(Some((committed, rest))),
            Err(CommitError::Conflict) => Ok(None),
            Err(CommitError::Gone) => Err(Refusal::Access(crate::core::AccessError::NotFound)),
            Err(CommitError::NameTaken(name)) => Err(Refusal::NameTaken(name)),
            Err(CommitError::NoSeat(name)) => Err(Refusal::NoSeat(name)),
            Err(CommitError::Limit { what, limit }) => Err(Refusal::Limit { what, limit }),
            Err(error @ CommitError::NoSession) => {
                let failure = Failure::Failed { kind: FailureKind::Error, text: error.to_string() };
                Err(self.note_failure(now, "-", "commit", failure))
            }
        }
    }

    pub(super) fn call(
        &self,
        now: Now,
        plugin: &Arc<dyn Plugin>,
        event: Event<'_>,
        reads: &mut Reads,
    ) -> Result<Outcome, Refusal> {
        let context = Context { now_ms: now.unix_ms, seed: self.seed() };
        self.counters.called(&event);
        let outcome = plugin
            .call(context, event, reads)
            .map_err(|failure| self.note_failure(now, &plugin.name().0, event.name(), failure))?;
        if outcome.slow_ms > 0 {
            self.charge(now, outcome.slow_ms);
        }
        Ok(outcome)
    }

    /// Accounts what a call cost beyond the usual. Threads may race for a new
    /// second; then some cost is forgotten, which does no harm.
    fn charge(&self, now: Now, ms: u64) {
        let before = if now.mono.saturating_sub(self.cost_since.load(Relaxed)) >= 1000 {
            self.cost_since.store(now.mono, Relaxed);
            self.cost_ms.store(ms, Relaxed);
            0
        } else {
            self.cost_ms.fetch_add(ms, Relaxed)
        };
        if before + ms > COSTLY_MS {
            self.suspect_until.store(now.mono + SUSPECT_MS, Relaxed);
        }
    }

    /// About what a failure costs, in milliseconds: the time of the call, and a
    /// new instance.
    fn cost_of(&self, kind: FailureKind) -> u64 {
        match kind {
            FailureKind::Time => self.limits().plugin.call_ms,
            FailureKind::Memory => 5,
            FailureKind::Limit | FailureKind::Trap => 1,
            FailureKind::Error => 0,
        }
    }

    fn note_failure(&self, now: Now, plugin: &str, event: &str, failure: Failure) -> Refusal {
        match failure {
            Failure::Rejected { status, reason } => {
                self.counters.rejected();
                Refusal::Rejected { status, reason }
            }
            Failure::Failed { kind, text } => {
                self.counters.failed(kind);
                self.charge(now, self.cost_of(kind));
                let id = format!("e-{:016x}", self.seed());
                tracing::error!(
                    app = %self.name, plugin, event, id, kind = %kind, error = text,
                    "plugin failed"
                );
                Refusal::Failed { id }
            }
        }
    }
}

fn no_subscriptions() -> Refusal {
    let reason = "the plugins of this app let nobody subscribe".to_owned();
    Refusal::Rejected { status: 403, reason }
}

fn view<'a>(session: &'a Session, plugin: &PluginName) -> SessionView<'a> {
    SessionView {
        mailbox: session.name.as_str(),
        identity: session.identity.as_deref(),
        state: session.state(plugin).map(|state| &state[..]),
    }
}

fn notice_event<'a>(
    notice: &'a Notice,
    current: Option<&'a Session>,
    plugin: &PluginName,
) -> Event<'a> {
    match notice {
        Notice::Attached(then) => {
            Event::Attached { session: view(current.unwrap_or(then), plugin) }
        }
        Notice::Detached(then) => {
            Event::Detached { session: view(current.unwrap_or(then), plugin) }
        }
        Notice::Closed(last, cause) => Event::Closed { session: view(last, plugin), cause: *cause },
        Notice::Timer { name, .. } => {
            Event::Timer { name, session: current.map(|session| view(session, plugin)) }
        }
    }
}

/// Adds what a plugin wants; a state migrated on the way is kept unless the
/// plugin stored another one.
fn add_actions(actions: &mut Vec<Action>, outcome: Outcome, plugin: &PluginName) {
    if let Some(state) = outcome.migrated {
        actions.push(Action::SetState { plugin: plugin.clone(), state });
    }
    append(actions, outcome.actions);
}

/// Mostly the plugin's list is the only one: then it is the list.
pub(super) fn append(actions: &mut Vec<Action>, mut more: Vec<Action>) {
    if actions.is_empty() {
        *actions = more;
    } else {
        actions.append(&mut more);
    }
}

/// Later plugins of the chain overrule earlier ones, where they say something.
fn merge(into: &mut Accept, from: Accept) {
    into.mailbox = from.mailbox.or(into.mailbox.take());
    into.replace |= from.replace;
    into.shared |= from.shared;
    into.identity = from.identity.or(into.identity.take());
    into.groups.extend(from.groups);
    into.linger_ms = from.linger_ms.or(into.linger_ms);
    into.messages = from.messages.or(into.messages);
    into.bytes = from.bytes.or(into.bytes);
    into.full = from.full.or(into.full);
    into.per_second = from.per_second.or(into.per_second);
    into.first.extend(from.first);
}
