//! Everything that the laboratory changes on the machine, written down before it is done, so that it can be put back
//! however the laboratory ends.
//!
//! The journal is a file with one line of JSON for each change, in a directory that only one laboratory at a time holds
//! (flock, which the kernel gives up when its holder ends). A change is *noted* (and on disk) first, then made; when it is
//! put back, that is noted too. What is left in the file was left on the machine: the next laboratory puts it back before
//! it begins, and so does `serpentry lab restore`.
//!
//! Putting back is done in the order processes, groups, files of the kernel, directories ([`undo`]), the latest first within
//! each; all of it is harmless to repeat. A process is only taken for the one that was noted if it started at the same time.

mod machine;
mod undo;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

pub use machine::{Machine, started};
pub use undo::{World, put_back};

/// What the names of directories begin with that may be removed with everything in them.
pub const PREFIX: &str = "serpentry-lab-";

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A directory of ours, its name begins with [`PREFIX`].
    Directory(PathBuf),
    /// A process was started.
    Process { pid: u32, started: u64, what: String },
    /// The branches of a host's control groups. It removes them itself unless it is killed.
    Tree(Vec<PathBuf>),
    /// A control group was made.
    Group(PathBuf),
    /// A process was moved to another control group; `from` is the directory of the one before.
    Moved { pid: u32, started: u64, from: PathBuf },
    /// A file of the kernel (a sysctl) was written.
    Written { path: PathBuf, before: String },
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(
        "another laboratory is running{}: two at once would measure each other; wait for it to end",
        .holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Busy { holder: Option<u32> },
    #[error(
        "{path} belongs to another user or may be written by others; remove it, or set SERPENTRY_LAB_DIR"
    )]
    Foreign { path: PathBuf },
    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("not everything could be put back:\n{}\nrun `serpentry lab restore` again when that is mended", .0.join("\n"))]
    Left(Vec<String>),
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first line.
    Begin {
        pid: u32,
        boot: String,
    },
    Noted {
        number: u64,
        change: Change,
    },
    PutBack {
        number: u64,
    },
}

/// Names a noted change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The journal of a laboratory that runs. Dropping it puts everything back that still is not.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Held as long as the laboratory runs.
    _lock: File,
    changes: Vec<(u64, Change)>,
    last: u64,
}

/// Where laboratories meet: of the machine for root, of the user for others. `SERPENTRY_LAB_DIR` is for tests.
#[must_use]
pub fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("SERPENTRY_LAB_DIR") {
        return directory.into();
    }
    if geteuid().is_root() {
        return "/run/serpentry-lab".into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => Path::new(&runtime).join("serpentry-lab"),
        None => std::env::temp_dir().join(format!("serpentry-lab-of-{}", geteuid().as_raw())),
    }
}

impl Journal {
    /// Hold the directory and put back what an earlier laboratory left; those sentences say what that was.
    ///
    /// # Errors
    /// Another laboratory runs, or what is left cannot be put back.
    pub fn open(directory: &Path) -> Result<(Journal, Vec<String>), JournalError> {
        let lock = hold(directory)?;
        let path = directory.join("journal");
        let left = read(&path)?;
        let (done, failed) = put_back(left, &Machine);
        if !failed.is_empty() {
            return Err(JournalError::Left(failed));
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(error("open", &path))?;
        append(&mut file, &Line::Begin { pid: std::process::id(), boot: boot() })
            .map_err(error("write", &path))?;
        Ok((Journal { path, file, _lock: lock, changes: Vec::new(), last: 0 }, done))
    }

    /// Write down what is about to be changed. Only then change it.
    ///
    /// # Errors
    /// It cannot be written: then do not change it.
    pub fn note(&mut self, change: Change) -> Result<Ticket, JournalError> {
        self.last += 1;
        let line = Line::Noted { number: self.last, change };
        append(&mut self.file, &line).map_err(error("write", &self.path))?;
        if let Line::Noted { number, change } = line {
            self.changes.push((number, change));
        }
        Ok(Ticket(self.last))
    }

    /// Put one change back.
    ///
    /// # Errors
    /// It cannot be; it stays in the journal.
    pub fn undo(&mut self, ticket: Ticket) -> Result<(), JournalError> {
        let Some(position) = self.changes.iter().position(|(number, _)| *number == ticket.0) else {
            return Ok(());
        };
        let (_, failed) = put_back(vec![self.changes[position].1.clone()], &Machine);
        if !failed.is_empty() {
            return Err(JournalError::Left(failed));
        }
        self.forget(ticket)
    }

    /// It was put back by somebody else: a process ended, a host removed its groups.
    ///
    /// # Errors
    /// That cannot be written.
    pub fn forget(&mut self, ticket: Ticket) -> Result<(), JournalError> {
        self.changes.retain(|(number, _)| *number != ticket.0);
        append(&mut self.file, &Line::PutBack { number: ticket.0 }).map_err(error("write", &self.path))
    }

    /// Put everything back.
    ///
    /// # Errors
    /// Something cannot be; it stays in the journal.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), JournalError> {
        let changes = std::mem::take(&mut self.changes);
        let (_, failed) = put_back(changes.iter().map(|(_, change)| change.clone()).collect(), &Machine);
        if failed.is_empty() {
            // Empty means: nothing is left.
            return self.file.set_len(0).map_err(error("empty", &self.path));
        }
        self.changes = changes;
        Err(JournalError::Left(failed))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // What cannot be put back stays in the file.
        let _ = self.finish();
    }
}

