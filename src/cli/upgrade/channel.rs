//! What two processes of the gateway say to each other, and the descriptors that
//! go along.

use super::super::sockets::Role;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
        send, sendmsg, socketpair,
    },
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::PathBuf,
    time::Duration,
};
use tokio::{io::Interest, net::UnixStream};

/// Of what is said here; raised when an older process would not understand.
pub(super) const PROTOCOL: u32 = 2;

/// Largest message, in bytes; a socket takes some more at a time.
pub(super) const MAX_MESSAGE_BYTES: usize = 128 << 10;

/// Most descriptors that go along with one message; the system takes 253.
pub(super) const MAX_DESCRIPTORS: usize = 64;

/// The system bounds the descriptors that are on their way: so often the other
/// end gets time to take some, and so much of it.
const MAX_RETRIES: u32 = 2000;
const RETRY: Duration = Duration::from_millis(5);

/// In MessagePack, with names, so that fields can be added.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// From the old process, with a descriptor for each socket: what for, and
    /// its address in the configuration.
    Hello { protocol: u32, store: PathBuf, sockets: Vec<(Role, String)> },
    /// From the new process: it waits for the stores.
    Ready,
    /// From the old process, with a descriptor for each connection: what was
    /// read of it and not answered.
    Connections { unread: Vec<ByteBuf> },
    /// From the old process: it has closed the stores.
    Yours,
    /// From the new process, until it serves: what it is at. It is silent only
    /// while it gets no further.
    At { what: String },
    /// From the new process.
    Serving,
    /// From the new process, which ends.
    Failed { why: String },
}

/// One end. Dropped, it tells the other one so. The type is tokio's for a
/// connected Unix socket; this one keeps the bounds of messages.
pub(super) struct Channel(UnixStream);

impl Channel {
    /// One end, and the other for a process that is started.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::over(ours)?, theirs))
    }

    /// The end that a process was started with.
    pub(super) fn over(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(UnixStream::from_std(StdUnixStream::from(socket))?))
    }

    /// Says something; at most [`MAX_DESCRIPTORS`] go along.
    pub(super) async fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let bytes = rmp_serde::to_vec_named(message).map_err(io::Error::other)?;
        for _ in 0..MAX_RETRIES {
            let sent = self.0.async_io(Interest::WRITABLE, || {
                let mut room =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
                let mut along = SendAncillaryBuffer::new(&mut room);
                if !descriptors.is_empty()
                    && !along.push(SendAncillaryMessage::ScmRights(descriptors))
                {
                    return Err(io::Error::other("too many descriptors for one message"));
                }
                Ok(sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut along, SendFlags::NOSIGNAL)?)
            });
            match sent.await {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::TOOMANYREFS) => {
                    tokio::time::sleep(RETRY).await;
                }
                sent => return sent.map(drop),
            }
        }
        Err(Errno::TOOMANYREFS.into())
    }

    /// Says something from where nobody can wait.
    ///
    /// # Errors
    /// If the other end is gone, or has not listened for long.
    pub(super) fn say(&self, message: &Message) -> io::Result<()> {
        let bytes = rmp_serde::to_vec_named(message).map_err(io::Error::other)?;
        send(&self.0, &bytes, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// What the other end says next; none if it is gone.
    ///
    /// # Errors
    /// If it says what nobody understands, or some of the descriptors found no
    /// place in this process.
    pub(super) async fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MAX_MESSAGE_BYTES];
        let received = self.0.async_io(Interest::READABLE, || {
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut along = RecvAncillaryBuffer::new(&mut room);
            let mut into = [IoSliceMut::new(&mut bytes)];
            let received = recvmsg(&self.0, &mut into, &mut along, RecvFlags::CMSG_CLOEXEC)?;
            let descriptors: Vec<OwnedFd> = along
                .drain()
                .filter_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                    _ => None,
                })
                .flatten()
                .collect();
            Ok((received.bytes, received.flags, descriptors))
        });
        let (count, flags, descriptors) = match received.await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            received => received?,
        };
        if count == 0 {
            return Ok(None);
        }
        if flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("it may not open as many descriptors (ulimit -n)"));
        }
        let message = rmp_serde::from_slice(&bytes[..count]).map_err(io::Error::other)?;
        Ok(Some((message, descriptors)))
    }
}
