//! The programs of e2fsprogs: what makes a file system, repairs it, and grows it where the kernel may not.
//!
//! A program holds the image's lock (its standard input is a copy of our descriptor): should this process die meanwhile,
//! a successor waits for the program instead of mounting a file system under repair.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;

use super::error::{Error, io as refused};

/// Preening replays the journal and repairs what is safe: seconds, minutes on a slow disk with very many files. After this
/// long something hangs.
const LONGEST: Duration = Duration::from_secs(600);

/// What is kept of a program's words.
const MOST_WORDS: usize = 1000;

/// Where Debian has them; a service's PATH often lacks these.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// The label by which we know our own images. 16 bytes are the most that fit.
pub(super) const LABEL: &str = "serpentry-volume";

/// Everything is said explicitly, so that the machine's `mke2fs.conf` changes nothing:
/// * The features are those that every kernel of the last ten years mounts.
/// * `nodiscard`: discarding would give the preallocated blocks back. That is the point of the volume lost.
/// * Inode tables and journal are not written: the file is fresh from fallocate and reads as zeros, which is what would be
///   written. So 1 GiB takes as long as 64 MiB, and the kernel is told not to do it later either (`noinit_itable`).
/// * No blocks reserved for root: the application is the only one here.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
                        large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// Make a file system on the image file.
pub(super) fn make(image: &Path, lock: &File, size: u64, owner: (u32, u32)) -> Result<(), Error> {
    let extended =
        format!("nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner={}:{}", owner.0, owner.1);
    let journal = format!("size={}", journal_mebibytes(size));
    let arguments = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        FEATURES,
        "-b",
        "4096",
        "-i",
        "16384",
        "-I",
        "256",
        "-m",
        "0",
        "-e",
        "remount-ro",
        "-L",
        LABEL,
        "-J",
        &journal,
        "-E",
        &extended,
    ];
    let outcome = run("mkfs.ext4", &arguments, image, lock)?;
    if outcome.status.success() { Ok(()) } else { Err(outcome.failure("mkfs.ext4", image)) }
}

/// Repair what can be repaired without asking. False: more is broken than that.
pub(super) fn repair(image: &Path, lock: &File) -> Result<bool, Error> {
    let outcome = run("e2fsck", &["-p"], image, lock)?;
    // e2fsck(8): 1 and 2 are bits for "corrected"; 4 is "left uncorrected"; 8 and more are failures of the program, where
    // 8 also means that it could not make sense of the superblock.
    match outcome.status.code() {
        Some(code) if code & !3 == 0 => Ok(true),
        Some(code) if code & !15 == 0 => Ok(false),
        _ => Err(outcome.failure("e2fsck", image)),
    }
}

/// Grow the file system on an image that is not mounted to the length of the image.
pub(super) fn grow(image: &Path, lock: &File) -> Result<(), Error> {
    // resize2fs wants a file system that was looked through completely.
    let outcome = run("e2fsck", &["-f", "-p"], image, lock)?;
    if outcome.status.code().is_none_or(|code| code & !3 != 0) {
        return Err(outcome.failure("e2fsck", image));
    }
    let outcome = run("resize2fs", &[], image, lock)?;
    if outcome.status.success() { Ok(()) } else { Err(outcome.failure("resize2fs", image)) }
}

/// Small: a journal holds metadata only, and its size is taken from the application's space. 4 MiB is the least that ext4
/// takes with 4 KiB blocks; more lets more operations share one commit.
fn journal_mebibytes(size: u64) -> u64 {
    match size >> 20 {
        0..256 => 4,
        256..4096 => 16,
        _ => 64,
    }
}

struct Outcome {
    status: ExitStatus,
    said: String,
}

impl Outcome {
    fn failure(self, program: &'static str, image: &Path) -> Error {
        Error::Program { program, image: image.to_owned(), ended: self.status.to_string(), said: self.said }
    }
}

fn run(program: &'static str, arguments: &[&str], image: &Path, lock: &File) -> Result<Outcome, Error> {
    let path = find(program).ok_or(Error::MissingProgram { program })?;
    let failed = |error: io::Error| refused("run", &path)(error);
    let mut words = File::from(
        rustix::fs::memfd_create(program, MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?,
    );
    let output = || words.try_clone().map(Stdio::from).map_err(failed);
    let mut child = Command::new(&path)
        .args(arguments)
        .arg(image)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", DIRECTORIES.join(":"))
        .stdin(lock.try_clone().map(Stdio::from).map_err(failed)?)
        .stdout(output()?)
        .stderr(output()?)
        .spawn()
        .map_err(failed)?;
    let status = wait(&mut child).map_err(failed)?;
    let mut said = Vec::new();
    let read = words.rewind().and_then(|()| words.take(MOST_WORDS as u64).read_to_end(&mut said));
    read.map_err(failed)?;
    Ok(Outcome {
        status,
        said: String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" "),
    })
}

/// Wait for the program; kill it after [`LONGEST`].
fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + LONGEST;
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidData)?;
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            child.kill()?;
            return child.wait();
        }
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut poll = [PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut poll, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}

/// Which of the programs a volume needs are missing here.
pub(super) fn missing() -> Vec<&'static str> {
    ["mkfs.ext4", "e2fsck", "resize2fs"].into_iter().filter(|program| find(program).is_none()).collect()
}
