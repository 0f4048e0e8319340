//! What the control interface says, as JSON: the contract with scripts, so that names and units stay.
//!
//! Units are in the names: `_seconds`, `_ms`, `_bytes`. Whatever is not measured or not limited is `null`, never 0. New
//! fields may appear; readers must ignore what they do not know.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The host and all its applications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Status {
    pub(crate) host: HostStatus,
    /// In the order of the file.
    pub(crate) apps: Vec<AppStatus>,
}

/// The program itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct HostStatus {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) state: HostState,
    pub(crate) uptime_seconds: f64,
    /// The configuration file; null when there is none.
    pub(crate) file: Option<String>,
    /// How often a configuration was applied: 1 after the start, one more after each reload that changed something.
    pub(crate) generation: u64,
    /// Addresses, for example `http://127.0.0.1:8000` or `unix:/run/shop.sock`.
    pub(crate) listeners: Vec<String>,
    /// The state directory.
    pub(crate) state_directory: String,
    /// Resident memory of the host without its workers; null if unknown.
    pub(crate) memory_bytes: Option<u64>,
}

/// What the program as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostState {
    /// Not every application has been ready or has failed yet.
    Starting,
    Serving,
    /// A change of the configuration is being applied.
    Reloading,
    /// No new requests; the running ones finish.
    Stopping,
}

/// One application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct AppStatus {
    pub(crate) name: String,
    pub(crate) tenancy: Tenancy,
    pub(crate) concurrency: Concurrency,
    pub(crate) state: AppState,
    /// The version that serves: each reload that changes the application, and each restart, makes the next. 0 before the
    /// first start.
    pub(crate) generation: u64,
    /// For example `shop.example.com`, `example.com/shop`, `*.example.com`, `/shop`, `*`.
    pub(crate) routes: Vec<String>,
    /// Workers wanted at the moment.
    pub(crate) target: u32,
    /// Every worker that is not gone, oldest first.
    pub(crate) workers: Vec<WorkerStatus>,
    pub(crate) queue: Queue,
    pub(crate) requests: Requests,
    pub(crate) latency_ms: Latency,
    pub(crate) limits: Limits,
    pub(crate) cpu: Cpu,
    pub(crate) pressure: Pressure,
    /// Resident memory of all its workers; null if unknown.
    pub(crate) memory_bytes: Option<u64>,
    /// While backing off: how long until the next worker is started.
    pub(crate) next_attempt_seconds: Option<f64>,
    /// Why the latest start, reload or worker failed; null once a later one went well.
    pub(crate) last_error: Option<Mistake>,
    /// Workers started in place of others that were lost or replaced.
    pub(crate) respawns: u64,
    /// Lines of its output that were not written because the disk was too slow or full.
    pub(crate) dropped_log_lines: u64,
}

/// Whether the machine is shared or a part of it is the application's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tenancy {
    Shared,
    Isolated,
}

/// How a worker runs requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Concurrency {
    /// Not known before the first worker has looked at the application.
    Auto,
    Sync,
    Threads,
    Async,
}

/// What an application as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AppState {
    /// The first workers boot.
    Starting,
    /// As many workers as wanted serve.
    Serving,
    /// Some workers serve, fewer than wanted.
    Degraded,
    /// No worker serves; the next attempt comes after a pause.
    #[serde(rename = "backing off")]
    BackingOff,
    /// No worker serves; one is being started.
    Down,
    /// No worker because nobody asks; the first request starts one.
    Asleep,
    /// Running requests finish, then it is stopped or removed.
    Stopping,
    /// Stopped by the operator: requests are answered 503.
    Stopped,
}

/// One worker process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct WorkerStatus {
    /// Unique while the host lives.
    pub(crate) id: u64,
    /// Null before the process exists.
    pub(crate) pid: Option<u32>,
    pub(crate) state: WorkerState,
    pub(crate) generation: u64,
    pub(crate) requests: u64,
    /// Resident memory; null if unknown.
    pub(crate) memory_bytes: Option<u64>,
    /// CPU time used; null if unknown.
    pub(crate) cpu_seconds: Option<f64>,
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WorkerState {
    /// The process starts or the application boots.
    Starting,
    /// Takes requests.
    Serving,
    /// Gets no new request, finishes what it has.
    Draining,
    /// Exits, or is killed.
    Stopping,
}

/// Requests that wait for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Queue {
    pub(crate) depth: u64,
    /// More are answered 503.
    pub(crate) limit: u64,
}

/// Counted since the application was added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Requests {
    pub(crate) total: u64,
    /// Answered 5xx by the host instead of the application.
    pub(crate) failed: u64,
    /// Run again on another worker because the first one was lost.
    pub(crate) replayed: u64,
}

/// From the request's arrival to the last byte of the answer, over the last minute; null without requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Latency {
    pub(crate) p50: Option<f64>,
    pub(crate) p95: Option<f64>,
    pub(crate) p99: Option<f64>,
}

/// What the application may use; null for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Limits {
    pub(crate) cpu_cores: Option<f64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) processes: u32,
    pub(crate) open_files: u32,
    pub(crate) connections: u64,
    pub(crate) request_timeout_seconds: Option<f64>,
    pub(crate) queue_timeout_seconds: f64,
}

/// What the limit of CPU time did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Cpu {
    /// Time the workers were held back by their own limit; null if it is not measured.
    pub(crate) throttled_ms: Option<u64>,
}

/// Share of the last 10 s in which some of its work waited for the resource (0 to 100, as in `/proc/pressure`); null if
/// the machine does not measure it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Pressure {
    pub(crate) cpu: Option<f64>,
    pub(crate) io: Option<f64>,
    pub(crate) memory: Option<f64>,
}

/// Something that went wrong in an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Mistake {
    /// One sentence.
    pub(crate) text: String,
    /// Python's own words; null if Python said nothing.
    pub(crate) traceback: Option<String>,
}

/// What a reload did, application by application. Each one is in exactly one list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Reloaded {
    /// New ones, serving or ready to be started by a request.
    pub(crate) added: Vec<String>,
    /// Those whose new generation serves, or whose settings were changed in place.
    pub(crate) changed: Vec<String>,
    /// Those that are gone from the file. Their running requests may still be finishing.
    pub(crate) removed: Vec<String>,
    pub(crate) unchanged: Vec<String>,
    /// Those whose change could not be made. What served before serves on.
    pub(crate) failed: Vec<NotReloaded>,
    /// Other things worth knowing, one sentence each: warnings about the file, settings that need a new start.
    pub(crate) warnings: Vec<String>,
}

/// An application whose change could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct NotReloaded {
    pub(crate) app: String,
    #[serde(flatten)]
    pub(crate) error: Mistake,
}

/// How many workers an application shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scale {
    /// 0 puts the application to sleep until its next request.
    #[schema(maximum = 1024)]
    pub(crate) workers: u32,
}

/// An application after a call that changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Changed {
    pub(crate) app: String,
    pub(crate) state: AppState,
    pub(crate) generation: u64,
    /// Workers wanted from now on.
    pub(crate) target: u32,
}

/// The host is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Stopping {
    pub(crate) pid: u32,
    /// How long running requests may take to finish.
    pub(crate) graceful_timeout_seconds: f64,
}
