//! Runs applications: starts and kills processes, tells the router, listens to signals and to the operator.
//!
//! One loop on the main thread, which lives as long as the program (the workers are tied to it by `PR_SET_PDEATHSIG`).
//! Everything that can happen is one [`Happening`]; what is done about workers comes from each application's
//! [`supervisor::Supervisor`]. `serve` is a host of one application, given on the command line.
//!
//! ```text
//!  spec.rs     what to run, resolved        <-- command line (serve) or configuration (host)
//!  app.rs      one application: wanted and actual
//!  news.rs     what the router tells -> supervisors
//!  drive.rs    supervisor's actions -> processes and router
//!  change.rs   a new plan: what differs, and how it is applied
//!  moving.rs   another tenancy for an application, live
//!  orders.rs   what the operator asks over the control socket
//!  report.rs   status and metrics
//!  watch/     looks at what applications use, on a thread of its own
//!  observed.rs   what workers see inside of themselves
//!  incidents.rs  what went wrong, joined from all of these; endings.rs  how workers ended
//! ```

mod app;
pub(crate) mod change;
mod drive;
mod endings;
mod incidents;
mod machine;
mod moving;
mod news;
mod notify;
mod observed;
mod orders;
mod report;
mod signals;
pub(crate) mod spec;
mod suspects;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use router::{Command, Router};
use supervisor::WorkerId;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;

use self::app::{HostedApp, Number};
use self::signals::Signals;
use self::spec::Spec;
use crate::exit::FAILED;
use crate::history::{self, History};
use crate::hook::Hooks;
use crate::logs::Logs;
use crate::process::Fate;
use crate::say;
use crate::tenancy::Keeper;
use serpentry::control;

/// A worker whose data link ended is given this long to exit by itself before that counts as misbehaviour.
const EXIT_GRACE: Duration = Duration::from_secs(1);

/// After a worker exits, the router may still have to read its last words.
const DETACH_GRACE: Duration = Duration::from_millis(50);

/// After everything was killed, how long to wait for processes that the kernel does not let go of.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// How often the memory of workers with `recycle_memory` is looked at.
const MEMORY_PERIOD: Duration = Duration::from_secs(2);

/// How this host differs from another with the same applications.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) graceful_timeout: Duration,
    /// `serve`: the program ends when its one application cannot start, and HUP makes a new generation of it.
    pub(crate) single: bool,
    /// Reload an application when the files in its directory change.
    pub(crate) watch_code: bool,
    /// Reload when the configuration file changes.
    pub(crate) watch_file: bool,
    /// Where the applications come from, for a reload.
    pub(crate) source: Option<change::Source>,
    /// The application that gets what no route matches.
    pub(crate) default_app: Option<String>,
    pub(crate) seed: u64,
    pub(crate) logs: Option<Logs>,
    pub(crate) keeper: Keeper,
    /// Where incidents are kept, and what it says.
    pub(crate) history: Option<(History, mpsc::Receiver<history::News>)>,
    /// Who is told about them.
    pub(crate) hooks: Option<Hooks>,
}

/// Processors and bytes of memory that there are for all applications.
pub(crate) fn machine() -> (Vec<u32>, u64) {
    (machine::cores(), machine::total())
}

