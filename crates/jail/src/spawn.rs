//! The supervisor's side: start a process in jail mode and hand it its plan.

use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, kill_process_group};

use serde::Serialize;

use crate::MODE;
use crate::plan::Plan;

/// Most descriptors that can travel with a plan.
pub(crate) const MOST_DESCRIPTORS: usize = 8;

/// Of these, for a worker in a room: the room's pidfd and the birth socket.
pub(crate) const ROOM_DESCRIPTORS: usize = 2;

/// What a process says on its birth socket when it is there to stay, as a template's forks do.
pub(crate) const BORN: u8 = b'+';

/// Our end of the socket to a process in jail mode.
#[derive(Debug)]
pub struct Handover(UnixStream);

/// The command that starts this program in jail mode, and the socket over which it then wants its plan. Spawn it from a
/// thread that lives as long as the workers shall: `PR_SET_PDEATHSIG` counts the thread, not the process.
///
/// # Errors
/// When no socket can be created.
pub fn command() -> io::Result<(Command, Handover)> {
    start_as(MODE)
}

pub(crate) fn start_as(mode: &str) -> io::Result<(Command, Handover)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(mode).stdin(Stdio::from(OwnedFd::from(theirs)));
    Ok((command, Handover(ours)))
}

impl Handover {
    /// Send the plan to the process, once it is spawned and the command dropped. What comes back on the returned socket:
    /// end of file when the interpreter runs, otherwise a [`crate::Failure`] as JSON, and the process exits.
    ///
    /// # Errors
    /// When the process has died before it took its plan.
    pub fn send(self, plan: &Plan, descriptors: &[OwnedFd]) -> io::Result<UnixStream> {
        self.send_any(plan, descriptors.iter().map(AsFd::as_fd))
    }

    /// The same for a plan with [`Plan::room`]: `room` is the pidfd of the room's first process ([`crate::Room`]). The
    /// process that was spawned ends with 0 as soon as it has forked the worker, which says so on the birth socket that is
    /// returned with the report's ([`crate::receive_birth`]; [`crate::become_subreaper`] must have been called): it is an
    /// [`crate::Adopted`] child. If the birth socket ends without a word, the report says why.
    ///
    /// # Errors
    /// When no socket can be created or the process has died before it took its plan.
    pub fn send_into(
        self,
        room: impl AsFd,
        plan: &Plan,
        descriptors: &[OwnedFd],
    ) -> io::Result<(UnixStream, OwnedFd)> {
        let (birth, theirs) = crate::birth_pair()?;
        let further = [room.as_fd(), theirs.as_fd()];
        let report = self.send_any(plan, descriptors.iter().map(AsFd::as_fd).chain(further))?;
        Ok((report, birth))
    }

    pub(crate) fn send_any<'fd>(
        self,
        plan: &impl Serialize,
        descriptors: impl Iterator<Item = BorrowedFd<'fd>>,
    ) -> io::Result<UnixStream> {
        send(&self.0, plan, &descriptors.collect::<Vec<_>>())?;
        Ok(self.0)
    }
}

/// Length (4 bytes, little endian) with the descriptors attached, then the plan as JSON.
fn send(mut socket: &UnixStream, plan: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let plan = serde_json::to_vec(plan)?;
    let length = u32::try_from(plan.len()).map_err(io::Error::other)?.to_le_bytes();
    send_borrowed(socket, &length, descriptors)?;
    socket.write_all(&plan)?;
    socket.shutdown(std::net::Shutdown::Write)
}

/// Send a few bytes with copies of `descriptors` attached (`SCM_RIGHTS`, unix(7)). They are so few that an empty socket
/// takes them all.
///
/// # Errors
/// When the other end is gone, or the socket does not block and is full.
pub fn send_with_descriptors(socket: impl AsFd, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(|fd| fd.as_fd()).collect();
    send_borrowed(socket, bytes, &borrowed)
}

fn send_borrowed(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other(format!("at most {MOST_DESCRIPTORS} descriptors can be passed")));
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Kill a worker and whatever it started in its session's process group. Already gone is fine.
pub fn kill_group(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Before its `setsid` the group does not exist yet: then the process alone.
        if kill_process_group(pid, Signal::KILL).is_err() {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}
