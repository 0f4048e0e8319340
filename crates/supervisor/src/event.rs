//! What the supervisor is told: by the operator, by the router, by the worker, by the operating system and by the clock.
//!
//! Events are facts, not requests to be believed: one that does not fit the worker's state is ignored.

use std::fmt;
use std::time::Duration;

/// Names one worker of one application; never used twice, unlike a pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

/// How a process ended, as `waitpid` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Begin, also after `Action::Stopped`: spawn the first workers. While running: end a pause under way and try now.
    /// Ignored while stopping.
    Start,
    /// The process exists; the answer to `Action::Spawn`.
    Spawned { worker: WorkerId, pid: u32 },
    /// The process could not be made (fork, exec or jail failed); the other answer to `Action::Spawn`.
    SpawnFailed { worker: WorkerId, error: String },
    /// The application is imported and its lifespan started: the worker can serve.
    Ready { worker: WorkerId },
    /// The worker says that the application does not boot. It is killed at once, so what it
    /// has to say must be in `reason` or already written.
    BootFailed { worker: WorkerId, reason: String },
    /// The process was reaped.
    Exited { worker: WorkerId, status: ExitStatus },
    /// The router handed over as many requests as `Action::Spawn` allowed. It keeps using the worker until `Action::Drain`.
    QuotaReached { worker: WorkerId },
    /// The worker uses more memory than it is given before it is replaced. `room`: another worker fits beside it.
    Outgrown { worker: WorkerId, room: bool },
    /// A request passed its deadline and could not be interrupted. The router has stopped giving it requests.
    Hung { worker: WorkerId },
    /// The worker broke the protocol.
    Misbehaved { worker: WorkerId, reason: String },
    /// The router has no request in flight on this draining worker any more and told it to exit.
    Drained { worker: WorkerId },
    /// Replace all workers by a new generation, without losing a request.
    Reload,
    /// A request waits and no slot is free. Repeated at least every 50 ms while that is so.
    Demand,
    /// What the requests needed since the last `Load`, about a second ago: slots in use at once at most, in workers, rounded
    /// up; and requests that wait now. May stay away while there are no requests.
    Load { busy_workers: usize, waiting: usize },
    /// The operator wants this many workers more, or fewer when negative.
    Scale(i32),
    /// The operator wants exactly this many workers.
    SetTarget(usize),
    /// The configured limits changed (the fields of `Settings`); ends what `Scale` and `SetTarget` began.
    SetLimits { min: usize, max: usize, idle: Duration },
    /// Stop gracefully: drain, then kill at the deadline.
    Stop,
    /// Kill everything at once. May follow `Stop`.
    StopNow,
    /// Nothing but time has passed.
    Tick,
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}
