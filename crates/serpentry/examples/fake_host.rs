//! The real state directory and control server with a made-up host behind them: `fake_host STATE [APPS [stay]]`.
//!
//! For tests of the control interface: no application runs, and each answer is the same in every run. It says `ready` on
//! standard output when it can be called, and ends when its standard input ends or when it
//! is asked to stop, unless it shall `stay`.
//!
//! Applications: `shop` serves, `blog` backs off, `broken` cannot be started (with a traceback), `slow` never answers a
//! change; then as many more as APPS says, asleep. A reload is answered as the file `STATE/reload` says: `invalid`,
//! `busy`, `partly`, else well.

#![expect(clippy::print_stdout, reason = "whoever started it waits for the word")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use incident::{Book, Bounds, Code, Detection, Moment, WorkerRef};
use serpentry::control::{
    Answer, AppMetrics, AppState, AppStatus, Changed, Classification, Concurrency, Cpu, Events, Histogram,
    HostMetrics, HostState, HostStatus, Incident, IncidentEvent, Incidents, Latency, Limits, Looked,
    MetricsSnapshot, Mistake, NotReloaded, OpenIncident, Pressure, QUEUE, Queue, Refusal, Reloaded, Request,
    Requests, RouteStatus, Routes, Status, Stopping, Tenancy, WorkerLook, WorkerMetrics, WorkerState,
    WorkerStatus, start,
};
use serpentry::state::State;
use tokio::sync::mpsc;

const TRACEBACK: &str = "Traceback (most recent call last):\n  File \"broken.py\", line 1, in <module>\n    import nothing\nModuleNotFoundError: No module named 'nothing'\n";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments.next().context("the state directory is missing")?;
    let more: usize = arguments.next().and_then(|text| text.into_string().ok()?.parse().ok()).unwrap_or(0);
    let stays = arguments.next().is_some_and(|text| text == "stay");
    let state = State::claim(Path::new(&directory))?;
    let (requests, received) = mpsc::channel(QUEUE);
    let server = start(state.bind()?, requests)?;
    let (end, ended) = mpsc::channel(1);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(end);
    });
    println!("ready");
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(Host::new(&state, more, stays).run(received, ended));
    drop(server);
    Ok(())
}

struct Host<'a> {
    state: &'a State,
    stays: bool,
    apps: BTreeMap<String, AppStatus>,
    generation: u64,
    book: Book,
    /// Answers that never come.
    held: Vec<Answer<Changed>>,
}

impl<'a> Host<'a> {
    fn new(state: &'a State, more: usize, stays: bool) -> Self {
        let names = ["shop", "blog", "broken", "slow"].map(str::to_owned).into_iter();
        let names = names.chain((0..more).map(|number| format!("z{number:05}")));
        let book = book();
        let apps = names.map(|name| (name.clone(), app(name, &book))).collect();
        Host { state, stays, apps, generation: 1, book, held: Vec::new() }
    }

    /// Answer until the end.
    async fn run(mut self, mut received: mpsc::Receiver<Request>, mut ended: mpsc::Receiver<()>) {
        loop {
            let request = tokio::select! {
                Some(request) = received.recv() => request,
                _ = ended.recv() => return,
            };
            match request {
                Request::Status { reply } => drop(reply.send(Ok(self.status()))),
                Request::Metrics { reply } => drop(reply.send(Ok(self.metrics()))),
                Request::Incidents { app, limit, reply } => {
                    let found = self.book.incidents(app.as_deref());
                    let incidents = found.into_iter().take(limit).map(Incident::from).collect();
                    let answer = self.knows(app.as_deref()).map(|()| Incidents { incidents });
                    drop(reply.send(answer));
                }
                Request::Incident { name, reply } => {
                    let found = self.book.find(name.id).map(Incident::from);
                    drop(reply.send(found.ok_or_else(|| Refusal::NoSuchIncident(name.to_string()))));
                }
                Request::Events { app, after, reply } => {
                    let found = self.book.events_after(after.unwrap_or(0));
                    let found = found.filter(|event| app.is_none() || event.incident.app == app);
                    let events = found.map(IncidentEvent::from).collect();
                    let answer = Events { latest: self.book.latest(), events };
                    drop(reply.send(self.knows(app.as_deref()).map(|()| answer)));
                }
                Request::Stacks { app, reply } | Request::Memory { app, reply, .. } => {
                    let worker = WorkerLook { worker: 1, pid: 4711, complete: true, text: "app.py:1".into() };
                    let known = self.status().apps.iter().any(|known| known.name == app);
                    let looked = Looked { app: app.clone(), workers: vec![worker] };
                    drop(reply.send(if known { Ok(looked) } else { Err(Refusal::NoSuchApp(app)) }));
                }
                Request::Routes { app, reply } => {
                    let known = self.status().apps.iter().any(|known| known.name == app);
                    let measured = Routes { app: app.clone(), since_seconds: 60, routes: vec![route()] };
                    drop(reply.send(if known { Ok(measured) } else { Err(Refusal::NoSuchApp(app)) }));
                }
                Request::Reload { reply } => drop(reply.send(self.reload())),
                Request::Scale { app, workers, reply } => self.change(app, reply, |app| {
                    app.target = workers;
                    app.state = AppState::Serving;
                }),
                Request::Stop { app, reply } => self.change(app, reply, |app| {
                    (app.target, app.state) = (0, AppState::Stopped);
                }),
                Request::Start { app, reply } => self.change(app, reply, |app| {
                    (app.target, app.state) = (1, AppState::Serving);
                }),
                Request::Restart { app, reply } => self.change(app, reply, |app| {
                    app.generation += 1;
                }),
                Request::Move { app, tenancy, reply } => self.change(app, reply, |app| {
                    (app.tenancy, app.generation) = (tenancy, app.generation + 1);
                }),
                Request::StopHost { reply } => {
                    let pid = std::process::id();
                    drop(reply.send(Ok(Stopping { pid, graceful_timeout_seconds: 30.0 })));
                    if !self.stays {
                        // The last requests finish.
                        std::thread::sleep(Duration::from_millis(300));
                        return;
                    }
                }
            }
        }
    }

