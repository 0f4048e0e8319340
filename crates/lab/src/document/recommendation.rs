//! What to do, why, and what would change it.

use serde::{Deserialize, Serialize};

/// The recommendation for one application on one machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Recommendation {
    /// "shared" or "isolated"; none when nothing can be said.
    pub tenancy: Option<String>,
    /// "sync", "threads" or "async".
    pub concurrency: Option<String>,
    pub workers: Option<u32>,
    /// Of each worker; only for "threads".
    pub threads: Option<u32>,
    /// All of it in one or two sentences, first thing in every report.
    pub sentence: String,
    pub reasons: Vec<Reason>,
    pub would_change_if: Vec<Change>,
    /// CPU, memory, storage and network each have their own answer.
    pub resources: Vec<ResourceChoice>,
    pub confidence: Confidence,
    /// Why it is no more than that.
    pub confidence_because: String,
    /// What to mend first: blocking lines, leaks.
    pub fix_first: Vec<String>,
    pub not_testable: Vec<NotTestable>,
    /// A part of `serpentry.toml`.
    pub config: String,
}

/// One reason, with measured figures in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reason {
    pub text: String,
    /// Ids of answers and claims.
    pub evidence: Vec<String>,
}

/// What would lead to another recommendation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// "neighbours use more than 0.91 cores".
    pub text: String,
    /// What must move.
    pub quantity: String,
    pub unit: String,
    pub threshold: Option<f64>,
    pub current: Option<f64>,
    /// What would be recommended then.
    pub then: String,
}

impl Change {
    /// By what share of its present value it has to change: 0.5 is half as much again, -0.5 is half of it.
    #[must_use]
    pub fn distance(&self) -> Option<f64> {
        let (threshold, current) = (self.threshold?, self.current?);
        Some((threshold - current) / current.abs()).filter(|distance| distance.is_finite())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    Low,
    Medium,
    High,
    #[default]
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    Cpu,
    Memory,
    Storage,
    Network,
    #[default]
    #[serde(other)]
    Unknown,
}

/// What to do about one resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceChoice {
    pub resource: Resource,
    /// "weight", "own cores", "hard limit", "shared disk", "own volume", "caps".
    pub choice: String,
    pub because: String,
}

/// A question without an answer on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NotTestable {
    pub what: String,
    /// The mechanism that is missing.
    pub because: String,
}
