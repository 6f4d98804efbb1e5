//! The task that builds, loads and swaps.

mod renew;

use super::{
    AppSpec, AppStatus, PluginSpec, ReloadError, Shell, State, Status,
    dirty::Dirty,
    load::{self, Part},
    prepared::Prepared,
    source::{Kind, Origin},
    watch::{Target, Watch},
};
use crate::{
    app::{Answers, App, AppLimits, Chain},
    plugin::wasm::{Engine, WasmPlugin},
};
pub(super) use renew::Renewal;
use slab::Slab;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

pub(super) type Progress = Arc<dyn Fn(&str) + Send + Sync>;

pub(super) struct Worker {
    engine: Engine,
    apps: Vec<Managed>,
    /// By indexes that stay.
    origins: Slab<Origin>,
    dirty: Arc<Dirty>,
    watch: Watch,
    status: watch::Sender<Status>,
    serving: Prepared,
    /// In dev.
    progress: Option<Progress>,
}

struct Managed {
    app: Arc<App>,
    shell: Arc<dyn Shell>,
    plugins: Vec<Slot>,
    /// Of its next version.
    limits: AppLimits,
}

/// One plugin of a chain.
struct Slot {
    spec: PluginSpec,
    /// Index of its origin.
    origin: usize,
    serving: Option<Arc<WasmPlugin>>,
    /// What serves is not what the file holds.
    stale: bool,
}

