//! Looks at what applications use, twice a second, and reports what is wrong with them as incidents.
//!
//! ```text
//!  host loop --who has processes?--> router: a few counters of those --> this thread: reads files of the kernel,
//!      ^                                                                   shows them to the detectors (crate `detect`)
//!      \-------------------------- detections ---------------------------------/
//! ```
//!
//! The loop waits for none of that. An application without processes is not looked at, so one that sleeps costs nothing;
//! without any, nobody looks. When a look takes longer than the time between two, the next one is left out.

mod processor;
mod read;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use detect::{NearPool, VolumeFull, Watcher};
use incident::{Detection, WorkerRef};
use router::{AppCounters, Command};
use supervisor::WorkerId;
use tokio::sync::{mpsc, oneshot};

use self::processor::Processors;
use super::change::Worked;
use super::{Host, Reminder};
use crate::say;
use crate::tenancy::{Entry, Register, Token};

/// Of so many looks, one is for the host alone when no application has processes.
const IDLE: u32 = 20;

/// Whom to look at.
#[derive(Debug)]
struct Subject {
    name: String,
    counters: AppCounters,
    workers: BTreeMap<router::Worker, WorkerRef>,
}

/// One look.
#[derive(Debug)]
struct Job {
    at: Duration,
    subjects: Vec<Subject>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    detections: Vec<Detection>,
    /// Workers whose growth for each request is known, in bytes.
    growth: Vec<(router::Worker, f64)>,
}

/// The thread that looks. Ends with the host.
#[derive(Debug)]
pub(super) struct Watch {
    /// One waits while another is worked on.
    jobs: SyncSender<Job>,
    idle: u32,
}

impl Watch {
    /// `None` without a thread, which is told.
    pub(super) fn start(
        register: Register,
        state: Option<PathBuf>,
        news: mpsc::Sender<Worked>,
    ) -> Option<Watch> {
        let (jobs, waiting) = sync_channel(1);
        let eyes = Eyes {
            register,
            state,
            watchers: HashMap::new(),
            disk: VolumeFull::default(),
            pool: NearPool::default(),
        };
        let started =
            std::thread::Builder::new().name("watch".to_owned()).spawn(move || eyes.work(&waiting, &news));
        match started {
            Ok(_) => Some(Watch { jobs, idle: 0 }),
            Err(error) => {
                say::warning(format_args!(
                    "nobody looks at what applications use, because a thread cannot be created: {error}"
                ));
                None
            }
        }
    }
}

impl Host {
    /// Have a look taken at everyone who has processes.
    pub(super) async fn watch(&mut self) {
        self.remind(detect::PERIOD, Reminder::Watch);
        let Some(watch) = &mut self.watch else { return };
        let at = self.origin.elapsed();
        let mut subjects = HashMap::new();
        for app in self.apps.values().filter(|app| !app.processes.is_empty()) {
            let reference = |(WorkerId(id), process): (&WorkerId, &super::app::Process)| {
                (process.number, WorkerRef { id: *id, pid: Some(process.handle.pid()) })
            };
            let workers = app.processes.iter().map(reference).collect();
            let counters = AppCounters { app: app.id, ..AppCounters::default() };
            subjects.insert(app.id, Subject { name: app.name().to_owned(), counters, workers });
        }
        watch.idle = if subjects.is_empty() { watch.idle + 1 } else { 0 };
        if subjects.is_empty() && !watch.idle.is_multiple_of(IDLE) {
            return;
        }
        let jobs = watch.jobs.clone();
        let (reply, counters) = oneshot::channel();
        self.tell(Command::Counters { apps: subjects.keys().copied().collect(), reply }).await;
        tokio::task::spawn_local(async move {
            // The router ends only when the host does.
            for counters in counters.await.unwrap_or_default() {
                if let Some(subject) = subjects.get_mut(&counters.app) {
                    subject.counters = counters;
                }
            }
            // Full: the last look is not over yet.
            let _ = jobs.try_send(Job { at, subjects: subjects.into_values().collect() });
        });
    }

    /// What was seen. The application may be gone meanwhile.
    pub(super) fn seen(&mut self, seen: Seen) {
        let incidents = &mut self.incidents;
        incidents.growth.extend(seen.growth);
        incidents.growth.retain(|it, _| self.numbers.contains_key(it) || incidents.deaths.contains_key(it));
        for detection in seen.detections {
            if detection.app.as_ref().is_none_or(|name| self.names.contains_key(name)) {
                self.record(detection);
            }
        }
    }
}

/// What the thread has.
#[derive(Debug)]
struct Eyes {
    register: Register,
    /// Where the host writes.
    state: Option<PathBuf>,
    /// One for each place: what was seen in it is remembered while it is there, also if its application sleeps.
    watchers: HashMap<Token, Watcher>,
    disk: VolumeFull,
    /// What the shared applications have together.
    pool: NearPool,
}

impl Eyes {
    fn work(mut self, jobs: &Receiver<Job>, news: &mpsc::Sender<Worked>) {
        for job in jobs {
            // A defect in here is told as one, and the next look begins anew.
            let look = std::panic::AssertUnwindSafe(|| self.look(&job));
            let seen = std::panic::catch_unwind(look).unwrap_or_else(|_| {
                self.watchers.clear();
                Seen::default()
            });
            let is_news = !(seen.detections.is_empty() && seen.growth.is_empty());
            if is_news && news.blocking_send(Worked::Seen(seen)).is_err() {
                return;
            }
        }
    }

    fn look_at_the_pool(&mut self, at: Duration, entries: &[(Token, Entry)]) -> Option<Detection> {
        let pool = self.register.pool()?;
        let memory = read::memory(&pool.group, pool.memory)?;
        self.pool.look(at, memory, || {
            let shared = entries.iter().filter(|(_, entry)| entry.group.is_in(&pool.group));
            let used = shared.filter_map(|(_, entry)| Some((entry.app.clone(), entry.group.memory_used()?)));
            used.max_by_key(|(_, bytes)| *bytes)
        })
    }

    fn look(&mut self, job: &Job) -> Seen {
        let mut seen = Seen::default();
        if let Some(room) = self.state.as_deref().and_then(read::room) {
            seen.detections.extend(self.disk.look(job.at, room, None));
        }
        let entries = self.register.all();
        self.watchers.retain(|token, _| entries.iter().any(|(known, _)| known == token));
        if job.subjects.is_empty() {
            return seen;
        }
        seen.detections.extend(self.look_at_the_pool(job.at, &entries));
        let processors = Processors::read(&entries);
        for subject in &job.subjects {
            let mut places = entries.iter().rev();
            let Some((token, entry)) = places.find(|(_, entry)| entry.app == subject.name) else { continue };
            let reading = read::reading(*token, entry, subject, &processors);
            let new = || Watcher::new(subject.name.clone());
            let watcher = self.watchers.entry(*token).or_insert_with(new);
            seen.detections.extend(watcher.look(job.at, &reading));
            let numbers: HashMap<u64, router::Worker> =
                subject.workers.iter().map(|(number, worker)| (worker.id, *number)).collect();
            seen.growth.extend(watcher.growth().filter_map(|(id, bytes)| Some((*numbers.get(&id)?, bytes))));
        }
        seen
    }
}
