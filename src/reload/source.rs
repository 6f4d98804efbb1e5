//! The sources of all plugins: each path once.

use super::{ReloadError, Source, watch::Target};
use crate::build::{self, BuildError, Builder};
use std::{path::PathBuf, time::Duration};

/// A component, and in dev how it is made.
pub(super) struct Origin {
    pub(super) kind: Kind,
    /// How long its build took in the round that runs.
    pub(super) build: Option<Duration>,
}

pub(super) enum Kind {
    Component(PathBuf),
    Crate {
        builder: Builder,
        /// What the last build came to; none before the first.
        built: Option<Result<PathBuf, BuildError>>,
    },
}

impl Origin {
    /// `dev`: a folder is built. Otherwise it is what `cometbox build` left.
    pub(super) fn new(source: &Source, dev: bool) -> Result<Self, ReloadError> {
        let kind = match source {
            Source::Folder(dir) if dev => {
                Kind::Crate { builder: Builder::new(resolve(dir.clone())?), built: None }
            }
            Source::Folder(dir) => Kind::Component(build::component_of(&resolve(dir.clone())?)?),
            Source::Component(file) => {
                // The file itself stays unresolved: it may be a link that is
                // replaced by another one.
                let folder = match file.parent() {
                    Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
                    _ => PathBuf::from("."),
                };
                let name = file.file_name().unwrap_or_default();
                Kind::Component(resolve(folder)?.join(name))
            }
        };
        Ok(Self { kind, build: None })
    }

    pub(super) fn target(&self) -> Target {
        match &self.kind {
            Kind::Component(file) => Target::File(file.clone()),
            Kind::Crate { builder, .. } => Target::Crate(builder.dir().to_owned()),
        }
    }

    /// The component, or why there is none.
    pub(super) fn component(&self) -> Result<PathBuf, String> {
        match &self.kind {
            Kind::Component(file) => Ok(file.clone()),
            Kind::Crate { built: Some(Ok(file)), .. } => Ok(file.clone()),
            Kind::Crate { built: Some(Err(e)), .. } => Err(match &e.details {
                Some(details) => format!("{e}\n\n{details}"),
                None => e.to_string(),
            }),
            Kind::Crate { built: None, .. } => Err("it is not built yet".into()),
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Component(a), Kind::Component(b)) => a == b,
            (Kind::Crate { builder: a, .. }, Kind::Crate { builder: b, .. }) => a.dir() == b.dir(),
            _ => false,
        }
    }
}

fn resolve(folder: PathBuf) -> Result<PathBuf, ReloadError> {
    folder.canonicalize().map_err(|e| ReloadError(format!("cannot open {}: {e}", folder.display())))
}
