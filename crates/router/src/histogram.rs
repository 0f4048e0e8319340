//! A histogram of durations: log-linear buckets, fixed memory, exact counts, quantiles within 1.6 %.
//!
//! Buckets are counted in microseconds. The first [`LINEAR`] hold one value each; from there on every octave (from a
//! power of two to the next) has [`PER_OCTAVE`] buckets of equal width. It is no measuring device for anything below a
//! microsecond, and it forgets the order of what it saw.

use std::time::Duration;

/// Buckets of an octave. The middle of a bucket is at most half its width away from any value in it: 1/64 of the value.
const PER_OCTAVE: usize = 1 << BITS;
const BITS: u32 = 5;

/// Values below this have a bucket of their own: the first octave whose buckets are one microsecond wide ends here.
const LINEAR: u64 = 2 * PER_OCTAVE as u64;

/// Longest duration told from longer ones, in microseconds: just above an hour, the end of its octave.
const LONGEST: u64 = (1 << 32) - 1;

const BUCKETS: usize = index(LONGEST) + 1;

/// Durations from a microsecond (shorter ones count as that) to 71 minutes (so do longer ones). Costs 16 bytes until the
/// first is recorded, then 7 KiB.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    counts: Option<Box<[u64; BUCKETS]>>,
    micros: u64,
}

const fn index(micros: u64) -> usize {
    if micros < LINEAR {
        return micros as usize;
    }
    let shift = 63 - micros.leading_zeros() - BITS;
    (shift as usize + 1) * PER_OCTAVE + ((micros >> shift) as usize - PER_OCTAVE)
}

/// First value of a bucket.
const fn lowest(index: usize) -> u64 {
    if (index as u64) < LINEAR {
        return index as u64;
    }
    let shift = index / PER_OCTAVE - 1;
    ((PER_OCTAVE + index % PER_OCTAVE) as u64) << shift
}

impl Histogram {
    pub fn record(&mut self, duration: Duration) {
        // Called several times per request: `as_micros` would divide 128 bits.
        let micros =
            duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros().into());
        let micros = micros.clamp(1, LONGEST);
        self.micros += micros;
        self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]))[index(micros)] += 1;
    }

    /// Add what `other` has seen.
    pub fn merge(&mut self, other: &Histogram) {
        let Some(theirs) = &other.counts else { return };
        self.micros += other.micros;
        let ours = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
        for (ours, theirs) in ours.iter_mut().zip(theirs.iter()) {
            *ours += theirs;
        }
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.as_ref().map_or(0, |counts| counts.iter().sum())
    }

    /// Sum of all durations, each in whole microseconds.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// How many were shorter than `bound`, to the precision of a bucket: a bucket counts when its middle does.
    #[must_use]
    pub fn below(&self, bound: Duration) -> u64 {
        self.buckets().take_while(|(middle, _)| *middle < bound).map(|(_, count)| count).sum()
    }

    /// The duration that the share `quantile` (0 to 1) of all does not exceed; `None` when nothing was recorded.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = (quantile.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets().find_map(|(middle, count)| {
            seen += count;
            (seen >= rank).then_some(middle)
        })
    }

    /// Buckets that are not empty, in ascending order: middle and count.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counts = self.counts.iter().flat_map(|counts| counts.iter());
        counts.enumerate().filter(|(_, count)| **count > 0).map(|(index, count)| {
            // The last value of the bucket, so that buckets of one value are exact.
            let (low, high) = (lowest(index), lowest(index + 1) - 1);
            (Duration::from_nanos((low + high) * 500), *count)
        })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn of(micros: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for micros in micros {
            histogram.record(Duration::from_micros(*micros));
        }
        histogram
    }

    /// The values of 1 us to 1 h, each magnitude as likely as another.
    fn durations() -> impl Strategy<Value = u64> {
        (0_u32..32)
            .prop_flat_map(|octave| (1_u64 << octave)..(2_u64 << octave))
            .prop_map(|us| us.min(3_600_000_000))
    }

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for bucket in 0..BUCKETS {
            assert_eq!(index(lowest(bucket)), bucket);
            assert_eq!(index(lowest(bucket + 1) - 1), bucket, "the last value of bucket {bucket}");
        }
        assert_eq!(lowest(BUCKETS), LONGEST + 1);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_three_percent(mut micros in vec(durations(), 1..200), quantile in 0.0..1.0_f64) {
            let histogram = of(&micros);
            micros.sort_unstable();
            let rank = ((quantile * micros.len() as f64).ceil() as usize).max(1);
            let exact = micros[rank - 1] as f64;
            let found = histogram.quantile(quantile).unwrap().as_secs_f64() * 1e6;
            prop_assert!((found - exact).abs() <= 0.03 * exact, "{found} instead of {exact}");
        }

        #[test]
        fn merging_is_recording_both(left in vec(durations(), 0..50), right in vec(durations(), 0..50)) {
            let mut merged = of(&left);
            merged.merge(&of(&right));
            let both = of(&[&left[..], &right].concat());
            prop_assert_eq!(merged.buckets().collect::<Vec<_>>(), both.buckets().collect::<Vec<_>>());
            prop_assert_eq!((merged.count(), merged.sum()), (both.count(), both.sum()));
            prop_assert_eq!(merged.count(), (left.len() + right.len()) as u64);
        }

        #[test]
        fn counts_what_is_shorter(micros in vec(durations(), 0..100), bound in durations()) {
            let below = of(&micros).below(Duration::from_micros(bound));
            let surely = micros.iter().filter(|us| **us as f64 <= bound as f64 * 0.96).count() as u64;
            let perhaps = micros.iter().filter(|us| **us as f64 <= bound as f64 * 1.04).count() as u64;
            prop_assert!((surely..=perhaps).contains(&below), "{below} of {surely} to {perhaps}");
        }
    }

    #[test]
    fn keeps_what_is_out_of_range_at_its_ends() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.count(), histogram.is_empty()), (None, 0, true));
        histogram.record(Duration::ZERO);
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(1)));
        histogram.record(Duration::MAX);
        assert!(histogram.quantile(1.0).unwrap() > Duration::from_secs(3600));
        assert_eq!(histogram.count(), 2);
    }

    #[test]
    fn costs_little_memory() {
        assert!(size_of::<Histogram>() <= 16);
        assert!(BUCKETS * size_of::<u64>() <= 8 * 1024, "{BUCKETS} buckets");
    }
}
