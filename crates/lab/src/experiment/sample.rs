//! What the kernel's counters say before and after a block, and the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::groups::{self, Groups};

/// Where the counters of a block are.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Branch of the host: all tenants and the host itself.
    pub(super) tree: Option<PathBuf>,
    /// The application's group: of processor time used, of limits of it, of memory, and of pressure (version 2).
    pub(super) used: Option<PathBuf>,
    pub(super) limited: Option<PathBuf>,
    pub(super) memory: Option<PathBuf>,
    pub(super) pressure: Option<PathBuf>,
    pub(super) pids: Vec<u32>,
}

/// All counters at one moment. Microseconds, unless they say otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    at: Option<Instant>,
    busy: u64,
    steal: u64,
    total: u64,
    tree: Option<u64>,
    own: u64,
    kernel: u64,
    used: Option<u64>,
    periods: Option<u64>,
    throttled_periods: Option<u64>,
    throttled: Option<u64>,
    pressure: [Option<u64>; 3],
    queued: u64,
    flushes: Option<u64>,
}

/// What happened between two moments. Shares are of the time, `cores` are processor time per time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    pub seconds: f64,
    pub steal: f64,
    /// Used by programs that are neither the host's nor the laboratory's. The kernel's own threads work for whoever writes
    /// and sends, and are left out.
    pub foreign_cores: f64,
    /// The laboratory itself: generator, samplers.
    pub own_cores: f64,
    pub app_cores: Option<f64>,
    /// Periods in which the application was held back by its quota.
    pub throttled: Option<f64>,
    pub throttled_ms: Option<f64>,
    /// Some of the application's tasks waited for processor, storage, memory.
    pub pressure_cpu: Option<f64>,
    pub pressure_io: Option<f64>,
    pub pressure_memory: Option<f64>,
    /// Time that the application's threads were ready and did not run.
    pub run_queue_ms: f64,
    pub memory_bytes: Option<u64>,
    /// Of the caches of all disks, by whomever: one for each fsync that had something to write. None: the disks have none to flush,
    /// or have never been told to.
    pub flushes: Option<u64>,
}

impl Places {
    /// Of an application with these workers, under this host.
    pub(super) fn of(groups: &Groups, host: u32, pids: &[u32]) -> Places {
        let worker = pids.first().copied().unwrap_or(0);
        let used = groups.of(worker, "cpuacct");
        // The host's own group is one level below its branch.
        let tree = groups.of(host, "cpuacct").and_then(|own| Some(own.parent()?.to_owned()));
        Places {
            tree,
            used,
            limited: groups.of(worker, "cpu"),
            memory: groups.of(worker, "memory"),
            pressure: groups.of(worker, ""),
            pids: pids.to_vec(),
        }
    }

    pub(super) fn read(&self) -> Reading {
        let (busy, steal, total) = machine(&fs::read_to_string("/proc/stat").unwrap_or_default());
        let limit = |key| groups::number(self.limited.as_deref()?, "cpu.stat", key);
        let pressure = |what: &str| total_of(self.pressure.as_deref()?, &format!("{what}.pressure"));
        let own = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
        Reading {
            at: Some(Instant::now()),
            busy,
            steal,
            total,
            tree: self.tree.as_deref().and_then(used),
            own: micros(own),
            kernel: kernel_threads(),
            used: self.used.as_deref().and_then(used),
            periods: limit("nr_periods"),
            throttled_periods: limit("nr_throttled"),
            throttled: limit("throttled_usec").or_else(|| Some(limit("throttled_time")? / 1_000)),
            pressure: [pressure("cpu"), pressure("io"), pressure("memory")],
            queued: self.pids.iter().map(|pid| queued(*pid)).sum(),
            flushes: flushes(&fs::read_to_string("/proc/diskstats").unwrap_or_default()),
        }
    }

    /// Processor time of the application, in microseconds.
    pub(super) fn used_now(&self) -> Option<u64> {
        self.used.as_deref().and_then(used)
    }

    pub(super) fn memory_now(&self) -> Option<u64> {
        let directory = self.memory.as_deref()?;
        groups::number(directory, "memory.usage_in_bytes", "")
            .or_else(|| groups::number(directory, "memory.current", ""))
    }
}

/// The difference.
pub(super) fn between(before: &Reading, after: &Reading, memory: Option<u64>) -> Usage {
    let elapsed = match (before.at, after.at) {
        (Some(before), Some(after)) => after.saturating_duration_since(before).as_secs_f64(),
        _ => 0.0,
    };
    let time = elapsed.max(1e-6) * 1e6;
    let cores = |before: u64, after: u64| after.saturating_sub(before) as f64 / time;
    let maybe = |before: Option<u64>, after: Option<u64>| Some(cores(before?, after?));
    let own = cores(before.own, after.own);
    let kernel = cores(before.kernel, after.kernel);
    // Without control groups nobody knows whose the rest is: then none of it is called foreign.
    let foreign =
        maybe(before.tree, after.tree).map(|tree| cores(before.busy, after.busy) - tree - own - kernel);
    let periods = before.periods.zip(after.periods).map(|(before, after)| after.saturating_sub(before));
    let held = before.throttled_periods.zip(after.throttled_periods);
    let held = held.map(|(before, after)| after.saturating_sub(before));
    let [cpu, io, memory_pressure] =
        std::array::from_fn(|i| maybe(before.pressure[i], after.pressure[i]).map(|share| share.min(1.0)));
    Usage {
        seconds: elapsed,
        steal: after.steal.saturating_sub(before.steal) as f64
            / after.total.saturating_sub(before.total).max(1) as f64,
        foreign_cores: foreign.unwrap_or(0.0).max(0.0),
        own_cores: own,
        app_cores: maybe(before.used, after.used),
        throttled: held.zip(periods).map(|(held, periods)| held as f64 / periods.max(1) as f64),
        throttled_ms: before
            .throttled
            .zip(after.throttled)
            .map(|(before, after)| after.saturating_sub(before) as f64 / 1e3),
        pressure_cpu: cpu,
        pressure_io: io,
        pressure_memory: memory_pressure,
        run_queue_ms: after.queued.saturating_sub(before.queued) as f64 / 1e3,
        memory_bytes: memory,
        flushes: before.flushes.zip(after.flushes).map(|(before, after)| after.saturating_sub(before)),
    }
}

