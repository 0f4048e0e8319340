//! Compares the workers there are with those there should be, and does what is missing.
//!
//! Nothing here remembers anything: each rule is a comparison of counts, so it does not matter which event, or how many
//! at once, led here.

use std::time::Duration;

use crate::action::{Action, DrainReason, KillReason, Notice};
use crate::event::WorkerId;
use crate::supervisor::{Phase, Supervisor};
use crate::worker::{Worker, WorkerState};

/// The workers of one generation that have a future.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    starting: usize,
    ready: usize,
    retiring: usize,
}

impl Count {
    /// Those that count towards the target; a retiring worker is one too many or about to be.
    fn fresh(self) -> usize {
        self.starting + self.ready
    }
}

impl Supervisor {
    pub(crate) fn reconcile(&mut self, now: Duration) {
        match self.phase {
            Phase::Running => {
                self.activate_when_ready(now);
                self.shed(now);
                self.fill(now);
                if !self.all_ready_once && self.serving_count() >= self.target {
                    self.all_ready_once = true;
                    self.actions.push(Action::FirstReady);
                }
            }
            Phase::Stopping if self.workers.is_empty() => self.finish(),
            Phase::Idle | Phase::Stopping | Phase::Stopped => {}
        }
    }

    /// Whether `fill` would start workers of the active generation if there were no pause.
    pub(crate) fn wants_more_workers(&self) -> bool {
        self.phase == Phase::Running && self.missing() > 0
    }

    fn activate_when_ready(&mut self, now: Duration) {
        let Some(generation) = self.candidate else { return };
        if self.count(generation).ready < self.target {
            return;
        }
        self.candidate = None;
        let old = std::mem::replace(&mut self.active, generation);
        self.backoff.reset();
        self.actions.push(Action::Activate { generation });
        for (id, _) in self.ids(|worker| worker.generation == generation && worker.state.is_serving()) {
            self.admit(now, id);
        }
        for (id, admitted) in self.ids(|worker| worker.generation == old && !worker.state.is_leaving()) {
            if admitted {
                self.drain(now, id, DrainReason::Reload);
            } else {
                self.kill(now, id, KillReason::Outdated);
            }
        }
        self.actions.push(Action::Notice(Notice::ReloadDone { generation }));
    }

    /// Take out what is too much: after scaling down, and retiring workers whose replacement is ready.
    fn shed(&mut self, now: Duration) {
        for generation in [Some(self.active), self.candidate].into_iter().flatten() {
            let surplus = self.count(generation).fresh().saturating_sub(self.target);
            let starting = self.of(generation, WorkerState::is_starting);
            let ready = self.of(generation, |state| state == WorkerState::Ready);
            let youngest_first = starting.into_iter().rev().chain(ready.into_iter().rev());
            for (id, admitted) in youngest_first.take(surplus) {
                if admitted {
                    self.drain(now, id, DrainReason::ScaleDown);
                } else {
                    self.kill(now, id, KillReason::ScaleDown);
                }
            }
        }
        let count = self.count(self.active);
        let replaced = (count.ready + count.retiring).saturating_sub(self.target);
        for (id, _) in self.of(self.active, |state| state == WorkerState::Retiring).into_iter().take(replaced)
        {
            self.drain(now, id, DrainReason::Quota);
        }
    }

    /// Start what is missing: first of the generation that serves, then of the one that is to follow it.
    fn fill(&mut self, now: Duration) {
        let allowed = self.backoff.allowance(now, self.count(self.active).starting);
        for _ in 0..self.missing().min(allowed) {
            self.spawn(now, self.active);
        }
        if let Some(generation) = self.candidate {
            let count = self.count(generation);
            let leaving = self.workers.values().filter(|worker| worker.state.is_leaving()).count();
            // What is left of the bound is kept for the generation that serves.
            let room = (2 * self.peak + self.settings.surge).saturating_sub(count.fresh() + leaving);
            for _ in 0..self.target.saturating_sub(count.fresh()).min(room) {
                self.spawn(now, generation);
            }
        }
    }

    /// How many workers of the active generation should be started, pauses aside.
    fn missing(&self) -> usize {
        let count = self.count(self.active);
        let wanted = self.target.saturating_sub(count.fresh());
        let beside_retiring =
            (self.target + self.settings.surge).saturating_sub(count.fresh() + count.retiring);
        let bound = 3 * self.peak + 2 * self.settings.surge;
        wanted.min(beside_retiring).min(bound.saturating_sub(self.workers.len()))
    }

    fn spawn(&mut self, now: Duration, generation: u64) {
        self.last_worker += 1;
        let worker = WorkerId(self.last_worker);
        let jitter = self.random.up_to(self.settings.max_requests_jitter);
        let max_requests = self.settings.max_requests.map(|most| most.saturating_add(jitter));
        self.workers.insert(worker, Worker::new(generation, now, self.settings.start_timeout));
        self.actions.push(Action::Spawn { worker, generation, max_requests });
    }

    fn serving_count(&self) -> usize {
        let count = self.count(self.active);
        count.ready + count.retiring
    }

    fn count(&self, generation: u64) -> Count {
        let mut count = Count::default();
        for worker in self.workers.values().filter(|worker| worker.generation == generation) {
            match worker.state {
                WorkerState::Ready => count.ready += 1,
                WorkerState::Retiring => count.retiring += 1,
                state if state.is_starting() => count.starting += 1,
                _ => {}
            }
        }
        count
    }

    fn of(&self, generation: u64, matches: fn(WorkerState) -> bool) -> Vec<(WorkerId, bool)> {
        self.ids(|worker| worker.generation == generation && matches(worker.state))
    }
}
