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

mod read;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use detect::{VolumeFull, Watcher};
use incident::Detection;
use router::{AppCounters, Command};
use tokio::sync::{mpsc, oneshot};

use super::change::Worked;
use super::{Host, Reminder};
use crate::say;
use crate::tenancy::{Register, Token};

/// Of so many looks, one is for the host alone when no application has processes.
const IDLE: u32 = 20;

/// Whom to look at.
#[derive(Debug)]
struct Subject {
    name: String,
    counters: AppCounters,
}

/// One look.
#[derive(Debug)]
struct Job {
    at: Duration,
    subjects: Vec<Subject>,
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
        let eyes = Eyes { register, state, watchers: HashMap::new(), disk: VolumeFull::default() };
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
            let counters = AppCounters { app: app.id, ..AppCounters::default() };
            subjects.insert(app.id, Subject { name: app.name().to_owned(), counters });
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
    pub(super) fn seen(&mut self, detections: Vec<Detection>) {
        for detection in detections {
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
}

impl Eyes {
    fn work(mut self, jobs: &Receiver<Job>, news: &mpsc::Sender<Worked>) {
        for job in jobs {
            let detections = self.look(&job);
            if !detections.is_empty() && news.blocking_send(Worked::Seen(detections)).is_err() {
                return;
            }
        }
    }

    fn look(&mut self, job: &Job) -> Vec<Detection> {
        let mut found = Vec::new();
        if let Some(room) = self.state.as_deref().and_then(read::room) {
            found.extend(self.disk.look(job.at, room, None));
        }
        let register = &self.register;
        self.watchers.retain(|token, _| register.has(*token));
        for subject in &job.subjects {
            let Some((token, entry)) = self.register.of(&subject.name) else { continue };
            let reading = read::reading(&entry, subject);
            let new = || Watcher::new(subject.name.clone());
            let watcher = self.watchers.entry(token).or_insert_with(new);
            found.extend(watcher.look(job.at, &reading));
        }
        found
    }
}
