//! The state machine: what each event means.
//!
//! Every step first lets workers prove themselves stable, then handles the event, then whatever has passed its deadline,
//! and at last compares what is with what should be (`plan.rs`). Handlers only record facts and their immediate
//! consequences (kill, drain); they start no worker.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use crate::action::{Action, DrainReason, KillReason, NOT_STARTED, Notice, ScaleReason};
use crate::backoff::Backoff;
use crate::elastic::Elastic;
use crate::endings::{Cause, Endings, Failure};
use crate::event::{Event, WorkerId};
use crate::lifecycle::Input;
use crate::random::Random;
use crate::settings::Settings;
use crate::worker::{Retirement, Worker, WorkerState};

/// The supervisor of one application; see the crate's documentation for its rules.
#[derive(Debug)]
pub struct Supervisor {
    pub(crate) settings: Settings,
    pub(crate) random: Random,
    pub(crate) backoff: Backoff,
    pub(crate) phase: Phase,
    /// The number of wanted workers, and the highest it ever was.
    pub(crate) elastic: Elastic,
    pub(crate) peak: usize,
    /// The generation that serves, the one a reload is starting, and the last number given out.
    pub(crate) active: u64,
    pub(crate) candidate: Option<u64>,
    pub(crate) last_generation: u64,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) last_worker: u64,
    /// A worker was admitted since the start, or none is wanted: a failed boot is not the first any more.
    pub(crate) first_boot_over: bool,
    /// `Action::FirstReady` was issued since the start.
    pub(crate) announced: bool,
    /// As many workers as `min` wants, at least one, have served since the start or the last sleep.
    pub(crate) up: bool,
    /// Why the first boot failed, until `Action::Stopped` says it.
    pub(crate) failed: Option<String>,
    pub(crate) endings: Endings,
    pub(crate) last_failure: Option<Failure>,
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
        let elastic = Elastic::new(&settings);
        Self {
            random: Random::new(seed),
            backoff: Backoff::new(&settings),
            phase: Phase::Idle,
            peak: elastic.target(),
            elastic,
            active: 0,
            candidate: None,
            last_generation: 0,
            workers: BTreeMap::new(),
            last_worker: 0,
            first_boot_over: false,
            announced: false,
            up: false,
            failed: None,
            endings: Endings::default(),
            last_failure: None,
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

    /// Take over the times and quotas of a new configuration, for workers started and drained from now on. The numbers of
    /// workers are changed by [`Event::SetLimits`].
    pub fn set_times(&mut self, settings: &Settings) {
        let settings = settings.clone().checked();
        self.settings.start_timeout = settings.start_timeout;
        self.settings.graceful_timeout = settings.graceful_timeout;
        self.settings.hang_grace = settings.hang_grace;
        self.settings.max_requests = settings.max_requests;
        self.settings.max_requests_jitter = settings.max_requests_jitter;
    }

    /// When `step` must be called at the latest, with `Event::Tick` if nothing happens; always after the last step.
    /// `None`: nothing is due until an event comes.
    pub fn next_deadline(&self) -> Option<Duration> {
        let workers = self.workers.values().filter_map(|worker| worker.deadline).min();
        workers.into_iter().chain(self.next_attempt()).chain(self.next_shrink()).min()
    }

    pub(crate) fn next_attempt(&self) -> Option<Duration> {
        if self.wants_more_workers() { self.backoff.resume_at(self.clock) } else { None }
    }

    fn handle(&mut self, now: Duration, event: Event) {
        match event {
            Event::Start => self.start(now),
            Event::Spawned { worker, pid } => self.spawned(now, worker, pid),
            Event::SpawnFailed { worker, error } => self.spawn_failed(now, worker, &error),
            Event::Ready { worker } => self.ready(now, worker),
            Event::BootFailed { worker, reason } => {
                if let Some(before) = self.advance(now, worker, Input::BootFailed) {
                    self.condemn(now, worker, KillReason::BootFailed);
                    self.lost(now, worker, &before, Cause::BootFailed, reason);
                }
            }
            Event::Exited { worker, status } => {
                if let Some(before) = self.advance(now, worker, Input::Exited) {
                    let cause = Cause::of_exit(before.state.is_starting(), status);
                    self.lost(now, worker, &before, cause, status.to_string());
                }
            }
            Event::QuotaReached { worker } => {
                self.retire(now, worker, Retirement { why: DrainReason::Quota, room: true });
            }
            Event::Outgrown { worker, room } => {
                self.retire(now, worker, Retirement { why: DrainReason::Outgrown, room });
            }
            Event::Hung { worker } => self.hung(now, worker),
            Event::Misbehaved { worker, reason } => {
                if let Some(before) = self.advance(now, worker, Input::Misbehaved) {
                    self.condemn(now, worker, KillReason::Misbehaved);
                    self.lost(now, worker, &before, Cause::Misbehaved, reason);
                }
            }
            Event::Drained { worker } => self.drained(now, worker),
            Event::Reload => self.reload(now),
            Event::Demand => self.demand(now),
            Event::Load { busy_workers, waiting } => self.elastic.load(now, busy_workers, waiting),
            Event::Scale(delta) => {
                let delta = isize::try_from(delta).unwrap_or(0);
                let workers = self.elastic.target().saturating_add_signed(delta);
                self.retarget(ScaleReason::Operator, |elastic| elastic.pin(now, workers));
            }
            Event::SetTarget(workers) => {
                self.retarget(ScaleReason::Operator, |elastic| elastic.pin(now, workers));
            }
            Event::SetLimits { min, max, idle } => {
                self.retarget(ScaleReason::Limits, |elastic| elastic.set_limits(now, min, max, idle));
            }
            Event::Stop => self.stop(now),
            Event::StopNow => self.stop_now(now, KillReason::Stop),
            Event::Tick => {}
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
            self.lost(now, id, &before, Cause::BootFailed, format!("{NOT_STARTED}{error}"));
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

    fn demand(&mut self, now: Duration) {
        if self.phase == Phase::Running {
            let grow = self.all_wanted_are_ready();
            self.retarget(ScaleReason::Demand, |elastic| elastic.demand(now, grow));
        }
    }

    /// The first reason counts.
    fn retire(&mut self, now: Duration, id: WorkerId, retirement: Retirement) {
        // Only an admitted worker can have been given requests.
        if self.workers.get(&id).is_some_and(|worker| worker.admitted_at.is_some())
            && self.advance(now, id, Input::Retire).is_some()
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.retirement = Some(retirement);
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
            self.lost(now, id, &before, Cause::Hung, "a request hung".to_owned());
        }
    }

    fn drained(&mut self, now: Duration, id: WorkerId) {
        // The deadline of the drain stays: a worker may need time to end its lifespan, not for ever.
        self.advance(now, id, Input::Drained);
    }

    /// A worker has ended, or can no longer serve, for a reason of its own. `before` is what it was until now.
    fn lost(&mut self, now: Duration, id: WorkerId, before: &Worker, cause: Cause, reason: String) {
        if self.phase != Phase::Running || before.state.is_leaving() {
            return;
        }
        let (pid, generation) = (before.pid, before.generation);
        self.endings.count(cause);
        self.last_failure = Some(Failure { at: now, worker: id, generation, cause, reason: reason.clone() });
        let starting = before.state.is_starting();
        let notice = if starting {
            Notice::BootFailed { worker: id, pid, generation, cause, reason: reason.clone() }
        } else {
            let served = before.served(now);
            Notice::Lost { worker: id, pid, generation, cause, reason: reason.clone(), served }
        };
        self.actions.push(Action::Notice(notice));
        if self.candidate == Some(generation) {
            let kept = self.active;
            self.actions.push(Action::Notice(Notice::ReloadFailed { generation, kept, reason }));
            return self.abandon_candidate(now);
        }
        if starting && !self.first_boot_over && self.settings.give_up_on_first_boot_failure {
            self.failed = Some(reason);
            return self.stop_now(now, KillReason::GaveUp);
        }
        let pause = if starting {
            Some(self.backoff.start_failed(now, before.spawned_at, &mut self.random))
        } else {
            let served = before.served(now);
            self.backoff.died(now, before.spawned_at, served, self.elastic.target(), &mut self.random)
        };
        if let Some(pause) = pause {
            let notice = Notice::BackOff { until: pause.until, delay: pause.delay, round: pause.round };
            self.actions.push(Action::Notice(notice));
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
                    let reason = format!("was not ready within {timeout} s");
                    self.lost(now, id, &before, Cause::StartTimeout, reason);
                }
                WorkerState::Draining | WorkerState::Finishing => {
                    let why = if before.hung { KillReason::HangGrace } else { KillReason::GracefulTimeout };
                    self.endings.count(Cause::Overdue);
                    self.kill(now, id, why);
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
}
