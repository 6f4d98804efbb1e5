//! The commands of `[[dev.run]]`: run beside the gateway, started again when
//! they die, ended with it.

use crate::config::RunConfig;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
};

/// Before a command that died is started again; doubles from death to death.
const BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// How long a command may take to end before it is killed.
const END: Duration = Duration::from_secs(3);

/// The running commands.
pub(super) struct Children {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Children {
    /// Starts the commands in `dir`, each with `COMETBOX_URL` in its
    /// environment.
    pub(super) fn start(commands: &[RunConfig], dir: &Path, url: &str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for config in commands {
            let command = OneCommand {
                config: config.clone(),
                dir: dir.to_owned(),
                url: url.to_owned(),
                stopped: stopped.clone(),
            };
            tasks.spawn(command.run());
        }
        Self { tasks, stop }
    }

    /// Ends them all, and what they have started.
    pub(super) async fn end(mut self) {
        // Without receivers there is nobody to tell.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

struct OneCommand {
    config: RunConfig,
    dir: PathBuf,
    url: String,
    stopped: watch::Receiver<bool>,
}

impl OneCommand {
    async fn run(mut self) {
        let name = self.config.name.clone();
        let mut backoff = BACKOFF;
        loop {
            let started = Instant::now();
            match self.spawn() {
                Err(error) => {
                    let program = &self.config.command[0];
                    tracing::error!("{name}: cannot start {program}: {error}");
                }
                Ok(mut child) => match self.wait(&mut child).await {
                    None => return end(child).await,
                    Some(Ok(status)) if status.success() => {
                        tracing::info!("{name}: done");
                        return;
                    }
                    Some(Ok(status)) => tracing::warn!("{name}: ended with {status}"),
                    Some(Err(error)) => tracing::warn!("{name}: lost: {error}"),
                },
            }
            if started.elapsed() > MAX_BACKOFF {
                backoff = BACKOFF;
            }
            tracing::info!("{name}: starts again in {} s", backoff.as_secs());
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => return,
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut child = Command::new(&self.config.command[0])
            .args(&self.config.command[1..])
            .current_dir(&self.dir)
            .env("COMETBOX_URL", &self.url)
            .envs(&self.config.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what it starts ends with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(log(self.config.name.clone(), stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(log(self.config.name.clone(), stderr));
        }
        Ok(child)
    }

    /// None: it is to end.
    async fn wait(
        &mut self,
        child: &mut Child,
    ) -> Option<std::io::Result<std::process::ExitStatus>> {
        tokio::select! {
            status = child.wait() => Some(status),
            _ = self.stopped.wait_for(|stopped| *stopped) => None,
        }
    }
}

async fn log(name: String, output: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(output).lines();
    // What is not UTF-8 ends the log of this command, not the command.
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::info!("{name}: {line}");
    }
}

/// Asks the command's group to end, and makes it.
async fn end(mut child: Child) {
    let group = child.id();
    signal(group, Signal::TERM);
    if tokio::time::timeout(END, child.wait()).await.is_err() {
        signal(group, Signal::KILL);
        // Killed; there is nothing to learn from how.
        let _ = child.wait().await;
    }
}

/// `group` is the id of a child that was not waited for yet, hence nobody
/// else's.
fn signal(group: Option<u32>, signal: Signal) {
    let group = group.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(group) = group {
        // It may have ended by itself just now.
        let _ = kill_process_group(group, signal);
    }
}
