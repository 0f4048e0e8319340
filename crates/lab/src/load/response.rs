//! Where an answer ends (RFC 9112, section 6.3), from bytes as they come. The content is counted and thrown away.
//!
//! The server is not trusted: a head is bounded, an interim answer may come only so often, contradicting lengths end the
//! connection, and nothing here panics or grows on any input. How *long* an answer may be is bounded by the time limit.

mod chunked;

use httparse::Status;
use memchr::memchr;

use chunked::Chunked;

/// Longest head of an answer, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Fields in a head.
pub const MAX_FIELDS: usize = 128;
/// Interim answers (1xx) before the final one.
pub const MAX_INTERIM: u8 = 8;

/// What came was not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("the head of the answer is not HTTP/1")]
    Head,
    #[error("the head of the answer is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    #[error("more than {MAX_INTERIM} interim answers")]
    Interim,
    #[error("the answer's length is contradicting or not a number")]
    Length,
    #[error("a chunk of the answer is malformed")]
    Chunk,
    #[error("the connection ended before the answer did")]
    Truncated,
}

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More has to come.
    Partial,
    /// It is complete.
    Complete {
        status: u16,
        /// The connection can take another request.
        reusable: bool,
    },
}

/// Reads one answer.
#[derive(Debug, Default)]
pub struct ResponseReader {
    state: State,
    /// To HEAD: there is no content, whatever the fields say.
    without_content: bool,
    /// The part of a head that came so far; empty when it came at once.
    head: Vec<u8>,
    interim: u8,
    status: u16,
    keep_alive: bool,
    content: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunked),
    /// Until the connection ends.
    Close,
    Complete,
}

/// What a head says about what follows.
struct Framing {
    status: u16,
    keep_alive: bool,
    length: Option<u64>,
    chunked: bool,
    coded: bool,
}

impl ResponseReader {
    /// Begin again, for the answer to a HEAD request or to any other. The buffer is kept.
    pub fn reset(&mut self, head_request: bool) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        *self = ResponseReader { without_content: head_request, head, ..ResponseReader::default() };
    }

    /// Bytes of content so far.
    #[must_use]
    pub fn content(&self) -> u64 {
        self.content
    }

    /// Read what came. Bytes behind a complete answer make the connection not reusable: nobody asked for them.
    ///
    /// # Errors
    /// What came cannot be the answer; the connection is to be closed.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Progress, ResponseError> {
        loop {
            match &mut self.state {
                State::Head => match self.take_head(bytes)? {
                    Some(used) => bytes = &bytes[used..],
                    None => return Ok(Progress::Partial),
                },
                State::Length(left) => {
                    let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= used as u64;
                    self.content += used as u64;
                    if *left > 0 {
                        return Ok(Progress::Partial);
                    }
                    bytes = &bytes[used..];
                    self.state = State::Complete;
                }
                State::Chunked(chunked) => {
                    let Some(used) = chunked.feed(bytes, &mut self.content)? else {
                        return Ok(Progress::Partial);
                    };
                    bytes = &bytes[used..];
                    self.state = State::Complete;
                }
                State::Close => {
                    self.content += bytes.len() as u64;
                    return Ok(Progress::Partial);
                }
                State::Complete => {
                    let reusable = self.keep_alive && bytes.is_empty();
                    return Ok(Progress::Complete { status: self.status, reusable });
                }
            }
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// Unless the answer was to last until here.
    pub fn end(&mut self) -> Result<Progress, ResponseError> {
        match self.state {
            State::Close | State::Complete => {
                self.state = State::Complete;
                Ok(Progress::Complete { status: self.status, reusable: false })
            }
            _ => Err(ResponseError::Truncated),
        }
    }

    /// How many of the bytes belong to the head, once it is complete.
    fn take_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, ResponseError> {
        let before = self.head.len();
        let Some(end) = self.find_end(bytes) else {
            if before + bytes.len() > MAX_HEAD {
                return Err(ResponseError::HeadTooLong);
            }
            self.head.extend_from_slice(bytes);
            return Ok(None);
        };
        if before + end > MAX_HEAD {
            return Err(ResponseError::HeadTooLong);
        }
        let framing = if before == 0 {
            framing(&bytes[..end])?
        } else {
            self.head.extend_from_slice(&bytes[..end]);
            framing(&self.head)?
        };
        self.head.clear();
        self.begin_content(&framing)?;
        Ok(Some(end))
    }

    /// Where the empty line ends, counted from the beginning of what just came. Looks at each byte once, so that a server
    /// that sends its head byte by byte costs no more than another.
    fn find_end(&self, bytes: &[u8]) -> Option<usize> {
        let before = self.head.len();
        let at = |i: usize| if i < before { self.head[i] } else { bytes[i - before] };
        let mut from = 0;
        while let Some(found) = memchr(b'\n', &bytes[from..]) {
            let feed = before + from + found;
            if (feed >= 1 && at(feed - 1) == b'\n')
                || (feed >= 2 && at(feed - 1) == b'\r' && at(feed - 2) == b'\n')
            {
                return Some(from + found + 1);
            }
            from += found + 1;
        }
        None
    }

    fn begin_content(&mut self, framing: &Framing) -> Result<(), ResponseError> {
        let Framing { status, keep_alive, length, chunked, coded } = *framing;
        if (100..200).contains(&status) {
            // 101 would begin another protocol, which nobody asked for.
            self.interim += 1;
            return if self.interim > MAX_INTERIM || status == 101 {
                Err(ResponseError::Interim)
            } else {
                Ok(())
            };
        }
        (self.status, self.keep_alive) = (status, keep_alive);
        self.state = if self.without_content || status == 204 || status == 304 {
            State::Complete
        } else if coded && length.is_some() {
            // Two lengths, and an attack on whoever believes the other one.
            return Err(ResponseError::Length);
        } else if chunked {
            State::Chunked(Chunked::default())
        } else if let (Some(length), false) = (length, coded) {
            State::Length(length)
        } else {
            self.keep_alive = false;
            State::Close
        };
        Ok(())
    }
}

fn framing(head: &[u8]) -> Result<Framing, ResponseError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let (Ok(Status::Complete(_)), Some(minor), Some(status)) =
        (response.parse(head), response.version, response.code)
    else {
        return Err(ResponseError::Head);
    };
    let mut framing = Framing { status, keep_alive: minor == 1, length: None, chunked: false, coded: false };
    for field in response.headers {
        if field.name.eq_ignore_ascii_case("content-length") {
            let length = number(field.value.trim_ascii()).ok_or(ResponseError::Length)?;
            if framing.length.is_some_and(|other| other != length) {
                return Err(ResponseError::Length);
            }
            framing.length = Some(length);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            framing.coded = true;
            let last = tokens(field.value).last().unwrap_or_default();
            framing.chunked = last.eq_ignore_ascii_case(b"chunked");
        } else if field.name.eq_ignore_ascii_case("connection") {
            for token in tokens(field.value) {
                if token.eq_ignore_ascii_case(b"close") {
                    framing.keep_alive = false;
                } else if token.eq_ignore_ascii_case(b"keep-alive") && minor == 0 {
                    framing.keep_alive = true;
                }
            }
        }
    }
    Ok(framing)
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits only: no sign, no overflow.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

#[cfg(test)]
mod tests;
