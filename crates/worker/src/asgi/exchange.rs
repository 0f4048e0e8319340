//! One request or WebSocket as the application sees it: `receive` and `send`.
//!
//! Everything runs on the thread of the event loop, but for interrupts (see [`super::interrupt`]). What is specific to HTTP
//! and to WebSockets is in the modules of those names; here is what they share: waiting, flow control, and the end.
//!
//! The state is never locked while code of the application can run: events are read before and made after, and objects that
//! it may have given a finalizer are dropped after.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::awaitable::Ready;
use super::event::Outgoing;
use super::http::{self, Http};
use super::pending::Pending;
use super::server::Shared;
use super::websocket::{self, Phase, WebSocket};
use crate::answer::Answer;
use crate::failure::Failure;
use crate::head::Head;
use crate::inbox::Request;
use crate::interrupt::set_exception;
use crate::link::lock;

pyo3::create_exception!(
    serpentry_worker,
    ClientDisconnected,
    PyOSError,
    "Raised by send() when the client has left (ASGI HTTP specification 2.4)."
);

/// What travels on this exchange.
pub(crate) enum Protocol {
    Http(Http),
    WebSocket(WebSocket),
}

/// How an event of the application is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Http,
    WebSocket(Phase),
}

/// Everything that changes.
pub(crate) struct State {
    pub(crate) answer: Answer,
    pub(crate) protocol: Protocol,
    pub(crate) pending: VecDeque<Pending>,
    waiters: Vec<Py<PyAny>>,
    /// The client left.
    pub(crate) gone: bool,
    /// The application's coroutine has ended.
    pub(crate) finished: bool,
    /// The deadline passed and the task was cancelled.
    pub(crate) overdue: bool,
    /// An exception was set for the loop's thread, to get it out of this request.
    pub(crate) raised: bool,
    pub(crate) task: Option<Py<PyAny>>,
}

/// See the module documentation.
#[pyclass(frozen, module = "serpentry_worker")]
pub(crate) struct Exchange {
    pub(crate) shared: &'static Shared,
    request: Request,
    state: Mutex<State>,
}

impl Exchange {
    pub(crate) fn new(shared: &'static Shared, request: Request, answer: Answer, protocol: Protocol) -> Self {
        let state = State {
            answer,
            protocol,
            pending: VecDeque::new(),
            waiters: Vec::new(),
            gone: false,
            finished: false,
            overdue: false,
            raised: false,
            task: None,
        };
        Exchange { shared, request, state: Mutex::new(state) }
    }

    pub(crate) fn id(&self) -> u64 {
        self.request.id
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// News in the mailbox: take the credit, send on, and wake whoever waits.
    pub(crate) fn deliver(&self, py: Python<'_>) {
        let (credit, cancelled) = {
            let mut inbox = self.shared.link.inbox();
            let Some(mailbox) = inbox.mail.get_mut(&self.id()) else {
                return;
            };
            (std::mem::take(&mut mailbox.credit), mailbox.cancelled)
        };
        let through = {
            let mut state = self.state();
            state.answer.credit += credit;
            state.gone |= cancelled;
            let through = state.pump(py);
            if let Protocol::WebSocket(websocket) = &mut state.protocol {
                websocket.collect(self.shared.link, self.id());
            }
            through
        };
        drop(through);
        self.wake(py);
    }

    /// Wake everything that waits in `receive` or `send`; each looks for itself.
    pub(crate) fn wake(&self, py: Python<'_>) {
        let waiters = std::mem::take(&mut self.state().waiters);
        for waiter in waiters {
            let waiter = waiter.bind(py);
            let woken = waiter.call_method0(intern!(py, "done")).and_then(|done| {
                if done.is_truthy()? {
                    Ok(())
                } else {
                    waiter.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop)
                }
            });
            if let Err(error) = woken {
                error.write_unraisable(py, Some(waiter));
            }
        }
    }

    /// The coroutine has ended, with a failure or without.
    pub(crate) fn conclude(&self, py: Python<'_>, failure: Option<Failure>) {
        let (excess, overdue, gone, unfinished, task) = {
            let mut state = self.state();
            if std::mem::replace(&mut state.finished, true) {
                return;
            }
            if state.raised {
                set_exception(self.shared.thread, None);
            }
            (state.answer.excess, state.overdue, state.gone, state.unfinished(), state.task.take())
        };
        drop(task);
        // What remains of a failure, seeing what has been sent and whether anybody still listens.
        let failure = match failure {
            Some(_) if overdue => Some(Failure::Deadline),
            Some(Failure::Raised(error)) if gone && error.is_instance_of::<ClientDisconnected>(py) => None,
            None if gone => None,
            None => unfinished.map(Failure::Unfinished),
            failure => failure,
        };
        if excess {
            self.note(py, "the application sent more bytes than its Content-Length; the rest was dropped");
        }
        let reason = failure.map(|failure| self.report(py, &failure));
        {
            let mut state = self.state();
            let State { protocol, answer, .. } = &mut *state;
            match (protocol, reason) {
                (Protocol::WebSocket(websocket), reason) if websocket.is_open() => {
                    websocket.close(
                        self.shared.link,
                        answer.id,
                        if reason.is_some() { 1011 } else { 1000 },
                        "",
                    );
                    answer.finish();
                }
                (_, Some(reason)) => answer.fail(&reason),
                (_, None) => answer.finish(),
            }
        }
        self.wake(py);
        self.shared.ended(py, self.id());
    }

