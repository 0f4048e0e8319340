//! The state directory: what a host keeps on disk, owned by one host at a time.
//!
//! ```text
//!  STATE/            0700, or as it was found
//!    host.lock       0600, flock held while the host lives; content: pid and start time
//!    control.sock    0600
//! ```
//!
//! Whether a host lives is decided by the lock alone, which the kernel gives back however the host ends: a socket or a
//! pid that a killed host left behind proves nothing. The lock file is never removed: a host that holds the lock of a
//! removed file would not be alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

const LOCK: &str = "host.lock";
const SOCKET: &str = "control.sock";

/// Callers that wait to be accepted. Beyond the server's own connections, so that a burst of scripts only waits.
const BACKLOG: i32 = 64;

/// Most bytes of the lock file that are read.
const LOCK_SIZE: u64 = 64;

/// Why a state directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("a host is already running here{}: {} is its state directory; stop it first (serpentry stop), or give this one a directory of its own", by(*.pid), .directory.display())]
    Owned { directory: PathBuf, pid: Option<u32> },
    #[error("{what}: make the state directory {} writable for this user and for nobody else, or choose another one", .directory.display())]
    Denied { directory: PathBuf, what: String },
    #[error("{what} in the state directory {}", .directory.display())]
    Failed { directory: PathBuf, what: String, source: io::Error },
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// A state directory that is ours until this is dropped.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    /// Closing it gives the lock back.
    _lock: File,
}

impl State {
    /// Create `directory` if need be and own it. The lock says which process owns it: its pid and its start time, which
    /// together name one process for as long as the machine runs.
    ///
    /// # Errors
    /// Another host lives there, or the directory cannot be used.
    pub fn claim(directory: &Path) -> Result<State, StateError> {
        let failed = |what: &str, source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StateError::Denied { directory: directory.to_owned(), what: format!("{what}: {source}") }
            }
            _ => StateError::Failed { directory: directory.to_owned(), what: what.to_owned(), source },
        };
        create(directory).map_err(|error| failed("cannot be created", error))?;
        check(directory)?;
        let path = directory.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nofollow())
            .open(&path)
            .map_err(|error| failed("cannot open host.lock", error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let pid = owner_in(&mut lock);
                return Err(StateError::Owned { directory: directory.to_owned(), pid });
            }
            Err(error) => return Err(failed("cannot lock host.lock", error.into())),
        }
        let content = format!("{} {}\n", std::process::id(), start_time().unwrap_or(0));
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(content.as_bytes()))
            .map_err(|error| failed("cannot write host.lock", error))?;
        Ok(State { directory: directory.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Listen for control calls. What a killed host left in the socket's place is removed first.
    ///
    /// # Errors
    /// Something that is not a socket is in its place, or the system refuses.
    pub fn bind(&self) -> Result<UnixListener, StateError> {
        self.bind_socket().map_err(|source| StateError::Failed {
            directory: self.directory.clone(),
            what: format!("cannot listen on {SOCKET}"),
            source,
        })
    }

    fn bind_socket(&self) -> io::Result<UnixListener> {
        let path = self.directory.join(SOCKET);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => return Err(io::Error::other("there is something that is not a socket; remove it")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let socket = socket()?;
        // Linux takes the mode of the unbound socket for the file, so that there is no moment at which others may connect.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        with_address(&self.directory, |address| net::bind(&socket, address))?;
        net::listen(&socket, BACKLOG)?;
        Ok(UnixListener::from(socket))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // It is only tidier: the next host removes what it finds.
        let _ = fs::remove_file(self.directory.join(SOCKET));
    }
}

/// Where the running host's state directory is, for whoever wants to talk to it: `--state`, else `SERPENTRY_STATE`, else
/// what the configuration in the current directory says, else `STATE_DIRECTORY` (systemd), else `.serpentry` here.
#[must_use]
pub fn find(explicit: Option<&Path>, configured: impl FnOnce() -> Option<PathBuf>) -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    explicit
        .map(Path::to_owned)
        .or_else(|| variable("SERPENTRY_STATE").map(PathBuf::from))
        .or_else(configured)
        .or_else(|| {
            // systemd separates several by colons (systemd.exec(5)).
            let list = variable("STATE_DIRECTORY")?.into_string().ok()?;
            list.split(':').next().map(PathBuf::from)
        })
        .unwrap_or_else(|| PathBuf::from(".serpentry"))
}

/// The process that owns `directory`, if one does at this moment.
#[must_use]
pub fn owner(directory: &Path) -> Option<u32> {
    let mut lock = OpenOptions::new().read(true).custom_flags(nofollow()).open(directory.join(LOCK)).ok()?;
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => owner_in(&mut lock),
        _ => None,
    }
}

/// Connect to the control socket. `limit` bounds how long a full backlog is waited for.
///
/// # Errors
/// As connect(2): not found or refused when no host is there.
pub fn connect(directory: &Path, limit: Duration) -> io::Result<UnixStream> {
    let socket = socket()?;
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    with_address(directory, |address| net::connect(&socket, address))?;
    Ok(UnixStream::from(socket))
}

fn socket() -> rustix::io::Result<OwnedFd> {
    net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// The socket's address. One that is too long for the system (unix(7): 107 bytes) goes through a descriptor of the
/// directory.
fn with_address(
    directory: &Path,
    call: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<()>,
) -> io::Result<()> {
    if let Ok(address) = SocketAddrUnix::new(directory.join(SOCKET)) {
        return Ok(call(&address)?);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(directory, flags, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder.as_fd());
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{number}/{SOCKET}"))?;
    Ok(call(&address)?)
}

/// Parents as usual, the directory itself for its owner only.
fn create(directory: &Path) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Nobody but its owner and the superuser may be able to replace what is in it.
fn check(directory: &Path) -> Result<(), StateError> {
    let denied = |what: String| StateError::Denied { directory: directory.to_owned(), what };
    let found = fs::metadata(directory).map_err(|source| StateError::Failed {
        directory: directory.to_owned(),
        what: "cannot look".to_owned(),
        source,
    })?;
    let own = rustix::process::geteuid().as_raw();
    if !found.is_dir() {
        return Err(denied("it is not a directory".to_owned()));
    }
    if found.uid() != own && own != 0 {
        return Err(denied(format!("it belongs to user {}, this is user {own}", found.uid())));
    }
    if found.mode() & 0o022 != 0 {
        return Err(denied(format!(
            "others may write to it (mode {:04o}; chmod 700 mends that)",
            found.mode() & 0o7777
        )));
    }
    Ok(())
}

fn owner_in(lock: &mut File) -> Option<u32> {
    let mut content = String::new();
    lock.take(LOCK_SIZE).read_to_string(&mut content).ok()?;
    content.split(' ').next()?.parse().ok()
}

/// Clock ticks since the machine's start, field 22 of `/proc/self/stat` (proc(5)).
fn start_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field may contain blanks and parentheses; it ends at the last one.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn nofollow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
