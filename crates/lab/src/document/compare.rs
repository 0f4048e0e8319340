//! What `compare` finds out about an application besides verdicts.

use serde::{Deserialize, Serialize};

use super::answer::{Bounds, bounds};
use super::known;
use crate::statistics::usl::Usl;

/// What a route spends its time with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Cpu,
    Wait,
    Storage,
    Mixed,
    #[default]
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Quantiles {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

/// One route, as `GET /v1/apps/{app}/routes` has it; means unless said otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub method: String,
    pub route: String,
    pub requests: u64,
    pub failed: u64,
    pub latency_ms: Quantiles,
    pub queue_ms: Option<f64>,
    pub cpu_ms: Option<f64>,
    pub cpu_ms_p95: Option<f64>,
    pub wait_ms: Option<f64>,
    pub run_queue_ms: Option<f64>,
    pub gil_ms: Option<f64>,
    pub storage_ms: Option<f64>,
    pub fsyncs: Option<f64>,
    pub classification: Class,
}

/// Throughput against concurrency, in a closed loop.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ladder {
    pub arm: String,
    pub rungs: Vec<Rung>,
    pub fit: Option<Fit>,
    /// Why there is no fit.
    pub no_fit_because: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rung {
    pub concurrency: u32,
    pub throughput: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub failed: u64,
    /// How far it is from Little's law.
    pub little_deviation: Option<f64>,
    pub valid: bool,
    pub invalid_because: Option<String>,
}

/// Gunther's law through the rungs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Fit {
    pub gamma: f64,
    pub sigma: f64,
    pub kappa: f64,
    pub kappa_ci: Bounds,
    pub r_squared: Option<f64>,
    /// Where throughput is highest; none when it never falls.
    pub best_concurrency: Option<f64>,
    /// More is known to serve less beyond that.
    pub retrograde: bool,
}

impl Fit {
    #[must_use]
    pub fn of(usl: &Usl) -> Self {
        Fit {
            gamma: usl.gamma,
            sigma: usl.sigma,
            kappa: usl.kappa,
            kappa_ci: bounds(usl.kappa_interval),
            r_squared: known(usl.r_squared),
            best_concurrency: known(usl.best_concurrency()),
            retrograde: usl.is_retrograde(),
        }
    }

    #[must_use]
    pub fn throughput(&self, n: f64) -> f64 {
        self.gamma * n / (1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0))
    }
}

/// What growth means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// The same requests again and again take more and more.
    Leak,
    /// Only different requests do.
    UnboundedCache,
    /// It ends by itself.
    Warming,
    Flat,
    /// What each concurrent request needs: no growth over time.
    PerConcurrentRequest,
    #[default]
    #[serde(other)]
    Unknown,
}

/// Memory against something: requests served, requests held, distinct inputs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryGrowth {
    pub arm: String,
    /// What x is: "requests served", "requests held", "distinct inputs".
    pub against: String,
    /// x and bytes.
    pub points: Vec<(f64, f64)>,
    /// Bytes per unit of x.
    pub slope: Option<f64>,
    pub slope_ci: Bounds,
    pub intercept: Option<f64>,
    pub growth: Growth,
    /// The application's memory limit, if it has one.
    pub limit_bytes: Option<u64>,
    pub sentence: Option<String>,
}

/// From nothing to the first good answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ColdStart {
    /// From exec to ready for requests.
    pub ready_ms: Option<f64>,
    pub first_answer_ms: Option<f64>,
    /// Until p95 is within 1.25 of what it stays at.
    pub steady_ms: Option<f64>,
    /// A worker forked from a process that has imported the application.
    pub forked_ms: Option<f64>,
    /// The slowest, with what they import.
    pub imports: Vec<Import>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Import {
    pub module: String,
    pub milliseconds: f64,
}
