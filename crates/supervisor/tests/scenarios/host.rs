//! A driver in a few lines: one supervisor, a clock moved by hand, and the questions the tests ask.

use std::time::Duration;

use supervisor::{
    Action, DrainReason, Event, ExitStatus, KillReason, Notice, Settings, Supervisor, WorkerId,
};

pub(crate) struct Host {
    pub(crate) supervisor: Supervisor,
    pub(crate) now: Duration,
    pub(crate) actions: Vec<Action>,
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A fixed number of workers.
pub(crate) fn settings(workers: usize) -> Settings {
    elastic(workers, workers)
}

/// A worker that is not needed leaves after 60 s.
pub(crate) fn elastic(min_workers: usize, max_workers: usize) -> Settings {
    Settings { min_workers, max_workers, idle: seconds(60), ..Settings::default() }
}

impl Host {
    /// Started, nothing ready yet.
    pub(crate) fn start(settings: Settings) -> Self {
        let mut host =
            Self { supervisor: Supervisor::new(settings, 1), now: seconds(100), actions: Vec::new() };
        host.tell(Event::Start);
        host
    }

    /// Started, and every first worker serves.
    pub(crate) fn serving(settings: Settings) -> Self {
        let mut host = Self::start(settings);
        host.boot_all();
        assert_eq!(host.supervisor.status().serving, host.supervisor.status().target);
        host.wait(seconds(60));
        host
    }

    /// One event now; `actions` are those of this step.
    pub(crate) fn tell(&mut self, event: Event) {
        self.actions = self.supervisor.step(self.now, event);
    }

    /// Let time pass, with a tick at each deadline; `actions` are those of all steps.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut all = Vec::new();
        while let Some(at) = self.supervisor.next_deadline().filter(|at| *at <= end) {
            assert!(at > self.now, "{at:?} is not after {:?}", self.now);
            self.now = at;
            self.tell(Event::Tick);
            all.append(&mut self.actions);
        }
        self.now = end;
        self.actions = all;
    }

    pub(crate) fn boot(&mut self, worker: WorkerId) {
        let pid = u32::try_from(worker.0).unwrap() + 1_000;
        self.tell(Event::Spawned { worker, pid });
        self.tell(Event::Ready { worker });
    }

    /// Boot whatever the last actions spawned; `actions` are those of all steps.
    pub(crate) fn boot_all(&mut self) {
        let mut all = Vec::new();
        for (worker, _) in self.spawned() {
            self.boot(worker);
            all.append(&mut self.actions);
        }
        self.actions = all;
    }

    pub(crate) fn exit(&mut self, worker: WorkerId, status: ExitStatus) {
        self.tell(Event::Exited { worker, status });
    }

    /// `kill -9` from outside.
    pub(crate) fn die(&mut self, worker: WorkerId) {
        self.exit(worker, ExitStatus::Signal(9));
    }

    pub(crate) fn spawned(&self) -> Vec<(WorkerId, u64)> {
        let spawn = |action: &Action| match action {
            Action::Spawn { worker, generation, .. } => Some((*worker, *generation)),
            _ => None,
        };
        self.actions.iter().filter_map(spawn).collect()
    }

    pub(crate) fn only_spawned(&self) -> WorkerId {
        let spawned = self.spawned();
        assert_eq!(spawned.len(), 1, "{:?}", self.actions);
        spawned[0].0
    }

    pub(crate) fn admitted(&self) -> Vec<WorkerId> {
        let admit = |action: &Action| match action {
            Action::Admit { worker } => Some(*worker),
            _ => None,
        };
        self.actions.iter().filter_map(admit).collect()
    }

    pub(crate) fn drained(&self) -> Vec<(WorkerId, DrainReason)> {
        let drain = |action: &Action| match action {
            Action::Drain { worker, why } => Some((*worker, *why)),
            _ => None,
        };
        self.actions.iter().filter_map(drain).collect()
    }

    pub(crate) fn killed(&self) -> Vec<(WorkerId, KillReason)> {
        let kill = |action: &Action| match action {
            Action::Kill { worker, why } => Some((*worker, *why)),
            _ => None,
        };
        self.actions.iter().filter_map(kill).collect()
    }

    pub(crate) fn notices(&self) -> Vec<String> {
        let notice = |action: &Action| match action {
            Action::Notice(notice) => Some(notice.to_string()),
            _ => None,
        };
        self.actions.iter().filter_map(notice).collect()
    }

    pub(crate) fn pause(&self) -> Option<Duration> {
        self.actions.iter().find_map(|action| match action {
            Action::Notice(Notice::BackOff { delay, .. }) => Some(*delay),
            _ => None,
        })
    }

    pub(crate) fn did(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }
}
