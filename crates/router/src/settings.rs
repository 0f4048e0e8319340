//! What the router needs to know about the host and about each application. Plain data, resolved and checked by whoever
//! builds it.

use std::time::Duration;

use crate::forwarded::TrustedProxies;

/// Bounds of the host: what holds before it is known which application a request is for.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Open client connections; one more is answered 503.
    pub connections: usize,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Between two requests on a connection that no application has answered on yet.
    pub keepalive_timeout: Duration,
    /// Between two writes of an answer that the host itself gives.
    pub body_timeout: Duration,
    /// Largest request head in bytes: the largest of the applications'.
    pub header_size: usize,
    /// Whose `X-Forwarded-*` and `Forwarded` fields are believed.
    pub trusted_proxies: TrustedProxies,
}

/// Bounds and deadlines of one application's traffic. `None` means no limit.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Requests that may wait for a slot; one more is answered 503.
    pub queue: usize,
    /// How long a request may wait for a slot before it is answered 503.
    pub queue_timeout: Duration,
    /// The same for a request that came while no worker served: it waits for one to start. Neither `queue_timeout`
    /// nor `request_timeout` begins before.
    pub start_patience: Duration,
    /// From the complete head (buffered bodies: the complete body) to the last byte of the response.
    pub request_timeout: Option<Duration>,
    /// From the handover to a worker (streamed bodies: from the last byte of the body, if that is later) to the first
    /// byte of the response.
    pub first_byte_timeout: Option<Duration>,
    /// How long an interrupted request may take to stop before its worker is given up.
    pub interrupt_grace: Duration,
    /// Between two reads of a body, and between two writes of a response.
    pub body_timeout: Duration,
    /// Between two requests on one connection.
    pub keepalive_timeout: Duration,
    /// Largest request head in bytes; above [`HostSettings::header_size`] it has no effect.
    pub header_size: usize,
    /// Largest request body in bytes.
    pub body_size: u64,
    /// Largest WebSocket message in bytes.
    pub message_size: usize,
    /// Client connections whose latest request was for this application; one more is answered 503.
    pub connections: usize,
    /// Bytes per second from all clients together: heads and bodies as they came, WebSocket frames included.
    pub bandwidth_in: Option<u64>,
    /// Bytes per second to all clients together. What a worker may send ahead of its client is not limited by it.
    pub bandwidth_out: Option<u64>,
    /// Bytes asked of the kernel for the send and for the receive buffer of each connection, see
    /// `Stream::set_buffers`.
    pub socket_buffers: Option<u32>,
    /// Where a front proxy has mounted the application: empty or "/prefix". It comes before the prefix of a route.
    pub root_path: String,
    /// Tell clients in `Server-Timing` fields what their requests took.
    pub server_timing: bool,
    /// Share of the requests that may be run again after a worker's death, see [`crate::budget`].
    pub retry_budget: f64,
    /// Exceptions for parts of the application; the longest prefix that fits wins.
    pub overrides: Vec<RouteOverride>,
}

/// Other limits below a path of an application. `None` keeps the application's own.
#[derive(Debug, Clone, Default)]
pub struct RouteOverride {
    /// "/upload": fits "/upload" and all below it, after the prefix of the route.
    pub prefix: String,
    pub request_timeout: Option<Option<Duration>>,
    pub first_byte_timeout: Option<Option<Duration>>,
    pub body_size: Option<u64>,
}
