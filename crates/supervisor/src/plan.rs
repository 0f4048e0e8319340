//! Compares the workers there are with those there should be, and does what is missing.
//!
//! Nothing here remembers anything: each rule is a comparison of counts, so it does not matter which event, or how many
//! at once, led here.

use std::time::Duration;

use crate::action::{Action, DrainReason, KillReason, Notice, ScaleReason};
use crate::endings::Cause;
use crate::event::WorkerId;
use crate::supervisor::{Phase, Supervisor};
use crate::worker::{Worker, WorkerState};

/// The workers of one generation.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    starting: usize,
    ready: usize,
    retiring: usize,
    /// Of these `retiring`, those that no replacement fits beside.
    staying: usize,
    /// Leaving, and nothing may be started in their place before they are gone.
    making_room: usize,
}

impl Count {
    /// Those that count towards the target; any other worker is one too many or about to be.
    fn placed(self) -> usize {
        self.starting + self.ready + self.staying + self.making_room
    }

    fn serving(self) -> usize {
        self.ready + self.retiring
    }
}

impl Supervisor {
    pub(crate) fn reconcile(&mut self, now: Duration) {
        match self.phase {
            Phase::Running => {
                self.activate_when_ready(now);
                self.shrink(now);
                self.forget_who_is_not_awaited(now);
                self.shed(now);
                self.make_room(now);
                self.fill(now);
                self.announce();
            }
            Phase::Stopping if self.workers.is_empty() => self.finish(),
            Phase::Idle | Phase::Stopping | Phase::Stopped => {}
        }
    }

    /// Whether `fill` would start workers of the active generation if there were no pause.
    pub(crate) fn wants_more_workers(&self) -> bool {
        self.phase == Phase::Running && self.missing() > 0
    }

    /// None is missing, under way or being exchanged: a request that waits now needs one worker more.
    pub(crate) fn all_wanted_are_ready(&self) -> bool {
        self.count(self.active).ready >= self.elastic.target()
    }

    /// When idleness takes out a worker. Not during a reload, which has to boot as many workers as there were.
    pub(crate) fn next_shrink(&self) -> Option<Duration> {
        let may_shrink = self.phase == Phase::Running && self.candidate.is_none();
        if may_shrink { self.elastic.shrinks_at() } else { None }
    }

    fn activate_when_ready(&mut self, now: Duration) {
        let Some(generation) = self.candidate else { return };
        if self.count(generation).ready < self.elastic.target() {
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

    fn shrink(&mut self, now: Duration) {
        if self.next_shrink().is_some_and(|at| at <= now) {
            self.retarget(ScaleReason::Idle, |elastic| elastic.shrink(now));
        }
    }

    /// When a pause is over, what was started for requests is tried again only if requests wait for it: the machine is not
    /// to be kept busy with an application that does not boot and that nobody asks for.
    fn forget_who_is_not_awaited(&mut self, now: Duration) {
        if !self.backoff.is_probing(now) || self.candidate.is_some() || self.elastic.is_asked(now) {
            return;
        }
        let count = self.count(self.active);
        if count.starting == 0 && self.missing() > 0 {
            self.retarget(ScaleReason::NotAwaited, |elastic| elastic.fall_to(now, count.placed()));
        }
    }

    /// Take out what is too much: after scaling down, and retiring workers whose replacement is ready.
    fn shed(&mut self, now: Duration) {
        let target = self.elastic.target();
        for generation in [Some(self.active), self.candidate].into_iter().flatten() {
            let count = self.count(generation);
            let surplus = (count.starting + count.ready).saturating_sub(target);
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
        let replaced = self.count(self.active).serving().saturating_sub(target);
        let retiring = self.of(self.active, |state| state == WorkerState::Retiring);
        for (id, _) in retiring.into_iter().take(replaced) {
            self.drain_retiring(now, id);
        }
    }

    /// Workers that no replacement fits beside go first: one at a time, and only while all others serve.
    fn make_room(&mut self, now: Duration) {
        let count = self.count(self.active);
        if count.staying == 0 || count.making_room > 0 || count.serving() < self.elastic.target() {
            return;
        }
        let staying = self.workers.iter().find(|(_, worker)| {
            worker.generation == self.active
                && worker.state == WorkerState::Retiring
                && worker.keeps_its_place()
        });
        if let Some(id) = staying.map(|(id, _)| *id) {
            self.drain_retiring(now, id);
        }
    }

    fn drain_retiring(&mut self, now: Duration, id: WorkerId) {
        let retirement = self.workers.get(&id).and_then(|worker| worker.retirement);
        let why = retirement.map_or(DrainReason::Quota, |retirement| retirement.why);
        self.endings.count(if why == DrainReason::Outgrown { Cause::Outgrown } else { Cause::Quota });
        self.drain(now, id, why);
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
            let room = (2 * self.peak + self.settings.surge).saturating_sub(count.placed() + leaving);
            for _ in 0..self.elastic.target().saturating_sub(count.placed()).min(room) {
                self.spawn(now, generation);
            }
        }
    }

    fn announce(&mut self) {
        let serving = self.count(self.active).serving();
        if self.elastic.target() == 0 && serving == 0 {
            self.up = false;
        } else if serving >= self.elastic.min().max(1) {
            self.up = true;
        }
        if !self.announced && serving >= self.elastic.min() {
            (self.announced, self.first_boot_over) = (true, true);
            self.actions.push(Action::FirstReady);
        }
    }

    /// How many workers of the active generation should be started, pauses aside.
    fn missing(&self) -> usize {
        let count = self.count(self.active);
        let target = self.elastic.target();
        let wanted = target.saturating_sub(count.placed());
        let replaceable = count.retiring - count.staying;
        let beside_retiring = (target + self.settings.surge).saturating_sub(count.placed() + replaceable);
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

    fn count(&self, generation: u64) -> Count {
        let mut count = Count::default();
        for worker in self.workers.values().filter(|worker| worker.generation == generation) {
            match worker.state {
                WorkerState::Ready => count.ready += 1,
                WorkerState::Retiring => {
                    count.retiring += 1;
                    count.staying += usize::from(worker.keeps_its_place());
                }
                state if state.is_starting() => count.starting += 1,
                _ => count.making_room += usize::from(worker.keeps_its_place()),
            }
        }
        count
    }

    fn of(&self, generation: u64, matches: fn(WorkerState) -> bool) -> Vec<(WorkerId, bool)> {
        self.ids(|worker| worker.generation == generation && matches(worker.state))
    }
}
