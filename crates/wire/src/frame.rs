//! The frame header, and the buffer that cuts a byte stream into frames.

use crate::WireError;

/// Bytes of a frame header.
pub const FRAME_HEADER: usize = 16;

/// Largest payload of one frame in bytes: a full header block (64 KiB, plus per-field overhead) with an inline body
/// piece of [`crate::MAX_CHUNK`] fits with room to spare, and a lying length cannot make the reader allocate more.
pub const MAX_PAYLOAD: usize = 384 * 1024;

/// One undecoded frame; its payload borrows from the [`FrameBuffer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    /// Request id; 0 for frames that belong to no request.
    pub id: u64,
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// True for a [`crate::ToWorker::Request`] frame: a worker queues those before it decodes them.
    #[must_use]
    pub fn is_request(&self) -> bool {
        self.kind == crate::data::kind::REQUEST
    }
}

/// Append a frame whose payload is written by `payload`.
///
/// # Panics
/// When the payload is longer than [`MAX_PAYLOAD`]: our own code must split before it encodes.
pub fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u64, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind, flags, 0, 0]);
    out.extend_from_slice(&id.to_le_bytes());
    payload(out);
    seal(out, start);
}

/// Write the length of the frame that began at `start`, now that its payload is complete.
pub(crate) fn seal(out: &mut [u8], start: usize) {
    let length = out.len() - start - FRAME_HEADER;
    assert!(length <= MAX_PAYLOAD, "payload of {length} bytes must be split before encoding");
    let length = u32::try_from(length).expect("MAX_PAYLOAD fits in 32 bits");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Add a flag to an encoded frame that has not been sent yet; `start` is the offset of its header in `out`.
pub fn set_flag(out: &mut [u8], start: usize, flag: u8) {
    out[start + 5] |= flag;
}

/// A growing window over a byte stream: fill the free space from a socket, take complete frames off the front.
///
/// Never holds more than one incomplete frame plus one read, so memory is bounded by [`MAX_PAYLOAD`] and the
/// read size whatever the peer sends.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameBuffer {
    const READ_SIZE: usize = 64 * 1024;

    /// Free space to read into, at least 32 KiB; follow with [`FrameBuffer::filled`].
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.bytes.len() - self.end < Self::READ_SIZE / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let wanted = self.end + Self::READ_SIZE;
            if self.bytes.len() < wanted {
                self.bytes.resize(wanted, 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    /// `count` bytes of the last [`FrameBuffer::space`] were written.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// True when bytes of an incomplete (or not yet taken) frame are held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The next complete frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] or [`WireError::Reserved`]; the stream cannot be resynchronised after either.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        let Some(length) = complete_length(&self.bytes[self.start..self.end])? else {
            return Ok(None);
        };
        let start = self.start;
        self.start += length;
        Ok(Frame::first(&self.bytes[start..self.start]))
    }
}

impl<'a> Frame<'a> {
    /// The frame at the front of `bytes` if it is complete and its header valid.
    #[must_use]
    pub fn first(bytes: &'a [u8]) -> Option<Self> {
        let length = complete_length(bytes).ok()??;
        let (header, payload) = bytes[..length].split_first_chunk::<FRAME_HEADER>()?;
        let [_, _, _, _, kind, flags, _, _, id @ ..] = *header;
        Some(Frame { kind, flags, id: u64::from_le_bytes(id), payload })
    }
}

/// Length with its header of the frame at the front of `bytes`; `None` while it is incomplete.
fn complete_length(bytes: &[u8]) -> Result<Option<usize>, WireError> {
    let Some((header, payload)) = bytes.split_first_chunk::<FRAME_HEADER>() else {
        return Ok(None);
    };
    let [l0, l1, l2, l3, _, _, zero0, zero1, ..] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > MAX_PAYLOAD {
        return Err(WireError::TooLarge(length));
    }
    if (zero0, zero1) != (0, 0) {
        return Err(WireError::Reserved);
    }
    Ok((payload.len() >= length).then_some(FRAME_HEADER + length))
}
