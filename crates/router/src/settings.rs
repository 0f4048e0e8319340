//! What the router needs to know about one application. Plain data, resolved and checked by whoever builds it.

use std::time::Duration;

use crate::forwarded::TrustedProxies;

/// Bounds and deadlines of one application's traffic. `None` means no limit.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Requests that may wait for a slot; one more is answered 503.
    pub queue: usize,
    /// How long a request may wait for a slot before it is answered 503.
    pub queue_timeout: Duration,
    /// From the complete head (buffered bodies: the complete body) to the last byte of the response.
    pub request_timeout: Option<Duration>,
    /// How long an interrupted request may take to stop before its worker is given up.
    pub interrupt_grace: Duration,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Between two reads of a body, and between two writes of a response.
    pub body_timeout: Duration,
    /// Between two requests on one connection.
    pub keepalive_timeout: Duration,
    /// Largest request head in bytes.
    pub header_size: usize,
    /// Largest request body in bytes.
    pub body_size: u64,
    /// Largest WebSocket message in bytes.
    pub message_size: usize,
    /// Open client connections; one more is answered 503.
    pub connections: usize,
    /// Where the application is mounted: empty or "/prefix".
    pub root_path: String,
    /// Whose `X-Forwarded-*` and `Forwarded` fields are believed.
    pub trusted_proxies: TrustedProxies,
}
