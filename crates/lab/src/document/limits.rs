//! What limits did to an application, alone and together.

use serde::{Deserialize, Serialize};

/// Limits that were tried at one rate: each alone, and each beside another.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsTogether {
    /// Requests per second.
    pub rate: f64,
    pub trials: Vec<LimitTrial>,
    /// What follows, with figures.
    pub sentences: Vec<String>,
}

/// The application with some limits; figures are medians over the rounds that count.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitTrial {
    /// "no limit", "quota and memory".
    pub name: String,
    /// `limits.cpu`, if it is limited.
    pub cpu_cores: Option<f64>,
    /// `limits.memory`, if it is limited.
    pub memory_bytes: Option<u64>,
    pub workers: u32,
    /// That count.
    pub rounds: u32,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    /// Share of the quota's periods in which it was held back.
    pub throttled: Option<f64>,
    /// Held by its control group, the most of all rounds.
    pub used_bytes: Option<u64>,
    /// Requests that failed, also in rounds that do not count.
    pub failed: u64,
    /// Why it could not be run with these.
    pub refused: Option<String>,
}
