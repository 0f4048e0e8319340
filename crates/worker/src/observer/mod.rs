//! What a thread inside of the worker sees of the others: an event loop that does not go on, and where it is.
//!
//! It runs beside the application and costs nothing worth measuring while nothing is wrong: it looks at a counter, and asks
//! the kernel or the interpreter only when it suspects something. It decides nothing: it tells the router, which tells the
//! host. All texts are the application's, and cut here.
//!
//! `pulse.rs` the loop's heartbeat; `event_loop.rs` who looks at it; `looker.rs` who asks the interpreter; `native.rs` what the
//! kernel says of a thread; `serving.rs` the threads that run requests, `threads.rs` who looks at those of WSGI; `durable.rs` how
//! long they wait for the disk; `look.rs` what an operator asks for; python/observer.py frames.

mod durable;
mod event_loop;
mod look;
mod looker;
mod native;
mod pulse;
pub(crate) mod serving;
mod threads;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use pyo3::ffi::c_str;
use pyo3::prelude::*;

use self::event_loop::LoopWatch;
use self::looker::Looker;
use self::threads::ThreadsWatch;
use crate::link::Link;

pub(crate) use self::pulse::Pulse;

/// Most bytes of a place or a name, and of a stack, that are told.
const LINE: usize = 512;
const BLOCK: usize = 16 * 1024;

/// The observer of one worker.
pub(crate) struct Observer {
    python: Py<PyModule>,
    /// Memory is being traced.
    tracing: AtomicBool,
}

impl Observer {
    /// To be made before the application is imported, which may replace what is needed.
    ///
    /// # Errors
    /// When Python does.
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let python = PyModule::from_code(
            py,
            c_str!(include_str!("../../python/observer.py")),
            c"serpentry/observer.py",
            c"serpentry_observer",
        )?;
        durable::replace(py, &python)?;
        Ok(Observer { python: python.unbind(), tracing: AtomicBool::new(false) })
    }

    /// Watch the event loop that the calling thread is about to run.
    ///
    /// # Errors
    /// When the kernel has no thread left.
    pub(crate) fn watch_loop(
        &self,
        py: Python<'_>,
        link: &'static Link,
        pulse: &'static Pulse,
    ) -> std::io::Result<()> {
        let watch = LoopWatch {
            link,
            pulse,
            mark: serving::enter(true),
            looker: self.looker(py, pulse)?,
            episodes: 0,
            told: (Instant::now(), 0),
        };
        std::thread::Builder::new().name("observer".to_owned()).spawn(move || watch.run())?;
        Ok(())
    }

    /// Watch the threads that [`serving::enter`].
    ///
    /// # Errors
    /// When the kernel has no thread left.
    pub(crate) fn watch_threads(
        &self,
        py: Python<'_>,
        link: &'static Link,
        pulse: &'static Pulse,
    ) -> std::io::Result<()> {
        let watch = ThreadsWatch { link, pulse, looker: self.looker(py, pulse)? };
        std::thread::Builder::new().name("observer".to_owned()).spawn(move || watch.run())?;
        Ok(())
    }

    fn looker(&self, py: Python<'_>, pulse: &'static Pulse) -> std::io::Result<Looker> {
        Looker::start(self.python.clone_ref(py), pulse)
    }
}

/// The beginning of a text.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
