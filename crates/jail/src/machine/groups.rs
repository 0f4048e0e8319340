//! What control groups enforce here: a host's tree is made, a group in it gets every limit, and all is removed.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Roots;
use super::survey::{Finding, Level};
use crate::cgroup::{Constraint, Group, Hierarchies, Limits, Outcome, Rate, Tree, TreeError, Version, disks};

/// The tree's name: always the same, so that one which was killed is cleared away by the next.
const NAME: &str = "doctor";

/// How long to wait for another one that is at it.
const PATIENCE: Duration = Duration::from_secs(5);

/// High enough to disturb nobody, though nothing ever runs in the group.
fn limits(volume: &Path) -> Limits {
    Limits {
        cpu: Some(0.5),
        cpu_weight: Some(100),
        cores: None,
        memory: Some(64 << 20),
        memory_guarantee: Some(1 << 20),
        disk_read: Some(Rate::Bytes(1 << 30)),
        disk_write: Some(Rate::Bytes(1 << 30)),
        disk_weight: Some(100),
        disks: vec![volume.to_owned()],
        processes: Some(64),
    }
}

const ALL: [Constraint; 9] = [
    Constraint::Cpu,
    Constraint::CpuWeight,
    Constraint::Cores,
    Constraint::Memory,
    Constraint::MemoryGuarantee,
    Constraint::DiskRead,
    Constraint::DiskWrite,
    Constraint::DiskWeight,
    Constraint::Processes,
];

/// The hierarchies in words, and a finding for each constraint and for what incidents rest on.
pub(super) fn survey(roots: &Roots, volume: &Path) -> (Vec<String>, Vec<Finding>) {
    let hierarchies = match Hierarchies::find(roots) {
        Ok(hierarchies) => hierarchies,
        Err(error) => return (Vec::new(), none(&error.to_string(), "mount /proc")),
    };
    let shown = hierarchies.list.iter();
    let shown =
        shown.map(|hierarchy| format!("{} at {}", hierarchy.title(), hierarchy.base.display())).collect();
    let findings = match create(&hierarchies) {
        Ok(tree) => {
            let findings = try_all(&tree, &hierarchies, volume);
            // What could not be removed is cleared away by the next one; the findings are as true.
            let _ = tree.remove();
            findings
        }
        Err(error) => none(&error.to_string(), "try again"),
    };
    (shown, findings)
}

fn create(hierarchies: &Hierarchies) -> Result<Tree, TreeError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Tree::create(hierarchies, NAME) {
            Err(TreeError::InUse(_)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20))
            }
            result => return result,
        }
    }
}

fn none(why: &str, remedy: &str) -> Vec<Finding> {
    let names = ALL.into_iter().map(Constraint::name).chain(["oom_proof", "pressure", "kill"]);
    names.map(|name| Finding::impossible(name, why, remedy)).collect()
}

fn try_all(tree: &Tree, hierarchies: &Hierarchies, volume: &Path) -> Vec<Finding> {
    let group = match tree.group("probe") {
        Ok(group) => group,
        Err(error) => return none(&error.to_string(), ""),
    };
    let mut wanted = limits(volume);
    wanted.cores = Some(group.cores().first().map_or_else(|| vec![0], |first| vec![*first]));
    let outcomes = group.apply(&wanted);
    let mut findings: Vec<Finding> = outcomes.iter().map(|outcome| finding(outcome, hierarchies)).collect();
    if let Some(weight) =
        findings.iter_mut().find(|finding| finding.constraint == Constraint::DiskWeight.name())
        && weight.level != Level::Impossible
        && disks(&hierarchies.roots, volume).is_ok_and(|disks| disks.len() > 1)
    {
        weight.why =
            "the disk is behind a loop device or a volume, which mix what comes from different groups"
                .to_owned();
        weight.level = Level::Partly;
    }
    findings.push(oom_proof(&group));
    findings.push(pressure(&group, hierarchies));
    findings.push(kill(&group));
    findings
}

