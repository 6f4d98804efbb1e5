//! Cometbox: a programmable COMET gateway.
//!
//! *A plugin turns **events** into **actions**; the core turns actions and
//! reads into **effects**; the shell performs effects.* `ARCHITECTURE.md` has
//! the whole picture; this is the map.
//!
//! | module | what is in it | knows |
//! |---|---|---|
//! | [`core`] | mailboxes, groups, timers, values; no IO, no clock | nothing else |
//! | [`plugin`] | events, outcomes, the wasm engine and its limits | core |
//! | [`app`] | one app: core and chain; an event from snapshot to commit | core, plugin |
//! | [`store`] | keeps what is in a core through the end of the process | core |
//! | [`transport`] | bytes ↔ payloads, requests and answers | core's types |
//! | [`config`] | `cometbox.toml`; every default | limits of core, plugin, app |
//! | [`build`] | cargo → component; scaffold of a new plugin | nothing else |
//! | [`server`] | the shell: sockets, HTTP, held reads, metrics, shutdown | all above but build |
//! | [`reload`] | watches, builds, loads, swaps | app, build, config, plugin, server |
//! | [`cli`] | the command line | everything |

pub mod app;
pub mod build;
pub mod cli;
pub mod config;
pub mod core;
pub mod plugin;
pub mod reload;
pub mod server;
pub mod store;
pub mod transport;
