//! Keeps the plugins of the apps as new as their files.
//!
//! [`Supervisor::serve`] watches components, [`Supervisor::dev`] sources, which
//! it builds first. Either way a new chain is made aside, and only if all of it
//! works does it take over; otherwise the old one goes on serving, and
//! [`Supervisor::status`] and the log say why.

mod dirty;
mod load;
mod prepared;
mod source;
mod watch;
mod worker;

use crate::{
    app::{Answers, App, AppLimits, Chain, Now},
    build,
    config::{AppConfig, PluginConfig},
    core::PluginName,
    plugin::wasm::Engine,
};
pub use prepared::{Prepared, prepare};
use serde::Serialize;
use std::{path::PathBuf, sync::Arc};
use tokio::{
    sync::{mpsc, oneshot, watch::Receiver},
    task::JoinHandle,
};
use worker::{Renewal, Worker};

/// What a swap needs of whoever holds the connections of an app.
pub trait Shell: Send + Sync {
    fn now(&self) -> Now;
    /// Answers held reads. Called outside of any lock, on any thread.
    fn deliver(&self, answers: Answers);
}

/// An app and what its chain is made of.
#[derive(Clone)]
pub struct AppSpec {
    pub app: Arc<App>,
    pub shell: Arc<dyn Shell>,
    /// In the order of the chain.
    pub plugins: Vec<PluginSpec>,
}

/// One plugin of a chain.
#[derive(Clone, Debug)]
pub struct PluginSpec {
    pub name: PluginName,
    pub source: Source,
    /// A JSON text.
    pub settings: Arc<str>,
}

/// Where a plugin comes from. Two that are the same path are built once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A plugin's crate. Its component is where `cometbox build` puts it.
    Folder(PathBuf),
    /// A component.
    Component(PathBuf),
}

/// How an app is doing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AppStatus {
    pub name: String,
    /// What serves now; counts the swaps, 0 if nothing serves yet.
    pub version: u64,
    pub state: State,
    /// Why it failed: a line that says what is wrong, then perhaps the
    /// compiler's messages.
    pub error: Option<String>,
}

/// What the supervisor does with an app.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The newest version serves.
    Ok,
    Building,
    Loading,
    /// The newest version does not work; an older one may still serve.
    Failed,
}

/// All apps, in the order in which they were given.
pub type Status = Arc<[AppStatus]>;

/// A plugin could not be loaded, or not be watched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReloadError(String);

/// Reloads plugins until it is dropped. Must be made within a tokio runtime.
#[derive(Debug)]
pub struct Supervisor {
    renewals: mpsc::Sender<Renewal>,
    status: Receiver<Status>,
    serving: Prepared,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Loads all plugins, then watches their components.
    ///
    /// # Errors
    /// If one does not load: its component is missing, or is no plugin, or
    /// refuses its settings.
    pub async fn serve(apps: Vec<AppSpec>, engine: Engine) -> Result<Self, ReloadError> {
        Self::serve_prepared(apps, engine, &Prepared::default()).await
    }

    /// The same, where plugins are loaded already. One whose file has changed
    /// since is loaded again.
    ///
    /// # Errors
    /// As above.
    pub async fn serve_prepared(
        apps: Vec<AppSpec>,
        engine: Engine,
        prepared: &Prepared,
    ) -> Result<Self, ReloadError> {
        let mut worker = Worker::new(apps, engine, None)?;
        worker.take(prepared);
        worker.load_all().await?;
        Ok(Self::start(worker))
    }

    /// Builds and loads all plugins in the background, and again whenever
    /// sources are saved. Tells `progress` what cargo and rustup say.
    ///
    /// # Errors
    /// If the files cannot be watched. A plugin that does not build is no
    /// error: the status tells of it, and the next save is another try.
    pub fn dev(
        apps: Vec<AppSpec>,
        engine: Engine,
        progress: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Result<Self, ReloadError> {
        let worker = Worker::new(apps, engine, Some(progress))?;
        worker.mark_all();
        Ok(Self::start(worker))
    }

    fn start(worker: Worker) -> Self {
        let (status, serving) = (worker.status(), worker.serving());
        // Whoever sends one waits for it.
        let (renewals, to_do) = mpsc::channel(1);
        Self { renewals, status, serving, task: tokio::spawn(worker.run(to_do)) }
    }

    /// How the apps are doing, now and whenever that changes.
    #[must_use]
    pub fn status(&self) -> Receiver<Status> {
        self.status.clone()
    }

    /// The plugins that serve, now and from each swap on.
    #[must_use]
    pub fn serving(&self) -> Prepared {
        self.serving.clone()
    }

    /// Loads (in dev: builds) these plugins, also if they are those that serve, and
    /// swaps them in with these limits.
    ///
    /// # Errors
    /// If one does not load (see [`Supervisor::serve`]) or build, which the log
    /// and the status tell as well. The app is then what it was.
    pub async fn renew(
        &self,
        app: &str,
        plugins: Vec<PluginSpec>,
        limits: AppLimits,
    ) -> Result<(), ReloadError> {
        let (done, how) = oneshot::channel();
        let renewal = Renewal { app: app.to_owned(), plugins, limits, done };
        let ended = |_| ReloadError("nothing is reloaded any more".into());
        self.renewals.send(renewal).await.map_err(|_| ended(()))?;
        how.await.map_err(|_| ended(()))?
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // A running build goes with it.
        self.task.abort();
    }
}

impl Source {
    /// What the configuration calls a plugin: a folder or a component.
    #[must_use]
    pub fn of(path: PathBuf) -> Self {
        if path.is_dir() { Self::Folder(path) } else { Self::Component(path) }
    }
}

impl From<&PluginConfig> for PluginSpec {
    fn from(plugin: &PluginConfig) -> Self {
        Self {
            name: PluginName(plugin.name.as_str().into()),
            source: Source::of(plugin.path.clone()),
            settings: plugin.settings.clone(),
        }
    }
}

/// The component that `serve` loads for a plugin.
///
/// # Errors
/// If it is a folder in which nothing is built.
pub fn component_path(plugin: &PluginConfig) -> Result<PathBuf, ReloadError> {
    match Source::of(plugin.path.clone()) {
        Source::Folder(dir) => Ok(build::component_of(&dir)?),
        Source::Component(file) => Ok(file),
    }
}

/// Loads the components of an app, to see whether they do; nothing serves them.
///
/// # Errors
/// With the first one that is missing or does not load.
pub fn load_chain(engine: &Engine, app: &AppConfig) -> Result<Chain, ReloadError> {
    let parts = app.plugins.iter().map(|plugin| {
        Ok(load::Part::New { spec: plugin.into(), component: component_path(plugin)? })
    });
    let parts = parts.collect::<Result<_, ReloadError>>()?;
    let (plugins, _) = load::load(engine, parts, app.limits.plugin).map_err(ReloadError)?;
    Ok(plugins.into_iter().map(|plugin| plugin as _).collect())
}

impl From<build::BuildError> for ReloadError {
    fn from(error: build::BuildError) -> Self {
        Self(error.to_string())
    }
}
