//! `serve` and `dev`.

use super::{
    banner,
    children::Children,
    life::Starter,
    log::Log,
    reload::Reloader,
    service,
    sockets::{Given, Role, Sockets},
    upgrade::{Predecessor, Program, Upgrader},
};
use crate::{
    app::{Answers, Now},
    config::{AppConfig, Config, ConfigError},
    plugin::wasm::Engine,
    reload::{self, AppSpec, State, Status, Supervisor},
    server::{self, DevSite, End, Ended, Gateway, HostedApp, Listeners, Tls},
};
use anyhow::Context;
use futures_util::{FutureExt, future::FusedFuture};
use std::{
    net::SocketAddr,
    path::Path,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch::{self, Receiver},
};

/// Serves until a signal ends it, or another process takes over. `takes_over`:
/// this process was started by one that hands over to it.
pub(super) async fn serve(
    config: &Path,
    listen: Option<String>,
    takes_over: bool,
) -> anyhow::Result<()> {
    // At once: what a signal without a handler does is to end the process.
    let mut upgrades = signal(SignalKind::user_defined2())?;
    let program = Program::serve(config, listen.as_deref());
    let mut predecessor = match takes_over {
        true => Some(Predecessor::meet().await?),
        false => None,
    };
    let result = match start(config, listen.clone()) {
        Ok((config, log)) => {
            serve_on(config, listen, log, &program, &mut upgrades, &mut predecessor).await
        }
        Err(error) => Err(error),
    };
    if let (Err(error), Some(predecessor)) = (&result, predecessor) {
        predecessor.failed(error).await;
    }
    result
}

/// `predecessor` is gone from its place once this process serves.
async fn serve_on(
    config: Config,
    listen: Option<String>,
    log: Log,
    program: &Program,
    upgrades: &mut Signal,
    predecessor: &mut Option<Predecessor>,
) -> anyhow::Result<()> {
    let mut given = match predecessor {
        Some(predecessor) => predecessor.sockets(&config)?,
        None => Given::by_service_manager()?,
    };
    let Bound { mut listeners, .. } = Bound::bind(&config, &mut given).await?;
    given.check_rest()?;
    drop(given);
    let engine = Engine::new()?;
    // Before the stores: it is slow, and they may still be another process's.
    let plugins = reload::prepare(&engine, &config.apps).await?;
    // For all lives of this process, so that no signal in between is missed; and
    // before it may be handed the stores, with which it must not just end.
    let mut shutdown = pin!(shutdown()?.fuse());
    let mut handed = match predecessor {
        Some(predecessor) => predecessor.take_over().await?,
        None => Vec::new(),
    };
    let tls = listeners.tls.as_ref().map(|(_, tls)| tls.clone());
    let runs = Arc::new(watch::Sender::new(config));
    let mut starter = Starter { engine, listen, log, tls: tls.clone(), runs, plugins };
    let mut life = starter.start(predecessor.as_ref()).await?;
    // Once, unless a process that was to take over does not.
    loop {
        Addresses::of(&listeners).log();
        let config = starter.runs.borrow().clone();
        let sockets = Sockets::of(&listeners, |role| match role {
            Role::Http => config.listen.as_deref(),
            Role::Https => config.tls.as_ref().map(|tls| tls.listen.as_str()),
            Role::Admin => config.admin.as_deref(),
        })?;
        let store = config.store.as_ref().map(|store| store.path.as_path());
        let upgrader =
            Upgrader { program, gateway: &life.gateway, store, sockets, signal: upgrades };
        let end = async {
            // All that serves is running by now.
            if let Some(predecessor) = predecessor.take() {
                predecessor.serving().await;
            }
            service::ready();
            tokio::select! {
                () = shutdown.as_mut() => {
                    service::stopping();
                    End::Stop
                }
                successor = upgrader.successor() => End::HandOver(successor),
            }
        };
        let sockets;
        match server::run_until(life.gateway.clone(), listeners, handed, end).await {
            Ended::Stopped(result) => {
                life.end();
                return Ok(result?);
            }
            Ended::Stays { next, connections, why } => {
                (sockets, handed) = (next.give_up(&why.into()).await, connections);
            }
            Ended::HandedOver { next, connections } => {
                life.end();
                let silence = config.store.as_ref().map_or(0, |store| store.takeover_timeout_s);
                let silence = Duration::from_secs(silence);
                match next.hand_over(connections, silence, shutdown.as_mut()).await {
                    Ok(process) => {
                        // A signal that came meanwhile was meant for whoever serves.
                        if shutdown.as_mut().now_or_never().is_some() {
                            service::terminate(process);
                        }
                        return Ok(());
                    }
                    Err(back) => (sockets, handed) = back,
                }
                let again = match shutdown.is_terminated() {
                    true => None,
                    false => starter.start_again(shutdown.as_mut()).await?,
                };
                let Some(again) = again else {
                    tracing::info!("shutting down, with the stores closed already");
                    service::stopping();
                    return Ok(());
                };
                life = again;
            }
        }
        listeners = sockets.listeners(tls.clone())?;
    }
}

