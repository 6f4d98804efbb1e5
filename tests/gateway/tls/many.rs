//! Thousands of held reads on a few connections of HTTP/2.

use super::{H2, World, runtime};
use futures_util::future::join_all;
use std::time::Duration;

const CONNECTIONS: usize = 20;
const READS: usize = 200;
const ALL: u64 = (CONNECTIONS * READS) as u64;

/// What a read may take with its mailbox, its request and its part of the
/// connection, in bytes.
const MAX_BYTES_PER_READ: u64 = 8 << 10;

#[test]
fn thousands_of_reads_are_answered_once_and_leave_nothing_behind() {
    let world = World::start("", "");
    let gateway = &world.gateway;
    let runtime = runtime();
    runtime.block_on(async {
        let mut clients = Vec::new();
        let mut paths = Vec::new();
        for c in 0..CONNECTIONS {
            let (client, connection) = H2::connect(&world).await;
            let opened = (0..READS).map(|n| {
                let client = client.clone();
                let body = format!(r#"{{"name":"m{c}-{n}","groups":["all"]}}"#);
                async move { client.open(&body).await }
            });
            paths.push(join_all(opened).await);
            clients.push((client, connection));
        }
        let before = gateway.memory_bytes();
        let hold = |cursor: u64| {
            let of = |(client, paths): (&(H2, _), &Vec<String>)| {
                let read = |path: &String| {
                    client.0.request("GET", &format!("{path}&cursor={cursor}"), &[], "")
                };
                paths.iter().map(read).map(tokio::spawn).collect::<Vec<_>>()
            };
            clients.iter().zip(&paths).map(of).collect::<Vec<_>>()
        };
        let reads = hold(0);
        gateway.until_held(ALL);
        let each = gateway.memory_bytes().saturating_sub(before) / ALL;
        println!("{each} bytes for a held read, {READS} of them on a connection");
        assert!(each < MAX_BYTES_PER_READ, "{each}");

        let published = gateway.client().publish(r#"{"to":{"groups":["all"]},"data":7}"#);
        assert_eq!(published.json()["results"][0]["queued"], ALL);
        for read in reads.into_iter().flatten() {
            let answer = read.await.expect("no panic").expect("an answer").json();
            assert_eq!((&answer["cursor"], &answer["lost"]), (&1.into(), &0.into()));
            assert_eq!(answer["messages"].as_array().map(Vec::len), Some(1));
        }
        // Nobody has anything more to get.
        let reads = hold(1);
        gateway.until_held(ALL);
        // Half of them reset their streams, the others' connections break.
        for (c, reads) in reads.into_iter().enumerate() {
            if c % 2 == 0 {
                reads.iter().for_each(tokio::task::JoinHandle::abort);
            } else {
                clients[c].0.cut();
            }
        }
        gateway.until_held(0);
        gateway.until("cometbox_connections", CONNECTIONS as u64 / 2);
        assert_eq!(clients[0].0.get("/nowhere").await.status, 404);
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    gateway.until("cometbox_connections", 0);
}
