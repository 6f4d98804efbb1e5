//! Opens the stores of the apps, and says how that goes.

use super::{clock::Clock, hosted::Kept};
use crate::{
    config::StoreConfig,
    core::Restart,
    store::{self, Calendar, OpenError},
};
use std::time::{Duration, Instant};

/// Between two lines about the same store.
const PROGRESS: Duration = Duration::from_secs(1);

/// Opens the store of one app. Blocks for as long as reading it takes; `tell`
/// hears of each step meanwhile.
pub(super) fn open(
    config: &StoreConfig,
    app: &str,
    clock: Clock,
    tell: &dyn Fn(&str),
) -> Result<Kept, OpenError> {
    tell(&format!("opening the store of {app}"));
    let folder = &config.path;
    std::fs::create_dir_all(folder).map_err(|error| OpenError::Failed {
        path: folder.clone(),
        error: format!("the folder cannot be made: {error}"),
    })?;
    let now = clock.now();
    let calendar = Calendar { unix_ms_at_0: now.unix_ms.saturating_sub(now.mono) };
    let path = store::file_of(folder, app);
    let (started, mut told) = (Instant::now(), Instant::now());
    let opened = store::open(&path, calendar, now.mono, &mut |done, all| {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let percent = done * 100 / all.max(1);
            tracing::info!(app, "reading the store: {percent} % of {all} rows");
            tell(&format!("reading the store of {app}: {percent} %"));
        }
    })?;
    let last = opened.last_life;
    let is_new = last.seen_unix_ms == 0;
    let down_since = opened.down_since;
    if !is_new {
        let (mailboxes, messages) = (opened.image.mailboxes.len(), opened.image.messages.len());
        let (seconds, ended) = ((now.mono - down_since) / 1000, last.ended);
        let took_ms = started.elapsed().as_millis();
        tracing::info!(app, mailboxes, messages, took_ms, "the store is read");
        if !ended {
            tracing::warn!(
                app,
                "the gateway did not end in order about {seconds} s ago: what was not on disk by \
                 then is missing"
            );
            if let Some(log) = opened.log.filter(|log| !log.is_whole()) {
                tracing::warn!(app, "{log}");
            }
        }
    }
    let restart = Restart {
        now: now.mono,
        down_since,
        grace_ms: config.restart_grace_ms,
        cut_off: !is_new && !last.ended,
    };
    Ok(Kept { opened, restart })
}
