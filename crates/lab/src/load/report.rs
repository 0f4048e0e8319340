//! What is known of a run besides its records: how far it is, what the generator says about itself, why it could not be.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::ScheduleError;

/// Why a run could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error("{0} requests under way at a time: there must be 1 to {max}", max = super::plan::MAX_OUTSTANDING)]
    Outstanding(usize),
    #[error("a pool of no connections")]
    Pool,
    #[error("a run or a time limit of no time")]
    NoTime,
    #[error(
        "{need} connections may be open, but the limit of file descriptors is {have}; raise it (ulimit -n) or allow fewer"
    )]
    Descriptors { need: usize, have: u64 },
    #[error("{what}: {source}")]
    System { what: &'static str, source: Errno },
}

/// How another thread follows a run, and ends it.
#[derive(Debug, Default)]
pub struct Watch {
    stop: AtomicBool,
    planned: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    outstanding: AtomicU64,
}

/// A moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub planned: u64,
    pub answered: u64,
    pub failed: u64,
    pub outstanding: u64,
}

impl Watch {
    /// End the run soon; what is under way is recorded as unfinished.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn moment(&self) -> Moment {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Moment {
            planned: load(&self.planned),
            answered: load(&self.answered),
            failed: load(&self.failed),
            outstanding: load(&self.outstanding),
        }
    }

    pub(super) fn publish(&self, moment: Moment) {
        for (count, value) in [
            (&self.planned, moment.planned),
            (&self.answered, moment.answered),
            (&self.failed, moment.failed),
            (&self.outstanding, moment.outstanding),
        ] {
            count.store(value, Ordering::Relaxed);
        }
    }
}

/// The generator about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub planned: u64,
    /// From the start to the end of the last request.
    pub elapsed: Duration,
    /// Processor time of the generator's thread.
    pub cpu: Duration,
    /// Connections that were opened.
    pub connections: u64,
    /// Requests that were sent again because a kept connection had been closed by the server.
    pub resent: u64,
    /// Bytes of content in answers, also incomplete ones.
    pub received: u64,
    /// Most requests under way at a time.
    pub peak: usize,
    /// Why the latest connection that could not be made was refused.
    pub connect_error: Option<Errno>,
    /// Whether it ran with real-time priority.
    pub realtime: bool,
    /// Whether [`Watch::stop`] ended it.
    pub stopped: bool,
}
