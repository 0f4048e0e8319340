//! How many workers are wanted: a number between `min` and `max` that follows what the requests need.
//!
//! It grows at once, by one, when somebody asks, and shrinks late: only when the need was smaller for `idle` long. A
//! worker too many costs memory, a worker too few costs a boot that somebody waits for.
//!
//! It knows the wanted number only. Whether workers can be started now is in `backoff.rs`, what is started in `plan.rs`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::settings::{MOST_WORKERS, Settings};

/// The router repeats `Event::Demand` every 50 ms while a request waits; so long after the last one, nobody does. The rest
/// is for a driver that is late.
const WAITING: Duration = Duration::from_secs(1);

/// After each change the target is left alone so long before it shrinks: `Event::Load` comes about as often, so the rest
/// has shown that it can do without.
pub(crate) const SHRINK_STEP: Duration = Duration::from_secs(1);

/// A shorter idle time would end between two reports of the load: workers would leave and come back for nothing.
const LEAST_IDLE: Duration = Duration::from_secs(2);

/// The configured limits, in order.
#[derive(Debug, Clone, Copy)]
struct Limits {
    min: usize,
    max: usize,
    idle: Duration,
}

/// So many workers had something to do at that time.
#[derive(Debug, Clone, Copy)]
struct Need {
    at: Duration,
    workers: usize,
}

#[derive(Debug)]
pub(crate) struct Elastic {
    limits: Limits,
    /// The operator's number, which holds until the configuration changes.
    pinned: Option<usize>,
    target: usize,
    changed_at: Duration,
    /// When a request last waited in vain.
    asked_at: Option<Duration>,
    /// What the last `idle` needed: later entries are smaller, because a larger one makes those before it pointless. So
    /// there are never more than the highest `max`.
    needs: VecDeque<Need>,
}

impl Limits {
    /// At least one worker is possible, `min` is not above `max`, and `idle` not below [`LEAST_IDLE`].
    fn checked(min: usize, max: usize, idle: Duration) -> Self {
        Self { min, max: max.max(min).max(1), idle: idle.max(LEAST_IDLE) }
    }
}

impl Elastic {
    pub(crate) fn new(settings: &Settings) -> Self {
        let limits = Limits::checked(settings.min_workers, settings.max_workers, settings.idle);
        Self {
            limits,
            pinned: None,
            target: limits.min,
            changed_at: Duration::ZERO,
            asked_at: None,
            needs: VecDeque::new(),
        }
    }

    pub(crate) fn target(&self) -> usize {
        self.target
    }

    pub(crate) fn min(&self) -> usize {
        self.pinned.unwrap_or(self.limits.min)
    }

    pub(crate) fn max(&self) -> usize {
        self.pinned.unwrap_or(self.limits.max)
    }

    /// The application begins, again or for the first time.
    pub(crate) fn start(&mut self, now: Duration) {
        self.set(now, self.min());
    }

    /// A request waits and no slot is free. `grow`: all wanted workers are there, so that one more is needed.
    pub(crate) fn demand(&mut self, now: Duration, grow: bool) {
        self.asked_at = Some(now);
        if grow && self.target < self.max() {
            self.set(now, self.target + 1);
        }
        self.needed(now, self.target);
    }

    /// So many workers had something to do; with requests waiting, all of them had.
    pub(crate) fn load(&mut self, now: Duration, busy_workers: usize, waiting: usize) {
        let waited_for = if waiting > 0 { self.target } else { 0 };
        self.needed(now, busy_workers.max(waited_for).min(self.max()));
    }

    /// Somebody waits for a worker.
    pub(crate) fn is_asked(&self, now: Duration) -> bool {
        self.asked_at.is_some_and(|at| now < at.saturating_add(WAITING))
    }

    /// When there is one worker too many, if nothing happens until then.
    pub(crate) fn shrinks_at(&self) -> Option<Duration> {
        if self.target <= self.min() {
            return None;
        }
        let needed = self.needs.iter().rev().find(|need| need.workers >= self.target);
        let idle_since = needed.map_or(Duration::ZERO, |need| need.at);
        let idle = idle_since.saturating_add(self.limits.idle);
        Some(idle.max(self.changed_at.saturating_add(SHRINK_STEP)))
    }

    /// One worker fewer, if one has been idle for long enough.
    pub(crate) fn shrink(&mut self, now: Duration) {
        if self.shrinks_at().is_some_and(|at| at <= now) {
            self.set(now, self.target - 1);
        }
    }

    /// Make do with the workers there are, or `min`.
    pub(crate) fn fall_to(&mut self, now: Duration, workers: usize) {
        if workers < self.target {
            self.set(now, workers);
        }
    }

