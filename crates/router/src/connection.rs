//! One client connection: read a head, submit the request, write what comes back, and again.
//!
//! ```text
//!  idle --first byte--> head --complete--> (body stored?) --> waiting for steps of the exchange --last byte--> idle
//!    | keep-alive time     | malformed: 4xx, close            | client gone: abandon, close
//!    v or stop: close      v too slow: 408, close             v cut by the host or the application: reset
//! ```
//!
//! A connection belongs to no application; every request on it is routed by itself. While a request runs, the connection still watches the socket: it notices that the client left, and reads ahead a
//! bounded part of the next (pipelined) request.

mod begin;
mod limited;

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use wire::Interface;

use self::begin::{Plan, Refusal, Request, Start, refusal};
pub(crate) use self::limited::Debt;
use crate::access_log;
use crate::answer::{self, Problem};
use crate::body::{BodyReader, StoredBody};
use crate::core::Core;
use crate::exchange::{Exchange, Record, Step};
use crate::http::head::{self, Framing, Reject};
use crate::http::response::{self, HostFields, ResponseEncoder};
use crate::http::scan::HeadScanner;
use crate::measure::Ended;
use crate::snapshot::Reason;
use crate::stats::{Outcome, Times, add};
use crate::stream::{Buffers, Ends, Incoming, Stream};
use crate::submit::BodyForm;
use crate::upload::Body;
use crate::visit::{Seat, Visit};
use crate::watchdog::{Expired, Watchdog};
use crate::websocket;

/// A body up to this size is handed over together with its head, also to applications that could stream it.
const INLINE_BODY: u64 = 64 * 1024;

/// After an early refusal, what the client still sends is thrown away for this long and this much, so that it gets to
/// read the answer instead of a reset (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// Connections over the limit that are told so at the same time; more are closed without a word.
const MOST_REFUSALS: usize = 64;

/// Empty lines before a request line that are passed over.
const EMPTY_LINES: usize = 4;

/// The connection is of no further use.
#[derive(Debug)]
pub(crate) struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Gone
    }
}

impl From<Expired> for Gone {
    fn from(_: Expired) -> Self {
        Gone
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) core: Rc<Core>,
    /// With the application of the latest request.
    seat: Option<Seat>,
    pub(crate) incoming: Incoming,
    pub(crate) watchdog: Rc<Watchdog>,
    ends: Ends,
    /// It has carried a request.
    used: bool,
    /// The head in the buffer has been paid.
    head_paid: bool,
    debt: Debt,
    /// `None`: the socket's own.
    buffers: Option<Box<Buffers>>,
}

/// Serve one connection until it ends.
pub(crate) async fn serve(core: Rc<Core>, stream: Stream, ends: Ends) {
    let admitted = core.connections.get() < core.host().connections;
    let counter = if admitted { &core.connections } else { &core.refusals };
    let others = counter.get();
    if !admitted && others >= MOST_REFUSALS {
        return;
    }
    counter.set(others + 1);
    let watchdog = core.watchdogs.register();
    let incoming = Incoming::new(stream);
    let shared = Rc::clone(&core);
    let mut connection = Connection {
        core: shared,
        seat: None,
        incoming,
        watchdog,
        ends,
        used: false,
        head_paid: false,
        debt: Debt::default(),
        buffers: None,
    };
    if !admitted {
        core.count_refused(Reason::Connections);
        let refusal = Refusal::before_head(&core, Problem::TOO_MANY_CONNECTIONS);
        // Boxed: rare, and its state need not be part of every connection's memory.
        Box::pin(connection.refuse(refusal)).await;
    } else {
        while connection.serve_one().await.is_ok() {}
    }
    drop(connection);
    counter.set(counter.get() - 1);
}

impl Connection {
    /// One request and its response. `Err` when the connection ends.
    async fn serve_one(&mut self) -> Result<(), Gone> {
        let length = match self.read_head().await? {
            Ok(length) => length,
            Err(problem) => {
                self.core.count_refused(problem.reason);
                let refusal = Refusal::before_head(&self.core, problem);
                Box::pin(self.refuse(refusal)).await;
                return Err(Gone);
            }
        };
        self.used = true;
        let mut start = self.begin(length);
        if let Start::Pay = start {
            Box::pin(self.pay(length)).await;
            self.head_paid = true;
            start = self.begin(length);
        }
        match start {
            // It is paid.
            Start::Pay => Err(Gone),
            Start::Refuse(refusal) => {
                Box::pin(self.refuse(refusal)).await;
                Err(Gone)
            }
            Start::Run { request, accept_key } => self.run(request, accept_key, &mut Body::Complete).await,
            Start::Body { visit, head, plan } => Box::pin(self.serve_with_body(visit, &head, &plan)).await,
        }
    }

