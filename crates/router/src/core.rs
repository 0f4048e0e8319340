//! What every part of one router thread shares: the clock, the applications, the workers, the routes.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::time::{Duration, Instant};

use incident::{Id, Ids, Lane};
use tokio::sync::{Notify, mpsc};

use crate::access_log::AccessLog;
use crate::app::App;
use crate::event::{self, Event, Worker};
use crate::http::date::{Civil, unix_now};
use crate::link::Link;
use crate::routes::RouteTable;
use crate::settings::{HostSettings, Settings};
use crate::snapshot::{Reason, Snapshot};
use crate::stats::Reasons;
use crate::trouble::Troubles;
use crate::watchdog::Watchdogs;

/// How often stalled workers are looked for while there may be any.
const TICK: Duration = Duration::from_millis(1);

/// How often [`Event::Load`] is reported.
const LOAD: Duration = Duration::from_secs(1);

/// A worker and its application.
type Attached = (Rc<App>, Rc<Link>);

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) clock: Clock,
    pub(crate) watchdogs: Watchdogs,
    pub(crate) access_log: Option<AccessLog>,
    /// No new connections; finish what is under way and close.
    pub(crate) stopping: Cell<bool>,
    /// Open client connections, without those that are being refused.
    pub(crate) connections: Cell<usize>,
    /// Connections over the limit that are being told so.
    pub(crate) refusals: Cell<usize>,
    /// Answers that no application had to do with.
    pub(crate) refused: Reasons,
    host: RefCell<HostSettings>,
    routes: RefCell<Rc<RouteTable>>,
    apps: RefCell<HashMap<event::App, Rc<App>>>,
    links: RefCell<HashMap<Worker, Attached>>,
    /// Applications with something to look after: requests, or figures to report. All else sleeps.
    active: RefCell<Vec<Rc<App>>>,
    /// Applications with a worker that may sit on requests.
    stalling: RefCell<Vec<Rc<App>>>,
    tick_needed: Notify,
    /// Applications with connections that wait for bandwidth.
    pub(crate) lines: RefCell<Vec<Rc<App>>>,
    pub(crate) line_formed: Notify,
    load_reported: Cell<Instant>,
    events: mpsc::Sender<Event>,
    /// Trouble that concerns no application.
    pub(crate) troubles: Troubles,
    incident_ids: RefCell<Ids>,
    /// So that clients cannot choose hashes.
    input_key: RandomState,
    next_id: Cell<u64>,
    random: Cell<u64>,
}

impl Core {
    pub(crate) fn new(
        host: HostSettings,
        access_log: Option<AccessLog>,
        seed: u64,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Core {
            clock: Clock::new(),
            watchdogs: Watchdogs::default(),
            access_log,
            stopping: Cell::new(false),
            connections: Cell::new(0),
            refusals: Cell::new(0),
            refused: Reasons::default(),
            host: RefCell::new(host),
            routes: RefCell::default(),
            apps: RefCell::default(),
            links: RefCell::default(),
            active: RefCell::default(),
            stalling: RefCell::default(),
            tick_needed: Notify::new(),
            lines: RefCell::default(),
            line_formed: Notify::new(),
            load_reported: Cell::new(Instant::now()),
            events,
            troubles: Troubles::default(),
            incident_ids: RefCell::new(Ids::new(Lane::Router)),
            input_key: RandomState::new(),
            next_id: Cell::new(1),
            random: Cell::new(seed),
        }
    }

