//! `wsgi.input`: the request body as a file (PEP 3333 "Input and Error Streams").
//!
//! Pieces arrive as the router sends them; credit goes back as the application reads, so a body that nobody
//! reads is never buffered beyond the window. A body that ends too early is an error, never a short body.

use std::sync::Mutex;

use pyo3::exceptions::{PyOSError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::inbox::{Mailbox, Piece};
use crate::link::{Link, WaitFor, lock};
use crate::measure::detached;

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Bytes before this index have been read.
    start: usize,
    ended: bool,
    /// Bytes taken from the mailbox for which no credit was given yet.
    owed: usize,
}

impl Buffer {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn append(&mut self, data: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(data);
    }
}

/// What the next piece turned out to be.
enum Next {
    Data(Vec<u8>, bool),
    Gone,
    Late,
}

/// See the module documentation.
#[pyclass(frozen, module = "serpentry_worker")]
pub(crate) struct Input {
    link: &'static Link,
    id: u64,
    buffer: Mutex<Buffer>,
}

impl Input {
    /// `has_body` is false for a request without a body.
    pub(crate) fn new(link: &'static Link, id: u64, has_body: bool) -> Self {
        Input { link, id, buffer: Mutex::new(Buffer { ended: !has_body, ..Buffer::default() }) }
    }

    /// Return credit in steps, so that small pieces do not cost a frame each.
    const CREDIT_STEP: usize = 64 * 1024;

    /// Wait for one more piece; false at the end of the body.
    fn fill(&self, py: Python<'_>) -> PyResult<bool> {
        if lock(&self.buffer).ended {
            return Ok(false);
        }
        match self.next_piece(py)? {
            Next::Data(data, end) => {
                let mut buffer = lock(&self.buffer);
                buffer.append(&data);
                buffer.ended = end;
                buffer.owed += data.len();
                if !end {
                    self.give_credit(&mut buffer, Self::CREDIT_STEP);
                }
                Ok(true)
            }
            Next::Gone => Err(PyOSError::new_err("client disconnected before the end of the request body")),
            Next::Late => Err(PyOSError::new_err("deadline of the request passed while its body was read")),
        }
    }

    fn give_credit(&self, buffer: &mut Buffer, at_least: usize) {
        if buffer.owed >= at_least {
            // At most a window, which is a 32-bit number.
            let bytes = u32::try_from(buffer.owed).unwrap_or(u32::MAX);
            buffer.owed = 0;
            // Under the inbox lock: the mailbox goes before DONE is said, and nothing may be said after it.
            let inbox = self.link.inbox();
            if inbox.mail.contains_key(&self.id) {
                self.link.outbox().push_credit(self.id, bytes);
            }
        }
    }

    fn next_piece(&self, py: Python<'_>) -> PyResult<Next> {
        let take = |inbox: &mut crate::inbox::Inbox| match inbox.mail.get_mut(&self.id) {
            Some(mailbox) => take_body(mailbox),
            // The request is over; an application kept its input.
            None => Some(Next::Gone),
        };
        if let Some(next) = take(&mut self.link.inbox()) {
            return Ok(next);
        }
        // The router may be waiting for this.
        self.give_credit(&mut lock(&self.buffer), 1);
        loop {
            let waited = detached(py, || {
                self.link.flush(true);
                self.link.wait(WaitFor::Mail, take)
            });
            match waited {
                Ok(next) => return Ok(next),
                Err(_) => py.check_signals()?,
            }
        }
    }

    /// Read until `enough` says how many of the unread bytes to take, or the body ends.
    fn take<'py>(
        &self,
        py: Python<'py>,
        enough: impl Fn(&[u8]) -> Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        loop {
            {
                let mut buffer = lock(&self.buffer);
                let count = match enough(buffer.unread()) {
                    Some(count) => Some(count),
                    None if buffer.ended => Some(buffer.unread().len()),
                    None => None,
                };
                if let Some(count) = count {
                    let bytes = PyBytes::new(py, &buffer.unread()[..count]);
                    buffer.start += count;
                    return Ok(bytes);
                }
            }
            self.fill(py)?;
        }
    }
}

fn take_body(mailbox: &mut Mailbox) -> Option<Next> {
    if mailbox.interrupted {
        return Some(Next::Late);
    }
    match mailbox.pieces.pop_front() {
        Some(Piece::Body { data, end }) => Some(Next::Data(data, end)),
        Some(_) => Some(Next::Gone),
        None if mailbox.cancelled => Some(Next::Gone),
        None => None,
    }
}

/// A size argument of the file interface: absent, None and negative mean no limit.
fn limit(size: Option<isize>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}

fn line_end(unread: &[u8], limit: usize) -> Option<usize> {
    let window = &unread[..unread.len().min(limit)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(position) => Some(position + 1),
        None if unread.len() >= limit => Some(limit),
        None => None,
    }
}

#[pymethods]
impl Input {
    /// read(size=-1): exactly `size` bytes unless the body ends before; everything without a size.
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let limit = limit(size);
        self.take(py, |unread| (unread.len() >= limit).then_some(limit))
    }

    /// read1(size=-1): what is there, waiting only if nothing is.
    #[pyo3(signature = (size=None, /))]
    fn read1<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let limit = limit(size);
        self.take(py, |unread| (!unread.is_empty() || limit == 0).then_some(unread.len().min(limit)))
    }

    /// readline(size=-1): up to and with the next line feed.
    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let limit = limit(size);
        self.take(py, |unread| line_end(unread, limit))
    }

    /// readlines(hint=-1): lines until the body ends or `hint` bytes are exceeded.
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let hint = match limit(hint) {
            0 => usize::MAX,
            hint => hint,
        };
        let lines = PyList::empty(py);
        let mut total = 0;
        while total < hint {
            let line = self.readline(py, None)?;
            let length = line.as_bytes().len();
            if length == 0 {
                break;
            }
            total += length;
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.readline(py, None)?;
        if line.as_bytes().is_empty() { Err(PyStopIteration::new_err(())) } else { Ok(line) }
    }

    /// The body belongs to the host: an application that closes its view of it does no harm.
    #[expect(clippy::unused_self, reason = "a method of the file interface")]
    fn close(&self) {}
}
