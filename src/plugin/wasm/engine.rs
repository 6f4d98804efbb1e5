//! The compiler, the linker and the clock that all plugins share.

use super::{
    bindings,
    host::Host,
    load::{self, LoadError},
    pool::WasmPlugin,
    ticker::Ticker,
    time::Time,
};
use crate::{core::PluginName, plugin::PluginLimits};
use std::{fmt, sync::Arc};
use wasmtime::{
    Config, OptLevel, Store, UpdateDeadline,
    component::{HasSelf, Linker},
};

/// Stack of one call, in bytes. Tokio's workers have 2 MiB; host calls need
/// little on top.
const STACK_BYTES: usize = 512 << 10;

/// Compiles and runs plugins. One per process is enough; cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    wasmtime: wasmtime::Engine,
    linker: Linker<Host>,
    ticker: Ticker,
}

impl Engine {
    /// # Errors
    /// If this machine cannot run compiled plugins, or no thread can be
    /// started.
    pub fn new() -> Result<Self, LoadError> {
        let broken = |e: wasmtime::Error| LoadError::Engine(format!("{e:#}"));
        let mut config = Config::new();
        config
            // Plugins are synchronous; with it, a call costs twice as much.
            .concurrency_support(false)
            .epoch_interruption(true)
            .max_wasm_stack(STACK_BYTES)
            .cranelift_opt_level(OptLevel::Speed)
            // A reload compiles on one thread at low priority; helpers of
            // normal priority would compete with serving.
            .parallel_compilation(false);
        let wasmtime = wasmtime::Engine::new(&config).map_err(broken)?;
        let mut linker = Linker::new(&wasmtime);
        bindings::Plugin::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)
            .map_err(broken)?;
        let clock = wasmtime.clone();
        let ticker = Ticker::start(move || clock.increment_epoch())
            .map_err(|e| LoadError::Engine(format!("cannot start the clock of plugins: {e}")))?;
        Ok(Self(Arc::new(Shared { wasmtime, linker, ticker })))
    }

    /// Compiles a component, checks that it is a plugin, and runs `init` of a
    /// first instance. Takes some 100 ms for a small plugin and is not bounded
    /// by `limits` while it compiles: not for a thread that serves.
    ///
    /// # Errors
    /// If it is no plugin of this version, or refuses its settings, or breaks
    /// a limit while it starts.
    pub fn load(
        &self,
        name: PluginName,
        component: &[u8],
        settings_json: &str,
        limits: PluginLimits,
    ) -> Result<WasmPlugin, LoadError> {
        let component = load::compile(&self.0.wasmtime, component)?;
        let pre = load::link(&self.0.linker, &component)?;
        WasmPlugin::start(self.clone(), pre, name, settings_json.into(), limits)
    }

    pub(super) fn store(&self, host: Host, output_bytes: usize) -> Store<Host> {
        let mut store = Store::new(&self.0.wasmtime, host);
        store.limiter(|host| &mut host.memory);
        store.set_hostcall_fuel(output_bytes);
        let engine = self.clone();
        store.epoch_deadline_callback(move |mut store| {
            store.data_mut().time.look()?;
            engine.0.ticker.keep();
            Ok(UpdateDeadline::Continue(1))
        });
        store
    }

    /// Starts the time of a call: it is ended after `ms` milliseconds of work,
    /// see [`super::time::Time`].
    pub(super) fn arm(&self, store: &mut Store<Host>, ms: u64) {
        store.data_mut().time = Time::start(ms);
        // First, so that the clock cannot have gone to sleep in between.
        store.set_epoch_deadline(1);
        self.0.ticker.keep();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}
