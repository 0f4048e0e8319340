//! Where and how it was measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The machine, as far as it matters for the figures.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    pub kernel: Option<String>,
    pub processor: Option<String>,
    pub cores: Option<u32>,
    pub memory_bytes: Option<u64>,
    pub swap_bytes: Option<u64>,
    /// The hypervisor, when there is one and it says so.
    pub virtualisation: Option<String>,
    /// File system of the applications' directories.
    pub filesystem: Option<String>,
    /// What each arm and neighbour is made with: cgroup versions, controllers.
    pub mechanisms: Vec<Mechanism>,
    /// Programs: serpentry, python, libraries of the application.
    pub versions: BTreeMap<String, String>,
    /// Duration of a fixed piece of work, and how much it varied over the session (median deviation over the median).
    pub calibration_ms: Option<f64>,
    pub calibration_spread: Option<f64>,
}

/// One thing the laboratory needs of the kernel, and how it gets it here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Mechanism {
    /// "cpu weight", "cpuset", "memory limit".
    pub what: String,
    /// "cgroup v1 cpu.shares"; none when it is missing.
    pub with: Option<String>,
}

/// What was planned before anything was measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Method {
    /// The command line that repeats the run.
    pub command: Option<String>,
    /// "poisson", "constant", "bursts", "replay", "closed loop".
    pub arrivals: Option<String>,
    /// Requests per second that were planned.
    pub rate: Option<f64>,
    pub pairs: Option<u32>,
    pub block_seconds: Option<f64>,
    /// Of each block's beginning, not counted.
    pub discarded_seconds: Option<f64>,
    /// What was asked for: URL or route, and its share of the requests.
    pub mix: Vec<(String, f64)>,
    /// Where generator, host, application and neighbours ran, in words.
    pub placement: Option<String>,
    /// Processor time of the generator, of one core.
    pub generator_cpu: Option<f64>,
    /// What the host itself used, of one core.
    pub host_cpu: Option<f64>,
    /// Latency that the application must keep to, and at which quantile.
    pub target_ms: Option<f64>,
    pub target_quantile: Option<f64>,
    /// Everything else that must be known to read the figures.
    pub notes: Vec<String>,
}
