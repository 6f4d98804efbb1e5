//! CORS, the client's file, health, metrics, shutdown, and what the command
//! line says about mistakes.

use super::start;
use crate::support::{BINARY, Client, Gateway, component, lab};
use std::{
    process::Command,
    time::{Duration, Instant},
};

#[test]
fn pages_of_allowed_origins_may_ask() {
    let cors = "cors = { origins = [\"https://a.example\", \"https://b.example\"] }\n";
    let gateway = Gateway::start(&format!("{cors}{}", lab("")));
    let mut client = gateway.client();
    for (origin, allowed) in [
        ("https://a.example", true),
        ("https://b.example", true),
        ("https://a.example:8", false),
        ("http://a.example", false),
        ("null", false),
    ] {
        let asks = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-mine"),
        ];
        let expected = allowed.then_some(origin);
        let preflight = client.request("OPTIONS", "/lab/mailboxes", &asks, b"");
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.header("access-control-allow-origin"), expected);
        assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, POST, DELETE"));
        let headers = preflight.header("access-control-allow-headers");
        assert_eq!(headers, Some("content-type,x-mine"));
        // Errors must be seen by the page, too.
        for path in ["/lab/mailboxes/x?wait=0", "/nope", "/cometbox.js"] {
            let response = client.request("GET", path, &[("origin", origin)], b"");
            assert_eq!(response.header("access-control-allow-origin"), expected, "{path}");
            let varies = ("vary".to_owned(), "origin".to_owned());
            assert_eq!(response.headers.contains(&varies), allowed, "{path}");
        }
    }
    let any = Gateway::start(&format!("cors = {{ origins = [\"*\"] }}\n{}", lab("")));
    let response = any.client().request("GET", "/nope", &[("origin", "https://c.example")], b"");
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
}

#[test]
fn without_cors_there_is_none() {
    let gateway = start("");
    let asks = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
    let response = gateway.client().request("OPTIONS", "/lab/mailboxes", &asks, b"");
    assert_eq!(response.status, 405);
    assert_eq!(response.header("access-control-allow-origin"), None);
}

#[test]
fn the_client_is_served_and_pages_are_not() {
    let gateway = start("");
    let mut client = gateway.client();
    let script = client.get("/cometbox.js");
    assert_eq!(script.status, 200);
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert!(script.text().contains("export"));
    for path in ["/", "/-/dev/status", "/-/dev/overlay.js"] {
        assert_eq!(client.get(path).status, 404, "{path}: only in dev");
    }
}

#[test]
fn health_and_metrics_have_an_address_of_their_own() {
    let gateway = start("");
    let mut admin = Client::connect(gateway.admin);
    let health = admin.get("/healthz");
    assert_eq!((health.status, &health.json()["status"]), (200, &"ok".into()));
    let mut client = gateway.client();
    let key = client.open("ann");
    client.publish_to("ann", "1");
    client.post(&format!("/lab/mailboxes/ann?key={key}"), "{\"do\":\"panic\"}");
    for path in ["/healthz", "/metrics"] {
        assert_eq!(client.get(path).status, 404, "{path} is not for clients");
    }
    let metrics = admin.get("/metrics");
    let kind = metrics.header("content-type").expect("a type");
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    for line in [
        "cometbox_requests_total{app=\"lab\",route=\"open\",status=\"201\"} 1",
        "cometbox_requests_total{app=\"lab\",route=\"send\",status=\"500\"} 1",
        "cometbox_mailboxes{app=\"lab\"} 1",
        "cometbox_queued_messages{app=\"lab\"} 1",
        "cometbox_held_reads{app=\"lab\"} 0",
        "cometbox_plugin_calls_total{app=\"lab\",event=\"open\"} 1",
        "cometbox_plugin_failures_total{app=\"lab\",kind=\"trap\"} 1",
        "cometbox_plugins_version{app=\"lab\"} 1",
        "# EOF",
    ] {
        assert!(metrics.text().lines().any(|l| l == line), "{line} in\n{}", metrics.text());
    }
    assert_eq!(admin.get("/nope").code(), "not_found");
    assert_eq!(admin.post("/metrics", "").code(), "method_not_allowed");
}

