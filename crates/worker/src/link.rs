//! The two sockets to the router, and waiting for them.
//!
//! One [`Link`] lives as long as the process. Threads that wait for a request, a body piece or credit share
//! one socket: one of them, the leader, sleeps in `poll`; the others sleep on a condition variable and are
//! woken by whoever reads. Reading itself never blocks and happens under the inbox lock, so the steward can
//! read at any time and knows that nothing is half way between the socket and the queue.
//!
//! A broken link ends the process at once: without a router there is nobody to serve, and it will start
//! another worker. No lock of this module is held while Python code runs, nor while a thread waits for the
//! interpreter lock.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use wire::{ControlFromWorker, FromWorker};

use crate::inbox::{Inbox, Received};
use crate::outbox::{Outbox, Place};

/// What a waiting thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitFor {
    Request,
    Mail,
}

/// A signal arrived during a wait: let Python's handlers run and wait again.
#[derive(Debug)]
pub(crate) struct Interrupted;

#[derive(Debug, Default)]
struct Sending {
    bytes: Vec<u8>,
    sent: usize,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Link {
    data: OwnedFd,
    control: OwnedFd,
    wake: OwnedFd,
    inbox: Mutex<Inbox>,
    requests: Condvar,
    mail: Condvar,
    outbox: Mutex<Outbox>,
    sending: Mutex<Sending>,
    control_writer: Mutex<()>,
}

/// Say why the link cannot be used any more and end the process without any clean-up that could hang.
pub(crate) fn broken(why: &str) -> ! {
    crate::log::line(why);
    leave(1)
}

/// End the process at once.
pub(crate) fn leave(code: i32) -> ! {
    #[expect(unsafe_code, reason = "a clean exit may hang in the application")]
    // SAFETY: _exit has no preconditions and does not return.
    unsafe {
        libc::_exit(code)
    }
}

/// Lock, whether or not a thread panicked while it held the lock: every critical section of the worker leaves valid data.
///
/// Most of them are waited for with the interpreter lock held. So none may run code of the application or give that lock away:
/// no calls into Python, no making of objects that the collector keeps account of (`bytes` and `str` are none), no dropping of
/// objects that the application may have given a finalizer.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// The two sockets to the router.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub(crate) fn open(data: OwnedFd, control: OwnedFd) -> rustix::io::Result<Self> {
        Ok(Link {
            data,
            control,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            inbox: Mutex::default(),
            requests: Condvar::new(),
            mail: Condvar::new(),
            outbox: Mutex::default(),
            sending: Mutex::default(),
            control_writer: Mutex::new(()),
        })
    }

    pub(crate) fn data(&self) -> BorrowedFd<'_> {
        self.data.as_fd()
    }

    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Readable when [`Link::wake_up`] was called.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Make a waiting leader or event loop look at the inbox again.
    pub(crate) fn wake_up(&self) {
        // The counter can only be full if the waiter has not looked for 2^64 calls.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Undo [`Link::wake_up`].
    pub(crate) fn clear_wake(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        lock(&self.inbox)
    }

    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        lock(&self.outbox)
    }

    /// Append one frame to the outbox.
    pub(crate) fn post(&self, message: &FromWorker<'_>) -> Place {
        self.outbox().push(|out| message.encode(out))
    }

    /// Read the socket without blocking and wake those who may be waiting for what came. Whoever calls it
    /// while another thread or an event loop sleeps on the socket must [`Link::wake_up`] that, which cannot
    /// know that it was emptied.
    pub(crate) fn receive(&self, inbox: &mut Inbox) -> Received {
        let received = inbox.receive(self.data());
        match received {
            Received::Frames { requests, mail } => {
                for _ in 0..requests.min(inbox.idle) {
                    self.requests.notify_one();
                }
                if mail && inbox.expecting > 0 {
                    self.mail.notify_all();
                }
            }
            // After the order to finish nothing more is expected, and the supervisor owns the deadline.
            Received::Closed if inbox.finishing && inbox.mail.is_empty() => {}
            Received::Closed => leave(1),
            Received::Nothing => {}
        }
        received
    }

    /// Wake every waiting thread, because the inbox changed otherwise than by reading.
    pub(crate) fn wake_all(&self) {
        self.requests.notify_all();
        self.mail.notify_all();
        self.wake_up();
    }

    /// Block until `take` finds what it looks for in the inbox. Call it detached from Python.
    pub(crate) fn wait<T>(
        &self,
        what: WaitFor,
        mut take: impl FnMut(&mut Inbox) -> Option<T>,
    ) -> Result<T, Interrupted> {
        let mut inbox = self.inbox();
        loop {
            if let Some(found) = take(&mut inbox) {
                self.pass_leadership(&inbox);
                return Ok(found);
            }
            if inbox.leader {
                inbox = self.follow(what, inbox);
                continue;
            }
            if matches!(self.receive(&mut inbox), Received::Frames { .. }) {
                continue;
            }
            inbox.leader = true;
            drop(inbox);
            let polled = self.poll_readable();
            inbox = self.inbox();
            inbox.leader = false;
            if polled.is_err() {
                self.pass_leadership(&inbox);
                return Err(Interrupted);
            }
        }
    }

    fn follow<'a>(&'a self, what: WaitFor, mut inbox: MutexGuard<'a, Inbox>) -> MutexGuard<'a, Inbox> {
        let condition = match what {
            WaitFor::Request => &self.requests,
            WaitFor::Mail => &self.mail,
        };
        *inbox.waiting(what) += 1;
        inbox = condition.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        *inbox.waiting(what) -= 1;
        inbox
    }

    /// A thread stops waiting: if nobody watches the socket, one of those who still wait must.
    fn pass_leadership(&self, inbox: &Inbox) {
        // A notification that nobody waits for is still a system call.
        if !inbox.leader {
            if inbox.idle > 0 {
                self.requests.notify_one();
            } else if inbox.expecting > 0 {
                self.mail.notify_one();
            }
        }
    }

    fn poll_readable(&self) -> Result<(), Interrupted> {
        let mut fds = [PollFd::new(&self.data, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) if !fds[1].revents().is_empty() => {
                self.clear_wake();
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(Errno::INTR) => Err(Interrupted),
            Err(error) => broken(&format!("cannot wait for the data link: {error}")),
        }
    }

    /// Write everything in the outbox. With `wait`, block until it is written (call it detached from Python);
    /// without, `false` means that the socket is full and the rest must be flushed when it is writable.
    pub(crate) fn flush(&self, wait: bool) -> bool {
        const KEEP: usize = 1024 * 1024;
        let mut sending = lock(&self.sending);
        loop {
            if sending.sent == sending.bytes.len() {
                sending.sent = 0;
                sending.bytes.clear();
                sending.bytes.shrink_to(KEEP);
                let mut outbox = self.outbox();
                if outbox.is_empty() {
                    return true;
                }
                outbox.take(&mut sending.bytes);
            }
            match send(&self.data, &sending.bytes[sending.sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
            {
                Ok(count) => sending.sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if wait => {
                    // An interrupted poll only makes the loop try again.
                    let _ = poll(&mut [PollFd::new(&self.data, PollFlags::OUT)], None);
                }
                Err(Errno::AGAIN) => return false,
                Err(Errno::PIPE | Errno::CONNRESET) => leave(1),
                Err(error) => broken(&format!("cannot write the data link: {error}")),
            }
        }
    }

    /// Send one message on the control link, blocking.
    pub(crate) fn tell(&self, message: &ControlFromWorker<'_>) {
        let _writer = lock(&self.control_writer);
        tell(self.control(), message);
    }
}

/// Send one message on a control link, blocking. Two threads must not do it at the same time.
pub(crate) fn tell(control: BorrowedFd<'_>, message: &ControlFromWorker<'_>) {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        match send(control, rest, SendFlags::NOSIGNAL) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => leave(1),
            Err(error) => broken(&format!("cannot write the control link: {error}")),
        }
    }
}
