//! Each kind of setting that changes live, as clients see it.

use super::{Held, config};
use crate::support::{Client, Gateway, PATIENCE, Response, component, eventually};
use std::fs;

/// What a client sees of a setting.
type Look = fn(&Gateway) -> String;

fn open(client: &mut Client, body: &str) -> (u16, String) {
    let opened = client.post("/lab/mailboxes", body);
    let key = if opened.status == 201 {
        format!("/lab/mailboxes/{}?key={}", text(&opened, "mailbox"), text(&opened, "key"))
    } else {
        String::new()
    };
    (opened.status, key)
}

fn text(response: &Response, field: &str) -> String {
    response.json()[field].as_str().expect("a text").to_owned()
}

fn opens(gateway: &Gateway) -> String {
    open(&mut gateway.client(), "{}").0.to_string()
}

fn publish_status(gateway: &Gateway) -> String {
    let body = r#"{"to":{"mailboxes":["nobody"]},"data":1}"#;
    gateway.client().publish(body).status.to_string()
}

fn batch_status(gateway: &Gateway) -> String {
    let item = r#"{"to":{"mailboxes":["nobody"]},"data":1}"#;
    gateway.client().publish(&format!("[{item},{item}]")).status.to_string()
}

fn body_status(gateway: &Gateway) -> String {
    let body = format!("{:?}", "x".repeat(100));
    gateway.client().post("/lab/publish", &body).status.to_string()
}

fn uri_status(gateway: &Gateway) -> String {
    let path = format!("/lab/mailboxes/{}?key=x", "x".repeat(100));
    gateway.client().get(&path).status.to_string()
}

fn header_of_client_js(gateway: &Gateway, ask: (&str, &str), header: &str) -> String {
    let response = gateway.client().request("GET", "/cometbox.js", &[ask], b"");
    response.header(header).unwrap_or("none").to_owned()
}

fn allowed_origin(gateway: &Gateway) -> String {
    let ask = ("origin", "https://new.example");
    header_of_client_js(gateway, ask, "access-control-allow-origin")
}

fn encoding(gateway: &Gateway) -> String {
    header_of_client_js(gateway, ("accept-encoding", "gzip"), "content-encoding")
}

fn peer(gateway: &Gateway) -> String {
    let headers = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.2")];
    let body = br#"{"do":"show_request"}"#;
    let opened = gateway.client().request("POST", "/lab/mailboxes", &headers, body);
    opened.json()["reply"]["peer"].as_str().expect("an address").to_owned()
}

fn header_status(gateway: &Gateway) -> String {
    let headers = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")];
    gateway.client().request("GET", "/cometbox.js", &headers, b"").status.to_string()
}

/// The longest wait, as clients of Bayeux are told it.
fn max_wait_ms(gateway: &Gateway) -> String {
    let handshake = r#"{"channel":"/meta/handshake","version":"1.0",
        "supportedConnectionTypes":["long-polling"]}"#;
    gateway.client().post("/lab/bayeux", handshake).json()[0]["advice"]["timeout"].to_string()
}

