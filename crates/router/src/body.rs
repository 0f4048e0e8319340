//! The body of a request: taken out of the connection's bytes, checked, and, for applications that cannot stream,
//! stored until it is complete.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use bytes::{Buf as _, Bytes, BytesMut};

use crate::http::chunked::{ChunkedDecoder, Piece};
use crate::http::head::{Framing, Reject};

/// What is wrong with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    Malformed(Reject),
}

/// Decoder of one body from the connection's buffer.
#[derive(Debug)]
pub(crate) struct BodyReader {
    framing: Decoder,
    received: u64,
    limit: u64,
}

#[derive(Debug)]
enum Decoder {
    Length(u64),
    Chunked(ChunkedDecoder),
    Finished,
}

impl BodyReader {
    /// `limit`: largest body in bytes; a stated length above it fails at once.
    pub(crate) fn new(framing: Framing, limit: u64) -> Result<Self, BodyError> {
        let framing = match framing {
            Framing::None => Decoder::Finished,
            Framing::Length(length) if length > limit => return Err(BodyError::TooLarge),
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(ChunkedDecoder::new()),
        };
        Ok(BodyReader { framing, received: 0, limit })
    }

    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.framing, Decoder::Finished)
    }

    /// Take the next piece of at most `most` bytes off `buffer`; `None` when it holds no more of this body.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut, most: usize) -> Result<Option<Bytes>, BodyError> {
        let piece = loop {
            match &mut self.framing {
                Decoder::Finished => return Ok(None),
                Decoder::Length(remaining) => {
                    let length =
                        usize::try_from(*remaining).unwrap_or(usize::MAX).min(buffer.len()).min(most);
                    *remaining -= length as u64;
                    if *remaining == 0 {
                        self.framing = Decoder::Finished;
                    }
                    break buffer.split_to(length).freeze();
                }
                Decoder::Chunked(decoder) => {
                    let window = &buffer[..buffer.len().min(most)];
                    let mut rest = window;
                    let piece = decoder.decode(&mut rest).map_err(BodyError::Malformed)?;
                    let used = window.len() - rest.len();
                    let data = match piece {
                        Piece::Data(data) => Bytes::copy_from_slice(data),
                        Piece::NeedMore | Piece::End => Bytes::new(),
                    };
                    let ended = piece == Piece::End;
                    buffer.advance(used);
                    if ended {
                        self.framing = Decoder::Finished;
                    }
                    // Chunk sizes and the like may fill the whole window and leave more behind it.
                    if !data.is_empty() || ended || used == 0 {
                        break data;
                    }
                }
            }
        };
        self.received += piece.len() as u64;
        if self.received > self.limit {
            return Err(BodyError::TooLarge);
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// A body that is collected before the request is handed over, and that can be read more than once.
#[derive(Debug)]
pub(crate) enum StoredBody {
    /// Up to `limit` bytes; more goes to an unlinked file in the temporary directory.
    Memory {
        bytes: BytesMut,
        limit: usize,
    },
    File {
        file: File,
        length: u64,
    },
}

impl StoredBody {
    /// `limit`: most bytes to keep in memory.
    pub(crate) fn new(limit: usize) -> Self {
        StoredBody::Memory { bytes: BytesMut::new(), limit }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            StoredBody::Memory { bytes, .. } => bytes.len() as u64,
            StoredBody::File { length, .. } => *length,
        }
    }

    /// Append; moves to a file when memory no longer suffices. Call off the router's thread once
    /// [`StoredBody::will_block`].
    pub(crate) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            StoredBody::Memory { bytes, limit } if bytes.len() + data.len() <= *limit => {
                bytes.extend_from_slice(data);
                Ok(())
            }
            StoredBody::Memory { bytes, .. } => {
                let mut file = tempfile::tempfile()?;
                file.write_all(bytes)?;
                file.write_all(data)?;
                *self = StoredBody::File { file, length: (bytes.len() + data.len()) as u64 };
                Ok(())
            }
            StoredBody::File { file, length } => {
                file.write_all(data)?;
                *length += data.len() as u64;
                Ok(())
            }
        }
    }

    /// Appending so many bytes will touch a disk.
    pub(crate) fn will_block(&self, more: usize) -> bool {
        match self {
            StoredBody::Memory { bytes, limit } => bytes.len() + more > *limit,
            StoredBody::File { .. } => true,
        }
    }

    /// Read up to `most` bytes from `offset`. Blocks if it is a file.
    pub(crate) fn read_at(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        match self {
            StoredBody::Memory { bytes, .. } => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let end = (start + most).min(bytes.len());
                Ok(bytes[start..end].to_vec())
            }
            StoredBody::File { file, .. } => {
                file.seek(SeekFrom::Start(offset))?;
                let mut data = Vec::with_capacity(most);
                file.take(most as u64).read_to_end(&mut data)?;
                Ok(data)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY_LIMIT: usize = 1024 * 1024;

    fn collect(
        framing: Framing,
        input: &[u8],
        limit: u64,
        most: usize,
    ) -> Result<(Vec<u8>, bool, usize), BodyError> {
        let mut reader = BodyReader::new(framing, limit)?;
        let mut buffer = BytesMut::from(input);
        let mut body = Vec::new();
        while let Some(piece) = reader.take(&mut buffer, most)? {
            assert!(piece.len() <= most);
            body.extend_from_slice(&piece);
        }
        Ok((body, reader.is_finished(), buffer.len()))
    }

    #[test]
    fn takes_bodies_apart_and_leaves_the_next_request() {
        for most in [1, 3, 100] {
            assert_eq!(collect(Framing::Length(5), b"helloGET", 9, most), Ok((b"hello".to_vec(), true, 3)));
            assert_eq!(collect(Framing::Length(9), b"hello", 9, most), Ok((b"hello".to_vec(), false, 0)));
            let chunked = b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\nGET";
            assert_eq!(
                collect(Framing::Chunked, chunked, 9, most),
                Ok((b"hello".to_vec(), true, 3)),
                "{most}"
            );
        }
    }

    #[test]
    fn limits_bodies() {
        assert_eq!(collect(Framing::Length(10), b"", 9, 10), Err(BodyError::TooLarge));
        assert_eq!(
            collect(Framing::Chunked, b"5\r\nhello\r\n5\r\nhello\r\n", 9, 100),
            Err(BodyError::TooLarge)
        );
        assert_eq!(collect(Framing::Chunked, b"x", 9, 9), Err(BodyError::Malformed(Reject::Chunk)));
    }

    #[test]
    fn stores_small_bodies_in_memory_and_large_ones_in_a_file() {
        for size in [10, MEMORY_LIMIT, MEMORY_LIMIT + 1, 3 * MEMORY_LIMIT + 7] {
            let data: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let mut stored = StoredBody::new(MEMORY_LIMIT);
            for piece in data.chunks(100_000) {
                stored.append(piece).unwrap();
            }
            assert_eq!(stored.len(), size as u64);
            assert_eq!(matches!(stored, StoredBody::File { .. }), size > MEMORY_LIMIT);
            let mut read = Vec::new();
            while read.len() < size {
                read.extend(stored.read_at(read.len() as u64, 70_000).unwrap());
            }
            assert!(read == data);
            assert_eq!(stored.read_at(0, 5).unwrap(), data[..5], "from the start again");
        }
    }
}