    fn knows(&self, app: Option<&str>) -> Result<(), Refusal> {
        match app {
            Some(app) if !self.apps.contains_key(app) => Err(Refusal::NoSuchApp(app.to_owned())),
            _ => Ok(()),
        }
    }

    fn change(&mut self, name: String, reply: Answer<Changed>, change: impl FnOnce(&mut AppStatus)) {
        if name == "slow" {
            // Those who no longer wait make room: however many calls come, only the waiting ones are kept.
            self.held.retain(|held| !held.is_closed());
            self.held.push(reply);
            return;
        }
        let result = match self.apps.get_mut(&name) {
            None => Err(Refusal::NoSuchApp(name)),
            Some(_) if name == "broken" => Err(Refusal::Failed {
                text: "broken: the application could not be imported".to_owned(),
                traceback: Some(TRACEBACK.to_owned()),
            }),
            Some(app) => {
                change(app);
                let (state, generation, target) = (app.state, app.generation, app.target);
                Ok(Changed { app: name, tenancy: app.tenancy, state, generation, target })
            }
        };
        drop(reply.send(result));
    }

    fn reload(&mut self) -> Result<Reloaded, Refusal> {
        let wish = std::fs::read_to_string(self.state.directory().join("reload")).unwrap_or_default();
        let mut done = Reloaded { changed: vec!["shop".to_owned()], ..Reloaded::default() };
        match wish.trim() {
            "invalid" => {
                return Err(Refusal::Invalid("serpentry.toml:3:1: unknown key\n  wrokers = 2".to_owned()));
            }
            "busy" => return Err(Refusal::Busy("another reload is being applied".to_owned())),
            "partly" => done.failed.push(NotReloaded {
                app: "broken".to_owned(),
                error: Mistake {
                    text: "the application could not be imported".to_owned(),
                    traceback: Some(TRACEBACK.to_owned()),
                },
            }),
            _ => {}
        }
        self.generation += 1;
        Ok(done)
    }

    fn status(&self) -> Status {
        Status {
            host: HostStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                state: HostState::Serving,
                uptime_seconds: 3_723.5,
                file: Some("serpentry.toml".to_owned()),
                generation: self.generation,
                listeners: vec!["http://127.0.0.1:8000".to_owned()],
                state_directory: self.state.directory().display().to_string(),
                memory_bytes: Some(9 * 1024 * 1024),
            },
            apps: self.apps.values().cloned().collect(),
        }
    }

    fn metrics(&self) -> MetricsSnapshot {
        let host = HostMetrics {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: Duration::from_millis(3_723_500),
            generation: self.generation,
            connections: 3,
            memory_bytes: Some(9 * 1024 * 1024),
            cpu: Some(Duration::from_millis(250)),
            unrouted: vec![(404, 2), (421, 1)],
            incidents: Vec::new(),
        };
        MetricsSnapshot { host, apps: self.apps.values().map(metrics).collect() }
    }
}

/// Two incidents of `blog`, with all that a hostile client and a hostile application can put into one.
fn book() -> Book {
    let at = |seconds| Moment {
        steady: Duration::from_secs(seconds),
        unix: Duration::from_secs(1_764_000_000 + seconds),
    };
    let mut book = Book::new(Bounds::default(), at(0).unix);
    let mut detection = Detection::new(Code::A10, "application", Some("blog"))
        .number("generation", 1.0)
        .text("reason", "it exited with status 1 \u{1b}[31m while it started")
        .text("traceback", TRACEBACK);
    detection.worker = Some(WorkerRef { id: 7, pid: Some(4711) });
    book.record(at(0), detection);
    let mut detection = Detection::new(Code::N11, "limit", Some("blog"))
        .number("limit", 100.0)
        .number("used", 100.0)
        .number("busy", 1.0)
        .number("slots", 1.0);
    detection.count = 12;
    detection.requests = vec![incident::Request {
        id: "0123456789abcdef".to_owned(),
        method: "GET".to_owned(),
        path: "/<script>\u{1b}[2J\u{9b}\u{202e}".to_owned(),
        age: Duration::from_millis(250),
        outcome: "answered 503",
    }];
    book.record(at(60), detection);
    book.tick(at(61));
    book
}

