//! The chunked transfer coding (RFC 9112, section 7.1), without keeping anything of it.

use super::{MAX_HEAD, ResponseError};

/// Size, extensions and trailer fields together may take so many bytes per answer before content makes up for it.
const MAX_OVERHEAD: usize = MAX_HEAD;
/// Hexadecimal digits of a chunk's size: 2^60 bytes are beyond any time limit.
const MAX_DIGITS: u8 = 15;

/// Where in the coding one is.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    size: u64,
    digits: u8,
    /// Bytes in a row that were not content.
    overhead: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Size,
    /// Behind the size, up to the line's end: ignored.
    Extension,
    Content,
    /// The line end behind the content, and whether its CR came.
    ContentEnd(bool),
    /// At the beginning of a trailer line, and whether a CR came: an empty one ends the answer.
    Trailer(bool),
    /// Within a trailer line: ignored.
    TrailerLine,
}

impl Chunked {
    /// How many bytes belong to the answer, once it is complete. Adds to `content` what was content.
    pub(super) fn feed(&mut self, bytes: &[u8], content: &mut u64) -> Result<Option<usize>, ResponseError> {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Content {
                let used = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.size -= used as u64;
                *content += used as u64;
                at += used;
                self.overhead = 0;
                if self.size == 0 {
                    self.state = State::ContentEnd(false);
                }
                continue;
            }
            let byte = bytes[at];
            at += 1;
            self.overhead += 1;
            if self.overhead > MAX_OVERHEAD {
                return Err(ResponseError::Chunk);
            }
            if self.step(byte)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// One byte that is not content; whether it was the last.
    fn step(&mut self, byte: u8) -> Result<bool, ResponseError> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = self.size * 16 + u64::from(digit);
                self.digits += 1;
                State::Size
            }
            (State::Size, b'\n') if self.digits > 0 => self.after_size(),
            (State::Size, b'\r' | b';' | b' ' | b'\t') if self.digits > 0 => State::Extension,
            (State::Extension, b'\n') => self.after_size(),
            (State::Extension, _) => State::Extension,
            (State::ContentEnd(false), b'\r') => State::ContentEnd(true),
            (State::ContentEnd(_), b'\n') => State::Size,
            (State::Trailer(_), b'\n') => return Ok(true),
            (State::Trailer(false), b'\r') => State::Trailer(true),
            (State::Trailer(false), _) => State::TrailerLine,
            (State::TrailerLine, b'\n') => State::Trailer(false),
            (State::TrailerLine, _) => State::TrailerLine,
            _ => return Err(ResponseError::Chunk),
        };
        Ok(false)
    }

    fn after_size(&mut self) -> State {
        self.digits = 0;
        if self.size == 0 { State::Trailer(false) } else { State::Content }
    }
}
