//! The router: HTTP in, frames out.
//!
//! It accepts connections, reads and checks requests, finds the application of each, queues them per application, hands
//! each to a worker with a free slot, and streams the answers back. It keeps a request until its worker has begun to answer, so that the death of a
//! worker loses nothing that may be run again.
//!
//! One router is one thread with a single-threaded runtime; nothing in it is shared, locked or sent. It does not know
//! how workers are started: the supervisor's side attaches and detaches them with [`Command`]s and hears of them in
//! [`Event`]s.
//!
//! ```text
//!  listen -> connection -> http/* (pure) -> visit (routes) -> submit -> app (queue, dispatch) -> link -> worker process
//!                 ^                                        |                     |
//!                 +-------------- exchange <---------------+----- worker <-------+
//! ```

mod access_log;
mod answer;
mod app;
mod bandwidth;
mod body;
mod bucket;
mod budget;
mod connection;
mod core;
mod counters;
mod deadline;
mod dispatch;
mod event;
mod exchange;
mod forwarded;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod histogram;
mod http;
mod inputs;
mod link;
mod listen;
mod measure;
mod observed;
mod prefix;
mod routes;
mod settings;
mod snapshot;
mod stats;
mod stream;
mod submit;
mod sweep;
mod trouble;
mod upload;
mod visit;
mod watchdog;
mod websocket;
mod worker;

use std::io;
use std::rc::Rc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, mpsc};

pub use access_log::{AccessLog, LogFormat, LogTarget};
pub use counters::{AppCounters, WorkerCounters};
pub use event::{App, Command, Event, Finding, Found, Routes, Trouble, Worker};
pub use forwarded::{NotAnAddress, TrustedProxies};
pub use histogram::Histogram;
pub use listen::Listener;
pub use measure::route::route_name;
pub use observed::{Blocked, Durable};
pub use routes::{HostPattern, Route, RouteTable};
pub use settings::{HostSettings, RouteOverride, Settings};
pub use snapshot::{
    AppSnapshot, Classification, Reason, RouteSnapshot, Snapshot, WorkerPhase, WorkerSnapshot,
};
pub use sweep::DEMAND_PAUSE;
pub use trouble::{Figures, QUIET};

/// Messages that may be under way to and from a router.
const CHANNEL: usize = 1024;

/// What a router needs to begin.
#[derive(Debug)]
pub struct Start {
    pub host: HostSettings,
    /// Applications and routes that are there from the first connection on, see [`Command::SetApp`].
    pub apps: Vec<(App, String, Settings)>,
    pub routes: RouteTable,
    pub listeners: Vec<Listener>,
    pub access_log: Option<AccessLog>,
    /// Seed of the request ids: any number that differs between runs.
    pub seed: u64,
}

/// A running router.
#[derive(Debug)]
pub struct Router {
    pub commands: mpsc::Sender<Command>,
    pub events: mpsc::Receiver<Event>,
}

/// Start a router on a thread of its own. It ends when `commands` is dropped.
///
/// # Errors
/// When the thread or its runtime cannot be created.
pub fn start(start: Start) -> io::Result<Router> {
    let (commands, orders) = mpsc::channel(CHANNEL);
    let (news, events) = mpsc::channel(CHANNEL);
    let (built, outcome) = sync_channel(1);
    std::thread::Builder::new().name("router".into()).spawn(move || {
        // A local runtime cannot be sent: it is built where it runs.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                let _ = built.send(Ok(()));
                runtime.block_on(run(start, orders, news));
            }
            Err(error) => drop(built.send(Err(error))),
        }
    })?;
    outcome.recv().map_err(io::Error::other)??;
    Ok(Router { commands, events })
}

async fn run(start: Start, mut orders: mpsc::Receiver<Command>, news: mpsc::Sender<Event>) {
    let core = Rc::new(core::Core::new(start.host, start.access_log, start.seed, news));
    for (app, name, settings) in start.apps {
        core.set_app(app, name, settings);
    }
    core.set_routes(start.routes);
    let stop = Rc::new(Notify::new());
    for listener in start.listeners {
        tokio::task::spawn_local(listen::accept_loop(Rc::clone(&core), listener, Rc::clone(&stop)));
    }
    tokio::task::spawn_local(Rc::clone(&core).tick());
    tokio::task::spawn_local(Rc::clone(&core).serve_lines());
    let mut sweep = tokio::time::interval(watchdog::SWEEP);
    let mut idle_reported = false;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => obey(&core, order, &stop),
                None => break,
            },
            _ = sweep.tick() => {
                core.sweep(Instant::now());
                if core.stopping.get() && core.connections.get() + core.refusals.get() == 0 && !idle_reported {
                    idle_reported = true;
                    core.report(Event::Idle);
                }
            }
        }
    }
    core.clear();
}

fn obey(core: &Rc<core::Core>, order: Command, stop: &Notify) {
    match order {
        Command::SetApp { app, name, settings } => core.set_app(app, name, *settings),
        Command::RemoveApp { app: id } => match core.app(id) {
            Some(app) => app.remove(),
            None => core.report(Event::AppGone { app: id }),
        },
        Command::SetRoutes(routes) => core.set_routes(routes),
        Command::SetHost(host) => core.set_host(*host),
        Command::SetOpen { app, open } => {
            if let Some(app) = core.app(app) {
                app.set_open(open);
            }
        }
        Command::Attach { app, worker, data, control, quota } => {
            if let Err(error) = worker::attach(core, app, worker, quota, data, control) {
                core.report(Event::Misbehaved {
                    worker,
                    reason: format!("cannot attach its sockets: {error}"),
                });
            }
        }
        Command::Admit { worker } => {
            if let Some((app, link)) = core.link(worker) {
                app.admit(&link);
            }
        }
        Command::Drain { worker } => {
            if let Some((app, link)) = core.link(worker) {
                app.drain(&link);
            }
        }
        Command::Detach { worker } => {
            if let Some((app, link)) = core.link(worker) {
                worker::detach(&app, &link);
            }
        }
        Command::Explain { app, worker, name } => {
            if let Some(app) = core.app(app) {
                app.explain(worker, name);
            }
        }
        Command::Look { worker, id, what } => {
            if let Some((_, link)) = core.link(worker)
                && link.hearing.ask(id)
            {
                link.order(wire::ControlToWorker::Look { id, what });
            }
        }
        Command::Snapshot { reply } => {
            // Whoever asked may have gone.
            let _ = reply.send(core.snapshot());
        }
        Command::Routes { app, reply } => {
            let routes = core.app(app).map(|app| {
                let (seconds, routes) = app.measure.snapshot();
                Routes { seconds, routes }
            });
            let _ = reply.send(routes);
        }
        Command::Counters { apps, reply } => {
            let of = |app| core.app(app).map(|app| app.counters());
            let _ = reply.send(apps.into_iter().filter_map(of).collect());
        }
        Command::Stop => {
            core.stopping.set(true);
            stop.notify_waiters();
        }
        Command::ReopenLog => {
            if let Some(log) = &core.access_log {
                log.reopen();
            }
        }
    }
}