    fn report(&self, py: Python<'_>, failure: &Failure) -> String {
        match wire::ToWorker::decode(self.request.frame()) {
            Ok(wire::ToWorker::Request { head, .. }) => self.shared.reporter.report(py, &head, failure),
            _ => "unknown request".to_owned(),
        }
    }

    fn note(&self, py: Python<'_>, text: &str) {
        if let Ok(wire::ToWorker::Request { head, .. }) = wire::ToWorker::decode(self.request.frame()) {
            self.shared.reporter.note(py, &head, text);
        }
    }
}

impl State {
    /// What is missing if the application has returned.
    fn unfinished(&self) -> Option<&'static str> {
        let awaited = match &self.protocol {
            Protocol::Http(_) => true,
            Protocol::WebSocket(websocket) => websocket.awaits_response(),
        };
        if !awaited || self.answer.ended() {
            None
        } else if self.answer.has_head() {
            Some("the application returned before its response was complete")
        } else {
            Some("the application returned without a response")
        }
    }

    /// How the next event of the application is to be read.
    fn stage(&self) -> PyResult<Stage> {
        if self.gone {
            return Err(ClientDisconnected::new_err("the client has disconnected"));
        }
        if self.finished {
            return Err(PyRuntimeError::new_err("the application has returned from this request already"));
        }
        match &self.protocol {
            Protocol::Http(_) => Ok(Stage::Http),
            Protocol::WebSocket(websocket) => websocket.phase().map(Stage::WebSocket),
        }
    }

    fn with_websocket(&mut self, change: impl FnOnce(&mut WebSocket)) {
        if let Protocol::WebSocket(websocket) = &mut self.protocol {
            change(websocket);
        }
    }

    /// Take an event that was read for `stage`.
    fn take(&mut self, stage: Stage, event: Outgoing<'_>) -> PyResult<()> {
        if self.stage()? != stage {
            return Err(PyRuntimeError::new_err(
                "something else was sent or received while this event was read",
            ));
        }
        match event {
            Outgoing::Start(head) => {
                self.response_start(head)?;
                self.with_websocket(WebSocket::deny);
            }
            Outgoing::Body { data, end } => {
                self.response_body(data, end)?;
                if self.answer.ended() {
                    self.with_websocket(WebSocket::refused);
                }
            }
            Outgoing::Accept(head) => {
                self.answer.accept(head);
                self.with_websocket(WebSocket::open);
            }
            Outgoing::Refuse => {
                self.answer.set_head(Head::new(403));
                self.answer.put(&[], true);
                self.with_websocket(WebSocket::refused);
            }
            Outgoing::Message { data, text } => {
                self.pending.push_back(Pending::Message { data: data.unbind(), start: 0, text });
            }
            Outgoing::Close { code, reason } => self.pending.push_back(Pending::Close { code, reason }),
        }
        Ok(())
    }
}

#[pymethods]
impl Exchange {
    /// The next event, as an awaitable.
    fn receive<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        match this.poll(py)? {
            Some(event) => Ok(Bound::new(py, Ready { event: event.into_any().unbind() })?.into_any()),
            None => this.shared.receive_later.bind(py).call1((slf,)),
        }
    }

    /// Take an event of the application; the awaitable is finished when the router has taken it.
    fn send<'py>(slf: &Bound<'py, Self>, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let stage = this.state().stage()?;
        let event = match stage {
            Stage::Http => http::read(event)?,
            Stage::WebSocket(phase) => websocket::read(phase, event)?,
        };
        let (idle, ended, through) = {
            let mut state = this.state();
            state.take(stage, event)?;
            let through = state.pump(py);
            (state.pending.is_empty(), state.answer.ended() && !state.waiters.is_empty(), through)
        };
        drop(through);
        if ended {
            this.wake(py);
        }
        this.shared.posted(py)?;
        if idle {
            Ok(this.shared.finished_awaitable.bind(py).clone())
        } else {
            this.shared.send_later.bind(py).call1((slf,))
        }
    }

    /// The next event if it is there.
    fn poll<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let next = {
            let mut state = self.state();
            let State { protocol, answer, gone, finished, .. } = &mut *state;
            match protocol {
                Protocol::Http(http) => http.next(answer, *gone || *finished),
                Protocol::WebSocket(websocket) => websocket.next(answer, *finished),
            }
        };
        let event = next.map(|next| next.event(py)).transpose()?;
        if !self.shared.link.outbox().is_empty() {
            self.shared.posted(py)?;
        }
        Ok(event)
    }

    /// True when everything sent has been taken.
    fn drained(&self) -> PyResult<bool> {
        let state = self.state();
        if state.gone {
            Err(ClientDisconnected::new_err("the client has disconnected"))
        } else {
            Ok(state.pending.is_empty())
        }
    }

    /// A future that is resolved at the next news.
    fn waiter<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let future = self.shared.create_future.bind(py).call0()?;
        self.state().waiters.push(future.clone().unbind());
        Ok(future)
    }
}
