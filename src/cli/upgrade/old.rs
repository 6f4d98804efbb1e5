//! The side of the process that hands over.

use super::{
    super::{
        service,
        sockets::{Sockets, forget_environment},
    },
    channel::{Channel, MAX_DESCRIPTORS, MAX_MESSAGE_BYTES, Message, PROTOCOL},
    control::{Asker, Control},
    new::real,
};
use crate::server::{Gateway, Handed};
use anyhow::{Context, bail};
use serde_bytes::ByteBuf;
use std::{
    env,
    ffi::OsString,
    os::fd::AsFd,
    path::{self, Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    signal::unix::Signal,
};

/// How long a new process may take to load its plugins. Meanwhile this one
/// serves.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// How long a process may take to be gone that was killed. One that waits for its
/// disk is not.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// What a message about connections takes at most of what was read of them, in
/// bytes: half of it is room for the rest.
const UNREAD_BYTES: usize = MAX_MESSAGE_BYTES / 2;

/// How this process was started, and the next one is.
#[derive(Clone, Debug)]
pub(in super::super) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// `cometbox serve`, by the path that it was started by: the file there may
    /// be another one by the time that it is started again.
    pub(in super::super) fn serve(config: &Path, listen: Option<&str>) -> Self {
        let mut arguments = vec!["serve".into(), "--config".into(), config.into()];
        arguments.extend(listen.into_iter().flat_map(|at| ["--listen".into(), at.into()]));
        arguments.push("--take-over".into());
        Self { path: started_by(), arguments }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command
    }
}

fn started_by() -> PathBuf {
    let name = PathBuf::from(env::args_os().next().unwrap_or_default());
    let found = match name.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => path::absolute(&name).ok(),
        // A shell has looked for it.
        _ => env::var_os("PATH").and_then(|folders| {
            env::split_paths(&folders).map(|folder| folder.join(&name)).find(|file| file.is_file())
        }),
    };
    // The file itself, whatever links led to it.
    found.or_else(|| env::current_exe().ok()).unwrap_or(name)
}

/// Waits to be told to hand over. Dropped, its sockets close.
pub(in super::super) struct Upgrader<'a> {
    pub program: &'a Program,
    pub gateway: &'a Gateway,
    /// None: there is nothing that another process could take over.
    pub store: Option<&'a Path>,
    pub sockets: Sockets,
    /// SIGUSR2.
    pub signal: &'a mut Signal,
}

impl Upgrader<'_> {
    /// Starts a new process whenever somebody asks for it; returns when one is
    /// ready to take over.
    pub(in super::super) async fn successor(mut self) -> Successor {
        let mut control = self.store.and_then(|folder| match Control::listen(folder) {
            Ok(control) => Some(control),
            Err(error) => {
                tracing::warn!("`cometbox upgrade` will not work (SIGUSR2 does): {error:#}");
                None
            }
        });
        loop {
            let mut asker = self.asked(control.as_mut()).await;
            match self.start(&mut asker).await {
                Ok((channel, child)) => {
                    return Successor { channel, child, asker, sockets: self.sockets };
                }
                Err(why) => asker.failed(&format!("{why:#}")).await,
            }
        }
    }

    async fn asked(&mut self, control: Option<&mut Control>) -> Asker {
        let client = async {
            match control {
                Some(control) => control.asked().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.signal.recv() => Asker::Signal,
            client = client => client,
        }
    }

    async fn start(&self, asker: &mut Asker) -> anyhow::Result<(Channel, Child)> {
        let Some(store) = self.store else {
            bail!(
                "there is no [store]: all mailboxes are in this process and would end with it. \
                 Restart it if they may"
            );
        };
        if std::process::id() == 1 {
            bail!("it is process 1, with which everything around it ends: start another container");
        }
        // Before anything is done about it: a store that cannot be written could be
        // closed, perhaps, and opened by nobody.
        self.gateway.try_disks().await?;
        let (channel, theirs) = Channel::pair()?;
        let mut command = self.program.command();
        forget_environment(&mut command);
        let started = command.stdin(Stdio::from(theirs)).spawn();
        // Of the other end only the new process has a descriptor now, so that
        // its end is heard.
        drop(command);
        let mut child =
            started.with_context(|| format!("cannot start {}", self.program.path.display()))?;
        asker.step(&format!("started process {}", child.id().unwrap_or_default())).await;
        let (sockets, descriptors) = self.sockets.to_send();
        let hello = Message::Hello { protocol: PROTOCOL, store: real(store), sockets };
        let ready = async {
            // If it is gone already, how it ended says more.
            let _ = channel.send(&hello, &descriptors).await;
            expect(&channel, &mut child, |message| matches!(message, Message::Ready)).await
        };
        match tokio::time::timeout(READY_WITHIN, ready).await {
            Ok(Ok(())) => {
                asker.step("its plugins are loaded").await;
                // That took its time. If it fails, the new process is told by the end
                // of the channel.
                self.gateway.try_disks().await?;
                Ok((channel, child))
            }
            Ok(Err(why)) => Err(why),
            Err(_) => {
                kill(&mut child).await;
                bail!("it was not ready within {} s", READY_WITHIN.as_secs())
            }
        }
    }
}

