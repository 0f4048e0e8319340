//! The state machine: what each event means.
//!
//! Every step first lets workers prove themselves stable, then handles the event, then whatever has passed its deadline,
//! and at last compares what is with what should be (`plan.rs`). Handlers only record facts and their immediate
//! consequences (kill, drain); they start no worker.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use crate::action::{Action, DrainReason, KillReason, Notice};
use crate::backoff::Backoff;
use crate::event::{Event, WorkerId};
use crate::lifecycle::Input;
use crate::random::Random;
use crate::settings::Settings;
use crate::status::{AppState, Status, WorkerStatus};
use crate::worker::{Worker, WorkerState};

/// The supervisor of one application; see the crate's documentation for its rules.
#[derive(Debug)]
pub struct Supervisor {
    pub(crate) settings: Settings,
    pub(crate) random: Random,
    pub(crate) backoff: Backoff,
    pub(crate) phase: Phase,
    /// Wanted workers, and the highest this ever was.
    pub(crate) target: usize,
    pub(crate) peak: usize,
    /// The generation that serves, the one a reload is starting, and the last number given out.
    pub(crate) active: u64,
    pub(crate) candidate: Option<u64>,
    pub(crate) last_generation: u64,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) last_worker: u64,
    /// A worker was admitted at least once; all wanted ones were at least once.
    pub(crate) ever_ready: bool,
    pub(crate) all_ready_once: bool,
    failed: Option<String>,
    clock: Duration,
    pub(crate) actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    Running,
    Stopping,
    Stopped,
}

