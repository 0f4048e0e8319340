//! What the control interface says, as JSON: the contract with scripts, so that names and units stay.
//!
//! Units are in the names: `_seconds`, `_ms`, `_bytes`. Whatever is not measured or not limited is `null`, never 0. New
//! fields may appear; readers must ignore what they do not know.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::incidents::OpenIncident;

/// The host and all its applications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub host: HostStatus,
    /// In the order of the file.
    pub apps: Vec<AppStatus>,
}

/// The program itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostStatus {
    pub version: String,
    pub pid: u32,
    pub state: HostState,
    pub uptime_seconds: f64,
    /// The configuration file; null when there is none.
    pub file: Option<String>,
    /// How often a configuration was applied: 1 after the start, one more after each reload that changed something.
    pub generation: u64,
    /// Addresses, for example `http://127.0.0.1:8000` or `unix:/run/shop.sock`.
    pub listeners: Vec<String>,
    /// The state directory.
    pub state_directory: String,
    /// Resident memory of the host without its workers; null if unknown.
    pub memory_bytes: Option<u64>,
}

/// What the program as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
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
pub struct AppStatus {
    pub name: String,
    /// What is run, as the configuration says: `module:attribute`.
    pub app: String,
    pub tenancy: Tenancy,
    pub concurrency: Concurrency,
    pub state: AppState,
    /// The version that serves: each reload that changes the application, and each restart, makes the next. 0 before the
    /// first start.
    pub generation: u64,
    /// For example `shop.example.com`, `example.com/shop`, `*.example.com`, `/shop`, `*`.
    pub routes: Vec<String>,
    /// Workers wanted at the moment.
    pub target: u32,
    /// Every worker that is not gone, oldest first.
    pub workers: Vec<WorkerStatus>,
    pub queue: Queue,
    pub requests: Requests,
    pub latency_ms: Latency,
    pub limits: Limits,
    pub cpu: Cpu,
    pub pressure: Pressure,
    /// Resident memory of all its workers; null if unknown.
    pub memory_bytes: Option<u64>,
    /// Limits that this machine does not enforce, known once it has a worker.
    pub unenforced: Vec<Unenforced>,
    /// Limits that this machine enforces, but not all that one would expect of them.
    pub partly_enforced: Vec<PartlyEnforced>,
    /// While backing off: how long until the next worker is started.
    pub next_attempt_seconds: Option<f64>,
    /// Why the latest start, reload or worker failed; null once a later one went well.
    pub last_error: Option<Mistake>,
    /// Workers started in place of others that were lost or replaced.
    pub respawns: u64,
    /// Lines of its output that were not written because the disk was too slow or full.
    pub dropped_log_lines: u64,
    /// What is wrong with it now; `GET /v1/incidents` says more.
    pub incidents: Vec<OpenIncident>,
}

/// Whether the machine is shared or a part of it is the application's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tenancy {
    Shared,
    Isolated,
}

/// How a worker runs requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// Not known before the first worker has looked at the application.
    Auto,
    Sync,
    Threads,
    Async,
}

/// What an application as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppState {
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
pub struct WorkerStatus {
    /// Unique while the host lives.
    pub id: u64,
    /// Null before the process exists.
    pub pid: Option<u32>,
    pub state: WorkerState,
    pub generation: u64,
    /// Requests that it runs at the same time; null until it is known.
    pub slots: Option<u32>,
    pub requests: u64,
    /// Resident memory; null if unknown.
    pub memory_bytes: Option<u64>,
    /// CPU time used; null if unknown.
    pub cpu_seconds: Option<f64>,
    /// From when it was asked for until it took requests; null until then.
    pub boot_ms: Option<f64>,
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
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
pub struct Queue {
    pub depth: u64,
    /// More are answered 503.
    pub limit: u64,
}

/// Counted since the application was added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Requests {
    pub total: u64,
    /// Answered 5xx by the host instead of the application.
    pub failed: u64,
    /// Run again on another worker because the first one was lost.
    pub replayed: u64,
}

/// From the request's arrival to the last byte of the answer, over the last minute; null without requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

/// What the application may use; null for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    pub cpu_cores: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub processes: u32,
    pub open_files: u32,
    pub connections: u64,
    pub request_timeout_seconds: Option<f64>,
    pub queue_timeout_seconds: f64,
}

/// What the limit of CPU time did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cpu {
    /// Time the workers were held back by their own limit; null if it is not measured.
    pub throttled_ms: Option<u64>,
}

/// Share of the last 10 s in which some of its work waited for the resource (0 to 100, as in `/proc/pressure`); null if
/// the machine does not measure it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pressure {
    pub cpu: Option<f64>,
    pub io: Option<f64>,
    pub memory: Option<f64>,
}

/// A limit that is set and not enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unenforced {
    /// As `serpentry doctor` calls it.
    pub constraint: String,
    pub why: String,
    /// What would make it possible; empty if nothing would.
    pub remedy: String,
}

/// A limit that is set and leaves something out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartlyEnforced {
    /// As `serpentry doctor` calls it.
    pub constraint: String,
    /// What it leaves out.
    pub why: String,
}

/// Something that went wrong in an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mistake {
    /// One sentence.
    pub text: String,
    /// Python's own words; null if Python said nothing.
    pub traceback: Option<String>,
}

/// What a reload did, application by application. Each one is in exactly one list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// New ones, serving or ready to be started by a request.
    pub added: Vec<String>,
    /// Those whose new generation serves, or whose settings were changed in place.
    pub changed: Vec<String>,
    /// Those that are gone from the file. Their running requests may still be finishing.
    pub removed: Vec<String>,
    pub unchanged: Vec<String>,
    /// Those whose change could not be made. What served before serves on.
    pub failed: Vec<NotReloaded>,
    /// Other things worth knowing, one sentence each: warnings about the file, settings that need a new start.
    pub warnings: Vec<String>,
}

/// An application whose change could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotReloaded {
    pub app: String,
    #[serde(flatten)]
    pub error: Mistake,
}

/// How many workers an application shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// At least one: an application without workers is a stopped one.
    #[schema(minimum = 1, maximum = 1024)]
    #[serde(deserialize_with = "whole")]
    pub workers: u32,
}

/// JSON has one kind of number, and to its schemas 2.0 is an integer.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(from)?;
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
        return Ok(number as u32);
    }
    Err(D::Error::custom(format_args!("{number} is not a number of workers")))
}

impl Scale {
    /// Most workers of one application.
    pub const MOST: u32 = 1024;
}

/// An application after a call that changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    pub app: String,
    pub tenancy: Tenancy,
    pub state: AppState,
    pub generation: u64,
    /// Workers wanted from now on.
    pub target: u32,
}

/// Which tenancy an application shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    pub tenancy: Tenancy,
}

/// The host is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stopping {
    pub pid: u32,
    /// How long running requests may take to finish.
    pub graceful_timeout_seconds: f64,
}

/// The host answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub state: HostState,
}

/// What the workers of an application saw inside of themselves. Texts are the application's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Looked {
    pub app: String,
    pub workers: Vec<WorkerLook>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerLook {
    pub worker: u64,
    pub pid: u32,
    /// False: the text says why there is nothing.
    pub complete: bool,
    /// Lines of text.
    pub text: String,
}

/// How long to look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MemoryQuery {
    /// 10 if it is not said.
    #[param(minimum = 1, maximum = 60)]
    pub seconds: Option<u16>,
}

impl MemoryQuery {
    pub const USUAL: u16 = 10;
    pub const MOST: u16 = 60;
}
