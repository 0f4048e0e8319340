//! What `GET /metrics` shows, as plain data. How it is written down is in `exposition.rs`.

use std::time::Duration;

use super::types::{AppState, WorkerState};

/// Upper bounds of the histogram's buckets in seconds; a last one holds the rest.
pub(crate) const BOUNDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Everything at one moment. Counters only grow while their application exists.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MetricsSnapshot {
    pub(crate) host: HostMetrics,
    pub(crate) apps: Vec<AppMetrics>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct HostMetrics {
    pub(crate) version: String,
    pub(crate) uptime: Duration,
    pub(crate) generation: u64,
    /// Open client connections.
    pub(crate) connections: u64,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu: Option<Duration>,
    /// Requests that matched no application, by the status of the answer (421, 404, ...).
    pub(crate) unrouted: Vec<(u16, u64)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AppMetrics {
    pub(crate) name: String,
    pub(crate) state: AppState,
    pub(crate) generation: u64,
    /// Workers wanted.
    pub(crate) target: u32,
    /// Finished requests by the status of the answer: whole statuses or the first of each class (200 for 2xx).
    pub(crate) requests: Vec<(u16, u64)>,
    /// Answered 5xx by the host instead of the application.
    pub(crate) failed: u64,
    pub(crate) replayed: u64,
    /// Requests refused before a worker saw them, by reason, for example "queue full".
    pub(crate) refused: Vec<(String, u64)>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) queue_depth: u64,
    pub(crate) queue_limit: u64,
    /// Requests inside workers.
    pub(crate) running: u64,
    /// Waiting for a worker.
    pub(crate) queued: Histogram,
    /// From the worker to the last byte that the application sent.
    pub(crate) service: Histogram,
    /// From arrival to the last byte of the answer.
    pub(crate) total: Histogram,
    /// Workers started in place of others, by cause, for example "exited", "max_requests", "hung".
    pub(crate) respawns: Vec<(String, u64)>,
    pub(crate) dropped_log_lines: u64,
    /// Those that are not gone.
    pub(crate) workers: Vec<WorkerMetrics>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WorkerMetrics {
    pub(crate) id: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) state: WorkerState,
    /// Finished requests by the status of the answer, as for the application.
    pub(crate) requests: Vec<(u16, u64)>,
    /// Time with at least one request inside, since it serves.
    pub(crate) busy: Duration,
    /// Time without, since it serves.
    pub(crate) idle: Duration,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu: Option<Duration>,
}

/// How long things took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Histogram {
    /// One number per bucket, not cumulative: those of [`BOUNDS`], then the rest.
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    /// Count `times` durations of about `seconds`. A finer histogram is taken over by one call per bucket.
    pub(crate) fn add(&mut self, seconds: f64, times: u64) {
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket] += times;
        self.sum += seconds * times as f64;
    }

    /// All of them.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Seconds altogether.
    pub(crate) fn sum(&self) -> f64 {
        self.sum
    }

    /// Upper bound and how many are at most as large; the last bound is infinite.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
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
