//! The router's figures at one moment: plain data, for whoever reports them.

use std::time::Duration;

use crate::event::{App, Worker};
use crate::histogram::Histogram;

/// Counters count from the start of the router, or of the application.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Open client connections.
    pub connections: usize,
    /// Answers that the host gave without any application, by reason.
    pub refused: Vec<(Reason, u64)>,
    /// In ascending order of their numbers.
    pub apps: Vec<AppSnapshot>,
}

/// One application.
#[derive(Debug, Clone, Default)]
pub struct AppSnapshot {
    pub app: App,
    pub name: String,
    /// New requests are accepted.
    pub open: bool,
    /// It is being removed.
    pub removed: bool,
    /// Requests that wait for a slot, and how many may.
    pub queue: usize,
    pub queue_limit: usize,
    /// Requests that are not over, waiting ones and uploads included.
    pub in_flight: usize,
    /// Client connections whose latest request was for it.
    pub connections: usize,
    /// Requests that are over, whoever answered them.
    pub requests: u64,
    /// Of which 1xx (WebSockets), 2xx, 3xx, 4xx (499: the client left) and 5xx.
    pub classes: [u64; 5],
    /// The same by exact status, ascending. What is too much to list has status 0.
    pub statuses: Vec<(u16, u64)>,
    /// 5xx answers made by the host.
    pub failed: u64,
    /// Run again after a worker's death.
    pub replayed: u64,
    /// Answers made by the host, by reason.
    pub refused: Vec<(Reason, u64)>,
    /// From and to clients; heads included.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Time during which at least one connection was held back by a limit of bandwidth.
    pub held_back_in: Duration,
    pub held_back_out: Duration,
    /// From arrival to the (last) handover to a worker. WebSockets are in no histogram.
    pub queued: Histogram,
    /// From the handover to the last byte from the worker.
    pub service: Histogram,
    /// From arrival to the last byte given to the client's socket.
    pub total: Histogram,
    /// `total` of the last half to one minute.
    pub recent: Histogram,
    pub workers: Vec<WorkerSnapshot>,
}

/// One worker.
#[derive(Debug, Clone)]
pub struct WorkerSnapshot {
    pub worker: Worker,
    pub phase: WorkerPhase,
    /// 0 until it is known.
    pub slots: usize,
    /// Slots in use.
    pub busy: usize,
    /// Requests it was given.
    pub requests: u64,
    /// Of which are over: 1xx, 2xx, 3xx, 4xx (499: the client left) and 5xx.
    pub classes: [u64; 5],
    /// Time with at least one request inside.
    pub busy_time: Duration,
    /// Since it was attached.
    pub age: Duration,
}

/// The requests of one route of an application. Means are of those requests whose worker said what they took, `None`: nobody
/// knows.
#[derive(Debug, Clone)]
pub struct RouteSnapshot {
    /// Empty, like a `route` of "(others)", for what found no place of its own.
    pub method: &'static str,
    /// The path, with `{}` for what names a single thing.
    pub route: String,
    pub requests: u64,
    /// Answered with 5xx, by whomever.
    pub failed: u64,
    /// From arrival to the last byte given to the client's socket: half, 95 % and 99 % of the requests took at most this.
    pub latency: [Option<Duration>; 3],
    /// Until a worker turned to it.
    pub queued: Option<Duration>,
    pub cpu: Option<Duration>,
    /// Neither computing nor ready to: the network, disks, locks, sleep.
    pub wait: Option<Duration>,
    /// Ready to run, and others had the processor.
    pub run_queue: Option<Duration>,
    /// Ready to go on, and others had the interpreter lock: at least this.
    pub gil: Option<Duration>,
    /// 95 % of the requests took at most so much CPU time.
    pub cpu_p95: Option<Duration>,
    /// All of them together.
    pub cpu_total: Duration,
    /// CPU time and waiting of each of the latest requests, in microseconds, in no order; at most 128.
    pub samples: Vec<[u32; 2]>,
    pub classification: Classification,
}

/// What the requests of a route spend their time with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classification {
    Cpu,
    Wait,
    Mixed,
    /// Too few were measured.
    Unknown,
}

/// What a worker is doing, as the router sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerPhase {
    Booting,
    /// Started, and given nothing yet.
    Ready,
    Serving,
    /// Finishes what it has.
    Draining,
    /// Does not come back from a request.
    Hung,
    Closed,
}

/// Why the host answered in an application's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The application raised an exception or ended its answer half-way.
    AppFailed,
    /// Its response was not valid HTTP.
    BrokenResponse,
    WorkerDied,
    /// The worker died, and the retry budget was used up.
    RetryDenied,
    Connections,
    QueueFull,
    QueueTimeout,
    /// No worker became ready in time.
    StartTimeout,
    Stopped,
    Deadline,
    FirstByte,
    SlowHead,
    SlowBody,
    BodyTooLarge,
    HeadTooLarge,
    /// The body could not be stored.
    Storage,
    Malformed,
    UnknownHost,
    NoRoute,
    /// The client went away before it was answered: nobody was refused.
    ClientLeft,
}

impl Reason {
    pub const COUNT: usize = Reason::ClientLeft as usize + 1;
    pub const ALL: [Reason; Reason::COUNT] = [
        Reason::AppFailed,
        Reason::BrokenResponse,
        Reason::WorkerDied,
        Reason::RetryDenied,
        Reason::Connections,
        Reason::QueueFull,
        Reason::QueueTimeout,
        Reason::StartTimeout,
        Reason::Stopped,
        Reason::Deadline,
        Reason::FirstByte,
        Reason::SlowHead,
        Reason::SlowBody,
        Reason::BodyTooLarge,
        Reason::HeadTooLarge,
        Reason::Storage,
        Reason::Malformed,
        Reason::UnknownHost,
        Reason::NoRoute,
        Reason::ClientLeft,
    ];

    /// A word for labels: "queue_full".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::AppFailed => "app_failed",
            Reason::BrokenResponse => "broken_response",
            Reason::WorkerDied => "worker_died",
            Reason::RetryDenied => "retry_denied",
            Reason::Connections => "connections",
            Reason::QueueFull => "queue_full",
            Reason::QueueTimeout => "queue_timeout",
            Reason::StartTimeout => "start_timeout",
            Reason::Stopped => "stopped",
            Reason::Deadline => "deadline",
            Reason::FirstByte => "first_byte",
            Reason::SlowHead => "slow_head",
            Reason::SlowBody => "slow_body",
            Reason::BodyTooLarge => "body_too_large",
            Reason::HeadTooLarge => "head_too_large",
            Reason::Storage => "storage",
            Reason::Malformed => "malformed",
            Reason::UnknownHost => "unknown_host",
            Reason::NoRoute => "no_route",
            Reason::ClientLeft => "client_left",
        }
    }
}
