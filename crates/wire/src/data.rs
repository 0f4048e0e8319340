//! Messages of the data link.
//!
//! Bodies flow with credit in both directions: the sender of body or message bytes may have at most a window of
//! unacknowledged bytes under way ([`crate::RequestHead::window`] for responses, [`REQUEST_WINDOW`] for requests), and the
//! receiver returns credit as it consumes them. So neither side ever buffers more than a window per request.

use crate::cursor::{Cursor, put_bytes};
use crate::frame::{Frame, put_frame};
use crate::headers::HeaderList;
use crate::request::{self, RequestHead};
use crate::{WireError, flag};

/// How many bytes of a request body the router may send before the worker gives credit.
pub const REQUEST_WINDOW: u32 = 256 * 1024;

/// What a WebSocket message frame costs of a window: its bytes, but at least this, so that empty messages are not free.
pub const MESSAGE_COST: u32 = 64;

/// Credit that a Message frame of `length` bytes uses up.
#[must_use]
pub fn message_cost(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX).max(MESSAGE_COST)
}

pub(crate) mod kind {
    pub(crate) const REQUEST: u8 = 1;
    pub(crate) const BODY: u8 = 2;
    pub(crate) const CREDIT: u8 = 3;
    pub(crate) const CANCEL: u8 = 4;
    pub(crate) const RESPONSE: u8 = 5;
    pub(crate) const FAILED: u8 = 6;
    pub(crate) const STARTED: u8 = 7;
    pub(crate) const DONE: u8 = 8;
    pub(crate) const MESSAGE: u8 = 9;
    pub(crate) const CLOSE: u8 = 10;
}