pub(super) async fn dev(config: &Path, listen: Option<String>) -> anyhow::Result<()> {
    let (config, log) = start(config, listen.clone())?;
    // The gateway shows the status of a supervisor that works on its apps.
    let status = Arc::new(OnceLock::<Receiver<Status>>::new());
    let site = DevSite::new(config.dev.pages.clone(), {
        let status = status.clone();
        Arc::new(move || status_json(status.get()))
    });
    let gateway = Gateway::new(&config, Some(site))?;
    gateway.begun().await?;
    let bound = Bound::bind(&config, &mut Given::default()).await?;
    let specs = specs(&config, &gateway);
    let progress = Arc::new(|line: &str| eprintln!("{line}"));
    let supervisor = Supervisor::dev(specs, Engine::new()?, progress)?;
    let mut settled = supervisor.status();
    // Only set here.
    let _ = status.set(supervisor.status());
    let (gateway_too, tls) = (gateway.clone(), bound.tls());
    let runs = Arc::new(watch::Sender::new(config.clone()));
    let reloader = Reloader { runs, listen, gateway: gateway_too, supervisor, tls, log };
    let hangups = tokio::spawn(reloader.on_hangups()?);

    let addresses = Addresses::of(&bound.listeners);
    let Bound { listeners, url, .. } = bound;
    let (stop, stopped) = watch::channel(false);
    let told = Told { config, addresses, url };
    let beside = tokio::spawn(async move { told.run(&mut settled, stopped).await });
    let result = server::run(gateway, listeners, shutdown()?).await;
    stop.send_replace(true);
    beside.await?;
    hangups.abort();
    Ok(result?)
}

/// What happens beside the gateway in dev, once it is up.
struct Told {
    config: Config,
    addresses: Addresses,
    url: String,
}

impl Told {
    /// Says that the gateway is up as soon as the plugins are loaded, or do not
    /// load; runs the commands once all are loaded, until `stopped`.
    async fn run(self, status: &mut Receiver<Status>, mut stopped: Receiver<bool>) {
        let is_settled = |status: &Status| {
            status.iter().all(|app| matches!(app.state, State::Ok | State::Failed))
        };
        let serves = |status: &Status| status.iter().all(|app| app.version > 0);
        let up = async {
            let settled = status.wait_for(is_settled).await?.clone();
            let failed: Vec<&str> = settled
                .iter()
                .filter(|app| app.version == 0)
                .map(|app| app.name.as_ref())
                .collect();
            self.addresses.log();
            let admin_url = self.addresses.admin.as_deref();
            eprintln!("{}", banner::banner(&self.config, &self.url, admin_url, &failed));
            status.wait_for(serves).await?;
            Ok::<_, watch::error::RecvError>(())
        };
        tokio::select! {
            // Without a supervisor there is nothing to wait for.
            up = up => if up.is_err() { return },
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        let children = Children::start(&self.config.dev.run, self.config.dir(), &self.url);
        // An error is the end of the gateway, too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        children.end().await;
    }
}

fn status_json(status: Option<&Receiver<Status>>) -> String {
    let apps = status.map(|status| status.borrow().clone()).unwrap_or_default();
    serde_json::json!({ "apps": &*apps }).to_string()
}

/// The plugins of the configuration, for the supervisor.
pub(super) fn specs(config: &Config, gateway: &Gateway) -> Vec<AppSpec> {
    let spec = |app: &AppConfig| {
        let hosted = gateway.app(&app.name).expect("the gateway was made of this configuration");
        AppSpec {
            app: hosted.app().clone(),
            shell: hosted.clone(),
            plugins: app.plugins.iter().map(Into::into).collect(),
        }
    };
    config.apps.iter().map(spec).collect()
}

impl reload::Shell for HostedApp {
    fn now(&self) -> Now {
        self.now()
    }

