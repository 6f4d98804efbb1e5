//! What is a plugin, and what is not.

use super::{CONTEXT, engine, folder, hostile_component, named};
use cometbox::plugin::{
    Event, Failure, FailureKind, Plugin, PluginLimits, Reads,
    wasm::{LoadError, WasmPlugin},
};

fn load(bytes: &[u8], settings: &str, limits: PluginLimits) -> Result<WasmPlugin, LoadError> {
    engine().load(named("some"), bytes, settings, limits)
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("good WAT")
}

/// The plugin of `bomb.wat`, built against the given version of the contract.
fn bomb(version: &str) -> Vec<u8> {
    let wit = std::fs::read_to_string(folder("wit/0.1/plugin.wit"))
        .expect("part of the source")
        .replace("plugin@0.1.0", &format!("plugin@{version}"));
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("plugin.wit", &wit).expect("good WIT");
    let world = resolve.select_world(&[package], Some("plugin")).expect("its world");
    let mut module = wat(include_str!("bomb.wat"));
    wit_component::embed_component_metadata(
        &mut module,
        &resolve,
        world,
        wit_component::StringEncoding::UTF8,
        false,
    )
    .expect("the world fits into a module");
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(wit_component::ComponentEncoder::encode)
        .unwrap_or_else(|e| panic!("{e:?}"))
}

#[test]
fn what_is_no_plugin_is_refused_with_the_reason() {
    let small = PluginLimits { memory_bytes: 1 << 16, ..PluginLimits::default() };
    let hasty = PluginLimits { load_ms: 20, ..PluginLimits::default() };
    let normal = PluginLimits::default();
    let hostile = hostile_component();
    for (name, bytes, settings, limits, says) in [
        ("nothing", vec![], "{}", normal, "not a WebAssembly component"),
        ("text", b"(component)".to_vec(), "{}", normal, "not a WebAssembly component"),
        ("cut off", hostile[..hostile.len() / 2].to_vec(), "{}", normal, "does not compile"),
        ("a core module", wat("(module)"), "{}", normal, "core WebAssembly module"),
        ("no exports", wat("(component)"), "{}", normal, "does not export init, on-load"),
        (
            "wasi",
            wat(r#"(component (import "wasi:cli/run@0.2.0" (instance)))"#),
            "{}",
            normal,
            "imports wasi:cli/run@0.2.0",
        ),
        ("another version", bomb("0.2.0"), "{}", normal, "against cometbox:plugin 0.2.0"),
        ("bad settings", hostile.to_vec(), r#"{"nope":1}"#, normal, "refuses its settings"),
        ("init fails", hostile.to_vec(), r#"{"init":"error"}"#, normal, "told to fail"),
        ("init panics", hostile.to_vec(), r#"{"init":"panic"}"#, normal, "trap"),
        ("init loops", hostile.to_vec(), r#"{"init":"loop"}"#, hasty, "longer than 20 ms"),
        ("init eats", hostile.to_vec(), r#"{"init":"memory"}"#, normal, "bytes of memory"),
        ("too large", hostile.to_vec(), "{}", small, "more than 65536 bytes of memory"),
    ] {
        match load(&bytes, settings, limits) {
            Ok(_) => panic!("{name} was loaded"),
            Err(e) => assert!(e.to_string().contains(says), "{name}: {e}"),
        }
    }
}

#[test]
fn a_list_that_repeats_one_text_does_not_fill_the_host() {
    let plugin = load(&bomb("0.1.0"), "{}", PluginLimits::default()).expect("it looks harmless");
    let event = Event::Load { reload: false };
    for _ in 0..3 {
        match plugin.call(CONTEXT, event, &mut Reads::default()) {
            Err(Failure::Failed { kind: FailureKind::Limit, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}
