//! What a running gateway makes of a file that was changed.
//!
//! [`SETTINGS`] is the one list of when each setting takes effect; the report of
//! a reload goes by it, and so does the table in `docs/configuration.md`.

use super::{AppConfig, Config, TlsConfig};
use std::fmt;

/// When a setting that was changed takes effect, if the file is read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// For requests and events from then on.
    Now,
    /// For connections, streams and WebSockets that begin from then on; on those
    /// that are there some of it may take effect before.
    NextConnection,
    /// For mailboxes that are opened from then on.
    NextMailbox,
    /// Not before the gateway starts again.
    Restart,
}

/// A setting of the file.
#[derive(Debug)]
pub struct Setting {
    /// As in `http.max_body_bytes`; those of an app begin with `app`.
    pub name: &'static str,
    pub when: When,
    differs: Differs,
}

/// Tells whether two configurations, or two of an app, differ in it.
#[derive(Debug)]
enum Differs {
    Gateway(fn(&Config, &Config) -> bool),
    App(fn(&AppConfig, &AppConfig) -> bool),
}

/// A setting in which two files differ.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose it is; none: the gateway's.
    pub app: Option<String>,
    pub setting: &'static Setting,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.app {
            None => f.write_str(self.setting.name),
            Some(app) if self.setting.name == APP_NAME => write!(f, "app {app}"),
            Some(app) => {
                let name = self.setting.name.trim_start_matches("app.");
                write!(f, "app {app}: {name}")
            }
        }
    }
}

const fn setting(name: &'static str, when: When, differs: Differs) -> Setting {
    Setting { name, when, differs }
}

/// A row of [`SETTINGS`]: what is compared of the configuration, or of an app.
macro_rules! row {
    ($name:expr, $when:ident, config.$($field:ident).+) => {
        setting($name, When::$when, Differs::Gateway(|a, b| a.$($field).+ != b.$($field).+))
    };
    ($name:expr, $when:ident, app.$($field:ident).+) => {
        setting($name, When::$when, Differs::App(|a, b| a.$($field).+ != b.$($field).+))
    };
    ($name:expr, $when:ident, config => $of:expr) => {
        setting($name, When::$when, Differs::Gateway(|a, b| $of(a) != $of(b)))
    };
    ($name:expr, $when:ident, app => $of:expr) => {
        setting($name, When::$when, Differs::App(|a, b| $of(a) != $of(b)))
    };
}

/// An app that is new or gone is told by this one.
const APP_NAME: &str = "app.name";

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    row!("listen", Restart, config.listen),
    row!("admin", Restart, config.admin),
    row!("log.format", Now, config.log.format),
    row!("log.level", Now, config.log.level),
    row!("log.file", Now, config.log.file),
    row!("tls.listen", Restart, config => |c: &Config| of_tls(c, |tls| &tls.listen).cloned()),
    setting("tls.certificate", When::Now, Differs::Gateway(|a, b| tls(a, b, |t| &t.certificate))),
    setting("tls.key", When::Now, Differs::Gateway(|a, b| tls(a, b, |t| &t.key))),
    row!("store.path", Restart, config => |c: &Config| c.store.as_ref().map(|s| s.path.clone())),
    row!("store.restart_grace_ms", Restart, config => |c: &Config| {
        c.store.as_ref().map(|store| store.restart_grace_ms)
    }),
    row!("store.takeover_timeout_s", Restart, config => |c: &Config| {
        c.store.as_ref().map(|store| store.takeover_timeout_s)
    }),
    row!("http.max_body_bytes", Now, config.http.max_body_bytes),
    row!("http.max_head_bytes", NextConnection, config.http.max_head_bytes),
    row!("http.max_frame_bytes", NextConnection, config.http.max_frame_bytes),
    row!("http.max_headers", NextConnection, config.http.max_headers),
    row!("http.max_uri_bytes", Now, config.http.max_uri_bytes),
    row!("http.idle_timeout_s", Now, config.http.idle_timeout_s),
    row!("http.head_timeout_s", Now, config.http.head_timeout_s),
    row!("http.body_timeout_s", Now, config.http.body_timeout_s),
    row!("http.max_connections", Now, config.http.max_connections),
    row!("http.max_streams", NextConnection, config.http.max_streams),
    row!("http.compress_min_bytes", Now, config.http.compress_min_bytes),
    row!("http.trusted_proxies", Now, config.http.trusted_proxies),
    row!("http.forwarded_header", Now, config.http.forwarded_header),
    row!("http.max_batch_items", Now, config.http.max_batch_items),
    row!("http.max_reads_per_browser", Now, config.http.max_reads_per_browser),
    row!("http.peer_timeout_s", NextConnection, config.http.peer_timeout_s),
    row!("http.keep_alive_s", NextConnection, config.http.keep_alive_s),
    row!("http.shutdown_grace_s", Now, config.http.shutdown_grace_s),
    row!("cors.origins", Now, config.cors.origins),
    row!("dev.pages", Restart, config.dev.pages),
    row!("dev.run", Restart, config.dev.run),
    // Whether there is such an app, see `changes`.
    setting(APP_NAME, When::Restart, Differs::Gateway(|_, _| false)),
    row!("app.plugins", Now, app => chain),
    setting("app.settings", When::Now, Differs::App(settings)),
    row!("app.publish_keys", Now, app.publish_keys),
    row!("app.durability", Now, app.durability),
    row!("app.deliver", Restart, app.deliver),
    row!("app.limits.mailbox_messages", NextMailbox, app.limits.mailbox.messages),
    row!("app.limits.mailbox_bytes", NextMailbox, app.limits.mailbox.bytes),
    row!("app.limits.full", NextMailbox, app.limits.mailbox.full),
    row!("app.limits.mailbox_per_second", NextMailbox, app.limits.mailbox.per_second),
    row!("app.limits.max_mailbox_messages", NextMailbox, app.limits.max_mailbox.messages),
    row!("app.limits.max_mailbox_bytes", NextMailbox, app.limits.max_mailbox.bytes),
    row!("app.limits.linger_ms", NextMailbox, app.limits.linger_ms),
    row!("app.limits.max_linger_ms", NextMailbox, app.limits.max_linger_ms),
    row!("app.limits.detach_grace_ms", Now, app.limits.core.detach_grace_ms),
    row!("app.limits.closed_memory_ms", Now, app.limits.core.closed_memory_ms),
    row!("app.limits.max_wait_s", Now, app.max_wait_ms),
    row!("app.limits.max_answer_messages", Now, app.limits.core.max_batch_messages),
    row!("app.limits.max_answer_bytes", Now, app.limits.core.max_batch_bytes),
    row!("app.limits.max_mailboxes", Now, app.limits.core.max_mailboxes),
    row!("app.limits.max_queued_bytes", Now, app.limits.core.max_queued_bytes),
    row!("app.limits.max_groups", Now, app.limits.core.max_groups),
    row!("app.limits.max_groups_per_mailbox", Now, app.limits.core.max_groups_per_mailbox),
    row!("app.limits.publish_id_window_ms", Now, app.limits.core.publish_id_window_ms),
    row!("app.limits.max_publish_id_bytes", Now, app.limits.core.max_publish_id_bytes),
    row!("app.limits.max_timers", Now, app.limits.core.max_timers),
    row!("app.limits.max_values", Now, app.limits.core.max_values),
    row!("app.limits.max_value_bytes", Now, app.limits.core.max_value_bytes),
    row!("app.limits.max_state_bytes", Now, app.limits.core.max_state_bytes),
    row!("app.limits.call_ms", Now, app.limits.plugin.call_ms),
    row!("app.limits.load_ms", Now, app.limits.plugin.load_ms),
    row!("app.limits.memory_bytes", Now, app.limits.plugin.memory_bytes),
    row!("app.limits.actions", Now, app.limits.plugin.actions),
    row!("app.limits.output_bytes", Now, app.limits.plugin.output_bytes),
    row!("app.limits.host_calls", Now, app.limits.plugin.host_calls),
    row!("app.limits.read_bytes", Now, app.limits.plugin.read_bytes),
];

