//! A disk that is soon full: a tmpfs that the test mounts. Needs root.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
    process::Command,
};

/// Of the whole disk, in bytes.
const SIZE_BYTES: usize = 2 << 20;

/// Gone when it is dropped; whoever has files open there ends before.
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
        let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(std::env::var("CI").as_deref() != Ok("true"), "a tmpfs has to be mounted: {why}");
        println!("skipped, since no tmpfs can be mounted: {why}");
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

    /// Leaves no room.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("an empty file fits");
        let full = io::copy(&mut io::repeat(0), &mut ballast).expect_err("the disk is small");
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
    }

    /// There is room again.
    pub fn free(&self) {
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
