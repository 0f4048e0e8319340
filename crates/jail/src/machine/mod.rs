//! What this machine offers for keeping applications apart.
//!
//! [`mounts`] reads the kernel's tables; [`Survey`] goes through every constraint of the configuration and says by what it is
//! enforced here, or why it is not. Nothing is left changed.

use std::path::PathBuf;

mod groups;
pub mod mounts;
mod rooms;
mod survey;

pub use rooms::landlock_abi;
pub use survey::{Finding, Level, Survey};

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
