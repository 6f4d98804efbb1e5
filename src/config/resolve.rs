//! From the file to what the gateway works with.

use super::{
    AppConfig, Config, DevConfig, LogConfig, PluginConfig, RunConfig, StoreConfig, TlsConfig,
    file::{AppFile, DevFile, File, LimitsFile, PluginFile, TlsFile},
    folder_of,
    values::Deliver,
};
use crate::{
    app::AppLimits,
    core::{CoreLimits, MailboxLimits},
    plugin::PluginLimits,
    store::Durability,
};
use std::{collections::BTreeSet, ops::Range, path::Path, sync::Arc};
use toml::Spanned;

/// What is wrong, and which bytes of the file are to blame.
pub(super) struct Wrong {
    pub span: Option<Range<usize>>,
    pub message: String,
}

fn wrong<T>(place: &Spanned<T>, message: impl Into<String>) -> Wrong {
    Wrong { span: Some(place.span()), message: message.into() }
}

/// Longest name of an app, in bytes.
const MAX_APP_NAME_BYTES: usize = 64;

/// Names that the gateway's own paths use.
const RESERVED_APP_NAMES: [&str; 3] = ["-", "cometbox.js", "favicon.ico"];

pub(super) fn resolve(file: File, path: &Path) -> Result<Config, Wrong> {
    let dir = folder_of(path);
    let listen = address_or_none("listen", &file.listen)?;
    if listen.is_none() && file.tls.is_none() {
        let message = "listen: \"\" turns it off, which makes sense with [tls] only";
        return Err(wrong(&file.listen, message));
    }
    let admin = address_or_none("admin", &file.admin)?;
    let tls = file.tls.map(|tls| resolve_tls(tls, dir)).transpose()?;
    if file.app.is_empty() {
        return Err(Wrong { span: None, message: "no [[app]]: there is nothing to serve".into() });
    }
    let mut names = BTreeSet::new();
    let mut apps = Vec::with_capacity(file.app.len());
    for app in file.app {
        if !names.insert(app.name.get_ref().clone()) {
            let message = format!("there are two apps called {:?}", app.name.get_ref());
            return Err(wrong(&app.name, message));
        }
        apps.push(resolve_app(app, dir, file.store.is_some())?);
    }
    Ok(Config {
        path: path.to_owned(),
        listen,
        admin,
        log: LogConfig { file: file.log.file.map(|log| dir.join(log)), ..file.log },
        tls,
        store: file.store.map(|store| StoreConfig {
            path: dir.join(store.path.get_ref()),
            restart_grace_ms: store.restart_grace_ms,
            takeover_timeout_s: store.takeover_timeout_s,
        }),
        http: file.http,
        cors: file.cors,
        dev: resolve_dev(file.dev, dir)?,
        apps,
    })
}

/// None: it is turned off.
fn address_or_none(key: &str, address: &Spanned<String>) -> Result<Option<String>, Wrong> {
    if address.get_ref().is_empty() {
        return Ok(None);
    }
    check_address(key, address)?;
    Ok(Some(address.get_ref().clone()))
}

fn check_address(key: &str, address: &Spanned<String>) -> Result<(), Wrong> {
    let parts = address.get_ref().rsplit_once(':');
    match parts {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(wrong(
            address,
            format!("{key}: {:?} is no address; write \"127.0.0.1:8080\"", address.get_ref()),
        )),
    }
}

fn resolve_tls(file: TlsFile, dir: &Path) -> Result<TlsConfig, Wrong> {
    check_address("listen", &file.listen)?;
    for (key, path) in [("certificate", &file.certificate), ("key", &file.key)] {
        let shown = dir.join(path.get_ref());
        if !shown.is_file() {
            return Err(wrong(path, format!("{key}: there is no file {}", shown.display())));
        }
    }
    Ok(TlsConfig {
        listen: file.listen.into_inner(),
        certificate: dir.join(file.certificate.get_ref()),
        key: dir.join(file.key.get_ref()),
    })
}

