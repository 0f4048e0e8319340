//! WebSocket events (ASGI "HTTP & WebSocket", version 2.5) with the denial response extension.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use wire::{FromWorker, message_cost};

use super::event;
use super::exchange::{ClientDisconnected, Protocol, State};
use super::pending::Pending;
use crate::head::Head;
use crate::inbox::Piece;
use crate::link::Link;

/// Longest message an application can receive, in bytes.
const LONGEST_MESSAGE: usize = 16 * 1024 * 1024;

/// RFC 6455 section 7.4.1.
mod code {
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const NO_STATUS: u16 = 1005;
    pub(super) const ABNORMAL: u16 = 1006;
    pub(super) const NOT_TEXT: u16 = 1007;
    pub(super) const TOO_BIG: u16 = 1009;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Neither accepted nor refused; `announced` once the application has received websocket.connect.
    Connecting {
        announced: bool,
    },
    Open,
    /// Refused with an ordinary response, which is being sent.
    Denying,
    /// Closed by the application or by us.
    Closed,
}

/// One WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    phase: Phase,
    /// Pieces of an incomplete message.
    parts: Vec<u8>,
    /// A complete message: payload, text, bytes to give credit for when it is taken.
    message: Option<(Vec<u8>, bool, u32)>,
    /// How the connection ended.
    closed: Option<(u16, String)>,
}

impl WebSocket {
    pub(crate) fn new() -> Self {
        WebSocket {
            phase: Phase::Connecting { announced: false },
            parts: Vec::new(),
            message: None,
            closed: None,
        }
    }

    /// Accepted and not closed by either side.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open && self.closed.is_none()
    }

    /// What is missing when the application returns; `response` judges a denial response.
    pub(crate) fn unfinished<F>(&self, response: impl FnOnce() -> Option<F>) -> Option<F> {
        match self.phase {
            Phase::Connecting { .. } | Phase::Denying => response(),
            Phase::Open | Phase::Closed => None,
        }
    }

    /// Close from our side.
    pub(crate) fn close(&mut self, link: &Link, id: u64, code: u16, reason: &str) {
        if self.closed.is_none() {
            link.post(&FromWorker::Close { id, code, reason });
            self.closed = Some((code, reason.to_owned()));
        }
        self.phase = Phase::Closed;
    }

    /// Put together the next message from the pieces in the mailbox. Pieces of an unfinished message get
    /// their credit at once, or a message longer than the window would never become complete.
    pub(crate) fn collect(&mut self, link: &Link, id: u64) {
        while self.message.is_none() && self.closed.is_none() {
            let piece = {
                let mut inbox = link.inbox();
                let Some(mailbox) = inbox.mail.get_mut(&id) else {
                    return;
                };
                match mailbox.pieces.pop_front() {
                    Some(piece) => piece,
                    None if mailbox.cancelled => Piece::Close { code: code::ABNORMAL, reason: String::new() },
                    None => return,
                }
            };
            match piece {
                Piece::Close { code, reason } => self.closed = Some((code, reason)),
                Piece::Body { .. } => {}
                Piece::Message { data, text, end } => self.add(link, id, &data, text, end),
            }
        }
    }

    fn add(&mut self, link: &Link, id: u64, data: &[u8], text: bool, end: bool) {
        if self.parts.len() + data.len() > LONGEST_MESSAGE {
            return self.close(link, id, code::TOO_BIG, "message too big");
        }
        self.parts.extend_from_slice(data);
        let cost = message_cost(data.len());
        if end {
            self.message = Some((std::mem::take(&mut self.parts), text, cost));
        } else {
            link.outbox().push_credit(id, cost);
        }
    }
}

