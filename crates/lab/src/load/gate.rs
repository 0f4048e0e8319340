//! Whether a run's figures are about the server or about the generator.

use serde::Serialize;

use super::{Summary, Tally};

/// How late the generator may always be, in nanoseconds, 99 times in 100.
const LEAST_BOUND: u64 = 1_000_000;
/// Or this share of the median latency, if that is more.
const SHARE_OF_MEDIAN: f64 = 0.05;
/// Share of one core beyond which the generator is part of what is measured.
pub const BUSY: f64 = 0.7;

/// Whether the figures may be used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "validity")]
pub enum Validity {
    Valid,
    /// Nothing was sent.
    Empty,
    /// The generator did not keep its plan: p99 of how late it was, and what was allowed, in nanoseconds.
    GeneratorLimited {
        lag_p99: u64,
        allowed: u64,
    },
}

/// p99 of the generator's own delay must be at most the larger of 1 ms and 5 % of the median latency.
#[must_use]
pub fn validity(tally: &Tally) -> Validity {
    let Some(lag_p99) = tally.lag(0.99) else { return Validity::Empty };
    // Where most requests fail there is no median, and the strict bound holds.
    let median = tally.latency(0.5).unwrap_or(0) as f64;
    let allowed = LEAST_BOUND.max((median * SHARE_OF_MEDIAN) as u64);
    if lag_p99 <= allowed { Validity::Valid } else { Validity::GeneratorLimited { lag_p99, allowed } }
}

impl Validity {
    /// Why the run is worth nothing, and what to do; None when it is fine.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        match self {
            Validity::Valid => None,
            Validity::Empty => {
                Some("no request was planned in this time: use a higher rate or a longer run".into())
            }
            Validity::GeneratorLimited { lag_p99, allowed } => {
                let milliseconds = |nanoseconds: &u64| *nanoseconds as f64 / 1e6;
                Some(format!(
                    "the load generator was late: 1 request in 100 was taken up {:.2} ms or more after its time, \
                     {:.2} ms are allowed; the latencies blame the server for it, so use a lower rate or a quieter machine",
                    milliseconds(lag_p99),
                    milliseconds(allowed)
                ))
            }
        }
    }
}

/// Whether the generator used so much of a core that it competed with the server.
#[must_use]
pub fn is_busy(summary: &Summary) -> bool {
    summary.cpu.as_secs_f64() > BUSY * summary.elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Outcome, Record, Recorder as _};

    fn run(lag: u64, latency: u64, outcome: Outcome) -> Validity {
        let mut tally = Tally::default();
        let (planned, begun, done) = (1, 1 + lag, 1 + latency);
        tally.record(&Record {
            planned,
            begun,
            sent: begun,
            first: done,
            done,
            status: 200,
            outcome,
            arm: 0,
            block: 0,
            class: 0,
        });
        validity(&tally)
    }

    #[test]
    fn a_late_generator_is_not_believed() {
        assert_eq!(run(900_000, 5_000_000, Outcome::Answered), Validity::Valid);
        // 2 ms late is fine where half the requests take more than 40 ms, and not where they fail.
        assert_eq!(run(2_000_000, 50_000_000, Outcome::Answered), Validity::Valid);
        let limited = |validity| matches!(validity, Validity::GeneratorLimited { allowed: 1_000_000, .. });
        assert!(limited(run(2_000_000, 5_000_000, Outcome::Answered)));
        assert!(limited(run(2_000_000, 50_000_000, Outcome::TimedOut)));
        let sentence = run(2_000_000, 5_000_000, Outcome::Answered).sentence().unwrap();
        assert!(
            sentence.contains("2.00 ms or more") && sentence.contains("1.00 ms are allowed"),
            "{sentence}"
        );
    }

    #[test]
    fn nothing_sent_is_no_result() {
        assert_eq!(validity(&Tally::default()), Validity::Empty);
    }
}
