//! Worlds of clients, backends, traps, reloads and lost answers, each from a
//! seed. A failure names its seed; `COMETBOX_SEED=17 cargo test --release sim`
//! replays that world alone.

mod model;
mod outcome;
mod plugin;
mod reading;
mod world;

use world::World;

const SEEDS: u64 = 400;
const STEPS: usize = 600;

fn run(seed: u64) -> String {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    world.log
}

#[test]
fn worlds_keep_every_promise() {
    let chosen = std::env::var("COMETBOX_SEED")
        .ok()
        .map(|seed| seed.parse::<u64>().expect("COMETBOX_SEED is a number"));
    let seeds = chosen.map_or(0..SEEDS, |seed| seed..seed + 1);
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "seed {seed} broke a promise, see the panic above");
    }
}

#[test]
fn the_same_seed_twice_is_byte_identical() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2), "seeds differ");
}
