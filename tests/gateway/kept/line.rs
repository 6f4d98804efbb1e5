//! What one mailbox must bring, said as plainly as possible. It knows nothing of
//! stores: only what publishers were answered and what readers got.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A message: its publisher, and the number that it has there.
pub type Said = (u64, u64);

/// The line of cursors of one mailbox. It goes on from gateway to gateway, and
/// from reader to reader.
#[derive(Default)]
pub struct Line {
    pub name: String,
    pub key: String,
    pub cursor: u64,
    /// A message takes the place of the one before, so only the last has to come.
    pub collapses: bool,
    /// Its client has asked to close it. Whether it is there is not known.
    pub is_closing: bool,
    /// What publishers were answered that it is there.
    pub acked: BTreeSet<Said>,
    got: BTreeSet<Said>,
    /// The last number of each publisher.
    last: BTreeMap<u64, u64>,
    pub wrong: Vec<String>,
}

impl Line {
    pub fn new(name: &str, key: String) -> Self {
        Self { name: name.to_owned(), key, ..Self::default() }
    }

    /// Takes the answer to a read from this cursor. If the line went on
    /// meanwhile, by another reader, whoever asked has been overtaken.
    pub fn take(&mut self, from: u64, batch: &Value) {
        if from != self.cursor {
            return;
        }
        if batch["lost"] != 0 {
            self.wrong.push(format!("told of a loss: {batch}"));
        }
        for message in batch["messages"].as_array().expect("messages") {
            let number = |value: &Value| value.as_u64().expect("a number");
            let seq = number(&message["seq"]);
            let (publisher, n) = (number(&message["data"]["p"]), number(&message["data"]["n"]));
            if seq <= self.cursor {
                self.wrong.push(format!("seq {seq} after cursor {}", self.cursor));
            }
            self.cursor = seq;
            if !self.got.insert((publisher, n)) {
                self.wrong.push(format!("{publisher}/{n} twice"));
            }
            if self.last.insert(publisher, n).is_some_and(|before| before >= n) {
                self.wrong.push(format!("{publisher}/{n} out of order"));
            }
        }
        self.cursor = batch["cursor"].as_u64().expect("a cursor");
    }

    pub fn got(&self) -> usize {
        self.got.len()
    }

    /// What is wrong once everything has been read.
    pub fn verdict(&self) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        let missing: Vec<&Said> = self.acked.difference(&self.got).collect();
        let is_over = |(publisher, n): &Said| self.last.get(publisher).is_some_and(|last| last > n);
        let is_fine = match self.collapses {
            true => missing.iter().all(|said| is_over(said)),
            false => missing.is_empty() || self.is_closing,
        };
        if !is_fine {
            wrong.push(format!("{} acknowledged never came: {missing:?}", missing.len()));
        }
        wrong.into_iter().map(|what| format!("{}: {what}", self.name)).collect()
    }
}
