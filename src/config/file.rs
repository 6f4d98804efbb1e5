//! `cometbox.toml` as it is written: every key, its unit, its default.
//!
//! Defaults stand in the `Default` implementations at the end of each part
//! (those of a plugin's call in [`PluginLimits`]); nowhere else does the gateway
//! have one.

use super::values::{Deliver, level, networks, origins, per_second, positive, streams, wait_s};
use crate::{core::FullPolicy, plugin::PluginLimits, store::Durability};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use std::{collections::BTreeMap, fmt, path::PathBuf};
use toml::Spanned;

/// The whole file.
#[derive(Deserialize, Debug)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// `host:port` for clients and backends; port 0 takes a free one, and `""`
    /// turns it off where there is `[tls]`. Default `"127.0.0.1:8080"`.
    pub listen: Spanned<String>,
    /// `host:port` for `/healthz` and `/metrics`; `""` turns it off.
    /// Default `"127.0.0.1:9180"`.
    pub admin: Spanned<String>,
    pub log: LogConfig,
    pub tls: Option<TlsFile>,
    pub store: Option<StoreFile>,
    pub http: HttpConfig,
    pub cors: CorsConfig,
    pub dev: DevFile,
    pub app: Vec<AppFile>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            listen: unspanned("127.0.0.1:8080"),
            admin: unspanned("127.0.0.1:9180"),
            log: LogConfig::default(),
            tls: None,
            store: None,
            http: HttpConfig::default(),
            cors: CorsConfig::default(),
            dev: DevFile::default(),
            app: Vec::new(),
        }
    }
}

fn unspanned(text: &str) -> Spanned<String> {
    Spanned::new(0..0, text.to_owned())
}

/// `log = { … }`.
#[derive(Clone, Deserialize, Debug, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `"text"` (default) or `"json"`, one object a line.
    pub format: LogFormat,
    /// `"error"`, `"warn"`, `"info"` (default), `"debug"`, `"trace"`, or
    /// filters such as `"info,cometbox::plugin=debug"`.
    #[serde(deserialize_with = "level")]
    pub level: String,
    /// A file that lines are added to; SIGHUP opens it anew, once it was renamed.
    /// Default none: they go to stderr.
    pub file: Option<PathBuf>,
}

#[derive(Clone, Copy, Deserialize, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into(), file: None }
    }
}

/// `[tls]`: HTTPS, with HTTP/2 for clients that speak it. All three are needed.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TlsFile {
    /// `host:port` for clients and backends over TLS; port 0 takes a free one.
    pub listen: Spanned<String>,
    /// The certificate chain as a PEM file, the server's own certificate first.
    /// Read again when it changes.
    pub certificate: Spanned<PathBuf>,
    /// Its private key as a PEM file, not encrypted. Read again when it changes.
    pub key: Spanned<PathBuf>,
}

/// `[store]`: keeps mailboxes and what waits in them through a restart.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct StoreFile {
    /// A folder, made if it is not there, with a file for each app. No other
    /// process may use it.
    pub path: Spanned<PathBuf>,
    /// How long clients have at least to come back to their mailboxes after a
    /// restart, however long the gateway was down, in milliseconds. Default
    /// 60 000.
    #[serde(default = "restart_grace_ms")]
    pub restart_grace_ms: u64,
    /// In an upgrade, how long the new process may be silent while it has the
    /// store, before the old one ends it and goes on, in seconds (1 to 3600). It
    /// says all along how far it is, however long that takes. Default 60.
    #[serde(default = "takeover_timeout_s", deserialize_with = "wait_s")]
    pub takeover_timeout_s: u64,
}

fn takeover_timeout_s() -> u64 {
    60
}

fn restart_grace_ms() -> u64 {
    60_000
}

