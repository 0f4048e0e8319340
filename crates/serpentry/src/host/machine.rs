//! What processes use and what the machine has left, from procfs (proc(5)) and the memory cgroup.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Kept free for everything that is not a worker: the page cache that running applications live on, and this program.
const RESERVE: u64 = 128 << 20;

/// Resident memory of a process in bytes. `None` when it is gone.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// User and system time of a process. `None` when it is gone.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, also parentheses: the fields begin after the last one.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64((user + system) as f64 / per_second as f64))
}

/// The process is on its way out, or gone: the kernel has begun to take it apart (`PF_EXITING`), or it waits to be reaped.
pub(crate) fn is_ending(pid: u32) -> bool {
    const EXITING: u64 = 0x4;
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let mut fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
    let state = fields.next().unwrap_or("X");
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u64>().ok()).unwrap_or(0);
    matches!(state, "Z" | "X" | "x") || flags & EXITING != 0
}

/// True if a process of `bytes` can be added without pushing others out of memory.
pub(crate) fn has_room_for(bytes: u64) -> bool {
    available().is_none_or(|available| available > bytes.saturating_add(RESERVE))
}

/// Bytes that can be taken: what the kernel thinks, and what the cgroup we run in (a container's, a service's) leaves.
pub(crate) fn available() -> Option<u64> {
    let machine = meminfo("MemAvailable:");
    let cgroup = cgroup_room();
    match (machine, cgroup) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Bytes of memory that there are in all for this program and its children.
pub(crate) fn total() -> u64 {
    meminfo("MemTotal:").unwrap_or(0)
}

/// Processors that this program may run on, ascending.
pub(crate) fn cores() -> Vec<u32> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return vec![0] };
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .filter_map(|core| u32::try_from(core).ok())
        .collect()
}

fn meminfo(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Limit minus usage of our own memory cgroup, version 2 or 1, as a container sees it at the usual mount point.
fn cgroup_room() -> Option<u64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let root = Path::new("/sys/fs/cgroup");
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (folder, limit, usage) = if controllers.is_empty() {
            (root.join(path.trim_start_matches('/')), "memory.max", "memory.current")
        } else if controllers.split(',').any(|name| name == "memory") {
            let folder = root.join("memory").join(path.trim_start_matches('/'));
            (folder, "memory.limit_in_bytes", "memory.usage_in_bytes")
        } else {
            continue;
        };
        // In a container the path is often that outside; the mount shows our own group at its root then.
        let folder = if folder.join(limit).exists() {
            folder
        } else {
            folder.ancestors().find(|it| it.join(limit).exists())?.to_owned()
        };
        let limit = number(&folder.join(limit).to_string_lossy())?;
        let usage = number(&folder.join(usage).to_string_lossy())?;
        return Some(limit.saturating_sub(usage));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_killed_is_ending_and_one_that_runs_is_not() {
        use std::process::{Command, Stdio};
        use std::time::Instant;

        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        assert!(!is_ending(pid));
        child.kill().unwrap();
        // Not reaped: its number is still its own.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_ending(pid) {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert!(is_ending(pid), "gone");
    }

    #[test]
    fn measures_this_process() {
        let pid = std::process::id();
        let before = resident(pid).unwrap();
        assert!((1 << 20..1 << 32).contains(&before), "{before}");
        let block = vec![1_u8; 64 << 20];
        let grown = resident(pid).unwrap() - before;
        assert!(grown > 60 << 20, "{grown} after {} bytes", block.len());
        assert!(cpu_time(pid).is_some());
        // The largest pid is 2^22.
        assert_eq!(resident(5_000_000), None);
        assert_eq!(cpu_time(5_000_000), None);
    }

    #[test]
    fn knows_what_is_left() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
        assert!(has_room_for(0));
        assert!(!has_room_for(1 << 50));
    }
}
