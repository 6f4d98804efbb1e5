//! What one call of a plugin may use.

/// Limits of one call. All are enforced by the gateway, none by the plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PluginLimits {
    /// Time that one call may work, in milliseconds; it is ended up to 10 ms
    /// later.
    pub call_ms: u64,
    /// The same for `load`, and for the first `init` of a version.
    pub load_ms: u64,
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: usize,
    /// Actions returned by one call; first messages count as actions.
    pub actions: usize,
    /// Bytes that one call returns or hands to host calls, all together.
    pub output_bytes: usize,
    /// Host calls (look-ups and log lines) in one call.
    pub host_calls: u32,
    /// Bytes that the look-ups of one call may return, all together.
    pub read_bytes: usize,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            call_ms: 10,
            load_ms: 1000,
            memory_bytes: 16 << 20,
            actions: 1000,
            output_bytes: 1 << 20,
            host_calls: 1000,
            read_bytes: 4 << 20,
        }
    }
}
