//! One request on its way through the router: the meeting point of the client's connection and a worker's link.
//!
//! The connection creates it, the application's queue holds it, a link runs it, and the connection is woken with what
//! came of it. Everything lives on one router thread, so plain cells do.
//!
//! ```text
//!  Queued --handed to a link--> Handed --first byte of the answer--> Answering --> Over
//!    ^                            |
//!    +--- worker died or gave it back, and it may run (again) ---+
//! ```

mod about;
mod client;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use incident::Name;

use crate::answer::{self, Form, Problem};
use crate::core::Core;
use crate::deadline::{Limits, Wait};
use crate::event;
use crate::http::response::{AppFault, HostFields, ResponseEncoder};
use crate::link::Link;
use crate::measure::RouteId;
use crate::settings::Settings;
use crate::snapshot::Reason;

/// Where the body of a request comes from when it was not sent along with the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyPlan {
    /// There is none, or it travels in the handover.
    Complete,
    /// The connection feeds it as credit allows; it can start over, since the whole body is stored.
    Stored,
    /// The connection feeds it from the client's socket: it can be sent only once.
    Streamed,
}

/// What the connection learns when it waits.
#[derive(Debug)]
pub(crate) enum Step {
    /// Bytes for the client. When they are written, `credit` is owed to the worker; `last` ends the exchange and says
    /// whether the connection may be kept.
    Write { bytes: Vec<u8>, credit: u32, last: Option<bool> },
    /// Nothing more will come, and the response is incomplete: close so that the client notices.
    Cut,
    /// The worker takes up to this many body bytes; `restart` from the first one.
    FeedBody { credit: u32, restart: bool },
    /// The application accepted the WebSocket with these extra header fields.
    Accepted { fields: Vec<(Vec<u8>, Vec<u8>)> },
    /// A piece of a WebSocket message from the application; credit is owed for its bytes.
    Message { data: Bytes, text: bool, end: bool },
    /// The application closed the WebSocket.
    Closed { code: u16, reason: String },
    /// The application is being removed: close the WebSocket.
    GoingAway,
}

/// What may be done with a request whose worker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rerun {
    /// It has provably not been started.
    Free,
    /// It may have been, and does no harm twice. The retry budget decides.
    Charged,
    No,
}

/// What the connection knows about a request when it submits it.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) id: u64,
    pub(crate) request_id: Box<str>,
    /// Response bytes the worker may send without credit; the head says the same.
    pub(crate) window: u32,
    /// Path and query, hashed.
    pub(crate) input: u64,
    /// The encoded Request frame, followed by the Body frames if the body is small and complete.
    pub(crate) handover: Vec<u8>,
    pub(crate) body: BodyPlan,
    /// Running it twice does no harm (RFC 9110 section 9.2.2).
    pub(crate) repeatable: bool,
    /// The client asked for a WebSocket.
    pub(crate) websocket: bool,
    pub(crate) form: Form,
    pub(crate) encoder: ResponseEncoder,
    pub(crate) limits: Limits,
    /// `None`: it concerns none.
    pub(crate) app: Option<event::App>,
    /// `None`: it is no ordinary request of an application.
    pub(crate) route: Option<RouteId>,
}

/// Facts about an exchange that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// 0: the client left before it was answered.
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    /// 0: none.
    pub(crate) worker: u64,
    pub(crate) websocket: bool,
    /// The last handover.
    pub(crate) handed_at: Option<Instant>,
    /// The worker's last byte.
    pub(crate) ended_at: Option<Instant>,
    /// The host answered, and why.
    pub(crate) reason: Option<Reason>,
}

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: u64,
    pub(crate) request_id: Box<str>,
    pub(crate) arrived: Instant,
    pub(crate) body: BodyPlan,
    /// Path and query, hashed.
    pub(crate) input: u64,
    /// `None`: it is no ordinary request of an application.
    pub(crate) route: Option<RouteId>,
    repeatable: bool,
    /// The client asked for a WebSocket.
    websocket: bool,
    form: Form,
    limits: Limits,
    app: Option<event::App>,
    core: Rc<Core>,
    /// How often it was handed to a worker that then died.
    attempts: Cell<u8>,
    wait: Cell<Wait>,
    handovers: Cell<u32>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    handover: Vec<u8>,
    link: Option<Rc<Link>>,
    handed_at: Option<Instant>,
    ended_at: Option<Instant>,
    reason: Option<Reason>,
    worker: u64,
    encoder: ResponseEncoder,
    websocket: bool,
    websocket_closed: bool,
    output: Vec<u8>,
    messages: VecDeque<Step>,
    /// Response bytes received and not yet given to the connection.
    received: u32,
    /// Response bytes the worker may still send.
    window: i64,
    body_credit: u32,
    body_restart: bool,
    fed_once: bool,
    /// When the whole body had been passed on.
    body_fed: Option<Instant>,
    cut: bool,
    waker: Option<Waker>,
}

