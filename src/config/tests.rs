//! Every way a file can be wrong, and what a right one means.

use super::*;

/// A folder with a plugin `chat`, a plugin `auth.wasm` and pages.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("the test machine has a temp folder");
    std::fs::create_dir_all(dir.path().join("plugins/chat")).expect("fresh folder");
    std::fs::create_dir_all(dir.path().join("pages")).expect("fresh folder");
    std::fs::write(dir.path().join("auth.wasm"), b"").expect("fresh folder");
    std::fs::write(dir.path().join("readme.md"), b"").expect("fresh folder");
    dir
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    let dir = folder();
    Config::parse(text, &dir.path().join("cometbox.toml"))
}

const APP: &str = "[[app]]\nname = \"chat\"\nplugins = [\"plugins/chat\"]\n";

#[test]
fn the_smallest_file_has_all_defaults() {
    let config = parse(APP).expect("a valid file");
    assert_eq!(config.listen.as_deref(), Some("127.0.0.1:8080"));
    assert_eq!(config.admin.as_deref(), Some("127.0.0.1:9180"));
    assert_eq!(config.http, HttpConfig::default());
    assert!(config.cors.origins.is_empty() && config.dev.pages.is_none());
    let app = &config.apps[0];
    assert_eq!((app.name.as_str(), app.max_wait_ms), ("chat", 25_000));
    assert_eq!((app.plugins[0].name.as_str(), &*app.plugins[0].settings), ("chat", "{}"));
    assert!(app.plugins[0].path.ends_with("plugins/chat"));
    assert_eq!(app.limits.mailbox.messages, 1000);
    assert_eq!(app.limits.max_mailbox.messages, 10_000);
    assert_eq!(app.limits.plugin, crate::plugin::PluginLimits::default());
}

