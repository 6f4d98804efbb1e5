//! One loaded version of a plugin and its instances.

use super::{
    Engine, LoadError,
    adapter::{self, Answer},
    bindings::{self, PluginPre, cometbox::plugin::types},
    check,
    host::{Broken, Host, LogBudget},
};
use crate::{
    core::PluginName,
    plugin::{Context, Event, Failure, FailureKind, Outcome, Plugin, PluginLimits, Reads, Wants},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use wasmtime::{Store, Trap};

/// A wasm component, compiled and ready to run.
///
/// Its instances are interchangeable, since nothing may rely on a plugin's
/// memory. A call takes one from the pool, or makes one (about 15 µs), so
/// there are at most as many as calls run at once.
pub struct WasmPlugin {
    engine: Engine,
    pre: PluginPre<Host>,
    name: PluginName,
    settings: Box<str>,
    limits: PluginLimits,
    log: Arc<LogBudget>,
    wants: Wants,
    /// Last in, first out: the warmest is used next.
    idle: Mutex<Vec<Instance>>,
    max_idle: usize,
}

struct Instance {
    store: Store<Host>,
    /// Boxed, like what is in a store: it is large, and an instance is moved
    /// out of the pool and back with every call.
    exports: Box<bindings::Plugin>,
}

impl WasmPlugin {
    /// Makes the first instance, which says what the plugin wants.
    pub(super) fn start(
        engine: Engine,
        pre: PluginPre<Host>,
        name: PluginName,
        settings: Box<str>,
        limits: PluginLimits,
    ) -> Result<Self, LoadError> {
        let max_idle = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
        let mut plugin = Self {
            engine,
            pre,
            name,
            settings,
            limits,
            log: LogBudget::new(),
            wants: Wants::default(),
            idle: Mutex::default(),
            max_idle,
        };
        let (instance, wants) = plugin.instantiate(limits.load_ms)?;
        plugin.wants = wants;
        plugin.put_back(instance);
        Ok(plugin)
    }

    /// Instances that wait for a call.
    #[must_use]
    pub fn idle_instances(&self) -> usize {
        self.idle.lock().len()
    }

    /// `ms` is how long `init` may take: on the way of an event no longer than
    /// the event itself.
    fn instantiate(&self, ms: u64) -> Result<(Instance, Wants), LoadError> {
        let host = Host::new(self.name.clone(), self.log.clone(), self.limits);
        let mut store = self.engine.store(host, adapter::lift_fuel(&self.limits));
        let failed = |e| LoadError::Start(failure(&e));
        self.engine.arm(&mut store, ms);
        let exports = Box::new(self.pre.instantiate(&mut store).map_err(failed)?);
        let wants = exports
            .call_init(&mut store, &self.settings)
            .map_err(failed)?
            .map_err(|text| LoadError::Settings(check::bounded(text)))?;
        Ok((Instance { store, exports }, adapter::wants(wants)))
    }

    fn put_back(&self, instance: Instance) {
        let mut idle = self.idle.lock();
        if idle.len() < self.max_idle {
            idle.push(instance);
        } else {
            // Unmapping its memory takes a while: not under the lock.
            drop(idle);
            drop(instance);
        }
    }

    fn take(&self) -> Result<Instance, Failure> {
        // Not in the `match`, which would hold the lock while it instantiates.
        let idle = self.idle.lock().pop();
        match idle {
            Some(instance) => Ok(instance),
            None => {
                self.instantiate(self.limits.call_ms).map(|(instance, _)| instance).map_err(|e| {
                    match e {
                        LoadError::Start(failure) => failure,
                        other => {
                            Failure::Failed { kind: FailureKind::Error, text: other.to_string() }
                        }
                    }
                })
            }
        }
    }

    fn outcome(
        &self,
        answer: Result<Answer, types::Refusal>,
        spent_bytes: usize,
    ) -> Result<Outcome, Failure> {
        match answer {
            Ok(answer) => check::outcome(answer, &self.name, &self.limits, spent_bytes),
            Err(refusal) => Err(check::refusal(refusal)),
        }
    }
}

impl Plugin for WasmPlugin {
    fn name(&self) -> &PluginName {
        &self.name
    }

    fn wants(&self) -> Wants {
        self.wants
    }

    fn call(
        &self,
        context: Context,
        event: Event<'_>,
        reads: &mut Reads,
    ) -> Result<Outcome, Failure> {
        let mut instance = self.take()?;
        let ms = match event {
            Event::Load { .. } => self.limits.load_ms,
            _ => self.limits.call_ms,
        };
        instance.store.data_mut().begin(std::mem::take(reads));
        self.engine.arm(&mut instance.store, ms);
        let ran = instance.run(context, event);
        *reads = instance.store.data_mut().end();
        // An error of wasmtime leaves the store unusable: the instance goes.
        let (answer, migrated) = ran.map_err(|e| failure(&e))?;
        let spent_bytes = instance.store.data().output_bytes();
        let slow_ms = instance.store.data().time.slow_ms();
        self.put_back(instance);
        let mut outcome = self.outcome(answer, spent_bytes)?;
        outcome.migrated = migrated;
        outcome.slow_ms = slow_ms;
        Ok(outcome)
    }
}

type Ran = (Result<Answer, types::Refusal>, Option<Option<Bytes>>);

impl Instance {
    /// Runs an event; if the plugin cannot read its state, lets it migrate the
    /// state and runs the event again.
    fn run(&mut self, context: Context, event: Event<'_>) -> wasmtime::Result<Ran> {
        let Self { store, exports } = self;
        let answer = adapter::invoke(exports, &mut *store, context, event)?;
        let (Err(types::Refusal::StateUnreadable), Some(session)) =
            (&answer, adapter::session_of(&event))
        else {
            return Ok((answer, None));
        };
        let state = match exports.call_migrate(&mut *store, adapter::session(session))? {
            Ok(state) => state.map(Bytes::from),
            Err(text) => {
                let text = format!("migrate: {text}");
                return Ok((Err(types::Refusal::Failed(text)), None));
            }
        };
        let answer =
            adapter::invoke(exports, store, context, adapter::with_state(event, state.as_deref()))?;
        Ok((answer, Some(state)))
    }
}

/// What a trap or another error of wasmtime means.
fn failure(error: &wasmtime::Error) -> Failure {
    let (kind, text) = if let Some(broken) = error.downcast_ref::<Broken>() {
        (broken.kind, broken.text.clone())
    } else {
        match error.downcast_ref::<Trap>() {
            Some(trap) => (FailureKind::Trap, trap.to_string()),
            None => {
                let text = format!("{error:#}");
                // wasmtime has no public type for it.
                if text.contains("fuel allocated for hostcalls") {
                    (FailureKind::Limit, "far more output than a call may have".into())
                } else {
                    (FailureKind::Error, text)
                }
            }
        }
    };
    Failure::Failed { kind, text }
}
