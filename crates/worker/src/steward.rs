//! The thread that listens to the control link and never runs the application.
//!
//! It flushes answers that wait for company, gives back requests that have not started, starts interrupts and
//! passes on the order to finish, all while Python may be busy or stuck in a C extension. It never attaches
//! to the interpreter; an interrupt has to, so each runs on a thread of its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use wire::{ControlFromWorker, ControlToWorker, FrameBuffer, FromWorker};

use crate::inbox::{Inbox, Received};
use crate::link::{Link, broken, leave};
use crate::observer::{Observer, Pulse};

/// Stops one running request; see [`crate::interrupt`].
pub(crate) trait Interrupt: Send + Sync {
    /// Report the stack of request `id` and stop it, if it is still running. May block.
    fn interrupt(&self, id: u64);
}

/// The steward's view of the worker.
pub(crate) struct Steward {
    pub(crate) link: &'static Link,
    /// Set once the application is loaded; nothing can be interrupted before.
    pub(crate) interrupts: std::sync::OnceLock<Arc<dyn Interrupt>>,
    /// Of the event loop, if there is one.
    pub(crate) pulse: std::sync::OnceLock<&'static Pulse>,
    /// Looks at the application when it is told to.
    observer: Arc<Observer>,
}

impl Steward {
    /// Serve the control link for the life of the process. `terminate` becomes readable when SIGTERM arrives.
    pub(crate) fn run(&self, terminate: &OwnedFd) -> ! {
        let mut frames = FrameBuffer::default();
        loop {
            let (control, signal) = self.wait(terminate);
            if signal {
                let _ = rustix::io::read(terminate, &mut [0; 8]);
                self.finish();
            }
            if !control {
                continue;
            }
            match recv(self.link.control(), frames.space(), RecvFlags::DONTWAIT) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => self.closed(),
                Ok((count, _)) => frames.filled(count),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => broken(&format!("cannot read the control link: {error}")),
            }
            self.obey(&mut frames);
        }
    }

    fn wait(&self, terminate: &OwnedFd) -> (bool, bool) {
        let control = self.link.control();
        let mut fds = [PollFd::new(&control, PollFlags::IN), PollFd::new(terminate, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => (!fds[0].revents().is_empty(), !fds[1].revents().is_empty()),
            Err(Errno::INTR) => (false, false),
            Err(error) => broken(&format!("cannot wait for the control link: {error}")),
        }
    }

    fn obey(&self, frames: &mut FrameBuffer) {
        loop {
            let order = match frames.next_frame() {
                Ok(None) => return,
                Ok(Some(frame)) => ControlToWorker::decode(frame),
                Err(error) => Err(error),
            };
            match order {
                Ok(ControlToWorker::Nudge { reclaim }) => self.nudge(reclaim),
                Ok(ControlToWorker::Interrupt { id }) => self.interrupt(id),
                Ok(ControlToWorker::Finish) => self.finish(),
                Ok(ControlToWorker::Look { id, what }) => self.observer.look(self.link, id, what),
                Ok(ControlToWorker::Fork { .. }) => broken("an order to fork, which is for a template"),
                Err(error) => broken(&format!("malformed frame on the control link: {error}")),
            }
        }
    }

    fn nudge(&self, reclaim: bool) {
        if let Some(pulse) = self.pulse.get() {
            // The router sees a request that does not start.
            pulse.wake();
        }
        self.flush();
        if !reclaim {
            return;
        }
        let ids = self.with_everything_received(Inbox::reclaim);
        self.link.tell(&ControlFromWorker::Reclaimed(ids));
    }

    /// Read what is in the data link, so that nothing is half way, and then look at the inbox.
    fn with_everything_received<T>(&self, look: impl FnOnce(&mut Inbox) -> T) -> T {
        let mut inbox = self.link.inbox();
        let mut any = false;
        while matches!(self.link.receive(&mut inbox), Received::Frames { .. }) {
            any = true;
        }
        let result = look(&mut inbox);
        if any {
            // Who sleeps on the socket would not see what was read on its behalf.
            self.link.wake_up();
        }
        result
    }

    fn flush(&self) {
        if !self.link.flush(false) {
            // The socket is full. Whoever waits for it to drain must not be this thread.
            self.link.wake_up();
        }
    }

    fn interrupt(&self, id: u64) {
        let queued = self.with_everything_received(|inbox| inbox.drop_queued(id));
        if queued {
            self.link.post(&FromWorker::Failed {
                id,
                reason: "deadline passed before it started",
                done: true,
            });
            self.flush();
            return;
        }
        let Some(interrupts) = self.interrupts.get().cloned() else {
            return;
        };
        let spawned =
            std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || interrupts.interrupt(id));
        if let Err(error) = spawned {
            crate::log::line(&format!("cannot start a thread to interrupt request {id}: {error}"));
        }
    }

    fn finish(&self) {
        self.link.inbox().finishing = true;
        self.link.wake_all();
    }

    /// The router closed the control link: it is gone, or it has told us to finish and wants nothing else.
    fn closed(&self) {
        if !self.link.inbox().finishing {
            leave(1);
        }
        loop {
            std::thread::park();
        }
    }
}

/// Start the steward on its own thread.
///
/// # Errors
/// When the kernel has no thread or descriptor left.
pub(crate) fn start(link: &'static Link, observer: &Arc<Observer>) -> std::io::Result<Arc<Steward>> {
    let steward = Arc::new(Steward {
        link,
        interrupts: Default::default(),
        pulse: Default::default(),
        observer: Arc::clone(observer),
    });
    let terminate = crate::signals::terminate_fd()?;
    let shared = Arc::clone(&steward);
    std::thread::Builder::new().name("steward".to_owned()).spawn(move || shared.run(&terminate))?;
    Ok(steward)
}
