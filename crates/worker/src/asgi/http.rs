//! HTTP events (ASGI "HTTP & WebSocket", version 2.5).

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::event::{self, Incoming, Outgoing};
use super::exchange::State;
use super::pending::Pending;
use crate::answer::Answer;
use crate::head::Head;
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

/// Read an event of the application.
pub(crate) fn read<'py>(message: &Bound<'py, PyAny>) -> PyResult<Outgoing<'py>> {
    let (message, kind) = event::open(message)?;
    match kind.to_str()? {
        "http.response.start" => event::start(message),
        "http.response.body" => event::body(message),
        kind => Err(PyRuntimeError::new_err(format!("an HTTP response cannot send {kind:?}"))),
    }
}

impl Http {
    /// The next event for the application, if there is one. `over`: the client left, or the application has returned.
    pub(crate) fn next(&mut self, answer: &Answer, over: bool) -> Option<Incoming> {
        if over || answer.ended() {
            return Some(Incoming::Disconnect);
        }
        match self {
            Http::Received => None,
            Http::NoBody => {
                *self = Http::Received;
                Some(Incoming::Request { body: Vec::new(), more: false })
            }
            Http::Body => {
                let piece = {
                    let mut inbox = answer.link.inbox();
                    inbox.mail.get_mut(&answer.id).and_then(|mailbox| mailbox.pieces.pop_front())
                };
                let Some(Piece::Body { data, end }) = piece else {
                    return None;
                };
                if end {
                    *self = Http::Received;
                } else if let Ok(bytes) = u32::try_from(data.len()) {
                    answer.link.outbox().push_credit(answer.id, bytes);
                }
                Some(Incoming::Request { body: data, more: !end })
            }
        }
    }
}

impl State {
    pub(crate) fn response_start(&mut self, head: Head) -> PyResult<()> {
        if self.answer.has_head() {
            return Err(PyRuntimeError::new_err("the response was started already"));
        }
        self.answer.set_head(head);
        Ok(())
    }

    pub(crate) fn response_body(&mut self, body: Bound<'_, PyBytes>, end: bool) -> PyResult<()> {
        if !self.answer.has_head() {
            return Err(PyRuntimeError::new_err("a response must start with http.response.start"));
        }
        if self.answer.ended()
            || self.pending.back().is_some_and(|pending| matches!(pending, Pending::Body { end: true, .. }))
        {
            return Err(PyRuntimeError::new_err("the response was complete already"));
        }
        let data = body.as_bytes();
        if end && self.answer.falls_short(data.len()) {
            return Err(PyRuntimeError::new_err("the response is shorter than its Content-Length"));
        }
        let stop = self.answer.admit(data).len();
        let mut start = 0;
        if self.pending.is_empty() {
            start = self.answer.put(&data[..stop], end);
            if start == stop && self.answer.ended() == end {
                return Ok(());
            }
        }
        self.pending.push_back(Pending::Body { data: body.unbind(), start, stop, end });
        Ok(())
    }
}
