//! Worlds of clients, backends, traps, reloads and lost answers, each from a
//! seed; some of them with a store and a gateway that dies. A failure names its
//! seed: `COMETBOX_SEED=17 cargo test --release --workspace --test gateway sim`
//! replays that world alone, `COMETBOX_SEEDS=5000` makes so many of each kind.

mod keeping;
mod model;
mod outcome;
mod plugin;
mod reading;
mod store;
mod world;

use crate::support::number;
use std::{ops::Range, panic, time::Instant};
use store::Fault;
use world::World;

const SEEDS: u64 = 400;
const STEPS: usize = 600;

/// A fault has to be noticed in one of so many worlds.
const FAULT_SEEDS: u64 = 100;

fn run(mut world: World) -> World {
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    world
}

fn seeds() -> Range<u64> {
    match number("COMETBOX_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("COMETBOX_SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn worlds_keep_every_promise() {
    for seed in seeds() {
        let outcome = panic::catch_unwind(|| run(World::new(seed)));
        assert!(outcome.is_ok(), "seed {seed} broke a promise, see the panic above");
    }
}

#[test]
fn worlds_whose_gateway_dies_keep_every_promise() {
    let (seeds, started) = (seeds(), Instant::now());
    let mut crashes = 0;
    for seed in seeds.clone() {
        let outcome = panic::catch_unwind(|| run(World::kept(seed, None)));
        let world = outcome.unwrap_or_else(|_| panic!("seed {seed} broke a promise, see above"));
        crashes += world.crashes();
    }
    println!("seeds {seeds:?}: {crashes} crashes in {:.1} s", started.elapsed().as_secs_f64());
    assert!(crashes as u64 > seeds.end - seeds.start, "they die");
}

/// Worlds that see nothing would promise nothing.
#[test]
fn a_gateway_that_lies_or_forgets_is_found_out() {
    // Not those that are seldom missed: src/core/tests/restoring.rs sees to them.
    let forgotten = ["opened", "mailbox", "marks", "closed", "sent", "done", "value"];
    let faults = [Fault::AcknowledgesEarly, Fault::SkipsSyncs, Fault::ReusesSeqs]
        .into_iter()
        .chain(forgotten.map(Fault::Forgets));
    for fault in faults {
        let found = (0..FAULT_SEEDS)
            .find(|seed| panic::catch_unwind(|| run(World::kept(*seed, Some(fault)))).is_err());
        println!("{fault:?} is found in world {found:?}");
        assert!(found.is_some(), "{fault:?}");
    }
}

#[test]
fn the_same_seed_twice_is_byte_identical() {
    let worlds: [fn(u64) -> World; 2] = [World::new, |seed| World::kept(seed, None)];
    for world in worlds {
        let log = |seed| run(world(seed)).log;
        for seed in 0..20 {
            assert_eq!(log(seed), log(seed), "seed {seed}");
        }
        assert_ne!(log(1), log(2), "seeds differ");
    }
}
