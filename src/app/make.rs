//! Making an app, anew or from what was kept.

use super::{App, AppLimits, Counters, Keeper, Serving};
use crate::core::{Core, Millis};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use std::sync::{Arc, atomic::AtomicU64};

impl App {
    /// An app without plugins yet. `seed` makes everything random that is not
    /// secret; `alarm` is called (under a lock, so it must be short) when a
    /// deadline comes up that is earlier than what [`App::tick`] returned last.
    #[must_use]
    pub fn new(
        name: &str,
        limits: AppLimits,
        seed: u64,
        alarm: Box<dyn Fn() + Send + Sync>,
    ) -> Arc<Self> {
        Self::of(name, limits, Core::new(limits.core), seed, alarm, None)
    }

    /// An app that goes on with a core which was restored, and whose changes are
    /// kept.
    #[must_use]
    pub fn kept(
        name: &str,
        limits: AppLimits,
        core: Core,
        seed: u64,
        alarm: Box<dyn Fn() + Send + Sync>,
        keeper: Keeper,
    ) -> Arc<Self> {
        let app = Self::of(name, limits, core, seed, alarm, Some(keeper));
        app.with_core(|_| ()); // what the restart itself has changed
        app
    }

    fn of(
        name: &str,
        limits: AppLimits,
        core: Core,
        seed: u64,
        alarm: Box<dyn Fn() + Send + Sync>,
        keeper: Option<Keeper>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            limits: ArcSwap::from_pointee(limits),
            core: Arc::new(Mutex::new(core)),
            gate: RwLock::new(Serving { chain: Vec::new(), version: 0 }),
            seeds: AtomicU64::new(seed),
            waits_for: AtomicU64::new(Millis::MAX),
            alarm,
            suspect_until: AtomicU64::new(0),
            cost_ms: AtomicU64::new(0),
            cost_since: AtomicU64::new(0),
            backlog: Mutex::default(),
            counters: Counters::default(),
            keeper,
        })
    }
}
