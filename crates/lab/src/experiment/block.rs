//! One block: load of known arrivals on one application in one condition, and everything that was seen meanwhile.

use std::time::Duration;

use serde::Serialize;

use super::arm::Arm;
use super::gate::{Fault, Seen};
use super::sample::Usage;
use crate::load::mix::{Mix, Request, RequestError};
use crate::load::{Outcome, Pace, Record, Schedule, Tally, gate};
use crate::neighbour::Work;
use crate::statistics::quantile::interpolated;
use crate::statistics::verdict::expected_shortfall;

/// What is sent to the application.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Targets and how often each is chosen; their positions are the classes of a block.
    pub targets: Vec<(String, f64)>,
    pub rate: Rate,
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Requests per second, independent of each other.
    Poisson(f64),
    /// The same mean, in bursts of four times as many.
    Bursts(f64),
    /// Evenly spaced.
    Constant(f64),
    /// So many at a time.
    Closed(usize),
    /// So many at once, every so many milliseconds.
    Periodic { every_ms: u32, at_once: usize },
}

/// A request that has no answer so long after the end of its block has failed.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// For ratios: what failed took as long as anybody waits. Not known stays so.
pub(super) fn patient(figure: f64) -> f64 {
    if figure == f64::INFINITY { TIMEOUT.as_secs_f64() } else { figure }
}

/// Longest block that [`Rate::Periodic`] lasts for.
const PERIODIC: Duration = Duration::from_secs(60);

impl Load {
    /// One target only.
    #[must_use]
    pub fn of(target: &str, rate: Rate) -> Self {
        Load { targets: vec![(target.to_owned(), 1.0)], rate }
    }

    pub(super) fn pace(&self) -> Pace {
        match self.rate {
            Rate::Poisson(rate) => Pace::Open(Schedule::Poisson { rate }),
            Rate::Bursts(rate) => Pace::Open(Schedule::bursts_of_mean(rate)),
            Rate::Constant(rate) => Pace::Open(Schedule::Constant { rate }),
            Rate::Closed(connections) => Pace::Closed { connections },
            Rate::Periodic { every_ms, at_once } => {
                let every = Duration::from_millis(u64::from(every_ms.max(1)));
                let times = (0_u32..).map(|turn| every * turn).take_while(|time| *time < PERIODIC);
                let offsets: Vec<Duration> =
                    times.flat_map(|time| std::iter::repeat_n(time, at_once)).collect();
                Pace::Open(Schedule::Replay(offsets.into()))
            }
        }
    }

    pub(super) fn mix(&self, authority: &str) -> Result<Mix, RequestError> {
        let request = |(target, weight): &(String, f64)| {
            Ok((Request::new("GET", authority, target, &[], b"")?, *weight))
        };
        Mix::weighted(self.targets.iter().map(request).collect::<Result<_, _>>()?)
    }
}

/// What neighbours do meanwhile.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Noise {
    /// For people: `quiet`, `4 hogs`.
    pub name: String,
    pub parts: Vec<Part>,
}

/// One neighbour's part.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A neighbour (`neighbour::plan`) works for this share of the time.
    Work { tenant: String, work: Work, duty: f64 },
    /// Requests to another application through the same router, in bursts, with this mean per second.
    Bursts { tenant: String, target: String, rate: f64 },
    /// So many requests at once, again and again, also to the application itself.
    Periodic { tenant: String, target: String, every_ms: u32, at_once: usize },
    /// Connections to another application that are opened and held.
    Connections { tenant: String, count: usize },
}

impl Noise {
    /// Nobody else does anything.
    #[must_use]
    pub fn quiet() -> Self {
        Noise { name: "quiet".to_owned(), parts: Vec::new() }
    }
}

/// Everything that is set for a block.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// For tables.
    pub name: String,
    /// The application that is asked.
    pub app: String,
    pub arm: Arm,
    pub noise: Noise,
    pub load: Load,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Block {
    pub number: u16,
    pub condition: String,
    pub app: String,
    pub arm: Arm,
    pub noise: String,
    /// Of the pair that it belongs to, counted from 0 in its comparison; none for a single one.
    pub pair: Option<u16>,
    /// Since the session began.
    pub at_seconds: f64,
    /// Of what is counted below: without what was discarded at the beginning.
    pub seconds: f64,
    /// Seconds from the planned time to the last byte, in the order of the planned times; infinite for requests that failed.
    pub latencies: Vec<f64>,
    /// When each was planned, in seconds from the start of the block.
    pub planned: Vec<f64>,
    /// Position of each in [`Load::targets`].
    pub classes: Vec<u16>,
    pub answered: u64,
    pub failed: u64,
    pub dropped: u64,
    pub usage: Usage,
    pub seen: Seen,
    /// What each working neighbour got done, in its units per second.
    pub neighbours: Vec<(String, f64)>,
    /// Median of the loop of known work just before, in milliseconds of processor time.
    pub spin_ms: f64,
    pub generator_realtime: bool,
    /// None that spoils it: it counts.
    pub faults: Vec<Fault>,
}

/// Requests of a block, without those that were planned in its first moments.
pub(super) struct Answers {
    pub(super) latencies: Vec<f64>,
    pub(super) planned: Vec<f64>,
    pub(super) classes: Vec<u16>,
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) dropped: u64,
    pub(super) lag_ms: f64,
    pub(super) lag_allowed_ms: f64,
}

