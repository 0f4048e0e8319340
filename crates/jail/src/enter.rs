//! Jail mode: this program again, single-threaded, on its way to becoming a worker.

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};
use rustix::thread::{CapabilitySet, ThreadNameSpaceType};

use crate::inject::Crossing;
use crate::plan::{Confinement, Failure, Plan, Step};
use crate::spawn::{BORN, MOST_DESCRIPTORS, ROOM_DESCRIPTORS};
use crate::{FIRST_FD, landlock, seccomp, steps};

/// What a worker in a room shares with it. A network namespace that the room has not made is the host's own.
const ROOM_NAMESPACES: ThreadNameSpaceType = ThreadNameSpaceType::MOUNT
    .union(ThreadNameSpaceType::PROCESS_ID)
    .union(ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION)
    .union(ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME)
    .union(ThreadNameSpaceType::NETWORK)
    .union(ThreadNameSpaceType::CONTROL_GROUP);

/// Exit status when a step failed; the report says which.
const FAILED: i32 = 71;

/// Descriptors are parked at or above this number before they are put in their final places.
const PARKING: i32 = 64;

/// Become what the plan on standard input says. Returns only the exit status of a failure.
#[must_use]
pub fn enter() -> i32 {
    let Ok(mut report) = boot_socket() else {
        return FAILED;
    };
    let outcome = receive(&mut report)
        .map_err(|error| Failure::new(Step::Receive, &error, ""))
        .and_then(|(plan, descriptors)| become_worker(&plan, descriptors));
    let Err(failure) = outcome;
    tell(&mut report, &failure)
}

/// Report a failure; returns the exit status.
pub(crate) fn tell(report: &mut UnixStream, failure: &Failure) -> i32 {
    // Without a supervisor there is nobody to tell.
    let _ = serde_json::to_writer(&mut *report, failure);
    let _ = report.flush();
    FAILED
}

/// Standard input is the socket to the supervisor; a close-on-exec copy of it replaces it.
pub(crate) fn boot_socket() -> io::Result<UnixStream> {
    let copy = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), PARKING)?;
    Ok(UnixStream::from(copy))
}

/// What travels over the socket, together with descriptors.
pub(crate) trait Travels: serde::de::DeserializeOwned {
    /// So many belong to it.
    fn descriptors(&self) -> usize;
}

impl Travels for Plan {
    fn descriptors(&self) -> usize {
        self.descriptors + if self.room { ROOM_DESCRIPTORS } else { 0 }
    }
}

/// The steps, in the order of [`Step`].
fn become_worker(plan: &Plan, mut descriptors: Vec<OwnedFd>) -> Result<Infallible, Failure> {
    die_with_parent(plan.parent).map_err(failed(Step::DieWithParent, ""))?;
    steps::join_cgroups(&plan.cgroups)?;
    let room = descriptors.split_off(plan.descriptors);
    // Out of the way of what is put in place.
    let room = park(&room).map_err(failed(Step::Descriptors, ""))?;
    place(descriptors).and_then(close_the_rest).map_err(failed(Step::Descriptors, ""))?;
    if let [room, birth] = &room[..] {
        join_room(room, birth, plan.parent).map_err(failed(Step::Room, ""))?;
    }
    setsid().map_err(|error| Failure::new(Step::Session, &error.into(), ""))?;
    steps::set_limits(&plan.limits)?;
    let gives_up = plan.confinement.as_ref().is_some_and(|confinement| confinement.capabilities);
    if gives_up {
        steps::empty_bounding_set().map_err(failed(Step::BoundingSet, ""))?;
    }
    if let Some(identity) = &plan.identity {
        steps::become_user(identity).map_err(failed(Step::Identity, &identity.uid.to_string()))?;
    }
    if gives_up {
        steps::keep_capabilities(CapabilitySet::empty()).map_err(failed(Step::Capabilities, ""))?;
    }
    if gives_up || plan.identity.is_some() {
        // Either clears it (`commit_creds` in kernel/cred.c).
        let tie = || if plan.room { dies_with_parent() } else { die_with_parent(plan.parent) };
        tie().map_err(failed(Step::DieWithParent, ""))?;
    }
    std::env::set_current_dir(&plan.directory)
        .map_err(failed(Step::Directory, &plan.directory.display().to_string()))?;
    if let Some(confinement) = &plan.confinement {
        confine(confinement)?;
    }
    // Everything that needs a forbidden call has been made: what follows is exec.
    let mut command = Command::new(&plan.program);
    command.args(&plan.arguments).stdin(Stdio::null());
    for name in &plan.without {
        command.env_remove(name);
    }
    command.envs(plan.environment.iter().map(|(name, value)| (name, value)));
    Err(Failure::new(Step::Exec, &command.exec(), plan.program.display().to_string()))
}

