//! What a lost worker looks like from outside, and what twice the workers serve, in both tenancies: the figures behind failure
//! transparency and scaling control.
//!
//! A worker is killed under load. What is told of it is counted in facts, and how long that took; whether requests were lost,
//! and whether somebody else was blamed. Of the six facts of lab.md C5 a kill from outside has four: it hits no limit, and nothing grew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::{CompareError, Known, NEIGHBOURS, SUBJECT, Wishes, fetch, load};
use crate::experiment::{Arm, Condition, Noise, Purpose, Rate, Session, SessionError};
use crate::host::HostPlan;

/// Requests at a time: every worker has something to do.
const AT_ONCE: usize = 16;
/// What is told later is not told.
const PATIENCE: Duration = Duration::from_secs(5);
const ASK: Duration = Duration::from_secs(2);
const GLANCE: Duration = Duration::from_millis(5);
const SWING: Duration = Duration::from_millis(200);
/// Incidents that are looked at.
const LATEST: u32 = 20;
/// Facts that there are of a kill.
const FACTS: f64 = 4.0;

/// Of one tenancy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    /// Of [`FACTS`]: application, process, cause, requests inside.
    pub(super) facts: f64,
    pub(super) seconds: Option<f64>,
    pub(super) wrong_victim: f64,
    /// Share of the requests that failed around it.
    pub(super) collateral: f64,
    /// Throughput with twice the workers over that without.
    pub(super) doubling: Option<f64>,
}

impl Measured {
    /// Of six, as a score counts them.
    pub(super) fn precision(&self) -> f64 {
        6.0 * self.facts / FACTS
    }
}

#[derive(Debug, Default, Deserialize)]
struct Incidents {
    incidents: Vec<Incident>,
}

#[derive(Debug, Clone, Deserialize)]
struct Incident {
    code: String,
    app: Option<String>,
    worker_pid: Option<u32>,
    #[serde(default)]
    cause: String,
    #[serde(default)]
    requests: Vec<serde_json::Value>,
}

pub(super) fn measure(
    session: &mut Session<'_>,
    wishes: &Wishes,
    found: &mut Known,
) -> Result<(), CompareError> {
    let effort = session.options.effort.with_blocks(wishes.depth.rung(), Duration::from_millis(200));
    session.with_effort(effort, |session| {
        for (index, arm) in [Arm::FairShare, Arm::Pinned].into_iter().enumerate() {
            let one = match one(session, found, arm) {
                Ok(one) => Some(one),
                Err(CompareError::Session(SessionError::Missing(_))) => None,
                Err(error) => return Err(error),
            };
            found.failures[index] = one;
        }
        Ok(())
    })
}

fn one(session: &mut Session<'_>, found: &Known, arm: Arm) -> Result<Measured, CompareError> {
    let condition = Condition {
        name: format!("{}, workers doubled", if arm == Arm::Pinned { "isolated" } else { "shared" }),
        app: SUBJECT.to_owned(),
        arm,
        noise: Noise::quiet(),
        load: load(&found.survey, Rate::Closed(AT_ONCE)),
    };
    let purpose = Purpose::series("doubling");
    let before = session.block(&condition, 1, &purpose)?;
    let workers = session.host()?.app(SUBJECT)?.target;
    session.host()?.scale(SUBJECT, 2 * workers)?;
    let after = session.block(&condition, 1, &purpose)?;
    let doubling = crate::document::known(after.throughput() / before.throughput());
    session.host()?.scale(SUBJECT, workers.max(2))?;
    let target = found.survey.targets.first().map_or("/", |target| target.target.as_str());
    let visitors = Visitors::start(session.host()?.address(), target);
    let lost = lose(session);
    let (answered, failed) = visitors.stop();
    let lost = lost?;
    session.host()?.settle()?;
    session.host()?.scale(SUBJECT, workers)?;
    let collateral = failed as f64 / (answered + failed).max(1) as f64;
    Ok(Measured { collateral, doubling, ..lost })
}

/// Requests that are under way while the worker is killed.
struct Visitors {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(u64, u64)>>,
}