/// `[http]`: bounds of requests and connections.
#[derive(Clone, Deserialize, Debug, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Largest request body, in bytes; more is 413. Default 1 MiB.
    #[serde(deserialize_with = "positive")]
    pub max_body_bytes: usize,
    /// Largest request head (request line and headers), in bytes; more is 431.
    /// Default 16 KiB.
    #[serde(deserialize_with = "positive")]
    pub max_head_bytes: usize,
    /// Largest message of a client over a WebSocket, in bytes; more closes it
    /// (1009). Larger ones can be posted. Default 64 KiB.
    #[serde(deserialize_with = "positive")]
    pub max_frame_bytes: usize,
    /// Most headers of a request; more is 431. Default 100.
    #[serde(deserialize_with = "positive")]
    pub max_headers: usize,
    /// Longest path and query of a request, in bytes; more is 414. Default
    /// 8 KiB.
    #[serde(deserialize_with = "positive")]
    pub max_uri_bytes: usize,
    /// How long a connection may be silent between two requests, in seconds,
    /// and how long it may take over reading an answer. Default 75.
    #[serde(deserialize_with = "positive")]
    pub idle_timeout_s: u64,
    /// How long a request head may take from its first byte, in seconds; more
    /// is 408. Default 10.
    #[serde(deserialize_with = "positive")]
    pub head_timeout_s: u64,
    /// How long a request body may take, in seconds; more is 408. Default 30.
    #[serde(deserialize_with = "positive")]
    pub body_timeout_s: u64,
    /// Most connections at a time; one more gets 503. Lower if the process may
    /// not open as many descriptors. Default 100 000.
    #[serde(deserialize_with = "positive")]
    pub max_connections: usize,
    /// Most requests that an HTTP/2 connection may have running or held at a
    /// time. At least 1, at most 10 000. Default 250.
    #[serde(deserialize_with = "streams")]
    pub max_streams: u32,
    /// Answers with a body of at least so many bytes are compressed (gzip) for
    /// clients that accept it; 0 is never. Default 16 KiB.
    pub compress_min_bytes: usize,
    /// Addresses and networks of reverse proxies, such as `"10.0.0.0/8"` or
    /// `"::1"`, whose `forwarded_header` is believed. Default none.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// In which header they say whom a request is from: `"x-forwarded-for"`
    /// (default) or `"forwarded"`. The other is not read.
    pub forwarded_header: ForwardedHeader,
    /// Most messages in one publish request, and in one of Bayeux; more is
    /// 413. Default 1000.
    #[serde(deserialize_with = "positive")]
    pub max_batch_items: usize,
    /// How many reads of one browser (as its cookie says) are held at a time over
    /// HTTP/1.1, by which it has six connections for everything; others are
    /// answered at once and asked to come again in two seconds. Connects of
    /// Bayeux are counted apart. Default 4.
    pub max_reads_per_browser: usize,
    /// How long a client may be gone without a trace (no answer from its
    /// system to what it is sent, or to a question after half of that time)
    /// before its connection ends, in seconds; 0 leaves it to the system, which
    /// takes hours. Default 60.
    pub peer_timeout_s: u64,
    /// How often a stream on which nothing happens gets a sign of life, in
    /// seconds; a WebSocket that does not answer one is ended with the next.
    /// Default 15.
    #[serde(deserialize_with = "positive")]
    pub keep_alive_s: u64,
    /// How long running requests may take after a signal to stop, in seconds.
    /// Default 10.
    pub shutdown_grace_s: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 1 << 20,
            max_head_bytes: 16 << 10,
            max_frame_bytes: 64 << 10,
            max_headers: 100,
            max_uri_bytes: 8 << 10,
            idle_timeout_s: 75,
            head_timeout_s: 10,
            body_timeout_s: 30,
            max_connections: 100_000,
            max_streams: 250,
            compress_min_bytes: 16 << 10,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            max_batch_items: 1000,
            peer_timeout_s: 60,
            max_reads_per_browser: 4,
            keep_alive_s: 15,
            shutdown_grace_s: 10,
        }
    }
}

/// Where proxies say whom a request is from.
#[derive(Clone, Copy, Deserialize, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// `cors = { … }`: which pages of other origins may use the gateway.
#[derive(Clone, Deserialize, Debug, PartialEq, Eq, Default)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// Such as `"https://example.org"`; `"*"` is any. Default none: only pages
    /// of the gateway's own origin.
    #[serde(deserialize_with = "origins")]
    pub origins: Vec<String>,
}

/// `[dev]`: what only `cometbox dev` uses.
#[derive(Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub struct DevFile {
    /// A folder whose pages are served at `/`. Default none.
    pub pages: Option<Spanned<PathBuf>>,
    pub run: Vec<RunFile>,
}

