//! Which processors a group runs on.
//!
//! | | version 1 | version 2 |
//! |---|---|---|
//! | cores | `cpuset.cpus`, within the parent's and around all children's | `cpuset.cpus`, empty for the parent's |
//! | memory nodes | `cpuset.mems`, must be set | `cpuset.mems`, empty for the parent's |
//!
//! A new group of version 1 has neither and takes no process until it has both.

use std::io;
use std::path::Path;

use super::file;

/// Version 1: a group that has no processors or memory nodes yet gets its parent's.
pub(super) fn inherit(dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if file::read(&dir.join(name))?.trim().is_empty() {
            file::write(&dir.join(name), file::read(&parent.join(name))?.trim())?;
        }
    }
    Ok(())
}
