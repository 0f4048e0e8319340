//! HTTP events (ASGI "HTTP & WebSocket", version 2.5).

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::event;
use super::exchange::{Protocol, State};
use super::pending::Pending;
use crate::inbox::Piece;

/// How much of the request body the application has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    /// There is no body; the application has not been told yet.
    NoBody,
    /// Pieces are coming.
    Body,
    /// The application has everything.
    Received,
}

impl State {
    /// The next event for the application, if there is one.
    pub(crate) fn http_event<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        if self.gone || self.finished || self.answer.ended() {
            let event = PyDict::new(py);
            event.set_item(intern!(py, "type"), intern!(py, "http.disconnect"))?;
            return Ok(Some(event));
        }
        let Protocol::Http(http) = &mut self.protocol else {
            return Ok(None);
        };
        match http {
            Http::Received => Ok(None),
            Http::NoBody => {
                *http = Http::Received;
                request_event(py, &[], false).map(Some)
            }
            Http::Body => {
                let piece = {
                    let mut inbox = self.answer.link.inbox();
                    inbox.mail.get_mut(&self.answer.id).and_then(|mailbox| mailbox.pieces.pop_front())
                };
                let Some(Piece::Body { data, end }) = piece else {
                    return Ok(None);
                };
                if end {
                    *http = Http::Received;
                } else if let Ok(bytes) = u32::try_from(data.len()) {
                    self.answer.link.outbox().push_credit(self.answer.id, bytes);
                }
                request_event(py, &data, !end).map(Some)
            }
        }
    }

    /// Take one event of the application.
    pub(crate) fn send_http(&mut self, message: &Bound<'_, PyAny>) -> PyResult<()> {
        let (message, kind) = event::open(message)?;
        match kind.to_str()? {
            "http.response.start" => self.response_start(message),
            "http.response.body" => self.response_body(message),
            kind => Err(PyRuntimeError::new_err(format!("an HTTP response cannot send {kind:?}"))),
        }
    }

    pub(crate) fn response_start(&mut self, message: &Bound<'_, PyDict>) -> PyResult<()> {
        if self.answer.has_head() {
            return Err(PyRuntimeError::new_err("the response was started already"));
        }
        let head = event::head(message, event::status(message)?)?;
        self.answer.set_head(head);
        Ok(())
    }

    pub(crate) fn response_body(&mut self, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = message.py();
        if !self.answer.has_head() {
            return Err(PyRuntimeError::new_err("a response must start with http.response.start"));
        }
        if self.answer.ended()
            || self.pending.back().is_some_and(|pending| matches!(pending, Pending::Body { end: true, .. }))
        {
            return Err(PyRuntimeError::new_err("the response was complete already"));
        }
        let body = match event::optional(message, intern!(py, "body"))? {
            Some(body) => event::bytes(&body, "the body")?,
            None => PyBytes::new(py, b""),
        };
        let end = !event::flag(message, intern!(py, "more_body"))?;
        let data = body.as_bytes();
        if end && self.answer.falls_short(data.len()) {
            return Err(PyRuntimeError::new_err("the response is shorter than its Content-Length"));
        }
        let stop = self.answer.admit(data).len();
        if self.pending.is_empty() {
            let start = self.answer.put(&data[..stop], end);
            if start == stop && self.answer.ended() == end {
                return Ok(());
            }
            self.pending.push_back(Pending::Body { data: body.unbind(), start, stop, end });
        } else {
            self.pending.push_back(Pending::Body { data: body.unbind(), start: 0, stop, end });
        }
        Ok(())
    }
}

fn request_event<'py>(py: Python<'py>, body: &[u8], more: bool) -> PyResult<Bound<'py, PyDict>> {
    let event = PyDict::new(py);
    event.set_item(intern!(py, "type"), intern!(py, "http.request"))?;
    event.set_item(intern!(py, "body"), PyBytes::new(py, body))?;
    event.set_item(intern!(py, "more_body"), more)?;
    Ok(event)
}
