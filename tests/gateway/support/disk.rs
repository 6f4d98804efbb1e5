//! Disks that a test fills.

use super::{Faults, Gateway, skip};
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
    process::Command,
};

/// Of a small disk, in bytes.
const SIZE_BYTES: usize = 2 << 20;

/// A disk that can be full.
pub enum Disk {
    /// On which writes fail as on a full one.
    Told(Faults, tempfile::TempDir),
    /// A real one, which takes what fits where something was before.
    Small(SmallDisk),
}

impl Disk {
    /// All that can be had here, and what they are called.
    pub fn all() -> Vec<(&'static str, Self)> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut all = vec![("a disk that says that it is full", Self::Told(Faults::new(), folder))];
        all.extend(SmallDisk::mount().map(|disk| ("a tmpfs", Self::Small(disk))));
        all
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Told(_, folder) => folder.path(),
            Self::Small(disk) => disk.path(),
        }
    }

    /// Serves this configuration, whose store is on this disk.
    pub fn start(&self, config: &str) -> Gateway {
        match self {
            Self::Told(faults, _) => Gateway::start_with(faults, config),
            Self::Small(_) => Gateway::start(config),
        }
    }

    /// Leaves no room.
    pub fn fill(&self) {
        match self {
            Self::Told(faults, _) => faults.fill(true),
            Self::Small(disk) => disk.fill(),
        }
    }

    /// There is room again.
    pub fn free(&self) {
        match self {
            Self::Told(faults, _) => faults.fill(false),
            Self::Small(disk) => disk.free(),
        }
    }
}

/// A tmpfs, for which a test has to be root. Gone when it is dropped; whoever has
/// files open there ends before.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None, with a word about it, where the test may not mount; with CI=true it
    /// must.
    pub fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={SIZE_BYTES}"), "cometbox-test"])
            .arg(dir.path())
            .output()
            .expect("there is mount");
        if mounted.status.success() {
            return Some(Self(dir));
        }
        let why = String::from_utf8_lossy(&mounted.stderr);
        skip("a disk of its own, a tmpfs, cannot be mounted", why.trim());
        None
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// From now on nothing on it can be written, or again.
    pub fn set_read_only(&self, is_read_only: bool) {
        let how = if is_read_only { "remount,ro" } else { "remount,rw" };
        let mounted = Command::new("mount").args(["-o", how]).arg(self.path()).status();
        assert!(mounted.expect("there is mount").success(), "{how}");
    }

    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("an empty file fits");
        let full = io::copy(&mut io::repeat(0), &mut ballast).expect_err("the disk is small");
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
