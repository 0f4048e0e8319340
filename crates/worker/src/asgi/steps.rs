//! The application's coroutine, with every step of it measured.
//!
//! It stands between our coroutine and the application's in the chain of what awaits what, so that each time the event loop
//! resumes a request's task, it passes here. It changes nothing: values, exceptions and `close` go through. What it does not
//! see: tasks that the application starts for a request, and threads that it sends work to.

use std::time::Instant;

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::exchange::Exchange;
use crate::measure;

/// See the module documentation.
#[pyclass(frozen, module = "serpentry_worker")]
pub(crate) struct Steps {
    exchange: Py<Exchange>,
    /// A coroutine, or the iterator of another awaitable.
    #[pyo3(get, name = "measured_coroutine")]
    inner: Py<PyAny>,
}

/// How a step ended that raised nothing.
enum Stepped {
    Suspended(Py<PyAny>),
    Returned(Py<PyAny>),
}

impl Steps {
    pub(crate) fn new(exchange: Py<Exchange>, inner: Py<PyAny>) -> Self {
        Steps { exchange, inner }
    }

    fn step<T>(&self, call: impl FnOnce() -> T) -> T {
        let exchange = self.exchange.get();
        let id = exchange.id();
        // The first step may be a part of the start, which is measured as a whole.
        if measure::runs(id) {
            return call();
        }
        measure::begin(id, Some(Instant::now()));
        let result = call();
        let step = measure::end_step();
        exchange.state().answer.add_step(step);
        result
    }

    fn send_inner(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Stepped> {
        let mut result = std::ptr::null_mut();
        #[expect(unsafe_code, reason = "pyo3 offers it for its own iterator type only")]
        // SAFETY: both objects are alive for the call, `py` shows that this thread is attached, and `result` is written before
        // it is read: a new reference unless the function reports an error (C API, "Iterator Protocol").
        let (kind, result) = unsafe {
            let kind = pyo3::ffi::PyIter_Send(self.inner.as_ptr(), value.as_ptr(), &raw mut result);
            (kind, Bound::from_owned_ptr_or_opt(py, result).map(Bound::unbind))
        };
        match (kind, result) {
            (pyo3::ffi::PySendResult::PYGEN_NEXT, Some(value)) => Ok(Stepped::Suspended(value)),
            (pyo3::ffi::PySendResult::PYGEN_RETURN, Some(value)) => Ok(Stepped::Returned(value)),
            _ => Err(PyErr::fetch(py)),
        }
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

    /// `None` ends the iteration; what the application returns is of no interest.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.step(|| self.send_inner(py, py.None().bind(py)))? {
            Stepped::Suspended(value) => Ok(Some(value)),
            Stepped::Returned(_) => Ok(None),
        }
    }

    fn send(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        match self.step(|| self.send_inner(py, value))? {
            Stepped::Suspended(value) => Ok(value),
            Stepped::Returned(value) => Err(PyStopIteration::new_err((value,))),
        }
    }

    #[pyo3(signature = (*arguments))]
    fn throw(&self, py: Python<'_>, arguments: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        self.step(|| {
            self.inner.bind(py).call_method1(pyo3::intern!(py, "throw"), arguments).map(Bound::unbind)
        })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.step(|| self.inner.bind(py).call_method0(pyo3::intern!(py, "close")).map(drop))
    }
}
