//! HTTP/2 as browsers use it: many requests on one connection, each with the
//! limits that it has on a connection of its own.

use super::{
    World,
    h2::{H2, runtime},
};
use crate::support::eventually;
use std::{
    io::Read,
    time::{Duration, Instant},
};

const POLLS: u64 = 100;

#[test]
fn a_hundred_polls_on_one_connection_are_answered_by_one_publish() {
    let world = World::start("", "");
    runtime().block_on(async {
        let (client, connection) = H2::connect(&world).await;
        let mut reads = Vec::new();
        for n in 0..POLLS {
            let path = client.open(&format!(r#"{{"name":"m{n}","groups":["all"]}}"#)).await;
            reads.push(tokio::spawn(client.request("GET", &path, &[], "")));
        }
        world.gateway.until_held(POLLS);
        assert_eq!(world.gateway.metric("cometbox_connections"), 1);
        // On the same connection, between the polls.
        let key = [("authorization", "Bearer secret")];
        let body = r#"{"to":{"groups":["all"]},"data":7}"#;
        let published = client.request("POST", "/lab/publish", &key, body).await;
        let published = published.expect("an answer").json();
        assert_eq!(published["results"][0]["queued"], POLLS);
        for read in reads {
            let answer = read.await.expect("no panic").expect("an answer");
            assert_eq!(answer.json()["messages"][0]["data"], 7);
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert!(answer.header("date").is_some());
            assert_eq!(answer.header("connection"), None);
        }
        assert!(!connection.is_finished());
    });
}

/// On one connection there is room for all of a browser's reads.
#[test]
fn reads_of_a_browser_are_counted_by_http1_alone() {
    let world = World::start("http = { max_reads_per_browser = 1 }\n", "");
    let cookie = [("cookie", "cometbox_browser=b")];
    runtime().block_on(async {
        let (client, _connection) = H2::connect(&world).await;
        let mut reads = Vec::new();
        for n in 0..3 {
            let path = client.open(&format!(r#"{{"name":"m{n}"}}"#)).await;
            reads.push(tokio::spawn(client.request("GET", &path, &cookie, "")));
        }
        world.gateway.until_held(3);
        let [ann, bob] =
            [client.open(r#"{"name":"ann"}"#).await, client.open(r#"{"name":"bob"}"#).await];
        let mut first = world.client();
        first.send("GET", &ann, &cookie, b"");
        world.gateway.until_held(4);
        let second = world.client().request("GET", &bob, &cookie, b"");
        assert_eq!((second.status, second.header("retry-after")), (204, Some("2")));
    });
}

#[test]
fn a_poll_whose_stream_is_reset_is_taken_back_at_once() {
    let world = World::start("", "detach_grace_ms = 1");
    runtime().block_on(async {
        let (client, connection) = H2::connect(&world).await;
        let path = client.open(r#"{"name":"ann"}"#).await;
        for _ in 0..3 {
            let read = tokio::spawn(client.request("GET", &path, &[], ""));
            world.gateway.until_held(1);
            read.abort();
            world.gateway.until_held(0);
        }
        assert_eq!(client.get(&format!("{path}&wait=0")).await.status, 204);
        assert!(!connection.is_finished(), "the others on it are not concerned");
    });
}

#[test]
fn going_down_answers_what_is_held_on_streams() {
    let mut world = World::start("http = { shutdown_grace_s = 60 }\n", "");
    let started = Instant::now();
    runtime().block_on(async {
        let (client, connection) = H2::connect(&world).await;
        let (_idle, other) = H2::connect(&world).await;
        let mut reads = Vec::new();
        for n in 0..20 {
            let path = client.open(&format!(r#"{{"name":"m{n}"}}"#)).await;
            reads.push(tokio::spawn(client.request("GET", &path, &[], "")));
        }
        world.gateway.until_held(20);
        world.gateway.signal("TERM");
        for read in reads {
            let answer = read.await.expect("no panic").expect("a held read is answered");
            assert_eq!((answer.status, answer.header("connection")), (204, None));
        }
        for connection in [connection, other] {
            connection.await.expect("no panic").expect("it is told, and ends well");
        }
    });
    assert!(world.gateway.wait().success());
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn requests_have_the_limits_that_they_have_without() {
    let limits =
        "max_body_bytes = 1000, max_uri_bytes = 100, max_head_bytes = 2000, max_headers = 10";
    let world = World::start(&format!("http = {{ {limits} }}\n"), "");
    runtime().block_on(async {
        let (client, connection) = H2::connect(&world).await;
        let path = client.open(r#"{"name":"ann"}"#).await;
        let json_of = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        let header_of = |bytes: usize| "v".repeat(bytes);
        let (long, longer) = (header_of(1500), header_of(2100));
        let few = vec![("x", "v"); 10];
        let many = vec![("x", "v"); 11];
        for (what, method, path, headers, body, status) in [
            ("a body", "POST", path.clone(), &[][..], json_of(1000), 200),
            ("a larger body", "POST", path.clone(), &[], json_of(1001), 413),
            ("a long path", "GET", format!("/{}", "x".repeat(99)), &[], String::new(), 404),
            ("a longer one", "GET", format!("/{}", "x".repeat(100)), &[], String::new(), 414),
            ("a large head", "GET", "/".into(), &[("x", &*long)], String::new(), 404),
            ("a larger one", "GET", "/".into(), &[("x", &*longer)], String::new(), 431),
            ("some headers", "GET", "/".into(), &few, String::new(), 404),
            ("one more", "GET", "/".into(), &many, String::new(), 431),
        ] {
            let answer = client.request(method, &path, headers, &body).await;
            let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(answer.status, status, "{what}");
            if status >= 400 {
                assert!(!answer.code().is_empty(), "{what}");
            }
        }
        // Which the library refuses, without a body.
        let large = header_of(4000);
        let answer = client.request("GET", "/", &[("x", &large)], "").await;
        assert_eq!(answer.expect("an answer").status, 431);
        assert!(!connection.is_finished(), "none of this ends the connection");
    });
}

#[test]
fn plugins_see_requests_as_they_see_others() {
    let world = World::start("", "");
    runtime().block_on(async {
        let (client, _connection) = H2::connect(&world).await;
        let headers = [("cookie", "a=1"), ("x-mine", "yes"), ("cookie", "b=2")];
        let body = r#"{"do":"show_request"}"#;
        let opened = client.request("POST", "/lab/mailboxes", &headers, body).await;
        let reply = opened.expect("an answer").json()["reply"].clone();
        assert_eq!(reply["peer"], "127.0.0.1");
        let seen = |name: &str| {
            let all = reply["headers"].as_array().expect("headers").iter();
            let of = all.filter(|header| header[0] == name).map(|header| header[1].clone());
            of.collect::<Vec<_>>()
        };
        assert_eq!(seen("host"), [super::NAME]);
        assert_eq!(seen("cookie"), ["a=1; b=2"]);
        assert_eq!(seen("x-mine"), ["yes"]);
    });
}

#[test]
fn what_is_too_much_waits_for_its_turn() {
    let world = World::start("http = { max_streams = 3 }\n", "");
    runtime().block_on(async {
        let (client, _connection) = H2::connect(&world).await;
        let mut reads = Vec::new();
        for n in 0..6 {
            // Before the reads: they leave no room.
            reads.push(client.open(&format!(r#"{{"name":"m{n}","groups":["all"]}}"#)).await);
        }
        let reads: Vec<_> =
            reads.iter().map(|path| tokio::spawn(client.request("GET", path, &[], ""))).collect();
        world.gateway.until_held(3);
        for data in [1, 2] {
            let mut publisher = world.gateway.client();
            let body = format!(r#"{{"to":{{"groups":["all"]}},"data":{data}}}"#);
            assert_eq!(publisher.publish(&body).status, 200);
        }
        for read in reads {
            assert_eq!(read.await.expect("no panic").expect("an answer").status, 200);
        }
    });
}

#[test]
fn a_slow_body_ends_its_request_and_no_other() {
    let world = World::start("http = { body_timeout_s = 1 }\n", "");
    runtime().block_on(async {
        let (client, connection) = H2::connect(&world).await;
        let path = client.open(r#"{"name":"ann"}"#).await;
        let read = tokio::spawn(client.request("GET", &path, &[], ""));
        world.gateway.until_held(1);
        let (status, took) = super::frames::slow_body(&world);
        assert_eq!(status, 408);
        assert!(took >= Duration::from_millis(900), "{took:?}");
        world.gateway.client().publish_to("ann", "1");
        assert_eq!(read.await.expect("no panic").expect("an answer").status, 200);
        assert!(!connection.is_finished());
    });
    eventually(|| world.gateway.metric("cometbox_connections") == 0, "all of them end");
}

#[test]
fn large_answers_are_compressed_for_who_accepts_it() {
    let world = World::start("", "");
    runtime().block_on(async {
        let (client, _connection) = H2::connect(&world).await;
        let path = client.open(r#"{"name":"ann"}"#).await;
        let data = format!("\"{}\"", "some words ".repeat(5000));
        for (cursor, accepts, is_packed) in [(0, "gzip", true), (1, "br", false)] {
            let path = format!("{path}&cursor={cursor}");
            let headers = [("accept-encoding", accepts)];
            let read = tokio::spawn(client.request("GET", &path, &headers, ""));
            world.gateway.until_held(1);
            world.gateway.client().publish_to("ann", &data);
            let mut answer = read.await.expect("no panic").expect("an answer");
            assert_eq!(answer.header("content-encoding"), is_packed.then_some("gzip"));
            assert_eq!(answer.header("vary"), Some("accept-encoding"));
            if is_packed {
                assert!(answer.body.len() < 5000);
                let mut plain = Vec::new();
                let mut packed = flate2::read::GzDecoder::new(&*answer.body);
                packed.read_to_end(&mut plain).expect("it is gzip");
                answer.body = plain;
            }
            assert_eq!(answer.json()["messages"][0]["data"].to_string(), data);
        }
    });
}

#[test]
fn clients_of_one_browser_all_wait_for_there_is_one_connection() {
    let world = World::start("", "");
    runtime().block_on(async {
        let (client, _connection) = H2::connect(&world).await;
        let cookie = [("cookie", "a=b"), ("cookie", "BAYEUX_BROWSER=same")];
        let mut connects = Vec::new();
        for held in 1..=3 {
            let shake = r#"[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]"#;
            let shaken = client.post("/lab/bayeux", shake).await;
            assert_eq!(shaken.header("set-cookie"), None, "nothing is counted");
            let id = shaken.json()[0]["clientId"].clone();
            let connect = format!(r#"[{{"channel":"/meta/connect","clientId":{id}}}]"#);
            connects.push(tokio::spawn(client.request("POST", "/lab/bayeux", &cookie, &connect)));
            world.gateway.until_held(held);
        }
    });
}
