//! What an application has sent and the router has no credit for yet.
//!
//! The objects are kept as they are and sent piece by piece as credit arrives, so a long body is never copied
//! as a whole.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use wire::{FromWorker, MAX_CHUNK, MESSAGE_COST, message_cost};

use super::exchange::{Protocol, State};
use crate::answer::Answer;

/// Something the application sent and the router has no credit for yet.
pub(crate) enum Pending {
    /// `data[start..stop]`; `end` marks the end of the response.
    Body {
        data: Py<PyBytes>,
        start: usize,
        stop: usize,
        end: bool,
    },
    /// A message from `start` on: `bytes`, or `str` if it is text.
    Message {
        data: Py<PyAny>,
        start: usize,
        text: bool,
    },
    Close {
        code: u16,
        reason: String,
    },
}

impl State {
    /// Send what is pending as far as the credit goes. What is through is returned, to be dropped when the state is not locked
    /// any more: the application may have given it a finalizer.
    #[must_use]
    pub(crate) fn pump(&mut self, py: Python<'_>) -> Vec<Pending> {
        if self.gone {
            return std::mem::take(&mut self.pending).into();
        }
        let mut through = Vec::new();
        while let Some(pending) = self.pending.front_mut() {
            let complete = match pending {
                Pending::Body { data, start, stop, end } => {
                    *start += self.answer.put(&data.bind(py).as_bytes()[*start..*stop], *end);
                    start == stop && self.answer.ended() == *end
                }
                Pending::Message { data, start, text } => {
                    let bytes = message_bytes(data.bind(py));
                    let taken = put_message(&mut self.answer, &bytes[*start..], *text);
                    *start += taken.unwrap_or_default();
                    taken.is_some() && *start == bytes.len()
                }
                Pending::Close { code, reason } => {
                    if let Protocol::WebSocket(websocket) = &mut self.protocol {
                        websocket.close(self.answer.link, self.answer.id, *code, reason);
                    }
                    true
                }
            };
            if !complete {
                break;
            }
            through.extend(self.pending.pop_front());
        }
        through
    }
}

fn message_bytes<'a>(data: &'a Bound<'_, PyAny>) -> &'a [u8] {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return bytes.as_bytes();
    }
    // It was converted once when it was sent, so it can be again.
    data.cast::<PyString>().ok().and_then(|text| text.to_str().ok()).unwrap_or_default().as_bytes()
}

/// Send as much of a message as the credit allows; `None` if that is nothing.
fn put_message(answer: &mut Answer, data: &[u8], text: bool) -> Option<usize> {
    let mut taken = 0;
    loop {
        let rest = &data[taken..];
        if answer.credit < u64::from(MESSAGE_COST) {
            return (taken > 0).then_some(taken);
        }
        let allowed = rest.len().min(MAX_CHUNK).min(usize::try_from(answer.credit).unwrap_or(usize::MAX));
        let end = allowed == rest.len();
        answer.link.post(&FromWorker::Message { id: answer.id, data: &rest[..allowed], text, end });
        answer.credit -= u64::from(message_cost(allowed));
        taken += allowed;
        if end {
            return Some(taken);
        }
    }
}