#[test]
fn going_down_answers_what_is_held_and_cuts_nothing() {
    let mut gateway = Gateway::start(&format!("http = {{ body_timeout_s = 5 }}\n{}", lab("")));
    let mut client = gateway.client();
    let mut held: Vec<Client> = (0..20)
        .map(|n| {
            let name = format!("m{n}");
            let key = client.open(&name);
            let mut reader = gateway.client();
            reader.send("GET", &format!("/lab/mailboxes/{name}?key={key}"), &[], b"");
            reader
        })
        .collect();
    gateway.until_held(20);
    // A request that has begun, which the gateway says: its body comes later.
    let head = "POST /lab/mailboxes HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n";
    let mut running = gateway.client();
    running.send_raw(format!("{head}expect: 100-continue\r\n\r\n").as_bytes());
    assert_eq!(running.receive().expect("an interim answer").status, 100);
    // And one of which nobody knows whether its head is read before the signal.
    let mut perhaps = gateway.client();
    perhaps.send_raw(format!("{head}\r\n").as_bytes());
    gateway.until("cometbox_connections", 23);
    let started = Instant::now();
    gateway.signal("TERM");
    for reader in &mut held {
        let response = reader.receive().expect("a held read is answered");
        assert_eq!(response.status, 204);
        assert_eq!(response.header("connection"), Some("close"));
        assert!(reader.is_closed_within(Duration::from_secs(5)));
    }
    assert!(client.is_closed_within(Duration::from_secs(5)), "an idle connection just ends");
    running.send_raw(b"{}");
    let response = running.receive().expect("what runs is finished");
    assert_eq!(response.status, 201);
    assert_eq!(response.header("connection"), Some("close"));
    perhaps.send_raw(b"{}");
    let response = perhaps.receive().expect("it is served, or told that it is not");
    assert!(matches!(response.status, 201 | 503), "{response:?}");
    assert_eq!(response.header("connection"), Some("close"));
    assert!(gateway.wait().success());
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn going_down_does_not_wait_for_ever() {
    let mut gateway = Gateway::start(&format!("http = {{ shutdown_grace_s = 1 }}\n{}", lab("")));
    let mut stuck = gateway.client();
    stuck.send_raw(b"POST /lab/mailboxes HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n");
    gateway.until("cometbox_connections", 1);
    let started = Instant::now();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(started.elapsed() >= Duration::from_millis(900));
    assert!(gateway.log().contains("did not finish in time"));
}

/// Runs the binary in a folder with this configuration; what it says on
/// standard error, and whether it succeeded.
fn run(command: &str, config: &str) -> (String, bool) {
    let dir = tempfile::tempdir().expect("the test machine has a temp folder");
    std::fs::write(dir.path().join("cometbox.toml"), config).expect("fresh folder");
    let output = Command::new(BINARY)
        .arg(command)
        .current_dir(dir.path())
        .output()
        .expect("the binary was built for this test");
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.success())
}

#[test]
fn mistakes_in_the_configuration_are_explained() {
    let plugin = component("tests/plugins/hostile").display().to_string();
    let app = format!("[[app]]\nname = \"lab\"\nplugins = [{plugin:?}]\n");
    let addresses = "listen = \"127.0.0.1:0\"\nadmin = \"\"\n";
    let cases = [
        (
            "\nlisen = \"x\"\n".to_owned(),
            "error: cometbox.toml:2: unknown key \"lisen\", did you mean \"listen\"?",
        ),
        (format!("{app}{app}"), "cometbox.toml:5: there are two apps called \"lab\""),
        (app.replace(".wasm", ".wat"), "cometbox.toml:3: there is no plugin at "),
        (format!("log = {{ level = \"=\" }}\n{app}"), "cometbox.toml:1: \"=\" is no log level"),
        (format!("{addresses}{app}settings = {{ init = \"error\" }}\n"), "it refuses its settings"),
    ];
    for (config, says) in &cases {
        let (stderr, success) = run("serve", config);
        assert!(!success && stderr.contains(says), "{config}\n→ {stderr}");
    }
    let (stderr, success) = run("check", &cases[0].0);
    assert!(!success && stderr.contains(cases[0].1), "{stderr}");
    let (stderr, success) = run("check", &app);
    assert!(success, "{stderr}");
}

#[test]
fn a_hangup_reloads_all_plugins_and_cuts_nothing() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    client.send("GET", &format!("/lab/mailboxes/ann?wait=20&key={key}"), &[], b"");
    gateway.until_held(1);
    gateway.signal("HUP");
    gateway.until("cometbox_plugins_version{app=\"lab\"}", 2);
    gateway.client().publish_to("ann", "1");
    assert_eq!(client.receive().expect("the read was held over the reload").status, 200);
}
