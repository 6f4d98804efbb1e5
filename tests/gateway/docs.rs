//! What the documents say is so.

use crate::support::{BINARY, Gateway, crates, eventually, project};
use cometbox::config::{SETTINGS, When};
use std::{fs, process::Command};

fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The first code block of a language after a heading.
fn block(text: &str, heading: &str, language: &str) -> String {
    let (_, after) = text.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
    let (_, code) = after.split_once(&format!("```{language}\n")).expect("a code block");
    code.split_once("```").expect("its end").0.to_owned()
}

#[test]
fn every_setting_is_documented_as_the_source_says() {
    let documented = read("docs/configuration.md");
    let mut comment = Vec::new();
    let mut settings = 0;
    for line in read("src/config/file.rs").lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim().to_owned());
        } else if let Some(field) = line.strip_prefix("pub ").and_then(|l| l.split_once(": ")) {
            let is_field = !field.0.contains(' '); // and no constant
            if is_field && !comment.is_empty() {
                let row = format!("| `{}` | {} |", field.0, comment.join(" "));
                assert!(documented.contains(&row), "docs/configuration.md lacks: {row}");
                settings += 1;
            }
            comment.clear();
        } else if !line.starts_with("#[") {
            comment.clear();
        }
    }
    assert!(settings > 40, "found the settings: {settings}");
}

/// What the parts of the file are called in the list of all settings.
const PARTS: [(&str, &str); 11] = [
    ("File", ""),
    ("LogConfig", "log."),
    ("TlsFile", "tls."),
    ("StoreFile", "store."),
    ("HttpConfig", "http."),
    ("CorsConfig", "cors."),
    ("DevFile", "dev."),
    ("RunFile", "dev.run."),
    ("AppFile", "app."),
    ("PluginFile", "app.plugins."),
    ("LimitsFile", "app.limits."),
];

#[test]
fn the_documentation_says_when_each_setting_takes_effect() {
    let documented = read("docs/configuration.md");
    let (_, section) = documented.split_once("## Changing it while it runs").expect("it is there");
    let row = |when: &str| {
        let row = section.lines().find(|line| line.starts_with(&format!("| {when} |")));
        row.unwrap_or_else(|| panic!("no row {when:?}")).to_owned()
    };
    let rows = [
        (When::NextConnection, row("the next connection")),
        (When::NextMailbox, row("the next mailbox")),
        (When::Restart, row("a restart")),
    ];
    for setting in SETTINGS {
        for (when, row) in &rows {
            let is_there = row.contains(&format!("`{}`", setting.name));
            assert_eq!(is_there, setting.when == *when, "{} in {row}", setting.name);
        }
    }
    for (_, row) in &rows {
        for name in row.split('`').skip(1).step_by(2) {
            assert!(SETTINGS.iter().any(|setting| setting.name == name), "no setting {name}");
        }
    }
}

#[test]
fn every_setting_is_in_the_list_of_when_it_takes_effect() {
    let mut part = None;
    let mut settings = 0;
    let mut is_documented = false;
    for line in read("src/config/file.rs").lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub struct ") {
            let name = name.split(' ').next().unwrap_or_default();
            part = PARTS.iter().find(|(known, _)| *known == name);
            assert!(part.is_some(), "{name} is no part that this test knows");
        } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|l| l.split_once(": "))
            && is_documented
            && !field.contains(' ')
        {
            let name = format!("{}{field}", part.expect("a field is in a struct").1);
            let is_of = |setting: &str| {
                name.strip_prefix(setting)
                    .is_some_and(|rest| matches!(rest.bytes().next(), None | Some(b'.')))
            };
            let is_known = SETTINGS.iter().any(|setting| is_of(setting.name));
            assert!(is_known, "{name} is not in SETTINGS of src/config/change.rs");
            settings += 1;
        }
        is_documented = line.starts_with("///") || is_documented && line.starts_with("#[");
    }
    assert!(settings > 40, "found the settings: {settings}");
}

/// The session as a reader would paste it, but for the port.
#[test]
fn the_readmes_session_by_hand_works_as_pasted() {
    let gateway = Gateway::dev();
    let page = || gateway.client().get("/-/dev/status").text().matches("\"ok\"").count() == 2;
    eventually(page, "both apps serve");
    let port = gateway.addr.port().to_string();
    let session = block(&read("README.md"), "## By hand", "sh").replace("8080", &port);
    let output = Command::new("bash").args(["-euc", &session]).output().expect("there is bash");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    for expected in [
        r#"{"results":[{"queued":1,"missing":[],"full":[],"dropped":0}]}"#,
        r#"{"cursor":1,"lost":0,"messages":[{"seq":1,"data":{"from":"server","say":"hello"}}]}"#,
        "204\n",
    ] {
        assert!(said.contains(expected), "no {expected} in {said}{errors}");
    }
}

#[test]
fn the_readmes_plugin_does_what_it_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = block(&read("README.md"), "## A plugin in 20 lines", "rust");
    let component = crates::build(folder.path(), "shout", &source);
    let config = format!("[[app]]\nname = \"shout\"\nplugins = [{component:?}]\n");
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    let mut open = || {
        let opened = client.post("/shout/mailboxes", "null").json();
        let text = |field: &str| opened[field].as_str().expect("a text").to_owned();
        assert_eq!(opened["reply"]["you are"], opened["mailbox"]);
        format!("/shout/mailboxes/{}?key={}", text("mailbox"), text("key"))
    };
    let (one, other) = (open(), open());
    assert_eq!(client.post(&one, r#"{"hey":1}"#).status, 204);
    assert_eq!(client.get(&format!("{one}&wait=0")).status, 204, "no echo");
    assert_eq!(client.get(&format!("{other}&wait=0")).json()["messages"][0]["data"]["hey"], 1);
}

/// The block as a reader would paste it, but for the compiler's line, the ports
/// and the folder.
#[test]
fn the_readmes_way_to_production_works() {
    let steps = block(&read("README.md"), "## In production", "sh");
    let mut steps: Vec<&str> = steps.lines().collect();
    assert_eq!(steps.remove(0), "cargo build --release");
    assert_eq!(steps.pop(), Some("target/release/cometbox serve --config cometbox.toml"));
    for step in steps {
        let arguments = step.strip_prefix("target/release/cometbox ").expect("it is ours");
        let mut command = Command::new(BINARY);
        let output = command.args(arguments.split(' ')).current_dir(project("")).output();
        let output = output.expect("the binary was built for this test");
        assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let config = read("cometbox.toml")
        .lines()
        .filter(|line| !line.starts_with("listen") && !line.starts_with("admin"))
        .map(|line| line.to_owned() + "\n")
        .collect::<String>()
        .replace("\"plugins/", &format!("\"{}/", project("plugins").display()))
        .replace("\"examples\"", &format!("{:?}", project("examples").display().to_string()));
    let mut gateway = Gateway::start(&config);
    let opened = gateway.client().post("/quotes/mailboxes", r#"{"watch":["IBM"]}"#);
    assert_eq!(opened.status, 201, "{opened:?}");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}
