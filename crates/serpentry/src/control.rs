//! The control interface: HTTP with JSON on a Unix socket in the state directory, and the client that the command line
//! is.
//!
//! ```text
//!  serpentry status --> client --HTTP/UDS--> server (a thread of its own) --Request--> the host's driver
//! ```
//!
//! Nothing here decides or changes anything: each call becomes one [`Request`] with a place for its answer, and whoever
//! drives the applications answers it. It knows neither processes nor routes. What the calls look like from outside is in
//! `docs/control-api.md`; the document at `GET /openapi.json` is made from the same types.

mod metrics;
mod request;
mod types;

pub(crate) use metrics::{AppMetrics, BOUNDS, Histogram, HostMetrics, MetricsSnapshot, WorkerMetrics};
pub(crate) use request::{Answer, QUEUE, Refusal, Request};
pub(crate) use types::{
    AppState, AppStatus, Changed, Concurrency, Cpu, HostState, HostStatus, Latency, Limits, Mistake,
    NotReloaded, Pressure, Queue, Reloaded, Requests, Scale, Status, Stopping, Tenancy, WorkerState,
    WorkerStatus,
};
