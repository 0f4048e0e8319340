//! What the supervisor wants done, and what it wants said.
//!
//! An [`Action`] is complete: the driver and the router need no other knowledge of the supervisor's state to carry it out.
//! A [`Notice`] asks for nothing; its `Display` is the line to log.

use std::fmt;
use std::time::Duration;

use crate::endings::Cause;
use crate::event::WorkerId;

/// One thing to do, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a process with the code and configuration of `generation`. `max_requests` already includes the jitter.
    Spawn { worker: WorkerId, generation: u64, max_requests: Option<u64> },
    /// From now on this is the generation that serves. Comes before its workers are admitted and the old ones drained.
    Activate { generation: u64 },
    /// The router may give requests to this worker.
    Admit { worker: WorkerId },
    /// The router gives this worker no new request and, when those in flight are finished, tells it to exit.
    Drain { worker: WorkerId, why: DrainReason },
    /// Send `SIGKILL`. The worker's pid is known when this is issued.
    Kill { worker: WorkerId, why: KillReason },
    /// For the log.
    Notice(Notice),
    /// `min` workers are ready for the first time; with `min` 0, at once. Issued at most once for each start.
    FirstReady,
    /// No process is left and none is started before `Event::Start`. Issued once for each stop; `failed` is the reason if the
    /// first boot failed.
    Stopped { failed: Option<String> },
}

/// Why a serving worker is taken out of service gently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainReason {
    /// It used up its `max_requests` and its replacement is ready.
    Quota,
    /// It used too much memory, and its replacement is ready or needs its room.
    Outgrown,
    /// One of its requests is stuck; the others get `hang_grace` to finish.
    Hung,
    /// A newer generation is active.
    Reload,
    /// Fewer workers are wanted.
    ScaleDown,
    /// The application is being stopped.
    Stop,
}

/// Why a worker is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KillReason {
    /// Not ready within `start_timeout`.
    StartTimeout,
    /// It reported that the application does not boot.
    BootFailed,
    /// It broke the protocol.
    Misbehaved,
    /// Still there `graceful_timeout` after it was told to drain.
    GracefulTimeout,
    /// Still there `hang_grace` after it hung.
    HangGrace,
    /// Another worker of its new generation failed, or a newer reload began.
    ReloadAbandoned,
    /// Its generation was replaced before it was ready.
    Outdated,
    /// Fewer workers are wanted and it was not serving yet.
    ScaleDown,
    /// The application is being stopped.
    Stop,
    /// The first boot of the application failed.
    GaveUp,
}

/// Why the number of wanted workers changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScaleReason {
    /// A request waited and all workers were busy, or none was there.
    Demand,
    /// One worker fewer would have done for the whole idle time.
    Idle,
    /// The operator asked for this number.
    Operator,
    /// The configured limits changed.
    Limits,
    /// Workers could not be started, and when the pause was over nobody waited for them any more.
    NotAwaited,
}

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A worker did not become ready.
    BootFailed { worker: WorkerId, pid: Option<u32>, generation: u64, cause: Cause, reason: String },
    /// A worker that was ready ended, hung or misbehaved, unasked. `served` is the time since it was admitted.
    Lost {
        worker: WorkerId,
        pid: Option<u32>,
        generation: u64,
        cause: Cause,
        reason: String,
        served: Duration,
    },
    /// No worker of the active generation is started before `until`. `round` counts the pauses in this row, from 1.
    BackOff { until: Duration, delay: Duration, round: u32 },
    /// Workers of a new generation are being started.
    ReloadStarted { generation: u64, workers: usize },
    /// The new generation serves.
    ReloadDone { generation: u64 },
    /// The new generation was given up; `kept` serves on.
    ReloadFailed { generation: u64, kept: u64, reason: String },
    /// Another reload came before this one was done.
    ReloadSuperseded { generation: u64 },
    /// The number of wanted workers changed.
    Scaled { from: usize, to: usize, why: ScaleReason },
    /// `SIGKILL` did not end this process yet (it may be in an uninterruptible system call); it is sent again.
    StillAlive { worker: WorkerId, pid: Option<u32> },
}

impl fmt::Display for KillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartTimeout => "not ready in time",
            Self::BootFailed => "the application does not boot",
            Self::Misbehaved => "broke the protocol",
            Self::GracefulTimeout => "requests still running at the graceful timeout",
            Self::HangGrace => "a request hung",
            Self::ReloadAbandoned => "its reload was abandoned",
            Self::Outdated => "its generation was replaced",
            Self::ScaleDown => "fewer workers are wanted",
            Self::Stop => "stopping",
            Self::GaveUp => "the first boot failed",
        })
    }
}

impl fmt::Display for DrainReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quota => "served its maximum of requests",
            Self::Outgrown => "outgrew its memory",
            Self::Hung => "a request hung",
            Self::Reload => "its generation was replaced",
            Self::ScaleDown => "fewer workers are wanted",
            Self::Stop => "stopping",
        })
    }
}

impl fmt::Display for ScaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Demand => "requests wait",
            Self::Idle => "idle",
            Self::Operator => "as the operator asked",
            Self::Limits => "as configured",
            Self::NotAwaited => "nobody waits for them any more",
        })
    }
}

/// What the reason of a worker begins with whose process could not be started, so that it can stand by itself.
pub(crate) const NOT_STARTED: &str = "could not be started: ";

/// The reason, for a sentence that says already that it did not start.
#[must_use]
pub fn without_not_started(reason: &str) -> &str {
    reason.strip_prefix(NOT_STARTED).unwrap_or(reason)
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BootFailed { worker, pid, generation, reason, .. } => {
                let reason = without_not_started(reason);
                write!(f, "worker {worker}{} of generation {generation} did not start: {reason}", Pid(*pid))
            }
            Self::Lost { worker, pid, generation, reason, served, .. } => write!(
                f,
                "worker {worker}{} of generation {generation} lost after {:.1} s: {reason}",
                Pid(*pid),
                served.as_secs_f64()
            ),
            Self::BackOff { delay, round, .. } => {
                write!(f, "next worker is started in {:.1} s (pause {round} in a row)", delay.as_secs_f64())
            }
            Self::ReloadStarted { generation, workers: 0 } => {
                write!(f, "reload: no worker runs, generation {generation} begins with the next request")
            }
            Self::ReloadStarted { generation, workers } => {
                write!(f, "reload: starting {workers} workers of generation {generation}")
            }
            Self::ReloadDone { generation } => write!(f, "reload done: generation {generation} serves"),
            Self::ReloadFailed { generation, kept, reason } => {
                write!(
                    f,
                    "reload to generation {generation} failed, generation {kept} keeps serving: {reason}"
                )
            }
            Self::ReloadSuperseded { generation } => {
                write!(f, "reload to generation {generation} abandoned for a newer one")
            }
            Self::Scaled { from, to, why } => write!(f, "scaled from {from} to {to} workers: {why}"),
            Self::StillAlive { worker, pid } => {
                write!(f, "worker {worker}{} is still alive after SIGKILL, sending it again", Pid(*pid))
            }
        }
    }
}

/// ` (pid 12)`, or nothing while there is no process.
struct Pid(Option<u32>);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(f, " (pid {pid})"))
    }
}
