//! Decoder of the chunked transfer coding (RFC 9112 section 7.1), strict.

use super::head::Reject;
use super::response::is_token_byte;

/// Longest chunk-size line with its extensions, and most bytes of all trailer fields together.
const LINE_LIMIT: usize = 256;
const TRAILER_LIMIT: usize = 8 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At or in the hexadecimal digits; the count of digits so far.
    Size {
        digits: u8,
    },
    /// White space that may stand before an extension ("BWS": must be accepted, must not be sent).
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    /// In the name of a trailer field.
    TrailerName,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// Incremental decoder. Extensions and trailer fields are checked for form and dropped.
#[derive(Debug)]
pub(crate) struct ChunkedDecoder {
    state: State,
    remaining: u64,
    /// Bytes of the current size line, or of all trailers.
    spent: usize,
}

/// What one call found at the front of its input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'b> {
    /// Body bytes.
    Data(&'b [u8]),
    /// The input is used up.
    NeedMore,
    /// The body is complete; what follows in the input is the next request.
    End,
}

impl ChunkedDecoder {
    pub(crate) fn new() -> Self {
        ChunkedDecoder { state: State::Size { digits: 0 }, remaining: 0, spent: 0 }
    }

    /// Take the next piece off `input`, which is advanced past what was consumed.
    pub(crate) fn decode<'b>(&mut self, input: &mut &'b [u8]) -> Result<Piece<'b>, Reject> {
        loop {
            if self.state == State::Done {
                return Ok(Piece::End);
            }
            if input.is_empty() {
                return Ok(Piece::NeedMore);
            }
            if self.state == State::Data {
                let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
                let (data, rest) = input.split_at(length);
                *input = rest;
                self.remaining -= length as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Piece::Data(data));
            }
            let byte = input[0];
            *input = &input[1..];
            self.state = self.next_state(byte)?;
        }
    }

    fn next_state(&mut self, byte: u8) -> Result<State, Reject> {
        match (self.state, byte) {
            (State::Size { digits }, _) if byte.is_ascii_hexdigit() => {
                // 15 digits: a size that cannot overflow 64 bits, and far beyond any body limit.
                if digits == 15 {
                    return Err(Reject::Chunk);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.remaining = self.remaining * 16 + u64::from(digit);
                Ok(State::Size { digits: digits + 1 })
            }
            (State::Size { digits: 1.. } | State::SizeSpace, b';') => Ok(State::Extension),
            (State::Size { digits: 1.. } | State::SizeSpace, b' ' | b'\t') => {
                self.spend(LINE_LIMIT)?;
                Ok(State::SizeSpace)
            }
            (State::Size { digits: 1.. }, b'\r') => Ok(State::SizeLf),
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.spend(LINE_LIMIT)?;
                Ok(State::Extension)
            }
            (State::SizeLf, b'\n') => {
                self.spent = 0;
                Ok(if self.remaining == 0 { State::TrailerStart } else { State::Data })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { digits: 0 }),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerName, b':') => Ok(State::Trailer),
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => {
                self.spend(TRAILER_LIMIT)?;
                Ok(State::TrailerName)
            }
            (State::Trailer, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.spend(TRAILER_LIMIT)?;
                Ok(State::Trailer)
            }
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::EndLf, b'\n') => Ok(State::Done),
            _ => Err(Reject::Chunk),
        }
    }

    fn spend(&mut self, limit: usize) -> Result<(), Reject> {
        self.spent += 1;
        if self.spent > limit { Err(Reject::Chunk) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decode `input` cut into pieces of `step` bytes: the body and the number of bytes left over after its end.
    fn decode(input: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, Reject> {
        let mut decoder = ChunkedDecoder::new();
        let mut body = Vec::new();
        let mut used = 0;
        for piece in input.chunks(step.max(1)) {
            let mut rest = piece;
            loop {
                match decoder.decode(&mut rest)? {
                    Piece::Data(data) => body.extend_from_slice(data),
                    Piece::NeedMore => break,
                    Piece::End => return Ok(Some((body, input.len() - used - (piece.len() - rest.len())))),
                }
            }
            used += piece.len();
        }
        Ok(None)
    }

    #[test]
    fn decodes_whatever_the_cuts() {
        let input = b"5\r\nhello\r\n6;name=value\r\n world\r\n0\r\nX-Sum: 1\r\n\r\nGET ";
        for step in 1..=input.len() {
            assert_eq!(decode(input, step), Ok(Some((b"hello world".to_vec(), 4))), "step {step}");
        }
        assert_eq!(decode(b"5\r\nhel", 2), Ok(None));
        assert_eq!(decode(b"5 ;ext\r\nhello\r\n0\r\n\r\n", 1), Ok(Some((b"hello".to_vec(), 0))));
    }

    #[test]
    fn refuses_malformed_chunks() {
        for bad in [
            &b"0x5\r\nhello\r\n"[..],
            b"-5\r\nhello",
            b"5 \r\nhello",
            b" 5\r\nhello",
            b"\r\n",
            b";a\r\n",
            b"FFFFFFFFFFFFFFFFF\r\n",
            b"5\nhello\n0\n\n",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\r0\r\n",
            b"5;a\x00b\r\nhello",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nX\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nno-colon\r\n\r\n",
            b"0\r\n: nameless\r\n\r\n",
        ] {
            assert_eq!(decode(bad, 3), Err(Reject::Chunk), "{}", bad.escape_ascii());
        }
        let mut long = b"5;".to_vec();
        long.resize(400, b'a');
        assert_eq!(decode(&long, 50), Err(Reject::Chunk));
        let mut trailers = b"0\r\n".to_vec();
        trailers.extend(b"A: b\r\n".repeat(3000));
        assert_eq!(decode(&trailers, 100), Err(Reject::Chunk));
    }

    proptest! {
        #[test]
        fn round_trip(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8), step in 1..40_usize) {
            let mut encoded = Vec::new();
            for chunk in &chunks {
                encoded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                encoded.extend_from_slice(chunk);
                encoded.extend_from_slice(b"\r\n");
            }
            encoded.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decode(&encoded, step), Ok(Some((chunks.concat(), 0))));
        }

        #[test]
        fn never_panics_and_never_depends_on_cuts(input in proptest::collection::vec(prop_oneof![
            Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'5'), Just(b';'), any::<u8>()], 0..80)) {
            let whole = decode(&input, input.len());
            for step in 1..6 {
                prop_assert_eq!(decode(&input, step), whole.clone());
            }
        }
    }
}
