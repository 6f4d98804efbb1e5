//! A disk in memory, for SQLite to write to. It knows what was synced, and can
//! lose the rest with the power, in the middle of whatever is done; it can be
//! full, and it can fail to read.

use parking_lot::Mutex;
use rsqlite_vfs::{
    AccessMode, DeviceCharacteristics, LockLevel, OpenAccess, OpenOptions, OpenRequest, OpenedFile,
    OsCallback, SQLiteIoMethods, SQLiteVfs, SyncOptions, VfsError, VfsErrorCode, VfsFile,
    VfsResult, VfsStore, register_vfs,
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// As a file system of that name is known to SQLite.
const NAME: &str = "disk-of-a-test";

/// What a disk writes as a whole, in bytes.
const SECTOR_BYTES: usize = 512;

/// Something that was done to a file.
#[derive(Clone)]
enum Done {
    Written { at: usize, bytes: Vec<u8> },
    Resized { to: usize },
}

impl Done {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Written { at, bytes } => put(to, *at, bytes),
            Self::Resized { to: size } => to.resize(*size, 0),
        }
    }

    /// Some of it, as the power fails.
    fn apply_in_part(&self, to: &mut Vec<u8>, random: &mut fastrand::Rng) {
        match self {
            Self::Written { at, bytes } => {
                let mut done = 0;
                while done < bytes.len() {
                    // Up to the end of the sector.
                    let sector = SECTOR_BYTES - (at + done) % SECTOR_BYTES;
                    let end = bytes.len().min(done + sector);
                    if random.bool() {
                        put(to, at + done, &bytes[done..end]);
                    }
                    done = end;
                }
            }
            Self::Resized { .. } if random.bool() => self.apply(to),
            Self::Resized { .. } => {}
        }
    }
}

fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[at..end].copy_from_slice(bytes);
}

#[derive(Default)]
struct Content {
    /// As processes see it.
    now: Vec<u8>,
    /// As of the last sync, and what was done since.
    safe: Vec<u8>,
    since: Vec<Done>,
}

impl Content {
    fn safely(bytes: Vec<u8>) -> Self {
        Self { now: bytes.clone(), safe: bytes, since: Vec::new() }
    }

    /// What a power cut leaves of it: nothing that was not synced; all up to
    /// some moment; or here and there a sector.
    fn after_power_cut(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut left = self.safe.clone();
        let whole = match random.u8(0..3) {
            0 => return left,
            1 => random.usize(0..=self.since.len()),
            _ => 0,
        };
        let (before, after) = self.since.split_at(whole);
        before.iter().for_each(|done| done.apply(&mut left));
        let torn = if whole == 0 { after } else { &after[..after.len().min(1)] };
        torn.iter().for_each(|done| done.apply_in_part(&mut left, random));
        left
    }
}

#[derive(Default)]
struct Drive {
    files: BTreeMap<String, Content>,
    /// Things that may be done until the power fails.
    power_for: Option<u64>,
    /// Reads until one fails.
    reads_for: Option<u64>,
    /// Bytes that its files may have.
    room_bytes: Option<usize>,
    is_off: bool,
}

impl Drive {
    /// Whether there is power for one thing more.
    fn has_power(&mut self) -> bool {
        self.is_off |= self.power_for == Some(0);
        if let Some(left) = &mut self.power_for {
            *left = left.saturating_sub(1);
        }
        !self.is_off
    }

    fn file(&mut self, name: &str) -> &mut Content {
        self.files.entry(name.to_owned()).or_default()
    }

    fn change(&mut self, name: &str, done: Done, failure: VfsErrorCode) -> VfsResult<()> {
        let was_off = self.is_off;
        let has_power = self.has_power();
        let Content { now, since, .. } = self.file(name);
        if has_power {
            done.apply(now);
        }
        if !was_off {
            // What the power failed in may be there, too.
            since.push(done);
        }
        if has_power { Ok(()) } else { Err(error(failure)) }
    }
}

