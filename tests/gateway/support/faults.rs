//! A system that is slow, fails, or has its calendar set, for one gateway: a
//! library that it loads before all others (`faults.c`).

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

const PAGE_BYTES: usize = 4096;
const MAX_PAGES: usize = 16384;

/// Where fields are in the file that both sides map, in bytes.
const SYNC_MS: u64 = 0;
const SYNCS_STOP: u64 = 8;
const WRITE_ERROR: u64 = 16;
const SYNC_ERROR: u64 = 24;
const FILE_ERROR: u64 = 32;
const CALENDAR_MS: u64 = 40;
const READ_MS: u64 = 48;
const SYNCS_LIE: u64 = 56;
const HAS_DISK: u64 = 64;
const WRITES: u64 = 72;
const SYNCS: u64 = 80;
const WAITING_SYNCS: u64 = 88;
const DIRTY: u64 = 96;
const LOST: u64 = DIRTY + MAX_PAGES as u64;
const CONTROL_BYTES: u64 = LOST + MAX_PAGES as u64;

/// The files of the app `lab`, and where the library keeps what the disk has of
/// them.
const FILES: [(&str, &str); 2] = [("lab.sqlite", "it-file"), ("lab.sqlite-wal", "it-log")];

/// "Input/output error", as broken disks have it.
const EIO: u64 = 5;
/// "No space left on device".
const ENOSPC: u64 = 28;

/// The library, built once per run of the tests.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (library, aside) =
        (folder.join("faults.so"), folder.join(format!("faults-{}.so", std::process::id())));
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&aside)
        .arg(super::project("tests/gateway/support/faults.c"))
        .output()
        .expect("there is a C compiler: jemalloc needs it, too");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // As a whole, should another run load it at this moment.
    fs::rename(aside, &library).expect("a folder of ours");
    library
});

/// What one gateway after the other meets.
pub struct Faults {
    control: File,
    dir: tempfile::TempDir,
}

impl Faults {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut options = OpenOptions::new();
        let control = options.read(true).write(true).create_new(true).open(dir.path().join("it"));
        let control = control.expect("a new folder");
        control.set_len(CONTROL_BYTES).expect("there is room");
        Self { control, dir }
    }

    /// The same, where the power can be cut: what the disk has of the app `lab` is
    /// known. No gateway may end in order.
    pub fn with_disk() -> Self {
        let this = Self::new();
        this.say(HAS_DISK, 1);
        this
    }

    /// What the gateway's environment says.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", LIBRARY.clone()), ("COMETBOX_FAULTS", self.dir.path().join("it"))]
    }

    /// A read of a store takes so long, from the next one on.
    pub fn reads_take(&self, time: Duration) {
        self.say(READ_MS, time.as_millis() as u64);
    }

    /// A sync takes so long, from the next one on.
    pub fn syncs_take(&self, time: Duration) {
        self.say(SYNC_MS, time.as_millis() as u64);
    }

    /// No sync ends, or those that wait do.
    pub fn stop_syncs(&self, stop: bool) {
        self.say(SYNCS_STOP, u64::from(stop));
    }

    pub fn fail_writes(&self, fail: bool) {
        self.say(WRITE_ERROR, if fail { EIO } else { 0 });
    }

    /// Writes fail as they do on a full disk.
    pub fn fill(&self, is_full: bool) {
        self.say(WRITE_ERROR, if is_full { ENOSPC } else { 0 });
    }

    /// Syncs of a log fail, and what they were for does not reach the disk by a
    /// later one.
    pub fn fail_syncs(&self, fail: bool) {
        self.say(SYNC_ERROR, if fail { EIO } else { 0 });
    }

    /// Syncs of the file fail when its log is carried into it.
    pub fn fail_syncs_of_files(&self, fail: bool) {
        self.say(FILE_ERROR, if fail { EIO } else { 0 });
    }

    /// From now on syncs say that they have done what they have not.
    pub fn skip_syncs(&self) {
        self.say(SYNCS_LIE, 1);
    }

    /// The calendar is ahead of the right one by so many seconds.
    pub fn set_calendar(&self, ahead_s: i64) {
        self.say(CALENDAR_MS, (ahead_s * 1000).cast_unsigned());
    }

    /// Writes to a store.
    pub fn writes(&self) -> u64 {
        self.number(WRITES)
    }

    /// Syncs of a store that have ended well.
    pub fn syncs(&self) -> u64 {
        self.number(SYNCS)
    }

    /// Syncs that have begun and not ended.
    pub fn waiting_syncs(&self) -> u64 {
        self.number(WAITING_SYNCS)
    }

    /// Pages of the log that no sync has brought to the disk since one failed.
    pub fn unsynced_pages(&self) -> usize {
        let mut lost = vec![0; MAX_PAGES];
        self.control.read_exact_at(&mut lost, LOST).expect("it is as long");
        lost.iter().filter(|is_lost| **is_lost != 0).count()
    }

    /// The power fails, and the gateway is gone: of its store in this folder there
    /// is what was synced, and of the pages that were not those that `keeps` says.
    /// How many pages are gone.
    pub fn cut_power(&self, store: &Path, mut keeps: impl FnMut() -> bool) -> usize {
        let mut gone = 0;
        for (file, disk) in FILES {
            let (file, disk) = (store.join(file), self.dir.path().join(disk));
            let mut left = fs::read(&disk).unwrap_or_else(|error| match error.kind() {
                ErrorKind::NotFound => Vec::new(),
                _ => panic!("{error}"),
            });
            let was = fs::read(&file).expect("a gateway has made it");
            for (number, page) in was.chunks(PAGE_BYTES).enumerate() {
                let (begin, end) = (number * PAGE_BYTES, number * PAGE_BYTES + page.len());
                if left.get(begin..end) == Some(page) {
                    continue;
                }
                if keeps() {
                    left.resize(left.len().max(end), 0);
                    left[begin..end].copy_from_slice(page);
                } else {
                    gone += 1;
                }
            }
            for path in [file, disk] {
                fs::write(path, &left).expect("it can be written");
            }
        }
        self.control.write_all_at(&vec![0; 2 * MAX_PAGES], DIRTY).expect("it can be written");
        gone
    }

    fn say(&self, at: u64, number: u64) {
        self.control.write_all_at(&number.to_ne_bytes(), at).expect("it can be written");
    }

    fn number(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, at).expect("it is as long");
        u64::from_ne_bytes(bytes)
    }
}