fn finding(outcome: &Outcome, hierarchies: &Hierarchies) -> Finding {
    let name = outcome.constraint.name();
    if let Some(refusal) = &outcome.refusal {
        return Finding::impossible(name, &refusal.why, &refusal.remedy);
    }
    let mut files: Vec<String> = Vec::new();
    for written in &outcome.written {
        let name = written.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !files.contains(&name) {
            files.push(name);
        }
    }
    let version = version_of(outcome, hierarchies).map_or("", |version| match version {
        Version::V1 => "cgroup v1: ",
        Version::V2 => "cgroup v2: ",
    });
    let found = Finding::enforced(name, format!("{version}{}", files.join(", ")));
    match &outcome.caveat {
        Some(caveat) => found.partly(caveat, ""),
        None => found,
    }
}

/// Of the hierarchy in which something was written.
fn version_of(outcome: &Outcome, hierarchies: &Hierarchies) -> Option<Version> {
    let file = &outcome.written.first()?.file;
    hierarchies
        .list
        .iter()
        .find(|hierarchy| file.starts_with(&hierarchy.mount))
        .map(|hierarchy| hierarchy.version)
}

/// Whether it can be proven that a worker was killed for want of memory: the kernel counts it for the group.
fn oom_proof(group: &Group) -> Finding {
    const NAME: &str = "oom_proof";
    match (group.usage().memory, group.oom_watch()) {
        (Some(_), Ok(_)) => {
            Finding::enforced(NAME, "the group's count of killed processes, and a notice when it changes")
        }
        (Some(_), Err(error)) => Finding::enforced(NAME, "the group's count of killed processes")
            .partly(format!("no notice of a change: {error}"), ""),
        (None, Err(error)) => Finding::impossible(NAME, error.to_string(), "see memory"),
        (None, Ok(_)) => Finding::impossible(NAME, "the group does not count memory", "see memory"),
    }
}

/// Whether a neighbour's part in a slowdown can be measured.
fn pressure(group: &Group, hierarchies: &Hierarchies) -> Finding {
    const NAME: &str = "pressure";
    let pressure = group.usage().pressure;
    if pressure.cpu.is_some() && pressure.memory.is_some() && pressure.io.is_some() {
        return Finding::enforced(
            NAME,
            "cgroup v2: cpu.pressure, memory.pressure, io.pressure of each group",
        );
    }
    if std::fs::read_to_string(hierarchies.roots.proc.join("pressure/cpu")).is_err() {
        return Finding::impossible(
            NAME,
            "the kernel keeps no pressure figures",
            "boot with psi=1 (CONFIG_PSI)",
        );
    }
    let whole = Finding::enforced(NAME, "/proc/pressure");
    match hierarchies.unified().map(|unified| unified.obstacle.as_ref()) {
        Some(Some(obstacle)) => {
            whole.partly(format!("only of the whole machine: {obstacle}"), &obstacle.remedy)
        }
        Some(None) => {
            whole.partly("only of the whole machine: groups do not have the figures", "boot with psi=1")
        }
        None => whole.partly(
            "only of the whole machine, not of each application",
            "mount version 2 beside version 1: `mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified`",
        ),
    }
}

/// Whether an application can be ended with all that it started.
fn kill(group: &Group) -> Finding {
    const NAME: &str = "kill";
    let has = |name: &str| group.entries().iter().any(|entry| entry.with_file_name(name).exists());
    if has("cgroup.kill") {
        Finding::enforced(NAME, "cgroup v2: cgroup.kill")
    } else if has("freezer.state") || has("cgroup.freeze") {
        Finding::enforced(NAME, "freeze, SIGKILL each, thaw")
    } else if group.entries().is_empty() {
        Finding::impossible(
            NAME,
            "without groups only the worker's own process group can be killed",
            "see processes",
        )
    } else {
        Finding::enforced(NAME, "SIGKILL each, until none is left").partly(
            "a process that forks faster than it is killed escapes for a while",
            "use Linux 5.14 with cgroup v2",
        )
    }
}
