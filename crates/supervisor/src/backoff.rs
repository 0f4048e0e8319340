//! When a lost worker may be replaced: at once, or after a pause.
//!
//! Two mistakes are possible. Pausing when workers are lost to outside causes (an operator, the OOM killer, one poisonous
//! request) turns small trouble into an outage; not pausing when the application cannot run burns the machine. So:
//! a start that fails always pauses; a death soon after service began is forgiven a number of times in a row; a later
//! death is an accident, replaced at once up to a rate. A row ends by evidence, not by time: a worker started after the
//! last trouble that served for `stable_after`. Workers started before say nothing about whether one can start *now*.
//!
//! It decides only when; what to start is in `plan.rs`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::random::Random;
use crate::settings::Settings;

/// Accidents are counted over this time.
const DEATH_WINDOW: Duration = Duration::from_secs(10);
/// So many in that time are replaced at once, plus [`DEATHS_PER_WORKER`] for each wanted worker.
const DEATHS_BASE: usize = 10;
const DEATHS_PER_WORKER: usize = 5;

#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    stable_after: Duration,
    forgiven: u32,
    /// Pauses in this row; 0 when all is well.
    round: u32,
    fast_deaths: u32,
    resume_at: Duration,
    /// When the current round began: a worker started before that is not a new attempt.
    round_began: Option<Duration>,
    last_trouble: Option<Duration>,
    /// One at a time until a worker of this round is ready.
    probing: bool,
    deaths: VecDeque<Duration>,
}

/// A decision to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) until: Duration,
    pub(crate) delay: Duration,
    pub(crate) round: u32,
}

