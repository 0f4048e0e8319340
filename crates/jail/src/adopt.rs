//! Workers that a template process forked for us: becoming their parent, knowing them, reaping what else falls to us.
//!
//! A template cannot make its fork our child directly: `clone` can (`CLONE_PARENT`), but then the C library does not learn of
//! the fork, and what Python and the application's libraries rely on (`pthread_atfork`, consistent locks of `malloc`, the
//! thread's own id) is not there. So the template forks twice with the C library's `fork` and the middle process exits:
//!
//! ```text
//!  host (subreaper) --- template --- middle --- worker        before the middle process exits
//!  host (subreaper) --- template
//!        +------------- worker                                after: the nearest subreaper above is the new parent
//! ```
//!
//! The kernel's rules this rests on (`kernel/exit.c`, prctl(2)):
//! * An orphan goes to the nearest living ancestor with `PR_SET_CHILD_SUBREAPER`, there to its first living thread, which is
//!   the main thread as long as that lives. It stays a zombie until that process waits for it, so its pid is not reused.
//! * `PR_SET_PDEATHSIG` is cleared by `fork` and concerns the parent *thread* at the time of its death: the worker sets it
//!   after it was adopted, and then looks whether we are its parent.
//! * The pid comes from the kernel: a socket with `SO_PASSCRED` attaches the sender's to every message (unix(7)). What the
//!   worker says of itself is not asked.
//!
//! A subreaper inherits *every* orphan below it, such as daemons that an application started: [`reap_orphan`].

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair, sockopt,
};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};

/// Longest message on a birth socket, in bytes.
const LONGEST: usize = 512;

/// From now on orphans below this process become its children.
///
/// # Errors
/// When the kernel does not know of subreapers (before Linux 3.4).
pub fn become_subreaper() -> io::Result<()> {
    // Any number but zero switches it on.
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Our end of the socket on which a forked worker shows itself, and the end that travels to the template. Messages are
/// kept apart (`SOCK_SEQPACKET`). Our end does not block.
///
/// # Errors
/// When no socket can be created.
pub fn birth_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_passcred(&ours, true)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

/// Read one message of a birth socket, and the pid of who sent it as the kernel says. No bytes: nobody is left to send one.
///
/// # Errors
/// `WouldBlock` when nothing has come yet; else when the socket fails.
pub fn receive_birth(socket: impl AsFd) -> io::Result<(Vec<u8>, Option<u32>)> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [io::IoSliceMut::new(&mut bytes)];
    let count = recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
    bytes.truncate(count);
    let sender = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid),
        _ => None,
    });
    Ok((bytes, sender.map(|pid| pid.as_raw_nonzero().get().unsigned_abs())))
}

/// A child that we did not start. Its pid is its own until [`Adopted::try_wait`] has returned its end.
#[derive(Debug)]
pub struct Adopted {
    pid: u32,
    handle: OwnedFd,
}

impl Adopted {
    /// The child with this pid, which has not been reaped.
    ///
    /// # Errors
    /// For a process that is not our child: nobody here may wait for it.
    pub fn new(number: u32) -> io::Result<Self> {
        let pid = pid_of(number).ok_or(Errno::SRCH)?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(handle.as_fd()), look)?;
        Ok(Adopted { pid: number, handle })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Reap it if it has ended. With `Some`, its pid belongs to somebody else from now on.
    ///
    /// # Errors
    /// When it was reaped already.
    pub fn try_wait(&self) -> io::Result<Option<WaitIdStatus>> {
        Ok(waitid(WaitId::PidFd(self.handle.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?)
    }
}

impl AsFd for Adopted {
    /// Its pidfd: readable when it has ended (pidfd_open(2)).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl std::os::fd::AsRawFd for Adopted {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.handle.as_raw_fd()
    }
}

/// The children of the main thread, where adopted ones are, zombies included.
///
/// # Errors
/// When the kernel does not list them (`CONFIG_PROC_CHILDREN`; every distribution has it).
pub fn children() -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let list = std::fs::read_to_string(format!("/proc/self/task/{own}/children"))?;
    Ok(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// Reap `pid` if it has ended and is not of this process' session. What we start ourselves is: only workers and templates
/// get sessions of their own, and the caller knows those. Says whether it was reaped.
#[must_use]
pub fn reap_orphan(pid: u32) -> bool {
    let foreign =
        matches!((session(pid), session(std::process::id())), (Some(theirs), Some(ours)) if theirs != ours);
    foreign && pid_of(pid).is_some_and(|pid| reap(pid).is_ok_and(|ended| ended))
}

/// The session of a process as procfs has it (proc_pid_stat(5), field 6). 0 is a session whose leader is outside our pid
/// namespace, as that of everything is that somebody outside started in a container; getsid(2) through rustix takes every
/// answer for a pid, and 0 is none.
fn session(pid: u32) -> Option<i32> {
    session_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Behind the name, which may contain anything, come state, parent, process group and session.
fn session_in(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(3)?.parse().ok()
}

fn reap(pid: Pid) -> Result<bool, Errno> {
    Ok(waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?.is_some())
}

fn pid_of(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_session_behind_any_name() {
        assert_eq!(session_in("71 (python3) Z 1 70 69 0 -1 4227084 0"), Some(69));
        assert_eq!(session_in("71 (a) R 5 (b) S 1 70 0 0 -1"), Some(0), "a leader outside the pid namespace");
        assert_eq!(session_in("71 (python3) Z 1 70"), None);
        assert_eq!(session_in(""), None);
        assert!(session(std::process::id()).is_some());
    }
}