/// Put back what a laboratory left that did not end properly; one sentence for each thing.
///
/// # Errors
/// A laboratory runs, or something cannot be put back.
pub fn restore(directory: &Path) -> Result<Vec<String>, JournalError> {
    let (journal, done) = Journal::open(directory)?;
    journal.close()?;
    Ok(done)
}

/// Hold the directory of laboratories, made if there is none.
fn hold(directory: &Path) -> Result<File, JournalError> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(error("make", directory))?;
    let about = fs::symlink_metadata(directory).map_err(error("look at", directory))?;
    if !about.is_dir() || about.uid() != geteuid().as_raw() || about.mode() & 0o022 != 0 {
        return Err(JournalError::Foreign { path: directory.to_owned() });
    }
    let path = directory.join("lock");
    let options =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
    let mut lock = options.map_err(error("open", &path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = (&lock).take(20).read_to_string(&mut holder);
            return Err(JournalError::Busy { holder: holder.trim().parse().ok() });
        }
        Err(errno) => return Err(error("lock", &path)(errno.into())),
    }
    let write = |lock: &mut File| {
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())
    };
    write(&mut lock).map_err(error("write", &path))?;
    Ok(lock)
}

/// What is left according to the file. Of an earlier boot only directories can be.
fn read(path: &Path) -> Result<Vec<Change>, JournalError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error("read", path)(source)),
    };
    Ok(left(&text, &boot()))
}

/// The changes that a journal's text notes and does not say to be put back.
fn left(text: &str, boot: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut same_boot = false;
    // A line that is cut was being written when the laboratory died: what it notes was not done.
    for line in text.lines().map_while(|line| serde_json::from_str(line).ok()) {
        match line {
            Line::Begin { boot: noted, .. } => same_boot = noted == boot,
            Line::Noted { number, change } => changes.push((number, change)),
            Line::PutBack { number } => changes.retain(|(noted, _)| *noted != number),
        }
    }
    changes
        .into_iter()
        .map(|(_, change)| change)
        .filter(|change| same_boot || matches!(change, Change::Directory(_)))
        .collect()
}

fn append(file: &mut File, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &Line) -> String {
        serde_json::to_string(line).unwrap() + "\n"
    }

    #[test]
    fn what_is_left_is_what_was_noted_and_not_put_back() {
        let group = |name: &str| Change::Group(name.into());
        let begin = line(&Line::Begin { pid: 1, boot: "b".into() });
        let directory = Change::Directory("/tmp/serpentry-lab-x".into());
        let text = begin
            + &line(&Line::Noted { number: 1, change: directory.clone() })
            + &line(&Line::Noted { number: 2, change: group("/a") })
            + &line(&Line::Noted { number: 3, change: group("/b") })
            + &line(&Line::PutBack { number: 2 });
        assert_eq!(left(&text, "b"), [directory.clone(), group("/b")]);
        assert_eq!(left(&text, "another boot"), std::slice::from_ref(&directory));
        let torn = text.clone() + &line(&Line::PutBack { number: 3 })[..10];
        assert_eq!(left(&torn, "b"), [directory, group("/b")]);
        assert_eq!(left("", "b"), []);
    }

    #[test]
    fn only_one_laboratory_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("lab");
        let (journal, left) = Journal::open(&directory).unwrap();
        assert!(left.is_empty());
        let second = Journal::open(&directory);
        assert!(
            matches!(second, Err(JournalError::Busy { holder: Some(pid) }) if pid == std::process::id()),
            "{second:?}"
        );
        journal.close().unwrap();
        assert!(Journal::open(&directory).is_ok());
    }

    #[test]
    fn what_a_dead_laboratory_left_is_put_back() {
        let home = tempfile::tempdir().unwrap();
        let (lab, ours) = (home.path().join("lab"), home.path().join(format!("{PREFIX}1")));
        let kernel = home.path().join("sysctl");
        fs::create_dir(&ours).unwrap();
        fs::write(&kernel, "2\n").unwrap();
        let (mut journal, _) = Journal::open(&lab).unwrap();
        journal.note(Change::Directory(ours.clone())).unwrap();
        journal.note(Change::Written { path: kernel.clone(), before: "1\n".into() }).unwrap();
        // As if killed: the lock is gone, the file stays.
        let text = fs::read(lab.join("journal")).unwrap();
        drop(journal);
        fs::create_dir(&ours).unwrap();
        fs::write(&kernel, "2\n").unwrap();
        fs::write(lab.join("journal"), text).unwrap();
        let done = restore(&lab).unwrap();
        assert_eq!(done.len(), 2, "{done:?}");
        assert!(!ours.exists());
        assert_eq!(fs::read_to_string(&kernel).unwrap(), "1\n");
        assert!(restore(&lab).unwrap().is_empty());
    }
}
