//! Plugins that are swapped while their files change: real files, real builds.

use super::{block_on, engine, folder, hostile_component, named};
use cometbox::{
    app::{Answers, App, AppLimits, Now},
    build,
    core::{CoreLimits, FullPolicy, Key, MailboxLimits, Payload},
    plugin::{OpenRequest, PluginLimits},
    reload::{AppSpec, AppStatus, PluginSpec, Shell, Source, State, Supervisor},
};
use std::{fs, path::Path, sync::Arc, time::Duration};
use tokio::time::timeout;

/// Only to end a test that hangs; a first build takes a while.
const PATIENCE: Duration = Duration::from_secs(300);

struct NoClients;

impl Shell for NoClients {
    fn now(&self) -> Now {
        Now { mono: 1_000, unix_ms: 1_700_000_000_000 }
    }

    fn deliver(&self, _: Answers) {}
}

fn app(name: &str) -> Arc<App> {
    let mailbox = MailboxLimits {
        messages: 100,
        bytes: 1 << 20,
        full: FullPolicy::DropOldest,
        per_second: 0,
    };
    let limits = AppLimits {
        core: CoreLimits {
            max_mailboxes: 100,
            max_queued_bytes: 1 << 20,
            max_groups: 100,
            max_groups_per_mailbox: 10,
            max_timers: 100,
            max_values: 100,
            max_value_bytes: 1 << 20,
            max_state_bytes: 1 << 20,
            max_batch_messages: 100,
            max_batch_bytes: 1 << 20,
            detach_grace_ms: 1_000,
            closed_memory_ms: 1_000,
            publish_id_window_ms: 120_000,
            max_publish_id_bytes: 1 << 20,
        },
        mailbox,
        max_mailbox: mailbox,
        linger_ms: 60_000,
        max_linger_ms: 60_000,
        plugin: PluginLimits { call_ms: 250, ..PluginLimits::default() },
    };
    App::new(name, limits, 1, Box::new(|| {}))
}

fn spec(app: &Arc<App>, path: &Path, settings: &str) -> AppSpec {
    let plugin = PluginSpec {
        name: named("plugin"),
        source: Source::of(path.to_owned()),
        settings: settings.into(),
    };
    AppSpec { app: app.clone(), shell: Arc::new(NoClients), plugins: vec![plugin] }
}

async fn serve(apps: Vec<AppSpec>) -> Result<Supervisor, String> {
    Supervisor::serve(apps, engine().clone()).await.map_err(|e| e.to_string())
}

/// Opens a mailbox; the plugin's reply.
fn open(app: &App, body: &str) -> String {
    let request = OpenRequest {
        body: Payload::json(body.to_owned()),
        headers: Vec::new(),
        peer: String::new(),
    };
    let opened = app
        .open(NoClients.now(), Key([1; 16]), &request, &mut Answers::new())
        .unwrap_or_else(|e| panic!("{e:?}"));
    opened.reply.map(|reply| String::from_utf8_lossy(&reply.bytes).into_owned()).unwrap_or_default()
}

/// Waits until the only app is in such a state.
async fn until(
    supervisor: &Supervisor,
    what: &str,
    fits: impl Fn(&AppStatus) -> bool,
) -> AppStatus {
    let mut status = supervisor.status();
    let found = timeout(PATIENCE, status.wait_for(|apps| fits(&apps[0]))).await;
    match found {
        Ok(Ok(apps)) => apps[0].clone(),
        _ => panic!("{what}: still {:?}", supervisor.status().borrow()),
    }
}

/// As `cometbox build` and any good deployment does it.
fn replace(file: &Path, bytes: &[u8]) {
    let temporary = file.with_extension("tmp");
    fs::write(&temporary, bytes).expect("a temporary folder can be written");
    fs::rename(&temporary, file).expect("a temporary folder can be written");
}

fn with_text(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "offsets stay what they are");
    let at = component
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .expect("the text is in there");
    let mut changed = component.to_vec();
    changed[at..at + from.len()].copy_from_slice(to.as_bytes());
    changed
}

