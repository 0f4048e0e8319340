//! The event loop's side of the data link: decode a batch, start its requests, pass on news, flush.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use wire::{ById, FromWorker, ToWorker, flag};

use super::awaitable::Finished;
use super::exchange::{Exchange, Protocol};
use super::http::Http;
use super::scope::ScopeMaker;
use super::steps::Steps;
use super::websocket::WebSocket;
use crate::answer::Answer;
use crate::failure::{Failure, Reporter};
use crate::inbox::{Received, Request};
use crate::interrupt::this_thread;
use crate::link::{Link, broken, lock};
use crate::measure::{self, Total};
use crate::observer::Pulse;

/// Answers wait at most this long for others of their batch. The router has a worker's requests looked after that it has not
/// heard to be started for 2 ms. A bound of 0.6 ms, as for WSGI, costs 3 % of FastAPI's throughput (measured).
const LONGEST_WAIT: Duration = Duration::from_micros(1500);

/// How tasks are made.
enum Starter {
    /// CPython 3.12 and newer: `asyncio.Task(coroutine, loop=loop, eager_start=True)` runs the first step at
    /// once.
    Eager { task: Py<PyAny>, arguments: Py<PyDict> },
    /// `loop.create_task`.
    Lazy(Py<PyAny>),
}

/// What all exchanges use.
pub(crate) struct Shared {
    pub(crate) link: &'static Link,
    /// Shows the observer that the loop goes on.
    pub(crate) pulse: &'static Pulse,
    /// The thread of the event loop.
    pub(crate) thread: u64,
    pub(crate) reporter: Reporter,
    pub(crate) receive_later: Py<PyAny>,
    pub(crate) send_later: Py<PyAny>,
    pub(crate) create_future: Py<PyAny>,
    pub(crate) finished_awaitable: Py<PyAny>,
    pub(crate) app: Py<PyAny>,
    /// `types.CoroutineType`
    pub(crate) coroutine_type: Py<PyAny>,
    /// A coroutine that awaits whatever an application returned that is none.
    pub(crate) await_it: Py<PyAny>,
    /// Exchanges that outlived their first step.
    pub(crate) exchanges: Mutex<ById<Py<Exchange>>>,
    /// The exchange whose first step is running.
    pub(crate) starting: Mutex<Option<Py<Exchange>>>,
    pub(crate) event_loop: Py<PyAny>,
    scopes: ScopeMaker,
    starter: Starter,
    flush: OnceLock<Py<PyAny>>,
    on_writable: OnceLock<Py<PyAny>>,
    /// A batch is being handled and will be flushed at its end.
    batch: AtomicBool,
    flush_scheduled: AtomicBool,
    writer_added: AtomicBool,
}

impl Shared {
    /// Something was put into the outbox: see to it that it leaves, together with what follows soon.
    pub(crate) fn posted(&self, py: Python<'_>) -> PyResult<()> {
        if self.link.outbox().is_full() {
            return self.flush_now(py);
        }
        if self.batch.load(Ordering::Relaxed) || self.flush_scheduled.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let Some(flush) = self.flush.get() else {
            return Ok(());
        };
        self.event_loop.bind(py).call_method1(intern!(py, "call_soon"), (flush,)).map(drop)
    }

    fn flush_now(&self, py: Python<'_>) -> PyResult<()> {
        let complete = self.link.flush(false);
        if complete != self.writer_added.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.writer_added.store(!complete, Ordering::Relaxed);
        let fd = self.link.data().as_raw_fd();
        let event_loop = self.event_loop.bind(py);
        match self.on_writable.get() {
            Some(callback) if !complete => {
                event_loop.call_method1(intern!(py, "add_writer"), (fd, callback))?
            }
            _ => event_loop.call_method1(intern!(py, "remove_writer"), (fd,))?,
        };
        Ok(())
    }

    /// Request `id` is over.
    pub(crate) fn ended(&self, py: Python<'_>, id: u64) {
        lock(&self.exchanges).remove(&id);
        self.link.inbox().mail.remove(&id);
        if let Err(error) = self.posted(py).and_then(|()| self.stop_if_finished(py)) {
            error.write_unraisable(py, None);
        }
    }

