//! From a complete head to a request that is under way: parse, find the application, check what can be checked before the
//! body, submit. Nothing here waits, so none of it is part of a waiting connection's memory.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use incident::Name;
use wire::Interface;

use super::{Connection, Gone, limited};
use crate::access_log;
use crate::answer::{Form, Problem};
use crate::bandwidth::Direction;
use crate::core::Core;
use crate::exchange::Exchange;
use crate::http::head::{self, Framing, Head, Reject, Websocket};
use crate::stats::{Outcome, add};
use crate::stream::Ends;
use crate::submit::{self, BodyForm, Caller};
use crate::visit::{Seat, Visit};
use crate::websocket;

/// What a head asks for before its request can be submitted.
pub(super) struct Plan {
    pub(super) framing: Framing,
    pub(super) expect_continue: bool,
}

/// What a complete head leads to.
pub(super) enum Start {
    /// Not even a route: the two sides do not agree about the request, or the connection is not wanted.
    Refuse(Refusal),
    /// The head must be paid first; then begin again.
    Pay,
    Run {
        request: Request,
        accept_key: Option<String>,
    },
    Body {
        visit: Visit,
        head: BytesMut,
        plan: Plan,
    },
}

/// An answer to what will not be submitted; the connection is closed after it.
pub(super) struct Refusal {
    pub(super) problem: Problem,
    pub(super) name: Option<Name>,
    pub(super) form: Form,
    /// The request was HEAD.
    pub(super) head: bool,
}

impl Refusal {
    /// Nothing is known about the request, not even its application.
    pub(super) fn before_head(core: &Core, problem: Problem) -> Self {
        Refusal { problem, name: core.note_trouble(problem.reason), form: Form::Text, head: false }
    }
}

/// A request that was submitted, or that the host answers itself.
pub(super) struct Request {
    /// `None`: it concerns no application.
    pub(super) visit: Option<Visit>,
    pub(super) exchange: Rc<Exchange>,
    pub(super) log: Option<Box<access_log::Entry>>,
}

impl Connection {
    /// Parse the head of `length` bytes and submit the request unless it has a body. Not async, so that the space for
    /// the parsed fields is never part of a waiting connection's memory.
    pub(super) fn begin(&mut self, length: usize) -> Start {
        let mut space = head::field_space();
        let parsed = match head::parse(&self.incoming.buffer[..length], &mut space) {
            Ok(parsed) => parsed,
            Err(reject) => {
                let problem = Problem::refused(reject);
                self.core.count_refused(problem.reason);
                return Start::Refuse(Refusal::before_head(&self.core, problem));
            }
        };
        let caller = Caller::new(&self.core, &self.ends, &parsed);
        let (host, path) = (caller.host(&parsed), parsed.target.path);
        let last = self.seat.as_ref().map(|seat| &seat.app);
        let visit = match Visit::route(&self.core, host, path, last) {
            Ok(visit) => visit,
            Err(problem) => {
                let request = self.answer(&parsed, problem);
                self.seat = None;
                self.incoming.buffer.advance(length);
                return Start::Run { request, accept_key: None };
            }
        };
        if let Err(problem) = sit_down(&mut self.seat, &visit) {
            return refuse_visit(&visit, &parsed, problem);
        }
        limited::set_buffers(&self.incoming.stream, self.seat.as_ref(), &mut self.buffers);
        if !std::mem::take(&mut self.head_paid) && !visit.app.try_bandwidth(Direction::In, length) {
            return Start::Pay;
        }
        add(&visit.app.stats.bytes_in, length);
        if length > visit.app.settings().header_size {
            return refuse_visit(&visit, &parsed, Problem::refused(Reject::HeadTooLarge));
        }
        if !visit.app.is_open() {
            let request = Request { visit: Some(visit), ..self.answer(&parsed, Problem::STOPPED) };
            self.incoming.buffer.advance(length);
            return Start::Run { request, accept_key: None };
        }
        if parsed.framing != Framing::None {
            let plan = Plan { framing: parsed.framing, expect_continue: parsed.expect_continue };
            return Start::Body { visit, head: self.incoming.buffer.split_to(length), plan };
        }
        let asgi = visit.app.interface() == Interface::Asgi;
        let accept_key = match parsed.websocket {
            Websocket::BadKey if asgi => return refuse_visit(&visit, &parsed, Problem::WEBSOCKET_KEY),
            Websocket::BadVersion if asgi => {
                return refuse_visit(&visit, &parsed, Problem::WEBSOCKET_VERSION);
            }
            Websocket::Key(key) => Some(websocket::accept_key(key)),
            _ => None,
        };
        let request = submit(visit, &self.ends, &caller, &parsed, &BodyForm::Inline(b""));
        self.incoming.buffer.advance(length);
        Start::Run { request, accept_key }
    }

    /// Submit a request whose body is ready; its head was parsed before.
    pub(super) fn submit_head(
        &self,
        visit: Visit,
        head: &[u8],
        body: &BodyForm<'_>,
    ) -> Result<Request, Gone> {
        let mut space = head::field_space();
        let parsed = head::parse(head, &mut space).map_err(|_| Gone)?;
        let caller = Caller::new(&self.core, &self.ends, &parsed);
        Ok(submit(visit, &self.ends, &caller, &parsed, body))
    }

    /// The host's own answer to a sound request.
    fn answer(&self, head: &Head<'_, '_>, problem: Problem) -> Request {
        let (submission, log) = submit::prepare_refusal(&self.core, &self.ends, head);
        let exchange = Exchange::new(submission, Rc::clone(&self.core));
        exchange.fail(problem);
        Request { visit: None, exchange, log }
    }
}

fn submit(visit: Visit, ends: &Ends, caller: &Caller, head: &Head<'_, '_>, body: &BodyForm<'_>) -> Request {
    let (submission, log) = submit::prepare(&visit, ends, caller, head, body);
    let exchange = Exchange::new(submission, Rc::clone(&visit.app.core));
    visit.app.submit(&exchange);
    Request { visit: Some(visit), exchange, log }
}

/// Count the connection for the application, and no more for the one before.
fn sit_down(seat: &mut Option<Seat>, visit: &Visit) -> Result<(), Problem> {
    if seat.as_ref().is_some_and(|seat| Rc::ptr_eq(&seat.app, &visit.app)) {
        return Ok(());
    }
    *seat = Seat::take(&visit.app);
    if seat.is_some() { Ok(()) } else { Err(Problem::TOO_MANY_CONNECTIONS) }
}

/// Refuse a request before it is submitted, and close its connection.
fn refuse_visit(visit: &Visit, head: &Head<'_, '_>, problem: Problem) -> Start {
    Start::Refuse(refusal(visit, head, problem))
}

/// Count a request that was routed and will not be submitted.
pub(super) fn refusal(visit: &Visit, head: &Head<'_, '_>, problem: Problem) -> Refusal {
    let (app, core) = (&visit.app, &visit.app.core);
    let outcome = Outcome { status: problem.status, reason: Some(problem.reason), times: None };
    app.stats.finished(&outcome, core.clock.uptime());
    let request = || incident::Request {
        id: String::new(),
        method: head.method.to_owned(),
        path: head.target.path.to_owned(),
        age: Duration::ZERO,
        outcome: problem.outcome(),
    };
    let figures = || app.figures(problem.reason, &visit.limits);
    let name = app.troubles.note(core, Some(app.id), problem.reason, figures, || Some(request()));
    let form = Form::from_accept(submit::field(head, "accept"));
    Refusal { problem, name, form, head: head.method == "HEAD" }
}