fn resolve_dev(file: DevFile, dir: &Path) -> Result<DevConfig, Wrong> {
    let pages = match file.pages {
        None => None,
        Some(pages) => {
            let folder = dir.join(pages.get_ref());
            if !folder.is_dir() {
                let message = format!("pages: there is no folder {}", folder.display());
                return Err(wrong(&pages, message));
            }
            Some(folder)
        }
    };
    let mut names = BTreeSet::new();
    let mut run = Vec::with_capacity(file.run.len());
    for command in file.run {
        if command.command.get_ref().first().is_none_or(String::is_empty) {
            return Err(wrong(&command.command, "command: needs at least a program"));
        }
        if !names.insert(command.name.get_ref().clone()) {
            let message = format!("there are two commands called {:?}", command.name.get_ref());
            return Err(wrong(&command.name, message));
        }
        run.push(RunConfig {
            name: command.name.into_inner(),
            command: command.command.into_inner(),
            env: command.env,
        });
    }
    Ok(DevConfig { pages, run })
}

fn resolve_app(app: AppFile, dir: &Path, has_store: bool) -> Result<AppConfig, Wrong> {
    check_app_name(&app.name)?;
    if app.plugins.get_ref().is_empty() {
        return Err(wrong(&app.plugins, "plugins: an app needs at least one"));
    }
    if let Some(empty) = app.publish_keys.iter().find(|key| key.get_ref().is_empty()) {
        return Err(wrong(empty, "publish_keys: a key must not be empty"));
    }
    let settings = match &app.settings {
        None => Arc::from("{}"),
        Some(settings) => {
            settings_json(settings.get_ref()).map_err(|message| wrong(settings, message))?
        }
    };
    let mut names = BTreeSet::new();
    let mut plugins = Vec::new();
    for entry in app.plugins.into_inner() {
        let span = entry.span();
        let plugin = resolve_plugin(entry.into_inner(), dir, &settings)
            .and_then(|plugin| {
                if names.insert(plugin.name.clone()) {
                    Ok(plugin)
                } else {
                    let name = plugin.name;
                    Err(format!("two plugins of this app are called {name:?}; give one a name"))
                }
            })
            .map_err(|message| Wrong { span: Some(span), message })?;
        plugins.push(plugin);
    }
    let keeps = has_store && app.durability > Durability::None;
    if let Some(deliver) = app.deliver.as_ref().filter(|it| *it.get_ref() == Deliver::WhenKept)
        && !keeps
    {
        let message =
            "deliver: \"when_kept\" needs [store], and a durability of \"os\" or \"disk\"";
        return Err(wrong(deliver, message));
    }
    let max_wait_ms = app.limits.max_wait_s * 1000;
    Ok(AppConfig {
        name: app.name.into_inner(),
        plugins,
        publish_keys: app.publish_keys.into_iter().map(Spanned::into_inner).collect(),
        durability: app.durability,
        deliver: app.deliver.map(Spanned::into_inner).unwrap_or_default(),
        limits: resolve_limits(app.limits)?,
        max_wait_ms,
    })
}

fn check_app_name(name: &Spanned<String>) -> Result<(), Wrong> {
    let text = name.get_ref();
    if RESERVED_APP_NAMES.contains(&text.as_str()) {
        return Err(wrong(name, format!("name: {text:?} is reserved for the gateway itself")));
    }
    // What needs no escaping in a URL and cannot be mistaken for a hidden file.
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let first = text.chars().next();
    if text.len() > MAX_APP_NAME_BYTES
        || !text.chars().all(fits)
        || !first.is_some_and(|c| c.is_ascii_alphanumeric())
    {
        return Err(wrong(
            name,
            format!(
                "name: {text:?} is no name for an app; use 1 to {MAX_APP_NAME_BYTES} letters, \
                 digits, '-', '_' and '.', starting with a letter or digit"
            ),
        ));
    }
    Ok(())
}

fn resolve_plugin(
    plugin: PluginFile,
    dir: &Path,
    app_settings: &Arc<str>,
) -> Result<PluginConfig, String> {
    let path = dir.join(&plugin.path);
    if !path.exists() {
        return Err(format!("there is no plugin at {}", path.display()));
    }
    if path.is_file() && path.extension().is_none_or(|ext| ext != "wasm") {
        let shown = path.display();
        return Err(format!("{shown} is neither a plugin's folder nor a .wasm file"));
    }
    let name = match plugin.name {
        Some(name) => name,
        None => default_plugin_name(&path)
            .ok_or_else(|| format!("{} says no name; give the plugin one", path.display()))?,
    };
    if name.is_empty() || name.len() > MAX_APP_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(format!("{name:?} is no name for a plugin"));
    }
    let settings = match &plugin.settings {
        None => app_settings.clone(),
        Some(settings) => settings_json(settings)?,
    };
    Ok(PluginConfig { name, path, settings })
}