    fn is_finished(&self) -> bool {
        let inbox = self.link.inbox();
        inbox.finishing && inbox.queue.is_empty() && inbox.mail.is_empty()
    }

    fn stop_if_finished(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_finished() {
            self.event_loop.bind(py).call_method0(intern!(py, "stop"))?;
        }
        Ok(())
    }

    /// Start what is queued, pass on what arrived for running requests, and flush.
    fn handle_batch(&'static self, py: Python<'_>) -> PyResult<()> {
        self.batch.store(true, Ordering::Relaxed);
        // The loop has slept, or run other tasks.
        measure::slept_until(Instant::now());
        let acknowledged = self.acknowledge();
        if !acknowledged.is_empty() {
            self.flush_now(py)?;
        }
        for request in acknowledged {
            self.start(py, request);
        }
        let mut flushed = measure::last_reading();
        let mut previous = flushed;
        loop {
            let Some(request) = self.link.inbox().queue.pop_front() else {
                break;
            };
            let now = measure::last_reading();
            // The next is expected to take as long as the one before.
            if now.duration_since(flushed) + now.duration_since(previous) > LONGEST_WAIT {
                self.flush_now(py)?;
                flushed = now;
            }
            previous = now;
            let id = request.id;
            self.start(py, request);
            // A response says as much, and nothing may follow the end of one.
            if lock(&self.exchanges)
                .get(&id)
                .is_some_and(|exchange| !exchange.get().state().answer.head_sent())
            {
                self.link.post(&FromWorker::Started { id });
            }
        }
        let touched = self.link.inbox().touched.as_mut().map(std::mem::take).unwrap_or_default();
        for id in touched {
            let exchange = lock(&self.exchanges).get(&id).map(|exchange| exchange.clone_ref(py));
            if let Some(exchange) = exchange {
                exchange.get().deliver(py);
            }
        }
        self.batch.store(false, Ordering::Relaxed);
        self.flush_now(py)?;
        self.stop_if_finished(py)
    }

    /// Take the requests that must not run anywhere else once they have been announced, and announce them.
    fn acknowledge(&self) -> Vec<Request> {
        let mut inbox = self.link.inbox();
        if !inbox.queue.iter().any(|request| request.has(flag::ACK_START)) {
            return Vec::new();
        }
        let (acknowledged, others): (Vec<_>, Vec<_>) =
            inbox.queue.drain(..).partition(|request| request.has(flag::ACK_START));
        inbox.queue.extend(others);
        drop(inbox);
        for request in &acknowledged {
            self.link.post(&FromWorker::Started { id: request.id });
        }
        acknowledged
    }

    fn start(&'static self, py: Python<'_>, request: Request) {
        let id = request.id;
        let started = self.try_start(py, request);
        // Unless its first step ended otherwise.
        measure::end();
        if let Err(error) = started {
            // Only Python out of memory or an application that broke asyncio gets here.
            let reason = self.reporter.report_for(py, "?", "?", "?", &Failure::Raised(error));
            Answer::new(self.link, id, false, 0).fail(&reason);
            self.ended(py, id);
        }
    }

    fn try_start(&'static self, py: Python<'_>, request: Request) -> PyResult<()> {
        let began = measure::begin(request.id, None);
        self.pulse.beat(Some(began));
        let (head, headers) = match ToWorker::decode(request.frame()) {
            Ok(ToWorker::Request { head, headers, .. }) => (head, headers),
            Ok(_) => broken("malformed frame on the data link: a request that is none"),
            Err(error) => broken(&format!("malformed frame on the data link: {error}")),
        };
        let id = request.id;
        let websocket = request.has(flag::WEBSOCKET);
        let scope = self.scopes.make(py, &head, headers, websocket)?;
        let mut answer = Answer::new(self.link, id, head.method == "HEAD", head.window);
        answer.steps = Some((began, Total::default()));
        let protocol = if websocket {
            Protocol::WebSocket(WebSocket::new())
        } else if request.has(flag::HAS_BODY) {
            Protocol::Http(Http::Body)
        } else {
            Protocol::Http(Http::NoBody)
        };
        let exchange = Bound::new(py, Exchange::new(self, request, answer, protocol))?;
        let coroutine = Bound::new(py, Steps::new(exchange.clone().unbind(), scope.unbind()))?;
        let task = match &self.starter {
            Starter::Lazy(create_task) => create_task.bind(py).call1((coroutine,))?,
            Starter::Eager { task, arguments } => {
                *lock(&self.starting) = Some(exchange.clone().unbind());
                let task = task.bind(py).call((coroutine,), Some(arguments.bind(py)));
                *lock(&self.starting) = None;
                task?
            }
        };
        let goes_on = {
            let mut state = exchange.get().state();
            if !state.finished {
                state.answer.add_step(measure::end_step());
                state.task = Some(task.unbind());
            }
            !state.finished
        };
        if goes_on {
            lock(&self.exchanges).insert(id, exchange.unbind());
        }
        Ok(())
    }
}

