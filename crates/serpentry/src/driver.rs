//! Carries out what the supervisor decides: starts and kills processes, tells the router, listens to signals.
//!
//! One loop on the main thread, which lives as long as the program (the workers are tied to it by `PR_SET_PDEATHSIG`).
//! Everything that can happen is one [`Happening`]; everything that is decided comes from [`Supervisor::step`].

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use router::{Command, Router};
use supervisor::{Action, Notice, Supervisor, WorkerId, WorkerState};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::exit::FAILED;
use crate::family::Handle;
use crate::process::{self, Fate, Started, Template};
use crate::{say, watch};

/// A worker whose data link ended is given this long to exit by itself before that counts as misbehaviour.
const EXIT_GRACE: Duration = Duration::from_secs(1);

/// After a worker exits, the router may still have to read its last words.
const DETACH_GRACE: Duration = Duration::from_millis(50);

/// After everything was killed, how long to wait for processes that the kernel does not let go of.
const KILL_GRACE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) graceful_timeout: Duration,
    /// Reload when the application's files change.
    pub(crate) watch: bool,
}

#[derive(Debug)]
pub(crate) struct Driver {
    supervisor: Supervisor,
    commands: mpsc::Sender<Command>,
    news: mpsc::Receiver<router::Event>,
    template: Template,
    options: Options,
    origin: Instant,
    processes: HashMap<WorkerId, Process>,
    /// Of workers that were asked for and are not there yet.
    quotas: HashMap<WorkerId, u64>,
    fates: (mpsc::Sender<Fate>, mpsc::Receiver<Fate>),
    /// Things to do later, in no order; there are never many.
    reminders: Vec<(Instant, Reminder)>,
    stopping: bool,
    /// "wsgi, sync": what the application turned out to be.
    kind: String,
}

#[derive(Debug)]
struct Process {
    handle: Handle,
    /// When it was asked for.
    asked: Instant,
    link_closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reminder {
    /// Its link is closed: is it gone by now?
    StillThere(WorkerId),
    /// It is gone: close its link if it is still open.
    Detach(WorkerId),
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
    Time,
}

impl Driver {
    pub(crate) fn new(supervisor: Supervisor, router: Router, template: Template, options: Options) -> Self {
        Driver {
            supervisor,
            commands: router.commands,
            news: router.events,
            template,
            options,
            origin: Instant::now(),
            processes: HashMap::new(),
            quotas: HashMap::new(),
            fates: mpsc::channel(256),
            reminders: Vec::new(),
            stopping: false,
            kind: String::new(),
        }
    }

