//! One drill from its beginning to its end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::bail;
use serpentry::control::{AppStatus, Client, Incident, IncidentEvent, WorkerState};

use super::drilled::{Drilled, Outcome};
use super::faults::Fault;
use super::stage::{Ends, Left, Onset, Stage};
use crate::exit::Usage;
use crate::logs;

/// How often the host is asked what is new: the time until an incident is known to within this.
const LOOK: Duration = Duration::from_millis(5);

/// How long an incident is waited for that is not to come.
const PREVENTED: Duration = Duration::from_secs(4);

/// How long a test application may take to serve with all its workers, before and after.
const SERVING: Duration = Duration::from_secs(20);

/// What the host told meanwhile.
struct Watch {
    seen: Arc<Mutex<Vec<(Instant, IncidentEvent)>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn start(client: Client, stop: Arc<AtomicBool>) -> anyhow::Result<Watch> {
        let mut latest = client.events(None, None)?.latest;
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let (to, over) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
                // A host that is busy answers the next time.
                let Ok(events) = client.events(None, Some(latest)) else { continue };
                latest = events.latest;
                let at = Instant::now();
                to.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(events.events.into_iter().map(|event| (at, event)));
            }
        });
        Ok(Watch { seen, stop, thread })
    }

    fn first(&self, wanted: impl Fn(&Incident) -> bool) -> Option<(Instant, Incident)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .find(|(_, event)| wanted(&event.incident))
            .map(|(at, event)| (*at, event.incident.clone()))
    }

    fn wait(&self, patience: Duration, wanted: impl Fn(&Incident) -> bool) -> Option<(Instant, Incident)> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.first(&wanted);
            if found.is_some() || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn end(self) -> Vec<Incident> {
        self.stop.store(true, Ordering::Relaxed);
        // It only looks.
        let _ = self.thread.join();
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        seen.into_iter().map(|(_, event)| event.incident).collect()
    }
}

pub(super) fn conduct(
    mut stage: Stage,
    fault: &'static Fault,
    state: &Path,
    yes: bool,
) -> anyhow::Result<Drilled> {
    let inject = permitted(&stage, fault, yes)?;
    if stage.is_test() {
        stage.settle(SERVING)?;
    }
    fits(&stage, fault)?;
    let over = Arc::new(AtomicBool::new(false));
    let pids: Vec<u32> = stage.app.workers.iter().filter_map(|worker| worker.pid).collect();
    let (watch, ends) = (Watch::start(stage.client.clone(), Arc::clone(&over))?, Ends::watch(&pids, &over));
    let (began, began_at) = (Instant::now(), logs::now());
    let onset = inject(&mut stage)?;
    let (name, tenancy) = (stage.app.name.clone(), stage.app.tenancy);
    let prevented = fault.prevented.filter(|(where_, _)| *where_ == tenancy).map(|(_, why)| why);
    let until_onset = match onset {
        Onset::At(at) => at.saturating_duration_since(Instant::now()),
        Onset::WorkerEnd => Duration::ZERO,
    };
    let patience = if prevented.is_some() { PREVENTED } else { fault.patience };
    let is_it =
        |incident: &Incident| incident.app.as_deref() == Some(&name) && incident.code == fault.code.as_str();
    let found = watch.wait(until_onset + patience, is_it);
    let Left { client, app, visits, noisy } = stage.leave();
    // Who ended is known before the incident is.
    over.store(true, Ordering::Relaxed);
    let ended = ends.first();
    let onset = match (onset, ended) {
        (Onset::At(at), _) => at,
        (Onset::WorkerEnd, Some((at, _))) => at,
        (Onset::WorkerEnd, None) => began,
    };
    let others = watch.end();
    let again = serving_again(&client, &app);
    // As it is now: more is known of it by and by.
    let now = |told: &Incident| client.incident(&told.id).unwrap_or_else(|_| told.clone());
    let incident = found.as_ref().map(|(_, told)| now(told));
    let outcome = match (&incident, prevented) {
        (Some(_), _) => Outcome::Explained,
        (None, Some(_)) => Outcome::Prevented,
        (None, None) => Outcome::Missing,
    };
    let log = logs::since(state, &name, &began_at);
    Ok(Drilled {
        fault,
        app: name,
        tenancy,
        concurrency: Some(app.concurrency),
        outcome,
        why: prevented.map(str::to_owned),
        seconds: found.map(|(at, _)| at.saturating_duration_since(onset).as_secs_f64()),
        precision: incident
            .as_ref()
            .map(|it| super::drilled::precision(fault, it, &app, &visits, ended.map(|(_, pid)| pid))),
        incident,
        others,
        noisy,
        visits,
        log,
        serving_again_seconds: again.map(|at| at.saturating_duration_since(began).as_secs_f64()),
    })
}

/// Whether this may be done to it, and how.
fn permitted(stage: &Stage, fault: &'static Fault, yes: bool) -> anyhow::Result<super::faults::Inject> {
    let name = &stage.app.name;
    if stage.is_test() {
        return Ok(fault.inject);
    }
    let sentence = match fault.outside {
        Some(outside) if yes => return Ok(outside),
        Some(_) => format!(
            "{name} is not a test application (it runs {}): its visitors would notice. With --yes it is done all the same; \
             `serpentry drill --serve` hosts test applications",
            stage.app.app
        ),
        None => format!(
            "{name} is not a test application (it runs {}), and {} happens inside of one: `serpentry drill --serve` hosts \
             test applications",
            stage.app.app, fault.name
        ),
    };
    Err(Usage(sentence).into())
}

fn fits(stage: &Stage, fault: &Fault) -> anyhow::Result<()> {
    match fault.concurrency {
        Some(wanted) if stage.app.concurrency != wanted => {
            let kind = |it| format!("{it:?}").to_lowercase();
            bail!(Usage(format!(
                "{} is about applications with concurrency {}; {} has {}",
                fault.name,
                kind(wanted),
                stage.app.name,
                kind(stage.app.concurrency)
            )))
        }
        _ => Ok(()),
    }
}

/// When it serves with all its workers; `None` if it does not within the time.
fn serving_again(client: &Client, before: &AppStatus) -> Option<Instant> {
    let deadline = Instant::now() + SERVING;
    while Instant::now() < deadline {
        if let Ok(app) = client.app(&before.name) {
            let serving = app.workers.iter().filter(|worker| worker.state == WorkerState::Serving).count();
            if serving >= before.workers.len().min(app.target as usize) {
                return Some(Instant::now());
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}
