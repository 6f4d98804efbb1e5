//! What systemd, or who speaks like it, is told (`sd_notify(3)`). Without one
//! nobody is.

use sd_notify::NotifyState;

/// Clients are served from now on.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The process ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from now on.
pub(super) fn main_process(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) cannot be told");
    }
}
