//! From a plugin's folder to a component, and from nothing to a plugin's
//! folder.
//!
//! [`Builder`] runs cargo the way a newcomer would have to: finds it, installs
//! the missing wasm target, builds, and turns the module into a component at
//! `FOLDER/build/CRATE.wasm`. Dropping a running build kills it.

mod cargo;
mod component;
mod output;
mod scaffold;
mod toolchain;

pub use scaffold::scaffold;

use cargo::Purpose;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};
use toolchain::Toolchain;

/// What plugins are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Told line by line what goes on, for a terminal.
pub type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

/// A component that was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// `FOLDER/build/CRATE.wasm`, complete: it was put there by a rename.
    pub path: PathBuf,
    /// Of the component.
    pub size_bytes: usize,
    /// Cargo's part.
    pub compile: Duration,
    /// From the module to the component on disk.
    pub encode: Duration,
}

/// A build that did not work out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{summary}")]
pub struct BuildError {
    /// One line: what is wrong, and what to do.
    pub summary: String,
    /// The compiler's messages as it would print them.
    pub details: Option<String>,
}

impl BuildError {
    fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), details: None }
    }

    fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::new(format!("{what}: {error}"))
    }
}

/// Builds the plugin in one folder, again and again.
#[derive(Debug)]
pub struct Builder {
    dir: PathBuf,
    purpose: Purpose,
    /// What was found out for the first build; again after a change of the
    /// manifest.
    ready: Option<Ready>,
}

#[derive(Debug)]
struct Ready {
    toolchain: Toolchain,
    package: cargo::Package,
    manifest_changed: Option<SystemTime>,
}

impl Builder {
    /// For the plugin crate in this folder, which is being worked on: what it
    /// builds is there soon rather than as fast as can be. Nothing is looked at
    /// yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), purpose: Purpose::Trying, ready: None }
    }

    /// The plugin's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Builds the component and puts it into place. Dropping the future kills
    /// the compiler and leaves what was built before.
    ///
    /// # Errors
    /// If there is no cargo, no plugin, or it does not compile; the summary
    /// says which.
    pub async fn build(&mut self, progress: Progress<'_>) -> Result<Built, BuildError> {
        let started = Instant::now();
        let manifest_changed = changed(&self.dir.join("Cargo.toml"));
        if self.ready.as_ref().is_none_or(|ready| ready.manifest_changed != manifest_changed) {
            self.ready = None;
            let toolchain = Toolchain::find(&self.dir)?;
            let package = cargo::Package::read(&toolchain, &self.dir).await?;
            toolchain.ensure_target(progress).await?;
            self.ready = Some(Ready { toolchain, package, manifest_changed });
        }
        let Some(ready) = &self.ready else { unreachable!("made above") };
        let module = ready.package.compile(&ready.toolchain, self.purpose, progress).await?;
        let compile = started.elapsed();

        let encoding = Instant::now();
        let path = self.dir.join("build").join(format!("{}.wasm", ready.package.name()));
        let name = ready.package.name().to_owned();
        let target = path.clone();
        let size_bytes =
            tokio::task::spawn_blocking(move || component::encode(&name, &module, &target))
                .await
                .map_err(|e| BuildError::new(format!("making the component failed: {e}")))??;
        Ok(Built { path, size_bytes, compile, encode: encoding.elapsed() })
    }
}

/// Builds the plugin in a folder once, as fast as it can be.
///
/// # Errors
/// See [`Builder::build`].
pub async fn build(dir: &Path, progress: Progress<'_>) -> Result<Built, BuildError> {
    Builder { purpose: Purpose::Serving, ..Builder::new(dir) }.build(progress).await
}

/// The component that `cometbox build` left in a plugin's folder.
///
/// # Errors
/// If there is none, with what to do.
pub fn component_of(dir: &Path) -> Result<PathBuf, BuildError> {
    let shown = dir.display();
    let missing =
        || BuildError::new(format!("{shown} has no built component: run `cometbox build {shown}`"));
    let folder = dir.join("build");
    if let Ok(manifest) = std::fs::read_to_string(dir.join("Cargo.toml")) {
        let manifest: toml::Table = manifest.parse().map_err(|e: toml::de::Error| {
            BuildError::new(format!("{shown}/Cargo.toml: {}", e.message()))
        })?;
        let name = manifest.get("package").and_then(|package| package.get("name"));
        let name = name.and_then(|name| name.as_str()).ok_or_else(missing)?;
        let path = folder.join(format!("{name}.wasm"));
        return if path.is_file() { Ok(path) } else { Err(missing()) };
    }
    // A folder without sources, as it is copied to a server.
    let mut found = folder
        .read_dir()
        .map_err(|_| missing())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "wasm"));
    let path = found.next().ok_or_else(missing)?;
    match found.next() {
        None => Ok(path),
        Some(_) => Err(BuildError::new(format!(
            "{} holds more than one component: name the file instead of the folder",
            folder.display()
        ))),
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}