/// The last part of the path, without `.wasm`.
fn default_plugin_name(path: &Path) -> Option<String> {
    let name_of = |path: &Path| path.file_stem()?.to_str().map(str::to_owned);
    // A path such as `.` has a last part only once it is resolved.
    name_of(path).or_else(|| name_of(&path.canonicalize().ok()?))
}

fn resolve_limits(file: LimitsFile) -> Result<AppLimits, Wrong> {
    let messages = at_least(
        "max_mailbox_messages",
        file.max_mailbox_messages,
        ("mailbox_messages", file.mailbox_messages),
        LimitsFile::MAX_MAILBOX_MESSAGES,
    )?;
    let bytes = at_least(
        "max_mailbox_bytes",
        file.max_mailbox_bytes,
        ("mailbox_bytes", file.mailbox_bytes),
        LimitsFile::MAX_MAILBOX_BYTES,
    )?;
    let max_linger_ms = at_least(
        "max_linger_ms",
        file.max_linger_ms,
        ("linger_ms", file.linger_ms),
        LimitsFile::MAX_LINGER_MS,
    )?;
    let mailbox = MailboxLimits {
        messages: file.mailbox_messages,
        bytes: file.mailbox_bytes,
        full: file.full,
        per_second: file.mailbox_per_second,
    };
    Ok(AppLimits {
        core: CoreLimits {
            max_mailboxes: file.max_mailboxes,
            max_queued_bytes: file.max_queued_bytes,
            max_groups: file.max_groups,
            max_groups_per_mailbox: file.max_groups_per_mailbox,
            max_timers: file.max_timers,
            max_values: file.max_values,
            max_value_bytes: file.max_value_bytes,
            max_state_bytes: file.max_state_bytes,
            max_batch_messages: file.max_answer_messages,
            max_batch_bytes: file.max_answer_bytes,
            detach_grace_ms: file.detach_grace_ms,
            closed_memory_ms: file.closed_memory_ms,
            publish_id_window_ms: file.publish_id_window_ms,
            max_publish_id_bytes: file.max_publish_id_bytes,
        },
        mailbox,
        max_mailbox: MailboxLimits { messages, bytes, ..mailbox },
        linger_ms: file.linger_ms,
        max_linger_ms,
        plugin: PluginLimits {
            call_ms: file.call_ms,
            load_ms: file.load_ms,
            memory_bytes: file.memory_bytes,
            actions: file.actions,
            output_bytes: file.output_bytes,
            host_calls: file.host_calls,
            read_bytes: file.read_bytes,
        },
    })
}

/// An upper bound that must not lie below the default it bounds.
fn at_least<T: Copy + Ord + std::fmt::Display>(
    key: &str,
    given: Option<Spanned<T>>,
    (lower_key, lower): (&str, T),
    default: T,
) -> Result<T, Wrong> {
    match given {
        None => Ok(default.max(lower)),
        Some(max) if *max.get_ref() < lower => {
            Err(wrong(&max, format!("{key}: must not be less than {lower_key}, which is {lower}")))
        }
        Some(max) => Ok(max.into_inner()),
    }
}

fn settings_json(table: &toml::Table) -> Result<Arc<str>, String> {
    let json = object(table)?;
    Ok(serde_json::Value::Object(json).to_string().into())
}

fn object(table: &toml::Table) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    table.iter().map(|(key, value)| Ok((key.clone(), json(value)?))).collect()
}

/// By hand, because serde would write a date as TOML's private table.
fn json(value: &toml::Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(*number)
            .ok_or_else(|| format!("settings: {number} cannot be told to a plugin"))?
            .into(),
        toml::Value::Boolean(yes) => (*yes).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.iter().map(json).collect::<Result<_, _>>()?,
        toml::Value::Table(table) => object(table)?.into(),
    })
}