impl Exchange {
    pub(crate) fn new(submission: Submission, core: Rc<Core>) -> Rc<Self> {
        let Submission {
            id,
            request_id,
            window,
            input,
            handover,
            body,
            repeatable,
            websocket,
            form,
            encoder,
            limits,
            app,
            route,
        } = submission;
        let arrived = Instant::now();
        Rc::new(Exchange {
            id,
            request_id,
            arrived,
            input,
            body,
            route,
            repeatable,
            websocket,
            form,
            limits,
            app,
            core,
            attempts: Cell::new(0),
            wait: Cell::new(Wait::new(arrived)),
            handovers: Cell::new(0),
            state: RefCell::new(State {
                handover,
                link: None,
                handed_at: None,
                ended_at: None,
                reason: None,
                worker: 0,
                encoder,
                websocket: false,
                websocket_closed: false,
                output: Vec::new(),
                messages: VecDeque::new(),
                received: 0,
                window: i64::from(window),
                body_credit: 0,
                body_restart: false,
                fed_once: false,
                body_fed: None,
                cut: false,
                waker: None,
            }),
        })
    }

    // ---- the queue's side ----

    /// It enters the queue; `warm`: a worker serves.
    pub(crate) fn queued(&self, warm: bool) {
        self.wait.update(|wait| wait.entered(warm));
    }

    /// A worker serves from now on.
    pub(crate) fn warmed_up(&self, now: Instant) {
        self.wait.update(|wait| wait.warmed_up(now));
    }

    /// It is back in the queue, to be run again.
    pub(crate) fn requeued(&self) {
        self.wait.update(|wait| wait.again(Instant::now()));
        self.state.borrow_mut().handed_at = None;
    }

    /// Why it must not wait any longer, if so.
    pub(crate) fn waited_too_long(&self, now: Instant, settings: &Settings) -> Option<Problem> {
        self.wait.get().too_long(now, &self.limits, settings)
    }

    // ---- the link's side ----

