//! One app: a core, a chain of plugins, and the way of an event through them.
//!
//! Everything here is synchronous and takes its time from the caller, so the
//! simulator drives it as the server does.

mod counters;
mod event;
mod load;
mod make;
mod publish;

use crate::{
    core::{
        AccessError, Answer, Change, ConnId, Core, CoreLimits, Effects, Key, MailboxId,
        MailboxLimits, Millis, Name, Notice, Payload, Polled, ReadFrom, Totals,
    },
    plugin::{OpenRequest, Plugin, PluginLimits, Reads},
};
use arc_swap::ArcSwap;
pub use counters::{Counters, EventKind};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// How long an app whose plugins were costly runs its events one by one.
const SUSPECT_MS: Millis = 10_000;

/// What slow and failed calls may cost in a second before the app is suspect,
/// in milliseconds. A busy machine makes some calls slow that are not, each for
/// a few milliseconds.
const COSTLY_MS: u64 = 250;

/// Most notices that one call runs before it returns; the ticker goes on with
/// the rest.
const NOTICES_PER_CALL: usize = 16;

/// Most notices that may be waiting; beyond it no mailbox is opened. Since a
/// mailbox that closes was opened before, this bounds them all.
const MAX_BACKLOG: usize = 10_000;

/// The two clocks of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For deadlines; never jumps.
    pub mono: Millis,
    /// For plugins: milliseconds since 1970.
    pub unix_ms: u64,
}

/// Held reads to answer, for whoever holds the connections.
pub type Answers = Vec<(ConnId, Answer)>;

/// The plugins of an app, in the order in which they see an event. Their names
/// differ.
pub type Chain = Vec<Arc<dyn Plugin>>;

/// Limits and defaults of an app.
#[derive(Clone, Copy, Debug)]
pub struct AppLimits {
    pub core: CoreLimits,
    /// For mailboxes whose plugin says nothing else; a plugin may ask for less
    /// or for up to `max_mailbox`.
    pub mailbox: MailboxLimits,
    pub max_mailbox: MailboxLimits,
    pub linger_ms: u64,
    pub max_linger_ms: u64,
    pub plugin: PluginLimits,
}

/// A mailbox was opened, or joined.
#[derive(Debug)]
pub struct Opened {
    pub mailbox: Name,
    /// Behind which seq its client starts.
    pub cursor: u64,
    pub reply: Option<Payload>,
}

/// Why a request was not served.
#[derive(Debug)]
pub enum Refusal {
    Access(AccessError),
    /// A plugin's word to the client.
    Rejected {
        status: u16,
        reason: String,
    },
    NameTaken(Name),
    /// All seats of this shared mailbox are taken.
    NoSeat(Name),
    /// A plugin failed; the id is in the log.
    Failed {
        id: String,
    },
    /// The app's first plugins are not loaded yet.
    NotReady,
    /// The app is full.
    Limit {
        what: &'static str,
        limit: usize,
    },
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        Self::Access(error)
    }
}

/// What serves now.
struct Serving {
    chain: Chain,
    /// Counts the swaps; 0: nothing serves yet.
    version: u64,
}

/// One app.
pub struct App {
    name: Arc<str>,
    /// Change with the chain, while the gate is closed.
    limits: ArcSwap<AppLimits>,
    core: Arc<Mutex<Core>>,
    /// The gate: every call holds it for reading, a swap (and an event that
    /// kept colliding) for writing, hence alone. Taken before `core`, and never
    /// twice by one thread.
    gate: RwLock<Serving>,
    /// Source of seeds, fresh names and failure ids.
    seeds: AtomicU64,
    /// The deadline that the ticker waits for. Written under the core's lock.
    waits_for: AtomicU64,
    alarm: Box<dyn Fn() + Send + Sync>,
    suspect_until: AtomicU64,
    /// What slow and failed calls have cost, in milliseconds, and since when.
    cost_ms: AtomicU64,
    cost_since: AtomicU64,
    /// What plugins are still to be told, in order.
    backlog: Mutex<VecDeque<Notice>>,
    counters: Counters,
    /// Where what changes is kept.
    keeper: Option<Keeper>,
}

/// Takes the changes of a call, in the order of the calls: it is called under
/// the core's lock, so it must be short.
pub type Keeper = Box<dyn Fn(&mut Vec<Change>) + Send + Sync>;

impl App {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn limits(&self) -> AppLimits {
        **self.limits.load()
    }

