//! What a run is to do, complete before it begins.

use std::time::Duration;

use super::{Endpoint, Mix, Schedule};

/// Requests under way at a time, at most, unless a plan says less.
pub const MAX_OUTSTANDING: usize = 4_096;

/// Everything about one block of load.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    pub endpoint: Endpoint,
    pub mix: Mix,
    pub pace: Pace,
    pub stop: StopRule,
    pub limits: Limits,
    /// Arrivals and the choice of requests come from it.
    pub seed: u64,
    /// Run before all other threads of the machine, if that is allowed.
    pub realtime: bool,
    /// Copied into the raw records.
    pub arm: u8,
    pub block: u16,
}

/// When requests are sent.
#[derive(Debug, Clone)]
pub enum Pace {
    /// At the times of a schedule, whatever the server does. For latency.
    Open(Schedule),
    /// So many at a time, the next when one is done. For the highest throughput; its latencies are not those of a real
    /// load, because a slow server is asked less.
    Closed { connections: usize },
}

/// No request is planned after this; those under way are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopRule {
    pub duration: Duration,
    pub requests: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests under way at a time; one that is planned beyond is dropped and counted.
    pub outstanding: usize,
    /// Connections of an open loop, if fewer: a request that is due while all of them are busy waits in line, as it would
    /// behind a proxy's pool. Its latency counts the wait; its service time does not.
    pub pool: Option<usize>,
    /// From the moment a request is taken up to the last byte of its answer.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { outstanding: MAX_OUTSTANDING, pool: None, timeout: Duration::from_secs(10) }
    }
}
