//! The Python side of Serpentry: a CPython extension that runs one WSGI or ASGI application for the router.
//!
//! `boot.py` loads this module into the application's own interpreter and calls [`serpentry_worker::main`].
//! The worker imports the application, says hello, and runs requests that arrive as frames (crate `wire`) on
//! an inherited socket. It parses no HTTP, accepts no connections, has no async runtime of its own and never
//! looks at the clock to decide anything about a request: all of that is the router's.

mod answer;
mod asgi;
mod boot;
mod config;
mod failure;
mod gate;
mod head;
mod inbox;
mod interrupt;
mod link;
mod log;
mod measure;
mod observer;
mod outbox;
mod signals;
mod steward;
mod strings;
mod template;
mod wsgi;

/// The extension module.
#[pyo3::pymodule]
mod serpentry_worker {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::asgi::ClientDisconnected;
    #[pymodule_export]
    use crate::interrupt::RequestTimeout;

    /// Run the worker with these settings (JSON) and links to the router; returns the exit code.
    #[pyfunction]
    fn main(py: Python<'_>, settings: &str, data: i32, control: i32) -> PyResult<i32> {
        crate::boot::run(py, settings, data, control)
    }
}
