//! Sockets that listen before this process does: those of a process before, and
//! those of a service manager (`sd_listen_fds(3)`).

use crate::server::{Listeners, Tls};
use anyhow::{Context, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};
use tokio::{
    net::{TcpListener, lookup_host},
    process::Command,
};

/// What a socket is for; by these names a service manager passes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Http,
    Https,
    Admin,
}

impl Role {
    fn of_name(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }
}

/// Sockets that may be used in place of new ones.
#[derive(Default)]
pub(super) struct Given(Vec<One>);

struct One {
    socket: StdListener,
    fits: Fits,
}

/// Which address of the configuration a socket is for.
enum Fits {
    /// Whatever that is.
    Any(Role),
    /// What is written so.
    Written(Role, String),
    /// What is this address. It came under a name that says nothing.
    Address(SocketAddr, String),
}

impl Given {
    /// What a service manager passes to this process. To be asked once.
    ///
    /// # Errors
    /// If it passes what is no socket that listens by TCP.
    pub(super) fn by_service_manager() -> anyhow::Result<Self> {
        let mut given = Vec::new();
        for (name, socket) in sd_listen_fds::get()? {
            let name = name.unwrap_or_default();
            let socket: OwnedFd = socket.into_std();
            let listener = || {
                fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
                let socket = StdListener::from(socket);
                io::Result::Ok((socket.local_addr()?, socket))
            };
            let (address, socket) = listener().with_context(|| {
                format!("LISTEN_FDS: what is passed as {name:?} is no socket that listens by TCP")
            })?;
            let fits = match Role::of_name(&name) {
                Some(role) => Fits::Any(role),
                None => Fits::Address(address, name),
            };
            given.push(One { socket, fits });
        }
        Ok(Self(given))
    }

    /// The socket for an address of the configuration, bound now if none was
    /// given.
    pub(super) async fn listener(
        &mut self,
        role: Role,
        address: &str,
    ) -> anyhow::Result<TcpListener> {
        let cannot = || format!("cannot listen on {address}");
        let mut same: Vec<SocketAddr> = Vec::new();
        if self.0.iter().any(|one| matches!(one.fits, Fits::Address(..))) {
            same.extend(lookup_host(address).await.with_context(cannot)?);
        }
        let fits = |one: &One| match &one.fits {
            Fits::Any(of) => *of == role,
            Fits::Written(of, written) => *of == role && written == address,
            Fits::Address(of, _) => same.contains(of),
        };
        let Some(found) = self.0.iter().position(fits) else {
            return TcpListener::bind(address).await.with_context(cannot);
        };
        let socket = self.0.remove(found).socket;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from_std(socket)?)
    }

    /// # Errors
    /// If a service manager passed a socket that nothing is to listen on: its
    /// clients would wait for ever. What a process before listened on just
    /// closes.
    pub(super) fn check_rest(&self) -> anyhow::Result<()> {
        for one in &self.0 {
            let (name, address) = match &one.fits {
                Fits::Written(..) => continue,
                Fits::Any(role) => (format!("{role:?}").to_lowercase(), one.socket.local_addr()?),
                Fits::Address(address, name) => (name.clone(), *address),
            };
            bail!(
                "LISTEN_FDS: a socket on {address} is passed as {name:?}, and nothing in the \
                 configuration listens there; call it http, https or admin \
                 (FileDescriptorName=), or listen there"
            );
        }
        Ok(())
    }
}

/// The sockets that this process listens on, once more: they stay open when it
/// stops to listen.
#[derive(Default)]
pub(super) struct Sockets(Vec<(Role, String, OwnedFd)>);

impl Sockets {
    /// `address` tells how the configuration has written where a socket is.
    pub(super) fn of<'a>(
        listeners: &Listeners,
        address: impl Fn(Role) -> Option<&'a str>,
    ) -> io::Result<Self> {
        let Listeners { public, tls, admin } = listeners;
        let all = [
            (Role::Http, public.as_ref()),
            (Role::Https, tls.as_ref().map(|(listener, _)| listener)),
            (Role::Admin, admin.as_ref()),
        ];
        let mut sockets = Vec::new();
        for (role, listener) in all {
            if let (Some(listener), Some(address)) = (listener, address(role)) {
                sockets.push((role, address.to_owned(), listener.as_fd().try_clone_to_owned()?));
            }
        }
        Ok(Self(sockets))
    }

    /// What another process sent.
    pub(super) fn received(what: Vec<(Role, String)>, descriptors: Vec<OwnedFd>) -> Self {
        let both = what.into_iter().zip(descriptors);
        Self(both.map(|((role, address), socket)| (role, address, socket)).collect())
    }

    /// What another process is told, and the descriptors.
    pub(super) fn to_send(&self) -> (Vec<(Role, String)>, Vec<BorrowedFd<'_>>) {
        let told = self.0.iter().map(|(role, address, _)| (*role, address.clone())).collect();
        let descriptors = self.0.iter().map(|(_, _, socket)| socket.as_fd()).collect();
        (told, descriptors)
    }

    /// To listen again.
    pub(super) fn listeners(self, tls: Option<Arc<Tls>>) -> io::Result<Listeners> {
        let mut listeners = Listeners { public: None, tls: None, admin: None };
        for (role, _, socket) in self.0 {
            let listener = TcpListener::from_std(socket.into())?;
            match role {
                Role::Http => listeners.public = Some(listener),
                Role::Https => listeners.tls = tls.clone().map(|tls| (listener, tls)),
                Role::Admin => listeners.admin = Some(listener),
            }
        }
        Ok(listeners)
    }
}

impl From<Sockets> for Given {
    fn from(sockets: Sockets) -> Self {
        let one = |(role, address, socket): (Role, String, OwnedFd)| One {
            socket: socket.into(),
            fits: Fits::Written(role, address),
        };
        Self(sockets.0.into_iter().map(one).collect())
    }
}

/// What a service manager said to this process is not for those that it starts.
pub(super) fn forget_environment(command: &mut Command) {
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(name);
    }
}