impl Answers {
    /// `records` in any order.
    pub(super) fn of(records: &[Record], discard: Duration) -> Answers {
        let from = u64::try_from(discard.as_nanos()).unwrap_or(u64::MAX);
        let mut kept: Vec<&Record> = records.iter().filter(|record| record.planned >= from).collect();
        kept.sort_by_key(|record| record.planned);
        let mut tally = Tally::default();
        for record in &kept {
            crate::load::Recorder::record(&mut tally, record);
        }
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        let count = |outcome| kept.iter().filter(|record| record.outcome == outcome).count() as u64;
        let (answered, dropped) = (count(Outcome::Answered), count(Outcome::Dropped));
        let (lag_ms, lag_allowed_ms) = match gate::validity(&tally) {
            gate::Validity::GeneratorLimited { lag_p99, allowed } => {
                (lag_p99 as f64 / 1e6, allowed as f64 / 1e6)
            }
            // Whatever it was, it is allowed.
            gate::Validity::Valid | gate::Validity::Empty => {
                (tally.lag(0.99).unwrap_or(0) as f64 / 1e6, f64::INFINITY)
            }
        };
        Answers {
            latencies: kept.iter().map(|record| record.latency().map_or(f64::INFINITY, seconds)).collect(),
            planned: kept.iter().map(|record| seconds(record.planned)).collect(),
            classes: kept.iter().map(|record| record.class).collect(),
            answered,
            failed: kept.len() as u64 - answered - dropped,
            dropped,
            lag_ms,
            lag_allowed_ms,
        }
    }
}

impl Block {
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.spoilt_by().is_none()
    }

    /// Why it does not count.
    #[must_use]
    pub fn spoilt_by(&self) -> Option<&Fault> {
        self.faults.iter().find(|fault| fault.spoils())
    }

    /// A figure of a block that counts; unknown of one that does not.
    #[must_use]
    pub fn trusted(&self, figure: impl Fn(&Block) -> f64) -> f64 {
        if self.is_valid() { figure(self) } else { f64::NAN }
    }

    /// Sorted latencies of one class, or of all.
    #[must_use]
    pub fn sorted(&self, class: Option<u16>) -> Vec<f64> {
        let of_class = |(_, other): &(&f64, &u16)| class.is_none_or(|class| class == **other);
        let mut latencies: Vec<f64> =
            self.latencies.iter().zip(&self.classes).filter(of_class).map(|(latency, _)| *latency).collect();
        latencies.sort_unstable_by(f64::total_cmp);
        latencies
    }

    /// A quantile of the latency, in seconds.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        interpolated(&self.sorted(None), q)
    }

    /// The same, where a failed request took as long as anybody waits.
    #[must_use]
    pub fn waited(&self, q: f64) -> f64 {
        patient(self.quantile(q))
    }

    /// The same of one class of requests.
    #[must_use]
    pub fn quantile_of(&self, class: u16, q: f64) -> f64 {
        interpolated(&self.sorted(Some(class)), q)
    }

    /// How much latencies vary: p95 - p50, in seconds.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let sorted = self.sorted(None);
        interpolated(&sorted, 0.95) - interpolated(&sorted, 0.5)
    }

    /// Mean of the worst twentieth, in seconds.
    #[must_use]
    pub fn shortfall(&self) -> f64 {
        expected_shortfall(&self.sorted(None), 0.05)
    }

    /// Answers per second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.answered as f64 / self.seconds.max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(planned: u64, latency: u64, outcome: Outcome, class: u16) -> Record {
        let planned = planned * 1_000_000;
        Record {
            planned,
            begun: planned,
            sent: planned,
            first: planned,
            done: planned + latency * 1_000_000,
            status: 200,
            outcome,
            arm: 0,
            block: 0,
            class,
        }
    }

    #[test]
    fn what_failed_took_as_long_as_anybody_waits() {
        assert_eq!((patient(f64::INFINITY), patient(0.3)), (10.0, 0.3));
        assert!(patient(f64::NAN).is_nan());
        assert!(!Fault::Errors { share: 0.5 }.spoils() && Fault::Arm.spoils());
    }

    #[test]
    fn the_first_moments_do_not_count_and_failures_do() {
        let records = [
            record(600, 3, Outcome::Answered, 0),
            record(100, 50, Outcome::Answered, 0),
            record(500, 1, Outcome::Answered, 1),
            record(700, 0, Outcome::Dropped, 0),
            record(800, 9, Outcome::TimedOut, 1),
        ];
        let answers = Answers::of(&records, Duration::from_millis(500));
        assert_eq!(answers.latencies, [0.001, 0.003, f64::INFINITY, f64::INFINITY]);
        assert_eq!((answers.answered, answers.failed, answers.dropped), (2, 1, 1));
        assert_eq!(answers.classes, [1, 0, 0, 1]);
        assert_eq!(answers.planned, [0.5, 0.6, 0.7, 0.8]);
        let late = Record { begun: 605_000_000, ..record(600, 6, Outcome::Answered, 0) };
        let answers = Answers::of(&[late], Duration::ZERO);
        assert!(answers.lag_ms > 4.9 && answers.lag_allowed_ms < 1.1, "{}", answers.lag_ms);
    }
}
