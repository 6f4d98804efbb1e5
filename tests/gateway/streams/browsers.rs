//! Several readers of one browser, which has few connections over HTTP/1.1.

use super::start;
use crate::support::{Client, Gateway, Stream, lab};
use std::time::{Duration, Instant};

const EVENTS: (&str, &str) = ("accept", "text/event-stream");
const LINES: (&str, &str) = ("accept", "application/x-ndjson");
const BROWSER: (&str, &str) = ("cookie", "a=b; cometbox_browser=one");

/// Makes hyper read a request that the front would.
const BY_HYPER: (&str, &str) = ("trailer", "x");

/// Far less than a read is held for.
const AT_ONCE: Duration = Duration::from_secs(10);

fn path(app: &str, name: &str, key: &str) -> String {
    format!("/{app}/mailboxes/{name}?key={key}&cursor=0")
}

/// Reads on a connection of its own; that the read is held will be seen.
fn read(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Client {
    let mut client = gateway.client();
    client.send("GET", path, headers, b"");
    client
}

#[test]
fn a_browser_that_opens_is_given_a_cookie_once() {
    let named = "cors = { origins = [\"https://page.example\"] }\n";
    let gateway = Gateway::start(&format!("{named}{}", lab("")));
    let origin = ("origin", "https://page.example");
    for (case, headers, site) in [
        ("no browser", &[][..], None),
        ("a fetch", &[("sec-fetch-mode", "cors")], Some("Lax")),
        ("a page of its own", &[("origin", "http://127.0.0.1")], Some("Lax")),
        ("a page of another origin", &[origin], Some("None; Secure")),
        ("known by now", &[origin, BROWSER], None),
        ("known for something else", &[origin, ("cookie", "a=b")], Some("None; Secure")),
    ] {
        for by in [&[][..], &[BY_HYPER]] {
            let headers = [headers, by].concat();
            let opened = gateway.client().request("POST", "/lab/mailboxes", &headers, b"{}");
            assert_eq!(opened.status, 201, "{case}");
            let Some(cookie) = opened.header("set-cookie") else {
                assert_eq!(site, None, "{case}");
                continue;
            };
            let (value, rest) = cookie.split_once(';').expect("attributes");
            assert!(value.starts_with("cometbox_browser=") && value.len() == 17 + 22, "{value}");
            let expected = site.map(|site| format!(" Path=/; HttpOnly; SameSite={site}"));
            assert_eq!(Some(rest), expected.as_deref(), "{case}");
        }
    }
}

#[test]
fn so_many_of_its_reads_are_held_and_the_next_is_answered_at_once() {
    let other = lab("").replace("name = \"lab\"", "name = \"other\"");
    let http = "http = { max_reads_per_browser = 3 }\n";
    let gateway = Gateway::start(&format!("{http}{}{other}", lab("")));
    let mut backend = gateway.client();
    let [ann, bob, cid, dee] =
        ["ann", "bob", "cid", "dee"].map(|name| path("lab", name, &backend.open(name)));
    let opened = backend.post("/other/mailboxes", "{\"name\":\"eve\"}").json();
    let eve = path("other", "eve", opened["key"].as_str().expect("a key"));
    // By the front, by hyper, and in another app.
    let mut by_ann = read(&gateway, &ann, &[BROWSER]);
    let _by_bob = read(&gateway, &bob, &[BROWSER, BY_HYPER]);
    let _by_eve = read(&gateway, &eve, &[BROWSER]);
    gateway.until_held(2);
    gateway.until("cometbox_held_reads{app=\"other\"}", 1);
    for by in [&[BROWSER][..], &[BROWSER, BY_HYPER]] {
        let started = Instant::now();
        let one_more = gateway.client().request("GET", &cid, by, b"");
        assert_eq!((one_more.status, one_more.header("retry-after")), (204, Some("2")));
        assert!(started.elapsed() < AT_ONCE);
    }
    backend.publish_to("cid", "1");
    let answer = gateway.client().request("GET", &cid, &[BROWSER], b"");
    assert_eq!((answer.status, answer.header("retry-after")), (200, None), "{answer:?}");
    assert_eq!(answer.json()["messages"][0]["data"], 1);
    // Another browser, who is none, and a WebSocket.
    let _by_other = read(&gateway, &dee, &[("cookie", "cometbox_browser=other")]);
    gateway.until_held(3);
    let cid = cid.replace("cursor=0", "cursor=1");
    let by_none = read(&gateway, &cid, &[]);
    gateway.until_held(4);
    drop(by_none);
    gateway.until_held(3);
    let upgrade = [
        BROWSER,
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut socket = gateway.client();
    assert_eq!(socket.request("GET", &cid, &upgrade, b"").status, 101);
    gateway.until_held(4);
    drop(socket);
    gateway.until_held(3);
    // Who comes again displaces itself, and is not one too many.
    let by_ann_again = read(&gateway, &ann, &[BROWSER]);
    assert_eq!(by_ann.receive().expect("an answer").code(), "displaced");
    gateway.until_held(3);
    // A place is free when its read is answered, and when its client is gone.
    drop(by_ann_again);
    gateway.until_held(2);
    let mut by_cid = read(&gateway, &cid, &[BROWSER]);
    gateway.until_held(3);
    backend.publish_to("cid", "2");
    assert_eq!(by_cid.receive().expect("an answer").status, 200);
    let _by_ann = read(&gateway, &ann, &[BROWSER]);
    gateway.until_held(3);
}

#[test]
fn a_stream_that_is_one_too_many_has_what_waits_and_ends() {
    let gateway = start("max_reads_per_browser = 1", "max_answer_messages = 1");
    let mut backend = gateway.client();
    let [ann, bob] = ["ann", "bob"].map(|name| path("lab", name, &backend.open(name)));
    let first = Stream::open(gateway.client(), &ann, &[EVENTS, BROWSER]);
    gateway.until_held(1);
    for n in ["1", "2", "3"] {
        backend.publish_to("bob", n);
    }
    let mut client = gateway.client();
    for (case, headers, expected) in [
        (
            "events",
            vec![EVENTS],
            "retry: 2000\n:\n\nid: 1\ndata: 1\n\nid: 2\ndata: 2\n\nid: 3\ndata: 3\n\n",
        ),
        (
            "lines",
            vec![LINES],
            "{\"cursor\":0}\n{\"seq\":1,\"data\":1}\n{\"seq\":2,\"data\":2}\n{\"seq\":3,\"data\":3}\n",
        ),
        (
            "from where it was",
            vec![EVENTS, ("last-event-id", "2")],
            "retry: 2000\n:\n\nid: 3\ndata: 3\n\n",
        ),
        ("nothing", vec![EVENTS, ("last-event-id", "3")], "retry: 2000\n:\n\n"),
    ] {
        let headers = [headers, vec![BROWSER]].concat();
        let stream = client.request("GET", &bob, &headers, b"");
        assert_eq!((stream.status, stream.header("retry-after")), (200, Some("2")), "{case}");
        assert_eq!(stream.text(), expected, "{case}");
    }
    assert_eq!(gateway.metric("cometbox_queued_messages{app=\"lab\"}"), 0, "coming confirms");
    let wrong = client.request("GET", &path("lab", "bob", "x"), &[EVENTS, BROWSER], b"");
    assert_eq!(wrong.status, 401);
    drop(first);
    gateway.until_held(0);
    let path = bob.replace("cursor=0", "cursor=3");
    let _second = Stream::open(gateway.client(), &path, &[LINES, BROWSER]);
    gateway.until_held(1);
}