    /// Counts the swaps; 0 until the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.gate.read().version
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        self.core.lock().totals()
    }

    /// Look-ups as a plugin makes them.
    #[must_use]
    pub fn reads(&self) -> Reads {
        Reads::new(self.core.clone())
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Slow and failed calls have cost much not long ago: the shell should run
    /// this app's events one at a time, so that they cannot occupy every thread.
    #[must_use]
    pub fn is_suspect(&self, now: Millis) -> bool {
        now < self.suspect_until.load(Relaxed)
    }

    /// A client asks for a mailbox; `key` will open it.
    ///
    /// # Errors
    /// If a plugin refuses or fails, or the name is taken.
    pub fn open(
        &self,
        now: Now,
        key: Key,
        request: &OpenRequest,
        out: &mut Answers,
    ) -> Result<Opened, Refusal> {
        if self.backlog.lock().len() > MAX_BACKLOG {
            return Err(Refusal::Limit { what: "events still to be run", limit: MAX_BACKLOG });
        }
        self.with_effects(now, out, |fx| self.run_open(now, key, request, fx))
    }

    /// A client sent a message through its mailbox, to a channel or to none; the
    /// plugins' reply.
    ///
    /// # Errors
    /// If the mailbox does not open, or a plugin refuses or fails.
    pub fn message(
        &self,
        now: Now,
        name: &str,
        key: Key,
        channel: Option<&Name>,
        data: &Payload,
        out: &mut Answers,
    ) -> Result<Option<Payload>, Refusal> {
        self.with_effects(now, out, |fx| self.run_message(now, name, key, channel, data, fx))
    }

    /// A client wants to be a member of these groups: of all of them, or (on an
    /// error) of none.
    ///
    /// # Errors
    /// If the mailbox does not open, a plugin refuses or fails, or no plugin
    /// wants the event.
    pub fn subscribe(
        &self,
        now: Now,
        name: &str,
        key: Key,
        groups: &[Name],
        out: &mut Answers,
    ) -> Result<(), Refusal> {
        self.with_effects(now, out, |fx| self.run_subscribe(now, name, key, groups, fx))
    }

    /// A client leaves these groups; where it is in none of them, that is fine.
    ///
    /// # Errors
    /// If the mailbox does not open, or a plugin has put it into one of them.
    pub fn unsubscribe(
        &self,
        now: Now,
        name: &str,
        key: Key,
        groups: &[Name],
        out: &mut Answers,
    ) -> Result<(), Refusal> {
        self.with_effects(now, out, |fx| self.run_unsubscribe(now, name, key, groups, fx))
    }

    /// Starts a read, see [`Core::poll`]. After [`Polled::Held`] an answer
    /// comes for `conn` in the `out` of some later call, perhaps on another
    /// thread and before this one returns, unless [`App::detach`] takes the
    /// connection back.
    ///
    /// # Errors
    /// If the mailbox does not open or the cursor is ahead of it.
    #[allow(clippy::too_many_arguments)] // one read's parameters, as in the core
    pub fn poll(
        &self,
        now: Now,
        name: &str,
        key: Key,
        from: ReadFrom,
        wait_ms: u64,
        conn: ConnId,
        out: &mut Answers,
    ) -> Result<Polled, AccessError> {
        self.with_effects(now, out, |fx| {
            let _gate = self.gate.read();
            self.with_core(|core| core.poll(now.mono, name, key, from, wait_ms, conn, fx))
        })
    }

    /// The same for a reader that has to know where it starts. One that stays
    /// goes on after each answer by [`App::poll`] with [`ReadFrom::Position`].
    ///
    /// # Errors
    /// If the mailbox does not open or the cursor is ahead of it.
    #[allow(clippy::too_many_arguments)] // as above
    pub fn follow(
        &self,
        now: Now,
        name: &str,
        key: Key,
        cursor: Option<u64>,
        wait_ms: u64,
        conn: ConnId,
        out: &mut Answers,
    ) -> Result<(u64, Polled), AccessError> {
        self.with_effects(now, out, |fx| {
            let _gate = self.gate.read();
            self.with_core(|core| {
                let cursor = match cursor {
                    Some(cursor) => cursor,
                    None => core.confirmed(now.mono, name, key)?,
                };
                let from = ReadFrom::Cursor(Some(cursor));
                let polled = core.poll(now.mono, name, key, from, wait_ms, conn, fx)?;
                Ok((cursor, polled))
            })
        })
    }

    /// A reader has processed everything up to `cursor`, see [`Core::confirm`].
    ///
    /// # Errors
    /// If the mailbox does not open or the cursor is ahead of it.
    pub fn confirm(&self, now: Now, name: &str, key: Key, cursor: u64) -> Result<(), AccessError> {
        let _gate = self.gate.read();
        self.with_core(|core| core.confirm(now.mono, name, key, cursor))
    }

    /// A mailbox by its name and key.
    #[must_use]
    pub fn find(&self, now: Now, name: &str, key: Key) -> Option<MailboxId> {
        self.core().session(now.mono, name, key).ok().map(|session| session.id)
    }

    /// The connection of a held read is gone.
    pub fn detach(&self, now: Now, mailbox: MailboxId, conn: ConnId) {
        self.with_core(|core| core.detach(now.mono, mailbox, conn));
    }

    /// A client closes its mailbox, see [`Core::close`].
    ///
    /// # Errors
    /// If the mailbox does not open.
    pub fn close(
        &self,
        now: Now,
        name: &str,
        key: Key,
        out: &mut Answers,
    ) -> Result<(), AccessError> {
        self.with_effects(now, out, |fx| {
            let _gate = self.gate.read();
            self.with_core(|core| core.close(now.mono, name, key, fx))
        })
    }

    /// Does some of what is due, for a bounded time. Returns when something is
    /// due next: not after `now` if there is more to do, `Millis::MAX` if
    /// nothing is due ever. Deliver `out` before the next tick.
    pub fn tick(&self, now: Now, out: &mut Answers) -> Millis {
        self.waits_for.store(0, Relaxed); // nobody needs to wake a ticker that is awake
        let mut fx = Effects { answers: std::mem::take(out), ..Effects::default() };
        {
            let _gate = self.gate.read();
            let mut core = self.core();
            core.tick(now.mono, &mut fx);
            self.keep_changes(&mut core);
        }
        self.run_backlog(now, &mut fx);
        *out = fx.answers;
        let core = self.core();
        // Looked at under the core's lock: another call that leaves notices
        // either did so before, or finds out below that it has to wake us.
        let is_behind = !self.backlog.lock().is_empty();
        let next = if is_behind { now.mono } else { core.next_deadline() };
        self.waits_for.store(next, Relaxed);
        next
    }

    /// Ends every held read with [`Answer::Nothing`], for a shutdown.
    pub fn release_held(&self, now: Now, out: &mut Answers) {
        self.with_effects(now, out, |fx| {
            self.with_core(|core| core.release_held(now.mono, fx));
        });
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    /// Changes the core; the ticker is told of an earlier deadline while it
    /// cannot look for one.
    fn with_core<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core();
        let result = change(&mut core);
        self.keep_changes(&mut core);
        self.wake_ticker(core.next_deadline());
        result
    }

    /// Under the core's lock, so that they are kept in the order in which they
    /// were made.
    fn keep_changes(&self, core: &mut Core) {
        if let Some(keeper) = &self.keeper {
            let mut changes = Vec::new();
            core.take_changes(&mut changes);
            keeper(&mut changes);
        }
    }

    /// Runs a call with effects that end up in `out`. The notices it leaves
    /// are run as events before this returns, or by the ticker if they are
    /// many: answers must not wait for them.
    fn with_effects<T>(
        &self,
        now: Now,
        out: &mut Answers,
        call: impl FnOnce(&mut Effects) -> T,
    ) -> T {
        let mut fx = Effects { answers: std::mem::take(out), ..Effects::default() };
        let result = call(&mut fx);
        if !fx.notices.is_empty() && self.are_notices_left(now, &mut fx) {
            let _core = self.core();
            self.wake_ticker(0);
        }
        *out = fx.answers;
        result
    }

    /// Runs notices, unless the app is suspect: then they are the ticker's, who
    /// takes turns for them. Whether some are left.
    fn are_notices_left(&self, now: Now, fx: &mut Effects) -> bool {
        if self.is_suspect(now.mono) {
            self.backlog.lock().append(&mut fx.notices);
            return true;
        }
        self.run_backlog(now, fx)
    }

    /// Runs the notices that wait, at most so many as a call may; whether some
    /// are left.
    fn run_backlog(&self, now: Now, fx: &mut Effects) -> bool {
        for _ in 0..NOTICES_PER_CALL {
            let notice = {
                let mut backlog = self.backlog.lock();
                backlog.append(&mut fx.notices);
                backlog.pop_front()
            };
            let Some(notice) = notice else { return false };
            self.run_notice(now, &notice, fx);
            if self.is_suspect(now.mono) {
                break; // the ticker takes turns with the app's other events
            }
        }
        let mut backlog = self.backlog.lock();
        backlog.append(&mut fx.notices);
        !backlog.is_empty()
    }

    /// Called under the core's lock.
    fn wake_ticker(&self, next: Millis) {
        if next < self.waits_for.load(Relaxed) {
            self.waits_for.store(next, Relaxed);
            (self.alarm)();
        }
    }

    /// 64 bits that no other call of this app gets: `SplitMix64` over a counter,
    /// so that a given first seed gives the same run again.
    fn seed(&self) -> u64 {
        let mut z = self.seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