    /// Wait for a complete head. The inner error is one to tell the client about.
    async fn read_head(&mut self) -> Result<Result<usize, Problem>, Gone> {
        let mut scanner = HeadScanner::default();
        let mut started: Option<Instant> = None;
        let mut empty_lines = 0;
        loop {
            // RFC 9112 section 2.2: ignore an empty line before the request line.
            while self.incoming.buffer.starts_with(b"\r\n") {
                self.incoming.buffer.advance(2);
                empty_lines += 1;
                if empty_lines > EMPTY_LINES {
                    return Ok(Err(Problem::refused(Reject::Malformed)));
                }
            }
            if !self.incoming.buffer.is_empty() && self.incoming.buffer[..] != b"\r"[..] {
                match scanner.find_end(&self.incoming.buffer, self.core.host().header_size) {
                    Ok(Some(length)) => return Ok(Ok(length)),
                    Ok(None) => {}
                    Err(reject) => return Ok(Err(Problem::refused(reject))),
                }
            }
            if self.incoming.closed {
                return Err(Gone);
            }
            if self.incoming.buffer.is_empty() {
                // An idle connection keeps no buffer.
                self.incoming.buffer = BytesMut::new();
                // A client that connects and says nothing is not worth a keep-alive connection yet.
                let limit = self.idle_timeout();
                self.watchdog.guard_idle(limit, self.incoming.read()).await??;
                started = None;
            } else {
                let begun = *started.get_or_insert_with(Instant::now);
                let left = self.core.host().header_timeout.saturating_sub(begun.elapsed());
                match self.watchdog.guard(left, self.incoming.read()).await {
                    Ok(read) => read?,
                    Err(Expired) => return Ok(Err(Problem::SLOW_HEAD)),
                }
            }
        }
    }

    /// Between two requests. A client that connects and says nothing is not worth a keep-alive connection yet.
    fn idle_timeout(&self) -> Duration {
        match &self.seat {
            Some(seat) => seat.app.settings().keepalive_timeout,
            None if self.used => self.core.host().keepalive_timeout,
            None => self.core.host().header_timeout,
        }
    }

    /// Between two reads of a body, and two writes of an answer.
    pub(crate) fn body_timeout(&self) -> Duration {
        let seat = self.seat.as_ref();
        seat.map_or_else(|| self.core.host().body_timeout, |seat| seat.app.settings().body_timeout)
    }

    /// Largest WebSocket message.
    pub(crate) fn message_size(&self) -> usize {
        self.seat.as_ref().map_or(0, |seat| seat.app.settings().message_size)
    }

    /// Body bytes came from the client, or went there.
    pub(crate) fn count_in(&self, bytes: usize) {
        if let Some(seat) = &self.seat {
            add(&seat.app.stats.bytes_in, bytes);
        }
    }

    pub(crate) fn count_out(&self, bytes: usize) {
        if let Some(seat) = &self.seat {
            add(&seat.app.stats.bytes_out, bytes);
        }
    }

    /// The client will not have an answer.
    pub(crate) fn abandon(&self, exchange: &Exchange) {
        if let Some(seat) = &self.seat {
            seat.app.abandon(exchange);
        }
    }

    // ---- requests with a body ----

