//! Histograms and counts of a run. Merge histograms, never average percentiles.

use hdrhistogram::Histogram;

use super::record::{Outcome, Record, Recorder};

/// Shortest and longest time that is told apart, in nanoseconds, to three significant digits.
const LOWEST: u64 = 1_000;
const HIGHEST: u64 = 60_000_000_000;
/// Statuses have three digits.
const STATUSES: usize = 1_000;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Tally {
    /// From the planned time; only of those that were answered.
    latency: Histogram<u64>,
    service: Histogram<u64>,
    /// How late the generator was, for every request.
    lag: Histogram<u64>,
    outcomes: [u64; Outcome::ALL.len()],
    statuses: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            latency: histogram(),
            service: histogram(),
            lag: histogram(),
            outcomes: [0; Outcome::ALL.len()],
            statuses: vec![0; STATUSES],
        }
    }
}

/// An empty histogram of nanoseconds.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    #[expect(clippy::unwrap_used, reason = "the bounds are constants that the crate documents as valid")]
    Histogram::new_with_bounds(LOWEST, HIGHEST, 3).unwrap()
}

impl Recorder for Tally {
    fn record(&mut self, record: &Record) {
        self.lag.saturating_record(record.lag());
        if let Some(latency) = record.latency() {
            self.latency.saturating_record(latency);
        }
        if let Some(service) = record.service_time() {
            self.service.saturating_record(service);
        }
        self.outcomes[record.outcome as usize] += 1;
        if let Some(count) = self.statuses.get_mut(usize::from(record.status)) {
            *count += u64::from(record.status != 0);
        }
    }
}

impl Tally {
    /// Add another run.
    pub fn merge(&mut self, other: &Tally) {
        for (into, from) in [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.lag, &other.lag),
        ] {
            // Both have the same bounds.
            let _ = into.add(from);
        }
        for (into, from) in self.outcomes.iter_mut().zip(other.outcomes) {
            *into += from;
        }
        for (into, from) in self.statuses.iter_mut().zip(&other.statuses) {
            *into += from;
        }
    }

    /// Requests that were planned.
    #[must_use]
    pub fn planned(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Requests without a latency: worse than any that has one.
    #[must_use]
    pub fn censored(&self) -> u64 {
        self.planned() - self.count(Outcome::Answered)
    }

    /// Statuses that came, and how often.
    pub fn statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        (0_u16..).zip(self.statuses.iter().copied()).filter(|&(_, count)| count > 0)
    }

    /// Latency in nanoseconds that the share `q` of all planned requests kept; None when it falls among the failed ones.
    #[must_use]
    pub fn latency(&self, q: f64) -> Option<u64> {
        quantile(&self.latency, self.censored(), q)
    }

    /// Time from sending to the end of the answer, of those that were answered.
    #[must_use]
    pub fn service_time(&self, q: f64) -> Option<u64> {
        quantile(&self.service, 0, q)
    }

    #[must_use]
    pub fn lag(&self, q: f64) -> Option<u64> {
        quantile(&self.lag, 0, q)
    }

    /// Mean latency of those that were answered, in nanoseconds; 0 when none was.
    #[must_use]
    pub fn mean_latency(&self) -> f64 {
        self.latency.mean()
    }

    /// For pictures, and to store.
    #[must_use]
    pub fn latencies(&self) -> &Histogram<u64> {
        &self.latency
    }
}

/// The smallest value that at least the share `q` of values and censored ones do not exceed.
fn quantile(histogram: &Histogram<u64>, censored: u64, q: f64) -> Option<u64> {
    let known = histogram.len();
    let rank = ((q * (known + censored) as f64).ceil() as u64).max(1);
    // Half a rank down: rounding must not move it to the next.
    (rank <= known).then(|| histogram.value_at_quantile((rank as f64 - 0.5) / known as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(milliseconds: u64, outcome: Outcome) -> Record {
        let done = 10_000_000 + milliseconds * 1_000_000;
        let (planned, begun, sent, first) = (10_000_000, 10_500_000, 11_000_000, done);
        Record { planned, begun, sent, first, done, status: 200, outcome, arm: 0, block: 0, class: 0 }
    }

    fn near(value: Option<u64>, milliseconds: f64) -> bool {
        value.is_some_and(|value| (value as f64 / 1e6 - milliseconds).abs() <= milliseconds / 500.0)
    }

    #[test]
    fn failures_count_as_slower_than_any_answer() {
        let mut tally = Tally::default();
        (1..=98).for_each(|i| tally.record(&record(i, Outcome::Answered)));
        assert!(near(tally.latency(0.5), 49.0) && near(tally.latency(0.99), 98.0));
        tally.record(&record(1, Outcome::TimedOut));
        tally.record(&record(0, Outcome::Dropped));
        assert_eq!((tally.planned(), tally.censored()), (100, 2));
        // Ranks 50, 98 and 99 of 100.
        assert!(near(tally.latency(0.5), 50.0) && near(tally.latency(0.98), 98.0));
        assert_eq!(tally.latency(0.99), None);
        assert!(near(tally.service_time(0.99), 97.0));
        assert!(near(tally.lag(0.99), 0.5));
        assert_eq!(tally.statuses().collect::<Vec<_>>(), [(200, 100)]);
    }

    #[test]
    fn merging_is_as_if_it_had_been_one_run() {
        let (mut one, mut first, mut second) = (Tally::default(), Tally::default(), Tally::default());
        for i in 1..=50 {
            let outcome = if i % 7 == 0 { Outcome::Disconnected } else { Outcome::Answered };
            one.record(&record(i, outcome));
            (if i % 2 == 0 { &mut first } else { &mut second }).record(&record(i, outcome));
        }
        first.merge(&second);
        assert_eq!(first.latency, one.latency);
        assert_eq!(first.outcomes, one.outcomes);
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Tally::default().latency(0.5), None);
    }
}
