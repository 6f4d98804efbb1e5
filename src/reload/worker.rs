//! The task that builds, loads and swaps.

use super::{
    AppSpec, AppStatus, PluginSpec, ReloadError, Shell, State, Status,
    dirty::Dirty,
    load::{self, Part},
    prepared::Prepared,
    source::{Kind, Origin},
    watch::Watch,
};
use crate::{
    app::{Answers, App, Chain},
    plugin::wasm::{Engine, WasmPlugin},
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

pub(super) type Progress = Arc<dyn Fn(&str) + Send + Sync>;

pub(super) struct Worker {
    engine: Engine,
    apps: Vec<Managed>,
    origins: Vec<Origin>,
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
        let mut origins: Vec<Origin> = Vec::new();
        let mut apps = Vec::new();
        for AppSpec { app, shell, plugins } in specs {
            let mut slots = Vec::new();
            for spec in plugins {
                let origin = Origin::new(&spec.source, progress.is_some())?;
                let index = origins.iter().position(|o| o.is_same(&origin)).unwrap_or_else(|| {
                    origins.push(origin);
                    origins.len() - 1
                });
                slots.push(Slot { spec, origin: index, serving: None, stale: true });
            }
            apps.push(Managed { app, shell, plugins: slots });
        }
        let dirty = Arc::new(Dirty::new(origins.len()));
        // Before anything is read, so that no change falls in between.
        let watch = Watch::start(origins.iter().map(Origin::target).collect(), dirty.clone())
            .map_err(|e| ReloadError(format!("cannot watch the plugins' files: {e}")))?;
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

    pub(super) fn dirty(&self) -> Arc<Dirty> {
        self.dirty.clone()
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

    pub(super) async fn run(mut self) {
        loop {
            self.dirty.wait(None).await;
            let pending = self.dirty.settle().await;
            self.watch.renew();
            self.work(pending).await;
        }
    }

    /// Builds what needs it, and reloads each app as soon as all of its
    /// plugins are ready.
    async fn work(&mut self, mut pending: BTreeSet<usize>) {
        for origin in &mut self.origins {
            origin.build = None;
        }
        while let Some(&origin) = pending.first() {
            if !self.build(origin).await {
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
    /// between.
    async fn build(&mut self, index: usize) -> bool {
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
            () = self.dirty.wait(Some(index)) => return false,
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
        let Managed { app, shell, plugins } = &mut self.apps[index];
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
        let limits = app.limits().plugin;
        let (chain, compile) = load::chain(self.engine.clone(), parts, limits).await?;
        let (version, swap) = swap(app.clone(), shell.clone(), &chain).await?;
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

/// On a thread of normal priority: whoever waits for the gate waits for this.
async fn swap(
    app: Arc<App>,
    shell: Arc<dyn Shell>,
    chain: &[Arc<WasmPlugin>],
) -> Result<(u64, Duration), String> {
    let chain: Chain = chain.iter().map(|plugin| plugin.clone() as _).collect();
    let swapped = tokio::task::spawn_blocking(move || {
        let mut answers = Answers::new();
        let started = Instant::now();
        let version = app.swap(shell.now(), chain, &mut answers);
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
