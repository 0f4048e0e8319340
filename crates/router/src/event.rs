//! What the router is told, and what it tells, in the supervisor's terms.

use std::os::unix::net::UnixStream;

use wire::Interface;

/// A worker, numbered by the supervisor and never reused.
pub type Worker = u64;

/// Orders to the router.
#[derive(Debug)]
pub enum Command {
    /// A worker was spawned: these are the router's ends of its links. After `quota` requests (if any) it is reported
    /// with [`Event::QuotaReached`].
    Attach { worker: Worker, data: UnixStream, control: UnixStream, quota: Option<u64> },
    /// Give requests to this worker.
    Admit { worker: Worker },
    /// No more requests; when it holds none, tell it to finish.
    Drain { worker: Worker },
    /// It is gone or about to be: close its links; what it held is run elsewhere or answered.
    Detach { worker: Worker },
    /// Accept no more connections, close idle ones, finish the rest.
    Stop,
    /// Reopen the access log (it was rotated).
    ReopenLog,
}

/// News from the router.
#[derive(Debug)]
pub enum Event {
    /// The application is imported.
    Hello { worker: Worker, interface: Interface, slots: u32, runtime: String },
    /// It may be given requests.
    Ready { worker: Worker },
    /// The application did not start; `message` is one line with a hint, `traceback` may be empty.
    BootFailed { worker: Worker, message: String, traceback: String },
    /// Its data link ended. Of the requests it held, so many were put back into the queue and so many answered 502.
    Closed { worker: Worker, replayed: usize, failed: usize },
    /// It broke the protocol, and its links are closed.
    Misbehaved { worker: Worker, reason: String },
    /// It has been given as many requests as its quota says. It still serves.
    QuotaReached { worker: Worker },
    /// A request outlived its deadline, was interrupted, and did not stop. The worker is given nothing more.
    Hung { worker: Worker },
    /// It holds no request any more and has been told to finish.
    Drained { worker: Worker },
    /// Something the operator should read; the application's mistake rather than ours.
    Notice { text: String },
    /// After [`Command::Stop`]: every connection is closed.
    Idle,
}
