//! What a drill is done to: one application of a running host, from outside, with visitors that run beside it.
//!
//! It knows what `status` says and nothing of the host's insides. Every visitor has a time limit and the number of visitors
//! is bounded.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serpentry::control::{AppStatus, Client, HostStatus, WorkerState};

use super::visitor::{Connection, Door, Visit};
use crate::exit::Usage;

/// The module of the test application: an application that runs it is there to be hurt.
const MODULE: &str = "serpentry_drill";

/// How long a visitor waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most visitors at a time.
const VISITORS: usize = 600;

/// Most visits of one drill that are kept: the first and the latest say what there is to say.
const KEPT: usize = 40;

/// How long requests get to be inside a worker before the next thing is done to it.
pub(super) const ENTERING: Duration = Duration::from_millis(150);

/// Requests of one burst, the time between them, and the pause after it.
pub(super) const BURST: u64 = 60;
const STEP: Duration = Duration::from_millis(8);
const PAUSE: Duration = Duration::from_millis(1200);

/// From when the time until the incident is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Onset {
    At(Instant),
    /// The end of the first worker that ends.
    WorkerEnd,
}

/// What is left of a stage when the drill is over.
pub(super) struct Left {
    pub(super) client: Client,
    pub(super) app: AppStatus,
    pub(super) visits: Vec<Visit>,
    /// The neighbour that was kept busy.
    pub(super) noisy: Option<String>,
}

pub(super) struct Stage {
    pub(super) client: Client,
    pub(super) app: AppStatus,
    pub(super) door: Door,
    /// Another test application of this host, with room to be noisy.
    pub(super) neighbour: Option<(String, Door)>,
    /// What visitors of an application that is not ours ask for.
    pub(super) path: String,
    noisy: Option<String>,
    stop: Arc<AtomicBool>,
    visitors: Vec<JoinHandle<Vec<Visit>>>,
    visits: Vec<Visit>,
    /// Open connections that wait for the end of the drill.
    held: Vec<Connection>,
    /// Workers that were stopped.
    stopped: Vec<OwnedFd>,
}

impl Stage {
    pub(super) fn enter(
        client: Client,
        host: &HostStatus,
        apps: &[AppStatus],
        name: &str,
        path: &str,
    ) -> anyhow::Result<Stage> {
        let Some(app) = apps.iter().find(|app| app.name == name) else {
            let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
            return Err(Usage(format!("no application {name:?} here; there are {}", names.join(", "))).into());
        };
        let door = Door::of(host, app)?;
        let others = apps.iter().filter(|other| other.name != name && is_test(other));
        let neighbour = others.max_by_key(|other| other.name == "neighbour");
        let neighbour =
            neighbour.map(|it| Ok::<_, anyhow::Error>((it.name.clone(), Door::of(host, it)?))).transpose()?;
        Ok(Stage {
            client,
            app: app.clone(),
            door,
            neighbour,
            path: path.to_owned(),
            noisy: None,
            stop: Arc::default(),
            visitors: Vec::new(),
            visits: Vec::new(),
            held: Vec::new(),
            stopped: Vec::new(),
        })
    }

    /// The application is there to be hurt.
    pub(super) fn is_test(&self) -> bool {
        is_test(&self.app)
    }

