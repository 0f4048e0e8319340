//! A picture of the supervisor for `status`, the log and tests. Reading it changes nothing.

use std::time::Duration;

use crate::event::WorkerId;
use crate::worker::WorkerState;

/// What the application as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AppState {
    /// `Event::Start` has not come.
    Idle,
    /// Not all first workers have been ready yet.
    Starting,
    /// As many workers as wanted serve.
    Serving,
    /// Some workers serve, fewer than wanted.
    Degraded,
    /// No worker serves; attempts go on.
    Down,
    /// On the way to `Stopped`.
    Stopping,
    /// No process is left.
    Stopped,
}

/// The supervisor at the time of the last step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub state: AppState,
    /// Wanted workers.
    pub target: usize,
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
