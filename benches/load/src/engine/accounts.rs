//! The accounts: what came, held against what was sent.

use super::Engine;
use crate::{check::Faults, http::Answer, marker, process::now_ns};

impl Engine {
    /// Enters what never came into the accounts, and returns all of them.
    pub fn faults(&self) -> Faults {
        let mut faults = self.faults;
        for reader in &self.readers {
            let targets = &self.targets[reader.first_target..];
            for (index, (stream, target)) in reader.streams.iter().zip(targets).enumerate() {
                if reader.own != Some(index) {
                    faults.lost += stream.lost(target.sent);
                }
            }
        }
        faults
    }

    pub(super) fn has_all(&self, reader: usize) -> bool {
        let it = &self.readers[reader];
        let targets = &self.targets[it.first_target..];
        it.streams.iter().zip(targets).all(|(stream, target)| stream.has_all(target.sent))
    }

    /// Enters an answer's messages into the accounts; how many are deliveries.
    pub(super) fn account(&mut self, reader: usize, body: &[u8]) -> u64 {
        let now = now_ns();
        let it = &mut self.readers[reader];
        let mut arrived = 0;
        for marker in marker::all(body) {
            let mine = marker.filter(|marker| marker.run == self.run && marker.to == it.address);
            let stream = mine.map(|marker| (marker, usize::from(marker.stream)));
            let Some((marker, index)) =
                stream.filter(|(_, index)| *index < it.streams.len() && it.own != Some(*index))
            else {
                self.faults.stray += 1;
                continue;
            };
            let sent = self.targets[it.first_target + index].sent;
            if it.streams[index].arrived(marker.seq, sent, &mut self.faults) {
                arrived += 1;
                self.counted.latency.add(now.saturating_sub(marker.sent_ns));
            }
        }
        self.counted.deliveries += arrived;
        if arrived > 0 {
            self.progress_ns = now;
        }
        arrived
    }

    pub(super) fn error(&mut self, what: &str, answer: &Answer<'_>) {
        self.faults.errors += 1;
        self.note(what, answer);
    }

    /// Keeps the first answer that is worth showing.
    pub(super) fn note(&mut self, what: &str, answer: &Answer<'_>) {
        if self.first_error.is_none() {
            self.first_error = Some(format!("{what}: {}: {}", answer.status, answer.text()));
        }
    }
}