impl Visitors {
    fn start(address: SocketAddr, target: &str) -> Visitors {
        let over = Arc::new(AtomicBool::new(false));
        let visit = |_| {
            let (over, target) = (Arc::clone(&over), target.to_owned());
            thread::spawn(move || {
                let (mut answered, mut failed) = (0, 0);
                while !over.load(Ordering::Relaxed) {
                    match fetch::get(address, &HostPlan::authority(SUBJECT), &target, PATIENCE) {
                        Ok(page) if page.status < 500 => answered += 1,
                        _ => failed += 1,
                    }
                }
                (answered, failed)
            })
        };
        let threads = (0..AT_ONCE).map(visit).collect();
        Visitors { over, threads }
    }

    /// How many were answered, and how many were not.
    fn stop(self) -> (u64, u64) {
        self.over.store(true, Ordering::Relaxed);
        let counts = self.threads.into_iter().filter_map(|visitor| visitor.join().ok());
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }
}

/// Kill a worker that has a request inside, and read what is told of it.
fn lose(session: &mut Session<'_>) -> Result<Measured, CompareError> {
    let host = session.host()?;
    let workers = host.workers(SUBJECT)?;
    let before: Vec<Incident> = incidents(session)?;
    let pid = workers.first().copied().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let Some(pid) = pid else {
        return Err(SessionError::Other("there is no worker to lose".to_owned()).into());
    };
    // Until they are in full swing.
    thread::sleep(SWING);
    let killed = Instant::now();
    kill_process(pid, Signal::KILL).map_err(|error| SessionError::Io {
        what: format!("kill worker {}", pid.as_raw_nonzero()),
        source: error.into(),
    })?;
    let (mut told, mut seconds) = (None, None);
    while told.is_none() && killed.elapsed() < PATIENCE {
        let now = incidents(session)?;
        told = now
            .iter()
            .find(|incident| incident.worker_pid == Some(pid.as_raw_nonzero().get().unsigned_abs()))
            .cloned();
        if told.is_some() {
            seconds = Some(killed.elapsed().as_secs_f64());
        } else {
            thread::sleep(GLANCE);
        }
    }
    let after = incidents(session)?;
    let others = |incident: &&Incident| incident.app.as_deref().is_some_and(|app| NEIGHBOURS.contains(&app));
    let blamed = after.iter().filter(others).count() > before.iter().filter(others).count();
    Ok(Measured {
        facts: told.as_ref().map_or(0.0, facts),
        seconds,
        wrong_victim: f64::from(u8::from(blamed)),
        collateral: 0.0,
        doubling: None,
    })
}

fn facts(incident: &Incident) -> f64 {
    let told = [
        incident.app.as_deref() == Some(SUBJECT),
        incident.worker_pid.is_some(),
        incident.code.starts_with('A') && !incident.cause.is_empty() && incident.cause != "unexplained",
        !incident.requests.is_empty(),
    ];
    told.into_iter().filter(|told| *told).count() as f64
}

fn incidents(session: &mut Session<'_>) -> Result<Vec<Incident>, CompareError> {
    let path = format!("/v1/incidents?limit={LATEST}");
    let answer: Incidents =
        session.host()?.control().get(&path, ASK).map_err(crate::host::HostError::from)?;
    Ok(answer.incidents)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_are_counted() {
        let full =
            json!({ "code": "A20", "app": SUBJECT, "worker_pid": 5, "cause": "signal", "requests": [{}] });
        let incident = |value: &serde_json::Value| serde_json::from_value::<Incident>(value.clone()).unwrap();
        assert_eq!(facts(&incident(&full)), 4.0);
        for (key, value, left) in [
            ("app", json!("other"), 3.0),
            ("cause", json!("unexplained"), 3.0),
            ("worker_pid", json!(null), 3.0),
            ("requests", json!([]), 3.0),
        ] {
            let mut less = full.clone();
            less[key] = value;
            assert_eq!(facts(&incident(&less)), left, "{key}");
        }
        let measured =
            Measured { facts: 4.0, seconds: None, wrong_victim: 0.0, collateral: 0.0, doubling: None };
        assert!((measured.precision() - 6.0).abs() < 1e-9);
    }
}
