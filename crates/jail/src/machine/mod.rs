//! What this machine offers for keeping applications apart.
//!
//! [`mounts`] reads the kernel's tables. Nothing here changes the machine.

use std::path::PathBuf;

pub mod mounts;

/// Where the kernel's filesystems are; tests put others in their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    pub proc: PathBuf,
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots { proc: "/proc".into(), sys: "/sys".into() }
    }
}
