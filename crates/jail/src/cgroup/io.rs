//! How fast a group may use disks, and whose share when all want some.
//!
//! | | version 1 | version 2 |
//! |---|---|---|
//! | rates | `blkio.throttle.{read,write}_{bps,iops}_device` "MAJ:MIN value" | `io.max` "MAJ:MIN rbps= riops= wbps= wiops=" |
//! | share | `blkio.bfq.weight`, if the disk's scheduler is BFQ | `io.weight` (iocost) or `io.bfq.weight` |
//!
//! Version 1 does not know whose written pages are flushed from the page cache: it holds back reading, and writing with
//! `O_DIRECT`, `O_SYNC` or `fsync`, but not the flusher. Version 2 does, on ext4, XFS, btrfs and f2fs, when its memory
//! controller is used too (Documentation/admin-guide/cgroup-v2.rst, "Writeback").

use std::collections::BTreeSet;

use super::device::{Disk, disks};
use super::file::{self, Writer};
use super::group::{Place, report};
use super::hierarchy::Version;
use super::limits::{Constraint, Limits, Outcome, Rate, Refusal};
use crate::machine::Roots;

const BUFFERED_V1: &str = "version 1 does not hold back what is flushed from the page cache later: only direct and synchronous writing";
const BUFFERED_V2: &str =
    "without the memory controller on version 2, what is flushed from the page cache later is not held back";

