//! Groups on this machine's own hierarchies. Needs root, or a delegated group; what is not to be had is said and skipped.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disks;
mod host;
mod leftovers;
mod limits;
mod processes;
mod sandbox;
