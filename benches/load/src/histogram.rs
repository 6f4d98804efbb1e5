//! Latencies in buckets of 3 % each: constant memory, no allocation.

use serde::Serialize;

/// Buckets of one power of two.
const SUB: usize = 32;
const SUB_BITS: u32 = SUB.trailing_zeros();

pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_ns: u64,
}

/// In microseconds.
#[derive(Debug, Default, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Histogram {
    pub fn new() -> Self {
        Self { buckets: vec![0; SUB * (65 - SUB_BITS as usize)], count: 0, max_ns: 0 }
    }

    pub fn add(&mut self, ns: u64) {
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// The upper end of the bucket in which the share lies.
    fn at(&self, share: f64) -> f64 {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut below = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank && below > 0 {
                return micros(upper(index).min(self.max_ns));
            }
        }
        0.0
    }

    pub fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.at(0.5),
            p90: self.at(0.9),
            p99: self.at(0.99),
            p999: self.at(0.999),
            max: micros(self.max_ns),
        }
    }
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

/// Values below `SUB` have a bucket each, above that each power of two has
/// `SUB` of equal width.
fn bucket(ns: u64) -> usize {
    if ns < SUB as u64 {
        return ns as usize;
    }
    let shift = 63 - ns.leading_zeros() - SUB_BITS;
    (shift as usize) * SUB + (ns >> shift) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 2 * SUB {
        return bucket as u64;
    }
    let shift = bucket / SUB - 1;
    let first = ((bucket % SUB + SUB) as u64) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_at_most_three_percent_below_its_bucket_s_end() {
        for ns in
            (0..2000).chain((11..63).flat_map(|bit| [(1 << bit) - 1, 1 << bit, 5 << (bit - 2)]))
        {
            let end = upper(bucket(ns));
            assert!(end >= ns && end - ns <= ns / 32, "{ns} in a bucket up to {end}");
        }
        assert!(bucket(u64::MAX) < Histogram::new().buckets.len());
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|ms| histogram.add(ms * 1_000_000));
        let found = histogram.percentiles();
        for (found, expected) in [(found.p50, 500e3), (found.p99, 990e3), (found.max, 1000e3)] {
            assert!((found / expected - 1.0).abs() < 0.04, "{found} is about {expected}");
        }
        assert_eq!(Histogram::new().percentiles().p99, 0.0);
    }
}
