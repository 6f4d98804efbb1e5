//! SIGHUP: the configuration is read again, and what can change changes.

use super::{
    log::{self, Log},
    serve,
};
use crate::{
    config::{self, Change, Config, When},
    reload::Supervisor,
    server::{Gateway, RenewedTls, Tls},
};
use anyhow::Context;
use std::{collections::BTreeSet, fmt::Write, sync::Arc};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::spawn_blocking,
};

/// A running gateway, for whoever changes it.
pub(super) struct Reloader {
    /// What runs; others look at it.
    pub runs: Arc<watch::Sender<Config>>,
    /// What `--listen` says.
    pub listen: Option<String>,
    pub gateway: Arc<Gateway>,
    /// Works until it is dropped.
    pub supervisor: Supervisor,
    pub tls: Option<Arc<Tls>>,
    pub log: Log,
}

/// A configuration that was read and can take over.
struct Next {
    config: Config,
    log: log::Prepared,
    /// If it is in other files.
    certificate: Option<RenewedTls>,
}

impl Reloader {
    /// Reloads everything on SIGHUP, for ever.
    ///
    /// # Errors
    /// If the signal cannot be waited for.
    pub fn on_hangups(mut self) -> anyhow::Result<impl Future<Output = ()>> {
        let (mut rotations, mut hangups) =
            (signal(SignalKind::hangup())?, signal(SignalKind::hangup())?);
        let log = self.log.clone();
        // At once, whatever the configuration is like and however long plugins
        // take to load: the file was renamed.
        let reopen = async move {
            while rotations.recv().await.is_some() {
                let log = log.clone();
                let _ = spawn_blocking(move || log.reopen()).await;
            }
        };
        let reload = async move {
            while hangups.recv().await.is_some() {
                self.reload().await;
            }
        };
        Ok(async move { _ = tokio::join!(reopen, reload) })
    }

    async fn reload(&mut self) {
        let next = match self.read().await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!("configuration not reloaded, everything stays: {error:#}");
                return;
            }
        };
        let changes = config::changes(&self.runs.borrow(), &next.config);
        self.log.change(next.log);
        self.gateway.renew(&next.config);
        self.renew_certificate(next.certificate).await;
        let mut stay = BTreeSet::new();
        for app in &next.config.apps {
            // One that is new waits for a restart.
            let Some(hosted) = self.gateway.app(&app.name) else { continue };
            let plugins = app.plugins.iter().map(Into::into).collect();
            match self.supervisor.renew(&app.name, plugins, app.limits).await {
                Ok(()) => hosted.renew(app),
                // The log says why.
                Err(_) => _ = stay.insert(app.name.clone()),
            }
        }
        let waiting = waiting(&changes);
        if !waiting.is_empty() {
            let names = waiting.join(", ");
            tracing::warn!("what needs a restart or `cometbox upgrade` to change: {names}");
        }
        tracing::info!("{}", report(&changes, &stay));
        self.runs.send_modify(|runs| {
            *runs = runs.clone().renewed(next.config, |app| stay.contains(app));
        });
    }

    /// Reads the configuration, and opens what it names.
    async fn read(&self) -> anyhow::Result<Next> {
        let (path, runs) = {
            let runs = self.runs.borrow();
            (runs.path.clone(), runs.tls.clone())
        };
        let (listen, log, tls) = (self.listen.clone(), self.log.clone(), self.tls.clone());
        let read = move || {
            tracing::info!("SIGHUP: reading {} and all that it names", path.display());
            let config = serve::read(&path, listen)?;
            let certificate = match (&tls, &config.tls, runs) {
                (Some(tls), Some(new), Some(runs)) if !new.has_files_of(&runs) => {
                    Some(tls.read(new)?)
                }
                _ => None,
            };
            let log = log.prepare(&config.log)?;
            Ok(Next { config, log, certificate })
        };
        spawn_blocking(read).await.context("reading it panicked")?
    }

    async fn renew_certificate(&self, renewed: Option<RenewedTls>) {
        let Some(tls) = self.tls.clone() else { return };
        match renewed {
            Some(renewed) => tls.renew(renewed),
            // What goes wrong is in the log.
            None => _ = spawn_blocking(move || tls.reload()).await,
        }
    }
}

