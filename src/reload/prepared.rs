//! Plugins that are loaded before the apps that they serve are there. Compiling
//! is slow, and a gateway that takes over from another one has its stores last.

use super::{
    PluginSpec, ReloadError,
    load::{self, Part},
    source::Origin,
};
use crate::{
    config::AppConfig,
    core::PluginName,
    plugin::wasm::{Engine, WasmPlugin},
};
use parking_lot::Mutex;
use std::{fmt, fs, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

/// Plugins of apps, loaded. A copy is about the same ones.
#[derive(Clone, Default)]
pub struct Prepared(Arc<Mutex<Vec<One>>>);

struct One {
    app: Arc<str>,
    plugin: PluginName,
    /// What its file looked like before it was read; none: whatever the file is
    /// now, this is what serves.
    stamp: Option<Stamp>,
    loaded: Arc<WasmPlugin>,
}

/// Tells two versions of a file apart: device, inode, size, and time of change
/// in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

/// Loads the plugins of all apps, which nothing serves yet.
///
/// # Errors
/// With the first app whose plugins do not load.
pub async fn prepare(engine: &Engine, apps: &[AppConfig]) -> Result<Prepared, ReloadError> {
    let prepared = Prepared::default();
    for app in apps {
        let loaded = load_app(engine, app).await;
        let (loaded, compile) = loaded.map_err(|ReloadError(why)| {
            let line = why.lines().next().unwrap_or_default();
            tracing::error!(app = app.name, "not loaded: {line}");
            ReloadError(format!("app {}: {why}", app.name))
        })?;
        let compile_ms = u64::try_from(compile.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(app = app.name, compile_ms, "compiled");
        prepared.0.lock().extend(loaded);
    }
    Ok(prepared)
}

/// With how long that took.
async fn load_app(engine: &Engine, app: &AppConfig) -> Result<(Vec<One>, Duration), ReloadError> {
    let (mut parts, mut stamps) = (Vec::new(), Vec::new());
    for plugin in &app.plugins {
        let spec = PluginSpec::from(plugin);
        let component = Origin::new(&spec.source, false)?.component().map_err(ReloadError)?;
        stamps.push(stamp(&component));
        parts.push(Part::New { spec, component });
    }
    let loaded = load::chain(engine.clone(), parts, app.limits.plugin).await;
    let (loaded, took) = loaded.map_err(ReloadError)?;
    let name: Arc<str> = app.name.as_str().into();
    let ones = app.plugins.iter().zip(stamps).zip(loaded).map(|((plugin, stamp), loaded)| One {
        app: name.clone(),
        plugin: PluginName(plugin.name.as_str().into()),
        // One that could not be looked at could not be read either.
        stamp: Some(stamp.unwrap_or_default()),
        loaded,
    });
    Ok((ones.collect(), took))
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.lock();
        f.debug_list().entries(all.iter().map(|one| (&one.app, &one.plugin))).finish()
    }
}

impl Prepared {
    /// The plugin of an app, unless its file has changed since it was read.
    pub(super) fn find(
        &self,
        app: &str,
        plugin: &PluginName,
        component: &Path,
    ) -> Option<Arc<WasmPlugin>> {
        let all = self.0.lock();
        let one = all.iter().find(|one| *one.app == *app && one.plugin == *plugin)?;
        let is_same = one.stamp.is_none() || one.stamp == stamp(component);
        is_same.then(|| one.loaded.clone())
    }

    /// From now on this is what an app serves.
    pub(super) fn serves<'a>(
        &self,
        app: &str,
        chain: impl Iterator<Item = (&'a PluginName, &'a Arc<WasmPlugin>)>,
    ) {
        let mut all = self.0.lock();
        all.retain(|one| *one.app != *app);
        let app: Arc<str> = app.into();
        all.extend(chain.map(|(plugin, loaded)| One {
            app: app.clone(),
            plugin: plugin.clone(),
            stamp: None,
            loaded: loaded.clone(),
        }));
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let file = fs::metadata(file).ok()?;
    Some((file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
}