fn of_tls<T>(config: &Config, of: fn(&TlsConfig) -> &T) -> Option<&T> {
    config.tls.as_ref().map(of)
}

/// Whether both have `[tls]` and differ in this; where one has none, there is no
/// listener to take it.
fn tls<T: PartialEq>(a: &Config, b: &Config, of: fn(&TlsConfig) -> &T) -> bool {
    of_tls(a, of).zip(of_tls(b, of)).is_some_and(|(a, b)| a != b)
}

fn chain(app: &AppConfig) -> Vec<(String, std::path::PathBuf)> {
    app.plugins.iter().map(|plugin| (plugin.name.clone(), plugin.path.clone())).collect()
}

/// Whether a plugin that is in both has other settings.
fn settings(a: &AppConfig, b: &AppConfig) -> bool {
    let find = |name: &str| b.plugins.iter().find(|plugin| plugin.name == name);
    let differs =
        |(one, other): (&super::PluginConfig, &super::PluginConfig)| one.settings != other.settings;
    a.plugins.iter().filter_map(|one| Some((one, find(&one.name)?))).any(differs)
}

/// In what a new configuration differs from the one that runs: the gateway's
/// settings first, then those of the apps.
#[must_use]
pub fn changes(runs: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    for setting in SETTINGS {
        if let Differs::Gateway(differs) = setting.differs
            && differs(runs, new)
        {
            changes.push(Change { app: None, setting });
        }
    }
    let existence = SETTINGS.iter().find(|setting| setting.name == APP_NAME);
    let only_in = |one: &Config, other: &Config| {
        let names = one.apps.iter().map(|app| app.name.clone());
        names.filter(|name| other.app(name).is_none()).collect::<Vec<_>>()
    };
    for name in only_in(new, runs).into_iter().chain(only_in(runs, new)) {
        changes.extend(existence.map(|setting| Change { app: Some(name), setting }));
    }
    for app in &new.apps {
        let Some(runs) = runs.app(&app.name) else { continue };
        for setting in SETTINGS {
            if let Differs::App(differs) = setting.differs
                && differs(runs, app)
            {
                changes.push(Change { app: Some(app.name.clone()), setting });
            }
        }
    }
    changes
}

impl Config {
    /// The app of this name.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<&AppConfig> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// What runs once `new` has taken over as far as it can without a restart.
    /// Apps for which `stays` says so are what they were.
    #[must_use]
    pub fn renewed(self, new: Self, stays: impl Fn(&str) -> bool) -> Self {
        let tls = match (self.tls, new.tls) {
            (Some(runs), Some(new)) => Some(TlsConfig { listen: runs.listen, ..new }),
            (runs, _) => runs,
        };
        let apps = self.apps.into_iter().map(|app| {
            let new = new.apps.iter().find(|new| new.name == app.name && !stays(&new.name));
            match new.cloned() {
                Some(new) => AppConfig { deliver: app.deliver, ..new },
                None => app,
            }
        });
        Self {
            path: self.path,
            listen: self.listen,
            admin: self.admin,
            log: new.log,
            tls,
            store: self.store,
            http: new.http,
            cors: new.cors,
            dev: self.dev,
            apps: apps.collect(),
        }
    }
}