    /// It answers, with all its workers. Of a test application only: others are not asked for anything before a fault.
    pub(super) fn settle(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        let neighbour = self.neighbour.as_ref().map(|(name, _)| name.clone());
        loop {
            let visit = self.door.visit("GET", "/drill/hello", b"", PATIENCE);
            self.app = self.client.app(&self.app.name)?;
            let serving =
                |app: &AppStatus| app.workers.iter().filter(|it| it.state == WorkerState::Serving).count();
            let beside = match &neighbour {
                Some(name) => self.client.app(name).is_ok_and(|app| serving(&app) >= app.target as usize),
                None => true,
            };
            if visit.status == Some(200) && serving(&self.app) >= self.app.target as usize && beside {
                return Ok(());
            }
            if Instant::now() > deadline {
                let error = self.app.last_error.as_ref().map_or("", |error| error.text.as_str());
                bail!("{} does not serve: `serpentry status {}` {error}", self.app.name, self.app.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Workers that take requests.
    pub(super) fn workers(&self) -> Vec<u32> {
        let serving = self.app.workers.iter().filter(|worker| worker.state == WorkerState::Serving);
        serving.filter_map(|worker| worker.pid).collect()
    }

    /// One request, and its answer.
    pub(super) fn visit(&mut self, method: &str, path: &str) -> Visit {
        let visit = self.door.visit(method, path, b"", PATIENCE);
        self.keep(visit.clone());
        visit
    }

    /// One request beside the others.
    pub(super) fn send(&mut self, method: &'static str, path: &str) {
        self.send_with(method, path, 0);
    }

    /// The same with a body of so many bytes.
    pub(super) fn send_with(&mut self, method: &'static str, path: &str, length: usize) {
        let (door, path) = (self.door.clone(), path.to_owned());
        self.begin(move |_| vec![door.visit(method, &path, &vec![b'x'; length], PATIENCE)]);
    }

    /// One request after the other, until the drill is over; `path` is told the number of the request.
    pub(super) fn keep_asking(&mut self, path: impl Fn(u64) -> String + Send + 'static) {
        let door = self.door.clone();
        self.begin(move |stop| ask_until(&door, stop, path));
    }

    /// The same in bursts, with pauses in which nothing is asked: what grows without requests is told from what grows with them.
    pub(super) fn keep_asking_in_bursts(&mut self, path: impl Fn(u64) -> String + Send + 'static) {
        let door = self.door.clone();
        self.begin(move |stop| {
            ask_until(&door, stop, |number| {
                std::thread::sleep(if number % BURST == BURST - 1 { PAUSE } else { STEP });
                path(number)
            })
        });
    }

    /// The same, of the neighbour. What it is answered does not matter.
    pub(super) fn keep_neighbour_busy(&mut self, clients: usize, path: &'static str) -> anyhow::Result<()> {
        let (name, door) = self.neighbour.clone().context(
            "this needs a second test application on the same host, to be the neighbour: `serpentry drill --serve` has one",
        )?;
        self.noisy = Some(name);
        for _ in 0..clients {
            let door = door.clone();
            self.begin(move |stop| {
                ask_until(&door, stop, |_| path.to_owned());
                Vec::new()
            });
        }
        Ok(())
    }

    /// Send a head, or a part of one, and hold the connection until the drill is over.
    pub(super) fn hold(&mut self, bytes: &str) -> anyhow::Result<()> {
        let mut connection = self.door.connect(PATIENCE).context("cannot connect")?;
        connection.write_all(bytes.as_bytes()).context("cannot send")?;
        self.held.push(connection);
        Ok(())
    }

    /// The same, once it has been answered.
    pub(super) fn hold_answered(&mut self, bytes: &str) -> anyhow::Result<()> {
        self.hold(bytes)?;
        if let Some(connection) = self.held.last_mut() {
            connection.answer(Instant::now() + PATIENCE).context("no answer")?;
        }
        Ok(())
    }

    /// The answer to what is sent beside the others on a connection of its own, which says nothing more.
    pub(super) fn send_part(&mut self, method: &'static str, path: &str, bytes: String) {
        let (door, path) = (self.door.clone(), path.to_owned());
        self.begin(move |_| {
            let began = Instant::now();
            let answer = door.connect(PATIENCE).and_then(|mut connection| {
                connection.write_all(bytes.as_bytes())?;
                connection.answer(began + PATIENCE)
            });
            vec![door.asked(method, &path).ended(began, answer)]
        });
    }

    /// Those who hold connections leave.
    pub(super) fn everybody_leaves(&mut self) {
        self.held.drain(..).for_each(Connection::leave);
    }

    /// For the record.
    pub(super) fn note_left(&mut self, method: &str, path: &str) {
        let error = Some("left before it was answered".to_owned());
        self.keep(Visit { error, ..self.door.asked(method, path) });
    }

    /// A signal to a worker. One that is stopped goes on when the drill is over, if it is still there.
    pub(super) fn signal(&mut self, pid: u32, signal: Signal) -> anyhow::Result<()> {
        let target = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process")?;
        let what = || format!("cannot send a signal to the worker {pid}");
        let process = pidfd_open(target, PidfdFlags::empty()).with_context(what)?;
        pidfd_send_signal(&process, signal).with_context(what)?;
        if signal == Signal::STOP {
            self.stopped.push(process);
        }
        Ok(())
    }

    /// A limit that the fault is about.
    pub(super) fn need<T>(&self, limit: Option<T>, key: &str, example: &str) -> anyhow::Result<T> {
        limit.ok_or_else(|| {
            let name = &self.app.name;
            Usage(format!(
                "{name} has no such limit, so that this cannot happen to it: set `{key} = {example}` in [apps.{name}.limits]"
            ))
            .into()
        })
    }

    fn begin(&mut self, visitor: impl FnOnce(&AtomicBool) -> Vec<Visit> + Send + 'static) {
        if self.visitors.len() < VISITORS {
            let stop = Arc::clone(&self.stop);
            self.visitors.push(std::thread::spawn(move || visitor(&stop)));
        }
    }

    fn keep(&mut self, visit: Visit) {
        if self.visits.len() >= KEPT {
            self.visits.remove(KEPT / 2);
        }
        self.visits.push(visit);
    }

    /// The drill is over: what visitors got. Those of an error first.
    pub(super) fn leave(mut self) -> Left {
        self.stop.store(true, Ordering::Relaxed);
        self.everybody_leaves();
        for process in self.stopped.drain(..) {
            // It has been killed and replaced by now, or it never had anything to do.
            let _ = pidfd_send_signal(&process, Signal::CONT);
        }
        for visitor in std::mem::take(&mut self.visitors) {
            for visit in visitor.join().unwrap_or_default() {
                self.keep(visit);
            }
        }
        self.visits
            .sort_by_key(|visit| (!visit.is_explained(), visit.status.is_some_and(|status| status < 400)));
        let Stage { client, app, visits, noisy, .. } = self;
        Left { client, app, visits, noisy }
    }
}

fn is_test(app: &AppStatus) -> bool {
    app.app.split(':').next() == Some(MODULE)
}

fn ask_until(door: &Door, stop: &AtomicBool, path: impl Fn(u64) -> String) -> Vec<Visit> {
    let mut visits: Vec<Visit> = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let visit = door.visit("GET", &path(number), b"", PATIENCE);
        number += 1;
        // Errors are what is looked for; of what went well, one is enough.
        if visit.status != Some(200) && visits.len() < KEPT || visits.is_empty() {
            visits.push(visit);
        }
        // A refusal comes at once: this is no attack.
        std::thread::sleep(Duration::from_millis(1));
    }
    visits
}

/// The first of these processes to end, and when; `None` if the drill was over before.
pub(super) struct Ends(JoinHandle<Option<(Instant, u32)>>);

impl Ends {
    pub(super) fn watch(pids: &[u32], stop: &Arc<AtomicBool>) -> Ends {
        let open = |pid: &u32| {
            let process = i32::try_from(*pid).ok().and_then(Pid::from_raw)?;
            Some((*pid, pidfd_open(process, PidfdFlags::empty()).ok()?))
        };
        let (processes, stop): (Vec<_>, _) = (pids.iter().filter_map(open).collect(), Arc::clone(stop));
        Ends(std::thread::spawn(move || {
            let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let mut fds: Vec<_> = processes.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)).collect();
            while !stop.load(Ordering::Relaxed) && !fds.is_empty() {
                if poll(&mut fds, Some(&pause)).is_ok_and(|ready| ready > 0) {
                    let at = Instant::now();
                    let ended = fds.iter().position(|fd| !fd.revents().is_empty())?;
                    return Some((at, processes[ended].0));
                }
            }
            None
        }))
    }

    pub(super) fn first(self) -> Option<(Instant, u32)> {
        self.0.join().ok().flatten()
    }
}