pub(crate) struct Host {
    commands: mpsc::Sender<Command>,
    news: mpsc::Receiver<router::Event>,
    apps: BTreeMap<router::App, HostedApp>,
    names: HashMap<String, router::App>,
    /// Whose worker a number is. A number stays until its link is detached.
    numbers: HashMap<Number, (router::App, WorkerId)>,
    last_app: router::App,
    last_number: Number,
    /// When each application's supervisor wants to be asked again.
    deadlines: BTreeSet<(Duration, router::App)>,
    due: HashMap<router::App, Duration>,
    options: Options,
    origin: Instant,
    fates: (mpsc::Sender<Fate>, mpsc::Receiver<Fate>),
    orders: (mpsc::Sender<control::Request>, mpsc::Receiver<control::Request>),
    /// Things to do later, in no order; there are never many.
    reminders: Vec<(Instant, Reminder)>,
    listening: Vec<String>,
    /// How often a configuration was applied.
    generation: u64,
    stopping: bool,
    failed: bool,
    notify: notify::Notify,
    incidents: incidents::Incidents,
    observed: observed::Observed,
    /// Begins when the host runs.
    watch: Option<watch::Watch>,
    changing: change::Changing,
    changed: (mpsc::Sender<change::Worked>, mpsc::Receiver<change::Worked>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reminder {
    /// Its link is closed: is it gone by now?
    StillThere(Number),
    /// It is gone: close its link if it is still open.
    Detach(Number),
    /// An application that is to end should have no more requests by now.
    EndApp(router::App),
    /// Look at the memory of workers, and whether applications are still kept apart.
    Memory,
    /// Look at what applications use.
    Watch,
    /// Look through the incident book.
    Incidents,
    /// Tell the service manager that we live.
    Watchdog,
    /// The graceful stop takes too long.
    StopNow,
    /// Nothing more can be done.
    GiveUp,
}

enum Happening {
    Fate(Fate),
    News(router::Event),
    RouterGone,
    Signal(SignalKind),
    FilesChanged,
    Order(control::Request),
    Worked(change::Worked),
    History(history::News),
    Time,
}

impl Host {
    pub(crate) fn new(router: Router, listening: Vec<String>, mut options: Options) -> Self {
        let history = options.history.take();
        Host {
            commands: router.commands,
            news: router.events,
            apps: BTreeMap::new(),
            names: HashMap::new(),
            numbers: HashMap::new(),
            last_app: 0,
            last_number: 0,
            deadlines: BTreeSet::new(),
            due: HashMap::new(),
            options,
            origin: Instant::now(),
            fates: mpsc::channel(256),
            orders: mpsc::channel(control::QUEUE),
            reminders: Vec::new(),
            listening,
            generation: 1,
            stopping: false,
            failed: false,
            notify: notify::Notify::from_environment(),
            incidents: incidents::Incidents::new(history),
            observed: observed::Observed::default(),
            watch: None,
            changing: change::Changing::default(),
            changed: mpsc::channel(4),
        }
    }

    /// Where orders are sent: for the control socket.
    pub(crate) fn orders(&self) -> mpsc::Sender<control::Request> {
        self.orders.0.clone()
    }

    /// Run until everything has stopped; the program's exit status.
    pub(crate) async fn run(mut self, specs: Vec<Rc<Spec>>) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        let (changed, mut changes) = mpsc::channel(1);
        if self.options.watch_code {
            for spec in &specs {
                crate::watch::start(spec.template.directory.clone(), changed.clone());
            }
        }
        if let Some(source) = self.options.source.as_ref().filter(|_| self.options.watch_file) {
            crate::watch::file(source.file.clone(), changed.clone());
        }
        self.begin(specs).await;
        self.remind(MEMORY_PERIOD, Reminder::Memory);
        self.remind(incidents::PERIOD, Reminder::Incidents);
        let state = self.options.source.as_ref().map(|source| source.state.clone());
        crate::defects::remember();
        self.watch = watch::Watch::start(self.options.keeper.register(), state, self.changed.0.clone());
        self.remind(detect::PERIOD, Reminder::Watch);
        if let Some(period) = self.notify.watchdog_period() {
            self.remind(period, Reminder::Watchdog);
        }
        while !self.is_over() {
            let deadline = self.next_deadline();
            let happening = tokio::select! {
                // The operator and the clock come first: no flood of news may keep them waiting.
                biased;
                kind = signals.next() => Happening::Signal(kind),
                () = tokio::time::sleep_until(deadline.into()) => Happening::Time,
                Some(fate) = self.fates.1.recv() => Happening::Fate(fate),
                Some(worked) = self.changed.1.recv() => Happening::Worked(worked),
                event = self.news.recv() => event.map_or(Happening::RouterGone, Happening::News),
                Some(()) = changes.recv() => Happening::FilesChanged,
                Some(order) = self.orders.1.recv() => Happening::Order(order),
                Some(news) = self.incidents.history_news.recv() => Happening::History(news),
            };
            match happening {
                Happening::Fate(fate) => self.on_fate(fate).await,
                Happening::News(event) => self.on_news(event).await,
                Happening::RouterGone => {
                    bail!("the router ended unexpectedly; this is a defect of serpentry")
                }
                Happening::Signal(kind) => self.on_signal(kind).await,
                Happening::FilesChanged => {
                    say::info(format_args!("files changed, reloading"));
                    self.reload().await;
                }
                Happening::Order(order) => self.obey(order).await,
                Happening::Worked(change::Worked::File(read)) => self.read(*read).await,
                Happening::Worked(change::Worked::Move(moved)) => self.moved(*moved).await,
                Happening::Worked(change::Worked::Shortage { number, shortage }) => {
                    self.shortage_told(number, shortage).await;
                }
                Happening::Worked(change::Worked::Seen(seen)) => self.seen(seen),
                Happening::History(news) => self.on_history(news),
                Happening::Time => self.on_time().await,
            }
        }
        self.options.keeper.sweep().await;
        Ok(self.end())
    }

    fn is_over(&self) -> bool {
        let over = self.stopping || self.options.single;
        over && self.apps.values().all(HostedApp::is_gone)
    }

    fn end(mut self) -> ExitCode {
        self.write_history();
        if self.failed {
            return FAILED.into();
        }
        say::info(format_args!("stopped"));
        ExitCode::SUCCESS
    }

    fn next_deadline(&self) -> Instant {
        let reminder = self.reminders.iter().map(|(at, _)| *at).min();
        let supervisor = self.deadlines.first().map(|(at, _)| self.origin + *at);
        let far = Instant::now() + Duration::from_secs(3600);
        [reminder, supervisor].into_iter().flatten().fold(far, Instant::min)
    }

    fn remind(&mut self, after: Duration, reminder: Reminder) {
        self.reminders.push((Instant::now() + after, reminder));
    }

    // ---- what happens ----

    async fn on_fate(&mut self, fate: Fate) {
        match fate {
            Fate::Started { worker: number, started } => {
                let Some((id, worker)) = self.numbers.get(&number).copied() else { return };
                let event = self.started(id, worker, number, started).await;
                self.step(id, event).await;
            }
            Fate::NotForked { worker: number, reason, traceback } => {
                if let Some((id, worker)) = self.numbers.remove(&number) {
                    self.heard_traceback(id, &traceback);
                    self.step(id, supervisor::Event::SpawnFailed { worker, error: reason }).await;
                }
            }
            Fate::NotStarted { worker, reason } => {
                if let Some((app, worker)) = self.numbers.get(&worker).copied() {
                    self.step(app, supervisor::Event::BootFailed { worker, reason }).await;
                }
            }
            Fate::Exited { worker: number, status } => {
                self.remind(DETACH_GRACE, Reminder::Detach(number));
                self.process_ended(number, status);
                let Some((app, worker)) = self.whose(number) else { return };
                match app.processes.get_mut(&worker) {
                    // Its last words come first: why it did not boot, for example.
                    Some(process) if !process.link_closed => process.ended = Some(status),
                    _ => self.gone(number, status).await,
                }
            }
        }
    }

    /// A process is reaped, and nothing more is heard of it.
    async fn gone(&mut self, number: Number, status: supervisor::ExitStatus) {
        let Some((app, worker)) = self.whose(number) else { return };
        app.processes.remove(&worker);
        let id = app.id;
        self.step(id, supervisor::Event::Exited { worker, status }).await;
        self.conclude(number).await;
    }

    /// The same for a process that was reaped before.
    async fn gone_if_ended(&mut self, number: Number) {
        let ended = self.whose(number).and_then(|(app, worker)| app.processes.get(&worker)?.ended);
        if let Some(status) = ended {
            self.gone(number, status).await;
        }
    }

    async fn on_signal(&mut self, kind: SignalKind) {
        use supervisor::Event;
        if kind == SignalKind::hangup() {
            self.reload().await;
        } else if kind == signals::TTIN || kind == signals::TTOU {
            let delta = if kind == signals::TTIN { 1 } else { -1 };
            if self.options.single {
                for app in self.ids() {
                    self.step(app, Event::Scale(delta)).await;
                }
            } else {
                say::warning(format_args!("TTIN and TTOU need one application: use `serpentry scale APP N`"));
            }
        } else if kind == SignalKind::user_defined1() {
            self.tell(Command::ReopenLog).await;
        } else if kind != signals::XFSZ {
            self.stop().await;
        }
    }

    /// The first time gracefully, the second time at once.
    async fn stop(&mut self) {
        if self.stopping {
            say::info(format_args!("stopping at once"));
            return self.stop_now().await;
        }
        let seconds = self.options.graceful_timeout.as_secs_f64();
        say::info(format_args!("stopping: {seconds} s for requests to finish"));
        self.stopping = true;
        self.notify.stopping();
        self.remind(self.options.graceful_timeout, Reminder::StopNow);
        // The workers stay until the last request is answered: `router::Event::Idle`.
        self.tell(Command::Stop).await;
    }

    async fn stop_now(&mut self) {
        self.remind(KILL_GRACE, Reminder::GiveUp);
        for app in self.ids() {
            self.step(app, supervisor::Event::StopNow).await;
        }
    }

    /// One application: new workers, the code may have changed. A file: what differs in it.
    async fn reload(&mut self) {
        self.notify.reloading();
        if !self.options.single {
            return self.load(None);
        }
        for app in self.ids() {
            self.step(app, supervisor::Event::Reload).await;
        }
        self.notify.reloaded("reloading");
    }

    async fn on_time(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.reminders).into_iter().partition(|(at, _)| *at <= now);
        self.reminders = later;
        for (_, reminder) in due {
            self.on_reminder(reminder).await;
        }
        let elapsed = self.origin.elapsed();
        while let Some((at, app)) = self.deadlines.first().copied().filter(|(at, _)| *at <= elapsed) {
            self.deadlines.remove(&(at, app));
            self.due.remove(&app);
            self.step(app, supervisor::Event::Tick).await;
        }
    }

