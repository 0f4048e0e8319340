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
    pub(super) const LOOK: u8 = 41;
    pub(super) const BLOCKED: u8 = 42;
    pub(super) const DURABLE: u8 = 43;
    pub(super) const SEEN: u8 = 44;
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

/// What a worker is to look at inside of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Where each of its threads is.
    Stacks,
    /// Which lines allocate: traced for so long, which makes the application slower meanwhile.
    Memory { seconds: u16 },
}

/// An event loop that does not go on. Told when that is noticed, and again with `over` when it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked<'a> {
    /// The worker's number for it, in the frame's request id.
    pub episode: u64,
    pub over: bool,
    pub milliseconds: u32,
    /// Other requests inside of the worker; with `over`: how many more than were told before.
    pub waited: u32,
    /// It was in native code that kept the interpreter lock.
    pub native: bool,
    /// `file:line` of the application, or empty.
    pub place: &'a str,
    /// What is called there, or empty.
    pub call: &'a str,
    /// What the thread did at the innermost, as far as it could be seen.
    pub inner: &'a str,
    /// Python stack, or empty.
    pub stack: &'a str,
}

/// Requests of the worker waited for the disk to have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable<'a> {
    /// They are on an event loop: `percent` is the share of its time rather than of the requests'.
    pub event_loop: bool,
    /// How often, since the last report.
    pub count: u32,
    /// How long one took, 95th percentile; 0: not known.
    pub microseconds: u32,
    pub percent: u8,
    /// `file:line` of the application, or empty.
    pub place: &'a str,
    pub call: &'a str,
    pub stack: &'a str,
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
    /// Answered with [`ControlFromWorker::Seen`] of the same id.
    Look { id: u64, what: Look },
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
    Blocked(Blocked<'a>),
    Durable(Durable<'a>),
    /// The answer to [`ControlToWorker::Look`]. `done`: it is complete; else it says why there is none.
    Seen {
        id: u64,
        done: bool,
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
            kind::LOOK => {
                let what = match (cursor.u8()?, cursor.u16()?) {
                    (0, 0) => Look::Stacks,
                    (1, seconds) => Look::Memory { seconds },
                    _ => return Err(WireError::BadField(kind)),
                };
                ControlToWorker::Look { id, what }
            }
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
            ControlToWorker::Look { id, what } => put_frame(out, kind::LOOK, 0, id, |out| {
                let (code, seconds) = match what {
                    Look::Stacks => (0, 0),
                    Look::Memory { seconds } => (1, seconds),
                };
                out.push(code);
                out.extend_from_slice(&seconds.to_le_bytes());
            }),
        }
    }
}

impl<'a> ControlFromWorker<'a> {
    /// # Errors
    /// See [`WireError`].
    pub fn decode(frame: Frame<'a>) -> Result<Self, WireError> {
        let Frame { kind, flags, id, payload } = frame;
        check_flags(&frame, if matches!(kind, kind::BLOCKED | kind::SEEN) { flag::END } else { 0 })?;
        let end = flags & flag::END != 0;
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
            kind::BLOCKED => ControlFromWorker::Blocked(Blocked {
                episode: id,
                over: end,
                milliseconds: cursor.u32()?,
                waited: cursor.u32()?,
                native: yes(&mut cursor, kind)?,
                place: cursor.text()?,
                call: cursor.text()?,
                inner: cursor.text()?,
                stack: cursor.text()?,
            }),
            kind::DURABLE => ControlFromWorker::Durable(Durable {
                event_loop: yes(&mut cursor, kind)?,
                count: cursor.u32()?,
                microseconds: cursor.u32()?,
                percent: cursor.u8()?,
                place: cursor.text()?,
                call: cursor.text()?,
                stack: cursor.text()?,
            }),
            kind::SEEN => ControlFromWorker::Seen { id, done: end, text: cursor.text()? },
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
            ControlFromWorker::Blocked(it) => {
                put_frame(out, kind::BLOCKED, end(it.over), it.episode, |out| {
                    out.extend_from_slice(&it.milliseconds.to_le_bytes());
                    out.extend_from_slice(&it.waited.to_le_bytes());
                    out.push(u8::from(it.native));
                    for text in [it.place, it.call, it.inner, it.stack] {
                        put_bytes(out, text.as_bytes());
                    }
                });
            }
            ControlFromWorker::Durable(it) => put_frame(out, kind::DURABLE, 0, 0, |out| {
                out.push(u8::from(it.event_loop));
                out.extend_from_slice(&it.count.to_le_bytes());
                out.extend_from_slice(&it.microseconds.to_le_bytes());
                out.push(it.percent);
                for text in [it.place, it.call, it.stack] {
                    put_bytes(out, text.as_bytes());
                }
            }),
            ControlFromWorker::Seen { id, done, text } => {
                put_frame(out, kind::SEEN, end(*done), *id, |out| put_bytes(out, text.as_bytes()));
            }
        }
    }
}

fn end(yes: bool) -> u8 {
    if yes { flag::END } else { 0 }
}

fn yes(cursor: &mut Cursor<'_>, kind: u8) -> Result<bool, WireError> {
    match cursor.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::BadField(kind)),
    }
}

fn check_flags(frame: &Frame<'_>, allowed: u8) -> Result<(), WireError> {
    if frame.flags & !allowed == 0 {
        Ok(())
    } else {
        Err(WireError::BadFlags { kind: frame.kind, flags: frame.flags })
    }
}
