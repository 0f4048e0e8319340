//! A picture of the supervisor for `status`, metrics, the log and tests. Taking it changes nothing.

use std::fmt;
use std::time::Duration;

use crate::endings::{Endings, Failure};
use crate::event::WorkerId;
use crate::supervisor::{Phase, Supervisor};
use crate::worker::{Worker, WorkerState};

/// What the application as a whole is doing. Its `Display` is the word for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AppState {
    /// `Event::Start` has not come.
    Idle,
    /// The first workers are on the way, or the first one after sleep.
    Starting,
    /// At least `min` workers serve, and at least one.
    Serving,
    /// Some workers serve, fewer than `min`.
    Degraded,
    /// No worker serves, and the next one is started at [`Status::next_attempt`].
    BackingOff,
    /// No worker serves after some did; attempts go on.
    Down,
    /// No worker is wanted until a request comes.
    Asleep,
    /// On the way to `Stopped`.
    Stopping,
    /// No process is left; `Event::Start` begins anew.
    Stopped,
}

/// The supervisor at the time of the last step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub state: AppState,
    /// Wanted workers, now and at any time.
    pub target: usize,
    pub min: usize,
    pub max: usize,
    /// Workers the router may use.
    pub serving: usize,
    /// The active generation; 0 before the start.
    pub generation: u64,
    /// The generation a reload is starting.
    pub reloading: Option<u64>,
    /// When the next worker is started, while backing off.
    pub next_attempt: Option<Duration>,
    /// Pauses in this row; 0 when all is well.
    pub backoff_round: u32,
    /// How workers have ended so far, and the last one that was lost.
    pub endings: Endings,
    pub last_failure: Option<Failure>,
    /// Every worker that is not gone, oldest first.
    pub workers: Vec<WorkerStatus>,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    pub id: WorkerId,
    pub pid: Option<u32>,
    pub generation: u64,
    pub state: WorkerState,
    /// When it entered that state.
    pub since: Duration,
}

impl fmt::Display for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "not started",
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Degraded => "degraded",
            Self::BackingOff => "backing off",
            Self::Down => "down",
            Self::Asleep => "asleep",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

impl Supervisor {
    /// The situation after the last step.
    pub fn status(&self) -> Status {
        let serving =
            self.workers.values().filter(|w| w.state.is_serving() && w.admitted_at.is_some()).count();
        let worker = |(id, worker): (&WorkerId, &Worker)| WorkerStatus {
            id: *id,
            pid: worker.pid,
            generation: worker.generation,
            state: worker.state,
            since: worker.since,
        };
        Status {
            state: self.state(serving),
            target: self.elastic.target(),
            min: self.elastic.min(),
            max: self.elastic.max(),
            serving,
            generation: self.active,
            reloading: self.candidate,
            next_attempt: self.next_attempt(),
            backoff_round: self.backoff.round(),
            endings: self.endings,
            last_failure: self.last_failure.clone(),
            workers: self.workers.iter().map(worker).collect(),
        }
    }

    fn state(&self, serving: usize) -> AppState {
        match self.phase {
            Phase::Idle => AppState::Idle,
            Phase::Stopping => AppState::Stopping,
            Phase::Stopped => AppState::Stopped,
            Phase::Running if self.elastic.target() == 0 => AppState::Asleep,
            Phase::Running if serving == 0 && self.next_attempt().is_some() => AppState::BackingOff,
            Phase::Running if !self.up => AppState::Starting,
            Phase::Running if serving == 0 => AppState::Down,
            Phase::Running if serving < self.elastic.min() => AppState::Degraded,
            Phase::Running => AppState::Serving,
        }
    }
}
