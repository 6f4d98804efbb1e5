//! What systemd, or who speaks like it, is told (`sd_notify(3)`; without one
//! nobody is), and the process that is the service next.

use rustix::process::{Pid, Signal, kill_process};
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

/// Asks a process to end.
pub(super) fn terminate(process: u32) {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    if let Some(id) = id {
        // It may have ended already.
        let _ = kill_process(id, Signal::TERM);
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) cannot be told");
    }
}
