//! What the host wants of this worker: JSON from the environment, read with Python's own parser.

use pyo3::prelude::*;

/// Settings of one worker; the names are those of the JSON object.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Config {
    /// `module`, `module:attribute` or `module:factory()`.
    pub(crate) app: String,
    pub(crate) factory: bool,
    /// "auto", "wsgi" or "asgi".
    pub(crate) interface: String,
    /// "auto", "sync", "threads" or "async".
    pub(crate) concurrency: String,
    pub(crate) threads: u32,
    /// "auto", "on" or "off".
    pub(crate) lifespan: String,
    /// "auto", "asyncio" or "uvloop".
    #[pyo3(item("loop"))]
    pub(crate) event_loop: String,
    /// Requests at a time in an async worker.
    pub(crate) async_slots: u32,
    /// Present in a template process, which forks workers instead of being one: the pid of the host.
    #[pyo3(default)]
    pub(crate) template_of: Option<i32>,
}

impl Config {
    /// # Errors
    /// When the JSON is malformed or a setting is missing.
    pub(crate) fn parse(py: Python<'_>, json: &str) -> PyResult<Self> {
        py.import("json")?.call_method1("loads", (json,))?.extract()
    }
}
