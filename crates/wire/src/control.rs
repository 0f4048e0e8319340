//! Messages of the control link. A thread of the worker that never runs the application answers them, so they get
//! through while Python is busy.

use crate::cursor::{Cursor, put_bytes};
use crate::frame::{Frame, put_frame};
use crate::{WireError, flag};

mod kind {
    pub(super) const HELLO: u8 = 32;
    pub(super) const READY: u8 = 33;
    pub(super) const BOOT_FAILED: u8 = 34;
    pub(super) const NUDGE: u8 = 35;
    pub(super) const RECLAIMED: u8 = 36;
    pub(super) const INTERRUPT: u8 = 37;
    pub(super) const FINISH: u8 = 38;
    pub(super) const STACK: u8 = 39;
    pub(super) const FORK: u8 = 40;
}

/// First byte of the one message on the birth socket of [`ControlToWorker::Fork`]: the new worker sends this as soon as its
/// parent is the host.
pub const BORN: u8 = b'+';

/// The same from the template when there is no new worker; the reason follows as text.
pub const NOT_BORN: u8 = b'-';

/// Kind of application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    Wsgi,
    Asgi,
}

impl Interface {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Interface::Wsgi => "wsgi",
            Interface::Asgi => "asgi",
        }
    }
}

/// First message of a worker, sent once its application is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// [`crate::VERSION`] of the worker.
    pub version: u16,
    pub interface: Interface,
    /// Requests it runs at a time.
    pub slots: u32,
    /// For people: "CPython 3.12.1, uvloop".
    pub runtime: &'a str,
}

/// Why the application did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootFailure<'a> {
    /// One line: what failed and a hint.
    pub message: &'a str,
    /// Python traceback, possibly empty.
    pub traceback: &'a str,
}

/// Router to worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlToWorker {
    /// Flush what you have answered; with `reclaim` also give back every request that has not started.
    Nudge { reclaim: bool },
    /// Request `id` has passed its deadline: report its stack, cancel it (async) or raise in its thread.
    Interrupt { id: u64 },
    /// No request will come any more: run shutdown handlers and exit 0.
    Finish,
    /// From the host to a template process, which is not a worker: fork one. The descriptors travel with the frame's bytes
    /// (`SCM_RIGHTS`), in this order: birth socket, data link, control link, and optionally standard output and standard
    /// error. `descriptors` says how many.
    Fork { descriptors: u8 },
}

/// Worker to router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlFromWorker<'a> {
    Hello(Hello<'a>),
    /// Startup is complete, requests may come.
    Ready,
    BootFailed(BootFailure<'a>),
    /// These requests had not started and will not start here.
    Reclaimed(Vec<u64>),
    /// Where request `id` was stuck when it was interrupted: a Python stack.
    Stack {
        id: u64,
        text: &'a str,
    },
}

impl ControlToWorker {
    /// # Errors
    /// See [`WireError`].
    pub fn decode(frame: Frame<'_>) -> Result<Self, WireError> {
        let Frame { kind, flags, id, payload } = frame;
        let allowed = if kind == kind::NUDGE { flag::RECLAIM } else { 0 };
        check_flags(&frame, allowed)?;
        let mut cursor = Cursor::new(kind, payload);
        let message = match kind {
            kind::NUDGE => ControlToWorker::Nudge { reclaim: flags & flag::RECLAIM != 0 },
            kind::INTERRUPT => ControlToWorker::Interrupt { id },
            kind::FINISH => ControlToWorker::Finish,
            kind::FORK => ControlToWorker::Fork { descriptors: cursor.u8()? },
            _ => return Err(WireError::UnknownKind(kind)),
        };
        cursor.finish()?;
        Ok(message)
    }

    /// Append this message as one frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            ControlToWorker::Nudge { reclaim } => {
                put_frame(out, kind::NUDGE, if reclaim { flag::RECLAIM } else { 0 }, 0, |_| {});
            }
            ControlToWorker::Interrupt { id } => put_frame(out, kind::INTERRUPT, 0, id, |_| {}),
            ControlToWorker::Finish => put_frame(out, kind::FINISH, 0, 0, |_| {}),
            ControlToWorker::Fork { descriptors } => {
                put_frame(out, kind::FORK, 0, 0, |out| out.push(descriptors));
            }
        }
    }
}

impl<'a> ControlFromWorker<'a> {
    /// # Errors
    /// See [`WireError`].
    pub fn decode(frame: Frame<'a>) -> Result<Self, WireError> {
        check_flags(&frame, 0)?;
        let Frame { kind, id, payload, .. } = frame;
        let mut cursor = Cursor::new(kind, payload);
        let message = match kind {
            kind::HELLO => {
                let version = cursor.u16()?;
                let interface = match cursor.u8()? {
                    0 => Interface::Wsgi,
                    1 => Interface::Asgi,
                    _ => return Err(WireError::BadField(kind)),
                };
                ControlFromWorker::Hello(Hello {
                    version,
                    interface,
                    slots: cursor.u32()?,
                    runtime: cursor.text()?,
                })
            }
            kind::READY => ControlFromWorker::Ready,
            kind::BOOT_FAILED => ControlFromWorker::BootFailed(BootFailure {
                message: cursor.text()?,
                traceback: cursor.text()?,
            }),
            kind::RECLAIMED => {
                let (ids, rest) = payload.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated(kind));
                }
                return Ok(ControlFromWorker::Reclaimed(
                    ids.iter().map(|id| u64::from_le_bytes(*id)).collect(),
                ));
            }
            kind::STACK => ControlFromWorker::Stack { id, text: cursor.text()? },
            _ => return Err(WireError::UnknownKind(kind)),
        };
        cursor.finish()?;
        Ok(message)
    }

    /// Append this message as one frame. Texts must fit in [`crate::MAX_PAYLOAD`]: cut tracebacks first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            ControlFromWorker::Hello(hello) => put_frame(out, kind::HELLO, 0, 0, |out| {
                out.extend_from_slice(&hello.version.to_le_bytes());
                out.push(u8::from(hello.interface == Interface::Asgi));
                out.extend_from_slice(&hello.slots.to_le_bytes());
                put_bytes(out, hello.runtime.as_bytes());
            }),
            ControlFromWorker::Ready => put_frame(out, kind::READY, 0, 0, |_| {}),
            ControlFromWorker::BootFailed(failure) => put_frame(out, kind::BOOT_FAILED, 0, 0, |out| {
                put_bytes(out, failure.message.as_bytes());
                put_bytes(out, failure.traceback.as_bytes());
            }),
            ControlFromWorker::Reclaimed(ids) => put_frame(out, kind::RECLAIMED, 0, 0, |out| {
                for id in ids {
                    out.extend_from_slice(&id.to_le_bytes());
                }
            }),
            ControlFromWorker::Stack { id, text } => {
                put_frame(out, kind::STACK, 0, *id, |out| put_bytes(out, text.as_bytes()));
            }
        }
    }
}

fn check_flags(frame: &Frame<'_>, allowed: u8) -> Result<(), WireError> {
    if frame.flags & !allowed == 0 {
        Ok(())
    } else {
        Err(WireError::BadFlags { kind: frame.kind, flags: frame.flags })
    }
}
