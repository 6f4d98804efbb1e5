//! Real components at the level of [`Plugin`]: what they may do, and what ends
//! them.

mod hostile;
mod load;
mod reload;

use cometbox::{
    build,
    core::{Kind, Payload, PluginName},
    plugin::{
        Context, Event, Failure, Outcome, Plugin, PluginLimits, Reads, SessionView,
        wasm::{Engine, WasmPlugin},
    },
};
use std::{
    path::{Path, PathBuf},
    sync::{LazyLock, OnceLock},
};

const CONTEXT: Context = Context { now_ms: 1_700_000_000_000, seed: 7 };

fn folder(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be started")
        .block_on(future)
}

/// The hostile plugin's component, built once as `cometbox build` does.
fn hostile_component() -> &'static [u8] {
    static COMPONENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let dir = folder("tests/plugins/hostile");
        let built = block_on(build::build(&dir, &mut |line| println!("{line}")))
            .unwrap_or_else(|e| panic!("{e}\n{}", e.details.as_deref().unwrap_or_default()));
        std::fs::read(built.path).expect("it was just built")
    });
    &COMPONENT
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().expect("this machine runs components"))
}

fn named(name: &str) -> PluginName {
    PluginName(name.into())
}

fn hostile(settings: &str, limits: PluginLimits) -> WasmPlugin {
    engine()
        .load(named("hostile"), hostile_component(), settings, limits)
        .unwrap_or_else(|e| panic!("{e}"))
}

fn session(state: Option<&[u8]>) -> SessionView<'_> {
    SessionView { mailbox: "ann", identity: None, state }
}

/// A message from ann.
fn say(plugin: &impl Plugin, json: &str) -> Result<Outcome, Failure> {
    let data = Payload::json(json.to_owned());
    let event = Event::Message { session: session(None), channel: None, data: &data };
    plugin.call(CONTEXT, event, &mut Reads::default())
}

fn reply_text(outcome: &Outcome) -> &str {
    let reply = outcome.reply.as_ref().expect("a reply");
    assert_eq!(reply.kind, Kind::Json);
    std::str::from_utf8(&reply.bytes).expect("JSON is text")
}