    /// Run until the application has stopped; the program's exit status.
    pub(crate) async fn run(mut self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        let (changed, mut changes) = mpsc::channel(1);
        if self.options.watch {
            watch::start(self.template.directory.clone(), changed.clone());
        }
        if let Some(status) = self.step(supervisor::Event::Start).await {
            return Ok(status);
        }
        loop {
            let deadline = self.next_deadline();
            let happening = tokio::select! {
                // The operator and the clock come first: no flood of news may keep them waiting.
                biased;
                kind = signals.next() => Happening::Signal(kind),
                () = tokio::time::sleep_until(deadline.into()) => Happening::Time,
                Some(fate) = self.fates.1.recv() => Happening::Fate(fate),
                event = self.news.recv() => event.map_or(Happening::RouterGone, Happening::News),
                Some(()) = changes.recv() => Happening::FilesChanged,
            };
            let ended = match happening {
                Happening::Fate(fate) => self.on_fate(fate).await,
                Happening::News(event) => self.on_news(event).await,
                Happening::RouterGone => {
                    bail!("the router ended unexpectedly; this is a defect of serpentry")
                }
                Happening::Signal(kind) => self.on_signal(kind).await,
                Happening::FilesChanged => {
                    say::info(format_args!("files changed, reloading"));
                    self.step(supervisor::Event::Reload).await
                }
                Happening::Time => self.on_time().await,
            };
            if let Some(status) = ended {
                return Ok(status);
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let reminder = self.reminders.iter().map(|(at, _)| *at).min();
        let supervisor = self.supervisor.next_deadline().map(|at| self.origin + at);
        let far = Instant::now() + Duration::from_secs(3600);
        [reminder, supervisor].into_iter().flatten().fold(far, Instant::min)
    }

    fn remind(&mut self, after: Duration, reminder: Reminder) {
        self.reminders.push((Instant::now() + after, reminder));
    }

    // ---- what happens ----

    async fn on_fate(&mut self, fate: Fate) -> Option<ExitCode> {
        match fate {
            Fate::Started { worker, started } => {
                let event = self.started(worker, started).await;
                self.step(event).await
            }
            Fate::NotForked { worker, reason } => {
                self.quotas.remove(&worker);
                self.step(supervisor::Event::SpawnFailed { worker, error: reason }).await
            }
            Fate::NotStarted { worker, reason } => {
                self.step(supervisor::Event::BootFailed { worker, reason }).await
            }
            Fate::Exited { worker, status } => {
                self.processes.remove(&worker);
                self.remind(DETACH_GRACE, Reminder::Detach(worker));
                self.step(supervisor::Event::Exited { worker, status }).await
            }
        }
    }

    async fn on_news(&mut self, event: router::Event) -> Option<ExitCode> {
        use supervisor::Event as To;
        let event = match event {
            router::Event::Hello { worker, interface, slots, runtime } => {
                let concurrency = match (interface, slots) {
                    (wire::Interface::Asgi, _) => "async".to_owned(),
                    (wire::Interface::Wsgi, 1) => "sync".to_owned(),
                    (wire::Interface::Wsgi, threads) => format!("{threads} threads"),
                };
                self.kind = format!("{}, {concurrency}", interface.as_str());
                say::debug(format_args!(
                    "worker {worker} has imported the application ({}, {runtime})",
                    self.kind
                ));
                return None;
            }
            router::Event::Ready { worker } => {
                if let Some(process) = self.processes.get(&WorkerId(worker)) {
                    let took = process.asked.elapsed().as_secs_f64() * 1000.0;
                    say::debug(format_args!("worker {worker} is ready, {took:.1} ms after it was wanted"));
                }
                To::Ready { worker: WorkerId(worker) }
            }
            router::Event::BootFailed { worker, message, traceback } => {
                if !traceback.is_empty() {
                    say::error(format_args!("the application's traceback:\n{}", traceback.trim_end()));
                }
                To::BootFailed { worker: WorkerId(worker), reason: message }
            }
            router::Event::Closed { worker, replayed, failed } => {
                if replayed + failed > 0 {
                    let text = "requests that it had begun were";
                    say::warning(format_args!(
                        "worker {worker} went away: {replayed} {text} run again, {failed} answered 502"
                    ));
                }
                if let Some(process) = self.processes.get_mut(&WorkerId(worker)) {
                    process.link_closed = true;
                    self.remind(EXIT_GRACE, Reminder::StillThere(WorkerId(worker)));
                }
                return None;
            }
            router::Event::Misbehaved { worker, reason } => {
                To::Misbehaved { worker: WorkerId(worker), reason }
            }
            router::Event::QuotaReached { worker } => To::QuotaReached { worker: WorkerId(worker) },
            router::Event::Hung { worker } => To::Hung { worker: WorkerId(worker) },
            router::Event::Drained { worker } => To::Drained { worker: WorkerId(worker) },
            router::Event::Notice { text } => {
                say::warning(format_args!("{}", text.trim_end()));
                return None;
            }
            router::Event::Idle => To::Stop,
        };
        self.step(event).await
    }

    async fn on_signal(&mut self, kind: SignalKind) -> Option<ExitCode> {
        use supervisor::Event;
        if kind == SignalKind::hangup() {
            self.step(Event::Reload).await
        } else if kind == signal_kind::TTIN {
            self.step(Event::Scale(1)).await
        } else if kind == signal_kind::TTOU {
            self.step(Event::Scale(-1)).await
        } else if kind == SignalKind::user_defined1() {
            self.tell(Command::ReopenLog).await;
            None
        } else if self.stopping {
            say::info(format_args!("stopping at once"));
            self.remind(KILL_GRACE, Reminder::GiveUp);
            self.step(Event::StopNow).await
        } else {
            say::info(format_args!(
                "stopping: {} s for requests to finish",
                self.options.graceful_timeout.as_secs_f64()
            ));
            self.stopping = true;
            self.remind(self.options.graceful_timeout, Reminder::StopNow);
            // The workers stay until the last request is answered: `router::Event::Idle`.
            self.tell(Command::Stop).await;
            None
        }
    }

    async fn on_time(&mut self) -> Option<ExitCode> {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.reminders).into_iter().partition(|(at, _)| *at <= now);
        self.reminders = later;
        for (_, reminder) in due {
            let ended = match reminder {
                Reminder::Detach(WorkerId(worker)) => {
                    self.tell(Command::Detach { worker }).await;
                    None
                }
                Reminder::StillThere(worker)
                    if self.processes.get(&worker).is_some_and(|process| process.link_closed) =>
                {
                    let reason = "it closed its link to the router and did not exit".to_owned();
                    self.step(supervisor::Event::Misbehaved { worker, reason }).await
                }
                Reminder::StillThere(_) => None,
                Reminder::StopNow => {
                    say::warning(format_args!(
                        "requests are still running after the graceful timeout, stopping at once"
                    ));
                    self.remind(KILL_GRACE, Reminder::GiveUp);
                    self.step(supervisor::Event::StopNow).await
                }
                Reminder::GiveUp => {
                    say::error(format_args!("{} workers could not be killed", self.processes.len()));
                    Some(FAILED.into())
                }
            };
            if ended.is_some() {
                return ended;
            }
        }
        self.step(supervisor::Event::Tick).await
    }

    // ---- what is done ----

    /// Let the supervisor decide, and carry it out. Spawning answers at once, which may lead to further actions.
    async fn step(&mut self, event: supervisor::Event) -> Option<ExitCode> {
        if let (Some(preload), supervisor::Event::Stop | supervisor::Event::StopNow) =
            (&self.template.preload, &event)
        {
            // No worker is started any more, and those that wait for a template need not wait for it.
            preload.stop();
        }
        let mut events = vec![event];
        let mut ended = None;
        while let Some(event) = events.pop() {
            let actions = self.supervisor.step(self.origin.elapsed(), event);
            // In reverse, because `events` is a stack.
            let mut answers = Vec::new();
            for action in actions {
                match action {
                    Action::Stopped { failed } => ended = Some(stopped(failed)),
                    action => answers.extend(self.carry_out(action).await),
                }
            }
            events.extend(answers.into_iter().rev());
        }
        ended
    }

    async fn carry_out(&mut self, action: Action) -> Option<supervisor::Event> {
        match action {
            Action::Spawn { worker, generation, max_requests } => {
                return self.spawn(worker, generation, max_requests).await;
            }
            Action::Admit { worker } => self.tell(Command::Admit { worker: worker.0 }).await,
            Action::Drain { worker, why } => {
                say::debug(format_args!("worker {worker} is drained: {why}"));
                self.tell(Command::Drain { worker: worker.0 }).await;
            }
            Action::Kill { worker, why } => {
                if let Some(process) = self.processes.get(&worker) {
                    let pid = process.handle.pid();
                    say::debug(format_args!("worker {worker} (pid {pid}) is killed: {why}"));
                    process.handle.kill();
                }
            }
            Action::Notice(notice) => {
                announce(&notice);
                if let (
                    Some(preload),
                    Notice::ReloadFailed { generation, .. } | Notice::ReloadSuperseded { generation },
                ) = (&self.template.preload, &notice)
                {
                    preload.retire(*generation);
                }
            }
            Action::FirstReady => self.announce_ready(),
            Action::Activate { generation } => {
                // The router serves whatever is admitted.
                if let Some(preload) = &self.template.preload {
                    preload.retire_before(generation);
                }
            }
            // Handled by the caller.
            Action::Stopped { .. } => {}
        }
        None
    }

    /// The answer may come later, as a [`Fate`].
    async fn spawn(
        &mut self,
        worker: WorkerId,
        generation: u64,
        quota: Option<u64>,
    ) -> Option<supervisor::Event> {
        if let Some(quota) = quota {
            self.quotas.insert(worker, quota);
        }
        match process::start(&self.template, worker, generation, &self.fates.0) {
            Ok(Some(started)) => Some(self.started(worker, started).await),
            Ok(None) => None,
            Err(error) => {
                self.quotas.remove(&worker);
                Some(supervisor::Event::SpawnFailed { worker, error: format!("{error:#}") })
            }
        }
    }

    async fn started(&mut self, worker: WorkerId, started: Started) -> supervisor::Event {
        let Started { process, asked, data, control } = started;
        let pid = process.pid();
        say::debug(format_args!("worker {worker} is process {pid}"));
        self.processes.insert(worker, Process { handle: process, asked, link_closed: false });
        let quota = self.quotas.remove(&worker);
        self.tell(Command::Attach { worker: worker.0, data, control, quota }).await;
        supervisor::Event::Spawned { worker, pid }
    }

    async fn tell(&self, command: Command) {
        // The router ends only when this end of the channel does.
        let _ = self.commands.send(command).await;
    }

    fn announce_ready(&self) {
        let status = self.supervisor.status();
        let serves = |worker: &&supervisor::WorkerStatus| {
            worker.generation == status.generation && worker.state == WorkerState::Ready
        };
        let pids: Vec<String> = status
            .workers
            .iter()
            .filter(serves)
            .filter_map(|worker| worker.pid)
            .map(|pid| pid.to_string())
            .collect();
        let (workers, pid) = if pids.len() == 1 { ("worker", "pid") } else { ("workers", "pids") };
        say::info(format_args!("ready: {} {workers}, {} ({pid} {})", pids.len(), self.kind, pids.join(" ")));
    }
}

fn stopped(failed: Option<String>) -> ExitCode {
    match failed {
        Some(reason) => {
            say::error(format_args!("the application did not start: {reason}"));
            FAILED.into()
        }
        None => {
            say::info(format_args!("stopped"));
            ExitCode::SUCCESS
        }
    }
}

fn announce(notice: &Notice) {
    match notice {
        Notice::BootFailed { .. }
        | Notice::Lost { .. }
        | Notice::ReloadFailed { .. }
        | Notice::StillAlive { .. } => {
            say::warning(format_args!("{notice}"));
        }
        _ => say::info(format_args!("{notice}")),
    }
}

mod signal_kind {
    use tokio::signal::unix::SignalKind;

    /// By number, as on every Linux architecture; tokio has no names for them.
    pub(super) const TTIN: SignalKind = SignalKind::from_raw(21);
    pub(super) const TTOU: SignalKind = SignalKind::from_raw(22);
}

/// The signals that mean something.
struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let kinds = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::hangup(),
            SignalKind::user_defined1(),
            signal_kind::TTIN,
            signal_kind::TTOU,
        ];
        kinds.into_iter().map(|kind| Ok((kind, signal(kind)?))).collect::<std::io::Result<_>>().map(Signals)
    }

    async fn next(&mut self) -> SignalKind {
        std::future::poll_fn(|ctx| {
            for (kind, signal) in &mut self.0 {
                if signal.poll_recv(ctx).is_ready() {
                    return std::task::Poll::Ready(*kind);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
