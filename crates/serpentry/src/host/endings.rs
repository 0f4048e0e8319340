//! How workers ended, as incidents.
//!
//! The end of a worker is known when these are: what the kernel says (wait status; after a SIGKILL also whether the counters of
//! the worker's control group answer for it), what the router says (which requests were inside), and what this host did itself
//! (whether it sent the signal, and why). They come in any order; only when all are there is a cause named, and those who are
//! answered 502 are told its name. Where they do not prove a cause, it is called unknown: a kill by SIGKILL is not taken for a
//! lack of memory unless a counter moved. What else proves a cause belongs into [`Death`] too, and into the one match in
//! [`Death::detection`].

use std::time::{Duration, Instant};

use incident::{Code, Detection, WorkerRef};
use router::Command;
use supervisor::{Cause, ExitStatus, KillReason, WorkerId};

use super::change::Worked;
use super::{Host, Number};
use crate::tenancy::{Shortage, Whose};

/// A worker whose end is known only in part is forgotten after this long.
const PARTLY_KNOWN: Duration = Duration::from_secs(120);

/// What is known by now about the end of a worker.
#[derive(Debug)]
pub(super) struct Death {
    since: Instant,
    app: router::App,
    worker: WorkerId,
    pid: Option<u32>,
    /// The kernel's word.
    pub(super) status: Option<ExitStatus>,
    /// The router's: requests run again, answered 502, and some of them.
    left: Option<(usize, usize, Vec<incident::Request>)>,
    /// Our own: why the signal was sent.
    killed: Option<KillReason>,
    /// Whether the kernel lacked memory: asked after a SIGKILL that is not our own.
    shortage: Word,
    /// The supervisor's: nobody had asked for this end.
    pub(super) lost: Option<(Cause, String, Duration)>,
}

/// What the counters of the worker's control group say.
#[derive(Debug)]
enum Word {
    NotAsked,
    Asked,
    Said(Option<Shortage>),
}

impl Host {
    pub(super) fn death(&mut self, number: Number) -> Option<&mut Death> {
        if !self.incidents.deaths.contains_key(&number) {
            let (app, worker) = self.numbers.get(&number).copied()?;
            let pid = self.apps.get(&app)?.processes.get(&worker).map(|process| process.handle.pid());
            let since = Instant::now();
            let death = Death {
                since,
                app,
                worker,
                pid,
                status: None,
                left: None,
                killed: None,
                shortage: Word::NotAsked,
                lost: None,
            };
            self.incidents.deaths.insert(number, death);
        }
        self.incidents.deaths.get_mut(&number)
    }

    /// The process was reaped. To be called before the supervisor hears of it.
    pub(super) fn process_ended(&mut self, number: Number, status: ExitStatus) {
        let Some(death) = self.death(number) else { return };
        death.status = Some(status);
        if status != ExitStatus::Signal(9) || death.killed.is_some() {
            return;
        }
        death.shortage = Word::Asked;
        let id = death.app;
        let Some(name) = self.apps.get(&id).map(|app| app.name().to_owned()) else { return };
        let (keeper, done) = (self.options.keeper.clone(), self.changed.0.clone());
        tokio::task::spawn_local(async move {
            let shortage = keeper.shortage(name).await;
            // The receiver is gone only when the program ends.
            let _ = done.send(Worked::Shortage { number, shortage }).await;
        });
    }

    /// The counters have been looked at.
    pub(super) async fn shortage_told(&mut self, number: Number, shortage: Option<Shortage>) {
        if let Some(death) = self.incidents.deaths.get_mut(&number) {
            death.shortage = Word::Said(shortage);
        }
        self.conclude(number).await;
    }

    pub(super) fn process_killed(&mut self, number: Number, why: KillReason) {
        if let Some(death) = self.death(number) {
            death.killed = Some(why);
        }
    }

    /// Its link closed.
    pub(super) async fn requests_left(
        &mut self,
        number: Number,
        (replayed, failed): (usize, usize),
        requests: Vec<incident::Request>,
    ) {
        if let Some(death) = self.death(number) {
            death.left = Some((replayed, failed, requests));
        }
        self.conclude(number).await;
    }

