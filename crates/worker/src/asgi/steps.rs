//! The coroutine that a request's task runs: it calls the application and resumes what that returned, step by step.
//!
//! It is what ties a task to its exchange: each step is measured, and however the application ends, the exchange learns of it
//! exactly once. Values, exceptions and `close` go through. What it does not see: tasks that the application starts for a
//! request, and threads that it sends work to.
//!
//! It is no Python coroutine because that costs: one object and its methods instead of a second coroutine with its frame
//! around every request. Whoever looks at the task sees the application's coroutine all the same: every attribute that is not
//! ours is that one's (`cr_frame`, `cr_await`, `cr_running`; asyncio and anyio read them).

use std::sync::OnceLock;
use std::time::Instant;

use pyo3::exceptions::{PyAttributeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::exchange::Exchange;
use crate::failure::Failure;
use crate::measure;

/// See the module documentation.
#[pyclass(frozen, module = "serpentry_worker")]
pub(crate) struct Steps {
    exchange: Py<Exchange>,
    scope: Py<PyDict>,
    /// What the application returned when it was called, which is in the first step: a coroutine.
    application: OnceLock<Py<PyAny>>,
}

impl Steps {
    pub(crate) fn new(exchange: Py<Exchange>, scope: Py<PyDict>) -> Self {
        Steps { exchange, scope, application: OnceLock::new() }
    }

    /// The application's coroutine; in the first step the application is called for it.
    fn application<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        if let Some(coroutine) = self.application.get() {
            return Ok(coroutine.bind(py));
        }
        let exchange = self.exchange.bind(py);
        let shared = exchange.get().shared;
        let receive = exchange.getattr(intern!(py, "receive"))?;
        let send = exchange.getattr(intern!(py, "send"))?;
        let mut called = shared.app.bind(py).call1((&self.scope, receive, send))?;
        if !called.get_type().is(shared.coroutine_type.bind(py)) {
            called = shared.await_it.bind(py).call1((called,))?;
        }
        Ok(self.application.get_or_init(|| called.unbind()).bind(py))
    }

    /// Measure one step, and conclude the exchange if it was the last.
    fn step(&self, py: Python<'_>, call: impl FnOnce() -> PyResult<Option<Py<PyAny>>>) -> Option<Py<PyAny>> {
        let exchange = self.exchange.get();
        // The first step may be a part of the start, which is measured as a whole.
        let result = if measure::runs(exchange.id()) {
            call()
        } else {
            measure::begin(exchange.id(), Some(Instant::now()));
            let result = call();
            let step = measure::end_step();
            exchange.state().answer.add_step(step);
            result
        };
        match result {
            Ok(Some(suspended)) => return Some(suspended),
            Ok(None) => exchange.conclude(py, None),
            Err(error) => exchange.conclude(py, Some(Failure::Raised(error))),
        }
        None
    }

    /// What the application yields, or `None` when it has returned.
    fn resume(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let application = self.application(py)?;
        let mut result = std::ptr::null_mut();
        #[expect(unsafe_code, reason = "pyo3 offers it for its own iterator type only")]
        // SAFETY: both objects are alive for the call, `py` shows that this thread is attached, and `result` is written before
        // it is read: a new reference unless the function reports an error (C API, "Iterator Protocol").
        let (kind, result) = unsafe {
            let kind = pyo3::ffi::PyIter_Send(application.as_ptr(), value.as_ptr(), &raw mut result);
            (kind, Bound::from_owned_ptr_or_opt(py, result).map(Bound::unbind))
        };
        match (kind, result) {
            (pyo3::ffi::PySendResult::PYGEN_NEXT, Some(value)) => Ok(Some(value)),
            (pyo3::ffi::PySendResult::PYGEN_RETURN, Some(_)) => Ok(None),
            _ => Err(PyErr::fetch(py)),
        }
    }

    /// As `send` and `throw` say it: the end is an exception. What the application returns is of no interest.
    fn or_stop(suspended: Option<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        suspended.ok_or_else(|| PyStopIteration::new_err(()))
    }
}

#[pymethods]
impl Steps {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// `None` ends the iteration.
    fn __next__(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.step(py, || self.resume(py, py.None().bind(py)))
    }

    fn send(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Self::or_stop(self.step(py, || self.resume(py, value)))
    }

    #[pyo3(signature = (*arguments))]
    fn throw(&self, py: Python<'_>, arguments: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        Self::or_stop(self.step(py, || {
            let Some(application) = self.application.get() else {
                // Cancelled before it began.
                return Err(PyErr::from_value(arguments.get_item(0)?));
            };
            match application.bind(py).call_method1(intern!(py, "throw"), arguments) {
                Ok(suspended) => Ok(Some(suspended.unbind())),
                Err(error) if error.is_instance_of::<PyStopIteration>(py) => Ok(None),
                Err(error) => Err(error),
            }
        }))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(application) = self.application.get() {
            application.bind(py).call_method0(intern!(py, "close"))?;
        }
        let failure = Failure::Unfinished("the coroutine of the request was closed before it had ended");
        self.exchange.get().conclude(py, Some(failure));
        Ok(())
    }

    fn __getattr__<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        match self.application.get() {
            Some(application) => application.bind(py).getattr(name),
            None => Err(PyAttributeError::new_err(name.clone().unbind())),
        }
    }
}
