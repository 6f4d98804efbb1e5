//! Files → marks.

use super::{ReloadError, dirty::Dirty};
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, MetadataKind, ModifyKind},
};
use parking_lot::Mutex;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What belongs to one source.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// One file, which is usually replaced by a rename.
    File(PathBuf),
    /// The sources of a crate in this folder.
    Crate(PathBuf),
}

type Lost = Vec<(PathBuf, RecursiveMode)>;

/// Marks sources whose files change.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    /// Folders that were made anew, whose watch went with the old one.
    lost: Arc<Mutex<Lost>>,
}

impl Watch {
    /// `targets` come with the indexes of their sources; their folders are
    /// resolved.
    pub(super) fn start(
        targets: Vec<(usize, Target)>,
        dirty: Arc<Dirty>,
    ) -> Result<Self, ReloadError> {
        Self::try_start(targets, dirty)
            .map_err(|e| ReloadError(format!("cannot watch the plugins' files: {e}")))
    }

    fn try_start(targets: Vec<(usize, Target)>, dirty: Arc<Dirty>) -> notify::Result<Self> {
        let lost = Arc::new(Mutex::new(Lost::new()));
        let (mine, list) = (Arc::clone(&lost), targets.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error is an overflow of the queue: anything may have changed.
            match event {
                Ok(event) if event.need_rescan() => dirty.mark_all(),
                Ok(event) => handle(&event, &list, &dirty, &mine),
                Err(_) => dirty.mark_all(),
            }
        })?;
        for (_, target) in &targets {
            match target {
                Target::File(file) => {
                    let folder = folder(file);
                    // Its folder's own folder tells when it is made anew. Not
                    // everybody may look there, and it is rarely needed.
                    if let Some(above) = folder.parent() {
                        let _ = watcher.watch(above, RecursiveMode::NonRecursive);
                    }
                    watcher.watch(folder, RecursiveMode::NonRecursive)?;
                }
                Target::Crate(dir) => {
                    // Not the whole folder: its `target` has thousands of files.
                    watcher.watch(dir, RecursiveMode::NonRecursive)?;
                    let sources = dir.join("src");
                    if sources.is_dir() {
                        watcher.watch(&sources, RecursiveMode::Recursive)?;
                    }
                }
            }
        }
        Ok(Self { watcher, lost })
    }

    /// Watches folders again that were made anew.
    pub(super) fn renew(&mut self) {
        for (folder, mode) in std::mem::take(&mut *self.lost.lock()) {
            // If it is gone by now, its return is another event.
            let _ = self.watcher.watch(&folder, mode);
        }
    }
}

fn handle(event: &Event, targets: &[(usize, Target)], dirty: &Dirty, lost: &Mutex<Lost>) {
    if !is_change(event.kind) {
        return;
    }
    for path in &event.paths {
        for (index, target) in targets {
            let (own_folder, mode) = match target {
                Target::File(file) => (folder(file).to_owned(), RecursiveMode::NonRecursive),
                Target::Crate(dir) => (dir.join("src"), RecursiveMode::Recursive),
            };
            if *path == own_folder {
                let mut lost = lost.lock();
                if !lost.iter().any(|(known, _)| known == path) {
                    lost.push((path.clone(), mode));
                }
            } else if !concerns(target, path) {
                continue;
            }
            dirty.mark(*index);
        }
    }
}

/// The folder of a file that is not the root.
fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

fn concerns(target: &Target, path: &Path) -> bool {
    match target {
        Target::File(file) => path == file,
        Target::Crate(dir) => {
            let Ok(inside) = path.strip_prefix(dir) else {
                return false;
            };
            let name = path.file_name().unwrap_or_default();
            if inside.parent() == Some(Path::new("")) {
                ["Cargo.toml", "build.rs", "rust-toolchain", "rust-toolchain.toml"]
                    .iter()
                    .any(|known| name == *known)
            } else {
                inside.starts_with("src") && !is_scratch(name)
            }
        }
    }
}

/// Files that editors make while they save.
fn is_scratch(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    name.starts_with(['.', '#'])
        || [".swp", ".swx", ".tmp", ".bak", "~"].iter().any(|end| name.ends_with(end))
        // Vim tries with this one whether it may write.
        || name == "4913"
}

fn is_change(kind: EventKind) -> bool {
    match kind {
        // The compiler opens and reads what is watched.
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Metadata(kind)) => kind != MetadataKind::AccessTime,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_concern_a_crate() {
        let target = Target::Crate("/p".into());
        for (path, want) in [
            ("/p/src/lib.rs", true),
            ("/p/src/deep/mod.rs", true),
            ("/p/src/words.txt", true),
            ("/p/Cargo.toml", true),
            ("/p/build.rs", true),
            ("/p/Cargo.lock", false),
            ("/p/build/p.wasm", false),
            ("/p/target/release/src/x.rs", false),
            ("/p/src/.lib.rs.swp", false),
            ("/p/src/lib.rs~", false),
            ("/p/src/#lib.rs#", false),
            ("/p/src/4913", false),
            ("/other/src/lib.rs", false),
        ] {
            assert_eq!(concerns(&target, Path::new(path)), want, "{path}");
        }
        let target = Target::File("/p/build/p.wasm".into());
        assert!(concerns(&target, Path::new("/p/build/p.wasm")));
        assert!(!concerns(&target, Path::new("/p/build/p.123.tmp")));
    }
}
