//! What is remembered of one worker. Which state follows which is in `lifecycle.rs`.

use std::time::Duration;

use crate::action::{DrainReason, KillReason};

/// Where a worker is in its life; the diagram is in the crate's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerState {
    /// Asked for, no process yet.
    Spawning,
    /// The process runs, the application is not ready.
    Booting,
    /// Can serve.
    Ready,
    /// Serves, and waits for its replacement.
    Retiring,
    /// Gets no new request.
    Draining,
    /// Has no request any more and was told to exit.
    Finishing,
    /// Was sent `SIGKILL`, or will be as soon as it has a pid.
    Dying,
    /// Reaped, or never came to life.
    Gone,
}

#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) generation: u64,
    pub(crate) state: WorkerState,
    pub(crate) pid: Option<u32>,
    pub(crate) spawned_at: Duration,
    /// When it entered its state.
    pub(crate) since: Duration,
    /// When the router was told to use it.
    pub(crate) admitted_at: Option<Duration>,
    /// When its state has lasted too long.
    pub(crate) deadline: Option<Duration>,
    pub(crate) hung: bool,
    pub(crate) condemned: Option<KillReason>,
    /// Why it is to be replaced, and how, once it is.
    pub(crate) retirement: Option<Retirement>,
}

/// A worker that serves and is to be replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retirement {
    pub(crate) why: DrainReason,
    /// Its replacement fits beside it. If not, it keeps its place until its process is gone.
    pub(crate) room: bool,
}

impl WorkerState {
    /// On the way to serve.
    pub(crate) fn is_starting(self) -> bool {
        matches!(self, Self::Spawning | Self::Booting)
    }

    /// Able to serve; it does once admitted.
    pub(crate) fn is_serving(self) -> bool {
        matches!(self, Self::Ready | Self::Retiring)
    }

    /// On the way out.
    pub(crate) fn is_leaving(self) -> bool {
        matches!(self, Self::Draining | Self::Finishing | Self::Dying)
    }
}

impl Worker {
    pub(crate) fn new(generation: u64, now: Duration, start_timeout: Duration) -> Self {
        Self {
            generation,
            state: WorkerState::Spawning,
            pid: None,
            spawned_at: now,
            since: now,
            admitted_at: None,
            deadline: Some(now.saturating_add(start_timeout)),
            hung: false,
            condemned: None,
            retirement: None,
        }
    }

    /// No other worker may be started in its place while its process is there.
    pub(crate) fn keeps_its_place(&self) -> bool {
        self.retirement.is_some_and(|retirement| !retirement.room)
    }

    /// How long the router has been allowed to use it.
    pub(crate) fn served(&self, now: Duration) -> Duration {
        self.admitted_at.map_or(Duration::ZERO, |at| now.saturating_sub(at))
    }
}