    async fn on_reminder(&mut self, reminder: Reminder) {
        match reminder {
            Reminder::Detach(number) => {
                self.gone_if_ended(number).await;
                self.numbers.remove(&number);
                self.tell(Command::Detach { worker: number }).await;
            }
            Reminder::StillThere(number) => {
                let Some((app, worker)) = self.whose(number) else { return };
                let process = app.processes.get(&worker).filter(|process| process.link_closed);
                let pid = process.map(|process| process.handle.pid());
                if pid.is_some_and(machine::is_ending) {
                    // A large process on a busy machine: how it ended is known when the kernel is done with it.
                    self.remind(EXIT_GRACE, Reminder::StillThere(number));
                } else if pid.is_some() {
                    let id = app.id;
                    let reason = "it closed its link to the router and did not exit".to_owned();
                    self.step(id, supervisor::Event::Misbehaved { worker, reason }).await;
                }
            }
            Reminder::EndApp(app) => self.end_app_now(app).await,
            Reminder::Memory => {
                self.remind(MEMORY_PERIOD, Reminder::Memory);
                self.recycle().await;
                self.options.keeper.refresh();
            }
            Reminder::Watch => self.watch().await,
            Reminder::Incidents => {
                self.remind(incidents::PERIOD, Reminder::Incidents);
                self.look_through_incidents();
            }
            Reminder::Watchdog => self.feed_watchdog().await,
            Reminder::StopNow => {
                say::warning(format_args!(
                    "requests are still running after the graceful timeout, stopping at once"
                ));
                self.stop_now().await;
            }
            Reminder::GiveUp => {
                let left: usize = self.apps.values().map(|app| app.processes.len()).sum();
                say::error(format_args!("{left} workers could not be killed"));
                self.failed = true;
                self.apps.clear();
            }
        }
    }

