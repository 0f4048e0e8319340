//! What the router has sent and the application has not taken yet.
//!
//! Requests wait in one queue until a thread starts them; until that moment the steward can give them back.
//! Everything that belongs to a request (body pieces, messages, credit, cancellation) waits in that request's
//! mailbox, which exists from the arrival of the request until its end. Frames for a request without a
//! mailbox are late news about one that has ended and are dropped. Memory is bounded by the router's windows:
//! it sends no more than it has credit for.
//!
//! This module does not block and knows no Python: [`crate::link::Link`] holds it under a lock and does the
//! waiting.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use wire::{ById, Frame, FrameBuffer, ToWorker, WireError};

use crate::link::{WaitFor, broken};

/// A request that has not started, still encoded.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: u64,
    flags: u8,
    kind: u8,
    payload: Vec<u8>,
}

impl Request {
    /// The frame to decode when the request starts.
    pub(crate) fn frame(&self) -> Frame<'_> {
        Frame { kind: self.kind, flags: self.flags, id: self.id, payload: &self.payload }
    }

    /// True if any bit of `flag` is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// One unit of a request's body or of its WebSocket.
#[derive(Debug)]
pub(crate) enum Piece {
    Body { data: Vec<u8>, end: bool },
    Message { data: Vec<u8>, text: bool, end: bool },
    Close { code: u16, reason: String },
}

/// What has arrived for one request since it was last looked at.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    pub(crate) pieces: VecDeque<Piece>,
    /// Response bytes the router has consumed and that were not yet added to the sender's allowance.
    pub(crate) credit: u64,
    /// The client left, or its body ended too early.
    pub(crate) cancelled: bool,
    /// The deadline passed while the request was running: waiting for it makes no sense any more.
    pub(crate) interrupted: bool,
}

/// What one look at the socket gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// This many requests were queued; `mail` says whether anything else arrived.
    Frames {
        requests: usize,
        mail: bool,
    },
    Nothing,
    /// The router closed the link.
    Closed,
}

/// Everything received and not yet taken. See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    frames: FrameBuffer,
    pub(crate) queue: VecDeque<Request>,
    pub(crate) mail: ById<Mailbox>,
    /// Ids whose mailbox got something, for an event loop to look at; `None` when threads look by themselves.
    pub(crate) touched: Option<Vec<u64>>,
    /// No request will come any more.
    pub(crate) finishing: bool,
    /// A thread is waiting for the socket, so others wait for that thread.
    pub(crate) leader: bool,
    /// Threads that were woken for a request of the queue and have not taken it yet.
    pub(crate) claims: usize,
    /// Threads that wait for a request.
    pub(crate) idle: usize,
    /// Threads that wait for something about a request that they run.
    pub(crate) expecting: usize,
}

impl Inbox {
    /// How many threads wait for `what`.
    pub(crate) fn waiting(&mut self, what: WaitFor) -> &mut usize {
        match what {
            WaitFor::Request => &mut self.idle,
            WaitFor::Mail => &mut self.expecting,
        }
    }

    /// Read what is in the socket without blocking and sort it.
    pub(crate) fn receive(&mut self, data: BorrowedFd<'_>) -> Received {
        let count = loop {
            match recv(data, self.frames.space(), RecvFlags::DONTWAIT) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => return Received::Closed,
                Ok((count, _)) => break count,
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(Errno::INTR) => {}
                Err(error) => broken(&format!("cannot read the data link: {error}")),
            }
        };
        self.frames.filled(count);
        self.sort().unwrap_or_else(|error| broken(&format!("malformed frame on the data link: {error}")))
    }

    /// Move complete frames from the byte buffer to the queue and the mailboxes.
    fn sort(&mut self) -> Result<Received, WireError> {
        let (mut requests, mut mail) = (0, false);
        while let Some(frame) = self.frames.next_frame()? {
            if frame.is_request() {
                let Frame { kind, flags, id, payload } = frame;
                self.queue.push_back(Request { id, flags, kind, payload: payload.to_vec() });
                self.mail.insert(id, Mailbox::default());
                requests += 1;
                continue;
            }
            let id = frame.id;
            let message = ToWorker::decode(frame)?;
            let Some(mailbox) = self.mail.get_mut(&id) else {
                continue;
            };
            match message {
                ToWorker::Body { data, end, .. } => {
                    mailbox.pieces.push_back(Piece::Body { data: data.to_vec(), end });
                }
                ToWorker::Message { data, text, end, .. } => {
                    mailbox.pieces.push_back(Piece::Message { data: data.to_vec(), text, end });
                }
                ToWorker::Close { code, reason, .. } => {
                    mailbox.pieces.push_back(Piece::Close { code, reason: reason.to_owned() });
                }
                ToWorker::Credit { bytes, .. } => mailbox.credit += u64::from(bytes),
                ToWorker::Cancel { .. } => mailbox.cancelled = true,
                ToWorker::Request { .. } => return Err(WireError::UnknownKind(0)),
            }
            mail = true;
            if let Some(touched) = &mut self.touched {
                touched.push(id);
            }
        }
        Ok(Received::Frames { requests, mail })
    }

    /// Take back every request that has not started.
    pub(crate) fn reclaim(&mut self) -> Vec<u64> {
        let ids: Vec<u64> = self.queue.drain(..).map(|request| request.id).collect();
        for id in &ids {
            self.mail.remove(id);
        }
        ids
    }

    /// Drop one request if it has not started; says whether it was there.
    pub(crate) fn drop_queued(&mut self, id: u64) -> bool {
        let Some(position) = self.queue.iter().position(|request| request.id == id) else {
            return false;
        };
        self.queue.remove(position);
        self.mail.remove(&id);
        true
    }
}