#[test]
fn serve_needs_components_that_load() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let path = dir.path();
    fs::create_dir_all(path.join("crate/src")).expect("writable");
    fs::write(path.join("crate/Cargo.toml"), "[package]\nname = \"x\"").expect("writable");
    fs::write(path.join("text.wasm"), "hello").expect("writable");
    fs::write(path.join("good.wasm"), hostile_component()).expect("writable");
    for (plugin, settings, says) in [
        ("crate", "{}", "run `cometbox build"),
        ("none.wasm", "{}", "there is no component"),
        ("text.wasm", "{}", "not a WebAssembly component"),
        ("good.wasm", r#"{"nope":1}"#, "refuses its settings"),
        ("good.wasm", r#"{"load":"panic"}"#, "load: trap"),
    ] {
        let app = app("app");
        let result = block_on(serve(vec![spec(&app, &path.join(plugin), settings)]));
        match result {
            Ok(_) => panic!("{plugin} {settings} serves"),
            Err(e) => assert!(e.contains(says), "{plugin}: {e}"),
        }
        assert_eq!(app.version(), 0);
    }
}

#[test]
fn serve_reloads_what_is_replaced_and_keeps_the_old_if_that_is_broken() {
    let good = hostile_component();
    let cut = &good[..good.len() / 2];
    let renamed = with_text(good, "hostile was told to reject", "hostile was told to refuse");
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let file = dir.path().join("plugin.wasm");
    fs::write(&file, good).expect("writable");
    block_on(async {
        let app = app("app");
        let supervisor = serve(vec![spec(&app, &file, "{}")]).await.expect("it is good");
        let mut version = 1;
        for (what, bytes, error) in [
            ("text", b"hello".as_slice(), Some("not a WebAssembly component")),
            ("half of it", cut, Some("does not compile")),
            ("another one", &renamed, None),
            ("a module", b"\0asm\x01\0\0\0", Some("core WebAssembly module")),
            ("the first again", good, None),
        ] {
            replace(&file, bytes);
            if error.is_none() {
                version += 1;
            }
            let status = until(&supervisor, what, |status| match error {
                None => status.version == version,
                Some(error) => {
                    status.state == State::Failed
                        && status.error.as_deref().is_some_and(|e| e.contains(error))
                }
            })
            .await;
            assert_eq!(status.version, version, "{what}");
            assert_eq!(app.version(), version, "{what}");
            open(&app, "{}");
        }
        until(&supervisor, "all is well", |status| status.state == State::Ok).await;
    });
}

#[test]
fn another_configuration_of_an_app_takes_over_or_leaves_it_as_it_was() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let [first, second, text] = ["a.wasm", "b.wasm", "text.wasm"].map(|name| dir.path().join(name));
    for file in [&first, &second] {
        fs::write(file, hostile_component()).expect("writable");
    }
    fs::write(&text, "hello").expect("writable");
    block_on(async {
        let app = app("app");
        let supervisor = serve(vec![spec(&app, &first, "{}")]).await.expect("it is good");
        let before = app.limits();
        let mut limits = before;
        limits.core.max_values = 7;
        let (mut version, mut file) = (1, &first);
        for (case, path, settings, error) in [
            ("the same", &first, "{}", None),
            ("no component", &text, "{}", Some("not a WebAssembly component")),
            ("nothing there", &dir.path().join("none.wasm"), "{}", Some("there is no component")),
            ("refused settings", &second, r#"{"nope":1}"#, Some("refuses its settings")),
            ("a load that fails", &second, r#"{"load":"panic"}"#, Some("load: trap")),
            ("another file", &second, "{}", None),
            ("other settings", &second, r#"{"in":"closed","do":"nothing"}"#, None),
        ] {
            let plugins = spec(&app, path, settings).plugins;
            let result = supervisor.renew("app", plugins, limits).await;
            match (error, result) {
                (None, result) => {
                    result.unwrap_or_else(|e| panic!("{case}: {e}"));
                    (version, file) = (version + 1, path);
                }
                (Some(error), Ok(())) => panic!("{case}: no {error}"),
                (Some(error), Err(e)) => assert!(e.to_string().contains(error), "{case}: {e}"),
            }
            assert_eq!(app.version(), version, "{case}");
            let max_values = app.limits().core.max_values;
            assert_eq!(max_values, limits.core.max_values, "{case}: those of the first renewal");
            open(&app, "{}");
            // What serves is watched, and nothing else.
            for other in [&first, &second].into_iter().filter(|other| *other != file) {
                replace(other, b"hello");
                replace(other, hostile_component());
            }
            replace(file, hostile_component());
            version += 1;
            until(&supervisor, case, |status| {
                (status.version, status.state) == (version, State::Ok)
            })
            .await;
        }
        // A failure takes the limits back as well.
        let plugins = spec(&app, &text, "{}").plugins;
        supervisor.renew("app", plugins, before).await.expect_err("it is no component");
        assert_eq!(app.limits().core.max_values, 7);
        let plugins = spec(&app, &first, r#"{"load":"panic"}"#).plugins;
        supervisor.renew("app", plugins, before).await.expect_err("its load fails");
        assert_eq!(app.limits().core.max_values, 7);
        supervisor.renew("other", Vec::new(), before).await.expect_err("there is no such app");
    });
}

/// What `cometbox new` makes, with what this workspace has built already.
fn new_plugin(dir: &Path) {
    build::scaffold(dir).expect("a new folder");
    let target = format!("[build]\ntarget-dir = {:?}\n", folder("target"));
    fs::create_dir(dir.join(".cargo")).expect("writable");
    fs::write(dir.join(".cargo/config.toml"), target).expect("writable");
    fs::copy(folder("Cargo.lock"), dir.join("Cargo.lock")).expect("part of the source");
}

#[test]
fn dev_builds_on_save_and_shows_what_does_not_compile() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let plugin = dir.path().join("my-room");
    new_plugin(&plugin);
    let source = plugin.join("src/lib.rs");
    let first = fs::read_to_string(&source).expect("it was just made");
    block_on(async {
        let (app, other) = (app("app"), app("other"));
        let specs = vec![
            spec(&app, &plugin, r#"{"greeting":"Hello"}"#),
            spec(&other, &plugin, r#"{"greeting":"Hi"}"#),
        ];
        let supervisor =
            Supervisor::dev(specs, engine().clone(), Arc::new(|line: &str| println!("{line}")))
                .expect("the folder can be watched");
        until(&supervisor, "first build", |status| status.version == 1).await;
        assert!(open(&app, r#"{"name":"ann"}"#).contains("Hello, ann!"));

        let (no_rust, no_export) = ("let Hello {", "cometbox_guest::export!");
        for (what, save, error) in [
            ("a typo", first.replace(no_rust, "lett Hello {"), "src/lib.rs:"),
            ("no export", first.replace(no_export, "// export!"), "export!(YourPlugin)"),
            (
                "a wrong word",
                first.replace(
                    "-> Result<Self, String> {",
                    "-> Result<Self, String> { return Err(\"no\".into());",
                ),
                "refuses its settings: no",
            ),
        ] {
            replace(&source, save.as_bytes());
            let status = until(&supervisor, what, |status| {
                status.error.as_deref().is_some_and(|e| e.contains(error))
            })
            .await;
            assert_eq!((status.version, status.state), (1, State::Failed), "{what}");
            open(&app, r#"{"name":"bob"}"#);
            app.close(NoClients.now(), "bob", Key([1; 16]), &mut Answers::new()).expect("open");
        }

        replace(&source, first.replace(", {name}!", " there, {name}!").as_bytes());
        let status = until(&supervisor, "repaired", |status| status.version == 2).await;
        assert_eq!(status.error, None);
        assert!(open(&app, r#"{"name":"cy"}"#).contains("Hello there, cy!"));
        let mut all = supervisor.status();
        timeout(PATIENCE, all.wait_for(|apps| apps[1].version == 2))
            .await
            .expect("the other app has the same plugin")
            .expect("the supervisor lives");
        assert!(open(&other, r#"{"name":"dan"}"#).contains("Hi there, dan!"));

        // A save in the middle of a build takes its place.
        replace(&source, first.replace(no_rust, "lett Hello {").as_bytes());
        until(&supervisor, "building", |status| status.state == State::Building).await;
        replace(&source, first.as_bytes());
        let status = until(&supervisor, "saved again", |status| status.version == 3).await;
        assert_eq!((status.state, status.error), (State::Ok, None));
    });
}