fn error(code: VfsErrorCode) -> VfsError {
    VfsError::new(code, "as asked by the test".into())
}

type Drives = Mutex<BTreeMap<String, Arc<Mutex<Drive>>>>;

static DRIVES: Drives = Mutex::new(BTreeMap::new());

/// One disk, gone when dropped.
pub struct Disk {
    id: String,
    drive: Arc<Mutex<Drive>>,
}

impl Disk {
    pub fn new() -> Self {
        Self::with(BTreeMap::new())
    }

    fn with(files: BTreeMap<String, Content>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| {
            // SAFETY: `Calls` uses the default layouts, constructor and callbacks, and
            // `Once` keeps others from registering the same name. What its callbacks
            // share is behind locks and is never freed.
            let registered = unsafe { register_vfs::<Calls, Calls>(NAME, (), false) };
            registered.expect("the name is free").into_raw();
        });
        let id = NEXT.fetch_add(1, Relaxed).to_string();
        let drive = Arc::new(Mutex::new(Drive { files, ..Drive::default() }));
        DRIVES.lock().insert(id.clone(), drive.clone());
        Self { id, drive }
    }

    /// Where a store can be on it.
    pub fn path(&self) -> PathBuf {
        format!("file:{}/chat.sqlite?vfs={NAME}", self.id).into()
    }

    /// The power fails in the middle of the thing after so many; none: it does not.
    pub fn cut_power_after(&self, things: Option<u64>) {
        self.drive.lock().power_for = things;
    }

    pub fn is_off(&self) -> bool {
        self.drive.lock().is_off
    }

    /// The read after so many fails; none: they work again.
    pub fn fail_reads_after(&self, reads: Option<u64>) {
        self.drive.lock().reads_for = reads;
    }

    /// Its files cannot grow by more than so many bytes; none: as they like.
    pub fn leave_room(&self, bytes: Option<usize>) {
        let mut drive = self.drive.lock();
        let taken: usize = drive.files.values().map(|content| content.now.len()).sum();
        drive.room_bytes = bytes.map(|bytes| taken + bytes);
    }

    /// The same disk in another machine, after the power has failed.
    pub fn after_power_cut(self, random: &mut fastrand::Rng) -> Self {
        self.go_on(|content| content.after_power_cut(random))
    }

    /// The same disk for another process, after the one before was killed.
    pub fn after_kill(self) -> Self {
        self.go_on(|content| content.now.clone())
    }

    fn go_on(self, mut left: impl FnMut(&Content) -> Vec<u8>) -> Self {
        let mut drive = self.drive.lock();
        drive.is_off = true;
        let files = drive.files.iter();
        Self::with(files.map(|(name, content)| (name.clone(), left(content).into())).collect())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::safely(bytes)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        DRIVES.lock().remove(&self.id);
    }
}

/// A file that SQLite has open.
struct Open {
    drive: Arc<Mutex<Drive>>,
    name: String,
}

/// The disk and the file that SQLite means by a path.
fn find(path: &str) -> VfsResult<Open> {
    let found = path.split_once('/').and_then(|(id, name)| {
        let drive = DRIVES.lock().get(id)?.clone();
        Some(Open { drive, name: name.to_owned() })
    });
    found.ok_or_else(|| error(VfsErrorCode::CantOpen))
}

impl VfsFile for Open {
    /// As Linux' file systems are known to SQLite.
    fn device_characteristics(&self) -> DeviceCharacteristics {
        DeviceCharacteristics::POWERSAFE_OVERWRITE
    }

    fn read(&mut self, buf: &mut [u8], offset: u64) -> VfsResult<usize> {
        let mut drive = self.drive.lock();
        let is_bad = drive.reads_for == Some(0);
        if let Some(left) = &mut drive.reads_for {
            *left = left.saturating_sub(1);
        }
        if drive.is_off || is_bad {
            return Err(error(VfsErrorCode::IoRead));
        }
        let now = &drive.file(&self.name).now;
        let from = (offset as usize).min(now.len());
        let len = buf.len().min(now.len() - from);
        buf[..len].copy_from_slice(&now[from..from + len]);
        Ok(len)
    }