/// `[[dev.run]]`: a command to run beside the gateway.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct RunFile {
    /// Stands in front of its output.
    pub name: Spanned<String>,
    /// Program and arguments.
    pub command: Spanned<Vec<String>>,
    /// Set on top of the environment, which also has `COMETBOX_URL`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// `[[app]]`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct AppFile {
    /// First part of its URLs.
    pub name: Spanned<String>,
    /// The chain, in the order in which it sees an event.
    pub plugins: Spanned<Vec<Spanned<PluginFile>>>,
    /// Who knows one of them may publish. Default none: nobody may.
    #[serde(default)]
    pub publish_keys: Vec<Spanned<String>>,
    /// What the answer to a publish, a send or an open says, where there is
    /// `[store]`: `"none"`, the message is in its mailboxes; `"os"` (default), it
    /// outlives the gateway's process; `"disk"`, it outlives a power cut.
    #[serde(default)]
    pub durability: Durability,
    /// `"at_once"` (default): a reader may see a message that a crash takes back,
    /// whose publisher has no answer yet. `"when_kept"`: readers get it when it
    /// is as durable as `durability` says, and so not while the disk is full.
    #[serde(default)]
    pub deliver: Option<Spanned<Deliver>>,
    /// Handed to each plugin that has no settings of its own.
    #[serde(default)]
    pub settings: Option<Spanned<toml::Table>>,
    #[serde(default)]
    pub limits: LimitsFile,
}

/// A plugin: `"plugins/chat"`, or a table.
#[derive(Debug)]
pub struct PluginFile {
    /// A folder or a `.wasm` file.
    pub path: PathBuf,
    /// Default: the last part of the path, without `.wasm`.
    pub name: Option<String>,
    /// Default: the app's.
    pub settings: Option<toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginTable {
    path: PathBuf,
    name: Option<String>,
    settings: Option<toml::Table>,
}

impl<'de> Deserialize<'de> for PluginFile {
    /// By hand, because an untagged enum would lose the line of an error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathOrTable;
        impl<'de> de::Visitor<'de> for PathOrTable {
            type Value = PluginFile;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a plugin, or a table { path, name, settings }")
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<PluginFile, E> {
                Ok(PluginFile { path: path.into(), name: None, settings: None })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PluginFile, A::Error> {
                let table = PluginTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let PluginTable { path, name, settings } = table;
                Ok(PluginFile { path, name, settings })
            }
        }
        deserializer.deserialize_any(PathOrTable)
    }
}

/// `limits = { … }` of an app.
#[derive(Deserialize, Debug)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsFile {
    /// Waiting and unconfirmed messages of a mailbox whose plugin says nothing
    /// else. Default 1000.
    #[serde(deserialize_with = "positive")]
    pub mailbox_messages: u32,
    /// Their payloads together, in bytes. Default 1 MiB.
    #[serde(deserialize_with = "positive")]
    pub mailbox_bytes: u32,
    /// What happens to a message for a full mailbox: `"drop_oldest"` (default)
    /// or `"reject"`.
    pub full: FullPolicy,
    /// Messages handed out in any second, 0 (default) being as many as there
    /// are.
    #[serde(deserialize_with = "per_second")]
    pub mailbox_per_second: u16,
    /// The most a plugin may ask for one mailbox. Default 10 000, or
    /// `mailbox_messages` if that is more.
    pub max_mailbox_messages: Option<Spanned<u32>>,
    /// The same in bytes. Default 16 MiB, or `mailbox_bytes` if that is more.
    pub max_mailbox_bytes: Option<Spanned<u32>>,
    /// How long a mailbox lives without a reader, in milliseconds. Default
    /// 60 000.
    #[serde(deserialize_with = "positive")]
    pub linger_ms: u64,
    /// The most a plugin may ask for. Default one day, or `linger_ms` if that
    /// is more.
    pub max_linger_ms: Option<Spanned<u64>>,
    /// How long a mailbox may be between two reads before it counts as
    /// detached, in milliseconds. Default 5000.
    #[serde(deserialize_with = "positive")]
    pub detach_grace_ms: u64,
    /// How long a closed mailbox's reason is kept for its client, in
    /// milliseconds. Default 60 000.
    pub closed_memory_ms: u64,
    /// Longest wait of a read, and the wait of one that names none, in seconds.
    /// At most 3600. Default 25, which proxies bear.
    #[serde(deserialize_with = "wait_s")]
    pub max_wait_s: u64,
    /// Most messages in one answer. Default 100.
    #[serde(deserialize_with = "positive")]
    pub max_answer_messages: usize,
    /// An answer takes no further message once its payloads reach this, in
    /// bytes. Default 256 KiB.
    #[serde(deserialize_with = "positive")]
    pub max_answer_bytes: usize,
    /// Default 1 000 000.
    #[serde(deserialize_with = "positive")]
    pub max_mailboxes: usize,
    /// Payloads waiting in all mailboxes of the app together, in bytes. Default
    /// 1 GiB.
    #[serde(deserialize_with = "positive")]
    pub max_queued_bytes: usize,
    /// Default 1 000 000.
    #[serde(deserialize_with = "positive")]
    pub max_groups: usize,
    /// Default 1000.
    #[serde(deserialize_with = "positive")]
    pub max_groups_per_mailbox: usize,
    /// Timers that plugins set. Default 1 000 000.
    #[serde(deserialize_with = "positive")]
    pub max_timers: usize,
    /// Entries of the key-value space. Default 100 000.
    #[serde(deserialize_with = "positive")]
    pub max_values: usize,
    /// Its keys and values together, in bytes. Default 64 MiB.
    #[serde(deserialize_with = "positive")]
    pub max_value_bytes: usize,
    /// The session states of all mailboxes together, in bytes. Default 256 MiB.
    #[serde(deserialize_with = "positive")]
    pub max_state_bytes: usize,
    /// How long the `id` of a publish is remembered, in milliseconds: publishers
    /// try again within that time. Default 300 000.
    #[serde(deserialize_with = "positive")]
    pub publish_id_window_ms: u64,
    /// Remembered ids together, in bytes: 128 and its own for each, and the names
    /// in its result. Default 256 MiB, 1.8 million of 20 bytes.
    #[serde(deserialize_with = "positive")]
    pub max_publish_id_bytes: usize,
    /// Time that one plugin call may work, in milliseconds; it is ended up to 10 ms later. Default 10.
    #[serde(deserialize_with = "positive")]
    pub call_ms: u64,
    /// Time of a new version's first `new`, and of its `on_load`, in milliseconds. Default 1000.
    #[serde(deserialize_with = "positive")]
    pub load_ms: u64,
    /// Memory of one plugin instance, in bytes. Default 16 MiB.
    #[serde(deserialize_with = "positive")]
    pub memory_bytes: usize,
    /// Actions of one call. Default 1000.
    #[serde(deserialize_with = "positive")]
    pub actions: usize,
    /// Bytes that one call returns or hands to host calls. Default 1 MiB.
    #[serde(deserialize_with = "positive")]
    pub output_bytes: usize,
    /// Host calls (look-ups and log lines) of one call. Default 1000.
    pub host_calls: u32,
    /// Bytes that the look-ups of one call may return. Default 4 MiB.
    pub read_bytes: usize,
}

