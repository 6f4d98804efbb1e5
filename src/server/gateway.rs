//! What all connections share.

use super::full::Site;
use super::{
    browsers::Browsers,
    clock::Clock,
    dev::DevSite,
    front::Front,
    full::Conns,
    hosted::HostedApp,
    keeping,
    metrics::Metrics,
    readers::Readers,
    terms::{SharedTerms, Terms},
};
use crate::{config::Config, store::OpenError};
use arc_swap::Guard;
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("[store]")]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] NotWritten),
}

impl StartError {
    /// Whether it may go away by itself, as a full disk does.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Open(error) => {
                matches!(error, OpenError::Locked { .. } | OpenError::Failed { .. })
            }
            Self::Store(_) => true,
            Self::Io(_) => false,
        }
    }
}

/// The store of an app cannot be written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("[store] of {app} cannot be written: {why}")]
pub struct NotWritten {
    app: Box<str>,
    why: Arc<str>,
}

impl NotWritten {
    fn of(app: &HostedApp) -> impl Fn(Arc<str>) -> Self {
        let app: Box<str> = app.app().name().into();
        move |why| Self { app: app.clone(), why }
    }
}

/// The apps, and what the connections to them have in common.
pub struct Gateway {
    clock: Clock,
    apps: BTreeMap<String, Arc<HostedApp>>,
    terms: SharedTerms,
    dev: Option<DevSite>,
    pub(super) metrics: Metrics,
    /// Connections that hyper reads.
    pub(super) conns: Conns,
    readers: Arc<Readers>,
    browsers: Browsers,
    stopping: AtomicBool,
    closing: AtomicBool,
}

impl Gateway {
    /// The apps of the configuration, without plugins yet. `dev` is what
    /// `cometbox dev` serves beside them.
    ///
    /// # Errors
    /// If the system gives no random numbers or no epoll instance, or the store
    /// of an app does not open.
    pub fn new(config: &Config, dev: Option<DevSite>) -> Result<Arc<Self>, StartError> {
        Self::open(config, dev, &|_| ())
    }

    /// The same; `tell` hears how far it is with the stores, about once a second.
    ///
    /// # Errors
    /// As above.
    pub fn open(
        config: &Config,
        dev: Option<DevSite>,
        tell: &dyn Fn(&str),
    ) -> Result<Arc<Self>, StartError> {
        let clock = Clock::start();
        let terms = SharedTerms::new(config);
        let readers = Readers::new(clock, terms.clone())?;
        let mut metrics = Metrics::new();
        let mut apps = BTreeMap::new();
        for app in &config.apps {
            let requests = metrics.requests_of(&app.name);
            let store = config.store.as_ref();
            let kept = store.map(|store| keeping::open(store, &app.name, clock, tell));
            let hosted = HostedApp::new(app, clock, readers.clone(), requests, kept.transpose()?)?;
            apps.insert(app.name.clone(), hosted);
        }
        metrics.watch(apps.values().cloned().collect());
        Ok(Arc::new(Self {
            clock,
            metrics,
            apps,
            terms,
            dev,
            conns: Conns::new(clock),
            readers,
            browsers: Browsers::default(),
            stopping: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        }))
    }

    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    #[must_use]
    pub fn app(&self, name: &str) -> Option<&Arc<HostedApp>> {
        self.apps.get(name)
    }

    /// By name.
    pub fn apps(&self) -> impl Iterator<Item = &Arc<HostedApp>> {
        self.apps.values()
    }

    /// What the configuration says now about connections and requests. Not to be
    /// held over an await: clone the `Arc` for that.
    #[must_use]
    pub fn terms(&self) -> Guard<Arc<Terms>> {
        self.terms.get()
    }

    /// Waits until they are others; for the task that accepts connections.
    pub(super) async fn terms_renewed(&self) {
        self.terms.renewed().await;
    }

    /// Takes over what another configuration says about connections and
    /// requests: `[http]` and `cors`. For one caller at a time.
    pub fn renew(&self, config: &Config) {
        self.terms.renew(config);
    }

    #[must_use]
    pub fn dev(&self) -> Option<&DevSite> {
        self.dev.as_ref()
    }

    pub(super) fn browsers(&self) -> &Browsers {
        &self.browsers
    }

    pub(super) fn front(&self) -> &Front {
        &self.readers.front
    }

    /// Connections of clients and backends.
    pub(super) fn connections(&self) -> usize {
        self.front().count() + self.conns.count(Site::Public)
    }

    /// Waits until the stores can be relied on: what the restart itself changed
    /// is on disk.
    ///
    /// # Errors
    /// If one cannot be written. All of them are closed then.
    pub async fn begun(self: &Arc<Self>) -> Result<(), NotWritten> {
        for app in self.apps() {
            if let Err(error) = app.begun().await.map_err(NotWritten::of(app)) {
                let gateway = self.clone();
                // Why one does not end well was just said.
                let _ = tokio::task::spawn_blocking(move || gateway.end_stores()).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Has all stores written and synced, whether something has changed or not.
    ///
    /// # Errors
    /// If one cannot be written, or not within ten seconds.
    pub async fn try_disks(&self) -> Result<(), NotWritten> {
        for app in self.apps() {
            app.try_disk().await.map_err(NotWritten::of(app))?;
        }
        Ok(())
    }

    /// Writes what the stores still have to write, and closes them. Blocks.
    ///
    /// # Errors
    /// If something is not written; of several stores, the first is told.
    pub(super) fn end_stores(&self) -> Result<(), NotWritten> {
        let mut all = Ok(());
        for app in self.apps() {
            all = all.and(app.end_store().map_err(NotWritten::of(app)));
        }
        all
    }

    /// What is held is answered, and streams end: their clients come again.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// It is stopping, and nobody goes on: new requests are refused, and
    /// connections end with the request that they are at.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(SeqCst)
    }

    /// From now on the gateway goes down: connections end with the request
    /// that they are at, and held reads are answered at once.
    pub(super) fn stop(&self) {
        self.closing.store(true, SeqCst);
        self.stopping.store(true, SeqCst);
        // First this, so that the answers to held reads say that the
        // connection ends with them.
        self.conns.finish_all();
        self.front().stop();
        self.release_held();
    }

    /// From now on another gateway is to go on: held reads are answered, streams
    /// end, and [`Gateway::is_handed_over`] brings the rest to its end.
    pub(super) fn hand_over(&self) {
        // First this, so that a connection is given up as soon as its held read
        // is answered.
        self.front().start_giving();
        self.stopping.store(true, SeqCst);
        self.release_held();
    }

    /// Nobody else goes on: undoes [`Gateway::hand_over`].
    pub(super) fn go_on(&self) {
        self.front().stop_giving();
        self.stopping.store(false, SeqCst);
    }

    /// Gives up the front's connections that are between two requests, and ends
    /// those of hyper that do not end by themselves; whether none is left.
    /// `since_ms` is when handing over began, by the coarse clock.
    pub(super) fn is_handed_over(&self, since_ms: u64) -> bool {
        self.conns.finish_for_handover(since_ms);
        let at_work = self.front().give();
        at_work + self.conns.count(Site::Public) == 0
    }

    pub(super) fn release_held(&self) {
        for app in self.apps() {
            app.call(|app, now, out| app.release_held(now, out));
        }
    }
}
