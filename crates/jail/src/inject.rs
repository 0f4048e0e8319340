//! How a process gets into namespaces of others and yet becomes the supervisor's own child there.
//!
//! A process never changes its own PID namespace: what `setns` and `unshare` change is where its *children* are born. So a
//! process in jail mode that has joined one forks once and ends:
//!
//! ```text
//!  host (subreaper) --- jail (host's PID namespace) --- child (room's PID namespace)
//!  host (subreaper) -------------------------------------- child                      after the jail's process has ended
//! ```
//!
//! To whom the orphan falls is decided by the level of the *ended parent's* PID namespace (`find_new_reaper` in
//! `kernel/exit.c`: "the exiting parent could be injected by setns() + fork()"), which is the host's: so the nearest
//! subreaper of the host gets it, not the room's init. The host waits for it like for any child and sees its status exactly.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, set_parent_process_death_signal};

/// What is needed on the other side, opened before.
pub(crate) struct Crossing {
    own: OwnedFd,
    host: OwnedFd,
}

impl Crossing {
    /// `host` is the supervisor's pid, which was our living parent a moment ago.
    ///
    /// # Errors
    /// When it is gone, or the kernel has no pidfds (before Linux 5.3).
    pub(crate) fn prepare(host: u32) -> io::Result<Self> {
        let host = i32::try_from(host).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        Ok(Crossing {
            own: pidfd_open(getpid(), PidfdFlags::empty())?,
            host: pidfd_open(host, PidfdFlags::empty())?,
        })
    }

    /// Fork, end, and return in the child once it is the supervisor's.
    ///
    /// # Errors
    /// When it cannot be forked; in the child, when it cannot be tied to the supervisor or that is gone.
    pub(crate) fn cross(self) -> io::Result<()> {
        // SAFETY: this process is single-threaded, so its copy is complete and every lock in it is free.
        match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {}
            // SAFETY: ends this process at once; everything it had to do is the child's now.
            _ => unsafe { libc::_exit(0) },
        }
        // Readable once the parent has ended, which is after the kernel has found us a new one (`exit_notify`).
        wait_for_end(&self.own, None)?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // From a PID namespace below, `getppid` says 0 whoever it is. The supervisor may have died before the call above.
        if wait_for_end(&self.host, Some(Timespec { tv_sec: 0, tv_nsec: 0 }))? {
            return Err(io::Error::other("it is gone"));
        }
        Ok(())
    }
}

/// Whether the process has ended, within the time.
fn wait_for_end(pidfd: &OwnedFd, time: Option<Timespec>) -> io::Result<bool> {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, time.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
