//! What a run found, for machines and for people.

use crate::{
    check::Faults,
    dialect::Dialect,
    histogram::Percentiles,
    process::{Cpu, Tree, now_ns, own_cpu_seconds},
};
use anyhow::Result;
use serde::Serialize;
use std::fmt::{self, Display};

/// Above this share of a core the generator is the limit.
const BUSY: f64 = 0.9;

#[derive(Serialize)]
pub struct Report {
    pub scenario: &'static str,
    pub dialect: Dialect,
    /// Readers.
    pub clients: usize,
    pub payload_bytes: u32,
    pub load: Option<Load>,
    pub memory: Option<Memory>,
    pub share: Option<Share>,
    pub faults: Faults,
    pub first_error: Option<String>,
    pub ok: bool,
}

/// Of the measured time.
#[derive(Serialize)]
pub struct Load {
    pub seconds: f64,
    /// What backends published and clients sent.
    pub events: u64,
    pub server_cpu_us_per_event: Option<f64>,
    /// To disk, in bytes.
    pub server_written_per_event: Option<f64>,
    pub deliveries: u64,
    pub deliveries_per_second: f64,
    pub server_cpu_us_per_delivery: Option<f64>,
    /// Of one core.
    pub server_cpu_share: Option<f64>,
    pub generator_cpu_us_per_delivery: f64,
    pub generator_cpu_share: f64,
    pub latency_us: Percentiles,
    /// From a publish to its answer.
    pub answer_us: Percentiles,
    /// With a rate: how late the generator itself was.
    pub lateness_us: Option<Percentiles>,
}

/// Bytes of the server's memory (PSS) for each client.
#[derive(Serialize)]
pub struct Memory {
    /// Of the second half of the clients.
    pub parked: f64,
    /// The same when each has had a message and polled again.
    pub after_a_message: f64,
    /// When all are gone, over what it took before the first one.
    pub after_leaving: f64,
    /// Altogether, before the first one.
    pub server_before: u64,
}

/// What an event costs the server in one app and in another, in microseconds of
/// CPU; medians over turns, and of the difference between neighbouring turns.
#[derive(Serialize)]
pub struct Share {
    pub event_us: f64,
    pub against_us: f64,
    pub share_us: f64,
}

/// Clocks at one moment.
pub struct Moment {
    ns: u64,
    server: Option<Cpu>,
    own: f64,
    written: Option<u64>,
}

impl Moment {
    pub fn now(server: Option<Tree>) -> Result<Self> {
        let written = server.and_then(|tree| tree.written_bytes());
        let server = server.map(|tree| tree.cpu()).transpose()?;
        Ok(Self { ns: now_ns(), server, own: own_cpu_seconds(), written })
    }

    /// What passed since: seconds, the server's CPU seconds and our own.
    pub fn since(&self, earlier: &Self) -> (f64, Option<f64>, f64) {
        let server = self.server.zip(earlier.server).map(|(now, then)| now.since(&then));
        ((self.ns - earlier.ns) as f64 / 1e9, server, self.own - earlier.own)
    }

    /// Bytes that the server caused to be written to disk since.
    pub fn written_since(&self, earlier: &Self) -> Option<u64> {
        self.written.zip(earlier.written).map(|(now, then)| now.saturating_sub(then))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} ({} clients):", self.scenario, self.dialect, self.clients)?;
        match &self.load {
            // Nothing but events.
            Some(Load { deliveries: 0, server_cpu_us_per_event: Some(cpu), events, .. }) => {
                write!(f, " {cpu:.2} µs of the server's CPU per event, {events} events")?;
            }
            Some(load) if self.scenario == "publish" => load.publishes(f)?,
            Some(load) => load.fmt(f)?,
            None => {}
        }
        if let Some(memory) = &self.memory {
            write!(
                f,
                " {:.0} bytes parked, {:.0} after a message, {:.0} after leaving",
                memory.parked, memory.after_a_message, memory.after_leaving,
            )?;
        }
        if let Some(Share { event_us, against_us, share_us }) = &self.share {
            write!(
                f,
                " {event_us:.2} µs of the server's CPU per event, {against_us:.2} in the other app, \
                 {share_us:.2} more"
            )?;
        }
        if !self.ok {
            let Faults { lost, doubled, reordered, stray, errors, reconnects } = self.faults;
            write!(
                f,
                "\nFAILED: {lost} lost, {doubled} doubled, {reordered} reordered, {stray} stray, \
                 {errors} errors, {reconnects} reconnects"
            )?;
        }
        if let Some(error) = &self.first_error {
            write!(f, "\nthe first wrong answer: {error}")?;
        }
        Ok(())
    }
}

impl Load {
    fn publishes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cpu) = self.server_cpu_us_per_event {
            write!(f, " {cpu:.2} µs of the server's CPU per publish,")?;
        }
        if let Some(bytes) = self.server_written_per_event {
            write!(f, " {bytes:.0} bytes written,")?;
        }
        let (rate, answer) = (self.events as f64 / self.seconds, &self.answer_us);
        write!(
            f,
            " {rate:.0} publishes/s, answered in p50 {:.0} p99 {:.0} max {:.0} µs",
            answer.p50, answer.p99, answer.max,
        )?;
        self.warn(f)
    }

    fn warn(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.generator_cpu_share > BUSY {
            write!(f, "\nwarning: the generator was the limit: the rate says nothing")?;
        }
        Ok(())
    }
}

impl Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.latency_us;
        match self.server_cpu_us_per_delivery {
            Some(cpu) => write!(f, " {cpu:.2} µs of the server's CPU per delivery,")?,
            None => write!(f, " (no --server-pid)")?,
        }
        write!(
            f,
            " {:.0} deliveries/s, latency p50 {:.0} p99 {:.0} max {:.0} µs; generator {:.2} µs, {:.2} of a core",
            self.deliveries_per_second,
            latency.p50,
            latency.p99,
            latency.max,
            self.generator_cpu_us_per_delivery,
            self.generator_cpu_share,
        )?;
        self.warn(f)
    }
}
