//! The side of the process that takes over.

use super::{
    super::sockets::{Given, Sockets},
    channel::{Channel, Message, PROTOCOL},
};
use crate::{config::Config, server::Handed};
use anyhow::{Context, bail};
use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// The process that started this one, to hand over to it.
pub(in super::super) struct Predecessor {
    channel: Channel,
    store: PathBuf,
    sockets: Sockets,
}

impl Predecessor {
    /// Hears what is to be taken over. It is at the other end of standard input.
    ///
    /// # Errors
    /// If nobody is there who hands over.
    pub(in super::super) async fn meet() -> anyhow::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        let channel = Channel::over(socket).context("--take-over is for the gateway itself")?;
        let hello = channel.receive().await.context("--take-over is for the gateway itself")?;
        match hello {
            Some((Message::Hello { protocol: PROTOCOL, store, sockets }, descriptors)) => {
                Ok(Self { channel, store, sockets: Sockets::received(sockets, descriptors) })
            }
            Some(_) => bail!("this version takes over from another way of handing over"),
            None => bail!("the process that hands over is gone"),
        }
    }

    /// The sockets that it listens on.
    ///
    /// # Errors
    /// If the configuration is about another store: its mailboxes would end.
    pub(in super::super) fn sockets(&mut self, config: &Config) -> anyhow::Result<Given> {
        match &config.store {
            None => bail!(
                "the configuration has no [store], and the mailboxes in {} would end; restart \
                 the gateway if they may",
                self.store.display()
            ),
            Some(store) if real(&store.path) != self.store => bail!(
                "the configuration's [store] is {}, and the mailboxes in {} would end; restart \
                 the gateway if they may",
                store.path.display(),
                self.store.display()
            ),
            Some(_) => Ok(std::mem::take(&mut self.sockets).into()),
        }
    }

    /// Says that this process is ready, and waits until everything is its own;
    /// the connections that it goes on with.
    ///
    /// # Errors
    /// If the other process has ended.
    pub(in super::super) async fn take_over(&mut self) -> anyhow::Result<Vec<Handed>> {
        self.channel.send(&Message::Ready, &[]).await?;
        let mut handed = Vec::new();
        loop {
            match self.channel.receive().await? {
                Some((Message::Connections { unread }, descriptors)) => {
                    let both = descriptors.into_iter().zip(unread);
                    handed.extend(
                        both.map(|(socket, unread)| Handed { socket, unread: unread.into_vec() }),
                    );
                }
                Some((Message::Yours, _)) => return Ok(handed),
                Some(_) => {}
                None => bail!("the process that hands over is gone"),
            }
        }
    }

    /// Says what this process is at. To be called again and again while it gets
    /// on, so that the other one knows.
    pub(in super::super) fn at(&self, what: &str) {
        // If nobody listens, it is no use either way.
        let _ = self.channel.say(&Message::At { what: what.into() });
    }

    /// Says that this process serves.
    pub(in super::super) async fn serving(self) {
        // If nobody hears it, the other process has ended in another way.
        let _ = self.channel.send(&Message::Serving, &[]).await;
    }

    /// Says why this process ends, so that the other one goes on.
    pub(in super::super) async fn failed(self, why: &anyhow::Error) {
        let why = format!("{why:#}");
        // As above.
        let _ = self.channel.send(&Message::Failed { why }, &[]).await;
    }
}

/// A folder by the name that it has whoever asks.
pub(super) fn real(folder: &Path) -> PathBuf {
    let absolute = || std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    folder.canonicalize().unwrap_or_else(|_| absolute())
}
