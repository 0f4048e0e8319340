//! Jail mode: this program again, single-threaded, on its way to becoming a worker.

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};

use crate::FIRST_FD;
use crate::plan::{Failure, Plan, Step};

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
    let Err(failure) = run(&mut report);
    // Without a supervisor there is nobody to tell.
    let _ = serde_json::to_writer(&mut report, &failure);
    let _ = report.flush();
    FAILED
}

/// Standard input is the socket to the supervisor; a close-on-exec copy of it replaces it.
fn boot_socket() -> io::Result<UnixStream> {
    let copy = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), PARKING)?;
    Ok(UnixStream::from(copy))
}

fn run(socket: &mut UnixStream) -> Result<Infallible, Failure> {
    let (plan, descriptors) = receive(socket).map_err(|error| failure(Step::Receive, &error, ""))?;
    die_with_parent(plan.parent).map_err(|error| failure(Step::DieWithParent, &error, ""))?;
    setsid().map_err(|error| failure(Step::Session, &error.into(), ""))?;
    place(descriptors).and_then(close_the_rest).map_err(|error| failure(Step::Descriptors, &error, ""))?;
    let directory = plan.directory.display().to_string();
    std::env::set_current_dir(&plan.directory)
        .map_err(|error| failure(Step::Directory, &error, &directory))?;
    let mut command = Command::new(&plan.program);
    command.args(&plan.arguments).stdin(Stdio::null());
    for name in &plan.without {
        command.env_remove(name);
    }
    command.envs(plan.environment.iter().map(|(name, value)| (name, value)));
    Err(failure(Step::Exec, &command.exec(), &plan.program.display().to_string()))
}

fn failure(step: Step, error: &io::Error, path: &str) -> Failure {
    Failure { step, error: error.to_string(), path: path.to_owned() }
}

fn receive(socket: &mut UnixStream) -> io::Result<(Plan, Vec<OwnedFd>)> {
    let mut length = [0_u8; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
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
    let plan: Plan = serde_json::from_slice(&plan)?;
    if descriptors.len() != plan.descriptors {
        return Err(io::Error::other(format!(
            "{} descriptors came, {} were sent",
            descriptors.len(),
            plan.descriptors
        )));
    }
    Ok((plan, descriptors))
}

fn die_with_parent(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before the call above.
    let alive = getppid().is_some_and(|pid| pid.as_raw_nonzero().get().unsigned_abs() == parent);
    if alive { Ok(()) } else { Err(io::Error::other("it is gone")) }
}

/// Move the descriptors to [`FIRST_FD`] and up, without close-on-exec; the number after the last.
fn place(descriptors: Vec<OwnedFd>) -> io::Result<i32> {
    // Out of the way first: one may sit where another belongs.
    let parked: Vec<OwnedFd> = descriptors
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, PARKING))
        .collect::<Result<_, _>>()?;
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
/// application's: everything from `first` on is closed by exec. The kernel's list is read, since the numbers may be sparse.
fn close_the_rest(first: i32) -> io::Result<()> {
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
