//! What a gateway with a store keeps: through a restart, and through its death
//! at full load.

mod liar;
mod line;
mod link;
mod restart;
mod world;

use crate::support::{Faults, Gateway, lab, number};
use std::{path::Path, sync::Arc, thread, time::Duration};
use world::World;

const PUBLISHERS: usize = 4;

/// Of the short form; `COMETBOX_ROUNDS` says another number.
const ROUNDS: usize = 6;

/// Against a gateway, or a disk, that promises too early.
const LIAR_ROUNDS: usize = 3;

/// A gateway dies after so many publishes were acknowledged, at most, and so many
/// milliseconds.
const MAX_ACKNOWLEDGED: u64 = 1_000;
const MAX_MORE_MS: u64 = 10;

/// The app `lab` with a store; `more` is part of its `limits`.
fn config(store: &Path, durability: &str, more: &str) -> String {
    let app = lab(&format!("durability = {durability:?}\nlimits = {{ {more} }}"));
    format!("{app}\n[store]\npath = {:?}\n", store.display().to_string())
}

/// As many messages as can come in all rounds wait, and mailboxes stay.
const ROOM: &str = "mailbox_messages = 1_000_000, max_mailbox_messages = 1_000_000, \
                    mailbox_bytes = 268_435_456, max_mailbox_bytes = 268_435_456, \
                    linger_ms = 86_400_000";

/// What a gateway meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It is killed.
    Kill,
    /// The same, and publishers are answered by somebody who does not wait for it.
    KillOfALiar,
    /// It is killed, and what was not synced is gone, or a part of that.
    PowerCut,
    /// The same, and syncs do nothing.
    PowerCutWithoutSyncs,
}

/// Ends gateways at random moments under full load, and starts the next.
fn crash(durability: &str, rounds: usize, seed: u64, end: End) -> Arc<World> {
    let mut random = fastrand::Rng::with_seed(seed);
    let store = tempfile::tempdir().expect("a temporary folder");
    let config = config(store.path(), durability, ROOM);
    let power = matches!(end, End::PowerCut | End::PowerCutWithoutSyncs).then(Faults::with_disk);
    let start = || match &power {
        Some(faults) => Gateway::start_with(faults, &config),
        None => Gateway::start(&config),
    };
    let world = Arc::new(World::default());
    for round in 0..rounds {
        let mut gateway = start();
        let addr = gateway.addr;
        if round == 0 {
            world.open_all(addr);
            if let (Some(faults), End::PowerCutWithoutSyncs) = (&power, end) {
                faults.skip_syncs();
            }
        }
        let acknowledged = world.acknowledged();
        let mut threads = Vec::new();
        let mut run = |what: Box<dyn FnOnce(&World) + Send>| {
            let world = world.clone();
            threads.push(thread::spawn(move || what(&world)));
        };
        let publish_at = match end {
            End::KillOfALiar => liar::start(addr, PUBLISHERS),
            _ => addr,
        };
        for publisher in 0..PUBLISHERS as u64 {
            run(Box::new(move |world| world.publish(publish_at, publisher)));
        }
        // Some mailboxes are read, others fill up; not the same in each round.
        // Some are taken over by another reader in the middle of it.
        for line in world.there() {
            let again_after_ms = random.bool().then(|| random.u64(10..300));
            if random.bool() {
                let first = line.clone();
                run(Box::new(move |world| world.read(addr, &first, 20)));
                if let Some(ms) = again_after_ms {
                    run(Box::new(move |world| {
                        thread::sleep(Duration::from_millis(ms));
                        world.read(addr, &line, 20);
                    }));
                }
            }
        }
        let mut dice = random.fork();
        run(Box::new(move |world| world.come_and_go(addr, &mut dice)));
        world.wait_for(acknowledged + random.u64(1..=MAX_ACKNOWLEDGED));
        thread::sleep(Duration::from_millis(random.u64(0..MAX_MORE_MS)));
        gateway.signal("KILL");
        gateway.wait();
        for thread in threads {
            thread.join().expect("what is wrong is in the lines");
        }
        if let Some(faults) = &power {
            let some = end == End::PowerCut && random.bool();
            faults.cut_power(store.path(), || some && random.bool());
        }
    }
    let gateway = start();
    for line in world.all() {
        world.read(gateway.addr, &line, 0);
    }
    world
}

fn nothing_is_lost(durability: &str, end: End) {
    let rounds = number("COMETBOX_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);
    let seed = number("COMETBOX_SEED").unwrap_or_else(|| fastrand::u64(..));
    let world = crash(durability, rounds, seed, end);
    let (acked, got) = world.counts();
    let case = format!("{durability}, {end:?}");
    println!("{case}: {rounds} times, {acked} acknowledged, {got} came, seed {seed}");
    let wrong = world.verdict();
    assert!(wrong.is_empty(), "{case}, COMETBOX_SEED={seed}: {wrong:#?}");
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    for durability in ["os", "disk"] {
        nothing_is_lost(durability, End::Kill);
    }
}

#[test]
fn nothing_that_is_on_disk_is_lost_by_a_power_cut() {
    nothing_is_lost("disk", End::PowerCut);
}

/// The same, asked of a gateway that answers before it has done anything, and of
/// one whose syncs are skipped.
#[test]
fn an_acknowledgement_that_comes_too_early_is_found_out() {
    for (durability, end) in [("os", End::KillOfALiar), ("disk", End::PowerCutWithoutSyncs)] {
        let wrong = crash(durability, LIAR_ROUNDS, 1, end).verdict();
        let is_found = wrong.iter().any(|what| what.contains("acknowledged never came"));
        assert!(is_found, "{end:?}: {wrong:?}");
    }
}
