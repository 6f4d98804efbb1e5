//! A disk that fails, and works again. What a failed sync was for does not reach
//! it by the next one (as on Linux): whoever is told that something is on disk
//! must find it there when the power is cut afterwards.

use crate::support::{Client, Faults, Gateway, eventually, lab};
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

/// More messages than a log takes before it is carried into the file.
const MANY: usize = 2_000;

fn config(store: &Path, durability: &str) -> String {
    let app = lab(&format!(
        "durability = {durability:?}\nlimits = {{ mailbox_messages = 10_000, \
         max_mailbox_messages = 10_000 }}"
    ));
    format!("{app}[store]\npath = {:?}\n", store.display().to_string())
}

/// A gateway that goes on after its end, with one mailbox.
struct World {
    faults: Faults,
    store: tempfile::TempDir,
    durability: &'static str,
    gateway: Gateway,
    key: String,
    next: usize,
    acknowledged: Vec<usize>,
}

impl World {
    fn new(durability: &'static str) -> Self {
        let (faults, store) =
            (Faults::with_disk(), tempfile::tempdir().expect("a temporary folder"));
        let gateway = Gateway::start_with(&faults, &config(store.path(), durability));
        let key = gateway.client().open("ann");
        let (next, acknowledged) = (0, Vec::new());
        Self { faults, store, durability, gateway, key, next, acknowledged }
    }

    /// Why it was refused, if it was.
    fn publish(&mut self, client: &mut Client) -> Result<(), String> {
        let item = json!({"to": {"mailboxes": ["ann"]}, "data": self.next}).to_string();
        let answer = client.publish(&item);
        self.next += 1;
        if answer.status == 200 {
            self.acknowledged.push(self.next - 1);
            return Ok(());
        }
        assert_eq!((answer.status, &*answer.code()), (507, "not_kept"));
        Err(answer.json()["error"]["message"].as_str().expect("a text").to_owned())
    }

    /// Reads what there is, once confirmed up to here; how many messages came.
    fn read(&self, client: &mut Client, cursor: u64) -> usize {
        let path = format!("/lab/mailboxes/ann?key={}&cursor={cursor}&wait=0", self.key);
        let read = client.get(&path);
        assert!(matches!(read.status, 200 | 204), "reads go on: {read:?}");
        if read.status == 204 { 0 } else { read.json()["messages"].as_array().map_or(0, Vec::len) }
    }

    /// One message that waits, and behind it something that nobody waits for, so
    /// that it is written and not synced: what came before it is confirmed.
    fn write_unsynced(&mut self, client: &mut Client) {
        self.publish(client).expect("the disk works");
        let before = self.faults.writes();
        self.acknowledged = vec![self.next - 1];
        assert_eq!(self.read(client, self.next as u64 - 1), 1);
        eventually(|| self.faults.writes() > before, "it is written");
    }

    fn kill(&mut self) {
        self.gateway.signal("KILL");
        self.gateway.wait();
    }

    fn start(&mut self) {
        self.gateway =
            Gateway::start_with(&self.faults, &config(self.store.path(), self.durability));
    }

    /// The gateway dies, and the power fails if it waits for the disk; everything
    /// that was acknowledged has to be there, once.
    fn check(mut self, case: &str) {
        self.kill();
        let lost = match self.durability {
            "disk" => self.faults.cut_power(self.store.path(), || false),
            _ => 0,
        };
        self.start();
        let mut client = self.gateway.client();
        let (mut cursor, mut came) = (0, BTreeMap::new());
        loop {
            let path = format!("/lab/mailboxes/ann?key={}&cursor={cursor}&wait=0", self.key);
            let read = client.get(&path);
            if read.status == 204 {
                break;
            }
            let batch = read.json();
            for message in batch["messages"].as_array().unwrap_or_else(|| panic!("{case}: {batch}"))
            {
                let number = message["data"].as_u64().expect("a number") as usize;
                *came.entry(number).or_insert(0) += 1;
            }
            cursor = batch["cursor"].as_u64().expect("a cursor");
        }
        let wrong: Vec<_> = self.acknowledged.iter().filter(|n| came.get(n) != Some(&1)).collect();
        assert!(wrong.is_empty(), "{case}: {lost} pages lost, and of the messages {wrong:?}");
        assert!(!self.acknowledged.is_empty(), "{case}");
    }
}

#[test]
fn a_disk_that_failed_and_works_again_has_all_that_was_acknowledged() {
    type Fault = fn(&Faults, bool);
    for (case, durability, fault, loses) in [
        ("writes fail, os", "os", Faults::fail_writes as Fault, false),
        ("writes fail, disk", "disk", Faults::fail_writes, false),
        ("syncs fail, disk", "disk", Faults::fail_syncs, true),
    ] {
        let mut world = World::new(durability);
        let mut client = world.gateway.client();
        world.write_unsynced(&mut client);
        fault(&world.faults, true);
        let why = world.publish(&mut client).expect_err("the disk does not work");
        assert!(why.contains("disk I/O error"), "{case}: {why}");
        if loses {
            // Not between a write and its sync, of which there is one try after the other.
            eventually(|| world.faults.unsynced_pages() > 0, "there is something to lose");
        }
        assert!(world.read(&mut client, 0) > 0, "{case}");
        let health = Client::connect(world.gateway.admin).get("/healthz").status;
        assert_eq!(health, 200, "{case}");
        fault(&world.faults, false);
        eventually(|| world.publish(&mut client).is_ok(), "it recovers by itself");
        let log = world.gateway.log();
        assert!(log.contains("the store can be written again"), "{case}: {log}");
        world.check(case);
    }
}

#[test]
fn a_gateway_that_starts_where_syncs_failed_does_not_trust_what_it_reads() {
    let mut world = World::new("disk");
    let mut client = world.gateway.client();
    world.write_unsynced(&mut client);
    world.faults.fail_syncs(true);
    world.publish(&mut client).expect_err("the disk does not work");
    world.kill();
    assert!(world.faults.unsynced_pages() > 0, "there is something to lose");
    world.faults.fail_syncs(false);
    world.start();
    let mut client = world.gateway.client();
    world.publish(&mut client).expect("the disk works");
    world.check("killed while syncs failed");
}

/// A sync that no answer waits for: of the log, before it is carried into the file.
#[test]
fn a_failed_sync_that_nobody_waited_for_is_made_up_for() {
    let mut world = World::new("os");
    let mut client = world.gateway.client();
    world.faults.fail_syncs(true);
    while world.faults.unsynced_pages() == 0 {
        assert!(world.next < MANY, "the log is never carried into the file");
        world.publish(&mut client).expect("with the system it is");
    }
    world.faults.fail_syncs(false);
    world.durability = "disk";
    let said = world.gateway.reload(&config(world.store.path(), "disk"));
    assert!(said.contains("configuration reloaded"), "{said}");
    world.acknowledged.clear();
    world.publish(&mut client).expect("the disk works");
    let told = world.gateway.log();
    assert!(told.contains("the log of the store grows"), "{told}");
    world.check("a checkpoint's sync");
}
