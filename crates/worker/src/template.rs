//! The template process: imports the application once, and forks a worker whenever the host orders one.
//!
//! It runs no event loop, no lifespan and no thread of ours, and knows nothing of requests. It sleeps in one system call
//! until an order comes or the host closes the control link.
//!
//! One order, with the descriptors that came with it (see [`wire::ControlToWorker::Fork`]):
//!
//! ```text
//!  template: before-fork hooks, fork ---- waits for middle ---- closes the pipe, after-fork hooks (parent), next order
//!                                  \                           \
//!  middle:                          fork, exit                  \
//!                                       \                        \
//!  worker:                               waits for the pipe's end: its parent is the host now
//!                                        dies with it from here on, own session, "born" on the birth socket,
//!                                        after-fork hooks (child), then like any other worker
//! ```
//!
//! Twice, so that the host becomes the worker's parent; `jail::adopt` says why so. Python's hooks run once in each of the
//! two processes that go on, as PyOS_BeforeFork and its counterparts demand; `os.fork` would run them for the middle process
//! as well.

use std::os::fd::{AsFd, OwnedFd};

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::ffi::c_str;
use pyo3::prelude::*;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, getppid, set_parent_process_death_signal, setsid, waitpid};
use wire::{ControlFromWorker, ControlToWorker, FrameBuffer};

use crate::link::{broken, leave};

/// Most descriptors that come with an order.
const MOST_DESCRIPTORS: usize = 5;

/// Exit code of a fork that did not become a worker; nobody asks for it.
const ABANDONED: i32 = 1;

/// See the module documentation.
pub(crate) struct Template {
    /// Nothing; it keeps the number of a worker's data link.
    data: OwnedFd,
    control: OwnedFd,
    /// The host's pid.
    host: i32,
    python: Py<PyModule>,
}

/// What came with an order.
struct Order {
    birth: OwnedFd,
    data: OwnedFd,
    control: OwnedFd,
    /// Standard output and standard error, if they are not the template's own.
    output: Option<(OwnedFd, OwnedFd)>,
}

impl Order {
    fn new(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        let (birth, data, control) = (descriptors.next()?, descriptors.next()?, descriptors.next()?);
        let output = match (descriptors.next(), descriptors.next()) {
            (None, _) => None,
            (Some(stdout), Some(stderr)) => Some((stdout, stderr)),
            (Some(_), None) => return None,
        };
        Some(Order { birth, data, control, output })
    }
}

/// Which of the processes goes on here.
enum Side {
    Template,
    Worker,
}

impl Template {
    /// # Errors
    /// When Python does.
    pub(crate) fn new(py: Python<'_>, data: OwnedFd, control: OwnedFd, host: i32) -> PyResult<Self> {
        let python = PyModule::from_code(
            py,
            c_str!(include_str!("../python/template.py")),
            c"serpentry/template.py",
            c"serpentry_template",
        )?;
        Ok(Template { data, control, host, python: python.unbind() })
    }

    /// Get ready to be forked.
    ///
    /// # Errors
    /// When Python does.
    pub(crate) fn settle(&self, py: Python<'_>, asgi: bool, event_loop: &str) -> PyResult<()> {
        self.python.bind(py).call_method1("settle", (asgi, event_loop)).map(drop)
    }

    /// Say that the application is imported, and fork on order until the host closes the control link. Returns in each
    /// fork, with the worker's links at their usual numbers.
    ///
    /// # Errors
    /// When a signal handler of the application raises.
    pub(crate) fn fork_on_demand(self, py: Python<'_>) -> PyResult<(OwnedFd, OwnedFd)> {
        crate::link::tell(self.control.as_fd(), &ControlFromWorker::Ready);
        let mut frames = FrameBuffer::default();
        loop {
            let order = self.next_order(py, &mut frames)?;
            // An application's stream may do anything, but no order fails for it.
            let _ = self.python.bind(py).call_method0("flush");
            match self.fork(&order) {
                Ok(Side::Template) => {}
                Ok(Side::Worker) => return self.become_worker(order),
                Err(error) => {
                    let mut text = vec![wire::NOT_BORN];
                    text.extend_from_slice(format!("cannot fork a worker: {error}").as_bytes());
                    // The host may have given up; then it has said so itself.
                    let _ = send(&order.birth, &text, SendFlags::NOSIGNAL);
                }
            }
        }
    }

