//! How C11 is measured: a closed loop runs, something is done to the application, and the answers say when it took effect.

use std::sync::Arc;
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Action, Effect, conclude, time_to_effect};
use crate::claims::Finding;
use crate::claims::requests::{begin, finish};
use crate::experiment::{Session, SessionError};
use crate::host::{Host, HostError, HostPlan};
use crate::load::mix::Request;
use crate::load::{self, Limits, LoadError, LoadPlan, Mix, Outcome, Pace, RawRecords, StopRule, Watch};
use crate::probe;

/// Load before the action, and in all.
const BEFORE: Duration = Duration::from_secs(1);
const IN_ALL: Duration = Duration::from_millis(3_500);
const REPEATS: usize = 2;
/// The core of an isolated application, and the memory of a small one.
const CPU: f64 = 0.3;
const MEMORY: &str = "96MiB";
const MORE_MEMORY: &str = "192MiB";
/// A request that only fits afterwards.
const FITS_AFTERWARDS: &str = "/mem?mb=110";
const PATIENCE: Duration = Duration::from_secs(5);

/// What an action is done to, and under which load.
struct Scene {
    app: &'static str,
    target: &'static str,
    connections: usize,
    /// So many times the throughput from before are the effect.
    gain: f64,
}

fn scene(action: Action) -> Scene {
    let scene = |app, target, connections, gain| Scene { app, target, connections, gain };
    match action {
        Action::AddForked => scene("forked", "/io?ms=10", 8, 1.5),
        Action::AddSpawned => scene("spawned", "/io?ms=10", 8, 1.5),
        Action::RaiseCpu => scene("limited", "/cpu?ms=5", 2, 1.5),
        Action::RaiseMemory => scene("small", "/io?ms=10", 1, 0.0),
        Action::Move => scene("mover", "/io?ms=10", 2, 0.5),
        Action::KillSync => scene("sync", "/io?ms=50", 16, 0.5),
        Action::KillThreads => scene("threads", "/io?ms=50", 16, 0.5),
        Action::KillAsync => scene("async", "/io?ms=50", 16, 0.5),
    }
}

/// # Errors
/// The session cannot go on.
pub(super) fn run(session: &mut Session<'_>) -> Result<Finding, SessionError> {
    let mut effects = Vec::new();
    let mut failed = Vec::new();
    session.start(plan(session, CPU, MEMORY))?;
    for repeat in 0..REPEATS {
        for (number, action) in Action::ALL.into_iter().enumerate() {
            session.check()?;
            session.progress.step(
                repeat * Action::ALL.len() + number,
                REPEATS * Action::ALL.len(),
                action.name(),
            );
            match once(session, action) {
                Ok(effect) => effects.push(effect),
                // One action that this machine or this host does not allow says nothing about the others.
                Err(SessionError::Host(error)) => {
                    failed.push(format!("{}: not possible here: {error}", action.name()));
                }
                Err(other) => return Err(other),
            }
            restore(session)?;
        }
    }
    session.stop()?;
    failed.dedup();
    let mut finding = conclude(&effects);
    finding.notes.extend(failed);
    Ok(finding)
}

fn plan(session: &Session<'_>, cpu: f64, memory: &str) -> HostPlan {
    let wsgi = session.probe(probe::WSGI);
    let two = wsgi.clone().set("workers", 2);
    HostPlan::default()
        .with("forked", wsgi.clone().set("preload", true))
        .with("spawned", wsgi.clone())
        .with("limited", wsgi.clone().set("workers", 2).limit("cpu", cpu))
        .with("small", wsgi.clone().limit("memory", memory))
        .with("mover", wsgi)
        .with("sync", two.clone())
        .with("threads", two.set("threads", 8))
        .with("async", session.probe(probe::ASGI).set("workers", 2))
}

/// As it was before the action.
fn restore(session: &mut Session<'_>) -> Result<(), SessionError> {
    let plan = plan(session, CPU, MEMORY);
    let host = session.host()?;
    for app in ["forked", "spawned"] {
        host.scale(app, 1)?;
    }
    if host.app("mover")?.tenancy != "shared" {
        host.relocate("mover", "shared")?;
    }
    host.apply(plan)?;
    Ok(host.settle()?)
}