/// Ends a process that is ours still, or gone.
async fn kill(child: &mut Child) {
    if tokio::time::timeout(KILLED_WITHIN, child.kill()).await.is_err() {
        tracing::error!("the new process does not even end when it is killed: its disk hangs?");
    }
}

/// Waits for a word of the new process.
async fn expect(
    channel: &Channel,
    child: &mut Child,
    is_it: impl Fn(&Message) -> bool,
) -> anyhow::Result<()> {
    loop {
        match channel.receive().await? {
            Some((Message::Failed { why }, _)) => bail!("the new process: {why}"),
            Some((message, _)) if is_it(&message) => return Ok(()),
            Some(_) => {}
            None => {
                let status = child.wait().await?;
                bail!("the new process ended by itself ({status})")
            }
        }
    }
}

/// A new process that is ready to take over.
pub(in super::super) struct Successor {
    channel: Channel,
    child: Child,
    asker: Asker,
    sockets: Sockets,
}

impl Successor {
    /// Ends the new process, to which nothing was handed over; what this one goes
    /// on with.
    pub(in super::super) async fn give_up(mut self, why: &anyhow::Error) -> Sockets {
        kill(&mut self.child).await;
        self.asker.failed(&format!("{why:#}")).await;
        self.sockets
    }

    /// Hands over, once the stores are closed. Returns the process that serves;
    /// if that fails, what this one goes on with.
    pub(in super::super) async fn hand_over(
        mut self,
        handed: Vec<Handed>,
    ) -> Result<u32, (Sockets, Vec<Handed>)> {
        self.asker.step("held reads are answered, and the store is closed").await;
        let process = self.child.id().unwrap_or_default();
        match self.give(&handed).await {
            Ok(()) => {
                service::main_process(process);
                self.asker.done(&format!("process {process} serves")).await;
                Ok(process)
            }
            Err(why) => {
                // Whatever it is at, it must not have the stores any more.
                kill(&mut self.child).await;
                self.asker.failed(&format!("{why:#}")).await;
                Err((self.sockets, handed))
            }
        }
    }

    async fn give(&mut self, handed: &[Handed]) -> anyhow::Result<()> {
        let mut rest = handed;
        while !rest.is_empty() {
            let (some, others) = rest.split_at(batch(rest));
            let descriptors: Vec<_> = some.iter().map(|one| one.socket.as_fd()).collect();
            let unread = some.iter().map(|one| ByteBuf::from(one.unread.clone())).collect();
            if let Err(error) =
                self.channel.send(&Message::Connections { unread }, &descriptors).await
            {
                tracing::debug!(%error, "connections are not taken");
                break;
            }
            rest = others;
        }
        // If it is gone by now, how it ended says more than an error here.
        let _ = self.channel.send(&Message::Yours, &[]).await;
        expect(&self.channel, &mut self.child, |message| matches!(message, Message::Serving)).await
    }
}

/// How many of these go into one message; one at least.
fn batch(handed: &[Handed]) -> usize {
    let mut bytes = 0;
    let fits = handed.iter().take(MAX_DESCRIPTORS).take_while(|one| {
        bytes += one.unread.len();
        bytes <= UNREAD_BYTES
    });
    fits.count().max(1)
}