    /// Tell the host. The channel is long and the host fast; if it is ever full, a task waits in our place.
    pub(crate) fn report(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            let events = self.events.clone();
            tokio::task::spawn_local(async move {
                // The receiver is gone only when the program ends.
                let _ = events.send(event).await;
            });
        }
    }

    /// Ids of requests on the wire: never used twice.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// A request id for people: 16 hexadecimal digits, unguessable enough to tell requests apart (splitmix64).
    pub(crate) fn request_id(&self) -> Box<str> {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let text: [u8; 16] = std::array::from_fn(|place| DIGITS[(mixed >> (4 * (15 - place))) as usize & 15]);
        // Every byte is a digit.
        std::str::from_utf8(&text).unwrap_or_default().into()
    }

    /// A request's input, hashed.
    pub(crate) fn input(&self, path: &str, query: &str) -> u64 {
        self.input_key.hash_one((path, query))
    }

    /// The name of a new kind of trouble, at this time since 1970.
    pub(crate) fn draw_incident(&self, unix: Duration) -> Id {
        self.incident_ids.borrow_mut().draw(unix)
    }

    // ---- settings and routes ----

    pub(crate) fn host(&self) -> Ref<'_, HostSettings> {
        self.host.borrow()
    }

    pub(crate) fn set_host(&self, host: HostSettings) {
        *self.host.borrow_mut() = host;
    }

    pub(crate) fn routes(&self) -> Rc<RouteTable> {
        Rc::clone(&self.routes.borrow())
    }

    pub(crate) fn set_routes(&self, routes: RouteTable) {
        *self.routes.borrow_mut() = Rc::new(routes);
    }

    // ---- applications and workers ----

    pub(crate) fn app(&self, app: event::App) -> Option<Rc<App>> {
        self.apps.borrow().get(&app).cloned()
    }

    pub(crate) fn set_app(self: &Rc<Self>, id: event::App, name: String, settings: Settings) {
        let known = self.app(id);
        match known {
            Some(app) => app.set(name, settings),
            None => {
                let app = App::new(id, name, settings, Rc::clone(self));
                self.apps.borrow_mut().insert(id, app);
            }
        }
    }

    /// Nothing of the application is under way any more.
    pub(crate) fn forget_app(&self, app: event::App) {
        if self.apps.borrow_mut().remove(&app).is_some() {
            self.report(Event::AppGone { app });
        }
    }

    pub(crate) fn link(&self, worker: Worker) -> Option<Attached> {
        self.links.borrow().get(&worker).cloned()
    }

    pub(crate) fn add_link(&self, app: &Rc<App>, link: &Rc<Link>) {
        self.links.borrow_mut().insert(link.worker, (Rc::clone(app), Rc::clone(link)));
    }

    pub(crate) fn remove_link(&self, worker: Worker) {
        self.links.borrow_mut().remove(&worker);
    }

    /// Break the circles of references: the router ends.
    pub(crate) fn clear(&self) {
        let apps = std::mem::take(&mut *self.apps.borrow_mut());
        apps.values().for_each(|app| app.clear());
        self.links.borrow_mut().clear();
        self.active.borrow_mut().clear();
        self.stalling.borrow_mut().clear();
        self.lines.borrow_mut().clear();
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut apps: Vec<_> = self.apps.borrow().values().map(|app| app.snapshot()).collect();
        apps.sort_unstable_by_key(|app| app.app);
        Snapshot { connections: self.connections.get(), refused: self.refused.list(), apps }
    }

    /// Answered without an application.
    pub(crate) fn count_refused(&self, reason: Reason) {
        self.refused.count(reason);
    }

    // ---- time ----

    /// From now on the application is swept, until it has nothing left to look after.
    pub(crate) fn activate(&self, app: &Rc<App>) {
        self.active.borrow_mut().push(Rc::clone(app));
    }

    /// From now on the application's workers are watched closely, until none of them may stall.
    pub(crate) fn watch_closely(&self, app: &Rc<App>) {
        self.stalling.borrow_mut().push(Rc::clone(app));
        self.tick_needed.notify_one();
    }

    /// From now on those who wait for the application's bandwidth are served, until nobody does.
    pub(crate) fn serve_line(&self, app: &Rc<App>) {
        self.lines.borrow_mut().push(Rc::clone(app));
        self.line_formed.notify_one();
    }

    /// The router's sweep: see [`crate::watchdog::SWEEP`]. Costs nothing for applications that sleep.
    pub(crate) fn sweep(&self, now: Instant) {
        self.clock.update();
        self.watchdogs.sweep(now, self.stopping.get());
        let since = now.saturating_duration_since(self.load_reported.get());
        let load_due = since >= LOAD;
        if load_due {
            self.load_reported.set(now);
            self.troubles.flush(self, None, 0);
        }
        let mut active = std::mem::take(&mut *self.active.borrow_mut());
        active.retain(|app| {
            app.sweep(now);
            !load_due || app.report_load(since)
        });
        // Those that woke up meanwhile.
        active.append(&mut self.active.borrow_mut());
        *self.active.borrow_mut() = active;
    }

    /// Take requests back from workers that sit on them. Runs until the router ends; sleeps while no worker holds more
    /// than it works on.
    pub(crate) async fn tick(self: Rc<Self>) {
        loop {
            while self.stalling.borrow().is_empty() {
                self.tick_needed.notified().await;
            }
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            let mut stalling = std::mem::take(&mut *self.stalling.borrow_mut());
            stalling.retain(|app| app.tick(now, TICK));
            stalling.append(&mut self.stalling.borrow_mut());
            *self.stalling.borrow_mut() = stalling;
        }
    }
}

