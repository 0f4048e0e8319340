//! Events, which are dictionaries whose shape the ASGI specification gives: reading what an application sends, making what
//! it receives.
//!
//! Both may run code of the application (an iterable of headers, a finalizer that the collector calls), so neither is done
//! while the state of an exchange is locked.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::head::Head;

/// What an application sent: what the event holds, not whether it may be sent now.
pub(crate) enum Outgoing<'py> {
    /// Of an HTTP response, also of one that denies a WebSocket.
    Start(Head),
    Body {
        data: Bound<'py, PyBytes>,
        end: bool,
    },
    Accept(Head),
    /// Close a WebSocket before it is accepted.
    Refuse,
    /// `str` if it is text, else `bytes`.
    Message {
        data: Bound<'py, PyAny>,
        text: bool,
    },
    Close {
        code: u16,
        reason: String,
    },
}

/// What an application receives.
pub(crate) enum Incoming {
    Request { body: Vec<u8>, more: bool },
    Disconnect,
    Connect,
    Text(String),
    Bytes(Vec<u8>),
    Closed { code: u16, reason: String },
}

impl Incoming {
    /// # Errors
    /// When Python is out of memory.
    pub(crate) fn event(self, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let event = PyDict::new(py);
        let of_type = |kind| event.set_item(intern!(py, "type"), kind);
        match self {
            Incoming::Request { body, more } => {
                of_type(intern!(py, "http.request"))?;
                event.set_item(intern!(py, "body"), PyBytes::new(py, &body))?;
                event.set_item(intern!(py, "more_body"), more)?;
            }
            Incoming::Disconnect => of_type(intern!(py, "http.disconnect"))?,
            Incoming::Connect => of_type(intern!(py, "websocket.connect"))?,
            Incoming::Text(text) => {
                of_type(intern!(py, "websocket.receive"))?;
                event.set_item(intern!(py, "text"), text)?;
            }
            Incoming::Bytes(bytes) => {
                of_type(intern!(py, "websocket.receive"))?;
                event.set_item(intern!(py, "bytes"), PyBytes::new(py, &bytes))?;
            }
            Incoming::Closed { code, reason } => {
                of_type(intern!(py, "websocket.disconnect"))?;
                event.set_item(intern!(py, "code"), code)?;
                event.set_item(intern!(py, "reason"), reason)?;
            }
        }
        Ok(event)
    }
}

/// The event, which must be a dictionary, and its type.
pub(crate) fn open<'a, 'py>(
    event: &'a Bound<'py, PyAny>,
) -> PyResult<(&'a Bound<'py, PyDict>, Bound<'py, PyString>)> {
    let py = event.py();
    let wrong = || PyTypeError::new_err("an event must be a dict whose \"type\" is a str");
    let event = event.cast::<PyDict>().map_err(|_| wrong())?;
    let kind = event.get_item(intern!(py, "type"))?.ok_or_else(wrong)?;
    Ok((event, kind.cast_into::<PyString>().map_err(|_| wrong())?))
}

/// A field that may be absent or None.
pub(crate) fn optional<'py>(
    event: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(event.get_item(key)?.filter(|value| !value.is_none()))
}

/// A flag, false by default.
pub(crate) fn flag<'py>(event: &Bound<'py, PyDict>, key: &Bound<'py, PyString>) -> PyResult<bool> {
    match event.get_item(key)? {
        Some(value) => value.is_truthy(),
        None => Ok(false),
    }
}

/// `bytes` or anything that has its bytes to give, but not a number or a `str`.
pub(crate) fn bytes<'py>(value: &Bound<'py, PyAny>, what: &str) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let view = py.import(intern!(py, "builtins"))?.getattr(intern!(py, "memoryview"))?.call1((value,));
    let view = view.map_err(|_| {
        let kind = value.get_type().name().map_or_else(|_| "that".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("{what} must be bytes, not {kind}"))
    })?;
    Ok(view.call_method0(intern!(py, "tobytes"))?.cast_into::<PyBytes>()?)
}

/// Status and headers of a response. Fields that belong to the connection are left out: the host decides
/// them.
pub(crate) fn head<'py>(event: &Bound<'py, PyDict>, status: u16) -> PyResult<Head> {
    let py = event.py();
    let mut head = Head::new(status);
    let Some(headers) = optional(event, intern!(py, "headers"))? else {
        return Ok(head);
    };
    for field in headers.try_iter()? {
        let (name, value) = pair(&field?)?;
        let (name, value) = (bytes(&name, "a header name")?, bytes(&value, "a header value")?);
        let (name, value) = (name.as_bytes(), value.as_bytes());
        head.push(name, value).map_err(|error| {
            PyValueError::new_err(format!("header {:?}: {error}", String::from_utf8_lossy(name)))
        })?;
    }
    Ok(head)
}

fn pair<'py>(field: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    // What nearly everybody sends, without a number object for each index.
    if let Ok(field) = field.cast::<PyTuple>()
        && field.len() == 2
    {
        return Ok((field.get_item(0)?, field.get_item(1)?));
    }
    if field.len().is_ok_and(|length| length == 2) {
        Ok((field.get_item(0)?, field.get_item(1)?))
    } else {
        Err(PyTypeError::new_err("each header must be a pair of bytes: (name, value)"))
    }
}

/// The final status of a response.
pub(crate) fn status<'py>(event: &Bound<'py, PyDict>) -> PyResult<u16> {
    let py = event.py();
    let value =
        optional(event, intern!(py, "status"))?.ok_or_else(|| PyValueError::new_err("status is missing"))?;
    match value.extract::<u16>() {
        Ok(status @ 200..=999) => Ok(status),
        _ => Err(PyValueError::new_err(format!("status {value} is not a number from 200 to 999"))),
    }
}

/// The start of a response.
pub(crate) fn start<'py>(event: &Bound<'py, PyDict>) -> PyResult<Outgoing<'py>> {
    Ok(Outgoing::Start(head(event, status(event)?)?))
}

/// A piece of its body.
pub(crate) fn body<'py>(event: &Bound<'py, PyDict>) -> PyResult<Outgoing<'py>> {
    let py = event.py();
    let data = match optional(event, intern!(py, "body"))? {
        Some(body) => bytes(&body, "the body")?,
        None => PyBytes::new(py, b""),
    };
    let end = !flag(event, intern!(py, "more_body"))?;
    Ok(Outgoing::Body { data, end })
}
