//! The operations that are measured, in one list for both who measure them:
//! criterion (`benches/ops.rs`) says how long they take on this machine,
//! callgrind ([`callgrind`]) how many instructions they are, which is the same
//! on every machine and every day and can therefore fail a change.

pub mod baseline;
pub mod callgrind;
mod codec;
mod core;
mod event;
mod front;
mod world;

/// Something that can be done again and again.
pub trait Work {
    /// What is measured: [`Operation::per_step`] operations.
    fn step(&mut self);

    /// Puts things back to where the next step can begin; not measured.
    fn reset(&mut self) {}
}

/// One thing that the gateway does.
pub struct Operation {
    pub name: &'static str,
    /// On the way of a message: the check fails when it grows.
    pub guarded: bool,
    /// How many operations a step does. Where one is short, many: for the sake
    /// of the clock, and because what a hash table costs differs by name.
    pub per_step: u64,
    /// How many steps callgrind counts.
    pub steps: u64,
    pub prepare: fn() -> Box<dyn Work>,
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Operation> {
    let mut all = core::operations();
    all.extend(codec::operations());
    all.extend(front::operations());
    all.extend(event::operations());
    all
}

/// # Errors
/// If there is none of this name.
pub fn find(name: &str) -> anyhow::Result<Operation> {
    let found = all().into_iter().find(|operation| operation.name == name);
    found.ok_or_else(|| anyhow::anyhow!("no operation {name:?}: see `list`"))
}
