//! What a group uses and what happened to it. `None`: this machine does not tell.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::{self, keyed};
use super::group::Place;
use super::hierarchy::{Controller, Version};
use super::memory::NO_LIMIT_V1;
use super::pressure::Pressures;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    pub memory: Option<MemoryUsage>,
    pub cpu: Option<CpuUsage>,
    pub pids: Option<PidsUsage>,
    pub io: Option<IoUsage>,
    pub pressure: Pressures,
}

/// Bytes and counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryUsage {
    pub current: u64,
    /// Since the group was made; version 2 has it since Linux 5.19.
    pub peak: Option<u64>,
    pub limit: Option<u64>,
    /// Processes of this group that were killed for want of memory.
    pub oom_kills: u64,
    /// How often the limit was met and something had to be reclaimed. Version 1 counts that only in some kernels (not in
    /// 6.18): there the peak tells, see [`super::Group::forget_peak`].
    pub limit_hits: u64,
}

/// Microseconds and counts, since the group was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CpuUsage {
    pub usage_us: u64,
    /// Periods in which the group wanted to run while it had a quota.
    pub periods: u64,
    /// Those of them in which it used up its quota.
    pub throttled: u64,
    pub throttled_us: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PidsUsage {
    pub current: u64,
    /// The most there were at a time (version 2 since Linux 6.8; version 1 in the same kernels).
    pub peak: Option<u64>,
    pub limit: Option<u64>,
    /// Forks that failed because of the limit, or that of a group above.
    pub refused: u64,
}

/// Bytes and operations since the group was made, all disks together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IoUsage {
    pub read: u64,
    pub written: u64,
    pub reads: u64,
    pub writes: u64,
}

pub(super) fn read(place: impl Fn(Controller) -> Option<Place>, unified: Option<&Path>) -> Usage {
    Usage {
        memory: place(Controller::Memory).and_then(|place| memory(&place)),
        cpu: cpu(place(Controller::Cpu), place(Controller::Cpuacct), unified),
        pids: place(Controller::Pids).and_then(|place| pids(&place.dir)),
        io: place(Controller::Io).and_then(|place| io(&place)),
        pressure: unified.map(Pressures::read).unwrap_or_default(),
    }
}

pub(super) fn memory(Place { version, dir }: &Place) -> Option<MemoryUsage> {
    let number = |name: &str| file::number(&dir.join(name));
    let text = |name: &str| file::read(&dir.join(name)).unwrap_or_default();
    Some(match version {
        Version::V1 => MemoryUsage {
            current: number("memory.usage_in_bytes")?,
            peak: number("memory.max_usage_in_bytes"),
            limit: number("memory.limit_in_bytes").filter(|limit| *limit < NO_LIMIT_V1),
            oom_kills: keyed(&text("memory.oom_control"), "oom_kill").unwrap_or(0),
            limit_hits: number("memory.failcnt").unwrap_or(0),
        },
        Version::V2 => {
            let events = text("memory.events");
            MemoryUsage {
                current: number("memory.current")?,
                peak: number("memory.peak"),
                limit: number("memory.max").filter(|limit| *limit != u64::MAX),
                oom_kills: keyed(&events, "oom_kill").unwrap_or(0),
                limit_hits: keyed(&events, "max").unwrap_or(0),
            }
        }
    })
}

/// Bytes of the page cache that the kernel can take back: what was read from files or written to them, without files in memory.
pub(super) fn reclaimable(Place { dir, .. }: &Place) -> Option<u64> {
    let text = file::read(&dir.join("memory.stat")).ok()?;
    // In version 1 these names are the group's own figures, and those with its children's are called `total_`.
    let of = |name: &str| keyed(&text, &format!("total_{name}")).or_else(|| keyed(&text, name));
    Some(of("active_file")?.saturating_add(of("inactive_file")?))
}

/// Of memory, what is used now: one file.
pub(super) fn memory_used(Place { version, dir }: &Place) -> Option<u64> {
    file::number(&dir.join(match version {
        Version::V1 => "memory.usage_in_bytes",
        Version::V2 => "memory.current",
    }))
}

