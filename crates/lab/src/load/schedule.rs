//! When requests are sent, decided before the first one is: offsets from the start, from a seed and nothing else. The same
//! seed gives the same arrivals, so that both halves of a pair of blocks get the same ones.

use std::sync::Arc;
use std::time::Duration;

use crate::Random;

/// Highest rate of a schedule, per second: an order of magnitude above what one thread can send.
pub const MAX_RATE: f64 = 1e6;

/// An arrival process. Rates are requests per second.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// Evenly spaced. Kinder to a server than any real traffic.
    Constant { rate: f64 },
    /// Independent clients: exponential gaps.
    Poisson { rate: f64 },
    /// Two Poisson rates that alternate; each lasts an exponential time with the given mean (MMPP2).
    Bursts { rates: [f64; 2], dwell: [Duration; 2] },
    /// Offsets from the start, ascending: somebody else's arrivals.
    Replay(Arc<[Duration]>),
}

/// A schedule that makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    #[error("a rate of {0} requests per second: it must be above 0 and at most {MAX_RATE}")]
    Rate(f64),
    #[error("bursts that are too short: both dwell times must be at least 1 ms")]
    Dwell,
    #[error("there is nothing to replay")]
    Empty,
    #[error("the times to replay are not in order")]
    Order,
}

impl Schedule {
    /// Bursts with a given mean: silence for three quarters of the time, four times the mean for one quarter.
    #[must_use]
    pub fn bursts_of_mean(rate: f64) -> Self {
        Schedule::Bursts {
            rates: [0.0, 4.0 * rate],
            dwell: [Duration::from_millis(1_500), Duration::from_millis(500)],
        }
    }

    /// # Errors
    /// When it would give no arrivals or too many.
    pub fn check(&self) -> Result<(), ScheduleError> {
        let allowed = |rate: f64, least: f64| {
            if rate > least && rate <= MAX_RATE { Ok(()) } else { Err(ScheduleError::Rate(rate)) }
        };
        match self {
            Schedule::Constant { rate } | Schedule::Poisson { rate } => allowed(*rate, 0.0),
            Schedule::Bursts { rates: [first, second], dwell } => {
                // One of the two may be silence.
                allowed(first.max(*second), 0.0)?;
                allowed(first.min(*second), -f64::MIN_POSITIVE)?;
                if dwell.iter().any(|dwell| dwell.as_millis() == 0) {
                    Err(ScheduleError::Dwell)
                } else {
                    Ok(())
                }
            }
            Schedule::Replay(offsets) if offsets.is_empty() => Err(ScheduleError::Empty),
            Schedule::Replay(offsets) if !offsets.is_sorted() => Err(ScheduleError::Order),
            Schedule::Replay(_) => Ok(()),
        }
    }

    /// Long-run requests per second.
    #[must_use]
    pub fn mean_rate(&self) -> f64 {
        match self {
            Schedule::Constant { rate } | Schedule::Poisson { rate } => *rate,
            Schedule::Bursts { rates, dwell } => {
                let [first, second] = dwell.map(|dwell| dwell.as_secs_f64());
                (rates[0] * first + rates[1] * second) / (first + second)
            }
            Schedule::Replay(offsets) => {
                offsets.len() as f64 / offsets.last().map_or(1.0, Duration::as_secs_f64).max(1e-9)
            }
        }
    }
}

/// The planned times of a schedule, in nanoseconds from the start. Endless, except for a replay.
#[derive(Debug, Clone)]
pub struct Arrivals {
    schedule: Schedule,
    random: Random,
    /// Of the arrival before; for a constant rate and for a replay how many there were is what counts.
    clock: f64,
    count: u64,
    /// Bursts: which rate, and until when.
    phase: usize,
    phase_ends: f64,
}

impl Arrivals {
    /// # Errors
    /// When the schedule makes no sense.
    pub fn new(schedule: Schedule, seed: u64) -> Result<Self, ScheduleError> {
        schedule.check()?;
        let mut random = Random::stream(seed, 1);
        let (mut phase, mut phase_ends) = (0, 0.0);
        if let Schedule::Bursts { dwell, .. } = &schedule {
            // Start as one would find it at a random time.
            let [first, second] = dwell.map(|dwell| dwell.as_secs_f64());
            phase = usize::from(random.unit() * (first + second) >= first);
            phase_ends = random.exponential() * dwell[phase].as_secs_f64();
        }
        Ok(Arrivals { schedule, random, clock: 0.0, count: 0, phase, phase_ends })
    }

