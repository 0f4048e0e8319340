//! What a decision rests on. Everything is measured and may be missing.

use crate::document::{NotTestable, Verdict};

/// How the application is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interface {
    #[default]
    Wsgi,
    Asgi,
}

/// From the simplest to operate to the least simple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concurrency {
    Sync,
    Threads,
    Async,
}

impl Concurrency {
    /// As in `serpentry.toml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Concurrency::Sync => "sync",
            Concurrency::Threads => "threads",
            Concurrency::Async => "async",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenancy {
    Shared,
    Isolated,
}

impl Tenancy {
    /// As in `serpentry.toml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tenancy::Shared => "shared",
            Tenancy::Isolated => "isolated",
        }
    }
}

/// All figures for one application on one machine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inputs {
    pub app: String,
    pub interface: Interface,
    /// False: it has a part that must not run in two threads at a time.
    pub thread_safe: Option<bool>,
    /// Requests per second that are planned for, and how much higher the peak is than that.
    pub rate: Option<f64>,
    pub peak_over_mean: Option<f64>,
    /// Of one request, without neighbours.
    pub cpu_ms: Option<f64>,
    pub wait_ms: Option<f64>,
    /// That the application can use.
    pub cores: Option<f64>,
    /// Of a worker process beyond what all share, and what each further thread adds.
    pub worker_bytes: Option<f64>,
    pub thread_bytes: Option<f64>,
    /// Of all its workers together.
    pub memory_budget_bytes: Option<f64>,
    /// 99 % of the time it was not above this, with so many workers.
    pub memory_peak_bytes: Option<f64>,
    pub memory_peak_workers: Option<u32>,
    /// Memory for each request served.
    pub growth: Option<Growing>,
    /// How late the event loop is, in 1 of 100 cases.
    pub loop_lag_p99_ms: Option<f64>,
    /// Lines that block an event loop, or what else is to be mended first.
    pub blocking_lines: Vec<String>,
    /// Waiting for the interpreter's lock falls when threads change more often.
    pub convoy: Option<bool>,
    /// Latency that must be kept, and at which quantile.
    pub target_ms: Option<f64>,
    pub target_quantile: Option<f64>,
    pub predicted: Vec<Predicted>,
    /// The winner of the predictions against the runner-up, measured.
    pub pairwise: Option<Pairwise>,
    pub tenancy: TenancyFigures,
    /// Calls of fsync of one request.
    pub fsyncs: Option<f64>,
    pub quality: Quality,
    pub not_testable: Vec<NotTestable>,
}

/// A slope with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growing {
    pub bytes: f64,
    pub low: f64,
    pub high: f64,
}

/// What the simulator says about a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    pub concurrency: Concurrency,
    /// At the target's quantile.
    pub latency_ms: f64,
}

/// One measured comparison of two models.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairwise {
    pub better: Concurrency,
    pub other: Concurrency,
    /// Of "`better` is better".
    pub verdict: Verdict,
    pub ratio: Option<f64>,
    /// Id of the answer.
    pub evidence: String,
}

/// Shared against isolated.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TenancyFigures {
    /// At the target's quantile, with busy neighbours.
    pub shared_noisy_ms: Option<f64>,
    pub isolated_noisy_ms: Option<f64>,
    /// Of "shared is slower when neighbours are busy", of its p95 over that of isolated, and the id of that answer.
    pub noisy: Option<Verdict>,
    pub noisy_ratio: Option<f64>,
    pub noisy_evidence: Option<String>,
    /// Cores that neighbours are expected to use, and at which own cores become faster.
    pub neighbours: Option<f64>,
    pub crossover: Option<f64>,
    /// Cores that it needs in 99 % of short windows.
    pub own_cores_p99: Option<f64>,
    pub machine_cores: Option<u32>,
    /// A rule of the operator says so: law, contract, security.
    pub must_be_isolated: bool,
    /// Work that may wait for everybody else.
    pub batch: bool,
    /// An innocent neighbour was killed, or suffered, when memory was short.
    pub wrong_victim: Option<bool>,
    pub collateral: Option<f64>,
    pub costs: Option<Costs>,
}

/// What violations of the target and machines cost, in one currency and for the same time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Costs {
    pub shared: f64,
    pub isolated: f64,
    pub violation_minute: f64,
    /// Minutes of violation, shared and isolated, drawn again by the bootstrap.
    pub violations: Vec<(f64, f64)>,
}

/// How good the measurement was.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quality {
    /// Pairs that are valid, of those that were planned.
    pub valid_pairs: Option<u32>,
    pub planned_pairs: Option<u32>,
    /// Ratio that an arm compared with itself showed, and what was called material.
    pub noise: Option<f64>,
    pub material: Option<f64>,
}
