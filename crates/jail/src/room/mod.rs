//! A room: the namespaces of one isolated application, and the small process that holds them.
//!
//! Processes, mounts, IPC, host name, control group paths and, if wanted, the network are the application's own. There is
//! one room per generation of an application, and workers are put into it ([`crate::Handover::send_into`]), so that a worker
//! starts almost as fast as one outside. The holder is this same program in another mode ([`ROOM_MODE`]). It is process 1 in
//! there, because a process 1 is immune to signals that it does not handle, `abort()` included: no Python may be it.
//!
//! ```text
//!  host --spawn--> jail: plan, control groups, unshare --fork--> holder (process 1): view, loopback --"ready"--> host
//!   |                                                              ^ reaps what is orphaned in the room
//!   +--spawn--> jail: plan, control groups, setns(holder) --fork--> worker, the host's child (`inject.rs`)
//! ```
//!
//! When the host dies or closes its end of the room's socket, the holder ends, and the kernel kills everything in its PID
//! namespace and takes the mounts apart. Nothing of a room can be left behind.
//!
//! Processes that lose their parent in the room, such as workers that a template forked, fall to the holder, which tells
//! the host of each that ends, and reaps it when the host says so: until then its pid is nobody else's.
//!
//! What is on the host's side is here; the holder is `holder.rs`, the mounts are `view.rs`.

mod holder;
mod loopback;
mod mounts;
mod view;
mod wards;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use serde::{Deserialize, Serialize};

use crate::adopt::{Adopted, birth_pair, receive_birth};
use crate::spawn::{Handover, start_as};

pub use holder::enter as enter_room;
pub use wards::{Wards, Whose};

/// First argument of this program as a room's holder.
pub const ROOM_MODE: &str = "__room";

/// What is in the room, as data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomPlan {
    /// The supervisor's process id.
    pub parent: u32,
    /// `cgroup.procs` files for the holder. The room's control group namespace begins there.
    pub cgroups: Vec<PathBuf>,
    pub host_name: String,
    /// A network of its own, in which there is only the loopback interface. `false`: the host's.
    pub network: bool,
    pub view: View,
}

/// What of the file system is to be seen, and how. Paths are as outside; links in them are followed. Everything is read-only
/// and without set-user-id and devices, but for what is said here and private empty /tmp, /var/tmp, /run and /dev/shm.
/// The longer path wins where one is below another; of the same path said twice, the latter here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Files and directories that are empty in the room. What does not exist is skipped.
    pub hidden: Vec<PathBuf>,
    /// To be seen although hidden directories or private ones are above: their own permissions count, not those of what
    /// is above. What does not exist is skipped.
    pub visible: Vec<PathBuf>,
    /// To be seen, and not read-only, but for what is mounted below. They must exist.
    pub writable: Vec<PathBuf>,
    /// Bytes in each of the private directories. They count as memory of the application.
    pub temporary: u64,
    /// What is in /etc/resolv.conf. `None`: the host's, if it is not below /run.
    pub resolv_conf: Option<String>,
}

/// A room that is about to be made.
#[derive(Debug)]
pub struct RoomHandover(Handover);

/// The command that starts a room's holder, and the way to hand it its plan once it is spawned. What holds for
/// [`crate::command`] holds here too. The spawned process ends with 0 when it has forked the holder, which the host must be
/// ready to adopt ([`crate::become_subreaper`]).
///
/// # Errors
/// When no socket can be created.
pub fn room_command() -> io::Result<(Command, RoomHandover)> {
    let (mut command, handover) = start_as(ROOM_MODE)?;
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok((command, RoomHandover(handover)))
}

impl RoomHandover {
    /// Send the plan. The stream ends when the room is ready, or carries a [`crate::Failure`] as JSON, as that of
    /// [`Handover::send`] does; then [`RoomSocket::receive`] yields [`RoomEvent::Ready`], or the end.
    ///
    /// # Errors
    /// When no socket can be created or the process has died before it took its plan.
    pub fn send(self, plan: &RoomPlan) -> io::Result<(UnixStream, RoomSocket)> {
        let (events, theirs) = birth_pair()?;
        let report = self.0.send_any(plan, std::iter::once(theirs.as_fd()))?;
        Ok((report, RoomSocket(events)))
    }
}

/// The socket to a room's holder. The room exists as long as this is open. It does not block.
#[derive(Debug)]
pub struct RoomSocket(OwnedFd);

/// What a holder says.
#[derive(Debug)]
pub enum RoomEvent {
    /// The room is ready; this is its holder, whose pidfd workers are put in with.
    Ready(Adopted),
    /// A process that nobody in the room waits for has ended. It is a zombie until [`RoomSocket::reap`].
    Ended(Ended),
}

/// The end of a process that fell to the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// As the host sees it.
    pub pid: u32,
    inside: u32,
    /// Exit status, or `None` when it was killed by the signal.
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

/// A message of the holder; the kernel adds whose pid it concerns.
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Ready,
    Ended {
        /// Its pid in the room.
        inside: u32,
        code: Option<i32>,
        signal: Option<i32>,
    },
}

impl RoomSocket {
    /// The next thing that happened; `None` when the holder is gone, and the room with it.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has; else when the holder makes no sense or is not our child.
    pub fn receive(&self) -> io::Result<Option<RoomEvent>> {
        let (bytes, pid) = match receive_birth(&self.0) {
            Err(error) if error.raw_os_error() == Some(Errno::CONNRESET.raw_os_error()) => return Ok(None),
            other => other?,
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let pid = pid.ok_or_else(|| io::Error::other("a room's holder says something of nobody"))?;
        Ok(Some(match serde_json::from_slice(&bytes)? {
            Message::Ready => RoomEvent::Ready(Adopted::new(pid)?),
            Message::Ended { inside, code, signal } => RoomEvent::Ended(Ended { pid, inside, code, signal }),
        }))
    }

    /// From now on the pid of this process may be somebody else's. To be called once for each that ended.
    ///
    /// # Errors
    /// When the holder is gone.
    pub fn reap(&self, ended: Ended) -> io::Result<()> {
        // At most as many wait as there are processes in the room; the holder never stops reading.
        send(&self.0, &ended.inside.to_le_bytes(), SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl AsFd for RoomSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for RoomSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
