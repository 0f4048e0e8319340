//! Stopping, resuming and killing all processes of a group.
//!
//! | | version 1 | version 2 (also beside version 1, without any controller) |
//! |---|---|---|
//! | stop | `freezer.state` FROZEN, THAWED | `cgroup.freeze` 1, 0 |
//! | kill | freeze, SIGKILL each, thaw, until none is left | `cgroup.kill` (Linux 5.14) |

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::file;
use super::hierarchy::Version;

/// Between two looks at whether processes are gone.
const PAUSE: Duration = Duration::from_millis(2);

/// Processes that outlived their SIGKILL: in uninterruptible sleep, or of a PID namespace that we do not see.
#[derive(Debug, thiserror::Error)]
#[error("processes in {} do not die: {}", .dir.display(), .pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))]
pub struct Survivors {
    pub dir: PathBuf,
    pub pids: Vec<u32>,
}

/// Kill everything in these groups and below them, whichever of their hierarchies it is in, but never this process.
pub(super) fn kill(groups: &[(Version, PathBuf)], deadline: Instant) -> Result<(), Survivors> {
    loop {
        let mut left = None;
        for (version, dir) in groups {
            let pids = inhabitants(dir);
            if pids.is_empty() {
                continue;
            }
            strike(*version, dir, &pids);
            left = Some(Survivors { dir: dir.clone(), pids });
        }
        match left {
            None => return Ok(()),
            Some(left) if Instant::now() >= deadline => return Err(left),
            Some(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn strike(version: Version, dir: &Path, pids: &[u32]) {
    // It takes new children along and needs no list. Not where we would hit ourselves.
    let alone = !pids.contains(&std::process::id());
    if version == Version::V2 && alone && file::write(&dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // Nothing that is stopped forks. Without a freezer the caller's loop catches up.
    let _ = file::write(&dir.join("freezer.state"), "FROZEN");
    for pid in inhabitants(dir) {
        kill_one(dir, pid);
    }
    // What is stopped does not die either, whoever stopped it.
    thaw_below(dir);
}

/// A group can be frozen by itself below one that is not.
fn thaw_below(dir: &Path) {
    let _ = file::write(&dir.join("freezer.state"), "THAWED");
    for child in file::children(dir) {
        thaw_below(&child);
    }
}

/// All processes of a group and those below it, but not this one. Gone groups have none.
pub(super) fn inhabitants(dir: &Path) -> Vec<u32> {
    let mut pids = file::processes(dir).unwrap_or_default();
    for child in file::children(dir) {
        pids.extend(inhabitants(&child));
    }
    pids.retain(|pid| *pid != std::process::id());
    pids
}

/// The pid may be somebody else's by now: the handle is taken first, then the kernel is asked again who is in the group.
fn kill_one(dir: &Path, pid: u32) {
    let Some(handle) = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
    else {
        return;
    };
    if inhabitants(dir).contains(&pid) {
        let _ = pidfd_send_signal(handle, Signal::KILL);
    }
}

/// Stop or resume all processes. Returns when they are stopped, or with `TimedOut` at the deadline.
pub(super) fn freeze(version: Version, dir: &Path, stop: bool, deadline: Instant) -> io::Result<()> {
    let (name, value) = match (version, stop) {
        (Version::V1, true) => ("freezer.state", "FROZEN"),
        (Version::V1, false) => ("freezer.state", "THAWED"),
        (Version::V2, true) => ("cgroup.freeze", "1"),
        (Version::V2, false) => ("cgroup.freeze", "0"),
    };
    file::write(&dir.join(name), value)?;
    while is_frozen(version, dir)? != stop {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn is_frozen(version: Version, dir: &Path) -> io::Result<bool> {
    match version {
        Version::V1 => Ok(file::read(&dir.join("freezer.state"))?.trim() == "FROZEN"),
        Version::V2 => Ok(file::keyed(&file::read(&dir.join("cgroup.events"))?, "frozen") == Some(1)),
    }
}