    /// The operator wants exactly so many, whatever the load.
    pub(crate) fn pin(&mut self, now: Duration, workers: usize) {
        let workers = workers.clamp(1, self.limits.max.max(MOST_WORKERS));
        self.pinned = Some(workers);
        self.set(now, workers);
    }

    /// The configuration changed: the operator's number is forgotten.
    pub(crate) fn set_limits(&mut self, now: Duration, min: usize, max: usize, idle: Duration) {
        self.limits = Limits::checked(min, max, idle);
        self.pinned = None;
        // Workers that there are may be of use: they leave when they were idle, not because a file was changed.
        self.set(now, self.target);
        self.needed(now, self.target);
    }

    fn set(&mut self, now: Duration, target: usize) {
        let target = target.clamp(self.min(), self.max());
        if target != self.target {
            self.target = target;
            self.changed_at = now;
        }
    }

    fn needed(&mut self, now: Duration, workers: usize) {
        while self.needs.back().is_some_and(|need| need.workers <= workers) {
            self.needs.pop_back();
        }
        while self.needs.front().is_some_and(|need| need.at.saturating_add(self.limits.idle) <= now) {
            self.needs.pop_front();
        }
        self.needs.push_back(Need { at: now, workers });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Between `min` and 5 workers, 60 s idle, 5 wanted since second 0.
    fn elastic(min: usize) -> Elastic {
        let settings =
            Settings { min_workers: min, max_workers: 5, idle: seconds(60), ..Settings::default() };
        let mut elastic = Elastic::new(&settings);
        elastic.start(Duration::ZERO);
        for _ in 0..9 {
            elastic.demand(Duration::ZERO, true);
        }
        assert_eq!(elastic.target(), 5, "never above the maximum");
        elastic
    }

    /// Let time pass; when the target changed, and to what.
    fn changes(elastic: &mut Elastic, until: u64) -> Vec<(u64, usize)> {
        let mut changes = Vec::new();
        while let Some(at) = elastic.shrinks_at().filter(|at| *at <= seconds(until)) {
            elastic.shrink(at);
            changes.push((at.as_secs(), elastic.target()));
        }
        changes
    }

    #[test]
    fn without_any_load_it_falls_to_the_minimum_one_by_one() {
        assert_eq!(changes(&mut elastic(2), 1_000), [(60, 4), (61, 3), (62, 2)]);
        assert_eq!(changes(&mut elastic(0), 1_000).last(), Some(&(64, 0)));
    }

    #[test]
    fn the_highest_need_of_the_idle_time_is_kept() {
        let mut elastic = elastic(1);
        elastic.load(seconds(10), 4, 0);
        elastic.load(seconds(20), 2, 0);
        elastic.load(seconds(30), 3, 0);
        elastic.load(seconds(40), 0, 0);
        assert_eq!(elastic.needs.len(), 4, "the need of 2 was hidden by the later one of 3: {elastic:?}");
        assert_eq!(changes(&mut elastic, 1_000), [(60, 4), (70, 3), (90, 2), (91, 1)]);
    }

    #[test]
    fn requests_that_wait_need_all_there_are() {
        let mut elastic = elastic(1);
        elastic.load(seconds(50), 1, 3);
        assert_eq!(changes(&mut elastic, 109), []);
        assert_eq!(changes(&mut elastic, 110), [(110, 4)]);
    }

    #[test]
    fn a_steady_load_keeps_what_it_needs_and_little_memory() {
        let mut elastic = elastic(1);
        for second in 1..2_000 {
            elastic.shrink(seconds(second));
            elastic.load(seconds(second), 3, 0);
            assert!(elastic.needs.len() <= 3, "{elastic:?}");
        }
        assert_eq!(elastic.target(), 3);
    }

    #[test]
    fn an_operator_s_number_holds_until_the_configuration_changes() {
        let mut elastic = elastic(1);
        elastic.pin(seconds(1), 3);
        elastic.demand(seconds(2), true);
        assert_eq!((elastic.target(), elastic.shrinks_at()), (3, None));
        elastic.pin(seconds(3), 0);
        assert_eq!(elastic.target(), 1, "an operator who wants none stops the application");
        elastic.pin(seconds(3), 1_000_000);
        assert_eq!(elastic.target(), MOST_WORKERS);
        elastic.set_limits(seconds(4), 0, 2, seconds(10));
        assert_eq!(elastic.target(), 2);
        assert_eq!(changes(&mut elastic, 1_000), [(14, 1), (15, 0)]);
    }
}
