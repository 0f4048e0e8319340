//! What was run: arms, and block by block what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One configuration under test.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Arm {
    /// "S1", "I2", "threads 2x8": what blocks refer to.
    pub name: String,
    /// For people: "shared, fair share of the processor".
    pub title: String,
    pub tenancy: Option<String>,
    pub concurrency: Option<String>,
    pub workers: Option<u32>,
    pub threads: Option<u32>,
    /// Limits of the application as configured: key and value of `serpentry.toml`.
    pub limits: BTreeMap<String, String>,
    /// What the kernel says afterwards: file of the control group and its content.
    pub cgroup: BTreeMap<String, String>,
    /// What the arm holds of the machine while it runs: cores, bytes.
    pub reserved_cores: Option<f64>,
    pub reserved_memory_bytes: Option<u64>,
    pub neighbours: Vec<Neighbour>,
    /// The `serpentry.toml` it ran with.
    pub config: Option<String>,
}

/// Who else was on the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Neighbour {
    /// "cpu", "memory", "disk", "bursts", "connections".
    pub kind: String,
    pub count: u32,
    /// 0 to 1.
    pub intensity: Option<f64>,
    /// What they used, measured.
    pub cores: Option<f64>,
}

/// What a block was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// One half of a pair.
    Measured,
    /// One half of a pair of the same arm twice (A/A).
    Control,
    /// One rung of a ladder.
    Ladder,
    WarmUp,
    Calibration,
    #[default]
    #[serde(other)]
    Unknown,
}

/// Some seconds of one arm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Block {
    pub index: u32,
    pub kind: BlockKind,
    /// Number of its pair; the two blocks of a pair have the same arrivals.
    pub pair: Option<u32>,
    pub arm: String,
    /// "quiet", "noisy".
    pub phase: Option<String>,
    /// Ids of the answers that rest on it.
    pub questions: Vec<String>,
    /// Since the start of the run.
    pub at_seconds: f64,
    pub seconds: f64,
    pub planned: u64,
    pub answered: u64,
    /// Errors, timeouts and dropped ones; they are in the distribution as slower than any answer.
    pub failed: u64,
    /// Not sent, because too many were under way.
    pub dropped: u64,
    /// By kind, as the load generator names them.
    pub failures: BTreeMap<String, u64>,
    /// Good answers per second.
    pub throughput: Option<f64>,
    /// "p50", "p95", "p99", "es95" (mean of the worst 5 %): from the planned time. Absent when there are too few requests.
    pub latency_ms: BTreeMap<String, Latency>,
    /// How late the generator was.
    pub lag_p99_ms: Option<f64>,
    pub generator_cpu: Option<f64>,
    /// Share of the time that the hypervisor took.
    pub steal: Option<f64>,
    pub pressure: Pressure,
    /// Time ready and not running, of one request.
    pub run_queue_ms: Option<f64>,
    /// Share of quota periods in which the application was throttled.
    pub throttled: Option<f64>,
    /// Processor time of the neighbours, in cores.
    pub neighbour_cores: Option<f64>,
    pub memory_bytes: Option<u64>,
    /// How far the fixed piece of work was from the session's median: 0.02 is 2 % slower.
    pub calibration: Option<f64>,
    pub valid: bool,
    /// Why not, a sentence for each reason.
    pub invalid_because: Vec<String>,
}

/// Shares of the time in which somebody of the application waited (PSI "some").
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pressure {
    pub cpu: Option<f64>,
    pub memory: Option<f64>,
    pub io: Option<f64>,
}

/// A short window of a block.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Moment {
    /// Index of the block it is in.
    pub block: u32,
    /// Its middle, since the start of the run.
    pub at_seconds: f64,
    pub requests: u32,
    pub failed: u32,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub max_ms: Option<f64>,
}

/// A quantile of latencies, in which failed requests are slower than any answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    Milliseconds(f64),
    /// It fell among failed requests.
    Failed,
}

impl Latency {
    /// From milliseconds, infinite for failed requests; None when there is no such quantile (NaN).
    #[must_use]
    pub fn new(milliseconds: f64) -> Option<Self> {
        match milliseconds {
            value if value.is_nan() => None,
            value if value.is_finite() => Some(Latency::Milliseconds(value)),
            _ => Some(Latency::Failed),
        }
    }

    /// Infinite when failed.
    #[must_use]
    pub fn milliseconds(self) -> f64 {
        match self {
            Latency::Milliseconds(value) => value,
            Latency::Failed => f64::INFINITY,
        }
    }
}

const FAILED: &str = "failed";

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Latency::Milliseconds(value) if value.is_finite() => serializer.serialize_f64(*value),
            _ => serializer.serialize_str(FAILED),
        }
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape {
            Milliseconds(f64),
            Word(String),
        }
        match Shape::deserialize(deserializer)? {
            Shape::Milliseconds(value) => Ok(Latency::Milliseconds(value)),
            Shape::Word(word) if word == FAILED => Ok(Latency::Failed),
            Shape::Word(_) => Err(serde::de::Error::custom("a latency is milliseconds or \"failed\"")),
        }
    }
}
