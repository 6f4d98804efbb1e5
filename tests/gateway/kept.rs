//! What a gateway with a store keeps: through a restart, and through its death
//! at full load.

mod liar;
mod line;
mod link;
mod restart;
mod world;

use crate::support::{Gateway, lab};
use std::{path::Path, sync::Arc, thread, time::Duration};
use world::World;

const PUBLISHERS: usize = 4;

/// Of the short form; `COMETBOX_ROUNDS` says another number.
const ROUNDS: usize = 6;

/// Against a gateway that promises too early.
const LIAR_ROUNDS: usize = 3;

/// The app `lab` with a store; `more` is part of its `limits`.
fn config(store: &Path, durability: &str, more: &str) -> String {
    let app = lab(&format!("durability = {durability:?}\nlimits = {{ {more} }}"));
    format!("{app}\n[store]\npath = {:?}\n", store.display().to_string())
}

/// As many messages as can come in all rounds wait, and mailboxes stay.
const ROOM: &str = "mailbox_messages = 1_000_000, max_mailbox_messages = 1_000_000, \
                    mailbox_bytes = 268_435_456, max_mailbox_bytes = 268_435_456, \
                    linger_ms = 86_400_000";

/// Kills gateways at random moments under full load, and starts the next. `lies`:
/// publishers are answered by somebody who does not wait for the gateway.
fn crash(durability: &str, rounds: usize, seed: u64, lies: bool) -> Arc<World> {
    let mut random = fastrand::Rng::with_seed(seed);
    let store = tempfile::tempdir().expect("a temporary folder");
    let config = config(store.path(), durability, ROOM);
    let world = Arc::new(World::default());
    for round in 0..rounds {
        let mut gateway = Gateway::start(&config);
        let addr = gateway.addr;
        if round == 0 {
            world.open_all(addr);
        }
        let mut threads = Vec::new();
        let mut run = |what: Box<dyn FnOnce(&World) + Send>| {
            let world = world.clone();
            threads.push(thread::spawn(move || what(&world)));
        };
        let publish_at = if lies { liar::start(addr, PUBLISHERS) } else { addr };
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
        thread::sleep(Duration::from_millis(random.u64(20..400)));
        gateway.signal("KILL");
        gateway.wait();
        for thread in threads {
            thread.join().expect("what is wrong is in the lines");
        }
    }
    let gateway = Gateway::start(&config);
    for line in world.all() {
        world.read(gateway.addr, &line, 0);
    }
    world
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds = number("COMETBOX_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);
    let seed = number("COMETBOX_SEED").unwrap_or_else(|| fastrand::u64(..));
    for durability in ["os", "disk"] {
        let world = crash(durability, rounds, seed, false);
        let (acked, got) = world.counts();
        println!("{durability}: {rounds} kills, {acked} acknowledged, {got} came, seed {seed}");
        let wrong = world.verdict();
        assert!(wrong.is_empty(), "{durability}, COMETBOX_SEED={seed}: {wrong:#?}");
        assert!(acked > 20 * rounds, "at load: {acked}");
    }
}

/// The same, asked of a gateway that answers before it has done anything.
#[test]
fn an_acknowledgement_that_comes_too_early_is_found_out() {
    let wrong = crash("os", LIAR_ROUNDS, 1, true).verdict();
    assert!(wrong.iter().any(|what| what.contains("acknowledged never came")), "{wrong:?}");
}
