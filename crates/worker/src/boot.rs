//! From settings to a serving worker: import, hello, start, serve, finish. In a template process the import comes first,
//! once, and everything after it in each process that it forks ([`crate::template`]).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::c_str;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyList, PyTuple};
use wire::{BootFailure, ControlFromWorker, Hello, Interface};

use crate::asgi::{AsgiServer, TaskInterrupt};
use crate::config::Config;
use crate::interrupt::{Runner, ThreadInterrupt};
use crate::link::Link;
use crate::observer::{Observer, Pulse};
use crate::steward::{self, Steward};
use crate::template::Template;
use crate::wsgi::WsgiServer;

/// Exit code of a worker whose application did not start.
const BOOT_FAILED: i32 = 3;

/// Characters of the message about that.
const LONGEST_MESSAGE: usize = 4000;

/// A loaded application.
struct Loaded {
    app: Py<PyAny>,
    concurrency: String,
    /// Our code for its interface.
    serving: Serving,
}

enum Serving {
    Wsgi,
    Asgi(Py<PyModule>),
}

/// Run the worker, or the template and in its forks the worker; returns its exit code.
///
/// # Errors
/// Only for what is not the application's fault.
pub(crate) fn run(py: Python<'_>, settings: &str, data: i32, control: i32) -> PyResult<i32> {
    let config = Config::parse(py, settings)?;
    #[expect(unsafe_code, reason = "inherited descriptors arrive as numbers")]
    // SAFETY: the host passes these two descriptors to this process for this purpose and nothing else owns them.
    let (data, control) = unsafe { (OwnedFd::from_raw_fd(data), OwnedFd::from_raw_fd(control)) };
    let support = PyModule::from_code(
        py,
        c_str!(include_str!("../python/support.py")),
        c"serpentry/support.py",
        c"serpentry_support",
    )?;
    let observer = Arc::new(Observer::new(py)?);
    let around = (&support, &*observer);
    let Some(host) = config.template_of else {
        // Before the import: it answers the host, and notices when it is gone, however long that takes.
        let (link, steward) = connect(data, control, &observer)?;
        let loaded = load(py, &config);
        return serve(py, link, &steward, &config, loaded, around);
    };
    let loaded = match load(py, &config) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(failed(py, control.as_fd(), &error)),
    };
    let template = Template::new(py, data, control, host)?;
    template.settle(py, matches!(loaded.serving, Serving::Asgi(_)), &config.event_loop)?;
    // Returns in each fork, and nowhere else.
    let (data, control) = template.fork_on_demand(py)?;
    let (link, steward) = connect(data, control, &observer)?;
    serve(py, link, &steward, &config, Ok(loaded), around)
}

fn connect(
    data: OwnedFd,
    control: OwnedFd,
    observer: &Arc<Observer>,
) -> PyResult<(&'static Link, Arc<Steward>)> {
    let link = Link::open(data, control).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    // It lives as long as the process, and threads that never end use it.
    let link: &'static Link = Box::leak(Box::new(link));
    Ok((link, steward::start(link, observer)?))
}

/// Serve the application until the worker is finished, if it was loaded.
fn serve(
    py: Python<'_>,
    link: &'static Link,
    steward: &Steward,
    config: &Config,
    loaded: PyResult<Loaded>,
    (support, observer): (&Bound<'_, PyModule>, &Observer),
) -> PyResult<i32> {
    let outcome = loaded.and_then(|Loaded { app, concurrency, serving }| match serving {
        Serving::Wsgi => prepare_wsgi(py, link, steward, config, (app, &concurrency), (support, observer)),
        Serving::Asgi(asgi) => {
            prepare_asgi(py, link, steward, config, (app, asgi.bind(py)), (support, observer))
        }
    });
    let is_ready = Arc::new(AtomicBool::new(false));
    let served = outcome.and_then(|serve| {
        let is_ready = Arc::clone(&is_ready);
        let ready = PyCFunction::new_closure(py, Some(c"ready"), None, move |_, _| {
            is_ready.store(true, Ordering::Relaxed);
            link.tell(&ControlFromWorker::Ready);
        })?;
        serve.bind(py).call1((ready,)).map(|_| 0)
    });
    let served = match served {
        Err(error) if !is_ready.load(Ordering::Relaxed) => Ok(failed(py, link.control(), &error)),
        served => served,
    };
    crate::gate::close(py);
    served
}

fn load(py: Python<'_>, config: &Config) -> PyResult<Loaded> {
    let loading = PyModule::from_code(
        py,
        c_str!(include_str!("../python/loading.py")),
        c"serpentry/loading.py",
        c"serpentry_loading",
    )?;
    let settings = (&config.app, config.factory, &config.interface, &config.concurrency, config.threads);
    let (app, interface, concurrency): (Py<PyAny>, String, String) =
        loading.call_method1("load", settings)?.extract()?;
    let serving = if interface == "asgi" {
        let asgi = PyModule::from_code(
            py,
            c_str!(include_str!("../python/asgi.py")),
            c"serpentry/asgi.py",
            c"serpentry_asgi",
        )?;
        Serving::Asgi(asgi.unbind())
    } else {
        Serving::Wsgi
    };
    Ok(Loaded { app, concurrency, serving })
}

/// Tell the router why the application did not start; returns the exit code.
fn failed(py: Python<'_>, control: BorrowedFd<'_>, error: &PyErr) -> i32 {
    let value = error.value(py);
    // Only a BootError carries a trace; anything else is an error of ours, which deserves its own.
    let (message, traceback) = match value.getattr("trace").and_then(|trace| trace.extract::<String>()) {
        Ok(trace) => (value.to_string(), trace),
        Err(_) => {
            let trace = error.traceback(py).and_then(|traceback| traceback.format().ok()).unwrap_or_default();
            (crate::failure::one_line(py, error), trace)
        }
    };
    // The application has a say in it, so it may be anything; the message must be one line, and both must fit
    // in a frame.
    let message: String =
        message.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST_MESSAGE).collect();
    let failure = BootFailure { message: &message, traceback: &traceback };
    crate::link::tell(control, &ControlFromWorker::BootFailed(failure));
    BOOT_FAILED
}

