//! Making a chain aside, where it does not slow down what serves.

use super::PluginSpec;
use crate::plugin::{
    PluginLimits,
    wasm::{Engine, WasmPlugin},
};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How nice the thread is that compiles: it gets what the others leave, but a
/// fully busy machine does not starve it.
const NICENESS: i32 = 10;

/// Plugins of a chain to be.
pub(super) enum Part {
    /// Serves already, and its component is the same.
    Kept(Arc<WasmPlugin>),
    New {
        spec: PluginSpec,
        component: PathBuf,
    },
}

/// Plugins that loaded, and how long that took; or why one did not.
pub(super) type Loaded = Result<(Vec<Arc<WasmPlugin>>, Duration), String>;

/// Compiles and starts the new plugins on a thread of low priority.
pub(super) async fn chain(engine: Engine, parts: Vec<Part>, limits: PluginLimits) -> Loaded {
    let (done, loaded) = oneshot::channel();
    let thread = std::thread::Builder::new().name("plugin-loader".into());
    let spawned = thread.spawn(move || {
        lower_priority();
        // Nobody waits for it any more if the receiver is gone.
        let _ = done.send(load(&engine, parts, limits));
    });
    if let Err(e) = spawned {
        return Err(format!("cannot start a thread to compile: {e}"));
    }
    // The sender is only dropped unsent by a panic, which is in the log.
    loaded.await.unwrap_or_else(|_| Err("the compiler panicked".into()))
}

/// The same, here and now.
pub(super) fn load(engine: &Engine, parts: Vec<Part>, limits: PluginLimits) -> Loaded {
    let started = Instant::now();
    let plugins = parts.into_iter().map(|part| match part {
        Part::Kept(plugin) => Ok(plugin),
        Part::New { spec, component } => {
            let shown = component.display();
            let bytes = std::fs::read(&component).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => format!("there is no component {shown}"),
                _ => format!("cannot read {shown}: {e}"),
            })?;
            engine
                .load(spec.name.clone(), &bytes, &spec.settings, limits)
                .map(Arc::new)
                .map_err(|e| format!("plugin {} ({shown}): {e}", spec.name))
        }
    });
    let plugins = plugins.collect::<Result<_, String>>()?;
    Ok((plugins, started.elapsed()))
}

/// Of this thread alone, which only Linux can do; elsewhere it would be the
/// whole process.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(e) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!("compiling at normal priority: {e}");
    }
}
