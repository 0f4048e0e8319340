//! Process 1 of a room: makes it, says so, and then only reaps and waits for the host's end of the socket to close.
//!
//! It keeps one capability, to tell the host of other processes by their pids (`SCM_CREDENTIALS`, unix(7)). It runs no code
//! of the application, reads nothing that the application can write but the list of its own children, and what the
//! application can send it is signals, which process 1 ignores.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, UCred, recv, sendmsg};
use rustix::process::{Gid, Pid, Uid, WaitId, WaitIdOptions, WaitIdStatus, getgid, getuid, setsid, waitid};
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::{Message, RoomPlan, loopback, view};
use crate::enter::{Travels, boot_socket, close_all, die_with_parent, failed, park, receive, tell};
use crate::inject::Crossing;
use crate::plan::{Failure, Step};
use crate::steps;

/// How the process is called in lists.
const NAME: &std::ffi::CStr = c"serpentry-room";

impl Travels for RoomPlan {
    /// The socket to the host.
    fn descriptors(&self) -> usize {
        1
    }
}

/// Make the room that the plan on standard input describes, and hold it until the host closes it. Returns the exit status.
#[must_use]
pub fn enter() -> i32 {
    let Ok(mut report) = boot_socket() else {
        return 1;
    };
    let outcome = receive::<RoomPlan>(&mut report)
        .map_err(|error| Failure::new(Step::Receive, &error, ""))
        .and_then(|(plan, descriptors)| make(&plan, descriptors, &report));
    let events = match outcome {
        Ok(events) => events,
        Err(failure) => return tell(&mut report, &failure),
    };
    drop(report);
    let Err(_) = hold(&events);
    // Whether the host is gone or something else: the kernel ends all that is in the room.
    0
}

/// The steps; returns in process 1 of the room with the socket to the host.
fn make(plan: &RoomPlan, descriptors: Vec<OwnedFd>, report: &UnixStream) -> Result<OwnedFd, Failure> {
    die_with_parent(plan.parent).map_err(failed(Step::DieWithParent, ""))?;
    steps::join_cgroups(&plan.cgroups)?;
    let socket = park(&descriptors).and_then(|parked| {
        drop(descriptors);
        // Standard input is a copy of the report's socket, which must end.
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        // What this program was started with must not stay open as long as the room.
        close_all(&[report.as_fd(), parked[0].as_fd()])?;
        Ok(parked)
    });
    let socket = socket.map_err(failed(Step::Descriptors, ""))?.remove(0);
    let crossing = Crossing::prepare(plan.parent).map_err(failed(Step::Namespaces, ""))?;
    let mut namespaces = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    if plan.network {
        namespaces |= UnshareFlags::NEWNET;
    }
    let alone = !steps::may_administer().map_err(failed(Step::Namespaces, ""))?;
    if alone {
        namespaces |= UnshareFlags::NEWUSER;
    }
    let (uid, gid) = (getuid(), getgid());
    // SAFETY: no memory, descriptor table or file system state is shared with anybody in this single-threaded process.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
        .map_err(|error| Failure::new(Step::Namespaces, &error.into(), ""))?;
    if alone {
        map_only(uid, gid).map_err(failed(Step::Namespaces, ""))?;
    }
    crossing.cross().map_err(failed(Step::Namespaces, ""))?;
    rustix::system::sethostname(plan.host_name.as_bytes())
        .map_err(|error| Failure::new(Step::HostName, &error.into(), &plan.host_name))?;
    if plan.network {
        loopback::switch_on().map_err(failed(Step::Loopback, ""))?;
    }
    // Best effort, for want of a capability in some containers. Then the room outlives the end of its workers at their
    // memory limit, also where the control group is killed as a whole (`memory.oom.group`).
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    view::make(&plan.view, alone)?;
    setsid().map_err(|error| Failure::new(Step::Session, &error.into(), ""))?;
    steps::empty_bounding_set()
        .and_then(|()| steps::keep_capabilities(CapabilitySet::SYS_ADMIN))
        .map_err(failed(Step::Capabilities, ""))?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| Failure::new(Step::NoNewPrivileges, &error.into(), ""))?;
    // Only for people who list processes.
    let _ = rustix::thread::set_name(NAME);
    send(&socket, &Message::Ready, rustix::process::getpid())
        .map_err(|error| Failure::new(Step::Room, &error, ""))?;
    Ok(socket)
}

/// In the new user namespace there is nobody but this user, under the same number.
fn map_only(uid: Uid, gid: Gid) -> io::Result<()> {
    // What whoever has no privileges must give up for a group.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1", uid = uid.as_raw()))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1", gid = gid.as_raw()))
}

/// Until the host closes the socket: tell of each child that has ended, reap those that the host names.
fn hold(socket: &OwnedFd) -> io::Result<Infallible> {
    let ends = child_signals()?;
    let mut told = BTreeSet::new();
    loop {
        // Several signals may be one, so all children are looked at. One that ends after this makes the descriptor readable.
        drain(&ends)?;
        tell_of_ended(socket, &mut told)?;
        let mut fds = [
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(ends.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() {
            let mut number = [0; 4];
            let (_, count) = recv(socket, &mut number, rustix::net::RecvFlags::empty())?;
            if count != number.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let pid = u32::from_le_bytes(number);
            if told.remove(&pid) {
                let _ = wait(pid, WaitIdOptions::empty());
            }
        }
    }
}

fn tell_of_ended(socket: &OwnedFd, told: &mut BTreeSet<u32>) -> io::Result<()> {
    for inside in crate::children()? {
        if told.contains(&inside) {
            continue;
        }
        // It stays a zombie: the kernel still knows its pid, here and for the host.
        let Ok(Some(status)) = wait(inside, WaitIdOptions::NOWAIT) else { continue };
        let message =
            Message::Ended { inside, code: status.exit_status(), signal: status.terminating_signal() };
        let pid = i32::try_from(inside).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        send(socket, &message, pid)?;
        told.insert(inside);
    }
    Ok(())
}

fn wait(pid: u32, how: WaitIdOptions) -> rustix::io::Result<Option<WaitIdStatus>> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | how)
}

/// Send a message that the kernel signs with this pid, as the receiver sees it.
fn send(socket: &OwnedFd, message: &Message, pid: Pid) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmCredentials(UCred { pid, uid: getuid(), gid: getgid() }));
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A descriptor that is readable when a child has ended (signalfd(2)). It does not block.
fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by the first call; this process is single-threaded, so its mask is this thread's.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn drain(ends: &OwnedFd) -> io::Result<()> {
    // One signal of a kind is all that can wait.
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(ends, &mut info) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
