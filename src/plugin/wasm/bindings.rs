//! The WIT world 0.1 as Rust types, generated.

#![allow(missing_docs, clippy::all, clippy::pedantic, unused)]

wasmtime::component::bindgen!({
    path: "wit/0.1",
    world: "plugin",
    // Events go in by reference: nothing is copied on the host's side.
    ownership: Borrowing { duplicate_if_necessary: true },
    // A host call beyond the limits ends the call.
    imports: { default: trappable },
});
