//! What `GET /metrics` shows, as plain data. How it is written down is in `exposition.rs`.

use std::time::Duration;

use super::types::{AppState, WorkerState};

/// Upper bounds of the histogram's buckets in seconds; a last one holds the rest.
pub const BOUNDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Everything at one moment. Counters only grow while their application exists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsSnapshot {
    pub host: HostMetrics,
    pub apps: Vec<AppMetrics>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostMetrics {
    pub version: String,
    pub uptime: Duration,
    pub generation: u64,
    /// Open client connections.
    pub connections: u64,
    pub memory_bytes: Option<u64>,
    pub cpu: Option<Duration>,
    /// Requests that matched no application, by the status of the answer (421, 404, ...).
    pub unrouted: Vec<(u16, u64)>,
    /// Incidents opened so far that concern no application, by code.
    pub incidents: Vec<(String, u64)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AppMetrics {
    pub name: String,
    pub state: AppState,
    pub generation: u64,
    /// Workers wanted.
    pub target: u32,
    /// Finished requests by the status of the answer: whole statuses or the first of each class (200 for 2xx).
    pub requests: Vec<(u16, u64)>,
    /// Answered 5xx by the host instead of the application.
    pub failed: u64,
    pub replayed: u64,
    /// Requests refused before a worker saw them, by reason, for example "queue full".
    pub refused: Vec<(String, u64)>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub queue_depth: u64,
    pub queue_limit: u64,
    /// Requests inside workers.
    pub running: u64,
    /// Waiting for a worker.
    pub queued: Histogram,
    /// From the worker to the last byte that the application sent.
    pub service: Histogram,
    /// From arrival to the last byte of the answer.
    pub total: Histogram,
    /// Workers started in place of others, by cause, for example "exited", "max_requests", "hung".
    pub respawns: Vec<(String, u64)>,
    pub dropped_log_lines: u64,
    /// Incidents opened so far, by code, and how many are open.
    pub incidents: Vec<(String, u64)>,
    pub open_incidents: u64,
    /// Those that are not gone.
    pub workers: Vec<WorkerMetrics>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct WorkerMetrics {
    pub id: u64,
    pub pid: Option<u32>,
    pub state: WorkerState,
    /// Finished requests by the status of the answer, as for the application.
    pub requests: Vec<(u16, u64)>,
    /// Time with at least one request inside, since it serves.
    pub busy: Duration,
    /// Time without, since it serves.
    pub idle: Duration,
    pub memory_bytes: Option<u64>,
    pub cpu: Option<Duration>,
}

/// How long things took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Histogram {
    /// One number per bucket, not cumulative: those of [`BOUNDS`], then the rest.
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    /// Count `times` durations of about `seconds`. A finer histogram is taken over by one call per bucket.
    pub fn add(&mut self, seconds: f64, times: u64) {
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket] += times;
        self.sum += seconds * times as f64;
    }

    /// All of them.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Seconds altogether.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Upper bound and how many are at most as large; the last bound is infinite.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(&self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((bound, *sum))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_buckets_add_up() {
        let mut histogram = Histogram::default();
        histogram.add(0.0001, 2);
        histogram.add(0.001, 1);
        histogram.add(0.0011, 1);
        histogram.add(61.0, 3);
        let found: Vec<_> = histogram.cumulative().collect();
        assert_eq!(found[..3], [(0.0005, 2), (0.001, 3), (0.0025, 4)]);
        assert_eq!(found[15], (60.0, 4));
        assert_eq!(found[16], (f64::INFINITY, 7));
        assert_eq!(histogram.count(), 7);
        assert!((histogram.sum() - 183.0023).abs() < 1e-9, "{}", histogram.sum());
    }
}
