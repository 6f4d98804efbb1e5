//! What is looked at while a run goes on.

use super::Setup;
use crate::{
    args::Scenario,
    process::now_ns,
    report::{Load, Moment, Report, Share},
};
use anyhow::{Context, Result};
use std::{ops::Range, time::Duration};

/// How long one app has its turn where two are compared: others who use the
/// machine come and go more slowly.
const TURN: Duration = Duration::from_millis(100);

impl Setup<'_> {
    /// Warms up, measures, and waits for what is on its way.
    pub fn measure(mut self, scenario: &'static str, rate: Option<u32>) -> Result<Report> {
        match rate {
            Some(rate) => self.engine.set_pace(rate),
            None if self.waiting > 0 => {}
            None => self.engine.allow(0..self.engine.lanes(), u64::MAX)?,
        }
        self.run_for(self.args.warmup)?;
        self.engine.clear();
        let start = Moment::now(self.tree)?;
        self.run_for(self.args.seconds)?;
        let end = Moment::now(self.tree)?;
        let (seconds, server, own) = end.since(&start);
        let counted = &self.engine.counted;
        let (deliveries, events) = (counted.deliveries, counted.published * u64::from(self.batch));
        let each = |cpu: f64| cpu * 1e6 / deliveries.max(1) as f64;
        let load = Load {
            seconds,
            events,
            server_cpu_us_per_event: server.map(|cpu| cpu * 1e6 / events.max(1) as f64),
            server_written_per_event: end
                .written_since(&start)
                .map(|bytes| bytes as f64 / events.max(1) as f64),
            deliveries,
            deliveries_per_second: deliveries as f64 / seconds,
            server_cpu_us_per_delivery: server.map(each),
            server_cpu_share: server.map(|cpu| cpu / seconds),
            generator_cpu_us_per_delivery: each(own),
            generator_cpu_share: own / seconds,
            latency_us: counted.latency.percentiles(),
            answer_us: counted.answers.percentiles(),
            lateness_us: rate.map(|_| counted.lateness.percentiles()),
        };
        self.engine.drain()?;
        Ok(self.report(scenario, Some(load)))
    }

    fn run_for(&mut self, seconds: u32) -> Result<()> {
        let time = Duration::from_secs(seconds.into());
        if self.waiting == 0 {
            return self.engine.run_for(time);
        }
        let end = now_ns() + time.as_nanos() as u64;
        while now_ns() < end && self.engine.round(self.waiting)? {}
        Ok(())
    }

    pub fn report(&self, scenario: &'static str, load: Option<Load>) -> Report {
        let faults = self.engine.faults();
        let idle = load.as_ref().is_some_and(|load| match self.args.scenario {
            Scenario::Events { .. } | Scenario::Publish { .. } => load.events == 0,
            _ => load.deliveries == 0,
        });
        Report {
            scenario,
            dialect: self.args.dialect,
            clients: self.engine.readers(),
            payload_bytes: self.args.payload,
            load,
            memory: None,
            share: None,
            faults,
            first_error: self.engine.first_error.clone(),
            ok: faults.none() && !idle,
        }
    }

    /// Two apps by turns, each over its own lanes; what an event costs more in
    /// the first one.
    pub fn compare(mut self, scenario: &'static str, sides: [Range<usize>; 2]) -> Result<Report> {
        self.turns(&sides, self.args.warmup)?;
        self.engine.clear();
        let turns = self.turns(&sides, self.args.seconds)?;
        let median_of = |figure: fn(&[f64; 2]) -> f64| median(turns.iter().map(figure).collect());
        let share = Share {
            event_us: median_of(|[first, _]| *first),
            against_us: median_of(|[_, second]| *second),
            share_us: median_of(|[first, second]| first - second),
        };
        Ok(Report { share: Some(share), ..self.report(scenario, None) })
    }

    /// Microseconds of the server's CPU per event, a pair for each two turns.
    fn turns(&mut self, sides: &[Range<usize>; 2], seconds: u32) -> Result<Vec<[f64; 2]>> {
        let end = now_ns() + Duration::from_secs(seconds.into()).as_nanos() as u64;
        let mut found = Vec::new();
        while now_ns() < end {
            let mut pair = [0.0; 2];
            for (side, cost) in sides.iter().zip(&mut pair) {
                let (start, before) = (Moment::now(self.tree)?, self.engine.counted.published);
                self.engine.allow(side.clone(), u64::MAX)?;
                self.engine.run_for(TURN)?;
                self.engine.drain()?;
                let (_, server, _) = Moment::now(self.tree)?.since(&start);
                let events = (self.engine.counted.published - before) * u64::from(self.batch);
                let server = server.context("no --server-pid")?;
                *cost = server * 1e6 / events.max(1) as f64;
            }
            found.push(pair);
        }
        Ok(found)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        for (values, expected) in
            [(&[][..], 0.0), (&[1.0], 1.0), (&[9.0, -1.0, 2.0], 2.0), (&[4.0, 1.0, 3.0, 2.0], 3.0)]
        {
            assert_eq!(median(values.to_vec()), expected);
        }
    }
}
