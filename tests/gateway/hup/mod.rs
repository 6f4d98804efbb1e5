//! SIGHUP: what changes while connections stay, and what does not.

mod log;
mod settings;

use crate::support::{Client, Gateway, component, eventually};

/// A configuration of the app `lab`: `head` stands in front, `app` instead of
/// what the app says otherwise.
fn config(head: &str, app: &[(&str, &str)]) -> String {
    let plugin = format!("[{:?}]", component("tests/plugins/hostile").display().to_string());
    let usual = [
        ("plugins", plugin.as_str()),
        ("publish_keys", "[\"secret\"]"),
        ("limits", "{ call_ms = 1000, max_wait_s = 600 }"),
    ];
    let is_said = |key: &str| app.iter().any(|(said, _)| *said == key);
    let mut text = format!("{head}[[app]]\nname = \"lab\"\n");
    for (key, value) in usual.iter().filter(|(key, _)| !is_said(key)).chain(app) {
        text += &format!("{key} = {value}\n");
    }
    text
}

/// A client whose read is held: whatever happens, its connection stays.
struct Held {
    client: Client,
    read: String,
    cursor: u64,
}

impl Held {
    fn new(gateway: &Gateway) -> Self {
        let mut client = gateway.client();
        let key = client.open("stays");
        let mut held = Self { client, read: format!("/lab/mailboxes/stays?key={key}"), cursor: 0 };
        held.hold(gateway);
        held
    }

    fn hold(&mut self, gateway: &Gateway) {
        let path = format!("{}&cursor={}", self.read, self.cursor);
        self.client.send("GET", &path, &[("origin", "https://held.example")], b"");
        gateway.until_held(1);
    }

    /// Gets a message on the same connection, and is held again.
    fn is_there(&mut self, gateway: &Gateway, when: &str) {
        assert_eq!(gateway.metric("cometbox_held_reads{app=\"lab\"}"), 1, "{when}");
        gateway.client().publish_to("stays", "1");
        let answer = self.client.receive().unwrap_or_else(|| panic!("{when}: it was closed"));
        assert_eq!(answer.status, 200, "{when}: {answer:?}");
        self.cursor += 1;
        assert_eq!(answer.json()["cursor"], self.cursor, "{when}");
        self.hold(gateway);
    }
}

#[test]
fn a_wrong_file_changes_nothing_and_says_so_once() {
    let good = config("", &[]);
    let gateway = Gateway::start(&good);
    let mut held = Held::new(&gateway);
    let with = |head: &str| config(head, &[("publish_keys", "[\"new\"]")]);
    for (case, text, says) in [
        ("no TOML", with("listen\n"), "cometbox.toml:3: "),
        ("an unknown key", with("http = { max_body = 1 }\n"), "unknown key \"max_body\""),
        ("no number", with("http = { max_body_bytes = \"x\" }\n"), "max_body_bytes: invalid type"),
        ("no app", String::new(), "no [[app]]"),
        ("no plugin there", config("", &[("plugins", "[\"nope\"]")]), "there is no plugin at"),
        ("no such folder for the log", with("log = { file = \"no/log\" }\n"), "cannot open "),
    ] {
        let said = gateway.reload(&text);
        assert!(said.contains(says), "{case}: {said}");
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{case}: {said}");
        assert!(
            lines[1].contains("ERROR configuration not reloaded, everything stays: "),
            "{said}"
        );
        assert_eq!(gateway.metric("cometbox_plugins_version{app=\"lab\"}"), 1, "{case}");
        held.is_there(&gateway, case);
    }
    std::fs::remove_file(gateway.path("cometbox.toml")).expect("it is there");
    gateway.signal("HUP");
    eventually(|| gateway.log().contains("there is no such file"), "no file");
    let said = gateway.reload(&good);
    assert!(said.contains("configuration reloaded: nothing else than before"), "{said}");
    held.is_there(&gateway, "mended");
}

#[test]
fn an_app_whose_plugins_do_not_load_stays_and_the_rest_changes() {
    let gateway = Gateway::start(&config("", &[]));
    let mut held = Held::new(&gateway);
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("text.wasm"), "hello").expect("ours");
    let text = format!("[{:?}]", folder.path().join("text.wasm").display().to_string());
    for (case, key, value, says) in [
        ("refused settings", "settings", "{ nope = 1 }", "refuses its settings"),
        ("no component", "plugins", &text, "not a WebAssembly component"),
        (
            "nothing built",
            "plugins",
            &format!("[{:?}]", folder.path().display().to_string()),
            "run `cometbox build",
        ),
        ("a load that fails", "settings", "{ load = \"panic\" }", "load: trap"),
    ] {
        let head = "http = { max_uri_bytes = 200 }\n";
        let app = [(key, value), ("publish_keys", "[\"new\"]")];
        let said = gateway.reload(&config(head, &app));
        assert!(said.contains(says), "{case}: {said}");
        let report = "configuration reloaded: http.max_uri_bytes; \
                      not changed: app lab, which does not load\n";
        assert!(said.contains(report), "{case}: {said}");
        assert_eq!(said.matches("ERROR not reloaded").count(), 1, "{case}: {said}");
        let long = format!("/lab/mailboxes/{}", "x".repeat(200));
        assert_eq!(gateway.client().get(&long).status, 414, "{case}: the rest has changed");
        held.is_there(&gateway, case); // by the old key
        gateway.reload(&config("", &[]));
    }
    let said = gateway.reload(&config("", &[("publish_keys", "[\"secret\", \"new\"]")]));
    assert!(said.contains("configuration reloaded: app lab: publish_keys\n"), "{said}");
    held.is_there(&gateway, "mended");
}

#[test]
fn what_cannot_change_is_named_until_a_restart() {
    let gateway = Gateway::start(&config("", &[]));
    let mut held = Held::new(&gateway);
    let other = config("", &[]).replace("\"lab\"", "\"other\"");
    let text = format!(
        "listen = \"127.0.0.1:1\"\nadmin = \"\"\nstore = {{ path = \"store\" }}\n{}{other}",
        config("", &[("publish_keys", "[\"secret\", \"new\"]")])
    );
    for (round, changed) in [(1, "app lab: publish_keys"), (2, "nothing else than before")] {
        let said = gateway.reload_all_of(&text);
        let waiting = "listen, admin, store.path, store.restart_grace_ms, \
                       store.takeover_timeout_s, app other\n";
        let named = format!("WARN what needs a restart or `cometbox upgrade` to change: {waiting}");
        assert!(said.contains(&named), "{round}: {said}");
        let report = format!("configuration reloaded: {changed}; not changed: {waiting}");
        assert!(said.contains(&report), "{round}: {said}");
        assert_eq!(gateway.client().get("/other/mailboxes/x").code(), "not_found");
        held.is_there(&gateway, "it is where it was");
    }
    let said = gateway.reload(&config("", &[]).replace("\"lab\"", "\"other\""));
    assert!(said.contains("not changed: app other, app lab\n"), "both: {said}");
    held.is_there(&gateway, "an app that is gone from the file");
}
