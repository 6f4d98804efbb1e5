//! Plugins that are wasm components.
//!
//! [`Engine`] is the one compiler and clock of the process; [`WasmPlugin`] is
//! one loaded version of one plugin, with a pool of instances. An instance is
//! a store of its own, is used by one call at a time, and is thrown away after
//! a trap. All that knows the generated WIT types is in `bindings` and
//! `adapter` and `check` (and `host`, which implements the imports): another WIT version
//! comes beside them.

mod adapter;
mod bindings;
mod check;
mod engine;
mod host;
mod load;
mod pool;
mod ticker;
mod time;

pub use engine::Engine;
pub use load::LoadError;
pub use pool::WasmPlugin;
