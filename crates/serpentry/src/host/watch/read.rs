//! Readings for the detectors, from control groups, procfs and file systems: as few files as will do.

use std::path::Path;
use std::time::Duration;

use config::Rate;
use detect::{Counts, Memory, Processes, Quota, Reading, Room, Transfer, Way};

use jail::cgroup::Group;

use super::processor::Processors;
use super::{Subject, worker};
use crate::tenancy::{Entry, Token};

/// Percent of a limit of memory below which nobody asks what of it could be reclaimed: that takes the kernel some time.
const WORTH: u64 = 85;

pub(super) fn reading(token: Token, entry: &Entry, subject: &Subject, processors: &Processors) -> Reading {
    let limits = &entry.limits;
    let group = &entry.group;
    let counters = &subject.counters;
    let in_flight = counters.in_flight as u64;
    let pids = subject.workers.values().filter_map(|worker| worker.pid);
    let of = |(number, reference): (&router::Worker, &incident::WorkerRef)| {
        let own = counters.workers.iter().find(|worker| worker.worker == *number);
        worker::worker(*reference, own, in_flight, limits.open_files)
    };
    Reading {
        demand: processors.demand(token, pids),
        disk: disk(entry),
        bandwidth: bandwidth(entry, subject),
        workers: subject.workers.iter().map(of).collect(),
        quota: limits.cpu.and_then(|cores| Some((quota(entry)?, cores))),
        memory: limits.memory.and_then(|limit| memory(group, limit)),
        processes: group.forks_refused().map(|refused| processes(entry, refused)),
        volume: entry.volume.as_deref().and_then(room),
        requests: counters.requests,
        in_flight,
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

pub(super) fn memory(group: &Group, limit: u64) -> Option<Memory> {
    let used = group.memory_used()?;
    if u128::from(used) * 100 < u128::from(limit) * u128::from(WORTH) {
        return Some(Memory { used, limit });
    }
    // Without knowing what can be reclaimed there is no telling whether it is near its limit.
    Some(Memory { used: used.saturating_sub(group.reclaimable()?), limit })
}

fn processes(entry: &Entry, refused: u64) -> Processes {
    let limit = u64::from(entry.limits.processes);
    // How many there are matters only once one was refused.
    let pids = if refused > 0 { entry.group.pids() } else { None };
    let (current, peak) = pids.map_or((0, None), |pids| (pids.current, pids.peak));
    Processes { current, peak, limit, refused }
}

fn disk(entry: &Entry) -> Option<Transfer> {
    let limits = [entry.limits.disk_read, entry.limits.disk_write];
    limits[0].or(limits[1])?;
    let io = entry.group.io()?;
    // Without figures of pressure nothing proves that somebody waited.
    let waited = Duration::from_micros(entry.group.pressures().io?.some.total_us);
    let way = |bytes, operations, limit: Option<Rate>| {
        Some(match limit? {
            Rate::Bytes(limit) => Way { amount: bytes, limit, counts: Counts::Bytes },
            Rate::Operations(limit) => Way { amount: operations, limit, counts: Counts::Operations },
        })
    };
    let ways = [way(io.read, io.reads, limits[0]), way(io.written, io.writes, limits[1])];
    Some(Transfer { ways, waited: [waited; 2] })
}

fn bandwidth(entry: &Entry, subject: &Subject) -> Option<Transfer> {
    let (limits, counters) = (&entry.limits, &subject.counters);
    limits.bandwidth_in.or(limits.bandwidth_out)?;
    let way = |amount, limit: Option<u64>| limit.map(|limit| Way { amount, limit, counts: Counts::Bytes });
    Some(Transfer {
        ways: [way(counters.bytes_in, limits.bandwidth_in), way(counters.bytes_out, limits.bandwidth_out)],
        waited: [counters.held_back_in, counters.held_back_out],
    })
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