fn once(session: &mut Session<'_>, action: Action) -> Result<Effect, SessionError> {
    let Scene { app, target, connections, gain } = scene(action);
    let replayed = session.host()?.app(app)?.requests.replayed;
    let request = Request::new("GET", &HostPlan::authority(app), target, &[], b"")?;
    let load = LoadPlan {
        endpoint: session.host()?.endpoint(),
        mix: Mix::single(request),
        pace: Pace::Closed { connections },
        stop: StopRule { duration: IN_ALL, requests: None },
        limits: Limits::default(),
        seed: 1,
        realtime: false,
        arm: 0,
        block: 0,
    };
    let watch = Arc::new(Watch::default());
    let start = Instant::now();
    let generator = generate(load, Arc::clone(&watch));
    sleep(BEFORE);
    let at = start.elapsed().as_secs_f64();
    let acted = act(session, action);
    // Otherwise the generator would go on beside what comes next.
    if acted.is_err() {
        watch.stop();
    }
    let records =
        generator.join().map_err(|_| SessionError::Other("the load generator panicked".to_owned()))??;
    let direct = acted?;
    let answered = |record: &&load::Record| record.outcome == Outcome::Answered;
    let done: Vec<f64> =
        records.records().iter().filter(answered).map(|record| record.done as f64 / 1e9).collect();
    let lost = records.records().len() - records.records().iter().filter(answered).count();
    let seconds = match direct {
        Some(seconds) => Some(seconds),
        None => time_to_effect(&done, at, IN_ALL.as_secs_f64(), gain),
    };
    let replayed = session.host()?.app(app)?.requests.replayed.saturating_sub(replayed);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Effect { action, seconds, lost: count(lost), replayed: count(replayed as usize) })
}

fn generate(plan: LoadPlan, watch: Arc<Watch>) -> JoinHandle<Result<RawRecords, LoadError>> {
    thread::spawn(move || {
        let mut records = RawRecords::default();
        load::run(&plan, &mut records, &watch).map(|_| records)
    })
}

/// Do it. The time until the effect, where throughput does not show it.
fn act(session: &mut Session<'_>, action: Action) -> Result<Option<f64>, SessionError> {
    let start = Instant::now();
    match action {
        Action::AddForked => scale(session, "forked")?,
        Action::AddSpawned => scale(session, "spawned")?,
        Action::RaiseCpu => {
            let plan = plan(session, 2.0 * CPU, MEMORY);
            session.host()?.apply(plan)?;
        }
        Action::RaiseMemory => {
            let plan = plan(session, CPU, MORE_MEMORY);
            let host = session.host()?;
            host.apply(plan)?;
            let sent = begin(host.address(), &HostPlan::authority("small"), FITS_AFTERWARDS);
            let status = finish(sent.map_err(SessionError::io("ask the application"))?);
            if status != Some(200) {
                let why = format!("{FITS_AFTERWARDS} is answered {status:?}");
                return Err(HostError::App { app: "small".to_owned(), why }.into());
            }
            return Ok(Some(start.elapsed().as_secs_f64()));
        }
        // The old workers serve until the new ones are in place: throughput shows nothing.
        Action::Move => {
            session.host()?.relocate("mover", "isolated")?;
            return Ok(Some(start.elapsed().as_secs_f64()));
        }
        Action::KillSync | Action::KillThreads | Action::KillAsync => {
            kill(session.host()?, scene(action).app)?;
        }
    }
    Ok(None)
}

/// Ask for it and do not wait: the answers show when it is there.
fn scale(session: &mut Session<'_>, app: &str) -> Result<(), SessionError> {
    let body = serde_json::json!({ "workers": 2 });
    let path = format!("/v1/apps/{app}/scale");
    session
        .host()?
        .control()
        .post::<serde_json::Value>(&path, Some(&body), PATIENCE)
        .map_err(HostError::from)?;
    Ok(())
}

fn kill(host: &Host, app: &str) -> Result<(), HostError> {
    let first = host.workers(app)?.first().copied();
    let pid = first.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let pid = pid.ok_or_else(|| HostError::Unknown(app.to_owned()))?;
    let _ = kill_process(pid, Signal::KILL);
    Ok(())
}
