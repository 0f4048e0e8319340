//! Stopping one request on a thread that runs WSGI, without ever hitting the next one.
//!
//! Python can raise an exception in another thread, but only "soon". A [`Runner`] records which request its
//! thread runs; raising and ending take the same lock while attached to the interpreter, so an exception is
//! only ever set while that very request runs, and one that was set too late to be raised is withdrawn when
//! the request ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use wire::ControlFromWorker;

use crate::gate;
use crate::link::{Link, lock};
use crate::steward::Interrupt;

pyo3::create_exception!(
    serpentry_worker,
    RequestTimeout,
    PyBaseException,
    "Raised in the application's code when the deadline of its request has passed."
);

#[derive(Debug, Default)]
struct Current {
    /// The request that runs, if one does.
    id: Option<u64>,
    /// The exception was set for it.
    interrupted: bool,
}

/// One serving thread.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    /// Python's identifier of the thread.
    thread: AtomicU64,
    current: Mutex<Current>,
}

impl Runner {
    /// This runner is the calling thread.
    pub(crate) fn attach_here(&self) {
        self.thread.store(this_thread(), Ordering::Relaxed);
    }

    /// Request `id` runs from now on. Call it while the request is being taken from the queue, under that
    /// lock.
    pub(crate) fn begin(&self, id: u64) {
        *lock(&self.current) = Current { id: Some(id), interrupted: false };
    }

    /// The request has ended; says whether it was interrupted. Call it attached to Python.
    pub(crate) fn end(&self) -> bool {
        let mut current = lock(&self.current);
        current.id = None;
        if current.interrupted {
            set_exception(self.thread.load(Ordering::Relaxed), None);
        }
        current.interrupted
    }

    fn runs(&self, id: u64) -> bool {
        lock(&self.current).id == Some(id)
    }
}

/// Python's identifier of the calling thread.
pub(crate) fn this_thread() -> u64 {
    #[expect(unsafe_code, reason = "not wrapped by pyo3")]
    // SAFETY: the function has no preconditions.
    unsafe {
        pyo3::ffi::PyThread_get_thread_ident()
    }
}

/// Make `thread` raise `class` at its next bytecode, or withdraw what it would raise. The caller is attached.
pub(crate) fn set_exception(thread: u64, class: Option<&Bound<'_, PyAny>>) {
    let class = class.map_or(std::ptr::null_mut(), Bound::as_ptr);
    #[expect(unsafe_code, reason = "not wrapped by pyo3")]
    // SAFETY: the caller is attached to the interpreter (both callers hold a Python token or run in a Python
    // method), and `class` is null or an exception class that is alive for the call; CPython takes its own
    // reference.
    unsafe {
        pyo3::ffi::PyThreadState_SetAsyncExc(thread as std::ffi::c_long, class);
    }
}

/// Interrupts requests on the threads of a WSGI worker.
pub(crate) struct ThreadInterrupt {
    pub(crate) link: &'static Link,
    pub(crate) runners: Arc<[Runner]>,
    /// `stack_of_thread` of the support module.
    pub(crate) stack_of_thread: Py<PyAny>,
}

impl Interrupt for ThreadInterrupt {
    fn interrupt(&self, id: u64) {
        let Some(runner) = self.runners.iter().find(|runner| runner.runs(id)) else {
            return;
        };
        let stopped = gate::attach(|py| {
            let class = py.get_type::<RequestTimeout>();
            let thread = runner.thread.load(Ordering::Relaxed);
            let stack =
                self.stack_of_thread.bind(py).call1((thread,)).and_then(|stack| stack.extract::<String>());
            // Formatting a stack runs Python code, so the request may have ended meanwhile.
            let mut current = lock(&runner.current);
            if current.id != Some(id) {
                return None;
            }
            current.interrupted = true;
            set_exception(thread, Some(class.as_any()));
            Some(stack.unwrap_or_else(|error| format!("the stack cannot be read: {error}")))
        });
        let Some(Some(text)) = stopped else { return };
        self.link.tell(&ControlFromWorker::Stack { id, text: &text });
        // A thread that waits for its client inside our own code runs no bytecode: end its wait.
        if let Some(mailbox) = self.link.inbox().mail.get_mut(&id) {
            mailbox.interrupted = true;
        }
        self.link.wake_all();
    }
}