impl Supervisor {
    /// Nothing is started before `Event::Start`. `seed` decides the jitter of quotas and pauses.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let settings = settings.checked();
        Self {
            random: Random::new(seed),
            backoff: Backoff::new(&settings),
            phase: Phase::Idle,
            target: settings.workers,
            peak: settings.workers,
            active: 0,
            candidate: None,
            last_generation: 0,
            workers: BTreeMap::new(),
            last_worker: 0,
            ever_ready: false,
            all_ready_once: false,
            failed: None,
            clock: Duration::ZERO,
            actions: Vec::new(),
            settings,
        }
    }

    /// Handle one event. `now` is the time since any fixed origin; a time before the last one is taken as the last one.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        self.clock = self.clock.max(now);
        let now = self.clock;
        self.observe_stability(now);
        self.handle(now, event);
        self.expire(now);
        self.reconcile(now);
        mem::take(&mut self.actions)
    }

    /// When `step` must be called at the latest, with `Event::Tick` if nothing happens; always after the last step.
    /// `None`: nothing is due until an event comes.
    pub fn next_deadline(&self) -> Option<Duration> {
        let workers = self.workers.values().filter_map(|worker| worker.deadline).min();
        let attempt = self.next_attempt();
        workers.into_iter().chain(attempt).min()
    }

    /// The situation after the last step.
    pub fn status(&self) -> Status {
        let serving =
            self.workers.values().filter(|w| w.state.is_serving() && w.admitted_at.is_some()).count();
        let state = match self.phase {
            Phase::Idle => AppState::Idle,
            Phase::Stopping => AppState::Stopping,
            Phase::Stopped => AppState::Stopped,
            Phase::Running if !self.all_ready_once => AppState::Starting,
            Phase::Running if serving >= self.target => AppState::Serving,
            Phase::Running if serving > 0 => AppState::Degraded,
            Phase::Running => AppState::Down,
        };
        let worker = |(id, worker): (&WorkerId, &Worker)| WorkerStatus {
            id: *id,
            pid: worker.pid,
            generation: worker.generation,
            state: worker.state,
            since: worker.since,
        };
        Status {
            state,
            target: self.target,
            serving,
            generation: self.active,
            reloading: self.candidate,
            next_attempt: self.next_attempt(),
            backoff_round: self.backoff.round(),
            workers: self.workers.iter().map(worker).collect(),
        }
    }

    fn next_attempt(&self) -> Option<Duration> {
        if self.wants_more_workers() { self.backoff.resume_at(self.clock) } else { None }
    }

    fn handle(&mut self, now: Duration, event: Event) {
        match event {
            Event::Start => self.start(),
            Event::Spawned { worker, pid } => self.spawned(now, worker, pid),
            Event::SpawnFailed { worker, error } => self.spawn_failed(now, worker, &error),
            Event::Ready { worker } => self.ready(now, worker),
            Event::BootFailed { worker, reason } => {
                if let Some(before) = self.advance(now, worker, Input::BootFailed) {
                    self.condemn(now, worker, KillReason::BootFailed);
                    self.lost(now, worker, &before, reason);
                }
            }
            Event::Exited { worker, status } => {
                if let Some(before) = self.advance(now, worker, Input::Exited) {
                    self.lost(now, worker, &before, status.to_string());
                }
            }
            Event::QuotaReached { worker } => {
                // Only an admitted worker can have been given requests.
                if self.workers.get(&worker).is_some_and(|w| w.admitted_at.is_some()) {
                    self.advance(now, worker, Input::Quota);
                }
            }
            Event::Hung { worker } => self.hung(now, worker),
            Event::Misbehaved { worker, reason } => {
                if let Some(before) = self.advance(now, worker, Input::Misbehaved) {
                    self.condemn(now, worker, KillReason::Misbehaved);
                    self.lost(now, worker, &before, reason);
                }
            }
            Event::Drained { worker } => self.drained(now, worker),
            Event::Reload => self.reload(now),
            Event::Scale(delta) => {
                let delta = isize::try_from(delta).unwrap_or(0);
                self.set_target(self.target.saturating_add_signed(delta));
            }
            Event::SetTarget(target) => self.set_target(target),
            Event::Stop => self.stop(now),
            Event::StopNow => self.stop_now(now, KillReason::Stop),
            Event::Tick => {}
        }
    }

    fn start(&mut self) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Running;
            self.last_generation = 1;
            self.active = 1;
            self.actions.push(Action::Activate { generation: 1 });
        }
    }

    fn spawned(&mut self, now: Duration, id: WorkerId, pid: u32) {
        // A second `Spawned` for the same worker would have us lose track of a process: the first one counts.
        if self.workers.get(&id).is_some_and(|worker| worker.pid.is_some()) {
            return;
        }
        if self.advance(now, id, Input::Spawned).is_some()
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.pid = Some(pid);
            if let Some(why) = worker.condemned {
                self.condemn(now, id, why);
            }
        }
    }

    fn spawn_failed(&mut self, now: Duration, id: WorkerId, error: &str) {
        if self.workers.get(&id).is_some_and(|worker| worker.pid.is_some()) {
            return;
        }
        if let Some(before) = self.advance(now, id, Input::SpawnFailed) {
            self.lost(now, id, &before, format!("could not be started: {error}"));
        }
    }

    fn ready(&mut self, now: Duration, id: WorkerId) {
        let Some(before) = self.advance(now, id, Input::Ready) else {
            return;
        };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.deadline = None;
        }
        if before.generation == self.active {
            self.backoff.became_ready(before.spawned_at);
            self.admit(now, id);
        }
    }

    fn hung(&mut self, now: Duration, id: WorkerId) {
        let Some(before) = self.advance(now, id, Input::Hung) else {
            return;
        };
        let deadline = now.saturating_add(self.settings.hang_grace);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.hung = true;
            worker.deadline = Some(before.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
        }
        if before.state.is_serving() {
            self.actions.push(Action::Drain { worker: id, why: DrainReason::Hung });
            self.lost(now, id, &before, "a request hung".to_owned());
        }
    }

    fn drained(&mut self, now: Duration, id: WorkerId) {
        // The deadline of the drain stays: a worker may need time to end its lifespan, not for ever.
        self.advance(now, id, Input::Drained);
    }

    fn reload(&mut self, now: Duration) {
        if self.phase != Phase::Running {
            return;
        }
        if let Some(generation) = self.candidate {
            self.actions.push(Action::Notice(Notice::ReloadSuperseded { generation }));
            self.abandon_candidate(now);
        }
        self.last_generation += 1;
        self.candidate = Some(self.last_generation);
        let notice = Notice::ReloadStarted { generation: self.last_generation, workers: self.target };
        self.actions.push(Action::Notice(notice));
    }

    fn set_target(&mut self, wanted: usize) {
        let to = wanted.clamp(1, self.settings.max_workers);
        if matches!(self.phase, Phase::Idle | Phase::Running) && to != self.target {
            self.actions.push(Action::Notice(Notice::Scaled { from: self.target, to }));
            self.target = to;
            self.peak = self.peak.max(to);
        }
    }

    fn stop(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Stopping | Phase::Stopped) {
            return;
        }
        self.phase = Phase::Stopping;
        self.candidate = None;
        for (id, admitted) in self.ids(|_| true) {
            if admitted {
                self.drain(now, id, DrainReason::Stop);
            } else {
                self.kill(now, id, KillReason::Stop);
            }
        }
    }

    fn stop_now(&mut self, now: Duration, why: KillReason) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.phase = Phase::Stopping;
        self.candidate = None;
        for (id, _) in self.ids(|_| true) {
            self.kill(now, id, why);
        }
    }

    /// A worker has ended, or can no longer serve, for a reason of its own. `before` is what it was until now.
    fn lost(&mut self, now: Duration, id: WorkerId, before: &Worker, reason: String) {
        if self.phase != Phase::Running || before.state.is_leaving() {
            return;
        }
        let (pid, generation) = (before.pid, before.generation);
        let starting = before.state.is_starting();
        let notice = if starting {
            Notice::BootFailed { worker: id, pid, generation, reason: reason.clone() }
        } else {
            Notice::Lost { worker: id, pid, generation, reason: reason.clone(), served: before.served(now) }
        };
        self.actions.push(Action::Notice(notice));
        if self.candidate == Some(generation) {
            let kept = self.active;
            self.actions.push(Action::Notice(Notice::ReloadFailed { generation, kept, reason }));
            return self.abandon_candidate(now);
        }
        if starting && !self.ever_ready && self.settings.give_up_on_first_boot_failure {
            self.failed = Some(reason);
            return self.stop_now(now, KillReason::GaveUp);
        }
        let pause = if starting {
            Some(self.backoff.start_failed(now, before.spawned_at, &mut self.random))
        } else {
            let served = before.served(now);
            self.backoff.died(now, before.spawned_at, served, self.target, &mut self.random)
        };
        if let Some(pause) = pause {
            let notice = Notice::BackOff { until: pause.until, delay: pause.delay, round: pause.round };
            self.actions.push(Action::Notice(notice));
        }
    }

    fn abandon_candidate(&mut self, now: Duration) {
        let Some(generation) = self.candidate.take() else {
            return;
        };
        for (id, _) in self.ids(|worker| worker.generation == generation) {
            self.kill(now, id, KillReason::ReloadAbandoned);
        }
    }

    /// Act on every state that has lasted too long.
    fn expire(&mut self, now: Duration) {
        for (id, _) in self.ids(|worker| worker.deadline.is_some_and(|at| at <= now)) {
            let Some(before) = self.workers.get(&id).cloned() else {
                continue;
            };
            match before.state {
                // Those of an abandoned reload may have been killed by this very loop: they are `Dying`, not due.
                WorkerState::Spawning | WorkerState::Booting => {
                    self.kill(now, id, KillReason::StartTimeout);
                    let timeout = self.settings.start_timeout.as_secs_f64();
                    self.lost(now, id, &before, format!("was not ready within {timeout} s"));
                }
                WorkerState::Draining | WorkerState::Finishing if before.hung => {
                    self.kill(now, id, KillReason::HangGrace);
                }
                WorkerState::Draining | WorkerState::Finishing => {
                    self.kill(now, id, KillReason::GracefulTimeout);
                }
                WorkerState::Dying if before.deadline.is_some_and(|at| at <= now) => {
                    self.actions.push(Action::Notice(Notice::StillAlive { worker: id, pid: before.pid }));
                    self.condemn(now, id, before.condemned.unwrap_or(KillReason::Stop));
                }
                _ => {}
            }
        }
    }

    fn observe_stability(&mut self, now: Duration) {
        for worker in self.workers.values() {
            if worker.state.is_serving()
                && worker.generation == self.active
                && worker.admitted_at.is_some()
                && worker.served(now) >= self.settings.stable_after
            {
                self.backoff.proved_stable(worker.spawned_at);
            }
        }
    }

    pub(crate) fn finish(&mut self) {
        self.phase = Phase::Stopped;
        self.actions.push(Action::Stopped { failed: self.failed.take() });
    }
}
