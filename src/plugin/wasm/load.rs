//! From bytes to a component that is known to be a plugin.

use super::{bindings::PluginPre, host::Host};
use crate::plugin::Failure;
use wasmtime::component::{Component, Linker, types::ComponentItem};

/// The WIT package and version that this gateway speaks.
const PACKAGE: &str = "cometbox:plugin/";
const VERSION: &str = "0.1.0";

/// What a plugin exports.
const EXPORTS: [&str; 11] = [
    "init",
    "on-load",
    "on-open",
    "on-message",
    "on-subscribe",
    "on-publish",
    "on-attached",
    "on-detached",
    "on-closed",
    "on-timer",
    "migrate",
];

/// Why a plugin could not be loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot run WebAssembly here: {0}")]
    Engine(String),
    #[error(
        "this is a core WebAssembly module, not a component: build it with `cometbox build`, \
         which makes the component"
    )]
    CoreModule,
    #[error("this is not a WebAssembly component")]
    NotWasm,
    #[error("the component does not compile: {0}")]
    Compile(String),
    #[error(
        "it is built against cometbox:plugin {found}, this gateway speaks {VERSION}: rebuild it \
         with the matching guest SDK"
    )]
    Version { found: String },
    #[error("it is no plugin: it does not export {}", .0.join(", "))]
    Missing(Vec<&'static str>),
    #[error(
        "it imports {0}, which plugins do not get: build it for wasm32-unknown-unknown, without WASI"
    )]
    Import(String),
    #[error("its imports or exports do not fit: {0}")]
    Mismatch(String),
    /// `init` said no.
    #[error("it refuses its settings: {0}")]
    Settings(String),
    /// It broke a limit or trapped while it started.
    #[error("it does not start: {0}")]
    Start(Failure),
}

/// # Errors
/// If the bytes are no component, or not a valid one.
pub(super) fn compile(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Component, LoadError> {
    // `\0asm`, then two bytes of version and two of layer: 0 for modules, 1
    // for components.
    match bytes {
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => Err(LoadError::CoreModule),
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => {
            Component::new(engine, bytes).map_err(|e| LoadError::Compile(format!("{e:#}")))
        }
        _ => Err(LoadError::NotWasm),
    }
}

/// # Errors
/// If the component is not a plugin of this gateway's version.
pub(super) fn link(
    linker: &Linker<Host>,
    component: &Component,
) -> Result<PluginPre<Host>, LoadError> {
    let engine = linker.engine();
    let kind = component.component_type();
    // A plugin of another version fails other checks too; the version is the
    // reason that helps.
    for (name, _) in kind.imports(engine) {
        match name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) {
            Some((_, found)) if !compatible(found) => {
                return Err(LoadError::Version { found: found.into() });
            }
            Some(_) => {}
            None => return Err(LoadError::Import(name.into())),
        }
    }
    let missing: Vec<_> = EXPORTS
        .into_iter()
        .filter(|name| {
            !matches!(component.get_export(None, *name), Some((ComponentItem::ComponentFunc(_), _)))
        })
        .collect();
    if !missing.is_empty() {
        return Err(LoadError::Missing(missing));
    }
    linker
        .instantiate_pre(component)
        .and_then(PluginPre::new)
        .map_err(|e| LoadError::Mismatch(format!("{e:#}")))
}

/// Versions 0.x.* are compatible with each other; the linker checks the rest.
fn compatible(found: &str) -> bool {
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    minor(found) == minor(VERSION)
}