fn hello(link: &Link, interface: Interface, slots: u32, event_loop: Option<&str>) {
    let version = Python::version_str().split_whitespace().next().unwrap_or_default();
    let suffix = event_loop.map(|name| format!(", {name}")).unwrap_or_default();
    let runtime = format!("CPython {version}{suffix}");
    link.tell(&ControlFromWorker::Hello(Hello {
        version: wire::VERSION,
        interface,
        slots,
        runtime: &runtime,
    }));
}

/// Returns the callable that serves until the worker is finished. It is given one that it calls when it is about to.
fn prepare_wsgi(
    py: Python<'_>,
    link: &'static Link,
    steward: &Steward,
    config: &Config,
    (app, concurrency): (Py<PyAny>, &str),
    (support, observer): (&Bound<'_, PyModule>, &Observer),
) -> PyResult<Py<PyAny>> {
    let threads = if concurrency == "threads" { config.threads.max(1) } else { 1 };
    hello(link, Interface::Wsgi, threads, None);
    let runners: Arc<[Runner]> = (0..threads).map(|_| Runner::default()).collect();
    let interrupt = ThreadInterrupt {
        link,
        runners: Arc::clone(&runners),
        stack_of_thread: support.getattr("stack_of_thread")?.unbind(),
    };
    // The only place that sets it.
    let _ = steward.interrupts.set(Arc::new(interrupt));
    // Like the link: one per process, used until the end.
    let pulse: &'static Pulse = Box::leak(Box::new(Pulse::new(Instant::now())));
    if let Err(error) = observer.watch_threads(py, link, pulse) {
        crate::log::line(&format!("cannot watch the threads: {error}"));
    }
    let server = Bound::new(py, WsgiServer::new(py, (link, pulse), app, runners, support)?)?;
    partial(support.getattr("serve_threads")?, (server.getattr("serve")?, threads))
}

/// As [`prepare_wsgi`], after the application's lifespan startup.
fn prepare_asgi(
    py: Python<'_>,
    link: &'static Link,
    steward: &Steward,
    config: &Config,
    (app, asgi): (Py<PyAny>, &Bound<'_, PyModule>),
    (support, observer): (&Bound<'_, PyModule>, &Observer),
) -> PyResult<Py<PyAny>> {
    let (event_loop, name): (Py<PyAny>, String) =
        asgi.call_method1("open_loop", (&config.event_loop,))?.extract()?;
    let event_loop = event_loop.into_bound(py);
    hello(link, Interface::Asgi, config.async_slots, Some(&name));
    let lifespan = asgi.call_method1("start", (&event_loop, &app, &config.lifespan))?;
    let state = lifespan.getattr("state")?.cast_into::<PyDict>()?;
    // Like the link: one per process, used until the end.
    let pulse: &'static Pulse = Box::leak(Box::new(Pulse::new(Instant::now())));
    let server = AsgiServer::new((link, pulse), app, &event_loop, asgi, support, state)?;
    let interrupt = TaskInterrupt {
        shared: server.get().shared,
        current_task: py.import("asyncio")?.getattr("current_task")?.unbind(),
        stack_of_task: asgi.getattr("stack_of_task")?.unbind(),
    };
    let _ = steward.interrupts.set(Arc::new(interrupt));
    let _ = steward.pulse.set(pulse);
    if let Err(error) = observer.watch_loop(py, link, pulse) {
        crate::log::line(&format!("cannot watch the event loop: {error}"));
    }
    let (data, wake) = (link.data().as_raw_fd(), link.wake().as_raw_fd());
    partial(asgi.getattr("serve")?, (event_loop, server, lifespan, data, wake))
}

/// `functools.partial(function, *arguments)`
fn partial<'py>(
    function: Bound<'py, PyAny>,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Error = PyErr, Output = Bound<'py, PyTuple>>,
) -> PyResult<Py<PyAny>> {
    let py = function.py();
    let list = PyList::new(py, [function])?;
    for argument in arguments.into_pyobject(py)?.iter() {
        list.append(argument)?;
    }
    Ok(py.import("functools")?.getattr("partial")?.call1(list.to_tuple())?.unbind())
}
