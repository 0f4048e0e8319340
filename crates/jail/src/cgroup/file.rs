//! Reading and writing the small files of a cgroup directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::limits::{Refusal, Written};

/// Longest file that is read, in bytes: a list of processes is the longest.
const LONGEST: u64 = 4 << 20;

/// Write `value` with one system call, as these files want it. The file must be there.
pub(super) fn write(file: &Path, value: &str) -> io::Result<()> {
    let mut open = OpenOptions::new().write(true).truncate(true).open(file)?;
    match open.write(value.as_bytes())? {
        written if written == value.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

pub(super) fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// A file with one number in it; "max" is `u64::MAX`.
pub(super) fn number(file: &Path) -> Option<u64> {
    parse_number(read(file).ok()?.trim())
}

pub(super) fn parse_number(text: &str) -> Option<u64> {
    if text == "max" { Some(u64::MAX) } else { text.parse().ok() }
}

/// The number after `key` in a file with lines of `key number`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| parse_number(value.trim()))
}

/// A list of processors or memory nodes, such as `0-3,8`: sorted, each once. Nonsense is left out; at most [`MOST_CORES`].
#[must_use]
pub fn list(text: &str) -> Vec<u32> {
    let mut numbers = std::collections::BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>())
            && last < MOST_CORES
        {
            numbers.extend(first..=last);
        }
    }
    numbers.into_iter().collect()
}

/// More processors than Linux can be built for (`NR_CPUS`).
const MOST_CORES: u32 = 1 << 16;

/// The inverse of [`list`].
#[must_use]
pub fn print_list(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(",")
}

/// Writes to the files of one directory and remembers what it wrote.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) dir: &'a Path,
    pub(super) written: Vec<Written>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        Writer { dir, written: Vec::new() }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    /// Write and remember.
    pub(super) fn write(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let file = self.dir.join(name);
        write(&file, value).map_err(|error| refused(&file, value, &error))?;
        self.written.push(Written { file, value: value.to_owned() });
        Ok(())
    }

    /// Write if it says something else, and remember nothing: back to how it was before we came.
    pub(super) fn reset(&self, name: &str, value: &str) -> Result<(), Refusal> {
        let file = self.dir.join(name);
        match read(&file) {
            // What cannot be limited need not be unlimited.
            Err(_) => Ok(()),
            Ok(now) if now.trim() == value => Ok(()),
            Ok(_) => write(&file, value).map_err(|error| refused(&file, value, &error)),
        }
    }
}

/// The kernel did not take `value`.
pub(super) fn refused(file: &Path, value: &str, error: &io::Error) -> Refusal {
    let remedy = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => READ_ONLY,
        io::ErrorKind::PermissionDenied => NO_PERMISSION,
        io::ErrorKind::NotFound => "use a kernel that has this file",
        _ => "",
    };
    Refusal {
        why: format!("cannot write {value:?} to {}: {error}", file.display()),
        errno: error.raw_os_error(),
        remedy: remedy.to_owned(),
    }
}

pub(super) const READ_ONLY: &str = "mount the cgroup filesystem writable in this container (for example `--cgroupns=private` with a writable /sys/fs/cgroup)";
pub(super) const NO_PERMISSION: &str = "run as root, or in a delegated cgroup (`systemd-run --user --scope -p Delegate=yes`, or `Delegate=yes` in the service)";

/// The directories directly below.
pub(super) fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The process ids of a `cgroup.procs`. 0 stands for a process that our PID namespace does not show.
pub(super) fn processes(dir: &Path) -> io::Result<Vec<u32>> {
    let text = read(&dir.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

/// A directory could not be made.
pub(super) fn not_made(dir: &Path, error: &io::Error) -> Refusal {
    let remedy = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => READ_ONLY,
        _ => NO_PERMISSION,
    };
    Refusal {
        why: format!("cannot create the group {}: {error}", dir.display()),
        errno: error.raw_os_error(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_lists_as_the_kernel_prints_them() {
        assert_eq!(list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(list("5,1-2,2"), [1, 2, 5]);
        for nothing in ["", "\n", "x", "3-1", "0-4294967295", "-"] {
            assert_eq!(list(nothing), [0_u32; 0], "{nothing:?}");
        }
    }

    #[test]
    fn reads_numbers_after_their_keys() {
        let text = "oom 1\noom_kill 7\noom_kill_disable 0\nmax max\nbad x\n";
        assert_eq!(
            [keyed(text, "oom_kill"), keyed(text, "max"), keyed(text, "bad")],
            [Some(7), Some(u64::MAX), None]
        );
        assert_eq!(keyed(text, "oom_"), None);
    }

    proptest! {
        #[test]
        fn lists_are_printed_as_they_are_read(cores in proptest::collection::btree_set(0_u32..5000, 0..40)) {
            let cores: Vec<u32> = cores.into_iter().collect();
            prop_assert_eq!(list(&print_list(&cores)), cores);
        }

        #[test]
        fn nothing_makes_it_panic(text in "(?s).{0,100}|[0-9,\\-]{0,60}") {
            let _ = (list(&text), keyed(&text, "max"), parse_number(&text));
        }
    }
}
