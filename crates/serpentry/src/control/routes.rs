//! What the requests of an application take, route by route, as JSON.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::types::Latency;

/// How much of the routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RoutesQuery {
    /// With single requests, for whoever wants their distribution.
    pub(super) samples: Option<bool>,
}

/// The routes of one application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Routes {
    pub app: String,
    /// For how long they were counted.
    pub since_seconds: u64,
    /// Those first that took most CPU time. There are at most 64; the last requests to come count under `(others)`.
    pub routes: Vec<RouteStatus>,
}

/// The requests of one route. The means of `queue_ms`, `cpu_ms`, `run_queue_ms`, `gil_ms` and `wait_ms` are parts of a request's
/// time and do not overlap. Workers measure them; null: not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteStatus {
    /// Empty for `(others)`.
    pub method: String,
    /// The path, with `{}` for segments that are numbers, UUIDs or long and hexadecimal.
    pub route: String,
    pub requests: u64,
    /// Answered with 5xx.
    pub failed: u64,
    /// From the request's arrival to the last byte of the answer.
    pub latency_ms: Latency,
    /// Until a worker turned to it.
    pub queue_ms: Option<f64>,
    /// CPU time of the thread that ran it; in an event loop, of its own task.
    pub cpu_ms: Option<f64>,
    /// Neither computing nor ready to: network, disks, locks, sleep; in an event loop also other tasks.
    pub wait_ms: Option<f64>,
    /// Ready to run while others had the processor; of requests of 2 ms and more.
    pub run_queue_ms: Option<f64>,
    /// Ready to go on while others had the interpreter lock: at least this; not known in an event loop.
    pub gil_ms: Option<f64>,
    pub cpu_ms_p95: Option<f64>,
    /// CPU time and waiting of single requests, in microseconds: of the latest 128, in no order. Only if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples_us: Vec<[u32; 2]>,
    pub classification: Classification,
}

/// What the requests of a route spend their time with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Classification {
    /// 20 ms of CPU time, or 5 ms that are half of the time.
    Cpu,
    /// 70 % of the time is waiting.
    Wait,
    Mixed,
    /// Too few were measured.
    Unknown,
}