    /// Sleep until an order comes.
    fn next_order(&self, py: Python<'_>, frames: &mut FrameBuffer) -> PyResult<Order> {
        let mut descriptors = Vec::new();
        loop {
            match frames.next_frame().and_then(|frame| frame.map(ControlToWorker::decode).transpose()) {
                Ok(None) => {}
                Ok(Some(ControlToWorker::Fork { descriptors: count }))
                    if descriptors.len() == usize::from(count) =>
                {
                    return Order::new(descriptors)
                        .ok_or_else(|| PyRuntimeError::new_err("an order to fork lacks descriptors"));
                }
                Ok(Some(ControlToWorker::Finish)) => leave(0),
                Ok(Some(other)) => broken(&format!("not an order for a template: {other:?}")),
                Err(error) => broken(&format!("malformed frame on the control link: {error}")),
            }
            match py.detach(|| receive(&self.control, frames, &mut descriptors)) {
                // Nothing of ours is left to do, and what the application registered for the end belongs to the workers.
                Ok(0) | Err(Errno::CONNRESET) => leave(0),
                Ok(_) => {}
                Err(Errno::INTR) => py.check_signals()?,
                Err(error) => broken(&format!("cannot read the control link: {error}")),
            }
        }
    }

    /// Fork twice. The caller is attached to Python and holds none of our locks.
    fn fork(&self, order: &Order) -> rustix::io::Result<Side> {
        let (adopted, adoption) = pipe_with(PipeFlags::CLOEXEC)?;
        #[expect(unsafe_code, reason = "there is no safe interface to fork")]
        // SAFETY: the caller is attached to Python, as PyOS_BeforeFork wants; it takes the locks that must be consistent,
        // and exactly one of its counterparts is called in each process that goes on. This is the C library's own fork, so
        // its locks and those of libraries (`pthread_atfork`) are in order on both sides. The middle process calls nothing
        // but `fork` and `_exit`; the worker makes system calls only until PyOS_AfterFork_Child has run. Threads that the
        // application may have started do not exist in the forks, which is what `settle` warns of.
        unsafe {
            pyo3::ffi::PyOS_BeforeFork();
            match libc::fork() {
                0 => match libc::fork() {
                    0 => {
                        drop(adoption);
                        self.be_born(order, &adopted);
                        pyo3::ffi::PyOS_AfterFork_Child();
                        Ok(Side::Worker)
                    }
                    -1 => libc::_exit(last_error().raw_os_error()),
                    _ => libc::_exit(0),
                },
                -1 => {
                    let error = last_error();
                    pyo3::ffi::PyOS_AfterFork_Parent();
                    Err(error)
                }
                middle => {
                    let outcome = wait_for(middle);
                    // Now the worker has its parent and may go on; or it goes away, if the middle process has failed.
                    drop(adoption);
                    pyo3::ffi::PyOS_AfterFork_Parent();
                    outcome.map(|()| Side::Template)
                }
            }
        }
    }

    /// In the fork, before any code of Python: become the host's child for life and death.
    fn be_born(&self, order: &Order, adopted: &OwnedFd) {
        // Ends when the template closes the pipe, or dies; then the next lines find out.
        while rustix::io::read(adopted, &mut [0]) == Err(Errno::INTR) {}
        let tied = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
        // If the host is gone, or did not adopt us, nobody would ever end this process.
        let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
        if !tied || parent != Some(self.host) || setsid().is_err() {
            leave(ABANDONED);
        }
        if let Some((stdout, stderr)) = &order.output
            && (rustix::stdio::dup2_stdout(stdout).is_err() || rustix::stdio::dup2_stderr(stderr).is_err())
        {
            leave(ABANDONED);
        }
        if send(&order.birth, &[wire::BORN], SendFlags::NOSIGNAL).is_err() {
            leave(ABANDONED);
        }
    }

    /// Put the links where a worker has them. The template's own were closed there by boot.py's hook, as in any process
    /// that the application forks.
    fn become_worker(self, order: Order) -> PyResult<(OwnedFd, OwnedFd)> {
        let Template { mut data, mut control, .. } = self;
        for (link, place) in [(order.data, &mut data), (order.control, &mut control)] {
            rustix::io::dup3(link, place, rustix::io::DupFlags::CLOEXEC)
                .map_err(|error| PyOSError::new_err(format!("cannot take over a link: {error}")))?;
        }
        Ok((data, control))
    }
}

/// Read once, descriptors included.
fn receive(
    control: &OwnedFd,
    frames: &mut FrameBuffer,
    descriptors: &mut Vec<OwnedFd>,
) -> rustix::io::Result<usize> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [std::io::IoSliceMut::new(frames.space())];
    let count = recvmsg(control, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
    frames.filled(count);
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(count)
}

/// Wait until the middle process has ended, and with it its parenthood.
fn wait_for(middle: libc::pid_t) -> rustix::io::Result<()> {
    let ended = loop {
        match waitpid(Pid::from_raw(middle), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            other => break other,
        }
    };
    match ended {
        Ok(Some((_, status))) => match status.exit_status() {
            Some(0) => Ok(()),
            Some(error) => Err(Errno::from_raw_os_error(error)),
            None => Err(Errno::CANCELED),
        },
        // An application that ignores SIGCHLD has its children reaped by the kernel: it is gone all the same, and whether
        // there is a worker the host learns from that.
        Ok(None) | Err(_) => Ok(()),
    }
}

fn last_error() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
