//! `start_response` and `write` of one request (PEP 3333 "The start_response() Callable").

use std::sync::Mutex;

use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::answer::Answer;
use crate::head::Head;
use crate::inbox::Received;
use crate::link::{Link, WaitFor, lock};
use crate::measure::detached;

/// How sending ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Handed over, perhaps not written yet.
    All,
    /// Nobody will read the answer.
    ClientGone,
}

/// The response side of one request.
#[pyclass(frozen, module = "serpentry_worker")]
pub(crate) struct Exchange {
    link: &'static Link,
    id: u64,
    answer: Mutex<Answer>,
}

impl Exchange {
    pub(crate) fn new(answer: Answer, link: &'static Link) -> Self {
        Exchange { link, id: answer.id, answer: Mutex::new(answer) }
    }

    pub(crate) fn answer(&self) -> std::sync::MutexGuard<'_, Answer> {
        lock(&self.answer)
    }

    /// Send one piece, waiting for credit where needed. The end is marked when `end` says so, and also as
    /// soon as the application's own Content-Length is reached: most frameworks state it, and so their
    /// response is one frame.
    pub(crate) fn send(&self, py: Python<'_>, data: &[u8], end: bool) -> PyResult<Sent> {
        let (mut rest, end) = {
            let mut answer = self.answer();
            if !answer.has_head() {
                return Err(PyAssertionError::new_err(
                    "the application returned a body before it called start_response",
                ));
            }
            let end = end || answer.completes(data.len());
            let rest = answer.admit(data);
            if answer.ended() {
                return Ok(Sent::All);
            }
            (rest, end)
        };
        loop {
            let taken = self.answer().put(rest, end);
            rest = &rest[taken..];
            if rest.is_empty() {
                return Ok(Sent::All);
            }
            if self.wait_for_credit(py)? == Sent::ClientGone {
                return Ok(Sent::ClientGone);
            }
        }
    }

    fn wait_for_credit(&self, py: Python<'_>) -> PyResult<Sent> {
        loop {
            let waited = detached(py, || {
                self.link.flush(true);
                self.link.wait(WaitFor::Mail, |inbox| {
                    let mailbox = inbox.mail.get_mut(&self.id)?;
                    if mailbox.cancelled || mailbox.interrupted {
                        return Some(None);
                    }
                    (mailbox.credit > 0).then(|| Some(std::mem::take(&mut mailbox.credit)))
                })
            });
            match waited {
                Ok(Some(credit)) => {
                    self.answer().credit += credit;
                    return Ok(Sent::All);
                }
                Ok(None) => return Ok(Sent::ClientGone),
                Err(_) => py.check_signals()?,
            }
        }
    }

    /// Write what has been handed over, and see whether the client is still there.
    pub(crate) fn flush(&self, py: Python<'_>) -> Sent {
        detached(py, || {
            self.link.flush(true);
            let mut inbox = self.link.inbox();
            if !inbox.leader {
                while matches!(self.link.receive(&mut inbox), Received::Frames { .. }) {}
            }
            let gone = inbox.mail.get(&self.id).is_some_and(|mailbox| mailbox.cancelled);
            if gone { Sent::ClientGone } else { Sent::All }
        })
    }
}

#[pymethods]
impl Exchange {
    /// start_response(status, headers, exc_info=None) -> write
    #[pyo3(signature = (status, headers, exc_info=None))]
    fn start_response<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let py = slf.py();
        if let Some(exc_info) = exc_info {
            if this.answer().head_sent() {
                let exception = exc_info.get_item(1)?;
                return Err(PyErr::from_value(exception));
            }
        } else if this.answer().has_head() {
            return Err(PyAssertionError::new_err(
                "start_response was called a second time without exc_info",
            ));
        }
        let head = head_of(status, headers)?;
        this.answer().set_head(head);
        slf.getattr(intern!(py, "write"))
    }

    /// The imperative way to send a piece (PEP 3333 "The write() Callable").
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = piece(data)?;
        if data.is_empty() {
            return Ok(());
        }
        self.send(py, data, false)?;
        if !self.answer().ended() {
            self.flush(py);
        }
        Ok(())
    }
}

/// A piece of the body, which must be `bytes`.
pub(crate) fn piece<'a>(data: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    match data.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes()),
        Err(_) => Err(PyTypeError::new_err(format!(
            "the application's body must consist of bytes, not {}",
            data.get_type().name()?
        ))),
    }
}

fn head_of(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Head> {
    let mut head = head_with_status(status)?;
    let list = headers.cast::<PyList>().map_err(|_| {
        PyTypeError::new_err(format!("headers must be a list of tuples, not {}", type_name(headers)))
    })?;
    for field in list.iter() {
        let (name, value) = pair(&field)?;
        let (name, value) = (latin1_bytes(&name)?, latin1_bytes(&value)?);
        head.push(&name, &value).map_err(|error| {
            PyValueError::new_err(format!("header {:?}: {error}", String::from_utf8_lossy(&name)))
        })?;
    }
    Ok(head)
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "that".to_owned(), |name| name.to_string())
}

/// Longest reason phrase in bytes; it shares a frame with the header fields.
const LONGEST_REASON: usize = 1000;

/// `"404 Gone fishing"` gives 404 and its phrase.
fn head_with_status(status: &Bound<'_, PyAny>) -> PyResult<Head> {
    if !status.is_instance_of::<PyString>() {
        let kind = type_name(status);
        return Err(PyTypeError::new_err(format!("status must be a str such as \"200 OK\", not {kind}")));
    }
    let line = latin1_bytes(status)?;
    let plain = !line.iter().any(|byte| *byte < 0x20 || *byte == 0x7f);
    let code = line.split_first_chunk::<3>().filter(|(digits, _)| digits.iter().all(u8::is_ascii_digit));
    let code = code.map(|(digits, rest)| {
        (digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')), rest)
    });
    match code {
        // 1xx are interim responses: an application cannot end with one.
        Some((code @ 200.., [])) if plain => Ok(Head::new(code)),
        Some((code @ 200.., [b' ', reason @ ..])) if plain && reason.len() <= LONGEST_REASON => {
            Ok(Head::new(code).with_reason(reason))
        }
        _ => Err(PyValueError::new_err(format!(
            "status {:?} is not three digits from 200, a space and a reason",
            String::from_utf8_lossy(&line)
        ))),
    }
}

fn pair<'py>(field: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let wrong = || {
        PyTypeError::new_err(format!("each header must be a (name, value) tuple, not {}", type_name(field)))
    };
    let tuple = field.cast::<PyTuple>().map_err(|_| wrong())?;
    if tuple.len() != 2 {
        return Err(wrong());
    }
    Ok((tuple.get_item(0)?, tuple.get_item(1)?))
}

type Text<'a> = std::borrow::Cow<'a, [u8]>;

/// The bytes of a `str` whose code points are all below 256.
fn latin1_bytes<'a>(text: &'a Bound<'_, PyAny>) -> PyResult<Text<'a>> {
    let text = text
        .cast::<PyString>()
        .map_err(|_| {
            PyTypeError::new_err(format!("header names and values must be str, not {}", type_name(text)))
        })?
        .to_str()?;
    if text.is_ascii() {
        return Ok(Text::Borrowed(text.as_bytes()));
    }
    let bytes: Option<Vec<u8>> = text.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect();
    bytes
        .map(Text::Owned)
        .ok_or_else(|| PyValueError::new_err("header holds a character that is not latin-1"))
}
