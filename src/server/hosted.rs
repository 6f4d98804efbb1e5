//! The shell's side of one app.

use super::{
    clock::Clock, errors, late::Late, metrics::Requests, readers::Readers, terms::AppTerms,
};
use crate::{
    app::{Answers, App, Now},
    config::{AppConfig, Deliver},
    core::{AccessError, Answer, ConnId, Core, Key, MailboxId, Millis, Polled, ReadFrom, Restart},
    store::{self, Durability, Moment, Store},
    transport::ErrorBody,
};
use arc_swap::ArcSwap;
use std::{cell::Cell, sync::Arc, time::Duration};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Room for more answers than this is not kept for a thread's next call.
const KEPT_ANSWERS: usize = 4096;

/// An app with the reads it holds. All calls into an [`App`] go through
/// [`HostedApp::call`], which delivers the answers that came out.
pub struct HostedApp {
    app: Arc<App>,
    clock: Clock,
    pub(super) readers: Arc<Readers>,
    requests: Requests,
    /// What the events of a suspect app take in turns.
    turn: Semaphore,
    alarm: Arc<Notify>,
    terms: ArcSwap<AppTerms>,
    store: Option<Arc<Store>>,
    /// If nothing is delivered before it is kept.
    late: Option<Late>,
}

/// The store of an app that was opened, and how the app goes on from it.
pub(super) struct Kept {
    pub opened: store::Opened,
    pub restart: Restart,
}

impl HostedApp {
    /// An app without plugins yet.
    ///
    /// # Errors
    /// If the system gives no random numbers or no thread.
    pub(super) fn new(
        config: &AppConfig,
        clock: Clock,
        readers: Arc<Readers>,
        requests: Requests,
        kept: Option<Kept>,
    ) -> std::io::Result<Arc<Self>> {
        let alarm = Arc::new(Notify::new());
        let ring = alarm.clone();
        let seed = getrandom::u64()?;
        let ring = Box::new(move || ring.notify_one());
        let mut store = None;
        let app = match kept {
            None => App::new(&config.name, config.limits, seed, ring),
            Some(Kept { opened, restart }) => {
                let (image, opened) = opened.take_image();
                let core = Core::restore(config.limits.core, image, &restart);
                let now = move || {
                    let Now { mono, unix_ms } = clock.now();
                    Moment { mono, unix_ms }
                };
                let started = Arc::new(opened.start(&config.name, now)?);
                let keeper = started.clone();
                store = Some(started);
                let keeper = Box::new(move |changes: &mut _| keeper.push(changes));
                App::kept(&config.name, config.limits, core, seed, ring, keeper)
            }
        };
        let waits = config.deliver == Deliver::WhenKept;
        let late = store.clone().filter(|_| waits).map(|store| Late::new(store, config.durability));
        Ok(Arc::new(Self {
            app,
            clock,
            readers,
            requests,
            turn: Semaphore::new(1),
            alarm,
            terms: ArcSwap::from_pointee(config.into()),
            store,
            late,
        }))
    }

    /// Takes over what another configuration says about it, but for its plugins and
    /// limits: they change with the chain, see [`App::renew`].
    pub fn renew(&self, config: &AppConfig) {
        self.terms.store(Arc::new(config.into()));
        if let Some(late) = &self.late {
            late.set_durability(config.durability);
        }
    }

    /// Longest wait of a read, in milliseconds.
    pub(super) fn max_wait_ms(&self) -> u64 {
        self.terms.load().max_wait_ms
    }

    /// Whether an answer that says that something was taken has to wait for the
    /// store, see [`HostedApp::settled`].
    pub(super) fn waits_for_store(&self) -> bool {
        self.store.is_some() && self.terms.load().durability > Durability::None
    }

