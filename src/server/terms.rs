//! What the configuration says about connections and requests, and can change
//! under way: looked up where a request begins, swapped as a whole, and without a
//! lock.

use super::{compress, cors::Origins};
use crate::{
    config::{AppConfig, Config, HttpConfig},
    store::Durability,
};
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;
use tokio::sync::Notify;

/// The gateway's terms.
#[derive(Clone, Debug)]
pub struct Terms {
    pub http: HttpConfig,
    pub(super) origins: Origins,
    /// Bodies from so many bytes on are compressed.
    pub(super) compress_bytes: usize,
}

impl Default for Terms {
    /// Those of a configuration that says nothing about them.
    fn default() -> Self {
        Self::of(HttpConfig::default(), Origins::default())
    }
}

impl Terms {
    pub(super) fn of(http: HttpConfig, origins: Origins) -> Self {
        Self { compress_bytes: compress::least_bytes(&http), http, origins }
    }
}

/// The terms of now. A copy has the same.
#[derive(Clone)]
pub(super) struct SharedTerms(Arc<Shared>);

struct Shared {
    current: ArcSwap<Terms>,
    /// For what has to be told of new terms instead of looking at them.
    renewed: Notify,
}

impl SharedTerms {
    pub fn new(config: &Config) -> Self {
        let terms = Terms::of(config.http.clone(), Origins::of(&config.cors));
        let current = ArcSwap::from_pointee(terms);
        Self(Arc::new(Shared { current, renewed: Notify::new() }))
    }

    /// Not to be held over an await: threads have few places for it. Clone the
    /// `Arc` for that.
    pub fn get(&self) -> Guard<Arc<Terms>> {
        self.0.current.load()
    }

    /// Requests from now on go by this configuration. For one caller at a time.
    pub fn renew(&self, config: &Config) {
        let origins = self.get().origins.renewed(&config.cors);
        self.0.current.store(Arc::new(Terms::of(config.http.clone(), origins)));
        self.0.renewed.notify_one();
    }

    /// Waits for new terms; for one task. Those that came since it last waited
    /// count.
    pub async fn renewed(&self) {
        self.0.renewed.notified().await;
    }
}

/// The terms of an app, but for its limits.
#[derive(Clone, Debug)]
pub(super) struct AppTerms {
    pub publish_keys: Vec<String>,
    /// Longest wait of a read, in milliseconds.
    pub max_wait_ms: u64,
    pub durability: Durability,
}

impl From<&AppConfig> for AppTerms {
    fn from(config: &AppConfig) -> Self {
        Self {
            publish_keys: config.publish_keys.clone(),
            max_wait_ms: config.max_wait_ms,
            durability: config.durability,
        }
    }
}
