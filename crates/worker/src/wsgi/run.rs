//! Taking requests and running the application on them.

use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use wire::{FromWorker, MAX_CHUNK, RequestHead, ToWorker, flag};

use super::environ::EnvironMaker;
use super::exchange::{Exchange, Sent, piece};
use super::input::Input;
use crate::answer::Answer;
use crate::failure::{Failure, Reporter};
use crate::inbox::Request;
use crate::interrupt::Runner;
use crate::link::{Link, WaitFor, broken};
use crate::measure::{self, detached};
use crate::observer::{Pulse, serving};

/// A request that takes longer than this costs more than the system call that sends the answers before it.
const WORTH_A_WRITE: Duration = Duration::from_micros(30);

/// One WSGI application and the threads that serve it.
#[pyclass(frozen, module = "serpentry_worker")]
pub(crate) struct WsgiServer {
    link: &'static Link,
    pulse: &'static Pulse,
    app: Py<PyAny>,
    environs: EnvironMaker,
    runners: std::sync::Arc<[Runner]>,
    reporter: Reporter,
}

impl WsgiServer {
    /// # Errors
    /// When Python does.
    pub(crate) fn new(
        py: Python<'_>,
        (link, pulse): (&'static Link, &'static Pulse),
        app: Py<PyAny>,
        runners: std::sync::Arc<[Runner]>,
        support: &Bound<'_, PyModule>,
    ) -> PyResult<Self> {
        let file_wrapper = support.getattr("FileWrapper")?;
        let no_input = Bound::new(py, Input::new(link, 0, false))?;
        Ok(WsgiServer {
            link,
            pulse,
            app,
            environs: EnvironMaker::new(py, &file_wrapper, no_input.as_any(), runners.len() > 1)?,
            runners,
            reporter: Reporter::new(support)?,
        })
    }

    /// The next request to run on this thread, or `None` when no more will come.
    ///
    /// It is taken out of the queue only while Python is attached: a request that waits for the interpreter
    /// lock has not started, and the steward can still give it back.
    ///
    /// `previous`: how long the request before it took. If that was long enough to be worth a write of its own, the
    /// last request at hand is not begun before the answers are on their way: the router sends more meanwhile.
    fn next(&self, py: Python<'_>, runner: &Runner, previous: Duration) -> PyResult<Option<Request>> {
        let mut claims = 0;
        loop {
            let (queued, last) = {
                let mut inbox = self.link.inbox();
                inbox.claims -= std::mem::take(&mut claims);
                // Under the same lock, so that an interrupt finds the request either queued or running.
                let queued = inbox.queue.pop_front().inspect(|request| runner.begin(request.id));
                (queued, inbox.queue.is_empty())
            };
            if let Some(request) = queued {
                let due = {
                    let outbox = self.link.outbox();
                    outbox.is_due(previous) || (last && previous > WORTH_A_WRITE && !outbox.is_empty())
                };
                if due {
                    detached(py, || self.link.flush(true));
                }
                return Ok(Some(request));
            }
            let more = detached(py, || {
                self.link.flush(true);
                self.link.wait(WaitFor::Request, |inbox| {
                    if inbox.queue.len() > inbox.claims {
                        inbox.claims += 1;
                        return Some(true);
                    }
                    (inbox.finishing && inbox.queue.is_empty()).then_some(false)
                })
            });
            match more {
                Ok(true) => claims = 1,
                Ok(false) => return Ok(None),
                Err(_) => py.check_signals()?,
            }
        }
    }

    fn run(&self, py: Python<'_>, runner: &Runner, request: &Request) {
        let (head, headers) = match ToWorker::decode(request.frame()) {
            Ok(ToWorker::Request { head, headers, .. }) => (head, headers),
            Ok(_) => broken("malformed frame on the data link: a request that is none"),
            Err(error) => broken(&format!("malformed frame on the data link: {error}")),
        };
        let id = request.id;
        if request.has(flag::ACK_START) {
            self.link.post(&FromWorker::Started { id });
            detached(py, || self.link.flush(true));
        }
        let mut unstarted = Some(Answer::new(self.link, id, head.method == "HEAD", head.window));
        let outcome = (|| {
            let input = request
                .has(flag::HAS_BODY)
                .then(|| Bound::new(py, Input::new(self.link, id, true)))
                .transpose()?;
            let environ = self.environs.make(py, &head, headers, input.as_ref().map(Bound::as_any))?;
            let answer = unstarted.take().expect("it is taken once");
            let exchange = Bound::new(py, Exchange::new(answer, self.link))?;
            let start_response = exchange.getattr(intern!(py, "start_response"))?;
            let result = self.app.bind(py).call1((environ, start_response));
            let result = result.and_then(|body| self.respond(py, &body, exchange.get()));
            Ok((exchange, result))
        })();
        let interrupted = runner.end();
        // Before DONE: whatever the application still does with its input, no credit may follow.
        self.link.inbox().mail.remove(&id);
        match outcome {
            Ok((exchange, result)) => self.conclude(py, &head, exchange.get(), result, interrupted),
            Err(error) => {
                let reason = self.reporter.report(py, &head, &Failure::Raised(error));
                match unstarted {
                    Some(mut answer) => answer.fail(&reason),
                    None => Answer::new(self.link, id, false, 0).fail(&reason),
                }
            }
        }
    }

