//! What running a request took, as its worker measured it: a trailer of frames that a worker sends anyway.
//!
//! It is written behind the payload of a Response, Body, Failed or Done frame, which then has [`flag::SPENT`]. As long as the
//! frame has not left, later figures replace the earlier ones in place; so a request costs [`Spent::LENGTH`] bytes and no
//! frame of its own. The last ones that are sent count; those that come with a response's head are what is known by then.
//!
//! ```text
//!  ... payload | wall u32 | cpu u32 | run queue u32 | interpreter lock u32 |      microseconds, little endian; all ones: not known
//! ```

use crate::data::kind;
use crate::frame::{FRAME_HEADER, Frame, seal};
use crate::{WireError, flag};

/// Microseconds. Nobody has checked them: they are a tenant's word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// From the moment the worker turned to the request.
    pub wall: u32,
    /// Of the thread that ran it.
    pub cpu: u32,
    /// Ready to run, while other threads had the processor.
    pub run_queue: Option<u32>,
    /// Ready to go on, while other threads had the interpreter lock.
    pub gil: Option<u32>,
}

impl Spent {
    /// Bytes of the trailer.
    pub const LENGTH: usize = 16;
    const UNKNOWN: u32 = u32::MAX;

    fn encode(self) -> [u8; Self::LENGTH] {
        let optional =
            |value: Option<u32>| value.map_or(Self::UNKNOWN, |micros| micros.min(Self::UNKNOWN - 1));
        let mut bytes = [0; Self::LENGTH];
        let values = [self.wall, self.cpu, optional(self.run_queue), optional(self.gil)];
        for (field, value) in bytes.chunks_exact_mut(4).zip(values) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: [u8; Self::LENGTH]) -> Self {
        let field = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let optional = |at| Some(field(at)).filter(|value| *value != Self::UNKNOWN);
        Spent { wall: field(0), cpu: field(4), run_queue: optional(8), gil: optional(12) }
    }

    /// Write it behind the frame at `start`, the last one in `out`.
    pub fn attach(self, out: &mut Vec<u8>, start: usize) {
        out[start + 5] |= flag::SPENT;
        out.extend_from_slice(&self.encode());
        seal(out, start);
    }

    /// Write it over the trailer of the frame at `start`, if that has one.
    pub fn replace(self, out: &mut [u8], start: usize) {
        if out[start + 5] & flag::SPENT != 0 {
            let [l0, l1, l2, l3] = [out[start], out[start + 1], out[start + 2], out[start + 3]];
            let end = start + FRAME_HEADER + u32::from_le_bytes([l0, l1, l2, l3]) as usize;
            out[end - Self::LENGTH..end].copy_from_slice(&self.encode());
        }
    }

    /// Part a frame from a worker and its trailer, if it has one. What is left is for [`crate::FromWorker::decode`], which
    /// refuses the flag on frames that cannot have it.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when the frame is shorter than the trailer it announces.
    pub fn take(frame: Frame<'_>) -> Result<(Frame<'_>, Option<Spent>), WireError> {
        let Frame { kind, flags, id, payload } = frame;
        let may = matches!(kind, kind::RESPONSE | kind::BODY | kind::FAILED | kind::DONE);
        if !may || flags & flag::SPENT == 0 {
            return Ok((frame, None));
        }
        let (payload, trailer) = payload.split_last_chunk().ok_or(WireError::Truncated(kind))?;
        Ok((Frame { kind, flags: flags & !flag::SPENT, id, payload }, Some(Spent::decode(*trailer))))
    }
}