    fn write(&mut self, buf: &[u8], offset: u64) -> VfsResult<()> {
        let mut drive = self.drive.lock();
        let (at, end) = (offset as usize, offset as usize + buf.len());
        let grows_by = end.saturating_sub(drive.file(&self.name).now.len());
        let taken: usize = drive.files.values().map(|content| content.now.len()).sum();
        if grows_by > 0 && drive.room_bytes.is_some_and(|room| taken + grows_by > room) {
            return Err(error(VfsErrorCode::Full));
        }
        let written = Done::Written { at, bytes: buf.to_vec() };
        drive.change(&self.name, written, VfsErrorCode::IoWrite)
    }

    fn truncate(&mut self, size: u64) -> VfsResult<()> {
        let resized = Done::Resized { to: size as usize };
        self.drive.lock().change(&self.name, resized, VfsErrorCode::IoTruncate)
    }

    fn sync(&mut self, _: SyncOptions) -> VfsResult<()> {
        let mut drive = self.drive.lock();
        if !drive.has_power() {
            return Err(error(VfsErrorCode::IoSync));
        }
        let Content { safe, since, .. } = drive.file(&self.name);
        since.drain(..).for_each(|done| done.apply(safe));
        Ok(())
    }

    fn size(&self) -> VfsResult<u64> {
        Ok(self.drive.lock().file(&self.name).now.len() as u64)
    }

    // A test has one process for each disk.
    fn lock(&mut self, _: LockLevel) -> VfsResult<()> {
        Ok(())
    }

    fn unlock(&mut self, _: LockLevel) -> VfsResult<()> {
        Ok(())
    }

    fn check_reserved_lock(&self) -> VfsResult<bool> {
        Ok(false)
    }
}

/// What SQLite calls.
struct Calls;

impl VfsStore for Calls {
    type File = Open;
    type AppData = ();

    fn open_file((): &(), request: OpenRequest<'_>) -> VfsResult<OpenedFile<Open>> {
        let open = match request.filename {
            Some(name) => find(name.path())?,
            // Something for the moment, on no disk.
            None => Open { drive: Arc::default(), name: String::new() },
        };
        let mut drive = open.drive.lock();
        if drive.is_off || !request.options.create() && !drive.files.contains_key(&open.name) {
            return Err(error(VfsErrorCode::CantOpen));
        }
        drive.file(&open.name);
        drop(drive);
        Ok(OpenedFile { file: open, access: OpenAccess::ReadWrite })
    }

    fn close_file((): &(), _: Option<&str>, _: Open, _: OpenOptions) -> VfsResult<()> {
        Ok(())
    }

    fn access((): &(), name: &str, _: AccessMode) -> VfsResult<bool> {
        let Open { drive, name } = find(name)?;
        Ok(drive.lock().files.contains_key(&name))
    }

    fn full_pathname((): &(), name: &str) -> VfsResult<String> {
        Ok(name.to_owned())
    }

    fn delete_file((): &(), name: &str, _: bool) -> VfsResult<()> {
        let Open { drive, name } = find(name)?;
        let mut drive = drive.lock();
        if !drive.has_power() {
            return Err(error(VfsErrorCode::IoDelete));
        }
        drive.files.remove(&name);
        Ok(())
    }
}

impl SQLiteIoMethods for Calls {
    type Store = Self;
}

impl SQLiteVfs<Self> for Calls {
    type Os = Self;

    fn os((): &()) -> &Self {
        &Self
    }
}

impl OsCallback for Calls {
    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn random(&self, buf: &mut [u8]) -> usize {
        fastrand::fill(buf);
        buf.len()
    }

    /// Nothing here asks for the time.
    fn epoch_timestamp_in_ms(&self) -> VfsResult<i64> {
        Err(error(VfsErrorCode::Error))
    }
}