/// Version 1 has the quota's figures with `cpu` and the time with `cpuacct`; a version 2 group has the time in any case.
pub(super) fn cpu(cpu: Option<Place>, cpuacct: Option<Place>, unified: Option<&Path>) -> Option<CpuUsage> {
    let stat = |dir: &Path| file::read(&dir.join("cpu.stat")).unwrap_or_default();
    let of_version_2 = unified.and_then(|dir| keyed(&stat(dir), "usage_usec"));
    let of_version_1 = || {
        let dir = cpuacct.filter(|place| place.version == Version::V1)?.dir;
        file::number(&dir.join("cpuacct.usage")).map(|nanoseconds| nanoseconds / 1_000)
    };
    let usage_us = of_version_2.or_else(of_version_1)?;
    let mut usage = CpuUsage { usage_us, ..CpuUsage::default() };
    if let Some(Place { version, dir }) = cpu {
        let text = stat(&dir);
        usage.periods = keyed(&text, "nr_periods").unwrap_or(0);
        usage.throttled = keyed(&text, "nr_throttled").unwrap_or(0);
        usage.throttled_us = match version {
            Version::V1 => keyed(&text, "throttled_time").unwrap_or(0) / 1_000,
            Version::V2 => keyed(&text, "throttled_usec").unwrap_or(0),
        };
    }
    Some(usage)
}

/// Of processes, how many could not be started: one file.
pub(super) fn refused(dir: &Path) -> Option<u64> {
    keyed(&file::read(&dir.join("pids.events")).ok()?, "max")
}

pub(super) fn pids(dir: &Path) -> Option<PidsUsage> {
    Some(PidsUsage {
        current: file::number(&dir.join("pids.current"))?,
        peak: file::number(&dir.join("pids.peak")),
        limit: file::number(&dir.join("pids.max")).filter(|limit| *limit != u64::MAX),
        refused: refused(dir).unwrap_or(0),
    })
}

pub(super) fn io(Place { version, dir }: &Place) -> Option<IoUsage> {
    match version {
        Version::V1 => {
            let text = |name: &str| file::read(&dir.join(name)).ok();
            let (read, written) = io_v1(&text("blkio.throttle.io_service_bytes_recursive")?);
            let (reads, writes) = io_v1(&text("blkio.throttle.io_serviced_recursive").unwrap_or_default());
            Some(IoUsage { read, written, reads, writes })
        }
        Version::V2 => Some(io_v2(&file::read(&dir.join("io.stat")).ok()?)),
    }
}

/// Lines such as `254:0 Read 4096`: what was read and what was written.
pub(super) fn io_v1(text: &str) -> (u64, u64) {
    let (mut read, mut written) = (0_u64, 0_u64);
    for line in text.lines() {
        let mut fields = line.split_whitespace().skip(1);
        match (fields.next(), fields.next().and_then(|number| number.parse::<u64>().ok())) {
            (Some("Read"), Some(number)) => read = read.saturating_add(number),
            (Some("Write"), Some(number)) => written = written.saturating_add(number),
            _ => {}
        }
    }
    (read, written)
}