/// The time as far as a sweep's precision is enough, renewed by the sweep instead of asked for by every request.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    uptime: Cell<u64>,
    second: Cell<u64>,
    http_date: RefCell<String>,
}

impl Clock {
    fn new() -> Self {
        let clock = Clock {
            started: Instant::now(),
            uptime: Cell::new(0),
            second: Cell::new(u64::MAX),
            http_date: RefCell::default(),
        };
        clock.update();
        clock
    }

    fn update(&self) {
        self.uptime.set(self.started.elapsed().as_secs());
        let second = unix_now().as_secs();
        if self.second.replace(second) != second {
            *self.http_date.borrow_mut() = Civil::from_unix(second).http_date();
        }
    }

    /// Seconds since the router began; never goes back.
    pub(crate) fn uptime(&self) -> u64 {
        self.uptime.get()
    }

    /// The text of the Date field.
    pub(crate) fn http_date(&self) -> Ref<'_, str> {
        Ref::map(self.http_date.borrow(), String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_at(core: &Core) -> usize {
        core.active.borrow().len() + core.stalling.borrow().len()
    }

    #[test]
    fn sleeping_applications_are_not_looked_at() {
        let (news, mut events) = mpsc::channel(16);
        let core = Rc::new(Core::new(crate::fuzzing::host_settings(), None, 1, news));
        for app in 0..1000 {
            core.set_app(app, String::new(), crate::fuzzing::settings());
        }
        let mut now = Instant::now();
        core.sweep(now);
        assert_eq!(looked_at(&core), 0);
        let app = core.app(7).unwrap();
        app.enter();
        app.enter();
        assert_eq!(looked_at(&core), 1);
        app.leave();
        let mut loads = || {
            now += LOAD;
            core.sweep(now);
            let reported = std::iter::from_fn(|| events.try_recv().ok()).count();
            (reported, looked_at(&core))
        };
        assert_eq!(loads(), (1, 1));
        assert_eq!(loads(), (1, 1), "one request is still under way");
        app.leave();
        assert_eq!(loads(), (0, 0));
        app.enter();
        app.leave();
        assert_eq!(loads(), (1, 1));
        assert_eq!(loads(), (1, 0), "the last report is all zero");
        assert_eq!(loads(), (0, 0));
    }

    #[test]
    fn a_sleeping_application_is_small() {
        // What it allocates besides: its settings, its name, and its place in the table.
        assert!(size_of::<App>() <= 1024, "{} bytes", size_of::<App>());
        assert!(size_of::<Settings>() <= 320, "{} bytes", size_of::<Settings>());
    }
}