/// Flush requests that disks completed since the machine was started (Documentation/admin-guide/iostats.rst, field 16). What lies on
/// other disks (loop, device mapper, RAID) is counted there.
fn flushes(diskstats: &str) -> Option<u64> {
    let of = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        let name = fields.next()?;
        let lies_on_others = ["loop", "ram", "zram", "dm-", "md"].iter().any(|kind| name.starts_with(kind));
        fields.nth(15).filter(|_| !lies_on_others)?.parse::<u64>().ok()
    };
    Some(diskstats.lines().filter_map(of).sum()).filter(|flushes| *flushes > 0)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Busy, stolen and all time of all processors, from the first line of `/proc/stat`.
fn machine(stat: &str) -> (u64, u64, u64) {
    let tick = 1_000_000 / clock_ticks_per_second().max(1);
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let field = |index: usize| fields.get(index).copied().unwrap_or(0) * tick;
    // user, nice, system, irq, softirq; guest time is part of user time.
    let busy = [0, 1, 2, 5, 6].into_iter().map(field).sum();
    (busy, field(7), fields.iter().sum::<u64>() * tick)
}

/// Processor time of the kernel's own threads, in microseconds: children of number 2.
fn kernel_threads() -> u64 {
    let tick = 1_000_000 / clock_ticks_per_second().max(1);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ticks = processes
        .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .filter_map(|entry| {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            // State, parent; user and system time are the 14th and 15th field of the line.
            let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
            (number(1)? == 2).then(|| Some(number(11)? + number(12)?))?
        });
    ticks.sum::<u64>() * tick
}

/// Processor time of a group and those below, in microseconds.
fn used(directory: &Path) -> Option<u64> {
    groups::number(directory, "cpu.stat", "usage_usec")
        .or_else(|| Some(groups::number(directory, "cpuacct.usage", "")? / 1_000))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`, in microseconds.
fn total_of(directory: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(directory.join(name)).ok()?;
    text.lines().find(|line| line.starts_with("some"))?.rsplit_once("total=")?.1.trim().parse().ok()
}

/// Time that the threads of a process were ready and did not run, in microseconds (`/proc/PID/task/TID/schedstat`).
fn queued(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum::<u64>()
        / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_are_those_of_disks_that_lie_on_no_other() {
        let line = |name: &str, flushes: &str| {
            format!(" 254 0 {name} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 {flushes} 17\n")
        };
        let text = line("vda", "40") + &line("nvme0n1", "2") + &line("loop0", "9") + &line("dm-0", "40");
        assert_eq!(flushes(&text), Some(42));
        assert_eq!(flushes(&line("vda", "0")), None, "it has no cache to flush");
        assert_eq!(flushes("   8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n"), None, "a kernel before 5.5");
    }

    #[test]
    fn differences_are_shares_of_the_time() {
        let tick = 1_000_000 / clock_ticks_per_second();
        let (busy, steal, total) = machine("cpu  100 10 40 1000 50 5 5 20 7 0\ncpu0 1 2 3\n");
        assert_eq!((busy, steal, total), (160 * tick, 20 * tick, 1_230 * tick));
        let start = Instant::now();
        let before = Reading {
            at: Some(start),
            tree: Some(0),
            used: Some(0),
            flushes: Some(10),
            ..Reading::default()
        };
        let after = Reading {
            at: Some(start + Duration::from_secs(2)),
            busy: 3_000_000,
            steal: 40_000,
            total: 4_000_000,
            tree: Some(2_000_000),
            own: 300_000,
            kernel: 100_000,
            used: Some(1_000_000),
            periods: None,
            throttled_periods: None,
            throttled: None,
            pressure: [Some(1), None, None],
            queued: 7_000,
            flushes: Some(12),
        };
        let usage = between(&before, &after, Some(5));
        assert!((usage.foreign_cores - 0.3).abs() < 1e-9 && (usage.steal - 0.01).abs() < 1e-9, "{usage:?}");
        assert_eq!((usage.app_cores, usage.own_cores, usage.run_queue_ms), (Some(0.5), 0.15, 7.0));
        assert_eq!((usage.throttled, usage.pressure_cpu, usage.memory_bytes), (None, None, Some(5)));
        assert_eq!(usage.flushes, Some(2));
        let unknown = between(&Reading { tree: None, ..before }, &after, None);
        assert_eq!(unknown.foreign_cores, 0.0);
    }

    #[test]
    fn this_process_is_seen() {
        let places = Places { pids: vec![std::process::id()], ..Places::default() };
        let (before, after) = (places.read(), places.read());
        assert!(before.total > 0 && before.own > 0 && after.own >= before.own, "{before:?}");
    }
}