    /// Name the cause once everything is known, and tell those who wait for it.
    pub(super) async fn conclude(&mut self, number: Number) {
        let complete = |death: &Death| {
            death.status.is_some() && death.left.is_some() && !matches!(death.shortage, Word::Asked)
        };
        if !self.incidents.deaths.get(&number).is_some_and(complete) {
            return;
        }
        let Some(death) = self.incidents.deaths.remove(&number) else { return };
        let Some(app) = self.apps.get(&death.app) else { return };
        let (id, failed) = (death.app, death.left.as_ref().map_or(0, |(_, failed, _)| *failed));
        let workers = app.supervisor.status().target;
        let patience = app.spec.supervisor.graceful_timeout;
        let Some(mut detection) = death.detection(app.name(), workers, patience) else { return };
        let growth = self.incidents.growth.remove(&number);
        if detection.code == Code::M10 {
            detection = detection.number("growth_bytes", growth);
        }
        if (detection.code, detection.cause) == (Code::A20, "signal") {
            let suspects = self.incidents.suspects.entry(app.name().to_owned()).or_default();
            if let Some((route, crashes)) = suspects.crashed(&detection.requests) {
                detection = detection.text("route", route).number("route_crashes", f64::from(crashes));
            }
        }
        let name = self.record(detection).name;
        if failed > 0 {
            self.tell(Command::Explain { app: id, worker: number, name }).await;
        }
    }

    pub(super) fn forget_partly_known(&mut self) {
        self.incidents.deaths.retain(|_, death| death.since.elapsed() < PARTLY_KNOWN);
    }
}

impl Death {
    /// What it was, if it was anything.
    fn detection(self, app: &str, workers: usize, patience: Duration) -> Option<Detection> {
        let (replayed, failed, requests) = self.left?;
        let status = self.status?;
        let new = |code, cause| Detection::new(code, cause, Some(app));
        let mut detection = match (&self.lost, self.killed) {
            (Some((Cause::BootFailed | Cause::StartTimeout, ..)), _) => return None,
            (Some((Cause::Hung, reason, _)), _) => new(Code::N20, "hung").text("reason", reason),
            (Some((Cause::Misbehaved, reason, _)), _) => new(Code::A30, "protocol").text("fault", reason),
            (_, Some(KillReason::HangGrace)) if failed > 0 => new(Code::N20, "hung"),
            (_, Some(KillReason::GracefulTimeout)) if failed > 0 => {
                new(Code::A21, "killed_at_graceful_timeout").number("limit_seconds", patience.as_secs_f64())
            }
            (_, Some(why)) if failed > 0 => new(Code::A21, "ended_by_host").text("reason", why.to_string()),
            (None, _) if failed == 0 => return None,
            _ => match status {
                ExitStatus::Signal(9) => match &self.shortage {
                    Word::Said(Some(shortage)) => killed_for_memory(shortage, app),
                    _ => new(Code::A20, "sigkill"),
                },
                ExitStatus::Signal(_) => new(Code::A20, "signal"),
                ExitStatus::Code(_) => new(Code::A21, "exit"),
            },
        };
        if self.killed.is_none() {
            detection = exit(detection, status);
        }
        if let Some((_, _, served)) = self.lost {
            detection = detection.number("served_seconds", served.as_secs_f64());
        }
        detection = detection
            .number("workers", workers as f64)
            .number("in_flight", (replayed + failed) as f64)
            .number("replayed", replayed as f64)
            .number("failed", failed as f64);
        detection.worker = Some(reference(self.worker, self.pid));
        detection.requests = requests;
        Some(detection)
    }
}

fn killed_for_memory(shortage: &Shortage, app: &str) -> Detection {
    let detection = match &shortage.whose {
        Whose::Own => Detection::new(Code::M10, "own_limit", Some(app)),
        Whose::Pool { own, culprit: Some((name, bytes)) } => Detection::new(Code::M11, "pool", Some(app))
            .number("own_bytes", *own as f64)
            .text("culprit", name.clone())
            .number("culprit_bytes", *bytes as f64),
        Whose::Pool { own, culprit: None } => {
            let used = Detection::new(Code::M10, "pool", Some(app)).number("used_bytes", *own as f64);
            return used.number("limit_bytes", shortage.limit as f64);
        }
    };
    detection.number("limit_bytes", shortage.limit as f64).number("used_bytes", shortage.used as f64)
}

pub(super) fn reference(WorkerId(id): WorkerId, pid: Option<u32>) -> WorkerRef {
    WorkerRef { id, pid }
}

pub(super) fn exit(detection: Detection, status: ExitStatus) -> Detection {
    match status {
        ExitStatus::Signal(signal) => detection.number("signal", f64::from(signal)),
        ExitStatus::Code(code) => detection.number("exit_status", f64::from(code)),
    }
}
