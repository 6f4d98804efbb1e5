//! Publishers, readers and clients that come and go, while gateways do.

use super::{line::Line, link::Link};
use crate::support::PATIENCE;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

/// Mailboxes that stay, all in the group `all`.
pub const MAILBOXES: usize = 4;

/// Of what a publisher says, one in so many goes to the group, and one to where
/// only the last counts.
const RARELY: u64 = 8;

/// A reader confirms by itself after so many reads; else the next one does.
const READS_PER_CONFIRM: u64 = 16;

/// Most mailboxes that are opened while one gateway lives.
const MAX_OPENED: u64 = 6;

/// Most mailboxes beside those that stay.
const MAX_COMERS: usize = 12;

type Shared = Arc<Mutex<Line>>;

/// What publishers and readers remember while gateways come and go.
#[derive(Default)]
pub struct World {
    /// Those that stay, then those that come and go.
    lines: Mutex<Vec<Shared>>,
    /// The mailbox in which only the last message counts.
    latest: Shared,
    /// What was closed, or may have been.
    gone: Mutex<Vec<Shared>>,
    next: AtomicU64,
    /// Publishes that were acknowledged.
    acknowledged: Mutex<u64>,
    /// There is one more.
    one_more: Condvar,
}

pub fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().expect("nobody panics with it")
}

impl World {
    pub fn open_all(&self, addr: SocketAddr) {
        let mut link = Link::open(addr).expect("it listens");
        for at in 0..MAILBOXES {
            let line = open(&mut link, &format!("m{at}"), &["all"]).expect("it opens");
            lock(&self.lines).push(Arc::new(Mutex::new(line)));
        }
        let mut latest = open(&mut link, "latest", &[]).expect("it opens");
        latest.collapses = true;
        *lock(&self.latest) = latest;
    }

    /// The mailboxes that are known to be there.
    pub fn there(&self) -> Vec<Shared> {
        lock(&self.lines).iter().chain([&self.latest]).cloned().collect()
    }

    /// All that are known to have been there.
    pub fn all(&self) -> Vec<Shared> {
        let mut all = self.there();
        all.extend(lock(&self.gone).iter().cloned());
        all
    }

    /// Publishes one after the other until the gateway is gone. What was not
    /// acknowledged may or may not be there, and is not said again.
    pub fn publish(&self, addr: SocketAddr, publisher: u64) {
        let Some(mut link) = Link::open(addr) else { return };
        loop {
            let n = self.next.fetch_add(1, SeqCst);
            let (to, lines) = self.receivers(publisher, n);
            let mut body = json!({ "to": to, "data": { "p": publisher, "n": n } });
            if lock(&lines[0]).collapses {
                body["collapse"] = "last".into();
            }
            let asked = link.ask("POST", "/lab/publish", "secret", &body.to_string());
            let Some((status, answer)) = asked else { return };
            if status == 200 && answer["results"][0]["queued"] == lines.len() {
                for line in &lines {
                    lock(line).acked.insert((publisher, n));
                }
                *lock(&self.acknowledged) += 1;
                self.one_more.notify_all();
            }
        }
    }

    /// Publishes that were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        *lock(&self.acknowledged)
    }

    /// Waits until so many were.
    pub fn wait_for(&self, count: u64) {
        let acknowledged = lock(&self.acknowledged);
        let waited = self.one_more.wait_timeout_while(acknowledged, PATIENCE, |it| *it < count);
        let (acknowledged, _) = waited.expect("nobody panics with it");
        assert!(*acknowledged >= count, "{acknowledged} of {count} were acknowledged");
    }

    fn receivers(&self, publisher: u64, n: u64) -> (Value, Vec<Shared>) {
        let lines = lock(&self.lines);
        if n.is_multiple_of(RARELY) {
            return (json!({ "groups": ["all"] }), lines[..MAILBOXES].to_vec());
        }
        // Of one publisher only: who of two was the last, nobody knows.
        if n % RARELY == 1 && publisher == 0 {
            return (json!({ "mailboxes": ["latest"] }), vec![self.latest.clone()]);
        }
        let line = &lines[n as usize % lines.len()];
        (json!({ "mailboxes": [lock(line).name] }), vec![line.clone()])
    }

    /// Reads until the gateway is gone, another reader comes, or (with `wait` 0)
    /// nothing waits.
    pub fn read(&self, addr: SocketAddr, line: &Mutex<Line>, wait: u64) {
        let Some(mut link) = Link::open(addr) else { return };
        let (name, key) = {
            let line = lock(line);
            (line.name.clone(), line.key.clone())
        };
        for read in 1.. {
            let cursor = lock(line).cursor;
            let path = format!("/lab/mailboxes/{name}?cursor={cursor}&wait={wait}");
            let asked = link.ask("GET", &path, &key, "");
            let mut line = lock(line);
            match asked {
                None | Some((409, _)) => return,
                Some((200, batch)) => line.take(cursor, &batch),
                Some((204, _)) if wait == 0 => return,
                Some((204 | 503, _)) => {}
                Some((404 | 410, _)) if line.is_closing => return,
                Some(other) => return line.wrong.push(format!("{other:?}")),
            }
            if read % READS_PER_CONFIRM == 0 {
                let path = format!("/lab/mailboxes/{name}/confirm?cursor={}", line.cursor);
                drop(line);
                if link.ask("POST", &path, &key, "").is_none() {
                    return;
                }
            }
        }
    }

    /// Opens some mailboxes, and closes some that were opened before.
    pub fn come_and_go(&self, addr: SocketAddr, random: &mut fastrand::Rng) {
        let Some(mut link) = Link::open(addr) else { return };
        for _ in 0..random.u64(0..=MAX_OPENED) {
            let name = format!("t{}", self.next.fetch_add(1, SeqCst));
            let Some(line) = open(&mut link, &name, &[]) else { return };
            let leaver = {
                let mut lines = lock(&self.lines);
                lines.push(Arc::new(Mutex::new(line)));
                let is_crowded = lines.len() > MAILBOXES + MAX_COMERS;
                let at = random.usize(MAILBOXES..lines.len());
                (is_crowded || random.bool()).then(|| lines.remove(at))
            };
            if let Some(line) = leaver
                && self.close(&mut link, line).is_none()
            {
                return;
            }
        }
    }

    /// None: the gateway is gone.
    fn close(&self, link: &mut Link, line: Shared) -> Option<()> {
        let (path, key) = {
            let mut line = lock(&line);
            line.is_closing = true;
            (format!("/lab/mailboxes/{}", line.name), line.key.clone())
        };
        lock(&self.gone).push(line);
        link.ask("DELETE", &path, &key, "").map(drop)
    }

    /// What is wrong, by what was acknowledged and what came.
    pub fn verdict(&self) -> Vec<String> {
        self.all().iter().flat_map(|line| lock(line).verdict()).collect()
    }

    /// How many were acknowledged, and how many came.
    pub fn counts(&self) -> (usize, usize) {
        let count = |line: &Shared| {
            let line = lock(line);
            (line.acked.len(), line.got())
        };
        let counts = self.all().iter().map(count).collect::<Vec<_>>();
        counts.iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

/// None: the gateway is gone. Whether the mailbox is there, nobody knows.
fn open(link: &mut Link, name: &str, groups: &[&str]) -> Option<Line> {
    let body = json!({ "name": name, "groups": groups }).to_string();
    let (status, opened) = link.ask("POST", "/lab/mailboxes", "", &body)?;
    assert_eq!(status, 201, "{opened}");
    let key = opened["key"].as_str().expect("a key").to_owned();
    Some(Line::new(name, key))
}
