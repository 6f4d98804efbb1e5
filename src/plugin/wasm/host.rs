//! What an instance's store holds, and what a plugin can ask during a call.

use super::{
    bindings::cometbox::plugin::{host, types},
    time::Time,
};
use crate::{
    core::PluginName,
    plugin::{FailureKind, PluginLimits, Reads},
};
use parking_lot::Mutex;
use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};
use wasmtime::ResourceLimiter;

/// A log line of a plugin is cut after so many bytes.
const LOG_LINE_BYTES: usize = 1024;

/// Log lines that the instances of a plugin may write in a second, together;
/// what is more is counted, and the count is logged.
const LOG_LINES_PER_SECOND: u32 = 100;

/// Elements of all tables of one instance. A table of function pointers has
/// one per function whose address is taken.
const TABLE_ELEMENTS: usize = 100_000;

/// A component of one module has three core instances: the module, and two
/// small ones that connect it with its imports.
const MAX_PARTS: usize = 16;

/// A limit that a plugin broke; travels as a trap through its code.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Broken {
    pub(super) kind: FailureKind,
    pub(super) text: String,
}

impl Broken {
    pub(super) fn trap(kind: FailureKind, text: String) -> wasmtime::Error {
        wasmtime::Error::new(Self { kind, text })
    }
}

/// The host's data of one instance.
pub(super) struct Host {
    pub(super) memory: Memory,
    pub(super) time: Time,
    plugin: PluginName,
    log: Arc<LogBudget>,
    limits: PluginLimits,
    /// Lent by the caller for one call; none during `init`.
    reads: Option<Reads>,
    calls: u32,
    read_bytes: usize,
    output_bytes: usize,
}

impl Host {
    pub(super) fn new(plugin: PluginName, log: Arc<LogBudget>, limits: PluginLimits) -> Self {
        Self {
            memory: Memory { limit_bytes: limits.memory_bytes, bytes: 0, table_elements: 0 },
            time: Time::default(),
            plugin,
            log,
            limits,
            reads: None,
            calls: 0,
            read_bytes: 0,
            output_bytes: 0,
        }
    }

    /// Starts the accounts of a call.
    pub(super) fn begin(&mut self, reads: Reads) {
        self.reads = Some(reads);
        self.calls = 0;
        self.read_bytes = 0;
        self.output_bytes = 0;
    }

    /// Gives back what [`Host::begin`] was lent.
    pub(super) fn end(&mut self) -> Reads {
        self.reads.take().unwrap_or_default()
    }

    /// Bytes that the call has handed to host calls.
    pub(super) fn output_bytes(&self) -> usize {
        self.output_bytes
    }

    fn count(&mut self, argument: &str) -> wasmtime::Result<()> {
        self.calls += 1;
        self.output_bytes += argument.len();
        if self.calls > self.limits.host_calls {
            let text = format!("more than {} host calls", self.limits.host_calls);
            return Err(Broken::trap(FailureKind::Limit, text));
        }
        if self.output_bytes > self.limits.output_bytes {
            let text = format!("more than {} bytes of output", self.limits.output_bytes);
            return Err(Broken::trap(FailureKind::Limit, text));
        }
        Ok(())
    }

    fn look_up<R>(&mut self, key: &str, f: impl FnOnce(&mut Reads) -> R) -> wasmtime::Result<R> {
        self.count(key)?;
        match &mut self.reads {
            Some(reads) => Ok(f(reads)),
            None => {
                let text = "init cannot look anything up: it runs outside of any event";
                Err(Broken::trap(FailureKind::Error, text.into()))
            }
        }
    }

    fn count_read(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.read_bytes = self.read_bytes.saturating_add(bytes);
        if self.read_bytes > self.limits.read_bytes {
            let text = format!("look-ups of more than {} bytes", self.limits.read_bytes);
            return Err(Broken::trap(FailureKind::Limit, text));
        }
        Ok(())
    }
}

impl host::Host for Host {
    fn members(&mut self, group: String) -> wasmtime::Result<Vec<String>> {
        let members = self.look_up(&group, |reads| reads.members(&group))?;
        self.count_read(members.iter().map(|name| name.as_str().len()).sum())?;
        Ok(members.iter().map(|name| name.as_str().to_owned()).collect())
    }