    async fn serve_with_body(&mut self, visit: Visit, head: &[u8], plan: &Plan) -> Result<(), Gone> {
        let Ok(mut reader) = BodyReader::new(plan.framing, visit.limits.body_size) else {
            return self.refuse_and_end(&visit, head, Problem::BODY_TOO_LARGE).await;
        };
        let inline = matches!(plan.framing, Framing::Length(length) if length <= INLINE_BODY);
        if visit.app.interface() == Interface::Asgi && !inline {
            let request = self.submit_head(visit, head, &BodyForm::Streamed)?;
            let expect_continue = plan.expect_continue;
            let mut body = Body::Streamed { reader, credit: 0, expect_continue };
            return self.run(request, None, &mut body).await;
        }
        if plan.expect_continue && self.incoming.buffer.is_empty() {
            self.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut stored = match self.store_body(&mut reader).await? {
            Ok(stored) => stored,
            Err(problem) => return self.refuse_and_end(&visit, head, problem).await,
        };
        self.count_in(usize::try_from(stored.len()).unwrap_or(usize::MAX));
        if let StoredBody::Memory { bytes, .. } = &stored
            && bytes.len() <= wire::REQUEST_WINDOW as usize
        {
            let request = self.submit_head(visit, head, &BodyForm::Inline(bytes))?;
            drop(stored);
            return self.run(request, None, &mut Body::Complete).await;
        }
        let length = stored.len();
        let request = self.submit_head(visit, head, &BodyForm::Stored { length })?;
        let mut body = Body::Stored { stored: &mut stored, position: 0 };
        self.run(request, None, &mut body).await
    }

    // ---- an exchange ----

    /// Follow the exchange to its end: feed the body, write the response.
    async fn run(
        &mut self,
        request: Request,
        accept_key: Option<String>,
        body: &mut Body<'_>,
    ) -> Result<(), Gone> {
        let Request { visit, exchange, log } = request;
        let result = self.follow(&exchange, accept_key, body).await;
        self.settle();
        let total = exchange.arrived.elapsed();
        let record = exchange.record();
        let queued = record.handed_at.map_or(total, |at| at.saturating_duration_since(exchange.arrived));
        // 499: the client left before it was answered (nginx's habit).
        let status = if record.status == 0 { 499 } else { record.status };
        match &visit {
            Some(visit) => {
                let service = service_time(&record);
                if record.status == 0 {
                    visit.client_left(&exchange);
                }
                let times = (!record.websocket).then_some(Times { queued, service, total });
                let outcome = Outcome { status, reason: record.reason, times };
                visit.app.stats.finished(&outcome, self.core.clock.uptime());
                if let Some(route) = exchange.route {
                    visit.app.measure.ended(route, Ended { status, total });
                }
                visit.app.count_for_worker(record.worker, status);
            }
            None => record.reason.into_iter().for_each(|reason| self.core.count_refused(reason)),
        }
        if let (Some(entry), Some(log)) = (&log, &self.core.access_log) {
            let Record { body_bytes: bytes, worker, .. } = record;
            let request_id = &exchange.request_id;
            let name = visit.as_ref().map(|visit| visit.app.name());
            let app = name.as_deref().unwrap_or_default();
            log.record(entry, &access_log::Outcome { app, request_id, status, bytes, worker, total, queued });
        }
        drop(visit);
        let result = match result {
            Ok(After::Keep) => return Ok(()),
            Ok(After::Linger) => {
                self.linger().await;
                Err(Gone)
            }
            Err(gone) => Err(gone),
        };
        self.abandon(&exchange);
        result
    }

    async fn follow(
        &mut self,
        exchange: &Rc<Exchange>,
        accept_key: Option<String>,
        body: &mut Body<'_>,
    ) -> Result<After, Gone> {
        loop {
            match self.next(exchange, body).await? {
                Next::Step(Step::Write { bytes, credit, last }) => {
                    self.write(&bytes, Some(exchange)).await?;
                    self.count_out(bytes.len());
                    exchange.grant(credit);
                    match last {
                        None => {}
                        Some(true) if body.is_finished() => return Ok(After::Keep),
                        Some(true | false) => return Ok(After::Linger),
                    }
                }
                Next::Step(Step::Cut) => {
                    self.incoming.stream.reset_on_close();
                    return Err(Gone);
                }
                Next::Step(Step::FeedBody { credit, restart }) => {
                    Box::pin(self.feed(exchange, body, credit, restart)).await?;
                }
                Next::Step(Step::Accepted { fields }) => {
                    let key = accept_key.ok_or(Gone)?;
                    return Err(Box::pin(websocket::run(self, exchange, &key, &fields)).await);
                }
                // Only an accepted WebSocket has these.
                Next::Step(Step::Message { .. } | Step::Closed { .. } | Step::GoingAway) => return Err(Gone),
                Next::ClientRead => self.client_read(exchange, body)?,
                Next::Paid => self.pass_on(exchange, body),
            }
        }
    }

    /// Wait for the exchange or, where that matters, the client.
    async fn next(&mut self, exchange: &Exchange, body: &Body<'_>) -> Result<Next, Gone> {
        let owes = self.owes();
        let limit = (body.waits_for_client() && !owes).then(|| self.body_timeout());
        let Connection { incoming, debt, seat, .. } = self;
        let creditor = seat.as_ref().map(|seat| &seat.app).filter(|_| owes);
        let watch_client = !owes && !incoming.closed && body.watches_client(incoming.buffer.len());
        let ready = poll_fn(|ctx| {
            if let Poll::Ready(step) = exchange.poll_step(ctx) {
                return Poll::Ready(Ok(Next::Step(step)));
            }
            if let Some(app) = creditor {
                return debt.poll_paid(app, ctx).map(|()| Ok(Next::Paid));
            }
            if watch_client {
                return incoming.poll_read(ctx).map_ok(|()| Next::ClientRead).map_err(Gone::from);
            }
            Poll::Pending
        });
        let Some(limit) = limit else { return ready.await };
        match self.watchdog.guard(limit, ready).await {
            Ok(next) => next,
            Err(Expired) => {
                self.stop_upload(exchange, Problem::SLOW_BODY);
                Ok(Next::ClientRead)
            }
        }
    }

    /// The client sent something, which is in the buffer, or left.
    fn client_read(&mut self, exchange: &Rc<Exchange>, body: &mut Body<'_>) -> Result<(), Gone> {
        if let Body::Streamed { .. } = body {
            self.pass_on(exchange, body);
            return Ok(());
        }
        if self.incoming.closed {
            // Some clients close their sending half and still read. A request that nobody works on yet is dropped, and
            // an event-loop application is told (as it expects); a sync worker just goes on.
            let app = self.seat.as_ref().map(|seat| &seat.app);
            if app.is_none_or(|app| app.withdraw(exchange) || app.interface() == Interface::Asgi) {
                return Err(Gone);
            }
        }
        Ok(())
    }

    // ---- writing ----

    pub(crate) async fn write_all(&self, bytes: &[u8]) -> Result<(), Gone> {
        self.write(bytes, None).await
    }

    async fn write_now(&self, bytes: &[u8]) -> Result<(), Gone> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.incoming.stream.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let limit = self.body_timeout();
                    self.watchdog.guard(limit, self.incoming.stream.writable()).await??;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// `head`: as it was received.
    async fn refuse_and_end(&mut self, visit: &Visit, head: &[u8], problem: Problem) -> Result<(), Gone> {
        let refusal = {
            let mut space = head::field_space();
            let parsed = head::parse(head, &mut space).map_err(|_| Gone)?;
            refusal(visit, &parsed, problem)
        };
        self.refuse(refusal).await;
        Err(Gone)
    }

    /// Answer without a request that could be submitted, and close.
    async fn refuse(&mut self, refusal: Refusal) {
        let Refusal { problem, name, form, head } = refusal;
        let exchange = response::Exchange { version: 11, head, keep_alive: false };
        let mut encoder = ResponseEncoder::new(exchange);
        let mut out = Vec::new();
        let request_id = self.core.request_id();
        let encoded = {
            let date = &self.core.clock.http_date();
            let host = HostFields { date, request_id: &request_id, server_timing: None };
            answer::encode(&mut out, &mut encoder, problem, name, form, host)
        };
        if encoded.is_ok() && self.write_all(&out).await.is_ok() {
            self.linger().await;
        }
    }

    /// Close in a way that lets the client read the last answer.
    async fn linger(&mut self) {
        self.incoming.stream.shutdown_write();
        let until = Instant::now() + LINGER;
        let mut thrown_away = 0;
        while !self.incoming.closed && thrown_away < LINGER_BYTES {
            let left = until.saturating_duration_since(Instant::now());
            self.incoming.buffer.clear();
            if !matches!(self.watchdog.guard(left, self.incoming.read()).await, Ok(Ok(()))) {
                return;
            }
            thrown_away += self.incoming.buffer.len();
        }
    }
}

/// From the handover to the worker's last byte.
fn service_time(record: &Record) -> Option<Duration> {
    Some(record.ended_at?.saturating_duration_since(record.handed_at?))
}

/// What becomes of a connection after a whole response.
enum After {
    Keep,
    /// The client has more to say that nobody wants to hear, or wants to leave.
    Linger,
}

/// What a connection waits for.
enum Next {
    Step(Step),
    ClientRead,
    /// What came from the client is paid.
    Paid,
}
