//! How `cometbox upgrade` finds the gateway that runs: by a socket in the folder
//! of its store, which nobody but its user may use.

use crate::config::Config;
use anyhow::{Context, bail};
use rustix::fs::{Mode, fchmod};
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixSocket, UnixStream},
    time::timeout,
};

/// In the folder of the store.
const SOCKET: &str = "upgrade.sock";

/// What is asked for, in a line.
const UPGRADE: &str = "upgrade";

/// Longest line that asks for something, in bytes.
const MAX_LINE_BYTES: u64 = 64;

/// How long a client may take to ask, and to hear a line.
const CLIENT: Duration = Duration::from_secs(2);

/// Clients that may wait to be heard.
const MAX_WAITING: u32 = 8;

/// A line to who asked, in JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Step(String),
    Done(String),
    Failed(String),
}

/// Where the gateway is asked.
pub(super) struct Control(UnixListener);

impl Control {
    /// In the folder of a store that is ours: what is there of this name was
    /// left by a process before.
    pub(super) fn listen(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(SOCKET);
        let listen = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let socket = UnixSocket::new_stream()?;
            // Before it has a name, so that there is no moment in which others
            // may use it.
            fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
            socket.bind(&path)?;
            socket.listen(MAX_WAITING)
        };
        Ok(Self(listen().with_context(|| format!("cannot listen on {}", path.display()))?))
    }

    /// Who asks for an upgrade next.
    pub(super) async fn asked(&mut self) -> Asker {
        loop {
            let Ok((mut stream, _)) = self.0.accept().await else {
                // Out of descriptors, perhaps; it is no hurry.
                tokio::time::sleep(CLIENT).await;
                continue;
            };
            let mut line = String::new();
            let mut reader = BufReader::new((&mut stream).take(MAX_LINE_BYTES));
            let asked = timeout(CLIENT, reader.read_line(&mut line)).await;
            if matches!(asked, Ok(Ok(_))) && line.trim_end() == UPGRADE {
                return Asker::Client(stream);
            }
        }
    }
}

/// Who wants an upgrade, and hears how it goes; the log does in any case.
pub(super) enum Asker {
    Signal,
    Client(UnixStream),
}

impl Asker {
    pub(super) async fn step(&mut self, what: &str) {
        tracing::info!("upgrade: {what}");
        self.tell(&Told::Step(what.into())).await;
    }

    pub(super) async fn done(&mut self, what: &str) {
        tracing::info!("upgrade: {what}");
        self.tell(&Told::Done(what.into())).await;
    }

    pub(super) async fn failed(&mut self, why: &str) {
        tracing::error!("not upgraded, this process goes on: {why}");
        self.tell(&Told::Failed(why.into())).await;
    }

    async fn tell(&mut self, told: &Told) {
        let Self::Client(stream) = self else { return };
        let mut line = serde_json::to_string(told).expect("it is a text");
        line.push('\n');
        // If it has gone away, the upgrade goes on.
        let _ = timeout(CLIENT, stream.write_all(line.as_bytes())).await;
    }
}

/// `cometbox upgrade`: asks the gateway of this configuration, and shows how it
/// goes.
///
/// # Errors
/// If no gateway is there, or it goes on as it is.
pub(in super::super) async fn upgrade(config: &Path) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    let Some(store) = &config.store else {
        bail!(
            "{}: there is no [store], and without it all mailboxes end with their process. \
             Restart the gateway if they may",
            config.path.display()
        );
    };
    let path = store.path.join(SOCKET);
    let asked = async {
        let mut stream = UnixStream::connect(&path).await?;
        stream.write_all(format!("{UPGRADE}\n").as_bytes()).await?;
        io::Result::Ok(stream)
    };
    let stream = asked.await.with_context(|| {
        format!("no gateway answers at {} (it runs as the same user?)", path.display())
    })?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Told::Step(what) => println!("{what}"),
            Told::Done(what) => {
                println!("{what}");
                return Ok(());
            }
            Told::Failed(why) => bail!("not upgraded, the process before goes on: {why}"),
        }
    }
    bail!("the gateway ended before it was upgraded; its log says why")
}
