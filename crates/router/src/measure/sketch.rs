//! A small histogram of durations: 1 KiB, quantiles within 6 %. There are many of them, two per route; what is precise is
//! [`crate::histogram`].

use std::time::Duration;

/// Buckets of an octave. The middle of a bucket is at most 1/16 of the value away from any value in it.
const PER_OCTAVE: u64 = 8;
const BITS: u32 = PER_OCTAVE.trailing_zeros();

/// Microseconds of 32 bits: 71 minutes. The first two octaves' worth of values have a bucket each.
const BUCKETS: usize = index(u32::MAX) + 1;

#[derive(Debug, Default)]
pub(crate) struct Sketch(Option<Box<[u32; BUCKETS]>>);

const fn index(micros: u32) -> usize {
    let micros = micros as u64;
    if micros < 2 * PER_OCTAVE {
        return micros as usize;
    }
    let shift = 63 - micros.leading_zeros() - BITS;
    (shift as u64 * PER_OCTAVE + (micros >> shift)) as usize
}

/// First value of a bucket, in microseconds.
fn lowest(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * PER_OCTAVE {
        return index;
    }
    (PER_OCTAVE + index % PER_OCTAVE) << (index / PER_OCTAVE - 1)
}

impl Sketch {
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        let counts = self.0.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let count = &mut counts[index(micros)];
        *count = count.saturating_add(1);
    }

    /// The duration that the share `quantile` (0 to 1) of all does not exceed.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<Duration> {
        let counts = self.0.as_ref()?;
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let rank = (quantile * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        let (low, high) = (lowest(bucket), lowest(bucket + 1) - 1);
        Some(Duration::from_nanos((low + high) * 500))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for bucket in 0..BUCKETS {
            assert_eq!(index(lowest(bucket) as u32), bucket);
            assert_eq!(index((lowest(bucket + 1) - 1) as u32), bucket, "the last value of bucket {bucket}");
        }
        assert_eq!(lowest(BUCKETS), 1 << 32);
        assert!(BUCKETS * size_of::<u32>() <= 1024, "{BUCKETS}");
    }

    #[test]
    fn quantiles_are_near() {
        let mut sketch = Sketch::default();
        assert_eq!(sketch.quantile(0.5), None);
        for micros in 1..=10_000 {
            sketch.record(Duration::from_micros(micros));
        }
        for quantile in [0.01, 0.5, 0.95, 1.0] {
            let found = sketch.quantile(quantile).unwrap().as_secs_f64() * 1e6;
            assert!((found / (quantile * 10_000.0) - 1.0).abs() < 0.07, "{quantile}: {found}");
        }
        sketch.record(Duration::MAX);
        assert!(sketch.quantile(1.0).unwrap() > Duration::from_secs(3600));
    }
}
