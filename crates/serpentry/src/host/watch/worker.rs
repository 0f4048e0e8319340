//! What one worker has: memory, open files.

use std::fs;
use std::path::PathBuf;

use detect::{Footprint, OpenFiles, Worker};
use incident::WorkerRef;
use router::WorkerCounters;

pub(super) fn worker(
    reference: WorkerRef,
    counters: Option<&WorkerCounters>,
    in_flight: u64,
    files: u32,
) -> Worker {
    let memory = reference.pid.and_then(private);
    let footprint = counters.zip(memory).map(|(counters, memory)| Footprint {
        memory,
        requests: counters.requests,
        inputs: counters.inputs,
        in_flight,
    });
    Worker { reference, footprint, files: reference.pid.and_then(|pid| open_files(pid, files)) }
}

/// Resident memory of a process that belongs to no file, in bytes (proc_pid_statm(5)). `None` when it is gone.
fn private(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = text.split(' ').skip(1).map(|field| field.trim().parse::<u64>().ok());
    let (resident, of_files) = (pages.next()??, pages.next()??);
    Some(resident.saturating_sub(of_files) * rustix::param::page_size() as u64)
}

/// `configured`: the limit that it was started with; it may have changed that.
fn open_files(pid: u32, configured: u32) -> Option<OpenFiles> {
    let directory = PathBuf::from(format!("/proc/{pid}/fd"));
    // Since Linux 6.2 the size of the directory says how many there are.
    let open = match fs::metadata(&directory).ok()?.len() {
        0 => fs::read_dir(&directory).ok()?.count() as u64,
        size => size,
    };
    let mut limit = u64::from(configured);
    if open >= limit / 10 * 9 {
        limit = soft_limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)?;
    }
    Some(OpenFiles { open, limit })
}

/// From proc_pid_limits(5): `Max open files            1024                 524288               files`.
fn soft_limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_ascii_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_measured() {
        let pid = std::process::id();
        let before = private(pid).unwrap();
        let block = vec![1_u8; 64 << 20];
        assert!(private(pid).unwrap() - before > 60 << 20, "{}", block.len());
        let count = || open_files(pid, u32::MAX).unwrap().open;
        let before = count();
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(count() >= before + 90, "{before}, then {} more", files.len());
        let now = open_files(pid, 1).unwrap();
        assert!(now.limit > now.open, "its limit is not what we think: {now:?}");
        assert_eq!((private(5_000_000), open_files(5_000_000, 1)), (None, None));
    }

    #[test]
    fn the_soft_limit_counts() {
        let text = "Limit    Soft Limit    Hard Limit    Units\nMax open files    64    4096    files\n";
        assert_eq!(soft_limit(text), Some(64));
        assert_eq!(soft_limit("Max open files unlimited unlimited files\n"), Some(u64::MAX));
        assert_eq!(soft_limit("Max processes 1 1"), None);
    }
}
