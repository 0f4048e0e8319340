//! The one thread of the observer that attaches to the interpreter, so that the others never wait for its lock.
//!
//! Whoever asks waits as long as it likes: native code may keep the lock for seconds, and then the answer comes when it has
//! let go.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::pulse::Pulse;
use crate::gate;

/// Questions that wait. The observer asks one at a time.
const QUEUE: usize = 4;

/// Who waited so long for the lock describes what it finds, whether or not it was the same before: nothing has run since.
const LONG_WAIT: Duration = Duration::from_millis(30);

/// Where a thread was. All of it is the application's text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) place: String,
    pub(crate) call: String,
    pub(crate) inner: String,
    pub(crate) stack: String,
}

/// What was found when the lock was there.
#[derive(Debug)]
pub(super) enum Sight {
    /// The loop has gone on, or it is in another step than when it was looked at before.
    Moved,
    /// It is in the same step.
    Same(Found),
}

enum Job {
    Blocked { thread: u64, beats: u64, asked: Instant, reply: SyncSender<Sight> },
    Place { thread: u64, reply: SyncSender<Option<Found>> },
    Forget,
}

/// See the module documentation.
pub(super) struct Looker {
    jobs: SyncSender<Job>,
}

impl Looker {
    /// # Errors
    /// When the kernel has no thread left.
    pub(super) fn start(python: Py<PyModule>, pulse: &'static Pulse) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        std::thread::Builder::new().name("looker".to_owned()).spawn(move || work(&queue, &python, pulse))?;
        Ok(Looker { jobs })
    }

    /// Ask where the loop's thread is, if it has not gone on since `beats`. `None`: it has too much to do.
    pub(super) fn look(&self, thread: u64, beats: u64) -> Option<Receiver<Sight>> {
        let (reply, answer) = sync_channel(1);
        let job = Job::Blocked { thread, beats, asked: Instant::now(), reply };
        self.jobs.try_send(job).is_ok().then_some(answer)
    }

    /// Ask where a thread is, whatever it does. `None`: it has too much to do.
    pub(super) fn place(&self, thread: u64) -> Option<Receiver<Option<Found>>> {
        let (reply, answer) = sync_channel(1);
        self.jobs.try_send(Job::Place { thread, reply }).is_ok().then_some(answer)
    }

    /// Keep no frame of the application any longer than needed.
    pub(super) fn forget(&self) {
        // If there is no room, the next look does it.
        let _ = self.jobs.try_send(Job::Forget);
    }
}

fn work(queue: &Receiver<Job>, python: &Py<PyModule>, pulse: &Pulse) {
    while let Ok(job) = queue.recv() {
        let attached = gate::attach(|py| {
            let python = python.bind(py);
            match job {
                Job::Place { thread, reply } => {
                    let found = python.call_method1("place_of_thread", (thread,));
                    let found = found.and_then(|found| found.extract::<Quadruple>());
                    let _ = reply.send(found.ok().map(Found::from));
                }
                Job::Forget => drop(python.call_method0("forget")),
                Job::Blocked { thread, beats, asked, reply } => {
                    let moved = || pulse.now().count != beats;
                    let sight = look(python, thread, asked.elapsed() >= LONG_WAIT, moved);
                    // Whoever asked may have given up.
                    let _ = reply.send(sight.ok().flatten().map_or(Sight::Moved, Sight::Same));
                }
            }
        });
        if attached.is_none() {
            return;
        }
    }
}

fn look(
    python: &Bound<'_, PyModule>,
    thread: u64,
    anyway: bool,
    moved: impl FnOnce() -> bool,
) -> PyResult<Option<Found>> {
    let spots = python.call_method1("blocked", (thread, anyway))?;
    // Then it belongs to another step. From here on the loop may run: where it was is known.
    if spots.is_none() || moved() {
        return Ok(None);
    }
    let found: Quadruple = python.call_method1("described", (spots,))?.extract()?;
    Ok(Some(found.into()))
}

pub(super) type Quadruple = (String, String, String, String);

impl From<Quadruple> for Found {
    fn from((place, call, inner, stack): Quadruple) -> Self {
        Found { place, call, inner, stack }
    }
}
