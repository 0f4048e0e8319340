//! Frames between the router and its workers.
//!
//! A worker holds two Unix stream sockets to the router. The **data link** carries requests, responses and body
//! bytes; the **control link** carries everything that must get through while Python is busy: readiness, deadlines,
//! reclaiming requests that have not started, and the order to finish. Both carry the same frames:
//!
//! ```text
//!  0        4      5       6       8                16
//!  +--------+------+-------+-------+-----------------+----------------+
//!  | length | kind | flags | zero  | request id      | payload ...    |   little endian, length = payload bytes
//!  +--------+------+-------+-------+-----------------+----------------+
//! ```
//!
//! This crate turns bytes into typed messages and back. It does no I/O, knows no Python and no HTTP server. Whatever
//! arrives from a worker is as untrusted as a request from a client: every length is checked against [`MAX_PAYLOAD`]
//! and against the payload that holds it, unknown kinds and flags are errors, and nothing here panics on any input.

mod control;
mod cursor;
mod data;
mod frame;
mod headers;
mod ids;
mod request;
mod spent;

pub use control::{
    BORN, Blocked, BootFailure, ControlFromWorker, ControlToWorker, Durable, Hello, Interface, Look, NOT_BORN,
};
pub use data::{FromWorker, MESSAGE_COST, REQUEST_WINDOW, ResponseHead, ToWorker, message_cost};
pub use frame::{FRAME_HEADER, Frame, FrameBuffer, MAX_PAYLOAD, put_frame, set_flag};
pub use headers::{Header, HeaderList, KNOWN_HEADERS, Name, known_header};
pub use ids::{ById, IdHasher};
pub use request::{RequestHead, RequestWriter};
pub use spent::Spent;

/// Version of everything in this crate. A worker states it in [`Hello`]; the router refuses any other.
pub const VERSION: u16 = 3;

/// Largest piece of a body or WebSocket message in one frame, in bytes. Longer ones are split.
pub const MAX_CHUNK: usize = 64 * 1024;

/// Meaning of the bits in a frame's flags. Each message accepts only the ones listed for it.
pub mod flag {
    /// Body, Response, Message: this is the last piece. Blocked: it is over. Seen: it is complete.
    pub const END: u8 = 1;
    /// Response, Body, Failed, Done: the application has finished with this request, its slot is free.
    pub const DONE: u8 = 2;
    /// Request: a body follows in [`super::ToWorker::Body`] frames, the last one flagged [`END`].
    pub const HAS_BODY: u8 = 4;
    /// Request: the client asked for a WebSocket.
    pub const WEBSOCKET: u8 = 8;
    /// Request: send [`super::FromWorker::Started`] before the application runs, because it must not run twice.
    pub const ACK_START: u8 = 16;
    /// Message: text (UTF-8) rather than binary.
    pub const TEXT: u8 = 32;
    /// Nudge: give back every request that has not started.
    pub const RECLAIM: u8 = 64;
    /// Response, Body, Failed, Done: the payload ends with what the request took so far, see [`super::Spent`].
    pub const SPENT: u8 = 128;
}

/// What is wrong with a frame. The peer that sent it is broken or hostile: drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("frame of {0} bytes is larger than the limit of {MAX_PAYLOAD}")]
    TooLarge(usize),
    #[error("unknown frame kind {0} on this link")]
    UnknownKind(u8),
    #[error("flags {flags:#04x} are not valid for frame kind {kind}")]
    BadFlags { kind: u8, flags: u8 },
    #[error("frame kind {0} ends in the middle of a field")]
    Truncated(u8),
    #[error("frame kind {0} has bytes after its last field")]
    TrailingBytes(u8),
    #[error("frame kind {0} holds a field that is out of range or not text")]
    BadField(u8),
    #[error("reserved bytes of the frame header are not zero")]
    Reserved,
}