#[test]
fn everything_can_be_said() {
    let text = r#"
listen = "0.0.0.0:80"
admin = ""
log = { format = "json", level = "debug" }
cors = { origins = ["https://example.org", "*"] }
[http]
max_body_bytes = 10
trusted_proxies = ["10.0.0.0/8", "::1"]
forwarded_header = "forwarded"
[tls]
listen = "0.0.0.0:443"
certificate = "auth.wasm"
key = "readme.md"
[dev]
pages = "pages"
[[dev.run]]
name = "feed"
command = ["feed", "-x"]
env = { A = "b" }
[[app]]
name = "a-1.x"
publish_keys = ["k"]
plugins = ["auth.wasm", { path = "plugins/chat", name = "c", settings = { x = 1 } }]
settings = { list = [1, 2.5, true], since = 2020-01-01, deep = { a = "b" } }
[app.limits]
mailbox_messages = 20000
full = "reject"
max_linger_ms = 60000
call_ms = 5
"#;
    let config = parse(text).expect("a valid file");
    assert_eq!(config.admin, None);
    assert_eq!(config.log.format, LogFormat::Json);
    let tls = config.tls.expect("it is there");
    assert_eq!(tls.listen, "0.0.0.0:443");
    assert!(tls.certificate.ends_with("auth.wasm") && tls.key.ends_with("readme.md"));
    let proxies: Vec<_> = config.http.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "::1/128"]);
    assert_eq!(config.http.forwarded_header, ForwardedHeader::Forwarded);
    assert_eq!(config.dev.run[0].env["A"], "b");
    let app = &config.apps[0];
    assert_eq!(app.plugins[0].name, "auth");
    assert_eq!(
        &*app.plugins[0].settings,
        r#"{"deep":{"a":"b"},"list":[1,2.5,true],"since":"2020-01-01"}"#
    );
    assert_eq!((app.plugins[1].name.as_str(), &*app.plugins[1].settings), ("c", r#"{"x":1}"#));
    assert_eq!(app.limits.max_mailbox.messages, 20_000, "a maximum never lies below the default");
    assert_eq!(app.limits.mailbox.full, crate::core::FullPolicy::Reject);
    assert_eq!((app.limits.max_linger_ms, app.limits.plugin.call_ms), (60_000, 5));
}

#[test]
fn errors_name_the_line_and_help() {
    // What is wrong, the line of the file, and what the message must say.
    let cases: &[(&str, usize, &str)] = &[
        ("\nlisen = \"x\"\n", 2, "unknown key \"lisen\", did you mean \"listen\"?"),
        ("[http]\nmax_body_byte = 1\n", 2, "did you mean \"max_body_bytes\"?"),
        ("[http]\nzzz = 1\n", 2, "unknown key \"zzz\"; the keys here are max_body_bytes, "),
        ("[http]\nmax_body_bytes = 0\n", 2, "max_body_bytes: must be at least 1"),
        ("[http]\nmax_body_bytes = -1\n", 2, "max_body_bytes: "),
        ("[http]\nmax_body_bytes = \"1\"\n", 2, "max_body_bytes: invalid type: string"),
        ("listen = \"8080\"\n", 1, "listen: \"8080\" is no address"),
        ("listen = \"a:99999\"\n", 1, "is no address"),
        ("listen = \"\"\n", 1, "makes sense with [tls] only"),
        ("[tls]\nlisten = \"x\"\nkey = \"k\"\ncertificate = \"c\"\n", 2, "is no address"),
        (
            "[tls]\nlisten = \"x:1\"\nkey = \"k\"\ncertificate = \"c\"\n",
            4,
            "certificate: there is no",
        ),
        ("[http]\ntrusted_proxies = [\"::1\", \"10.0.0.0/33\"]\n", 2, "no address and no network"),
        ("[http]\nforwarded_header = \"x-real-ip\"\n", 2, "unknown variant `x-real-ip`"),
        ("[http]\nmax_streams = 0\n", 2, "max_streams: must be 1 to 10000"),
        ("admin = \"x\"\n", 1, "admin: \"x\" is no address"),
        ("log = { format = \"xml\" }\n", 1, "unknown variant `xml`"),
        ("log = { lvl = \"info\" }\n", 1, "unknown key \"lvl\", did you mean \"level\"?"),
        ("log = { level = \"nonsense=ww\" }\n", 1, "is no log level"),
        ("cors = { origins = [\"example.org\"] }\n", 1, "is no origin"),
        ("cors = { origins = [\"https://a/b\"] }\n", 1, "is no origin"),
        ("[dev]\npages = \"nowhere\"\n", 2, "there is no folder"),
        ("[[dev.run]]\nname = \"x\"\ncommand = []\n", 3, "needs at least a program"),
        ("x = \n", 1, ""),
    ];
    for (text, line, says) in cases {
        let error = parse(&format!("{text}{APP}")).expect_err(text);
        assert_eq!(error.line, Some(*line), "{text:?}: {error}");
        assert!(error.message.contains(says), "{text:?}: {error}");
    }
}

#[test]
fn errors_in_an_app_name_the_line_and_help() {
    let chat = "plugins = [\"plugins/chat\"]";
    let cases: &[(String, usize, &str)] = &[
        (format!("name = \"-\"\n{chat}"), 2, "reserved"),
        (format!("name = \"\"\n{chat}"), 2, "is no name for an app"),
        (format!("name = \"a/b\"\n{chat}"), 2, "is no name for an app"),
        (format!("name = \".a\"\n{chat}"), 2, "is no name for an app"),
        (format!("name = \"a\"\n{chat}\n{APP}{APP}"), 8, "two apps called \"chat\""),
        ("name = \"a\"".into(), 1, "missing field `plugins`"),
        ("name = \"a\"\nplugins = []".into(), 3, "at least one"),
        ("name = \"a\"\nplugins = [\n\"nope\"]".into(), 4, "there is no plugin at"),
        ("name = \"a\"\nplugins = [\"readme.md\"]".into(), 3, "nor a .wasm file"),
        (
            "name = \"a\"\nplugins = [\"plugins/chat\",\n\"plugins/chat\"]".into(),
            4,
            "two plugins of this app are called \"chat\"",
        ),
        (
            "name = \"a\"\nplugins = [{ path = \"plugins/chat\", nam = \"x\" }]".into(),
            3,
            "unknown key \"nam\", did you mean \"name\"?",
        ),
        (format!("name = \"a\"\n{chat}\npublish_keys = [\"\"]"), 4, "must not be empty"),
        (format!("name = \"a\"\n{chat}\ndeliver = \"when_kept\""), 4, "needs [store]"),
        (
            format!(
                "name = \"a\"\n{chat}\ndurability = \"none\"\ndeliver = \"when_kept\"\n[store]\npath = \"s\""
            ),
            5,
            "a durability of",
        ),
        (format!("name = \"a\"\n{chat}\nlimits = {{ linger = 1 }}"), 4, "\"linger_ms\""),
        (
            format!("name = \"a\"\n{chat}\n[app.limits]\nmailbox_message = 1"),
            5,
            "did you mean \"mailbox_messages\"?",
        ),
        (
            format!("name = \"a\"\n{chat}\n[app.limits]\nmax_linger_ms = 1"),
            5,
            "must not be less than linger_ms, which is 60000",
        ),
        (format!("name = \"a\"\n{chat}\nlimits = {{ max_wait_s = 0 }}"), 4, "1 to 3600"),
        (format!("name = \"a\"\n{chat}\nlimits = {{ full = \"drop\" }}"), 4, "unknown variant"),
        (format!("name = \"a\"\n{chat}\nsettings = {{ x = nan }}"), 4, "cannot be told"),
    ];
    for (text, line, says) in cases {
        let error = parse(&format!("[[app]]\n{text}\n")).expect_err(text);
        assert_eq!(error.line, Some(*line), "{text:?}: {error}");
        assert!(error.message.contains(says), "{text:?}: {error}");
    }
}

/// What every setting is in one configuration, and what in the other.
const TWO: &[(&str, &str, &str)] = &[
    ("listen", "\"a:1\"", "\"b:1\""),
    ("admin", "\"a:2\"", "\"\""),
    ("log.format", "\"text\"", "\"json\""),
    ("log.level", "\"info\"", "\"debug\""),
    ("log.file", "\"a.log\"", "\"b.log\""),
    ("tls.listen", "\"a:3\"", "\"b:3\""),
    ("tls.certificate", "\"auth.wasm\"", "\"readme.md\""),
    ("tls.key", "\"auth.wasm\"", "\"readme.md\""),
    ("store.path", "\"a\"", "\"b\""),
    ("store.restart_grace_ms", "1", "2"),
    ("store.takeover_timeout_s", "1", "2"),
    ("http.trusted_proxies", "[]", "[\"::1\"]"),
    ("http.forwarded_header", "\"forwarded\"", "\"x-forwarded-for\""),
    ("cors.origins", "[]", "[\"*\"]"),
    ("dev.pages", "\"pages\"", "\"plugins\""),
    ("dev.run", "[]", "[{ name = \"a\", command = [\"a\"] }]"),
    ("app.plugins", "[\"auth.wasm\"]", "[\"plugins/chat\"]"),
    ("app.settings", "{}", "{ x = 1 }"),
    ("app.publish_keys", "[]", "[\"k\"]"),
    ("app.durability", "\"os\"", "\"disk\""),
    ("app.deliver", "\"at_once\"", "\"when_kept\""),
    ("app.limits.full", "\"drop_oldest\"", "\"reject\""),
    // Not below those that they bound.
    ("app.limits.max_mailbox_messages", "100", "101"),
    ("app.limits.max_mailbox_bytes", "100", "101"),
    ("app.limits.max_linger_ms", "100", "101"),
];

/// A configuration with the first value of each setting, but for one that has
/// the second.
fn one_of(dir: &Path, changed: Option<&str>) -> Config {
    let mut file = toml::Table::new();
    for setting in SETTINGS.iter().filter(|setting| setting.name != "app.name") {
        let two = TWO.iter().find(|(name, ..)| *name == setting.name);
        // All others are numbers.
        let (_, first, second) = *two.unwrap_or(&(setting.name, "5", "6"));
        let value = if changed == Some(setting.name) { second } else { first };
        let value: toml::Table = format!("x = {value}").parse().expect("a value");
        let mut path: Vec<_> = setting.name.split('.').collect();
        let key = path.pop().expect("split gives at least one");
        let mut table = &mut file;
        for part in path {
            let inner = table.entry(part).or_insert_with(|| toml::Table::new().into());
            table = inner.as_table_mut().expect("no setting is in another one");
        }
        table.insert(key.into(), value["x"].clone());
    }
    let mut app = file.remove("app").expect("it has settings");
    app.as_table_mut().expect("a table").insert("name".into(), "a".into());
    file.insert("app".into(), vec![app].into());
    Config::parse(&file.to_string(), &dir.join("c.toml")).unwrap_or_else(|e| panic!("{e}\n{file}"))
}

#[test]
fn every_setting_that_changes_is_found_and_no_other() {
    let dir = folder();
    let runs = one_of(dir.path(), None);
    assert!(changes(&runs, &runs).is_empty());
    for setting in SETTINGS.iter().filter(|setting| setting.name != "app.name") {
        let name = setting.name;
        let new = one_of(dir.path(), Some(name));
        let found: Vec<_> = changes(&runs, &new).iter().map(|c| c.setting.name).collect();
        assert_eq!(found, [name]);
        // What takes over does so but for what waits.
        let waits = setting.when == When::Restart;
        let then = runs.clone().renewed(new.clone(), |_| false);
        assert_eq!(changes(&runs, &then).is_empty(), waits, "{name}");
        assert_eq!(changes(&then, &new).is_empty(), !waits, "{name}");
        let stays = runs.clone().renewed(new, |app| app == "a");
        assert_eq!(changes(&runs, &stays).is_empty(), waits || name.starts_with("app."), "{name}");
    }
}

#[test]
fn apps_and_parts_that_come_and_go_wait_for_a_restart() {
    let tls = "tls = { listen = \"x:1\", certificate = \"readme.md\", key = \"readme.md\" }\n";
    let (store, other) = ("store = { path = \"s\" }\n", APP.replace("chat\"\n", "b\"\n"));
    let dir = folder();
    let config = |text: &str| {
        Config::parse(&format!("{text}{APP}"), &dir.path().join("c.toml")).expect("it is valid")
    };
    for (text, named) in [
        (tls, &["tls.listen"][..]),
        (store, &["store.path", "store.restart_grace_ms", "store.takeover_timeout_s"]),
        (&other, &["app b"]),
    ] {
        let (without, with) = (config(""), config(text));
        for (runs, new) in [(&without, &with), (&with, &without)] {
            let changes = changes(runs, new);
            let names: Vec<_> = changes.iter().map(ToString::to_string).collect();
            assert_eq!(names, named);
            assert!(changes.iter().all(|change| change.setting.when == When::Restart));
            let then = runs.clone().renewed(new.clone(), |_| false);
            assert!(super::changes(runs, &then).is_empty(), "{named:?}");
        }
    }
}

#[test]
fn an_error_reads_as_promised() {
    let error =
        Config::parse("\n\nlisen = 1", Path::new("cometbox.toml")).expect_err("unknown key");
    let shown = error.to_string();
    assert_eq!(shown, "cometbox.toml:3: unknown key \"lisen\", did you mean \"listen\"?");
    let error = Config::load(Path::new("nowhere/cometbox.toml")).expect_err("no file");
    assert_eq!(error.to_string(), "nowhere/cometbox.toml: there is no such file");
    let error = parse("").expect_err("no app");
    assert!(error.to_string().ends_with("cometbox.toml: no [[app]]: there is nothing to serve"));
}
