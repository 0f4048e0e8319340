//! Putting back on the real machine.

use std::fs;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{PREFIX, World};

/// How long a process may take to end gracefully: a host, with its applications and groups.
const GRACE: Duration = Duration::from_secs(15);
/// How long what was killed may take to be gone.
const DEATH: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(10);
/// Levels of control groups below a branch; a host has three.
const DEPTH: usize = 8;

/// This one.
#[derive(Debug, Clone, Copy)]
pub struct Machine;

/// When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`); None if there is none of that number, or
/// it only waits to be waited for.
#[must_use]
pub fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    match kill_process(pid, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        result => Ok(result?),
    }
}

fn wait(patience: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(GLANCE);
    }
    true
}

impl World for Machine {
    fn started(&self, pid: u32) -> Option<u64> {
        started(pid)
    }

    fn end(&self, pid: u32) -> io::Result<()> {
        let Some(start) = started(pid) else { return Ok(()) };
        let gone = || started(pid) != Some(start);
        // It may have been stopped.
        signal(pid, Signal::TERM)?;
        signal(pid, Signal::CONT)?;
        if wait(GRACE, gone) {
            return Ok(());
        }
        signal(pid, Signal::KILL)?;
        if wait(DEATH, gone) { Ok(()) } else { Err(io::Error::other("it does not end")) }
    }

    fn enter(&self, pid: u32, group: &Path) -> io::Result<()> {
        match fs::write(group.join("cgroup.procs"), pid.to_string()) {
            // It ended meanwhile.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
            result => result,
        }
    }

    fn clear(&self, branch: &Path) -> io::Result<()> {
        clear(branch, DEPTH)
    }

    fn dissolve(&self, group: &Path) -> io::Result<()> {
        if let Some(above) = group.parent() {
            for pid in members(group)? {
                let _ = self.enter(pid, above);
            }
        }
        remove_group(group)
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        fs::write(path, text)
    }

    fn remove(&self, directory: &Path) -> io::Result<()> {
        let ours =
            directory.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
        if !ours || directory.is_symlink() {
            return Err(io::Error::other("not a directory of the laboratory"));
        }
        fs::remove_dir_all(directory)
    }
}

fn members(group: &Path) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(group.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// The kernel is still busy with the last process for a moment.
fn remove_group(group: &Path) -> io::Result<()> {
    let deadline = Instant::now() + DEATH;
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                sleep(GLANCE);
            }
            result => return result,
        }
    }
}

fn clear(branch: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(branch)?.flatten() {
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path(), depth - 1)?;
        }
    }
    let own = std::process::id();
    for pid in members(branch)?.into_iter().filter(|pid| *pid != own) {
        signal(pid, Signal::KILL)?;
    }
    remove_group(branch)
}