    fn burst(&mut self, rates: [f64; 2], dwell: [Duration; 2]) -> f64 {
        loop {
            let gap = self.random.exponential() / rates[self.phase];
            if self.clock + gap <= self.phase_ends {
                return self.clock + gap;
            }
            // Exponential gaps have no memory: begin again where the rate changes.
            self.clock = self.phase_ends;
            self.phase = 1 - self.phase;
            self.phase_ends += self.random.exponential() * dwell[self.phase].as_secs_f64();
        }
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match &self.schedule {
            // From the count, not from the one before: rounding must not add up.
            Schedule::Constant { rate } => self.clock = self.count as f64 / rate,
            Schedule::Poisson { rate } => self.clock += self.random.exponential() / rate,
            Schedule::Bursts { rates, dwell } => self.clock = self.burst(*rates, *dwell),
            Schedule::Replay(offsets) => {
                self.clock = offsets.get(usize::try_from(self.count).ok()?)?.as_secs_f64();
            }
        }
        self.count += 1;
        // Saturates after centuries.
        Some((self.clock * 1e9) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::dispersion::Dispersion;

    fn measured(schedule: Schedule, seconds: u64) -> Dispersion {
        let mut dispersion = Dispersion::default();
        Arrivals::new(schedule, 42)
            .unwrap()
            .take_while(|&time| time < seconds * 1_000_000_000)
            .for_each(|time| dispersion.push(time));
        dispersion
    }

    #[test]
    fn rates_and_variability_are_what_they_should_be() {
        let constant = measured(Schedule::Constant { rate: 300.0 }, 200);
        assert_eq!(constant.count(), 60_000);
        assert!(constant.gaps_cv2() < 1e-9 && constant.index_of_dispersion() < 1e-3);

        let poisson = measured(Schedule::Poisson { rate: 300.0 }, 200);
        // Five standard deviations of a Poisson count, then of the estimates.
        assert!(poisson.count().abs_diff(60_000) < 1_225, "{}", poisson.count());
        assert!((poisson.gaps_cv2() - 1.0).abs() < 0.06, "{}", poisson.gaps_cv2());
        assert!((poisson.index_of_dispersion() - 1.0).abs() < 0.5, "{}", poisson.index_of_dispersion());

        let bursts = measured(Schedule::bursts_of_mean(300.0), 2_000);
        let rate = bursts.count() as f64 / 2_000.0;
        assert!((rate - 300.0).abs() < 60.0, "{rate}");
        assert!(bursts.gaps_cv2() > 3.0 && bursts.index_of_dispersion() > 50.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals() {
        for schedule in [Schedule::Poisson { rate: 50.0 }, Schedule::bursts_of_mean(50.0)] {
            let drawn = |seed| Arrivals::new(schedule.clone(), seed).unwrap().take(500).collect::<Vec<_>>();
            assert_eq!(drawn(1), drawn(1));
            assert_ne!(drawn(1), drawn(2));
            assert!(drawn(1).is_sorted());
        }
    }

    #[test]
    fn a_replay_is_what_was_given_and_ends() {
        let offsets: Arc<[Duration]> = [0, 5, 5, 90].map(Duration::from_millis).into();
        let schedule = Schedule::Replay(offsets);
        let times: Vec<u64> = Arrivals::new(schedule, 0).unwrap().collect();
        assert_eq!(times, [0, 5_000_000, 5_000_000, 90_000_000]);
    }

    #[test]
    fn nonsense_is_refused() {
        let dwell = [Duration::from_secs(1); 2];
        for (schedule, error) in [
            (Schedule::Constant { rate: 0.0 }, ScheduleError::Rate(0.0)),
            (Schedule::Poisson { rate: f64::INFINITY }, ScheduleError::Rate(f64::INFINITY)),
            (Schedule::Bursts { rates: [0.0, 0.0], dwell }, ScheduleError::Rate(0.0)),
            (Schedule::Bursts { rates: [-1.0, 5.0], dwell }, ScheduleError::Rate(-1.0)),
            (Schedule::Bursts { rates: [1.0, 5.0], dwell: [Duration::ZERO; 2] }, ScheduleError::Dwell),
            (Schedule::Replay([].into()), ScheduleError::Empty),
            (Schedule::Replay([Duration::from_secs(1), Duration::ZERO].into()), ScheduleError::Order),
        ] {
            assert_eq!(schedule.check(), Err(error));
        }
        assert!(matches!(Schedule::Constant { rate: f64::NAN }.check(), Err(ScheduleError::Rate(_))));
    }
}
