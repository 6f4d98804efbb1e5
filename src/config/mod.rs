//! `cometbox.toml` → resolved configuration.
//!
//! [`file`] is the file as it is written: every key with its unit, its meaning
//! and its default, all in that one place. This module checks what a single
//! value cannot know (names that differ, paths that exist, limits that agree)
//! and turns the rest into what the gateway works with. Every error names file
//! and line, and an unknown key the nearest valid one.

pub mod change;
pub mod error;
pub mod file;
mod resolve;
mod values;

#[cfg(test)]
mod tests;

pub use change::{Change, SETTINGS, Setting, When, changes};
pub use error::ConfigError;
pub use file::{CorsConfig, ForwardedHeader, HttpConfig, LogConfig, LogFormat};
pub use values::Deliver;

use crate::{app::AppLimits, store::Durability};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A configuration that has been checked. Paths are absolute or relative to
/// the current folder, not to the file any more.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// `host:port` for clients and backends; none: over TLS only.
    pub listen: Option<String>,
    /// `host:port` for health and metrics; none: turned off.
    pub admin: Option<String>,
    pub log: LogConfig,
    pub tls: Option<TlsConfig>,
    /// None: mailboxes are in memory only.
    pub store: Option<StoreConfig>,
    pub http: HttpConfig,
    pub cors: CorsConfig,
    pub dev: DevConfig,
    /// At least one, in the order of the file; their names differ.
    pub apps: Vec<AppConfig>,
}

/// HTTPS. Whether the files are any good is for [`crate::server::Tls`] to say.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// `host:port` for clients and backends.
    pub listen: String,
    /// A PEM file.
    pub certificate: PathBuf,
    /// A PEM file.
    pub key: PathBuf,
}

impl TlsConfig {
    /// Whether certificate and key are in the same files as there.
    #[must_use]
    pub fn has_files_of(&self, other: &Self) -> bool {
        self.certificate == other.certificate && self.key == other.key
    }
}

/// Where mailboxes are kept.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// A folder; perhaps not there yet.
    pub path: PathBuf,
    /// What clients have at least to come back after a restart, in milliseconds.
    pub restart_grace_ms: u64,
    /// How long a process may be silent that takes over, in seconds.
    pub takeover_timeout_s: u64,
}

/// What only `cometbox dev` uses.
#[derive(Clone, Debug, Default)]
pub struct DevConfig {
    /// A folder whose pages are served at `/`.
    pub pages: Option<PathBuf>,
    /// Commands that run beside the gateway.
    pub run: Vec<RunConfig>,
}

/// A command of `cometbox dev`, run in the folder of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunConfig {
    pub name: String,
    /// Program and arguments; at least the program.
    pub command: Vec<String>,
    /// Set on top of the gateway's own environment.
    pub env: BTreeMap<String, String>,
}

/// One app.
#[derive(Clone, Debug)]
pub struct AppConfig {
    pub name: String,
    /// In the order in which they see an event; at least one, names differ.
    pub plugins: Vec<PluginConfig>,
    /// Who knows one of them may publish. Empty: nobody may.
    pub publish_keys: Vec<String>,
    /// Says nothing without a store.
    pub durability: Durability,
    /// At once without a store.
    pub deliver: Deliver,
    pub limits: AppLimits,
    /// Longest wait of a read, and the wait of one that does not say, in
    /// milliseconds.
    pub max_wait_ms: u64,
}

/// One plugin of an app's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig {
    /// Unique within the app.
    pub name: String,
    /// A folder (a crate, or where a component was built) or a `.wasm` file;
    /// exists.
    pub path: PathBuf,
    /// A JSON object as text.
    pub settings: Arc<str>,
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// If the file cannot be read or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            file: path.to_owned(),
            line: None,
            message: match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such file".into(),
                _ => format!("cannot be read: {error}"),
            },
        })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a configuration file. `path` is for messages, and its
    /// folder is what the paths inside are relative to.
    ///
    /// # Errors
    /// If something in it is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: file::File =
            toml::from_str(text).map_err(|e| ConfigError::from_toml(path, text, &e))?;
        resolve::resolve(file, path)
            .map_err(|wrong| ConfigError::at(path, text, wrong.span, wrong.message))
    }

    /// The folder that relative paths start from.
    #[must_use]
    pub fn dir(&self) -> &Path {
        folder_of(&self.path)
    }
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}