pub(super) fn apply(
    place: &Result<Place, Refusal>,
    limits: &Limits,
    roots: &Roots,
    memory_on_v2: bool,
    outcomes: &mut Vec<Outcome>,
) {
    let caveat = |writes: bool, version: Version| match (writes, version) {
        (true, Version::V1) => Some(BUFFERED_V1.to_owned()),
        (true, Version::V2) if !memory_on_v2 => Some(BUFFERED_V2.to_owned()),
        _ => None,
    };
    for (constraint, rate, way) in [
        (Constraint::DiskRead, limits.disk_read, Way::Read),
        (Constraint::DiskWrite, limits.disk_write, Way::Write),
    ] {
        report(outcomes, constraint, rate.is_some(), place, |writer, version| {
            let (disks, without) = rate.map_or(Ok(Default::default()), |_| all(roots, limits))?;
            match version {
                Version::V1 => throttle_v1(writer, way, rate, &disks)?,
                Version::V2 => throttle_v2(writer, way, rate, &disks)?,
            }
            let caveats: Vec<String> =
                caveat(way == Way::Write, version).into_iter().chain(without).collect();
            Ok((!caveats.is_empty()).then(|| caveats.join("; ")))
        });
    }
    report(outcomes, Constraint::DiskWeight, limits.disk_weight.is_some(), place, |writer, version| {
        weight(writer, version, limits, roots)
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

/// The disks of all places, and which place has none: code in memory or on a network does not leave data on a disk without its limit.
fn all(roots: &Roots, limits: &Limits) -> Result<(Vec<Disk>, Option<String>), Refusal> {
    let mut all = Vec::new();
    let mut without = None;
    for path in &limits.disks {
        match disks(roots, path) {
            Ok(found) => {
                for disk in found {
                    if !all.contains(&disk) {
                        all.push(disk);
                    }
                }
            }
            Err(refusal) => without = without.or(Some(refusal)),
        }
    }
    if all.is_empty() {
        return Err(without.unwrap_or_else(|| Refusal {
            why: "it is not said which disk is meant".to_owned(),
            errno: None,
            remedy: "name a directory on it".to_owned(),
        }));
    }
    Ok((all, without.map(|refusal| refusal.why)))
}

/// Zero would take a limit away.
fn least(value: u64) -> u64 {
    value.max(1)
}

fn throttle_v1(writer: &mut Writer<'_>, way: Way, rate: Option<Rate>, disks: &[Disk]) -> Result<(), Refusal> {
    let (bytes, operations) = match way {
        Way::Read => ("blkio.throttle.read_bps_device", "blkio.throttle.read_iops_device"),
        Way::Write => ("blkio.throttle.write_bps_device", "blkio.throttle.write_iops_device"),
    };
    let (name, value) = match rate {
        Some(Rate::Bytes(value)) => (Some(bytes), value),
        Some(Rate::Operations(value)) => (Some(operations), value),
        None => (None, 0),
    };
    if let Some(name) = name {
        for disk in disks {
            writer.write(name, &format!("{} {}", disk.number(), least(value)))?;
        }
    }
    for other in [bytes, operations] {
        let keep = if name == Some(other) { disks } else { &[] };
        for device in
            limited(writer, other).iter().filter(|device| !keep.iter().any(|disk| disk.number() == **device))
        {
            write_quietly(writer, other, &format!("{device} 0"))?;
        }
    }
    Ok(())
}

fn throttle_v2(writer: &mut Writer<'_>, way: Way, rate: Option<Rate>, disks: &[Disk]) -> Result<(), Refusal> {
    let (bytes, operations) = match way {
        Way::Read => ("rbps", "riops"),
        Way::Write => ("wbps", "wiops"),
    };
    let values = match rate {
        Some(Rate::Bytes(value)) => format!("{bytes}={} {operations}=max", least(value)),
        Some(Rate::Operations(value)) => format!("{bytes}=max {operations}={}", least(value)),
        None => String::new(),
    };
    for disk in disks {
        writer.write("io.max", &format!("{} {values}", disk.number()))?;
    }
    for device in
        limited(writer, "io.max").iter().filter(|device| !disks.iter().any(|disk| disk.number() == **device))
    {
        write_quietly(writer, "io.max", &format!("{device} {bytes}=max {operations}=max"))?;
    }
    Ok(())
}

/// The devices that a file has lines for.
fn limited(writer: &Writer<'_>, name: &str) -> BTreeSet<String> {
    let text = file::read(&writer.dir.join(name)).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|device| device.contains(':'))
        .map(str::to_owned)
        .collect()
}

/// To take something back, which is not told.
fn write_quietly(writer: &Writer<'_>, name: &str, value: &str) -> Result<(), Refusal> {
    let file = writer.dir.join(name);
    file::write(&file, value).map_err(|error| file::refused(&file, value, &error))
}

/// BFQ's weights end at 1000: above 100 the scale is compressed, as systemd does it (`BFQ_WEIGHT`).
#[must_use]
pub fn bfq_weight(weight: u32) -> u32 {
    match weight.clamp(1, 10_000) {
        weight @ 0..=100 => weight,
        weight => 100 + (weight - 100) * 900 / 9_900,
    }
}

fn weight(
    writer: &mut Writer<'_>,
    version: Version,
    limits: &Limits,
    roots: &Roots,
) -> Result<Option<String>, Refusal> {
    let bfq = match version {
        Version::V1 => "blkio.bfq.weight",
        Version::V2 => "io.bfq.weight",
    };
    let Some(weight) = limits.disk_weight else {
        if version == Version::V2 && writer.has("io.weight") {
            writer.reset("io.weight", "default 100")?;
        }
        return if bfq_now(writer, bfq).is_some_and(|now| now != 100) {
            write_quietly(writer, bfq, "100").map(|()| None)
        } else {
            Ok(None)
        };
    };
    let (disks, _) = all(roots, limits)?;
    let by_bfq = disks.iter().any(|disk| disk.scheduler(roots).as_deref() == Some("bfq"));
    if by_bfq && writer.has(bfq) {
        writer.write(bfq, &bfq_weight(weight).to_string())?;
        return Ok(None);
    }
    if version == Version::V2 && writer.has("io.weight") {
        writer.write("io.weight", &format!("default {}", weight.clamp(1, 10_000)))?;
        let caveat = "it counts only where `io.cost.qos` is enabled for the disk (Documentation/admin-guide/cgroup-v2.rst)";
        return Ok(Some(caveat.to_owned()));
    }
    let disk = disks.first().map_or("sda", |disk| disk.name.as_str());
    Err(Refusal {
        why: format!("the scheduler of the disk {disk} knows no shares"),
        errno: None,
        remedy: format!("`modprobe bfq; echo bfq > /sys/block/{disk}/queue/scheduler`"),
    })
}

/// The file says `100` or, with lines for devices, `default 100`.
fn bfq_now(writer: &Writer<'_>, name: &str) -> Option<u64> {
    let text = file::read(&writer.dir.join(name)).ok()?;
    let first = text.lines().next()?.trim();
    file::parse_number(first.strip_prefix("default ").unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fake::{Fake, written};

    const RATES: [&str; 4] = ["read_bps", "read_iops", "write_bps", "write_iops"];

    fn applied(fake: &Fake, limits: &Limits) -> Vec<Outcome> {
        let roots = Roots { proc: fake.path("proc"), sys: fake.path("sys") };
        let mut outcomes = Vec::new();
        apply(&fake.place(), limits, &roots, false, &mut outcomes);
        outcomes
    }

    /// The files of a group and, in `sys`, a disk 9:5 called `disk` by which the directory's device is a partition.
    fn machine(version: Version, files: &[(&str, &str)]) -> Fake {
        use std::os::unix::fs::MetadataExt as _;
        let fake = Fake::new(version, files);
        let device = std::fs::metadata(fake.dir.path()).unwrap().dev();
        let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        std::fs::create_dir_all(fake.path("sys/devices/disk/part")).unwrap();
        std::fs::write(fake.path("sys/devices/disk/dev"), "9:5\n").unwrap();
        std::fs::write(fake.path("sys/devices/disk/part/partition"), "1\n").unwrap();
        std::fs::create_dir_all(fake.path("sys/dev/block")).unwrap();
        let link = fake.path("sys/dev/block").join(number);
        std::os::unix::fs::symlink("../../devices/disk/part", link).unwrap();
        fake
    }

    #[test]
    fn version_1_throttles_whole_disks_and_lets_go_of_others() {
        let names = RATES.map(|rate| format!("blkio.throttle.{rate}_device"));
        let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        files[1].1 = "7:0 50\n";
        let fake = machine(Version::V1, &files);
        let limits = Limits {
            disk_read: Some(Rate::Bytes(4096)),
            disk_write: Some(Rate::Operations(0)),
            disks: vec![fake.dir.path().to_path_buf()],
            ..Limits::default()
        };
        let outcomes = applied(&fake, &limits);
        assert_eq!(written(&outcomes[0]), ["blkio.throttle.read_bps_device=9:5 4096"]);
        // Zero would be no limit at all.
        assert_eq!(written(&outcomes[1]), ["blkio.throttle.write_iops_device=9:5 1"]);
        assert_eq!(outcomes[1].caveat.as_deref(), Some(BUFFERED_V1));
        assert_eq!(fake.text("blkio.throttle.read_iops_device"), "7:0 0");
        assert_eq!(applied(&fake, &Limits::default()), []);
        assert_eq!(fake.text("blkio.throttle.read_bps_device"), "9:5 0");
    }

    #[test]
    fn version_2_has_it_all_in_one_file() {
        let fake = machine(Version::V2, &[("io.max", "7:0 rbps=1 wbps=max riops=max wiops=max\n")]);
        let limits = Limits {
            disk_read: Some(Rate::Operations(100)),
            disks: vec![fake.dir.path().to_path_buf()],
            ..Limits::default()
        };
        let outcomes = applied(&fake, &limits);
        assert_eq!(written(&outcomes[0]), ["io.max=9:5 rbps=max riops=100"]);
    }

    #[test]
    fn a_place_without_a_disk_is_refused() {
        let fake = Fake::new(Version::V2, &[("io.max", "")]);
        let limits = |disks: &[&str]| Limits {
            disk_write: Some(Rate::Bytes(1)),
            disks: disks.iter().map(Into::into).collect(),
            ..Limits::default()
        };
        for disks in [&[][..], &["/proc"], &["/does/not/exist"]] {
            let outcomes = applied(&fake, &limits(disks));
            assert!(outcomes[0].refusal.is_some(), "{disks:?}");
        }
    }

    #[test]
    fn one_place_without_a_disk_does_not_take_the_limit_from_the_others() {
        let fake = machine(Version::V2, &[("io.max", "")]);
        let limits = Limits {
            disk_write: Some(Rate::Bytes(4096)),
            disks: vec!["/proc".into(), fake.dir.path().to_path_buf()],
            ..Limits::default()
        };
        let outcomes = applied(&fake, &limits);
        assert_eq!(written(&outcomes[0]), ["io.max=9:5 wbps=4096 wiops=max"]);
        let caveat = outcomes[0].caveat.as_deref().unwrap();
        assert!(caveat.contains("; the disk behind /proc cannot be found"), "{caveat}");
    }

    #[test]
    fn weights_of_bfq_end_at_1000() {
        assert_eq!(
            [0, 1, 100, 101, 5_050, 10_000, 20_000].map(bfq_weight),
            [1, 1, 100, 100, 550, 1000, 1000]
        );
    }
}
