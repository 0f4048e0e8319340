//! All detectors of one application.

use std::collections::BTreeMap;
use std::time::Duration;

use incident::{Code, Detection, WorkerRef};

use crate::growth::{Footprint, Growth, Series};
use crate::near::Rate;
use crate::{
    Demand, FileLimit, HeldBack, Memory, NearLimit, OpenFiles, ProcessLimit, Processes, Quota, Room,
    Starving, Throttled, Transfer, VolumeFull,
};

/// A leak is told again after this long.
const LEAK_AGAIN: Duration = Duration::from_secs(60);

/// What was read of an application at one moment. `None`: it has no such limit, or this machine does not tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// With the cores that its quota is worth.
    pub quota: Option<(Quota, f64)>,
    /// `None` also when nobody waits for it.
    pub demand: Option<Demand>,
    pub memory: Option<Memory>,
    pub processes: Option<Processes>,
    pub volume: Option<Room>,
    pub disk: Option<Transfer>,
    pub bandwidth: Option<Transfer>,
    /// Requests that are over, since whenever, and those that are not.
    pub requests: u64,
    pub in_flight: u64,
    pub workers: Vec<Worker>,
}

/// One of its processes.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    pub reference: WorkerRef,
    pub footprint: Option<Footprint>,
    pub files: Option<OpenFiles>,
}

/// Looks at one application, as long as it has processes.
#[derive(Debug)]
pub struct Watcher {
    app: String,
    requests: Option<(Duration, u64)>,
    throttled: Throttled,
    starving: Starving,
    near: NearLimit,
    processes: ProcessLimit,
    volume: VolumeFull,
    disk: HeldBack,
    bandwidth: HeldBack,
    files: FileLimit,
    /// By the number of the worker.
    series: BTreeMap<u64, Series>,
    leaks: Option<Duration>,
}

impl Watcher {
    #[must_use]
    pub fn new(app: String) -> Self {
        Watcher {
            app,
            requests: None,
            throttled: Throttled::default(),
            starving: Starving::default(),
            near: NearLimit::default(),
            processes: ProcessLimit::default(),
            volume: VolumeFull::default(),
            disk: HeldBack::disk(),
            bandwidth: HeldBack::bandwidth(),
            files: FileLimit::default(),
            series: BTreeMap::new(),
            leaks: None,
        }
    }

    /// What is wrong with it, if that is proven by now.
    pub fn look(&mut self, at: Duration, now: &Reading) -> Vec<Detection> {
        let mut found = Vec::new();
        let (awaited, per_second) = self.count(at, now);
        self.look_at_workers(at, now, &mut found);
        let app = self.app.as_str();
        if let Some((quota, limit)) = now.quota {
            found.extend(self.throttled.look(at, quota, limit, awaited, app));
        }
        if let Some(demand) = &now.demand {
            found.extend(self.starving.look(at, demand, awaited, app));
        }
        if let Some(memory) = now.memory {
            found.extend(self.near.look(at, memory, self.rate(per_second), app));
        }
        if let Some(processes) = now.processes {
            found.extend(self.processes.look(processes, app));
        }
        if let Some(room) = now.volume {
            found.extend(self.volume.look(at, room, Some(app)));
        }
        if let Some(transfer) = now.disk {
            found.extend(self.disk.look(at, transfer, app));
        }
        if let Some(transfer) = now.bandwidth {
            found.extend(self.bandwidth.look(at, transfer, app));
        }
        found
    }

    /// Bytes that each worker grows by with each request, where a regression shows it.
    pub fn growth(&self) -> impl Iterator<Item = (u64, f64)> {
        self.series.iter().filter_map(|(worker, series)| Some((*worker, series.per_request()?)))
    }

    /// Whether somebody waits for an answer, or was given one since the last look; and how many a second.
    fn count(&mut self, at: Duration, now: &Reading) -> (bool, f64) {
        let before = self.requests.replace((at, now.requests));
        let Some((then, before)) = before else { return (now.in_flight > 0, 0.0) };
        let more = now.requests.saturating_sub(before);
        let passed = at.saturating_sub(then).as_secs_f64();
        (now.in_flight > 0 || more > 0, if passed > 0.0 { more as f64 / passed } else { 0.0 })
    }

    /// How fast the application as a whole grows: its workers share its requests.
    fn rate(&self, requests_per_second: f64) -> Option<Rate> {
        let known: Vec<f64> = self.growth().map(|(_, bytes)| bytes).collect();
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        // Those that are not known may grow or not.
        let all = !known.is_empty() && known.len() == self.series.len();
        all.then_some(Rate { bytes_per_request: mean, requests_per_second })
    }

    fn look_at_workers(&mut self, at: Duration, now: &Reading, found: &mut Vec<Detection>) {
        let is_there = |id: u64| now.workers.iter().any(|worker| worker.reference.id == id);
        self.series.retain(|worker, _| is_there(*worker));
        self.files.keep(is_there);
        for worker in &now.workers {
            if let Some(files) = worker.files {
                found.extend(self.files.look(at, files, worker.reference, &self.app));
            }
            let Some(footprint) = worker.footprint else { continue };
            let growth = self.series.entry(worker.reference.id).or_default().look(at, footprint);
            let due = self.leaks.is_none_or(|told| at.saturating_sub(told) >= LEAK_AGAIN);
            if let Some(growth) = growth.filter(|_| due) {
                self.leaks = Some(at);
                found.push(leak(growth, footprint, worker.reference, &self.app));
            }
        }
    }
}

fn leak(growth: Growth, footprint: Footprint, worker: WorkerRef, app: &str) -> Detection {
    let (code, bytes, requests) = match growth {
        Growth::PerRequest { bytes, requests } => (Code::M30, bytes, requests),
        Growth::PerInput { bytes, requests } => (Code::M31, bytes, requests),
    };
    let detection = Detection::new(code, "regression", Some(app))
        .number("growth_bytes", bytes)
        .number("used_bytes", footprint.memory as f64)
        .number("requests_seen", requests);
    Detection { worker: Some(worker), ..detection }
}

#[cfg(test)]
mod tests;