impl Worker {
    pub(super) fn new(
        specs: Vec<AppSpec>,
        engine: Engine,
        progress: Option<Progress>,
    ) -> Result<Self, ReloadError> {
        let mut origins = Slab::new();
        let mut apps = Vec::new();
        for AppSpec { app, shell, plugins } in specs {
            let mut slots = Vec::new();
            for spec in plugins {
                let origin = Origin::new(&spec.source, progress.is_some())?;
                let origin = place(&mut origins, origin);
                slots.push(Slot { spec, origin, serving: None, stale: true });
            }
            let limits = app.limits();
            apps.push(Managed { app, shell, plugins: slots, limits });
        }
        let dirty = Arc::new(Dirty::new(bound(&origins)));
        // Before anything is read, so that no change falls in between.
        let watch = Watch::start(targets(&origins), dirty.clone())?;
        let status = apps.iter().map(|managed| AppStatus {
            name: managed.app.name().to_owned(),
            version: managed.app.version(),
            state: State::Loading,
            error: None,
        });
        let (status, _) = watch::channel(status.collect());
        let serving = Prepared::default();
        Ok(Self { engine, apps, origins, dirty, watch, status, serving, progress })
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(super) fn serving(&self) -> Prepared {
        self.serving.clone()
    }

    /// Uses what is loaded already. The files are watched by now, so that none
    /// changes unseen.
    pub(super) fn take(&mut self, prepared: &Prepared) {
        for Managed { app, plugins, .. } in &mut self.apps {
            for slot in plugins {
                let Ok(component) = self.origins[slot.origin].component() else { continue };
                slot.serving = prepared.find(app.name(), &slot.spec.name, &component);
                slot.stale = slot.serving.is_none();
            }
        }
    }

    pub(super) fn mark_all(&self) {
        self.dirty.mark_all();
    }

    /// # Errors
    /// With the first app that does not load.
    pub(super) async fn load_all(&mut self) -> Result<(), ReloadError> {
        for index in 0..self.apps.len() {
            self.reload(index).await.map_err(|why| {
                ReloadError(format!("app {}: {why}", self.apps[index].app.name()))
            })?;
        }
        Ok(())
    }

    /// Works for ever, also on the renewals that come.
    pub(super) async fn run(mut self, mut renewals: mpsc::Receiver<Renewal>) {
        loop {
            tokio::select! {
                () = self.dirty.wait(None) => {
                    let pending = self.dirty.settle().await;
                    self.watch.renew();
                    self.work(pending).await;
                }
                Some(renewal) = renewals.recv() => self.renew(renewal).await,
            }
        }
    }

    /// Builds what needs it, and reloads each app as soon as all of its
    /// plugins are ready.
    async fn work(&mut self, mut pending: BTreeSet<usize>) {
        for (_, origin) in &mut self.origins {
            origin.build = None;
        }
        while let Some(&origin) = pending.first() {
            if !self.origins.contains(origin) {
                pending.remove(&origin);
                continue;
            }
            if !self.build(origin, true).await {
                // Saved again meanwhile: what was built so far is outdated.
                pending.extend(self.dirty.settle().await);
                self.watch.renew();
                continue;
            }
            pending.remove(&origin);
            for index in 0..self.apps.len() {
                let slots = &mut self.apps[index].plugins;
                let mut concerned = false;
                for slot in slots.iter_mut().filter(|slot| slot.origin == origin) {
                    slot.stale = true;
                    concerned = true;
                }
                if concerned && !slots.iter().any(|slot| pending.contains(&slot.origin)) {
                    // The reason is in log and status.
                    let _ = self.reload(index).await;
                }
            }
        }
    }

    /// Builds an origin if it is one to build. False: a newer save came in
    /// between, and it `gives_way` to that.
    async fn build(&mut self, index: usize, gives_way: bool) -> bool {
        let Kind::Crate { builder, built } = &mut self.origins[index].kind else {
            return true;
        };
        for (at, managed) in self.apps.iter().enumerate() {
            if managed.plugins.iter().any(|slot| slot.origin == index) {
                set_status(&self.status, at, &managed.app, State::Building, None);
            }
        }
        let progress = self.progress.clone();
        let mut say = move |line: &str| {
            if let Some(progress) = &progress {
                progress(line);
            }
        };
        let started = Instant::now();
        let result = tokio::select! {
            result = builder.build(&mut say) => result,
            () = self.dirty.wait(Some(index)), if gives_way => return false,
        };
        *built = Some(result.map(|built| built.path));
        self.origins[index].build = Some(started.elapsed());
        true
    }

    /// Makes a new chain for an app and swaps it in. If that fails, the old one
    /// goes on, and log and status say why.
    async fn reload(&mut self, index: usize) -> Result<(), String> {
        let build = self.apps[index]
            .plugins
            .iter()
            .filter_map(|slot| self.origins[slot.origin].build)
            .sum();
        let result = self.try_reload(index, build).await;
        let app = &self.apps[index].app;
        match &result {
            Ok(()) => set_status(&self.status, index, app, State::Ok, None),
            Err(why) => {
                let version = app.version();
                let line = why.lines().next().unwrap_or_default();
                if version == 0 {
                    tracing::error!(app = app.name(), "not loaded: {line}");
                } else {
                    tracing::error!(
                        app = app.name(),
                        version,
                        "not reloaded, the old version goes on: {line}"
                    );
                }
                set_status(&self.status, index, app, State::Failed, Some(why.clone()));
            }
        }
        result
    }

    async fn try_reload(&mut self, index: usize, build: Duration) -> Result<(), String> {
        let Managed { app, shell, plugins, limits } = &mut self.apps[index];
        set_status(&self.status, index, app, State::Loading, None);
        let mut parts = Vec::new();
        for slot in plugins.iter() {
            parts.push(match &slot.serving {
                Some(plugin) if !slot.stale => Part::Kept(plugin.clone()),
                _ => Part::New {
                    spec: slot.spec.clone(),
                    component: self.origins[slot.origin].component()?,
                },
            });
        }
        let (chain, compile) = load::chain(self.engine.clone(), parts, limits.plugin).await?;
        let (version, swap) = swap(app.clone(), shell.clone(), &chain, *limits).await?;
        for (slot, plugin) in plugins.iter_mut().zip(chain) {
            slot.serving = Some(plugin);
            slot.stale = false;
        }
        let chain =
            plugins.iter().filter_map(|slot| Some((&slot.spec.name, slot.serving.as_ref()?)));
        self.serving.serves(app.name(), chain);
        tracing::info!(
            app = app.name(),
            version,
            build_ms = millis(build),
            compile_ms = millis(compile),
            swap_us = u64::try_from(swap.as_micros()).unwrap_or(u64::MAX),
            "{}",
            if version == 1 { "loaded" } else { "reloaded" },
        );
        Ok(())
    }
}

/// The index of an origin, which is there once.
fn place(origins: &mut Slab<Origin>, origin: Origin) -> usize {
    let known = origins.iter().find(|(_, other)| other.is_same(&origin));
    let known = known.map(|(index, _)| index);
    known.unwrap_or_else(|| origins.insert(origin))
}

fn targets(origins: &Slab<Origin>) -> Vec<(usize, Target)> {
    origins.iter().map(|(index, origin)| (index, origin.target())).collect()
}

/// More than the highest index.
fn bound(origins: &Slab<Origin>) -> usize {
    origins.iter().map(|(index, _)| index + 1).max().unwrap_or(0)
}

/// On a thread of normal priority: whoever waits for the gate waits for this.
async fn swap(
    app: Arc<App>,
    shell: Arc<dyn Shell>,
    chain: &[Arc<WasmPlugin>],
    limits: AppLimits,
) -> Result<(u64, Duration), String> {
    let chain: Chain = chain.iter().map(|plugin| plugin.clone() as _).collect();
    let swapped = tokio::task::spawn_blocking(move || {
        let mut answers = Answers::new();
        let started = Instant::now();
        let version = app.renew(shell.now(), chain, limits, &mut answers);
        let took = started.elapsed();
        // What a failed swap left to answer is answered as well.
        shell.deliver(answers);
        version.map(|version| (version, took)).map_err(|e| format!("load: {e}"))
    });
    swapped.await.unwrap_or_else(|e| Err(format!("the swap panicked: {e}")))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn set_status(
    status: &watch::Sender<Status>,
    index: usize,
    app: &App,
    state: State,
    error: Option<String>,
) {
    status.send_modify(|all| {
        let mut apps = all.to_vec();
        apps[index].version = app.version();
        apps[index].state = state;
        apps[index].error = error;
        *all = apps.into();
    });
}