/// Router to worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToWorker<'a> {
    /// A request to run. Encode with [`crate::RequestWriter`].
    Request { id: u64, flags: u8, head: RequestHead<'a>, headers: HeaderList<'a> },
    /// A piece of the request body.
    Body { id: u64, data: &'a [u8], end: bool },
    /// The router consumed this many response bytes.
    Credit { id: u64, bytes: u32 },
    /// The client left, or sent a body that ended too early: nobody will read the answer.
    Cancel { id: u64 },
    /// A piece of a WebSocket message.
    Message { id: u64, data: &'a [u8], text: bool, end: bool },
    /// The client closed the WebSocket (RFC 6455 section 7.4 code; 1005 and 1006 as in section 7.4.1).
    Close { id: u64, code: u16, reason: &'a str },
}

/// Worker to router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromWorker<'a> {
    /// Status, header fields and the first piece of the body (often all of it). Status 101 accepts a WebSocket.
    Response { id: u64, head: ResponseHead<'a>, body: &'a [u8], end: bool, done: bool },
    /// A further piece of the response body.
    Body { id: u64, data: &'a [u8], end: bool, done: bool },
    /// The worker consumed this many request bytes.
    Credit { id: u64, bytes: u32 },
    /// The application failed; `reason` is one line for the log. 500 if nothing was sent yet, else a cut connection.
    Failed { id: u64, reason: &'a str, done: bool },
    /// The application is about to run: this request must not run anywhere else now.
    Started { id: u64 },
    /// The application has finished with this request (after its response: background work, `close()`).
    Done { id: u64 },
    /// A piece of a WebSocket message.
    Message { id: u64, data: &'a [u8], text: bool, end: bool },
    /// The application closed the WebSocket.
    Close { id: u64, code: u16, reason: &'a str },
}

/// Status and header fields of a response. The values are the application's: the router checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    pub status: u16,
    /// Reason phrase (WSGI lets the application choose it); empty for the standard one.
    pub reason: &'a [u8],
    count: u16,
    encoded: &'a [u8],
}

impl<'a> ResponseHead<'a> {
    /// Name and value of each field, in order, unchecked bytes.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut cursor = Cursor::new(kind::RESPONSE, self.encoded);
        // Decoding walked the list once already.
        (0..self.count).map_while(move |_| Some((cursor.bytes().ok()?, cursor.bytes().ok()?)))
    }
}

fn only(frame: &Frame<'_>, allowed: u8) -> Result<(), WireError> {
    if frame.flags & !allowed == 0 {
        Ok(())
    } else {
        Err(WireError::BadFlags { kind: frame.kind, flags: frame.flags })
    }
}

fn credit(frame: &Frame<'_>) -> Result<u32, WireError> {
    let mut cursor = Cursor::new(frame.kind, frame.payload);
    let bytes = cursor.u32()?;
    cursor.finish()?;
    Ok(bytes)
}

fn close<'a>(frame: &Frame<'a>) -> Result<(u16, &'a str), WireError> {
    let mut cursor = Cursor::new(frame.kind, frame.payload);
    let code = cursor.u16()?;
    let reason = cursor.text()?;
    cursor.finish()?;
    Ok((code, reason))
}

fn empty(frame: &Frame<'_>) -> Result<(), WireError> {
    Cursor::new(frame.kind, frame.payload).finish()
}

impl<'a> ToWorker<'a> {
    /// # Errors
    /// See [`WireError`].
    pub fn decode(frame: Frame<'a>) -> Result<Self, WireError> {
        let Frame { kind, flags, id, payload } = frame;
        match kind {
            kind::REQUEST => {
                only(&frame, flag::HAS_BODY | flag::WEBSOCKET | flag::ACK_START)?;
                let (head, headers) = request::decode(payload)?;
                Ok(ToWorker::Request { id, flags, head, headers })
            }
            kind::BODY => {
                only(&frame, flag::END)?;
                Ok(ToWorker::Body { id, data: payload, end: flags & flag::END != 0 })
            }
            kind::CREDIT => {
                only(&frame, 0)?;
                Ok(ToWorker::Credit { id, bytes: credit(&frame)? })
            }
            kind::CANCEL => {
                only(&frame, 0)?;
                empty(&frame)?;
                Ok(ToWorker::Cancel { id })
            }
            kind::MESSAGE => {
                only(&frame, flag::TEXT | flag::END)?;
                Ok(ToWorker::Message {
                    id,
                    data: payload,
                    text: flags & flag::TEXT != 0,
                    end: flags & flag::END != 0,
                })
            }
            kind::CLOSE => {
                only(&frame, 0)?;
                let (code, reason) = close(&frame)?;
                Ok(ToWorker::Close { id, code, reason })
            }
            _ => Err(WireError::UnknownKind(kind)),
        }
    }

    /// Append this message as one frame. Requests are encoded by [`crate::RequestWriter`] only.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            ToWorker::Request { id, flags, head, headers } => {
                let mut writer = crate::RequestWriter::new(out, id, flags, &head);
                for header in headers.iter() {
                    writer.header(header.name.as_bytes(), header.value);
                }
                writer.finish();
            }
            ToWorker::Body { id, data, end } => put_data(out, kind::BODY, bit(end, flag::END), id, data),
            ToWorker::Credit { id, bytes } => put_credit(out, id, bytes),
            ToWorker::Cancel { id } => put_frame(out, kind::CANCEL, 0, id, |_| {}),
            ToWorker::Message { id, data, text, end } => put_message(out, id, data, text, end),
            ToWorker::Close { id, code, reason } => put_close(out, id, code, reason),
        }
    }
}

