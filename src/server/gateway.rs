//! What all connections share.

use super::full::Site;
use super::{
    browsers::Browsers, clock::Clock, dev::DevSite, front::Front, full::Conns, hosted::HostedApp,
    metrics::Metrics, readers::Readers,
};
use crate::config::{Config, CorsConfig, HttpConfig};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// The apps, and what the connections to them have in common.
pub struct Gateway {
    clock: Clock,
    apps: BTreeMap<String, Arc<HostedApp>>,
    http: HttpConfig,
    cors: CorsConfig,
    dev: Option<DevSite>,
    pub(super) metrics: Metrics,
    /// Connections that hyper reads.
    pub(super) conns: Conns,
    readers: Arc<Readers>,
    browsers: Browsers,
    stopping: AtomicBool,
}

impl Gateway {
    /// The apps of the configuration, without plugins yet. `dev` is what
    /// `cometbox dev` serves beside them.
    ///
    /// # Errors
    /// If the system gives no random numbers or no epoll instance.
    pub fn new(config: &Config, dev: Option<DevSite>) -> io::Result<Arc<Self>> {
        let clock = Clock::start();
        let readers = Readers::new(clock, config)?;
        let mut metrics = Metrics::new();
        let mut apps = BTreeMap::new();
        for app in &config.apps {
            let requests = metrics.requests_of(&app.name);
            let hosted = HostedApp::new(app, clock, readers.clone(), requests)?;
            apps.insert(app.name.clone(), hosted);
        }
        metrics.watch(apps.values().cloned().collect());
        Ok(Arc::new(Self {
            clock,
            metrics,
            apps,
            http: config.http.clone(),
            cors: config.cors.clone(),
            dev,
            conns: Conns::new(clock),
            readers,
            browsers: Browsers::default(),
            stopping: AtomicBool::new(false),
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

    #[must_use]
    pub fn http(&self) -> &HttpConfig {
        &self.http
    }

    #[must_use]
    pub fn cors(&self) -> &CorsConfig {
        &self.cors
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

    /// New requests are refused, held ones are answered.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// From now on the gateway goes down: connections end with the request
    /// that they are at, and held reads are answered at once.
    pub(super) fn stop(&self) {
        self.stopping.store(true, SeqCst);
        // First this, so that the answers to held reads say that the
        // connection ends with them.
        self.conns.finish_all();
        self.front().stop();
        self.release_held();
    }

    pub(super) fn release_held(&self) {
        for app in self.apps() {
            app.call(|app, now, out| app.release_held(now, out));
        }
    }
}