    fn member_count(&mut self, group: String) -> wasmtime::Result<u32> {
        let count = self.look_up(&group, |reads| reads.member_count(&group))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn mailbox(&mut self, name: String) -> wasmtime::Result<Option<bool>> {
        self.look_up(&name, |reads| reads.mailbox(&name))
    }

    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let Some(value) = self.look_up(&key, |reads| reads.value(&key))? else {
            return Ok(None);
        };
        self.count_read(value.len())?;
        Ok(Some(value.into()))
    }

    fn log(&mut self, level: host::Level, text: String) -> wasmtime::Result<()> {
        self.count(&text)?;
        let plugin = &self.plugin;
        match self.log.take(Instant::now()) {
            Line::Suppressed => return Ok(()),
            Line::Written { suppressed: 0 } => {}
            Line::Written { suppressed } => {
                tracing::warn!(target: "plugin", %plugin, "{suppressed} log lines suppressed");
            }
        }
        let text = line(&text);
        match level {
            host::Level::Debug => tracing::debug!(target: "plugin", %plugin, "{text}"),
            host::Level::Info => tracing::info!(target: "plugin", %plugin, "{text}"),
            host::Level::Warn => tracing::warn!(target: "plugin", %plugin, "{text}"),
            host::Level::Error => tracing::error!(target: "plugin", %plugin, "{text}"),
        }
        Ok(())
    }
}

impl types::Host for Host {}

/// How much a plugin may still log.
pub(super) struct LogBudget(Mutex<LogSecond>);

struct LogSecond {
    since: Instant,
    lines: u32,
    suppressed: u64,
}

/// What becomes of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    /// It is the first after so many that were not written.
    Written {
        suppressed: u64,
    },
    Suppressed,
}

impl LogBudget {
    pub(super) fn new() -> Arc<Self> {
        let second = LogSecond { since: Instant::now(), lines: 0, suppressed: 0 };
        Arc::new(Self(Mutex::new(second)))
    }

    fn take(&self, now: Instant) -> Line {
        let mut second = self.0.lock();
        let mut suppressed = 0;
        if now.saturating_duration_since(second.since) >= Duration::from_secs(1) {
            suppressed = second.suppressed;
            *second = LogSecond { since: now, lines: 0, suppressed: 0 };
        }
        if second.lines >= LOG_LINES_PER_SECOND {
            second.suppressed += 1;
            return Line::Suppressed;
        }
        second.lines += 1;
        Line::Written { suppressed }
    }
}

/// A text as one line of bounded length, so that no plugin can forge lines of
/// others or drive a terminal.
fn line(text: &str) -> Cow<'_, str> {
    let end = text.floor_char_boundary(LOG_LINE_BYTES);
    let (text, cut) = (&text[..end], end < text.len());
    if !cut && !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut clean: String = text
        .chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if cut {
        clean.push('…');
    }
    Cow::Owned(clean)
}

/// Bounds what an instance allocates. Growing beyond ends the call, so that
/// the log can say why; a failed allocation in the guest would only panic.
pub(super) struct Memory {
    limit_bytes: usize,
    /// Of all linear memories together.
    bytes: usize,
    table_elements: usize,
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        if self.bytes > self.limit_bytes {
            let text = format!("more than {} bytes of memory", self.limit_bytes);
            return Err(Broken::trap(FailureKind::Memory, text));
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.table_elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        if self.table_elements > TABLE_ELEMENTS {
            let text = format!("more than {TABLE_ELEMENTS} table elements");
            return Err(Broken::trap(FailureKind::Memory, text));
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_PARTS
    }

    fn tables(&self) -> usize {
        MAX_PARTS
    }

    fn memories(&self) -> usize {
        MAX_PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_log_lines_is_cut_and_counted() {
        let budget = LogBudget::new();
        let start = Instant::now();
        let written = (0..250).filter(|_| budget.take(start) != Line::Suppressed).count();
        assert_eq!(written, 100);
        let later = start + Duration::from_secs(1);
        assert_eq!(budget.take(later), Line::Written { suppressed: 150 });
        assert_eq!(budget.take(later), Line::Written { suppressed: 0 });
    }

    #[test]
    fn log_text_becomes_one_bounded_line() {
        let long = "é".repeat(LOG_LINE_BYTES);
        for (text, want) in [
            ("plain", "plain".to_owned()),
            ("two\nlines\u{1b}[2J", "two\\nlines\\u{1b}[2J".to_owned()),
            (&long, "é".repeat(LOG_LINE_BYTES / 2) + "…"),
        ] {
            assert_eq!(line(text), want);
        }
    }
}