    /// Whether something new can be taken now.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(super) fn check_store(&self) -> Result<(), ErrorBody> {
        match self.store.as_ref().and_then(|store| store.failing()) {
            Some(why) => Err(errors::not_kept(&why)),
            None => Ok(()),
        }
    }

    /// Waits until all that was done so far is as durable as the app promises.
    ///
    /// # Errors
    /// If the store cannot be written; it may become so later.
    pub(super) async fn settled(&self) -> Result<(), ErrorBody> {
        match &self.store {
            Some(store) => {
                let durability = self.terms.load().durability;
                store.settled(durability).await.map_err(|why| errors::not_kept(&why))
            }
            None => Ok(()),
        }
    }

    /// Has the store written and synced, whether something has changed or not.
    ///
    /// # Errors
    /// Why that fails, see [`Store::try_disk`].
    pub(super) async fn try_disk(&self) -> Result<(), Arc<str>> {
        match &self.store {
            Some(store) => store.try_disk().await,
            None => Ok(()),
        }
    }

    /// Writes what is still to be written, for the end of the process. Blocks.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn end_store(&self) -> Result<(), Arc<str>> {
        self.store.as_ref().map_or(Ok(()), |store| store.end())
    }

    /// Waits until what the restart changed is on disk: nothing that comes after
    /// it must be kept without it.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn begun(&self) -> Result<(), Arc<str>> {
        match &self.store {
            Some(store) => store.settled(Durability::Disk).await,
            None => Ok(()),
        }
    }

    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// One call into the app: swaps, opens, publishes, … Afterwards the held
    /// reads that it answered are on their way.
    pub fn call<T>(&self, call: impl FnOnce(&App, Now, &mut Answers) -> T) -> T {
        thread_local! {
            static ANSWERS: Cell<Answers> = const { Cell::new(Answers::new()) };
        }
        let mut answers = ANSWERS.take();
        let result = call(&self.app, self.clock.now(), &mut answers);
        self.bring(&mut answers);
        if answers.capacity() <= KEPT_ANSWERS {
            // `LocalKey::set` is for values that are not there yet, and dearer.
            ANSWERS.with(|kept| kept.set(answers));
        }
        result
    }

    /// Answers held reads: for those who call the app directly, and not through
    /// [`HostedApp::call`].
    pub fn deliver(&self, mut answers: Answers) {
        self.bring(&mut answers);
    }

    fn bring(&self, answers: &mut Answers) {
        if let Some(late) = &self.late {
            late.hold_back(answers);
        }
        self.readers.deliver(answers);
    }

    /// Brings what had to wait until it was kept, for ever.
    pub(super) async fn deliver_late(self: Arc<Self>) {
        if let Some(late) = &self.late {
            late.run(&self.readers).await;
        }
    }

    /// Starts a read, see [`App::poll`].
    ///
    /// # Errors
    /// If the mailbox does not open or the cursor is ahead of it.
    pub(super) fn poll(
        &self,
        name: &str,
        key: Key,
        from: ReadFrom,
        wait_ms: u64,
        conn: ConnId,
    ) -> Result<Polled, AccessError> {
        let polled = self.call(|app, now, out| app.poll(now, name, key, from, wait_ms, conn, out));
        polled.map(|polled| self.once_kept(name, key, conn, polled))
    }

    /// The same for a reader that has to know where it starts, see
    /// [`App::follow`].
    ///
    /// # Errors
    /// If the mailbox does not open or the cursor is ahead of it.
    pub(super) fn follow(
        &self,
        name: &str,
        key: Key,
        cursor: Option<u64>,
        wait_ms: u64,
        conn: ConnId,
    ) -> Result<(u64, Polled), AccessError> {
        let (cursor, polled) =
            self.call(|app, now, out| app.follow(now, name, key, cursor, wait_ms, conn, out))?;
        Ok((cursor, self.once_kept(name, key, conn, polled)))
    }

    /// What is there but not kept comes later, as if the read were held.
    #[inline]
    fn once_kept(&self, name: &str, key: Key, conn: ConnId, polled: Polled) -> Polled {
        match (polled, &self.late) {
            (Polled::Ready(batch), Some(late)) if !late.is_kept(&batch) => {
                // Closed meanwhile: the next read is told.
                let Some(mailbox) = self.app.find(self.clock.now(), name, key) else {
                    return Polled::Nothing;
                };
                self.bring(&mut vec![(conn, Answer::Batch(batch))]);
                Polled::Held(mailbox)
            }
            (polled, _) => polled,
        }
    }

    pub(super) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Its events are to take turns, see [`HostedApp::turn`]. By the coarse
    /// clock, which is never ahead, turns end some milliseconds late at most.
    pub(super) fn takes_turns(&self) -> bool {
        self.app.is_suspect(self.clock.coarse_ms())
    }

    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// To be held over a call that can run plugins. Free but for an app whose
    /// plugin overran its time: such calls take turns, so that a looping
    /// plugin occupies one thread and not all.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if !self.takes_turns() {
            return None;
        }
        self.turn.acquire().await.ok()
    }

    pub(super) fn detach(&self, mailbox: MailboxId, conn: ConnId) {
        self.app.detach(self.clock.now(), mailbox, conn);
    }

    /// None: nobody may publish to this app.
    pub(super) fn may_publish(&self, key: &str) -> Option<bool> {
        let keys = &self.terms.load().publish_keys;
        if keys.is_empty() {
            return None;
        }
        // All of them, each in constant time: nothing is to be learnt from how
        // long it takes but a key's length.
        let matches = |one: &String| one.as_bytes().ct_eq(key.as_bytes());
        let found = keys.iter().map(matches).fold(Choice::from(0), |a, b| a | b);
        Some(found.into())
    }

    /// Runs the app's deadlines for ever.
    pub(super) async fn tick(self: Arc<Self>) {
        loop {
            let next = {
                let _turn = self.turn().await;
                self.call(|app, now, out| app.tick(now, out))
            };
            if next <= self.clock.mono_ms() {
                // There is more, but others want the thread, too.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = self.alarm.notified() => {}
                () = self.sleep_until(next) => {}
            }
        }
    }

    async fn sleep_until(&self, deadline: Millis) {
        if deadline == Millis::MAX {
            return std::future::pending().await;
        }
        let ms = deadline.saturating_sub(self.clock.mono_ms());
        // Tokio's timers end at some ten years; look again once a day.
        tokio::time::sleep(Duration::from_millis(ms.min(24 * 3600 * 1000))).await;
    }
}

/// A fresh key for a mailbox.
///
/// # Errors
/// If the system gives no random numbers.
pub(super) fn random_key() -> Result<Key, getrandom::Error> {
    let mut key = Key([0; 16]);
    getrandom::fill(&mut key.0)?;
    Ok(key)
}