/// How many of three messages a new mailbox keeps.
fn kept(gateway: &Gateway) -> String {
    let mut client = gateway.client();
    let (_, read) = open(&mut client, r#"{"name":"keeps","replace":true}"#);
    (0..3).for_each(|number| client.publish_to("keeps", &number.to_string()));
    let answer = client.get(&format!("{read}&wait=0"));
    answer.json()["messages"].as_array().expect("some").len().to_string()
}

fn after_close(gateway: &Gateway) -> String {
    let mut client = gateway.client();
    let (_, mailbox) = open(&mut client, "{}");
    client.request("DELETE", &mailbox, &[], b"");
    client.get(&mailbox).status.to_string()
}

fn five_actions(gateway: &Gateway) -> String {
    let mut client = gateway.client();
    let (_, mailbox) = open(&mut client, "{}");
    client.post(&mailbox, r#"{"do":"actions","count":5}"#).status.to_string()
}

/// Whether a browser's read is held, or it is asked to come again.
fn browser(gateway: &Gateway) -> String {
    let mut client = gateway.client();
    let (_, mailbox) = open(&mut client, "{}");
    let cookie = [("cookie", "cometbox_browser=x")];
    let read = client.request("GET", &format!("{mailbox}&wait=1"), &cookie, b"");
    read.header("retry-after").unwrap_or("held").to_owned()
}

/// Whether the system asks a silent client for signs of life: the timer of its
/// connection (proc(5), net/tcp).
fn probes(gateway: &Gateway) -> String {
    let client = gateway.client();
    let port = |addr: std::net::SocketAddr| format!(":{:04X} ", addr.port());
    let theirs = client.stream().local_addr().expect("an open socket");
    let ends = format!("{}0100007F{}", port(gateway.addr), port(theirs));
    let table = fs::read_to_string("/proc/net/tcp").expect("this is Linux");
    let row = table.lines().find(|row| row.contains(&ends)).expect("it is connected");
    match row.split_whitespace().nth(5).expect("its timer").split(':').next() {
        Some("02") => "yes".into(),
        _ => "no".into(),
    }
}

#[test]
fn what_can_change_changes_and_no_connection_ends() {
    let token = component("plugins/auth-token").display().to_string();
    let hostile = component("tests/plugins/hostile").display().to_string();
    let secret = "secret = \"at least 32 bytes, and not this text\"";
    let chain = format!("[{{ path = {token:?}, settings = {{ {secret} }} }}, {hostile:?}]");
    let app = |key: &'static str, value: &str| (String::new(), Some((key, value.to_owned())));
    let limit = |more: &str| app("limits", &format!("{{ call_ms = 1000, {more} }}"));
    let wait = |more: &str| limit(&format!("max_wait_s = 600, {more}"));
    let http = |more: &str| (format!("http = {{ {more} }}\n"), None);
    let cors = |more: &str| (format!("cors = {{ {more} }}\n"), None);
    let proxies = "trusted_proxies = [\"127.0.0.1\"]";
    let forwarded = format!("{proxies}, forwarded_header = \"forwarded\"");
    let new_origin = "origins = [\"https://new.example\", \"https://held.example\"]";
    let reject = "{ in = \"open\", do = \"reject\" }";
    // What the configuration says instead, how it is seen, before and after.
    let cases: [(&str, _, Look, &str, &str); 19] = [
        ("publish_keys", app("publish_keys", "[\"new\"]"), publish_status, "200", "401"),
        ("no publish_keys", app("publish_keys", "[]"), publish_status, "200", "403"),
        ("plugins", app("plugins", &chain), opens, "201", "401"),
        ("settings", app("settings", reject), opens, "201", "403"),
        ("limits.max_wait_s", limit("max_wait_s = 7"), max_wait_ms, "600000", "7000"),
        ("limits.mailbox_messages", wait("mailbox_messages = 1"), kept, "3", "1"),
        ("limits.max_mailboxes", wait("max_mailboxes = 1"), opens, "201", "503"),
        ("limits.closed_memory_ms", wait("closed_memory_ms = 0"), after_close, "410", "404"),
        ("limits.actions", wait("actions = 4"), five_actions, "204", "500"),
        ("http.max_body_bytes", http("max_body_bytes = 50"), body_status, "401", "413"),
        ("http.max_uri_bytes", http("max_uri_bytes = 50"), uri_status, "401", "414"),
        ("http.max_batch_items", http("max_batch_items = 1"), batch_status, "200", "413"),
        ("http.max_headers", http("max_headers = 4"), header_status, "200", "431"),
        ("http.max_connections", http("max_connections = 1"), opens, "201", "503"),
        ("http.compress_min_bytes", http("compress_min_bytes = 0"), encoding, "gzip", "none"),
        ("http.trusted_proxies", http(proxies), peer, "127.0.0.1", "192.0.2.1"),
        ("http.forwarded_header", http(&forwarded), peer, "127.0.0.1", "192.0.2.2"),
        ("http.max_reads_per_browser", http("max_reads_per_browser = 0"), browser, "held", "2"),
        ("cors.origins", cors(new_origin), allowed_origin, "none", "https://new.example"),
    ];
    let usual = config("cors = { origins = [\"https://held.example\"] }\n", &[]);
    let gateway = Gateway::start(&usual);
    let mut held = Held::new(&gateway);
    for (case, (head, app), look, before, after) in cases {
        assert_eq!(look(&gateway), before, "{case}: before");
        let app: Vec<_> = app.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let said = gateway.reload(&config(&head, &app));
        let report = said.lines().last().unwrap_or_default();
        assert!(report.contains(case.trim_start_matches("no ")), "{case}: {said}");
        assert!(!said.contains("WARN") && !said.contains("ERROR"), "{case}: {said}");
        assert_eq!(look(&gateway), after, "{case}: after");
        gateway.reload(&usual);
        assert_eq!(look(&gateway), before, "{case}: it changes back");
        held.is_there(&gateway, case);
    }
}

/// Its answer is for the page that asked, whoever may ask by then.
#[test]
fn a_held_read_is_answered_to_its_own_origin() {
    let allowing = |origins: &str| config(&format!("cors = {{ origins = {origins} }}\n"), &[]);
    let gateway = Gateway::start(&allowing(r#"["https://a.example", "https://held.example"]"#));
    let mut held = Held::new(&gateway);
    for (case, origins) in [
        ("another order", r#"["https://held.example", "https://a.example"]"#),
        ("a new one", r#"["https://b.example", "https://held.example"]"#),
        ("not allowed any more", r#"["https://c.example"]"#),
    ] {
        gateway.reload(&allowing(origins));
        gateway.client().publish_to("stays", "1");
        let answer = held.client.receive().expect("it is held");
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some("https://held.example"), "{case}");
        held.cursor += 1;
        held.hold(&gateway);
    }
    gateway.client().publish_to("stays", "1");
    let answer = held.client.receive().expect("it is held");
    assert_eq!(answer.header("access-control-allow-origin"), None, "it asked too late");
}

#[test]
fn limits_of_mailboxes_are_for_those_opened_from_then_on() {
    let gateway = Gateway::start(&config("", &[]));
    let mut client = gateway.client();
    let (_, old) = open(&mut client, r#"{"name":"old"}"#);
    let limits = ("limits", "{ call_ms = 1000, mailbox_messages = 2 }");
    let said = gateway.reload(&config("", &[limits]));
    assert!(said.contains("limits.mailbox_messages (new mailboxes), limits.max_wait_s"), "{said}");
    let (_, new) = open(&mut client, r#"{"name":"new"}"#);
    for (name, read, kept) in [("old", old, 3), ("new", new, 2)] {
        (0..3).for_each(|number| client.publish_to(name, &number.to_string()));
        let answer = client.get(&format!("{read}&wait=0")).json();
        assert_eq!(answer["messages"].as_array().map(Vec::len), Some(kept), "{name}");
        assert_eq!(answer["lost"], 3 - kept, "{name}");
    }
}

#[test]
fn a_shorter_time_is_for_connections_that_are_there() {
    let gateway = Gateway::start(&config("", &[]));
    let mut held = Held::new(&gateway);
    let mut silent = gateway.client();
    assert_eq!(silent.get("/cometbox.js").status, 200);
    gateway.reload(&config("http = { idle_timeout_s = 1 }\n", &[]));
    assert!(silent.is_closed_within(PATIENCE), "it would have had 75 s");
    held.is_there(&gateway, "a held read is not silent");
}

#[test]
fn clients_that_vanish_are_looked_for_from_the_next_connection_on() {
    let gateway = Gateway::start(&config("", &[]));
    assert_eq!(probes(&gateway), "yes");
    for (timeout_s, expected) in [(0, "no"), (60, "yes")] {
        gateway.reload(&config(&format!("http = {{ peer_timeout_s = {timeout_s} }}\n"), &[]));
        // Who accepts connections is told, and does it a moment later.
        eventually(|| probes(&gateway) == expected, expected);
    }
}
