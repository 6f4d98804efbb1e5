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
use anyhow::{Context, anyhow, bail};
use futures_util::future::FusedFuture;
use serde_bytes::ByteBuf;
use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    os::fd::AsFd,
    path::{self, Path, PathBuf},
    pin::Pin,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, Command},
    signal::unix::Signal,
    time::timeout,
};

/// How long a new process may take to load its plugins. Meanwhile this one
/// serves.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// How long a process may take to be gone that was killed. One that waits for its
/// disk is not.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// Between two lines about what a new process is at.
const STEP: Duration = Duration::from_secs(2);

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
            let is_ready = |message: &Message| matches!(message, Message::Ready);
            expect(&channel, &mut child, READY_WITHIN, asker, is_ready).await
        };
        match timeout(READY_WITHIN, ready).await {
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
    if timeout(KILLED_WITHIN, child.kill()).await.is_err() {
        tracing::error!("the new process does not even end when it is killed: its disk hangs?");
    }
}

/// Waits for a word of the new process, as long as it is not silent for this long.
/// Who asked is told what it is at, now and then.
async fn expect(
    channel: &Channel,
    child: &mut Child,
    silence: Duration,
    asker: &mut Asker,
    is_it: impl Fn(&Message) -> bool,
) -> anyhow::Result<()> {
    let is_silent = |_| anyhow!("the new process has said nothing for {} s", silence.as_secs());
    let mut told = Instant::now();
    loop {
        match timeout(silence, channel.receive()).await.map_err(is_silent)?? {
            Some((Message::Failed { why }, _)) => bail!("the new process: {why}"),
            Some((Message::At { what }, _)) if told.elapsed() >= STEP => {
                told = Instant::now();
                asker.step(&what).await;
            }
            Some((message, _)) if is_it(&message) => return Ok(()),
            Some(_) => {}
            None => {
                let status = timeout(silence, child.wait()).await.map_err(is_silent)??;
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

    /// Hands over, once the stores are closed, to a process that may be silent for
    /// so long. If `shutdown` comes meanwhile, it is told to end as well, as soon as
    /// it serves. Returns the process that serves; if that fails, what this one
    /// goes on with.
    pub(in super::super) async fn hand_over(
        mut self,
        handed: Vec<Handed>,
        silence: Duration,
        shutdown: Pin<&mut impl FusedFuture<Output = ()>>,
    ) -> Result<u32, (Sockets, Vec<Handed>)> {
        self.asker.step("held reads are answered, and the store is closed").await;
        let process = self.child.id().unwrap_or_default();
        let passed_on = async {
            shutdown.await;
            service::terminate(process);
            std::future::pending::<Infallible>().await
        };
        let given = tokio::select! {
            given = self.give(&handed, silence) => given,
            never = passed_on => match never {},
        };
        match given {
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

    async fn give(&mut self, handed: &[Handed], silence: Duration) -> anyhow::Result<()> {
        // It may have stopped to listen.
        let sent = timeout(silence, self.send_all(handed)).await;
        sent.with_context(|| format!("the new process takes nothing for {silence:?}"))?;
        let Self { channel, child, asker, .. } = self;
        let serves = |message: &Message| matches!(message, Message::Serving);
        expect(channel, child, silence, asker, serves).await
    }

    /// The connections, and that all is the new process's. If it is gone, how it
    /// ended says more than an error here.
    async fn send_all(&self, handed: &[Handed]) {
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
        let _ = self.channel.send(&Message::Yours, &[]).await;
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