/// Callbacks for the event loop.
#[pyclass(frozen, module = "serpentry_worker")]
pub(crate) struct AsgiServer {
    pub(crate) shared: &'static Shared,
}

impl AsgiServer {
    /// `asgi` is the module of python/asgi.py, `state` what the lifespan left.
    ///
    /// # Errors
    /// When Python does.
    pub(crate) fn new<'py>(
        (link, pulse): (&'static Link, &'static Pulse),
        app: Py<PyAny>,
        event_loop: &Bound<'py, PyAny>,
        asgi: &Bound<'py, PyModule>,
        support: &Bound<'py, PyModule>,
        state: Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        link.inbox().touched = Some(Vec::new());
        let starter = if py.version_info() >= (3, 12) {
            let arguments = PyDict::new(py);
            arguments.set_item("loop", event_loop)?;
            arguments.set_item("eager_start", true)?;
            Starter::Eager {
                task: py.import("asyncio")?.getattr("Task")?.unbind(),
                arguments: arguments.unbind(),
            }
        } else {
            Starter::Lazy(event_loop.getattr("create_task")?.unbind())
        };
        let shared = Shared {
            link,
            pulse,
            thread: this_thread(),
            reporter: Reporter::new(support)?,
            receive_later: asgi.getattr("receive_later")?.unbind(),
            send_later: asgi.getattr("send_later")?.unbind(),
            create_future: event_loop.getattr("create_future")?.unbind(),
            finished_awaitable: Py::new(py, Finished)?.into_any(),
            app,
            await_it: asgi.getattr("await_it")?.unbind(),
            coroutine_type: py.import("types")?.getattr("CoroutineType")?.unbind(),
            exchanges: Mutex::default(),
            starting: Mutex::new(None),
            event_loop: event_loop.clone().unbind(),
            scopes: ScopeMaker::new(py, state)?,
            starter,
            flush: OnceLock::new(),
            on_writable: OnceLock::new(),
            batch: AtomicBool::new(false),
            flush_scheduled: AtomicBool::new(false),
            writer_added: AtomicBool::new(false),
        };
        // Like the link: one per process, used until the end.
        let shared: &'static Shared = Box::leak(Box::new(shared));
        let server = Bound::new(py, AsgiServer { shared })?;
        // The only place that sets them.
        let _ = shared.flush.set(server.getattr("flush")?.unbind());
        let _ = shared.on_writable.set(server.getattr("on_writable")?.unbind());
        Ok(server)
    }
}

#[pymethods]
impl AsgiServer {
    /// The data link has something.
    fn on_readable(&self, py: Python<'_>) -> PyResult<()> {
        let link = self.shared.link;
        let received = link.receive(&mut link.inbox());
        if received == Received::Closed {
            // Only while finishing; the loop would call again and again.
            let fd = link.data().as_raw_fd();
            self.shared.event_loop.bind(py).call_method1(intern!(py, "remove_reader"), (fd,))?;
        }
        let handled = self.shared.handle_batch(py);
        self.shared.pulse.beat(None);
        handled
    }

    /// The steward has done something the loop must know of, or the observer wants to see whether it goes on.
    fn on_wake(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.link.clear_wake();
        let handled = self.shared.handle_batch(py);
        self.shared.pulse.beat_woken();
        handled
    }

    fn on_writable(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.flush_now(py)
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.pulse.beat(None);
        self.shared.flush_scheduled.store(false, Ordering::Relaxed);
        self.shared.flush_now(py)
    }

    /// No request is left and none will come.
    fn finished(&self) -> bool {
        self.shared.is_finished()
    }
}