    /// Replace workers that have grown past `recycle_memory`.
    async fn recycle(&mut self) {
        let mut grown = Vec::new();
        for app in self.apps.values() {
            let Some(limit) = app.spec.app.recycle_memory else { continue };
            for (worker, process) in &app.processes {
                if let Some(used) = machine::resident(process.handle.pid()).filter(|used| *used > limit) {
                    grown.push((app.id, *worker, machine::has_room_for(used)));
                }
            }
        }
        for (app, worker, room) in grown {
            self.step(app, supervisor::Event::Outgrown { worker, room }).await;
        }
    }

    /// The service manager restarts a host that does not say often enough that it works: the loop runs, and the router
    /// answers.
    async fn feed_watchdog(&mut self) {
        let Some(period) = self.notify.watchdog_period() else { return };
        self.remind(period, Reminder::Watchdog);
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.tell(Command::Snapshot { reply }).await;
        let notify = self.notify.clone();
        tokio::task::spawn_local(async move {
            if answer.await.is_ok() {
                notify.watchdog();
            }
        });
    }

    // ---- small things ----

    fn ids(&self) -> Vec<router::App> {
        self.apps.keys().copied().collect()
    }

    fn whose(&mut self, number: Number) -> Option<(&mut HostedApp, WorkerId)> {
        let (app, worker) = self.numbers.get(&number).copied()?;
        Some((self.apps.get_mut(&app)?, worker))
    }

    async fn tell(&self, command: Command) {
        // The router ends only when this end of the channel does.
        let _ = self.commands.send(command).await;
    }

    /// Say something about an application: to the operator, and in its log.
    fn tell_about(&self, app: router::App, level: say::Level, text: &str) {
        let Some(app) = self.apps.get(&app) else { return };
        match &self.options.logs {
            Some(logs) if level < say::Level::Debug => logs.note(app.name(), text),
            Some(_) => say::at(level, format_args!("{}: {text}", app.name())),
            None => say::at(level, format_args!("{text}")),
        }
    }
}
