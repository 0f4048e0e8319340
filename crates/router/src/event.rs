//! What the router is told, and what it tells, in the host's terms.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use incident::{Id, Name, Request};
use tokio::sync::oneshot;
use wire::{Interface, Look};

use crate::counters::AppCounters;
use crate::observed::{Blocked, Durable};
use crate::routes::RouteTable;
use crate::settings::{HostSettings, Settings};
use crate::snapshot::{Reason, RouteSnapshot, Snapshot};
use crate::trouble::Figures;

/// An application, numbered by the host and never reused.
pub type App = u32;

/// A worker, numbered by the host over all applications and never reused.
pub type Worker = u64;

/// Orders to the router.
#[derive(Debug)]
pub enum Command {
    /// Make an application, or change it in place: later requests follow the new settings, those under way keep their
    /// deadlines. A new one is open and has no route and no worker.
    SetApp { app: App, name: String, settings: Box<Settings> },
    /// Forget an application once its queued and running requests are answered, and then report [`Event::AppGone`].
    /// Take its routes away before, and its workers after. WebSockets are closed with 1012.
    RemoveApp { app: App },
    /// From the next request on, these routes and no others.
    SetRoutes(RouteTable),
    /// Bounds of the whole host, from the next connection or request on.
    SetHost(Box<HostSettings>),
    /// Not open: new requests are answered 503 "stopped". Those in the queue are still run, and once nothing is under way
    /// [`Event::AppIdle`] is reported.
    SetOpen { app: App, open: bool },
    /// A worker was spawned: these are the router's ends of its links. After `quota` requests (if any) it is reported
    /// with [`Event::QuotaReached`].
    Attach { app: App, worker: Worker, data: UnixStream, control: UnixStream, quota: Option<u64> },
    /// Give requests to this worker.
    Admit { worker: Worker },
    /// No more requests; when it holds none, tell it to finish.
    Drain { worker: Worker },
    /// It is gone or about to be: close its links; what it held is run elsewhere or answered.
    Detach { worker: Worker },
    /// How this worker ended, by the name of the incident: after [`Event::Closed`], for those of its requests that are
    /// answered 502.
    Explain { app: App, worker: Worker, name: Name },
    /// Let this worker look at something inside of itself; answered with [`Event::Seen`] of the same id. One that is gone or
    /// owes too many answers does not answer.
    Look { worker: Worker, id: u64, what: Look },
    /// Take all figures at this moment.
    Snapshot { reply: oneshot::Sender<Snapshot> },
    /// What was measured of an application's requests, by route. `None`: there is no such application.
    Routes { app: App, reply: oneshot::Sender<Option<Routes>> },
    /// Take a few counters of these applications: often, and without any cost for the others.
    Counters { apps: Vec<App>, reply: oneshot::Sender<Vec<AppCounters>> },
    /// Accept no more connections, close idle ones, finish the rest.
    Stop,
    /// Reopen the access log (it was rotated).
    ReopenLog,
}

/// News from the router.
#[derive(Debug)]
pub enum Event {
    /// The application is imported.
    Hello { worker: Worker, interface: Interface, slots: u32, runtime: String },
    /// It may be given requests.
    Ready { worker: Worker },
    /// The application did not start; `message` is one line with a hint, `traceback` may be empty.
    BootFailed { worker: Worker, message: String, traceback: String },
    /// Its data link ended. Of the requests it held, so many were put back into the queue and so many answered 502.
    /// Comes once for every worker that was attached, also after [`Command::Detach`] and [`Event::Misbehaved`]. `requests`: the
    /// first few of them.
    Closed { worker: Worker, replayed: usize, failed: usize, requests: Vec<Request> },
    /// It broke the protocol, and its links are closed.
    Misbehaved { worker: Worker, reason: String },
    /// It has been given as many requests as its quota says. It still serves.
    QuotaReached { worker: Worker },
    /// A request outlived its deadline, was interrupted, and did not stop. The worker is given nothing more.
    Hung { worker: Worker },
    /// It holds no request any more and has been told to finish.
    Drained { worker: Worker },
    /// Something went wrong for a visitor, see `trouble.rs`: at once for the first of its kind, then at most every second.
    Trouble(Box<Trouble>),
    /// The figures of an application's requests show something, see `measure.rs`: at most every second.
    Found(Box<Found>),
    /// Where the code of a request was that passed its deadline. `request`: id, method and path.
    Stuck { worker: Worker, request: String, stack: String },
    /// The event loop of a worker stands still, or goes on.
    Blocked(Box<Blocked>),
    /// Requests of a worker wait for the disk.
    Durable(Box<Durable>),
    /// What a worker was told to look at with [`Command::Look`]; not `done`: why there is nothing.
    Seen { worker: Worker, id: u64, done: bool, text: String },
    /// Something the operator should read; the application's mistake rather than ours.
    Notice { worker: Worker, text: String },
    /// A request waits and no slot is free. At once, then at most every [`crate::DEMAND_PAUSE`] while that lasts.
    Demand { app: App },
    /// How busy an application was: every second for those that had a request since the last one, and once more when
    /// that ends.
    Load {
        app: App,
        /// Most slots in use at once since the last Load, over all its workers.
        busy_peak: usize,
        /// Slots of one worker; 1 while that is not known.
        slots: usize,
        /// Requests that wait now.
        waiting: usize,
    },
    /// After [`Command::RemoveApp`]: nothing of it is under way any more. Its workers can be stopped.
    AppGone { app: App },
    /// After [`Command::SetOpen`] with `false`: nothing of it is under way.
    AppIdle { app: App },
    /// After [`Command::Stop`]: every connection is closed.
    Idle,
}

/// Visitors who were refused for the same reason, since the last report.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// `None`: it concerns no application.
    pub app: Option<App>,
    pub reason: Reason,
    /// What they were told.
    pub id: Id,
    /// How many there were; 0: only `detail` is new.
    pub count: u64,
    /// Requests of the application that ended in the same time; 0 in the first report.
    pub finished: u64,
    /// The latest figures.
    pub figures: Figures,
    /// What exactly was wrong, or empty.
    pub detail: String,
    /// A few of them.
    pub requests: Vec<Request>,
}

/// The routes of an application, those first that took most CPU time.
#[derive(Debug, Clone)]
pub struct Routes {
    /// For how long they were counted.
    pub seconds: u64,
    pub routes: Vec<RouteSnapshot>,
}

/// What was found in the figures of an application.
#[derive(Debug, Clone)]
pub struct Found {
    pub app: App,
    pub finding: Finding,
}

/// See [`Found`]. `route`: method and path, for people.
#[derive(Debug, Clone)]
pub enum Finding {
    /// The requests of a route use much CPU time: `count` since the last report, `cpu` each, which is `share` (0 to 1) of the
    /// time that they ran.
    CpuHeavy { route: String, count: u64, cpu: Duration, share: f64, requests: Vec<Request> },
    /// A request computed for `held`, and others in its worker waited for the interpreter lock meanwhile.
    GilHeld { worker: Worker, route: String, held: Duration, delayed: usize, requests: Vec<Request> },
}
