//! Log files: rotated as logrotate does it, on disks that are full or gone.

use super::{Held, config};
use crate::support::{Client, Gateway, eventually};
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

/// Writes into the log an error whose id it returns.
fn fail(client: &mut Client) -> String {
    let body = r#"{"to":{"mailboxes":["nobody"]},"data":{"do":"error"}}"#;
    let published = client.publish(body).json();
    published["results"][0]["error"]["id"].as_str().expect("it is in the log").to_owned()
}

fn to_file(path: &Path, more: &str) -> String {
    let path = path.display().to_string();
    config(&format!("log = {{ file = {path:?}{more} }}\n"), &[])
}

/// Has it go by this configuration, with its log in this file.
fn log_to(gateway: &Gateway, path: &Path, more: &str) {
    let head = format!("{}\n", addresses(gateway));
    fs::write(gateway.path("cometbox.toml"), head + &to_file(path, more)).expect("ours");
    gateway.signal("HUP");
    eventually(|| read(path).contains("configuration reloaded: "), "it logs there");
}

/// The first two lines of its configuration stay what they are.
fn addresses(gateway: &Gateway) -> String {
    let text = read(&gateway.path("cometbox.toml"));
    text.lines().take(2).collect::<Vec<_>>().join("\n")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Stops the load, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn no_line_is_lost_when_the_file_is_renamed_under_load() {
    const ROUNDS: usize = 5;
    let gateway = Gateway::start(&config("", &[]));
    let mut held = Held::new(&gateway);
    let file = gateway.path("gateway.log");
    log_to(&gateway, &file, "");
    let stop = AtomicBool::new(false);
    let (ids, files) = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let failing = || {
            let (mut client, mut ids) = (gateway.client(), Vec::new());
            while !stop.load(Relaxed) {
                ids.push(fail(&mut client));
            }
            ids
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(failing)).collect();
        let mut files = Vec::new();
        for round in 0..ROUNDS {
            // So that there are lines in each of them.
            eventually(|| read(&file).contains("plugin failed"), "there is load");
            let renamed = gateway.path(&format!("gateway.log.{round}"));
            fs::rename(&file, &renamed).expect("ours");
            gateway.signal("HUP");
            // Its plugins may take longer to load than this.
            eventually(|| file.exists(), "a new file");
            files.push(renamed);
        }
        eventually(|| read(&file).contains("plugin failed"), "there is load");
        drop(stopping);
        let ids = threads.into_iter().flat_map(|thread| thread.join().expect("they are answered"));
        (ids.collect::<Vec<_>>(), files)
    });
    let mut lines = String::new();
    for path in files.iter().chain([&file]) {
        let text = read(path);
        assert!(text.ends_with('\n'), "whole lines only");
        lines += &text;
    }
    let logged = lines.lines().filter(|line| line.contains("plugin failed")).count();
    assert_eq!(logged, ids.len(), "each is there once");
    for id in &ids {
        assert!(lines.contains(id), "{id} is missing");
    }
    assert!(!gateway.log().contains("plugin failed"), "and not on stderr");
    held.is_there(&gateway, "after it all");
}

#[test]
fn a_disk_that_is_full_is_told_once_and_costs_lines_only() {
    let gateway = Gateway::start(&config("", &[]));
    let mut held = Held::new(&gateway);
    let file = gateway.path("gateway.log");
    symlink("/dev/full", &file).expect("ours");
    let text = addresses(&gateway) + "\n" + &to_file(&file, "");
    fs::write(gateway.path("cometbox.toml"), text).expect("ours");
    gateway.signal("HUP");
    let told = || gateway.log().matches("log: cannot write ").count();
    eventually(|| told() > 0, "stderr says it");
    let ids = [(); 5].map(|()| fail(&mut gateway.client()));
    held.is_there(&gateway, "its log is lost");
    assert_eq!(told(), 1, "{}", gateway.log());
    assert!(gateway.log().contains("No space left on device"), "{}", gateway.log());
    // There is room again.
    fs::remove_file(&file).expect("ours");
    gateway.signal("HUP");
    eventually(|| gateway.log().contains("can be written again; lines are missing: "), "stderr");
    let id = fail(&mut gateway.client());
    eventually(|| read(&file).contains(&id), "the file");
    assert!(!ids.iter().any(|lost| read(&file).contains(lost)));
    assert_eq!(told(), 1, "{}", gateway.log());
}

#[test]
fn a_folder_that_is_gone_leaves_the_file_that_is_open() {
    let gateway = Gateway::start(&config("", &[]));
    let mut held = Held::new(&gateway);
    let folder = gateway.path("logs");
    fs::create_dir(&folder).expect("ours");
    let file = folder.join("gateway.log");
    log_to(&gateway, &file, "");
    let elsewhere = gateway.path("elsewhere");
    fs::rename(&folder, &elsewhere).expect("ours");
    let head = addresses(&gateway) + "\n";
    let keys = ("publish_keys", "[\"secret\", \"new\"]");
    let text = config(&format!("log = {{ file = {:?} }}\n", file.display().to_string()), &[keys]);
    fs::write(gateway.path("cometbox.toml"), head + &text).expect("ours");
    gateway.signal("HUP");
    eventually(|| gateway.log().contains("the file that was open until now goes on"), "stderr");
    // It is no reason not to reload.
    let moved = elsewhere.join("gateway.log");
    eventually(|| read(&moved).contains("configuration reloaded: app lab: publish_keys"), "lines");
    let id = fail(&mut gateway.client());
    assert!(read(&moved).contains(&id), "the lines go on");
    fs::create_dir(&folder).expect("ours");
    gateway.signal("HUP");
    eventually(|| read(&file).contains("configuration reloaded: "), "it is opened again");
    held.is_there(&gateway, "after it all");
}

#[test]
fn level_and_format_change() {
    let gateway = Gateway::start(&config("", &[]));
    let file = gateway.path("gateway.log");
    let line = "x".repeat(20);
    let info = r#"{"to":{"mailboxes":["nobody"]},"data":{"do":"log_giant","count":20}}"#;
    for (case, more, has_info, is_json) in [
        ("as it is", "", true, false),
        ("errors", ", level = \"error\"", false, false),
        ("other filters", ", level = \"error,plugin=info\"", true, false),
        ("JSON", ", format = \"json\"", true, true),
        ("JSON of errors", ", format = \"json\", level = \"error\"", false, true),
        ("back", "", true, false),
    ] {
        let text = addresses(&gateway) + "\n" + &to_file(&file, more);
        fs::write(gateway.path("cometbox.toml"), text).expect("ours");
        gateway.signal("HUP");
        let is_so = || {
            let before = read(&file).len();
            assert_eq!(gateway.client().publish(info).status, 200);
            // What is not there by now does not come any more.
            let id = fail(&mut gateway.client());
            let said = read(&file)[before..].to_owned();
            said.contains(&id)
                && said.contains(&line) == has_info
                && said.lines().all(|line| line.starts_with('{') == is_json)
        };
        eventually(is_so, case);
    }
}
