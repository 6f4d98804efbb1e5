//! How the write-ahead log of a process that did not end in order ends.
//!
//! SQLite takes from it what lies before the first frame that is not whole, up
//! to the end of the last transaction; what lies behind is cut off without a
//! word. Here is the word. The form of a log is that of
//! <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::Path,
};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// What of a frame's header says to which life of the log it belongs: its page,
/// a size, and the salts.
const SALTED_BYTES: usize = 16;

/// Its lowest bit says which way round the checksums read their words.
const MAGIC: u32 = 0x377f_0682;

/// Written again at a time, in bytes.
const AGAIN_BYTES: usize = 1 << 16;

/// Sizes that a page can have, in bytes.
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65536;

/// What is in a log, and what of it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogEnd {
    /// Whole ones, which are taken.
    pub transactions: u64,
    /// Behind the last of them. Frames of an earlier life, which the log is
    /// being written over, do not count.
    pub cut_off_bytes: u64,
    /// Transactions that end in what is cut off, as far as can be seen: of
    /// writes that never reached the disk as a whole, or of damage. None: what
    /// is cut off was still being written, and nobody was told that it is kept.
    pub cut_off_transactions: u64,
    /// The log's own header cannot be read, and so nothing of it.
    pub is_headless: bool,
}

impl LogEnd {
    /// Nothing is cut off.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.cut_off_bytes == 0
    }
}

impl fmt::Display for LogEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transactions, cut_off_bytes, cut_off_transactions, is_headless } = self;
        if *is_headless {
            return write!(
                f,
                "the header of the log is damaged: nothing of its {cut_off_bytes} bytes is taken, \
                 and what was written last is lost"
            );
        }
        write!(f, "the log has {transactions} whole transactions")?;
        match (cut_off_bytes, cut_off_transactions) {
            (0, _) => Ok(()),
            (bytes, 0) => {
                write!(f, "; {bytes} bytes of one that was being written are cut off")
            }
            (bytes, lost) => write!(
                f,
                ", then a torn or damaged place: {bytes} bytes are cut off, and with them {lost} \
                 transactions at least that had been written"
            ),
        }
    }
}

/// Looks through a log. None: there is none, or nothing was written to it yet.
///
/// # Errors
/// If it cannot be read.
pub(super) fn examine(path: &Path) -> io::Result<Option<LogEnd>> {
    match File::open(path) {
        Ok(file) => examine_bytes(BufReader::with_capacity(1 << 16, file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes what is in a log once more, as it is. After a sync has failed, the
/// system counts as written what may not be on disk, and no later sync would
/// bring it there. Call it while nobody else writes.
///
/// # Errors
/// If it cannot be read or written.
pub(super) fn write_again(path: &Path) -> io::Result<()> {
    let log = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let (mut at, mut bytes) = (0, vec![0; AGAIN_BYTES]);
    loop {
        let read = match log.read_at(&mut bytes, at) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        log.write_all_at(&bytes[..read], at)?;
        at += read as u64;
    }
}

pub(super) fn examine_bytes(mut log: impl Read) -> io::Result<Option<LogEnd>> {
    let mut header = [0; HEADER_BYTES];
    let read = fill(&mut log, &mut header)?;
    if read < HEADER_BYTES {
        return Ok(None);
    }
    let page_bytes = word(&header, 8);
    let mut sum = Sum { big_endian: word(&header, 0) & 1 == 1, state: (0, 0) };
    sum.add(&header[..24]);
    let is_log = word(&header, 0) & !1 == MAGIC && PAGE_BYTES.contains(&page_bytes);
    if !is_log || !sum.is(&header[24..]) {
        let behind = io::copy(&mut log, &mut io::sink())?;
        // A header alone had nothing to lose.
        let headless = LogEnd { cut_off_bytes: behind, is_headless: true, ..LogEnd::default() };
        return Ok((behind > 0).then_some(headless));
    }
    let mut end = LogEnd::default();
    let mut is_broken = false;
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes as usize];
    loop {
        let read = fill(&mut log, &mut frame)?;
        if read < SALTED_BYTES {
            return Ok(Some(end));
        }
        let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
        if head[8..SALTED_BYTES] != header[16..24] {
            // Of an earlier life. But if this is a write that did not reach the
            // disk, those behind it may have.
            is_broken = true;
            continue;
        }
        is_broken |= read < frame.len();
        if !is_broken {
            sum.add(&head[..8]);
            sum.add(page);
            is_broken = !sum.is(&head[SALTED_BYTES..]);
        }
        let ends_one = read == frame.len() && word(head, 4) > 0;
        if ends_one && !is_broken {
            end.transactions += 1;
            end.cut_off_bytes = 0;
        } else {
            end.cut_off_bytes += read as u64;
            end.cut_off_transactions += u64::from(ends_one);
        }
    }
}

/// As much as there is; returns how much that was.
fn fill(log: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match log.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The log's running checksum.
struct Sum {
    big_endian: bool,
    state: (u32, u32),
}

impl Sum {
    /// `bytes` are a multiple of eight.
    fn add(&mut self, bytes: &[u8]) {
        let (mut first, mut second) = self.state;
        for pair in bytes.chunks_exact(8) {
            let (a, b) = (word(pair, 0), word(pair, 4));
            let (a, b) = if self.big_endian { (a, b) } else { (a.swap_bytes(), b.swap_bytes()) };
            first = first.wrapping_add(a).wrapping_add(second);
            second = second.wrapping_add(b).wrapping_add(first);
        }
        self.state = (first, second);
    }

    fn is(&self, written: &[u8]) -> bool {
        (word(written, 0), word(written, 4)) == self.state
    }
}
