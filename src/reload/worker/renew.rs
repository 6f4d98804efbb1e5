//! Another chain for an app, because its configuration says so.

use super::{Slot, Worker};
use crate::{
    app::AppLimits,
    reload::{PluginSpec, ReloadError, source::Origin, watch::Watch},
};
use std::collections::BTreeSet;
use tokio::sync::oneshot;

/// What an app is to be made of from now on.
pub(in crate::reload) struct Renewal {
    pub app: String,
    pub plugins: Vec<PluginSpec>,
    pub limits: AppLimits,
    /// Told how it went.
    pub done: oneshot::Sender<Result<(), ReloadError>>,
}

impl Worker {
    pub(super) async fn renew(&mut self, renewal: Renewal) {
        let Renewal { app, plugins, limits, done } = renewal;
        let result = self.try_renew(&app, plugins, limits).await;
        self.forget_unused();
        // Whoever asked may have gone.
        let _ = done.send(result);
    }

    /// Builds (in dev) and loads all plugins, and swaps them in with the limits.
    /// If that fails, the app stays what it was.
    async fn try_renew(
        &mut self,
        app: &str,
        plugins: Vec<PluginSpec>,
        limits: AppLimits,
    ) -> Result<(), ReloadError> {
        let index = self.apps.iter().position(|managed| managed.app.name() == app);
        let index = index.ok_or_else(|| ReloadError(format!("there is no app {app}")))?;
        let slots = plugins.into_iter().map(|spec| self.slot(spec));
        let slots = slots.collect::<Result<Vec<_>, _>>();
        // Before anything is read, so that no change falls in between.
        let slots = slots.and_then(|slots| self.watch_again().map(|()| slots));
        let slots = slots.inspect_err(|why| tracing::error!(app, "not reloaded: {why}"))?;
        let origins: BTreeSet<usize> = slots.iter().map(|slot| slot.origin).collect();
        let managed = &mut self.apps[index];
        let plugins = std::mem::replace(&mut managed.plugins, slots);
        let limits = std::mem::replace(&mut managed.limits, limits);
        for origin in origins {
            self.origins[origin].build = None;
            // What is saved meanwhile is the next round's.
            self.build(origin, false).await;
        }
        self.reload(index).await.map_err(|why| {
            let managed = &mut self.apps[index];
            (managed.plugins, managed.limits) = (plugins, limits);
            ReloadError(why)
        })
    }

    fn slot(&mut self, spec: PluginSpec) -> Result<Slot, ReloadError> {
        let origin = Origin::new(&spec.source, self.progress.is_some())?;
        let origin = super::place(&mut self.origins, origin);
        Ok(Slot { spec, origin, serving: None, stale: true })
    }

    /// Watches the sources that there are now.
    fn watch_again(&mut self) -> Result<(), ReloadError> {
        self.dirty.has(super::bound(&self.origins));
        self.watch = Watch::start(super::targets(&self.origins), self.dirty.clone())?;
        Ok(())
    }

    /// Forgets the sources of which no plugin comes any more.
    fn forget_unused(&mut self) {
        let slots = self.apps.iter().flat_map(|managed| &managed.plugins);
        let used: BTreeSet<usize> = slots.map(|slot| slot.origin).collect();
        let before = self.origins.len();
        self.origins.retain(|index, _| used.contains(&index));
        if self.origins.len() < before
            && let Err(error) = self.watch_again()
        {
            tracing::error!("{error}");
        }
    }
}