impl Backoff {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            min: settings.backoff_min,
            max: settings.backoff_max,
            stable_after: settings.stable_after,
            forgiven: settings.forgiven_fast_deaths,
            round: 0,
            fast_deaths: 0,
            resume_at: Duration::ZERO,
            round_began: None,
            last_trouble: None,
            probing: false,
            deaths: VecDeque::new(),
        }
    }

    /// How many workers may be started now, when `starting` are already on the way.
    pub(crate) fn allowance(&self, now: Duration, starting: usize) -> usize {
        if now < self.resume_at {
            0
        } else if self.probing {
            1_usize.saturating_sub(starting)
        } else {
            usize::MAX
        }
    }

    /// The end of the pause under way.
    pub(crate) fn resume_at(&self, now: Duration) -> Option<Duration> {
        (self.resume_at > now).then_some(self.resume_at)
    }

    /// A pause is over, and whether workers can be started is not known yet.
    pub(crate) fn is_probing(&self, now: Duration) -> bool {
        self.probing && now >= self.resume_at
    }

    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// A worker never became ready.
    pub(crate) fn start_failed(&mut self, now: Duration, spawned_at: Duration, random: &mut Random) -> Pause {
        self.last_trouble = Some(now);
        self.pause(now, spawned_at, random)
    }

    /// A worker that was ready died, hung or misbehaved after `served`, while `target` workers were wanted.
    pub(crate) fn died(
        &mut self,
        now: Duration,
        spawned_at: Duration,
        served: Duration,
        target: usize,
        random: &mut Random,
    ) -> Option<Pause> {
        let too_many = self.too_many_deaths(now, target);
        let fast = served < self.stable_after;
        if fast {
            self.fast_deaths = self.fast_deaths.saturating_add(1);
        }
        if fast || too_many {
            self.last_trouble = Some(now);
        }
        let unforgiven = fast && (self.round > 0 || self.fast_deaths > self.forgiven);
        (too_many || unforgiven).then(|| self.pause(now, spawned_at, random))
    }

    /// A worker became ready.
    pub(crate) fn became_ready(&mut self, spawned_at: Duration) {
        if self.is_new_attempt(spawned_at) {
            self.probing = false;
        }
    }

    /// A worker has served for `stable_after`: if it started after the last trouble, the trouble is over.
    pub(crate) fn proved_stable(&mut self, spawned_at: Duration) {
        if self.last_trouble.is_some_and(|at| spawned_at > at) {
            self.reset();
        }
    }

    /// Other code serves now: what went wrong before says nothing about it.
    pub(crate) fn reset(&mut self) {
        self.round = 0;
        self.fast_deaths = 0;
        self.resume_at = Duration::ZERO;
        self.round_began = None;
        self.last_trouble = None;
        self.probing = false;
    }

    /// An operator wants a try now: the pause is over and the next one is a first one. Still one worker at a time.
    pub(crate) fn try_again(&mut self) {
        self.round = 0;
        self.fast_deaths = 0;
        self.resume_at = Duration::ZERO;
        self.round_began = None;
    }

    /// Pause from now on. Workers of one batch fail together: only the first of them raises the round.
    fn pause(&mut self, now: Duration, spawned_at: Duration, random: &mut Random) -> Pause {
        if self.is_new_attempt(spawned_at) {
            self.round = self.round.saturating_add(1);
            self.round_began = Some(now);
        }
        self.probing = true;
        let delay = self.delay(random);
        self.resume_at = self.resume_at.max(now.saturating_add(delay));
        Pause { until: self.resume_at, delay: self.resume_at.saturating_sub(now), round: self.round }
    }

    fn is_new_attempt(&self, spawned_at: Duration) -> bool {
        self.round_began.is_none_or(|at| spawned_at > at)
    }

    /// `min * 2^(round - 1)` up to `max`, less up to a quarter, so that many applications do not wake together.
    fn delay(&self, random: &mut Random) -> Duration {
        let doublings = self.round.saturating_sub(1).min(31);
        let full = self.min.saturating_mul(1 << doublings).min(self.max);
        let quarter = u64::try_from((full / 4).as_micros()).unwrap_or(u64::MAX);
        full.saturating_sub(Duration::from_micros(random.up_to(quarter))).max(self.min)
    }

    fn too_many_deaths(&mut self, now: Duration, target: usize) -> bool {
        while self.deaths.front().is_some_and(|at| at.saturating_add(DEATH_WINDOW) <= now) {
            self.deaths.pop_front();
        }
        let budget = DEATHS_BASE.saturating_add(DEATHS_PER_WORKER.saturating_mul(target));
        let too_many = self.deaths.len() >= budget;
        if !too_many {
            self.deaths.push_back(now);
        }
        too_many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn backoff() -> (Backoff, Random) {
        (Backoff::new(&Settings::default().checked()), Random::new(1))
    }

    #[test]
    fn failed_starts_double_the_pause_up_to_the_maximum() {
        let (mut backoff, mut random) = backoff();
        let mut now = seconds(5);
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 180, 180] {
            let pause = backoff.start_failed(now, now, &mut random);
            let full = seconds(expected);
            assert!(
                pause.delay <= full && pause.delay >= (full * 3 / 4).max(seconds(1)),
                "{pause:?} not {full:?}"
            );
            assert_eq!(backoff.allowance(pause.until - Duration::from_nanos(1), 0), 0);
            assert_eq!(backoff.allowance(pause.until, 0), 1, "one at a time");
            assert_eq!(backoff.allowance(pause.until, 1), 0, "one at a time");
            now = pause.until + seconds(1);
        }
    }

    #[test]
    fn a_batch_that_fails_together_is_one_round() {
        let (mut backoff, mut random) = backoff();
        let rounds: Vec<u32> =
            (1..=4).map(|at| backoff.start_failed(seconds(at), seconds(0), &mut random).round).collect();
        assert_eq!(rounds, [1, 1, 1, 1]);
        assert_eq!(backoff.resume_at(seconds(4)), Some(seconds(5)), "the last failure pauses too");
    }

    #[test]
    fn a_later_failure_never_shortens_the_pause() {
        let (mut backoff, mut random) = backoff();
        for second in 1..8 {
            backoff.start_failed(seconds(100 * second), seconds(100 * second), &mut random);
        }
        let mut until = seconds(0);
        for _ in 0..20 {
            let pause = backoff.start_failed(seconds(701), seconds(0), &mut random);
            assert!(pause.until >= until, "{pause:?}, was {until:?}");
            until = pause.until;
        }
    }

    #[test]
    fn only_a_worker_started_after_the_trouble_ends_it() {
        let (mut backoff, mut random) = backoff();
        backoff.start_failed(seconds(10), seconds(9), &mut random);
        backoff.became_ready(seconds(8));
        backoff.proved_stable(seconds(8));
        assert_eq!((backoff.round(), backoff.allowance(seconds(20), 1)), (1, 0));
        backoff.became_ready(seconds(11));
        assert_eq!((backoff.round(), backoff.allowance(seconds(20), 1)), (1, usize::MAX));
        backoff.proved_stable(seconds(11));
        assert_eq!(backoff.round(), 0);
    }

    #[test]
    fn an_operator_ends_the_pause_but_not_the_caution() {
        let (mut backoff, mut random) = backoff();
        for second in 1..8 {
            backoff.start_failed(seconds(second), seconds(second), &mut random);
        }
        assert!(!backoff.is_probing(seconds(8)));
        backoff.try_again();
        assert!(backoff.is_probing(seconds(8)));
        assert_eq!((backoff.allowance(seconds(8), 0), backoff.allowance(seconds(8), 1)), (1, 0));
        let pause = backoff.start_failed(seconds(9), seconds(8), &mut random);
        assert_eq!((pause.delay, pause.round), (seconds(1), 1));
    }

    #[test]
    fn fast_deaths_are_forgiven_so_many_times_in_a_row() {
        let (mut backoff, mut random) = backoff();
        let mut paused_at = Vec::new();
        for death in 1..=22_u64 {
            // Two seconds apart, so that the rate is never the reason.
            let now = seconds(2 * death);
            if backoff.died(now, now - seconds(1), Duration::from_millis(500), 1, &mut random).is_some() {
                paused_at.push(death);
            }
        }
        assert_eq!(paused_at, [21, 22]);
    }

    #[test]
    fn accidents_are_limited_by_rate_only() {
        let (mut backoff, mut random) = backoff();
        let mut die = |backoff: &mut Backoff, millis| {
            let now = Duration::from_millis(millis);
            backoff.died(now, now - seconds(5), seconds(4), 4, &mut random)
        };
        for second in 10..1_000 {
            assert_eq!(die(&mut backoff, second * 1_000), None, "one a second for ever");
        }
        let storm: Vec<bool> = (0..31).map(|n| die(&mut backoff, 2_000_000 + n).is_some()).collect();
        assert_eq!(storm.iter().position(|paused| *paused), Some(30), "10 + 5 x 4 in ten seconds");
    }
}
