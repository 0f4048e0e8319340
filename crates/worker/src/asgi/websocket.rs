//! WebSocket events (ASGI "HTTP & WebSocket", version 2.5) with the denial response extension.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use wire::{FromWorker, message_cost};

use super::event::{self, Incoming, Outgoing};
use super::exchange::ClientDisconnected;
use crate::answer::Answer;
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

/// How far a WebSocket has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
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

    /// How an event is read now.
    ///
    /// # Errors
    /// When the client has closed.
    pub(crate) fn phase(&self) -> PyResult<Phase> {
        if self.closed.is_some() && self.phase != Phase::Closed {
            return Err(ClientDisconnected::new_err("the client has closed the WebSocket"));
        }
        Ok(self.phase)
    }

    /// Begin to refuse with a response.
    pub(crate) fn deny(&mut self) {
        self.phase = Phase::Denying;
    }

    /// Accepted from now on.
    pub(crate) fn open(&mut self) {
        self.phase = Phase::Open;
    }

    /// Refused, and the response that says so is complete.
    pub(crate) fn refused(&mut self) {
        self.phase = Phase::Closed;
        self.closed = Some((code::ABNORMAL, String::new()));
    }

    /// The next event for the application, if there is one. `finished`: it has returned.
    pub(crate) fn next(&mut self, answer: &Answer, finished: bool) -> Option<Incoming> {
        let (link, id) = (answer.link, answer.id);
        if let Phase::Connecting { announced } = &mut self.phase
            && !std::mem::replace(announced, true)
        {
            return Some(Incoming::Connect);
        }
        if !finished {
            self.collect(link, id);
        }
        if let Some((data, text, owed)) = self.message.take() {
            if !finished {
                link.outbox().push_credit(id, owed);
            }
            if !text {
                return Some(Incoming::Bytes(data));
            }
            match String::from_utf8(data) {
                Ok(text) => return Some(Incoming::Text(text)),
                Err(_) => self.close(link, id, code::NOT_TEXT, "text is not UTF-8"),
            }
        }
        if finished && self.closed.is_none() {
            self.closed = Some((code::ABNORMAL, String::new()));
        }
        self.closed.clone().map(|(code, reason)| Incoming::Closed { code, reason })
    }

    /// Accepted and not closed by either side.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open && self.closed.is_none()
    }

    /// Neither accepted nor refused for good.
    pub(crate) fn awaits_response(&self) -> bool {
        matches!(self.phase, Phase::Connecting { .. } | Phase::Denying)
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

/// Read an event of the application, which means what it does in this phase.
pub(crate) fn read<'py>(phase: Phase, message: &Bound<'py, PyAny>) -> PyResult<Outgoing<'py>> {
    let (message, kind) = event::open(message)?;
    match (phase, kind.to_str()?) {
        (Phase::Connecting { .. }, "websocket.accept") => accept(message),
        (Phase::Connecting { .. }, "websocket.close") => Ok(Outgoing::Refuse),
        (Phase::Connecting { .. }, "websocket.http.response.start") => event::start(message),
        (Phase::Denying, "websocket.http.response.body") => event::body(message),
        (Phase::Open, "websocket.send") => self::message(message),
        (Phase::Open, "websocket.close") => close(message),
        (Phase::Closed, kind) => {
            Err(PyRuntimeError::new_err(format!("{kind:?} was sent after the WebSocket was closed")))
        }
        (_, kind) => {
            Err(PyRuntimeError::new_err(format!("{kind:?} cannot be sent in the state of this WebSocket")))
        }
    }
}

fn accept<'py>(message: &Bound<'py, PyDict>) -> PyResult<Outgoing<'py>> {
    let mut head = event::head(message, 101)?;
    if let Some(subprotocol) = event::optional(message, intern!(message.py(), "subprotocol"))? {
        head.push(b"sec-websocket-protocol", subprotocol.extract::<String>()?.as_bytes())
            .map_err(|error| PyValueError::new_err(format!("subprotocol: {error}")))?;
    }
    Ok(Outgoing::Accept(head))
}

fn message<'py>(message: &Bound<'py, PyDict>) -> PyResult<Outgoing<'py>> {
    let py = message.py();
    let text = event::optional(message, intern!(py, "text"))?;
    let bytes = event::optional(message, intern!(py, "bytes"))?;
    match (text, bytes) {
        (Some(text), None) => {
            // The conversion is kept in the object; later ones cannot fail.
            text.cast::<PyString>()?.to_str()?;
            Ok(Outgoing::Message { data: text, text: true })
        }
        (None, Some(bytes)) => {
            Ok(Outgoing::Message { data: event::bytes(&bytes, "a message")?.into_any(), text: false })
        }
        _ => Err(PyValueError::new_err("websocket.send needs either \"text\" or \"bytes\"")),
    }
}

fn close<'py>(message: &Bound<'py, PyDict>) -> PyResult<Outgoing<'py>> {
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
    Ok(Outgoing::Close { code, reason })
}
