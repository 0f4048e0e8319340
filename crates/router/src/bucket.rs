//! A token bucket: how many bytes may pass now. Pure arithmetic on a time that the caller gives; who waits for the tokens
//! and in which order is in `bandwidth.rs`.
//!
//! Tokens are bytes. They come in at the rate, whole ones only, and the time that a fraction stands for is kept, so
//! nothing is lost or won by how often it is asked.

use std::time::{Duration, Instant};

const NANOS: u128 = 1_000_000_000;

/// What may pass at once after a pause, as time at the full rate. Together with the rate it bounds what passes in the
/// first second to 5 % above the limit, for limits from [`LEAST_BURST`] per `BURST` (320 KiB/s) on.
const BURST: Duration = Duration::from_millis(50);

/// And never less than one read or small page: below, every request would wait.
pub(crate) const LEAST_BURST: i64 = 16 * 1024;

/// While somebody waits for tokens, so many are kept for a thread that comes late, as time at the full rate: a busy
/// machine must not lower the limit.
const MADE_UP: Duration = Duration::from_millis(250);

#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// Bytes per second, at least 1.
    rate: u64,
    /// Bytes; below 0, it is owed so many.
    level: i64,
    /// Up to when tokens have come in.
    at: Instant,
}

impl Bucket {
    /// A full one. `rate`: bytes per second.
    pub(crate) fn new(rate: u64, now: Instant) -> Self {
        let rate = rate.max(1);
        Bucket { rate, level: burst(rate), at: now }
    }

    /// Another rate from now on. What has come in stays, as far as the new bucket holds it.
    pub(crate) fn set_rate(&mut self, rate: u64, now: Instant) {
        self.refill(now, false);
        self.rate = rate.max(1);
        self.level = self.level.min(burst(self.rate));
    }

    /// Let in what has come since the last time. `waited`: since then, somebody has been waiting all the time.
    pub(crate) fn refill(&mut self, now: Instant, waited: bool) {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        let tokens = elapsed * u128::from(self.rate) / NANOS;
        if tokens == 0 {
            return;
        }
        // Rounded up: never faster than the rate.
        let worth = (tokens * NANOS).div_ceil(u128::from(self.rate));
        self.at += Duration::from_nanos(u64::try_from(worth).unwrap_or(u64::MAX));
        let kept = if waited { worth_of(self.rate, MADE_UP) } else { 0 };
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(tokens).min(kept.max(burst(self.rate)));
        if elapsed > worth + NANOS {
            // Only after a clock that jumps.
            self.at = now;
        }
    }

    /// Bytes that may pass now; 0 or less: none.
    pub(crate) fn level(&self) -> i64 {
        self.level
    }

    /// What comes in during `time`.
    pub(crate) fn worth(&self, time: Duration) -> i64 {
        worth_of(self.rate, time)
    }

    /// So many bytes pass, whether there are tokens for them or not.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.level = self.level.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many of the tokens taken were not needed.
    pub(crate) fn put_back(&mut self, bytes: usize) {
        self.level = self.level.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

fn burst(rate: u64) -> i64 {
    worth_of(rate, BURST).max(LEAST_BURST)
}

fn worth_of(rate: u64, time: Duration) -> i64 {
    i64::try_from(u128::from(rate) * time.as_nanos() / NANOS).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pause_is_worth_a_bounded_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10_000_000, start);
        assert_eq!(bucket.level(), 500_000);
        bucket.take(500_000);
        bucket.refill(start + Duration::from_millis(10), false);
        assert_eq!(bucket.level(), 100_000);
        bucket.refill(start + Duration::from_secs(3600), false);
        assert_eq!(bucket.level(), 500_000);
        assert_eq!(Bucket::new(1, start).level(), LEAST_BURST, "one byte per second");
    }

    #[test]
    fn what_is_not_needed_is_there_for_the_next() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10_000_000, start);
        bucket.take(400_000);
        bucket.put_back(300_000);
        assert_eq!(bucket.level(), 400_000);
    }

    #[test]
    fn a_late_thread_makes_up_what_it_missed_while_somebody_waited() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1_000_000, start);
        bucket.take(50_000);
        bucket.refill(start + Duration::from_millis(200), true);
        assert_eq!(bucket.level(), 200_000);
        bucket.refill(start + Duration::from_secs(5), true);
        assert_eq!(bucket.level(), 250_000, "but no more than is reasonable");
    }

    #[test]
    fn a_change_of_the_rate_counts_from_then_on() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10_000_000, start);
        bucket.take(500_000 + 7_000);
        bucket.set_rate(1_000_000, start + Duration::from_millis(1));
        assert_eq!(bucket.level(), 3_000);
        bucket.refill(start + Duration::from_millis(2), true);
        assert_eq!(bucket.level(), 4_000);
    }

    proptest! {
        /// However it is asked: no more than the rate and the burst, and no less than the rate.
        #[test]
        fn keeps_the_rate(
            rate in 1_u64..20_000_000_000,
            steps in prop::collection::vec((0_u64..40_000_000, any::<bool>()), 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(rate, start);
            let first = bucket.level();
            let (mut now, mut passed) = (start, 0_i128);
            for (nanos, all) in steps {
                now += Duration::from_nanos(nanos);
                bucket.refill(now, true);
                let level = usize::try_from(bucket.level().max(0)).unwrap();
                let taken = if all { level } else { level / 2 };
                bucket.take(taken);
                passed += taken as i128;
                let come = i128::from(rate) * (now - start).as_nanos() as i128 / NANOS as i128;
                prop_assert!(passed <= i128::from(first) + come, "{passed} of {come}");
                // What is there and what has passed is all that came: at most one byte is under way.
                let total = passed + i128::from(bucket.level());
                let full = i128::from(bucket.worth(MADE_UP)).max(i128::from(first));
                prop_assert!(total + 1 >= come.min(full), "{total} of {come}");
                prop_assert!(i128::from(bucket.level()) <= full);
            }
        }

        #[test]
        fn a_reader_that_takes_all_gets_the_rate(
            rate in 1_000_u64..20_000_000_000,
            steps in prop::collection::vec(1_u64..200_000_000, 1..100),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(rate, start);
            // A nanosecond may be lost each time.
            let lost = steps.len() as i128 * i128::from(rate) / NANOS as i128 + 2;
            let (mut now, mut passed) = (start, 0_i128);
            for nanos in steps {
                passed += i128::from(bucket.level());
                bucket.take(usize::try_from(bucket.level()).unwrap());
                now += Duration::from_nanos(nanos);
                bucket.refill(now, true);
            }
            passed += i128::from(bucket.level());
            let come = i128::from(rate) * (now - start).as_nanos() as i128 / NANOS as i128;
            let exact = come + i128::from(burst(rate));
            prop_assert!(passed <= exact && passed + lost >= exact, "{passed} instead of {exact}");
        }
    }
}
