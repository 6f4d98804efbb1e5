//! Apps whose readers get nothing that a crash could take back: what was not
//! kept, since the disk was full, is not delivered either.

use crate::support::{Client, Disk, Stream, eventually, lab};
use serde_json::json;
use std::io::ErrorKind;

/// Nothing has come for this client.
pub fn is_quiet(client: &Client) -> bool {
    let stream = client.stream();
    stream.set_nonblocking(true).expect("an open socket");
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("an open socket");
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn data(batch: &serde_json::Value) -> &str {
    batch["messages"][0]["data"].as_str().unwrap_or_else(|| panic!("a message: {batch}"))
}

#[test]
fn readers_get_what_is_kept_and_no_sooner() {
    for (case, disk) in Disk::all() {
        check(case, &disk);
    }
}

fn check(disk_is: &str, disk: &Disk) {
    for durability in ["os", "disk"] {
        for (deliver, waits) in [("at_once", false), ("when_kept", true)] {
            let case = format!("{disk_is}: {durability}, {deliver}");
            let app = lab(&format!("durability = {durability:?}\ndeliver = {deliver:?}"));
            let store = disk.path().join(format!("{durability}-{deliver}"));
            let gateway =
                disk.start(&format!("[store]\npath = {:?}\n{app}", store.display().to_string()));
            let mut backend = gateway.client();
            let names = ["holds", "comes later", "follows", "has some"];
            let keys = names.map(|name| backend.open(name));
            let path = |at: usize, wait: u64| {
                let (name, key) = (names[at].replace(' ', "%20"), &keys[at]);
                format!("/lab/mailboxes/{name}?key={key}&cursor=0&wait={wait}")
            };
            let mut holds = gateway.client();
            holds.send("GET", &path(0, 20), &[], b"");
            let accept = [("accept", "application/x-ndjson")];
            let mut follows = Stream::open(gateway.client(), &path(2, 20), &accept);
            assert_eq!(follows.until("\n").as_deref(), Some("{\"cursor\":0}"));
            gateway.until_held(2);
            // With what came before, such as who reads: else the store would be the
            // first to find the disk full, and nothing would be taken at all.
            backend.publish_to(names[3], "\"kept\"");

            disk.fill();
            let large = "x".repeat(20_000);
            let item = json!({"to": {"mailboxes": names[..3]}, "data": large}).to_string();
            let refused = backend.publish(&item);
            assert_eq!((refused.status, &*refused.code()), (507, "not_kept"), "{case}");
            let mut comes_later = gateway.client();
            comes_later.send("GET", &path(1, 20), &[], b"");
            // Meanwhile what is kept is read.
            for _ in 0..50 {
                assert_eq!(data(&backend.get(&path(3, 0)).json()), "kept", "{case}");
            }
            if waits {
                let quiet = [is_quiet(&holds), is_quiet(&comes_later), is_quiet(follows.source())];
                assert_eq!(quiet, [true; 3], "{case}: nothing comes that is not kept");
                disk.free();
            }
            for reader in [&mut holds, &mut comes_later] {
                assert_eq!(data(&reader.receive().expect("an answer").json()), large, "{case}");
            }
            assert!(follows.line().expect("a message").contains(&large), "{case}");
            if !waits {
                disk.free();
            }
            // It takes messages again, by itself.
            eventually(
                || backend.publish(&item.replace(&large, "y")).status == 200,
                "there is room again",
            );
        }
    }
}