/// What makes no privileges necessary, and what must come last.
fn confine(confinement: &Confinement) -> Result<(), Failure> {
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| Failure::new(Step::NoNewPrivileges, &error.into(), ""))?;
    if let Some(access) = &confinement.access {
        landlock::restrict(access).map_err(|(error, path)| Failure::new(Step::Access, &error, path))?;
    }
    if let Some(how) = confinement.system_calls {
        seccomp::restrict(how).map_err(failed(Step::SystemCalls, ""))?;
    }
    Ok(())
}

/// For `map_err`.
pub(crate) fn failed(step: Step, path: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::new(step, &error, path)
}

/// Join all namespaces of the process that holds the room, and say so on the birth socket from the other side.
fn join_room(room: &OwnedFd, birth: &OwnedFd, host: u32) -> io::Result<()> {
    let crossing = Crossing::prepare(host)?;
    let mut namespaces = ROOM_NAMESPACES;
    if !steps::may_administer()? {
        namespaces |= ThreadNameSpaceType::USER;
        // The host's own belongs to the superuser, and we are in it already.
        if is_in_our_network(room)? {
            namespaces -= ThreadNameSpaceType::NETWORK;
        }
    }
    rustix::thread::move_into_thread_name_spaces(room.as_fd(), namespaces)?;
    crossing.cross()?;
    send(birth, &[BORN], SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Whether the process shares our network namespace. Its pid is in the list of what its pidfd is (proc_pid_fdinfo(5)).
fn is_in_our_network(process: &OwnedFd) -> io::Result<bool> {
    let list = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let pid = list.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
    let pid = pid.ok_or(rustix::io::Errno::SRCH)?;
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
    Ok(network(pid)? == network("self")?)
}

pub(crate) fn receive<T: Travels>(socket: &mut UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut length = [0_u8; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [io::IoSliceMut::new(&mut length)];
    let received = recvmsg(socket.as_fd(), &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        })
        .flatten()
        .collect();
    socket.read_exact(&mut length[received.bytes..])?;
    let mut plan = vec![0; u32::from_le_bytes(length) as usize];
    socket.read_exact(&mut plan)?;
    let plan: T = serde_json::from_slice(&plan)?;
    if descriptors.len() != plan.descriptors() {
        return Err(io::Error::other(format!(
            "{} descriptors came, {} were sent",
            descriptors.len(),
            plan.descriptors()
        )));
    }
    Ok((plan, descriptors))
}

pub(crate) fn die_with_parent(parent: u32) -> io::Result<()> {
    dies_with_parent()?;
    // It may have died before the call above.
    let alive = getppid().is_some_and(|pid| pid.as_raw_nonzero().get().unsigned_abs() == parent);
    if alive { Ok(()) } else { Err(io::Error::other("it is gone")) }
}

fn dies_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Copies with high numbers.
pub(crate) fn park(descriptors: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
    let copies = descriptors.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, PARKING));
    Ok(copies.collect::<Result<_, _>>()?)
}

/// Move the descriptors to [`FIRST_FD`] and up, without close-on-exec; the number after the last.
fn place(descriptors: Vec<OwnedFd>) -> io::Result<i32> {
    // Out of the way first: one may sit where another belongs.
    let parked = park(&descriptors)?;
    drop(descriptors);
    for (target, fd) in (FIRST_FD..).zip(&parked) {
        // SAFETY: this single-threaded process owns every descriptor number. Whatever is open at `target` is a copy
        // that nothing here uses any more (all that are still needed were parked above), and `dup2` closes it.
        let mut place = unsafe { OwnedFd::from_raw_fd(target) };
        let result = rustix::io::dup2(fd, &mut place);
        // It must stay open across exec.
        let raw = std::os::fd::IntoRawFd::into_raw_fd(place);
        result.map_err(|error| {
            io::Error::other(format!("descriptor {raw} from {}: {error}", fd.as_raw_fd()))
        })?;
    }
    Ok(FIRST_FD + i32::try_from(parked.len()).map_err(io::Error::other)?)
}

/// Whatever this program was started with (sockets for `--bind fd://N`, a shell's extra descriptors) is not the
/// application's: everything from `first` on is closed by exec.
fn close_the_rest(first: i32) -> io::Result<()> {
    let from = libc::c_uint::try_from(first).map_err(io::Error::other)?;
    // SAFETY: closes nothing now; it marks descriptors of this process, all of which are ours to mark.
    let marked =
        unsafe { libc::syscall(libc::SYS_close_range, from, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 { Ok(()) } else { mark_each(first) }
}

/// Close everything but standard input, output and error, and these.
pub(crate) fn close_all(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for number in open {
        if number > 2 && kept.iter().all(|fd| fd.as_raw_fd() != number) {
            // SAFETY: nothing of ours is open but what the caller names. That the list's own descriptor is closed already
            // does no harm: the call fails.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// Before Linux 5.11. The kernel's list is read, since the numbers may be sparse.
fn mark_each(first: i32) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()).filter(|number| *number >= first)
        else {
            continue;
        };
        // SAFETY: borrowed for this call only; if the number is no longer open (the list's own descriptor), it fails.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        match rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC) {
            Ok(()) | Err(rustix::io::Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