    fn deliver(&self, answers: Answers) {
        self.deliver(answers);
    }
}

/// The configuration, and the log that it asks for.
fn start(path: &Path, listen: Option<String>) -> anyhow::Result<(Config, Log)> {
    let config = read(path, listen)?;
    let log = Log::start(&config.log)?;
    Ok((config, log))
}

/// The configuration, with what `--listen` says. Blocks.
pub(super) fn read(path: &Path, listen: Option<String>) -> Result<Config, ConfigError> {
    let mut config = Config::load(path)?;
    config.listen = listen.or(config.listen);
    Ok(config)
}

/// Sockets that are bound, so that a port in use is found out before anything
/// is built.
struct Bound {
    listeners: Listeners,
    /// For commands that run beside the gateway.
    url: String,
}

impl Bound {
    async fn bind(config: &Config, given: &mut Given) -> anyhow::Result<Self> {
        let (mut public, mut tls, mut admin, mut url) = (None, None, None, String::new());
        if let Some(config) = &config.tls {
            let files = Tls::load(config)?;
            let listener = given.listener(Role::Https, &config.listen).await;
            let listener = listener.context("`listen` of [tls] in the configuration")?;
            url = banner::local_url("https", listener.local_addr()?);
            tls = Some((listener, files));
        }
        if let Some(address) = &config.listen {
            let listener = given.listener(Role::Http, address).await;
            let listener = listener.context("--listen, or `listen` in the configuration")?;
            url = banner::local_url("http", listener.local_addr()?);
            public = Some(listener);
        }
        if let Some(address) = &config.admin {
            let listener = given.listener(Role::Admin, address).await;
            admin = Some(listener.context("`admin` in the configuration (\"\" turns it off)")?);
        }
        Ok(Self { listeners: Listeners { public, tls, admin }, url })
    }

    fn tls(&self) -> Option<Arc<Tls>> {
        self.listeners.tls.as_ref().map(|(_, tls)| tls.clone())
    }
}

/// What the log says about where the gateway is.
struct Addresses {
    plain: Option<SocketAddr>,
    tls: Option<SocketAddr>,
    admin: Option<String>,
}

impl Addresses {
    fn of(listeners: &Listeners) -> Self {
        let addr = |listener: &TcpListener| listener.local_addr().ok();
        let Listeners { public, tls, admin } = listeners;
        let admin = admin.as_ref().and_then(addr);
        Self {
            plain: public.as_ref().and_then(addr),
            tls: tls.as_ref().and_then(|(listener, _)| addr(listener)),
            admin: admin.map(|addr| banner::local_url("http", addr)),
        }
    }

    /// Scripts wait for the first of these lines; it has the real port.
    fn log(&self) {
        if let Some(addr) = self.plain {
            tracing::info!("listening on http://{addr}");
        }
        if let Some(addr) = self.tls {
            tracing::info!("listening on https://{addr}");
        }
        if let Some(url) = &self.admin {
            tracing::info!("health and metrics on {url}");
        }
    }
}

/// Resolves on SIGTERM or SIGINT.
fn shutdown() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