fn app(name: String, book: &Book) -> AppStatus {
    let state = match name.as_str() {
        "shop" | "slow" => AppState::Serving,
        "blog" => AppState::BackingOff,
        "broken" => AppState::Stopped,
        _ => AppState::Asleep,
    };
    let serves = state == AppState::Serving;
    let fails = state == AppState::BackingOff;
    let worker = WorkerStatus {
        id: 7,
        pid: Some(4711),
        state: WorkerState::Serving,
        generation: 1,
        slots: Some(1),
        requests: 1_234_567,
        memory_bytes: Some(48 * 1024 * 1024),
        cpu_seconds: Some(12.25),
        boot_ms: Some(412.5),
    };
    let open = book.open().iter().filter(|incident| incident.app.as_deref() == Some(&*name));
    AppStatus {
        incidents: open.map(OpenIncident::from).collect(),
        routes: vec![format!("{name}.example.com"), format!("/{name}")],
        app: format!("{name}.wsgi:application"),
        name,
        tenancy: Tenancy::Shared,
        concurrency: if serves { Concurrency::Sync } else { Concurrency::Auto },
        state,
        generation: u64::from(serves),
        target: u32::from(serves || fails),
        workers: if serves { vec![worker] } else { Vec::new() },
        queue: Queue { depth: 2, limit: 100 },
        requests: Requests { total: if serves { 1_234_567 } else { 0 }, failed: 3, replayed: 1 },
        latency_ms: Latency {
            p50: serves.then_some(1.26),
            p95: serves.then_some(12.6),
            p99: serves.then_some(1_260.0),
        },
        limits: Limits {
            cpu_cores: None,
            memory_bytes: Some(512 * 1024 * 1024),
            processes: 256,
            open_files: 1024,
            connections: 1024,
            request_timeout_seconds: Some(30.0),
            queue_timeout_seconds: 10.0,
        },
        cpu: Cpu::default(),
        pressure: Pressure::default(),
        memory_bytes: serves.then_some(48 * 1024 * 1024),
        next_attempt_seconds: fails.then_some(4.25),
        // The escape sequence would turn the rest of a terminal red.
        last_error: fails.then(|| Mistake {
            text: "it exited with status 1 \u{1b}[31m while it started".to_owned(),
            traceback: Some(TRACEBACK.to_owned()),
        }),
        respawns: 2,
        unenforced: Vec::new(),
        partly_enforced: Vec::new(),
        dropped_log_lines: 0,
    }
}

fn metrics(app: &AppStatus) -> AppMetrics {
    let mut total = Histogram::default();
    total.add(0.0012, app.requests.total);
    AppMetrics {
        name: app.name.clone(),
        state: app.state,
        generation: app.generation,
        target: app.target,
        requests: vec![(200, app.requests.total)],
        failed: app.requests.failed,
        replayed: app.requests.replayed,
        refused: vec![("queue full".to_owned(), 1)],
        bytes_in: 1000,
        bytes_out: 2000,
        queue_depth: app.queue.depth,
        queue_limit: app.queue.limit,
        running: 1,
        queued: Histogram::default(),
        service: total,
        total,
        respawns: vec![("exited".to_owned(), app.respawns)],
        dropped_log_lines: app.dropped_log_lines,
        incidents: vec![("N11".to_owned(), 1)],
        open_incidents: app.incidents.len() as u64,
        workers: app.workers.iter().map(worker_metrics).collect(),
    }
}

fn worker_metrics(worker: &WorkerStatus) -> WorkerMetrics {
    WorkerMetrics {
        id: worker.id,
        pid: worker.pid,
        state: worker.state,
        requests: vec![(200, worker.requests)],
        busy: Duration::from_secs(20),
        idle: Duration::from_secs(80),
        memory_bytes: worker.memory_bytes,
        cpu: worker.cpu_seconds.map(Duration::from_secs_f64),
    }
}

fn route() -> RouteStatus {
    RouteStatus {
        method: "GET".to_owned(),
        route: "/item/{}".to_owned(),
        requests: 9,
        failed: 1,
        latency_ms: Latency { p50: Some(1.5), p95: Some(8.0), p99: None },
        queue_ms: Some(0.1),
        cpu_ms: Some(1.0),
        wait_ms: Some(0.4),
        run_queue_ms: None,
        gil_ms: None,
        cpu_ms_p95: Some(2.0),
        samples_us: vec![[900, 300]],
        classification: Classification::Mixed,
    }
}