impl<'a> FromWorker<'a> {
    /// # Errors
    /// See [`WireError`].
    pub fn decode(frame: Frame<'a>) -> Result<Self, WireError> {
        let Frame { kind, flags, id, payload } = frame;
        let (end, done) = (flags & flag::END != 0, flags & flag::DONE != 0);
        match kind {
            kind::RESPONSE => {
                only(&frame, flag::END | flag::DONE)?;
                let mut cursor = Cursor::new(kind, payload);
                let status = cursor.u16()?;
                let reason = cursor.bytes()?;
                let count = cursor.u16()?;
                let before = cursor.rest();
                for _ in 0..count {
                    cursor.bytes()?;
                    cursor.bytes()?;
                }
                let body = cursor.rest();
                let encoded = &before[..before.len() - body.len()];
                Ok(FromWorker::Response {
                    id,
                    head: ResponseHead { status, reason, count, encoded },
                    body,
                    end,
                    done,
                })
            }
            kind::BODY => {
                only(&frame, flag::END | flag::DONE)?;
                Ok(FromWorker::Body { id, data: payload, end, done })
            }
            kind::CREDIT => {
                only(&frame, 0)?;
                Ok(FromWorker::Credit { id, bytes: credit(&frame)? })
            }
            kind::FAILED => {
                only(&frame, flag::DONE)?;
                let reason = std::str::from_utf8(payload).map_err(|_| WireError::BadField(kind))?;
                Ok(FromWorker::Failed { id, reason, done })
            }
            kind::STARTED => {
                only(&frame, 0)?;
                empty(&frame)?;
                Ok(FromWorker::Started { id })
            }
            kind::DONE => {
                only(&frame, 0)?;
                empty(&frame)?;
                Ok(FromWorker::Done { id })
            }
            kind::MESSAGE => {
                only(&frame, flag::TEXT | flag::END)?;
                Ok(FromWorker::Message { id, data: payload, text: flags & flag::TEXT != 0, end })
            }
            kind::CLOSE => {
                only(&frame, 0)?;
                let (code, reason) = close(&frame)?;
                Ok(FromWorker::Close { id, code, reason })
            }
            _ => Err(WireError::UnknownKind(kind)),
        }
    }

    /// Append a Response frame; `reason` may be empty, `headers` yields the application's fields.
    pub fn encode_response<'h>(
        out: &mut Vec<u8>,
        id: u64,
        status: u16,
        reason: &[u8],
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        body: &[u8],
        flags: u8,
    ) {
        put_frame(out, kind::RESPONSE, flags, id, |out| {
            out.extend_from_slice(&status.to_le_bytes());
            put_bytes(out, reason);
            let count_at = out.len();
            out.extend_from_slice(&[0, 0]);
            let mut count = 0_u16;
            for (name, value) in headers {
                put_bytes(out, name);
                put_bytes(out, value);
                count += 1;
            }
            out[count_at..count_at + 2].copy_from_slice(&count.to_le_bytes());
            out.extend_from_slice(body);
        });
    }

    /// Append this message as one frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            FromWorker::Response { id, head, body, end, done } => {
                let flags = bit(end, flag::END) | bit(done, flag::DONE);
                Self::encode_response(out, id, head.status, head.reason, head.headers(), body, flags);
            }
            FromWorker::Body { id, data, end, done } => {
                put_data(out, kind::BODY, bit(end, flag::END) | bit(done, flag::DONE), id, data);
            }
            FromWorker::Credit { id, bytes } => put_credit(out, id, bytes),
            FromWorker::Failed { id, reason, done } => {
                put_data(out, kind::FAILED, bit(done, flag::DONE), id, reason.as_bytes());
            }
            FromWorker::Started { id } => put_frame(out, kind::STARTED, 0, id, |_| {}),
            FromWorker::Done { id } => put_frame(out, kind::DONE, 0, id, |_| {}),
            FromWorker::Message { id, data, text, end } => put_message(out, id, data, text, end),
            FromWorker::Close { id, code, reason } => put_close(out, id, code, reason),
        }
    }
}

fn bit(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

fn put_data(out: &mut Vec<u8>, kind: u8, flags: u8, id: u64, data: &[u8]) {
    put_frame(out, kind, flags, id, |out| out.extend_from_slice(data));
}

fn put_credit(out: &mut Vec<u8>, id: u64, bytes: u32) {
    put_data(out, kind::CREDIT, 0, id, &bytes.to_le_bytes());
}

fn put_message(out: &mut Vec<u8>, id: u64, data: &[u8], text: bool, end: bool) {
    put_data(out, kind::MESSAGE, bit(text, flag::TEXT) | bit(end, flag::END), id, data);
}

fn put_close(out: &mut Vec<u8>, id: u64, code: u16, reason: &str) {
    put_frame(out, kind::CLOSE, 0, id, |out| {
        out.extend_from_slice(&code.to_le_bytes());
        put_bytes(out, reason.as_bytes());
    });
}
