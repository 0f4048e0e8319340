//! Limits for groups of processes, kept by the kernel's control groups, version 1 and 2 side by side.
//!
//! The version is decided for each controller; where there is a version 2 hierarchy beside version 1, groups are in both:
//! limits from the one, pressure figures, `cgroup.kill` and `cgroup.freeze` from the other. One file for each controller
//! has both versions beside each other. Nothing here decides what a limit should be, or whose cores are free.
//!
//! ```no_run
//! use std::time::Duration;
//! use jail::cgroup::{Hierarchies, Limits, Tree};
//! use jail::machine::Roots;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // At the start of a host. Takes over what a killed host of this name left; fails if one is running.
//! let tree = Tree::create(&Hierarchies::find(&Roots::default())?, "3f2a")?;
//! for missing in tree.missing() {
//!     eprintln!("{}; {}", missing.refusal.why, missing.refusal.remedy);
//! }
//!
//! // For each application.
//! let group = tree.group("shared/shop")?;
//! let limits = Limits { cpu: Some(0.5), memory: Some(256 << 20), processes: Some(256), ..Limits::default() };
//! for outcome in group.apply(&limits) {
//!     match &outcome.refusal {
//!         None => println!("{}: {:?}", outcome.constraint.name(), outcome.written),
//!         Some(refusal) => println!("{}: not enforced: {refusal}", outcome.constraint.name()),
//!     }
//! }
//! // A worker joins before it does anything else: it writes "0" into each of these.
//! let entries: Vec<std::path::PathBuf> = group.entries();
//! // Later: the same call with other limits changes them in place.
//! let _ = group.apply(&Limits { cpu: None, ..limits });
//! println!("{:?}", group.usage());
//!
//! // At the end.
//! group.kill(Duration::from_secs(5))?;
//! group.remove(Duration::from_secs(1))?;
//! tree.remove()?;
//! # Ok(())
//! # }
//! ```
//!
//! Calls that take a `patience` block for at most that long; a host's loop makes them on another thread.

mod control;
mod cpu;
mod cpuset;
mod device;
#[cfg(test)]
mod fake;
mod file;
mod freezer;
mod group;
mod hierarchy;
mod io;
mod limits;
mod memory;
mod oom;
mod pids;
mod pressure;
mod tree;
mod usage;

pub use cpu::{bandwidth, shares};
pub use device::{Disk, disks};
pub use file::{list, print_list};
pub use freezer::Survivors;
pub use group::Group;
pub use hierarchy::{Controller, Hierarchies, Hierarchy, Version};
pub use io::bfq_weight;
pub use limits::{Constraint, Limits, Outcome, Rate, Refusal, Written};
pub use oom::OomWatch;
pub use pressure::{Pressure, Pressures, Stall, parse as parse_pressure};
pub use tree::{Missing, Tree, TreeError};
pub use usage::{CpuUsage, IoUsage, MemoryUsage, PidsUsage, Usage};