    /// Say how the request ended.
    fn conclude(
        &self,
        py: Python<'_>,
        head: &RequestHead<'_>,
        exchange: &Exchange,
        result: PyResult<Sent>,
        interrupted: bool,
    ) {
        let (excess, short) = {
            let answer = exchange.answer();
            (answer.excess, answer.falls_short(0))
        };
        let failure = match result {
            Ok(Sent::ClientGone) | Err(_) if interrupted => Some(Failure::Deadline),
            Ok(Sent::ClientGone) => None,
            Ok(Sent::All) if excess => {
                self.reporter.note(
                    py,
                    head,
                    "the application sent more bytes than its Content-Length; the rest was dropped",
                );
                None
            }
            Ok(Sent::All) => short.then_some(Failure::Short),
            Err(error) => Some(Failure::Raised(error)),
        };
        // What is dropped and what is logged may run the application's code, which may write.
        let reason = failure.map(|failure| self.reporter.report(py, head, &failure));
        let mut answer = exchange.answer();
        match reason {
            Some(reason) => answer.fail(&reason),
            None => answer.finish(),
        }
    }

    /// Send the body the application returned and call its `close`.
    fn respond(&self, py: Python<'_>, body: &Bound<'_, PyAny>, exchange: &Exchange) -> PyResult<Sent> {
        if let Ok(list) = body.cast_exact::<PyList>() {
            return respond_at_once(py, list.len(), |index| list.get_item(index), exchange);
        }
        if let Ok(tuple) = body.cast_exact::<PyTuple>() {
            return respond_at_once(py, tuple.len(), |index| tuple.get_item(index), exchange);
        }
        let result = self.iterate(py, body, exchange);
        let closed = match body.getattr_opt(intern!(py, "close")) {
            Ok(Some(close)) => close.call0().map(drop),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let sent = result?;
        closed?;
        Ok(sent)
    }

    /// Send each piece before asking for the next, as PEP 3333 demands ("Handling the iterable").
    fn iterate(&self, py: Python<'_>, body: &Bound<'_, PyAny>, exchange: &Exchange) -> PyResult<Sent> {
        for item in body.try_iter()? {
            let item = item?;
            let data = piece(&item)?;
            if data.is_empty() {
                continue;
            }
            if exchange.send(py, data, false)? == Sent::ClientGone {
                return Ok(Sent::ClientGone);
            }
            let (ended, excess) = {
                let answer = exchange.answer();
                (answer.ended(), answer.excess)
            };
            if excess {
                break;
            }
            if !ended && exchange.flush(py) == Sent::ClientGone {
                return Ok(Sent::ClientGone);
            }
        }
        end(py, exchange)
    }
}

/// A list or tuple is complete already: send it in as few frames as possible.
fn respond_at_once<'py>(
    py: Python<'py>,
    count: usize,
    item: impl Fn(usize) -> PyResult<Bound<'py, PyAny>>,
    exchange: &Exchange,
) -> PyResult<Sent> {
    if count == 1 {
        let only = item(0)?;
        let data = piece(&only)?;
        let ends = !exchange.answer().falls_short(data.len());
        return exchange.send(py, data, ends);
    }
    let items = (0..count).map(item).collect::<PyResult<Vec<_>>>()?;
    let pieces = items.iter().map(piece).collect::<PyResult<Vec<_>>>()?;
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    if total <= MAX_CHUNK {
        let whole = pieces.concat();
        let ends = !exchange.answer().falls_short(total);
        return exchange.send(py, &whole, ends);
    }
    for data in pieces {
        if !data.is_empty() && exchange.send(py, data, false)? == Sent::ClientGone {
            return Ok(Sent::ClientGone);
        }
    }
    end(py, exchange)
}

/// Mark the end of the body, unless bytes are missing.
fn end(py: Python<'_>, exchange: &Exchange) -> PyResult<Sent> {
    let complete = {
        let answer = exchange.answer();
        answer.ended() || answer.falls_short(0)
    };
    if complete { Ok(Sent::All) } else { exchange.send(py, &[], true) }
}

#[pymethods]
impl WsgiServer {
    /// Serve requests on this thread until no more will come.
    fn serve(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        let runner = &self.runners[index];
        runner.attach_here();
        serving::enter(false);
        let mut previous = Duration::ZERO;
        while let Some(request) = self.next(py, runner, previous)? {
            let began = measure::begin(request.id, None);
            self.pulse.beat(Some(began));
            serving::begin(began);
            self.run(py, runner, &request);
            serving::end();
            previous = measure::end();
        }
        detached(py, || self.link.flush(true));
        Ok(())
    }
}