/// Lines such as `254:0 rbytes=4096 wbytes=0 rios=1 ...`.
pub(super) fn io_v2(text: &str) -> IoUsage {
    let mut usage = IoUsage::default();
    for (key, value) in text.split_whitespace().filter_map(|field| field.split_once('=')) {
        let Ok(value) = value.parse::<u64>() else { continue };
        match key {
            "rbytes" => usage.read = usage.read.saturating_add(value),
            "wbytes" => usage.written = usage.written.saturating_add(value),
            "rios" => usage.reads = usage.reads.saturating_add(value),
            "wios" => usage.writes = usage.writes.saturating_add(value),
            _ => {}
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cgroup::fake::Fake;

    #[test]
    fn both_versions_tell_of_memory() {
        let v1 = Fake::new(
            Version::V1,
            &[
                ("memory.usage_in_bytes", "100\n"),
                ("memory.max_usage_in_bytes", "200\n"),
                ("memory.limit_in_bytes", "300\n"),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
                ("memory.failcnt", "5\n"),
            ],
        );
        let v2 = Fake::new(
            Version::V2,
            &[
                ("memory.current", "100\n"),
                ("memory.peak", "200\n"),
                ("memory.max", "300\n"),
                ("memory.events", "low 0\nhigh 0\nmax 5\noom 4\noom_kill 4\noom_group_kill 0\n"),
            ],
        );
        let expected =
            MemoryUsage { current: 100, peak: Some(200), limit: Some(300), oom_kills: 4, limit_hits: 5 };
        for fake in [v1, v2] {
            assert_eq!(memory(&fake.place().unwrap()), Some(expected.clone()));
        }
        // No limit is a huge number in version 1, and a word in version 2.
        let none = [("memory.usage_in_bytes", "1\n"), ("memory.limit_in_bytes", "9223372036854771712\n")];
        assert_eq!(memory(&Fake::new(Version::V1, &none).place().unwrap()).unwrap().limit, None);
        let none = [("memory.current", "1\n"), ("memory.max", "max\n")];
        assert_eq!(memory(&Fake::new(Version::V2, &none).place().unwrap()).unwrap().limit, None);
        assert_eq!(memory(&Fake::new(Version::V2, &[]).place().unwrap()), None);
    }

    #[test]
    fn the_page_cache_can_be_reclaimed() {
        let stat =
            "anon 7\nfile 100\nshmem 60\ninactive_anon 5\nactive_anon 62\ninactive_file 10\nactive_file 30\n";
        for version in [Version::V1, Version::V2] {
            let fake = Fake::new(version, &[("memory.stat", stat)]);
            assert_eq!(reclaimable(&fake.place().unwrap()), Some(40));
            // Of a group with children.
            let stat = format!("{stat}total_inactive_file 110\ntotal_active_file 130\n");
            let fake = Fake::new(version, &[("memory.stat", &stat)]);
            assert_eq!(reclaimable(&fake.place().unwrap()), Some(240));
            assert_eq!(
                reclaimable(&Fake::new(version, &[("memory.stat", "anon 7\n")]).place().unwrap()),
                None
            );
        }
    }

    #[test]
    fn refused_forks_and_the_most_processes_are_told() {
        let files =
            [("pids.current", "3\n"), ("pids.peak", "8\n"), ("pids.max", "8\n"), ("pids.events", "max 2\n")];
        let expected = PidsUsage { current: 3, peak: Some(8), limit: Some(8), refused: 2 };
        assert_eq!(pids(Fake::new(Version::V2, &files).dir.path()), Some(expected.clone()));
        let old = Fake::new(Version::V1, &[("pids.current", "3\n"), ("pids.max", "max\n")]);
        assert_eq!(pids(old.dir.path()), Some(PidsUsage { peak: None, limit: None, refused: 0, ..expected }));
        assert_eq!(refused(old.dir.path()), None);
    }

    #[test]
    fn processor_time_comes_from_where_it_is() {
        let stat = "nr_periods 10\nnr_throttled 3\nthrottled_time 5000000\n";
        let cpu_v1 = Fake::new(Version::V1, &[("cpu.stat", stat)]);
        let acct = Fake::new(Version::V1, &[("cpuacct.usage", "7000000\n")]);
        let expected = CpuUsage { usage_us: 7_000, periods: 10, throttled: 3, throttled_us: 5_000 };
        assert_eq!(cpu(cpu_v1.place().ok(), acct.place().ok(), None), Some(expected.clone()));
        let stat = "usage_usec 7000\nuser_usec 1\nnr_periods 10\nnr_throttled 3\nthrottled_usec 5000\n";
        let v2 = Fake::new(Version::V2, &[("cpu.stat", stat)]);
        assert_eq!(cpu(v2.place().ok(), None, Some(v2.dir.path())), Some(expected.clone()));
        // Beside version 1, a group of version 2 has the time and nothing else.
        let leaf = Fake::new(Version::V2, &[("cpu.stat", "usage_usec 7000\n")]);
        assert_eq!(cpu(cpu_v1.place().ok(), None, Some(leaf.dir.path())), Some(expected));
        assert_eq!(cpu(None, None, None), None);
    }

    #[test]
    fn disks_are_added_up() {
        let v1 = "254:0 Read 10\n254:0 Write 20\n254:0 Sync 30\n254:0 Total 30\n7:0 Read 1\nTotal 31\n";
        assert_eq!(io_v1(v1), (11, 20));
        let v2 = "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:0 rbytes=1 wbytes=0\n";
        assert_eq!(io_v2(v2), IoUsage { read: 11, written: 20, reads: 1, writes: 2 });
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "([0-9]{1,20}|:| |Read|Write|rbytes=|wbytes=|\n){0,30}") {
            let _ = (io_v1(&text), io_v2(&text));
        }
    }
}