impl State {
    /// The next event for the application, if there is one.
    pub(crate) fn websocket_event<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let (link, id) = (self.answer.link, self.answer.id);
        let Protocol::WebSocket(websocket) = &mut self.protocol else {
            return Ok(None);
        };
        let event = PyDict::new(py);
        let kind = intern!(py, "type");
        if let Phase::Connecting { announced } = &mut websocket.phase
            && !*announced
        {
            *announced = true;
            event.set_item(kind, intern!(py, "websocket.connect"))?;
            return Ok(Some(event));
        }
        if !self.finished {
            websocket.collect(link, id);
        }
        if let Some((data, text, owed)) = websocket.message.take() {
            if !self.finished {
                link.outbox().push_credit(id, owed);
            }
            event.set_item(kind, intern!(py, "websocket.receive"))?;
            if !text {
                event.set_item(intern!(py, "bytes"), PyBytes::new(py, &data))?;
                return Ok(Some(event));
            }
            if let Ok(text) = PyString::from_bytes(py, &data) {
                event.set_item(intern!(py, "text"), text)?;
                return Ok(Some(event));
            }
            websocket.close(link, id, code::NOT_TEXT, "text is not UTF-8");
        }
        if self.finished && websocket.closed.is_none() {
            websocket.closed = Some((code::ABNORMAL, String::new()));
        }
        let Some((code, reason)) = &websocket.closed else {
            return Ok(None);
        };
        event.set_item(kind, intern!(py, "websocket.disconnect"))?;
        event.set_item(intern!(py, "code"), *code)?;
        event.set_item(intern!(py, "reason"), reason)?;
        Ok(Some(event))
    }

    /// Take one event of the application.
    pub(crate) fn send_websocket(&mut self, message: &Bound<'_, PyAny>) -> PyResult<()> {
        let (message, kind) = event::open(message)?;
        let Protocol::WebSocket(websocket) = &mut self.protocol else {
            return Ok(());
        };
        let phase = websocket.phase;
        if websocket.closed.is_some() && phase != Phase::Closed {
            return Err(ClientDisconnected::new_err("the client has closed the WebSocket"));
        }
        match (phase, kind.to_str()?) {
            (Phase::Connecting { .. }, "websocket.accept") => self.accept(message),
            (Phase::Connecting { .. }, "websocket.close") => {
                websocket.phase = Phase::Closed;
                websocket.closed = Some((code::ABNORMAL, String::new()));
                self.answer.set_head(Head::new(403));
                self.answer.put(&[], true);
                Ok(())
            }
            (Phase::Connecting { .. }, "websocket.http.response.start") => {
                websocket.phase = Phase::Denying;
                self.response_start(message)
            }
            (Phase::Denying, "websocket.http.response.body") => {
                self.response_body(message)?;
                self.after_denial();
                Ok(())
            }
            (Phase::Open, "websocket.send") => self.send_message(message),
            (Phase::Open, "websocket.close") => self.send_close(message),
            (Phase::Closed, kind) => {
                Err(PyRuntimeError::new_err(format!("{kind:?} was sent after the WebSocket was closed")))
            }
            (_, kind) => Err(PyRuntimeError::new_err(format!(
                "{kind:?} cannot be sent in the state of this WebSocket"
            ))),
        }
    }

    fn after_denial(&mut self) {
        if self.answer.ended()
            && let Protocol::WebSocket(websocket) = &mut self.protocol
        {
            websocket.phase = Phase::Closed;
            websocket.closed = Some((code::ABNORMAL, String::new()));
        }
    }

    fn accept(&mut self, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = message.py();
        let mut head = event::head(message, 101)?;
        if let Some(subprotocol) = event::optional(message, intern!(py, "subprotocol"))? {
            head.push(b"sec-websocket-protocol", subprotocol.extract::<String>()?.as_bytes())
                .map_err(|error| PyValueError::new_err(format!("subprotocol: {error}")))?;
        }
        if let Protocol::WebSocket(websocket) = &mut self.protocol {
            websocket.phase = Phase::Open;
        }
        self.answer.accept(head);
        Ok(())
    }

    fn send_message(&mut self, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = message.py();
        let text = event::optional(message, intern!(py, "text"))?;
        let bytes = event::optional(message, intern!(py, "bytes"))?;
        let (data, text) = match (text, bytes) {
            (Some(text), None) => {
                // The conversion is kept in the object; later ones cannot fail.
                text.cast::<PyString>()?.to_str()?;
                (text, true)
            }
            (None, Some(bytes)) => (event::bytes(&bytes, "a message")?.into_any(), false),
            _ => {
                return Err(PyValueError::new_err("websocket.send needs either \"text\" or \"bytes\""));
            }
        };
        self.pending.push_back(Pending::Message { data: data.unbind(), start: 0, text });
        Ok(())
    }

    fn send_close(&mut self, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = message.py();
        let code = event::optional(message, intern!(py, "code"))?;
        let code = code.map_or(Ok(code::NORMAL), |code| code.extract())?;
        if matches!(code, code::NO_STATUS | code::ABNORMAL) || !(1000..5000).contains(&code) {
            return Err(PyValueError::new_err(format!("{code} is not a close code an application may send")));
        }
        let reason = event::optional(message, intern!(py, "reason"))?;
        let reason: String = reason.map_or(Ok(String::new()), |reason| reason.extract())?;
        // A close frame holds 125 bytes, two of them the code (RFC 6455 section 5.5).
        if reason.len() > 123 {
            return Err(PyValueError::new_err("the reason of a close is limited to 123 bytes"));
        }
        self.pending.push_back(Pending::Close { code, reason });
        Ok(())
    }
}