    /// Which of its deadlines passed while a worker had it. A WebSocket that was accepted has none.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Problem> {
        let state = self.state.borrow();
        if state.websocket {
            return None;
        }
        let answer_due = match (state.has_begun(), self.body) {
            (true, _) => None,
            // The application may wait for the client.
            (false, BodyPlan::Streamed) => {
                state.handed_at.max(state.body_fed).filter(|_| state.body_fed.is_some())
            }
            (false, _) => state.handed_at,
        };
        self.wait.get().overdue(now, &self.limits, answer_due)
    }

    /// The application is being removed: a WebSocket has no reason to end by itself.
    pub(crate) fn going_away(&self) {
        let mut state = self.state.borrow_mut();
        if state.websocket {
            state.messages.push_back(Step::GoingAway);
            state.wake();
        }
    }

    /// Append the request to a link's output; from now on frames about it come from that link.
    pub(crate) fn hand_over(&self, link: &Rc<Link>, out: &mut Vec<u8>, now: Instant) {
        let mut state = self.state.borrow_mut();
        out.extend_from_slice(&state.handover);
        state.handed_at = Some(now);
        state.worker = link.worker;
        state.link = Some(Rc::clone(link));
        self.handovers.set(self.handovers.get() + 1);
        if self.body == BodyPlan::Stored {
            state.body_credit = wire::REQUEST_WINDOW;
            state.body_restart = true;
            state.wake();
        }
    }

    /// The application runs now. Until here the worker may give the request back, so a body that can be sent only once
    /// has to wait for this.
    pub(crate) fn started(&self) {
        if self.body == BodyPlan::Streamed {
            self.body_credit(wire::REQUEST_WINDOW);
        }
    }

    /// It is run again: a worker that held it ended.
    pub(crate) fn is_rerun(&self) -> bool {
        self.attempts.get() > 0
    }

    /// How often it was handed to a worker: what was meant for one must not reach the next.
    pub(crate) fn handovers(&self) -> u32 {
        self.handovers.get()
    }

    /// Its worker has finished with it and will send nothing more about it.
    pub(crate) fn released(&self) {
        self.state.borrow_mut().link = None;
    }

    /// Its worker gave it back. True if it can be handed to another.
    pub(crate) fn taken_back(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.link = None;
        state.handed_at = None;
        let body_is_gone = self.body == BodyPlan::Streamed && state.fed_once;
        !state.has_begun() && !body_is_gone
    }

    /// The worker died. `not_started`: it had not said anything about the request.
    pub(crate) fn worker_died(&self, not_started: bool) -> Rerun {
        let mut state = self.state.borrow_mut();
        state.link = None;
        let body_available = self.body != BodyPlan::Streamed || !state.fed_once;
        let may_run_again = (self.repeatable || not_started) && body_available;
        if state.has_begun() || !may_run_again || self.attempts.get() > 0 {
            return Rerun::No;
        }
        self.attempts.set(1);
        // Only of these a worker says that it begins, see `submit`.
        let announced = !self.repeatable || self.body == BodyPlan::Streamed;
        if announced && not_started { Rerun::Free } else { Rerun::Charged }
    }

    /// The head of the application's response and the first piece of its body.
    pub(crate) fn respond(
        &self,
        head: &wire::ResponseHead<'_>,
        body: &[u8],
        end: bool,
        server_timing: Option<&str>,
        now: Instant,
    ) -> Result<(), AppFault> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if head.status == 101 && self.websocket && !state.has_begun() && !end {
            state.websocket = true;
            let fields = head.headers().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            state.messages.push_back(Step::Accepted { fields });
            state.wake();
            return Ok(());
        }
        if state.websocket {
            return Err(AppFault::Order);
        }
        // An application that answers without waiting for the whole body does not want the rest of it.
        let unread_body = self.body == BodyPlan::Streamed && state.body_fed.is_none();
        if (end && unread_body) || self.core.stopping.get() {
            state.encoder.close_after();
        }
        state.count(length(body))?;
        let host =
            HostFields { date: &self.core.clock.http_date(), request_id: &self.request_id, server_timing };
        let status = (head.status, head.reason);
        state.encoder.head(&mut state.output, status, head.headers(), (body, end), host)?;
        state.ended_at = end.then_some(now);
        state.wake();
        Ok(())
    }

    /// A further piece of the response body.
    pub(crate) fn respond_body(&self, data: &[u8], end: bool, now: Instant) -> Result<(), AppFault> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.count(length(data))?;
        state.encoder.body(&mut state.output, data, end)?;
        state.ended_at = end.then_some(now);
        state.wake();
        Ok(())
    }

    /// A piece of a WebSocket message.
    pub(crate) fn message(&self, data: &[u8], text: bool, end: bool) -> Result<(), AppFault> {
        let mut state = self.state.borrow_mut();
        if !state.websocket {
            return Err(AppFault::Order);
        }
        state.count(wire::message_cost(data.len()))?;
        state.messages.push_back(Step::Message { data: Bytes::copy_from_slice(data), text, end });
        state.wake();
        Ok(())
    }

    /// The application closed the WebSocket.
    pub(crate) fn closed(&self, code: u16, reason: &str) -> Result<(), AppFault> {
        let mut state = self.state.borrow_mut();
        if !state.websocket || state.websocket_closed {
            return Err(AppFault::Order);
        }
        state.websocket_closed = true;
        state.messages.push_back(Step::Closed { code, reason: reason.to_owned() });
        state.wake();
        Ok(())
    }

    /// The application has finished with the request; whatever it left open ends now.
    pub(crate) fn finished(&self) {
        let (websocket, closed) = {
            let state = self.state.borrow();
            (state.websocket, state.websocket_closed)
        };
        if websocket && !closed {
            // A WebSocket handler that ends without closing: 1011, "internal error" (RFC 6455 section 7.4.1).
            let _ = self.closed(1011, "");
        } else if !websocket {
            self.fail(Problem::APP_FAILED);
        }
        self.released();
    }

    /// The worker consumed body bytes.
    pub(crate) fn body_credit(&self, bytes: u32) {
        let mut state = self.state.borrow_mut();
        state.body_credit = state.body_credit.saturating_add(bytes).min(4 * wire::REQUEST_WINDOW);
        state.wake();
    }

    /// Answer in the application's place, or cut the connection if its own answer has begun.
    pub(crate) fn fail(&self, problem: Problem) {
        if self.is_over() {
            return;
        }
        let reason = problem.reason;
        let outcome = problem.outcome();
        let app = self.app.and_then(|app| self.core.app(app));
        let name = app.and_then(|app| {
            let figures = || app.figures(reason, &self.limits);
            app.troubles.note(&self.core, Some(app.id), reason, figures, || Some(self.request(outcome)))
        });
        self.fail_as(problem, name);
    }

    /// The same under a name that somebody else has given.
    pub(crate) fn fail_as(&self, problem: Problem, name: Option<Name>) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.encoder.is_finished() || state.cut {
            return;
        }
        if (self.body == BodyPlan::Streamed && state.body_fed.is_none()) || self.core.stopping.get() {
            state.encoder.close_after();
        }
        let host = HostFields {
            date: &self.core.clock.http_date(),
            request_id: &self.request_id,
            server_timing: None,
        };
        let begun = state.has_begun();
        state.reason = Some(problem.reason);
        state.cut = begun
            || answer::encode(&mut state.output, &mut state.encoder, problem, name, self.form, host).is_err();
        state.wake();
    }

    /// The client has its whole answer, or will never have it.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state.borrow();
        state.cut || state.encoder.is_finished()
    }
}

/// Pieces are never longer than a frame.
fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

impl State {
    fn has_begun(&self) -> bool {
        self.encoder.has_begun() || self.websocket
    }

    /// Account for response bytes; a worker that sends more than it has credit for is broken.
    fn count(&mut self, cost: u32) -> Result<(), AppFault> {
        self.window -= i64::from(cost);
        self.received = self.received.saturating_add(cost);
        if self.window < 0 { Err(AppFault::Window) } else { Ok(()) }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
