//! Readings for the detectors, from control groups, procfs and file systems: as few files as will do.

use std::path::Path;

use detect::{Memory, Processes, Quota, Reading, Room};

use super::Subject;
use crate::tenancy::Entry;

/// Percent of a limit of memory below which nobody asks what of it could be reclaimed: that takes the kernel some time.
const WORTH: u64 = 85;

pub(super) fn reading(entry: &Entry, subject: &Subject) -> Reading {
    let limits = &entry.limits;
    let group = &entry.group;
    Reading {
        quota: limits.cpu.and_then(|cores| Some((quota(entry)?, cores))),
        memory: limits.memory.and_then(|limit| memory(entry, limit)),
        processes: group.forks_refused().map(|refused| processes(entry, refused)),
        volume: entry.volume.as_deref().and_then(room),
        requests: subject.counters.requests,
        in_flight: subject.counters.in_flight as u64,
    }
}

fn quota(entry: &Entry) -> Option<Quota> {
    let cpu = entry.group.cpu()?;
    Some(Quota {
        usage_us: cpu.usage_us,
        periods: cpu.periods,
        throttled: cpu.throttled,
        throttled_us: cpu.throttled_us,
    })
}

fn memory(entry: &Entry, limit: u64) -> Option<Memory> {
    let used = entry.group.memory_used()?;
    if u128::from(used) * 100 < u128::from(limit) * u128::from(WORTH) {
        return Some(Memory { used, limit });
    }
    // Without knowing what can be reclaimed there is no telling whether it is near its limit.
    Some(Memory { used: used.saturating_sub(entry.group.reclaimable()?), limit })
}

fn processes(entry: &Entry, refused: u64) -> Processes {
    let limit = u64::from(entry.limits.processes);
    // How many there are matters only once one was refused.
    let pids = if refused > 0 { entry.group.pids() } else { None };
    let (current, peak) = pids.map_or((0, None), |pids| (pids.current, pids.peak));
    Processes { current, peak, limit, refused }
}

/// Of the file system that this directory is on.
pub(super) fn room(directory: &Path) -> Option<Room> {
    let found = rustix::fs::statvfs(directory).ok()?;
    Some(Room {
        size: found.f_blocks.saturating_mul(found.f_frsize),
        free: found.f_bavail.saturating_mul(found.f_frsize),
        // Some file systems have no such bound and say 0 of 0.
        files_left: found.f_files == 0 || found.f_favail > 0,
    })
}