/// What does not change without a restart.
fn waiting(changes: &[Change]) -> Vec<String> {
    let waiting = changes.iter().filter(|change| change.setting.when == When::Restart);
    waiting.map(ToString::to_string).collect()
}

/// What a reload has changed, and what it has not, in a line. `stay`: apps whose
/// plugins do not load.
fn report(changes: &[Change], stay: &BTreeSet<String>) -> String {
    let mut line = String::new();
    let mut of_app = None;
    for Change { app, setting } in changes {
        let is_first = line.is_empty();
        let note = match setting.when {
            When::Now => "",
            When::NextConnection => " (new connections)",
            When::NextMailbox => " (new mailboxes)",
            When::Restart => continue,
        };
        if app.as_ref().is_some_and(|app| stay.contains(app)) {
            continue;
        }
        line += match (is_first, of_app == app.as_ref()) {
            (true, _) => "",
            (false, true) => ", ",
            (false, false) => "; ",
        };
        if let Some(app) = app.as_ref().filter(|app| of_app != Some(app)) {
            // Writing into a String does not fail.
            let _ = write!(line, "app {app}: ");
        }
        of_app = app.as_ref();
        line += setting.name.trim_start_matches("app.");
        line += note;
    }
    if line.is_empty() {
        line += "nothing else than before";
    }
    let waiting = waiting(changes);
    let stay = stay.iter().map(|app| format!("app {app}, which does not load"));
    let unchanged: Vec<_> = waiting.into_iter().chain(stay).collect();
    if !unchanged.is_empty() {
        line += "; not changed: ";
        line += &unchanged.join(", ");
    }
    format!("configuration reloaded: {line}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(text: &str) -> Config {
        let text = format!("{text}\nplugins = [\".\"]\n");
        Config::parse(&text, Path::new("test.toml")).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn a_reload_says_what_it_did() {
        let app = "[[app]]\nname = \"a\"\n";
        for (old, new, stays, expected) in [
            ("", "", None, "nothing else than before"),
            ("", "listen = \"x:1\"\n", None, "nothing else than before; not changed: listen"),
            (
                "",
                "http = { max_body_bytes = 1, max_streams = 1 }\nlog = { level = \"debug\" }\n",
                None,
                "log.level, http.max_body_bytes, http.max_streams (new connections)",
            ),
            (
                "",
                "cors = { origins = [\"*\"] }\n[[app]]\nname = \"b\"\nplugins = [\".\"]\n",
                None,
                "cors.origins; not changed: app b",
            ),
            (
                "[[app]]\nname = \"b\"\nplugins = [\".\"]\n",
                "",
                None,
                "nothing else than before; not changed: app b",
            ),
            (
                "[[app]]\nname = \"b\"\nplugins = [\".\"]\n",
                "cors = { origins = [\"*\"] }\n[[app]]\nname = \"b\"\nplugins = [\".\"]\n\
                 publish_keys = [\"k\"]\nlimits = { full = \"reject\", call_ms = 1 }\n",
                None,
                "cors.origins; app b: publish_keys, limits.full (new mailboxes), limits.call_ms",
            ),
            (
                "[[app]]\nname = \"b\"\nplugins = [\".\"]\n",
                "[[app]]\nname = \"b\"\nplugins = [\".\"]\npublish_keys = [\"k\"]\n",
                Some("b"),
                "nothing else than before; not changed: app b, which does not load",
            ),
        ] {
            let (old, new) = (config(&format!("{old}{app}")), config(&format!("{new}{app}")));
            let stay = stays.map(str::to_owned).into_iter().collect();
            let line = report(&config::changes(&old, &new), &stay);
            assert_eq!(line, format!("configuration reloaded: {expected}"));
        }
    }
}