impl Default for LimitsFile {
    fn default() -> Self {
        let plugin = PluginLimits::default();
        Self {
            mailbox_messages: 1000,
            mailbox_bytes: 1 << 20,
            full: FullPolicy::DropOldest,
            mailbox_per_second: 0,
            max_mailbox_messages: None,
            max_mailbox_bytes: None,
            linger_ms: 60_000,
            max_linger_ms: None,
            detach_grace_ms: 5000,
            closed_memory_ms: 60_000,
            max_wait_s: 25,
            max_answer_messages: 100,
            max_answer_bytes: 256 << 10,
            max_mailboxes: 1_000_000,
            max_queued_bytes: 1 << 30,
            max_groups: 1_000_000,
            max_groups_per_mailbox: 1000,
            max_timers: 1_000_000,
            max_values: 100_000,
            max_value_bytes: 64 << 20,
            max_state_bytes: 256 << 20,
            publish_id_window_ms: 300_000,
            max_publish_id_bytes: 256 << 20,
            call_ms: plugin.call_ms,
            load_ms: plugin.load_ms,
            memory_bytes: plugin.memory_bytes,
            actions: plugin.actions,
            output_bytes: plugin.output_bytes,
            host_calls: plugin.host_calls,
            read_bytes: plugin.read_bytes,
        }
    }
}

impl LimitsFile {
    /// Default of [`LimitsFile::max_mailbox_messages`].
    pub const MAX_MAILBOX_MESSAGES: u32 = 10_000;
    /// Default of [`LimitsFile::max_mailbox_bytes`].
    pub const MAX_MAILBOX_BYTES: u32 = 16 << 20;
    /// Default of [`LimitsFile::max_linger_ms`]: a day.
    pub const MAX_LINGER_MS: u64 = 24 * 3600 * 1000;
}
