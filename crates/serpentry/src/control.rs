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

mod api;
mod client;
mod exposition;
mod incidents;
mod metrics;
mod problem;
mod request;
mod routes;
mod server;
mod types;

pub use api::document;
pub use client::{Client, ClientError};
pub use incidents::{
    AffectedRequest, EventKind, EventQuery, Events, Fact, Figure, Incident, IncidentEvent, IncidentQuery,
    IncidentState, Incidents, OpenIncident, Severity,
};
pub use metrics::{AppMetrics, BOUNDS, Histogram, HostMetrics, MetricsSnapshot, WorkerMetrics};
pub use problem::Problem;
pub use request::{Answer, QUEUE, Refusal, Request};
pub use routes::{Classification, RouteStatus, Routes};
pub use server::{Server, start};
pub use types::{
    AppState, AppStatus, Changed, Concurrency, Cpu, Health, HostState, HostStatus, Latency, Limits, Looked,
    MemoryQuery, Mistake, Move, NotReloaded, PartlyEnforced, Pressure, Queue, Reloaded, Requests, Scale,
    Status, Stopping, Tenancy, Unenforced, WorkerLook, WorkerState, WorkerStatus,
};
