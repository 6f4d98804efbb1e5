//! What serves in `serve`, from when its stores are opened until they are closed.
//! A process has one such life, and another one where it was to hand over and
//! nobody took over.

use super::{log::Log, reload::Reloader, serve::specs, upgrade::Predecessor};
use crate::{
    config::Config,
    plugin::wasm::Engine,
    reload::{Prepared, Supervisor},
    server::{Gateway, StartError, Tls},
};
use futures_util::future::FusedFuture;
use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// How long stores are tried that cannot be opened again: as long, clients wait
/// in the backlog. A service manager's next process would find nothing better.
const TRY_FOR: Duration = Duration::from_secs(300);

/// Between two tries; doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// While plugins load, how often a process that takes over says so.
const SIGN: Duration = Duration::from_secs(1);

/// What every life of a process is started with.
pub(super) struct Starter {
    pub engine: Engine,
    /// What `--listen` says.
    pub listen: Option<String>,
    pub log: Log,
    pub tls: Option<Arc<Tls>>,
    /// A reload changes it.
    pub runs: Arc<watch::Sender<Config>>,
    /// Loaded already: those of the life before, once there was one.
    pub plugins: Prepared,
}

/// Stores that are open, plugins that are loaded, and who listens to SIGHUP.
pub(super) struct Life {
    pub gateway: Arc<Gateway>,
    hangups: JoinHandle<()>,
}

impl Life {
    /// Nothing is reloaded any more.
    pub fn end(self) {
        self.hangups.abort();
    }
}

impl Starter {
    /// `predecessor` waits for it, and is told how it goes.
    ///
    /// # Errors
    /// If a store cannot be opened and written, or a plugin does not load.
    pub async fn start(&mut self, predecessor: Option<&Predecessor>) -> anyhow::Result<Life> {
        let config = self.runs.borrow().clone();
        let tell = |what: &str| {
            if let Some(predecessor) = predecessor {
                predecessor.at(what);
            }
        };
        let gateway = Gateway::open(&config, None, &tell)?;
        gateway.begun().await.map_err(StartError::from)?;
        let (specs, engine) = (specs(&config, &gateway), self.engine.clone());
        let supervisor = {
            let mut loading = pin!(Supervisor::serve_prepared(specs, engine, &self.plugins));
            loop {
                // They have limits of their own for how long that takes.
                tell("its plugins load what they need");
                if let Ok(loaded) = timeout(SIGN, loading.as_mut()).await {
                    break loaded?;
                }
            }
        };
        self.plugins = supervisor.serving();
        let reloader = Reloader {
            runs: self.runs.clone(),
            listen: self.listen.clone(),
            gateway: gateway.clone(),
            supervisor,
            tls: self.tls.clone(),
            log: self.log.clone(),
        };
        Ok(Life { gateway, hangups: tokio::spawn(reloader.on_hangups()?) })
    }

    /// The same, where this process has the sockets still and there is nobody else:
    /// a store that cannot be opened is tried again for some minutes. None:
    /// `shutdown` came meanwhile.
    ///
    /// # Errors
    /// As above.
    pub async fn start_again(
        &mut self,
        mut shutdown: Pin<&mut impl FusedFuture<Output = ()>>,
    ) -> anyhow::Result<Option<Life>> {
        let (started, mut pause) = (Instant::now(), FIRST_PAUSE);
        tracing::warn!("the stores are opened again");
        loop {
            let error = match self.start(None).await {
                Ok(life) => return Ok(Some(life)),
                Err(error) => error,
            };
            let may_pass = error.downcast_ref::<StartError>().is_some_and(StartError::may_pass);
            if !may_pass || started.elapsed() > TRY_FOR {
                return Err(error);
            }
            tracing::error!("nobody is served until they can be opened: {error:#}");
            tokio::select! {
                () = shutdown.as_mut() => return Ok(None),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}
