//! What a group may use, as data, and what became of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a group may use. `None` is "no limit of its own": applying it takes away one that was set before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Processor time in cores; fractions are fine. Above it the group waits for the next period.
    pub cpu: Option<f64>,
    /// Share of processor time against siblings when all want more than there is: 1 to 10000, 100 is ordinary.
    pub cpu_weight: Option<u32>,
    /// The only processors it runs on. Whose they are besides is the caller's business.
    pub cores: Option<Vec<u32>>,
    /// Bytes of memory, swap included. Above it one process of the group is killed.
    pub memory: Option<u64>,
    /// Bytes of memory that are not reclaimed from it when others need more.
    pub memory_guarantee: Option<u64>,
    pub disk_read: Option<Rate>,
    pub disk_write: Option<Rate>,
    /// Share of disk time against siblings: 1 to 10000, 100 is ordinary.
    pub disk_weight: Option<u32>,
    /// Files or directories: the disks that hold them are those that the disk limits are about.
    pub disks: Vec<PathBuf>,
    /// Processes and threads together.
    pub processes: Option<u64>,
}

/// How fast a disk may be used, per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rate {
    Bytes(u64),
    Operations(u64),
}

/// One of the fields of [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    Cpu,
    CpuWeight,
    Cores,
    Memory,
    MemoryGuarantee,
    DiskRead,
    DiskWrite,
    DiskWeight,
    Processes,
}

impl Constraint {
    /// The field's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Constraint::Cpu => "cpu",
            Constraint::CpuWeight => "cpu_weight",
            Constraint::Cores => "cores",
            Constraint::Memory => "memory",
            Constraint::MemoryGuarantee => "memory_guarantee",
            Constraint::DiskRead => "disk_read",
            Constraint::DiskWrite => "disk_write",
            Constraint::DiskWeight => "disk_weight",
            Constraint::Processes => "processes",
        }
    }
}

/// What became of one constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub constraint: Constraint,
    /// What was written, in this order.
    pub written: Vec<Written>,
    /// Enforced, but not all that one would expect of it.
    pub caveat: Option<String>,
    /// Not enforced. With some things written: only those hold.
    pub refusal: Option<Refusal>,
}

impl Outcome {
    /// The kernel took it.
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.refusal.is_none()
    }
}

/// A value in a file of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub file: PathBuf,
    pub value: String,
}

/// Why something cannot be enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// What happened and where.
    pub why: String,
    /// What the kernel answered, if it was asked.
    pub errno: Option<i32>,
    /// What would make it possible; empty if nothing would.
    pub remedy: String,
}
