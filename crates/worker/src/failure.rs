//! Why a request failed, and telling people about it.
//!
//! The application's log (its standard error) gets the traceback with the request's id; the router gets one
//! line.

use pyo3::intern;
use pyo3::prelude::*;
use wire::RequestHead;

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Raised(PyErr),
    /// Stopped because its deadline passed; the router has answered already.
    Deadline,
    /// Fewer bytes than the stated Content-Length.
    Short,
    /// The application returned without a response, or in the middle of one.
    Unfinished(&'static str),
}

/// Writes failures to `sys.stderr`.
pub(crate) struct Reporter {
    report: Py<PyAny>,
}

impl Reporter {
    /// # Errors
    /// When the support module is not ours.
    pub(crate) fn new(support: &Bound<'_, PyModule>) -> PyResult<Self> {
        Ok(Reporter { report: support.getattr("report")?.unbind() })
    }

    /// Log the failure; returns the line for the router.
    pub(crate) fn report(&self, py: Python<'_>, head: &RequestHead<'_>, failure: &Failure) -> String {
        let path = String::from_utf8_lossy(head.path);
        self.report_for(py, head.request_id, head.method, &path, failure)
    }

    /// As [`Reporter::report`], from the parts.
    pub(crate) fn report_for(
        &self,
        py: Python<'_>,
        request_id: &str,
        method: &str,
        path: &str,
        failure: &Failure,
    ) -> String {
        let (reason, error) = match failure {
            Failure::Deadline => return "deadline".to_owned(),
            // into_value puts the traceback where Python's own code looks for it, on every version.
            Failure::Raised(error) => {
                (one_line(py, error), Some(error.clone_ref(py).into_value(py).into_bound(py)))
            }
            Failure::Short => ("the application sent fewer bytes than its Content-Length".to_owned(), None),
            Failure::Unfinished(what) => ((*what).to_owned(), None),
        };
        self.write(py, (request_id, method, path, &reason, error.as_deref()));
        reason
    }

    /// Log one line about a request that did not fail.
    pub(crate) fn note(&self, py: Python<'_>, head: &RequestHead<'_>, text: &str) {
        let path = String::from_utf8_lossy(head.path);
        self.write(py, (head.request_id, head.method, &path, text, None));
    }

    fn write(&self, py: Python<'_>, what: (&str, &str, &str, &str, Option<&Bound<'_, PyAny>>)) {
        if let Err(error) = self.report.bind(py).call1(what) {
            crate::log::line(&format!("cannot report the failure of request {}: {error}", what.0));
        }
    }
}

/// `ValueError: no such thing`, without line breaks.
pub(crate) fn one_line(py: Python<'_>, error: &PyErr) -> String {
    let kind = error.get_type(py);
    let kind = kind
        .getattr(intern!(py, "__name__"))
        .map_or_else(|_| "exception".to_owned(), |name| name.to_string());
    let text = error.value(py).str().map_or_else(|_| String::new(), |text| text.to_string());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { kind } else { format!("{kind}: {text}") }
}
