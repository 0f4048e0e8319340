//! Groups on this machine's own hierarchies. Needs root, or a delegated group; what is not to be had is said and skipped.

mod limits;
mod sandbox;
