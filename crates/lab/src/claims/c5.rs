//! C5: hard limits of memory kill at once; sharing masks the shortage until it fails.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Claim, Finding, Requirement, ratio};
use crate::document::{Answer, Verdict};
use crate::experiment::{Arm, Load, Rate, Session, SessionError};
use crate::host::{AppPlan, HostPlan};
use crate::journal::started;
use crate::load::{Outcome, RawRecords};
use crate::probe;
use crate::statistics::verdict::{Judgement, judge, material, range};

pub(super) struct C5;

/// What the machine of the experiment has: the pool of all shared applications. Nothing grows beyond it.
const POOL_MIB: u64 = 512;
/// Grows by 64 MiB in a second.
const LEAKY: &str = "leaky";
const LEAK: &str = "/leak?kb=2048";
const LEAK_RATE: f64 = 32.0;
const LEAK_MIB: f64 = 64.0;
const LEAKY_LIMIT_MIB: f64 = 192.0;
/// Has much memory, and nothing wrong.
const INNOCENT: &str = "innocent";
const INNOCENT_LIMIT_MIB: u64 = 400;
/// The sizes of the innocent one: larger and smaller than the leaky one when the pool is full.
const SIZES_MIB: [u64; 2] = [300, 180];
const PROBE: &str = "/cpu?ms=1";
const PROBE_RATE: f64 = 20.0;
/// A trial ends, whatever has happened.
const LONGEST: Duration = Duration::from_secs(9);
/// After a kill: until the incident must be there.
const REPORT: Duration = Duration::from_secs(2);
const GLANCE: Duration = Duration::from_millis(2);
/// "At once": as far from the time at which the limit is reached; and reported so fast.
const NEAR: f64 = 0.25;
const REPORT_MEDIAN: f64 = 0.100;
const REPORT_WORST: f64 = 0.500;

impl Claim for C5 {
    fn id(&self) -> &'static str {
        "C5"
    }

    fn title(&self) -> &'static str {
        "hard memory limits kill at once and visibly; shared hosting masks the shortage and then may hit the wrong one"
    }

    fn expectation(&self) -> &'static str {
        "True. With a limit of its own the leaky application is killed when it reaches it; in a shared pool 1.2 to 2 times as late, and \
         the kernel takes the largest: an innocent application of 300 MiB dies before a leaky one of 210."
    }

    fn requirements(&self) -> &'static [Requirement] {
        &[Requirement::Root, Requirement::Controller("memory"), Requirement::Memory(2 * POOL_MIB)]
    }

    fn run(&self, session: &mut Session<'_>) -> Result<Finding, SessionError> {
        session.start(plan(session, false))?;
        let each = session.options.effort.pairs.div_ceil(2);
        let mut trials = Vec::new();
        for round in 0..each {
            let mut cells: Vec<(bool, u64)> =
                [true, false].into_iter().flat_map(|own| SIZES_MIB.map(|size| (own, size))).collect();
            session.random.shuffle(&mut cells);
            for (number, (own, size)) in cells.into_iter().enumerate() {
                session.progress.step(round * 4 + number, each * 4, "until the kernel kills");
                trials.push((round, trial(session, own, size)?));
            }
        }
        Ok(finding(&trials))
    }
}

/// What happened in one trial. Seconds from the moment at which the leak began.
#[derive(Debug, Clone, Default)]
struct Trial {
    /// With limits of their own.
    own: bool,
    size_mib: u64,
    killed: Option<f64>,
    /// The leaky one was.
    right: bool,
    /// From the kill to the incident.
    reported: Option<f64>,
    precision: u32,
    /// Requests of the innocent application that failed.
    collateral: usize,
    /// When the leaky one was to reach its limit or the pool its own, by arithmetic.
    predicted: f64,
}

fn plan(session: &Session<'_>, own: bool) -> HostPlan {
    let app = |limit: f64| -> AppPlan {
        let app =
            session.probe(probe::WSGI).set("workers", 1).set("concurrency", "threads").set("threads", 4);
        if own { app.limit("memory", format!("{limit}MiB")) } else { app }
    };
    let mut plan =
        HostPlan::default().with(LEAKY, app(LEAKY_LIMIT_MIB)).with(INNOCENT, app(INNOCENT_LIMIT_MIB as f64));
    plan.keys.insert("pool_memory".to_owned(), format!("{POOL_MIB}MiB").into());
    plan
}

fn trial(session: &mut Session<'_>, own: bool, size_mib: u64) -> Result<Trial, SessionError> {
    session.check()?;
    let plan = plan(session, own);
    let host = session.host()?;
    if *host.plan() != plan {
        host.apply(plan)?;
    }
    for app in [LEAKY, INNOCENT] {
        host.restart(app)?;
        let status = host.app(app)?;
        if let Some(it) = status.unenforced.iter().find(|it| it.constraint == "memory") {
            return Err(SessionError::Missing(format!("a limit of memory: {}", it.why)));
        }
    }
    session.requests(INNOCENT, "/leak?kb=10240", size_mib / 10)?;
    let leaky = one_worker(session, LEAKY)?;
    let innocent = one_worker(session, INNOCENT)?;
    let used = |session: &mut Session<'_>, app| -> Result<f64, SessionError> {
        Ok(session.host()?.app(app)?.memory_bytes.unwrap_or(0) as f64 / f64::from(1 << 20))
    };
    let (base, large) = (used(session, LEAKY)?, used(session, INNOCENT)?);
    let room = if own { LEAKY_LIMIT_MIB - base } else { POOL_MIB as f64 - base - large };
    let known = incidents(session)?;
    let seed = session.random.next_u64();
    let visits = session.background(INNOCENT, &Load::of(PROBE, Rate::Poisson(PROBE_RATE)), LONGEST, seed)?;
    let leak = session.background(LEAKY, &Load::of(LEAK, Rate::Constant(LEAK_RATE)), LONGEST, seed)?;
    let start = Instant::now();
    let mut trial = Trial { own, size_mib, predicted: room / LEAK_MIB, ..Trial::default() };
    while start.elapsed() < LONGEST && session.check().is_ok() {
        let gone = |(pid, since): (u32, u64)| started(pid) != Some(since);
        trial.right = gone(leaky);
        if trial.right || gone(innocent) {
            trial.killed = Some(start.elapsed().as_secs_f64());
            break;
        }
        sleep(GLANCE);
    }
    let killed = Instant::now();
    let victim = if trial.right { leaky.0 } else { innocent.0 };
    let mut report = None;
    while trial.killed.is_some() && report.is_none() && killed.elapsed() < REPORT {
        // One that is open already is seen once more.
        let same = |old: &Value, it: &Value| old["id"] == it["id"] && old["count"] == it["count"];
        let new = incidents(session)?.into_iter().filter(|it| !known.iter().any(|old| same(old, it)));
        report = new.into_iter().find(|it| it["code"].as_str().is_some_and(|code| code.starts_with("M1")));
        if report.is_some() {
            trial.reported = Some(killed.elapsed().as_secs_f64());
        }
        sleep(GLANCE);
    }
    let leaked = leak.stop()?;
    let visited = visits.stop()?;
    trial.precision = report.map_or(0, |report| precision(&report, victim, &leaked, &visited));
    trial.collateral = failures(&visited);
    session.check()?;
    Ok(trial)
}

/// Number and start of the only worker.
fn one_worker(session: &mut Session<'_>, app: &str) -> Result<(u32, u64), SessionError> {
    let pid = session.host()?.workers(app)?.first().copied();
    let found = pid.and_then(|pid| Some((pid, started(pid)?)));
    found.ok_or_else(|| SessionError::Other(format!("{app} has no worker")))
}

fn incidents(session: &mut Session<'_>) -> Result<Vec<Value>, SessionError> {
    let answer: Value = session.host()?.ask("/v1/incidents?limit=50")?;
    Ok(answer["incidents"].as_array().cloned().unwrap_or_default())
}

fn failures(records: &RawRecords) -> usize {
    let failed = |outcome| !matches!(outcome, Outcome::Answered | Outcome::Unfinished);
    records.records().iter().filter(|record| failed(record.outcome)).count()
}

/// How much the incident says, 0 to 6: whose, which process, which limit, which requests, that it grew, and that visitors
/// were answered instead of cut off.
fn precision(incident: &Value, victim: u32, leaked: &RawRecords, visited: &RawRecords) -> u32 {
    let records = || leaked.records().iter().chain(visited.records());
    let grew = incident["evidence"].as_object().is_some_and(|facts| facts.contains_key("growth_bytes"));
    let points = [
        incident["app"].is_string(),
        incident["worker_pid"] == victim,
        incident["resource"].is_string() && !incident["limit"].is_null(),
        incident["requests"].as_array().is_some_and(|requests| !requests.is_empty()),
        grew,
        records().all(|record| record.outcome != Outcome::Disconnected),
    ];
    points.into_iter().map(u32::from).sum()
}

fn finding(trials: &[(usize, Trial)]) -> Finding {
    let all: Vec<&Trial> = trials.iter().map(|(_, trial)| trial).collect();
    let of = |own: bool| all.iter().filter(move |trial| trial.own == own).copied();
    let middle = |values: Vec<f64>| range(&values).0;
    let own: Vec<&Trial> = of(true).collect();
    let shared: Vec<&Trial> = of(false).collect();
    let (answer, judged) = later(trials);
    let off = own.iter().filter_map(|trial| Some((trial.killed? - trial.predicted).abs())).collect();
    let reports: Vec<f64> = own.iter().filter_map(|trial| trial.reported).collect();
    let at_once = middle(off) < NEAR
        && reports.len() == own.len()
        && middle(reports.clone()) < REPORT_MEDIAN
        && range(&reports).2 < REPORT_WORST;
    let wrong =
        |trials: &[&Trial]| trials.iter().filter(|trial| trial.killed.is_some() && !trial.right).count();
    let collateral = |trials: &[&Trial]| trials.iter().filter(|trial| trial.collateral > 0).count();
    let masks = collateral(&shared) > 0 && collateral(&own) == 0 && wrong(&own) == 0;
    let precision =
        |trials: &[&Trial]| middle(trials.iter().map(|trial| f64::from(trial.precision)).collect());
    let verdict = match answer.verdict {
        Verdict::Supported if at_once && masks => Verdict::Supported,
        Verdict::Supported => Verdict::Conditional,
        other => other,
    };
    let times = |trials: &[&Trial]| ratio(middle(trials.iter().filter_map(|trial| trial.killed).collect()));
    let mut finding = Finding {
        verdict,
        sentence: format!(
            "with limits of their own the leaky application is killed after {} s (predicted {}) and reported {} ms later; in a pool \
             after {} s, and in {} of {} trials it was the innocent one",
            times(&own),
            ratio(middle(own.iter().map(|trial| trial.predicted).collect())),
            ratio(middle(reports) * 1e3),
            times(&shared),
            wrong(&shared),
            shared.len()
        ),
        flips_when: Some(sizes(&shared)),
        answers: vec![answer],
        primary: judged,
        ..Finding::default()
    };
    finding.notes.push(format!(
        "the incident says {} of 6 things with limits of their own, {} of 6 in the pool; requests of the innocent application failed in \
         {} and {} trials",
        ratio(precision(&own)),
        ratio(precision(&shared)),
        collateral(&own),
        collateral(&shared)
    ));
    if !at_once {
        finding.notes.push("not at once: the kill or its report came later than was fixed before".to_owned());
    }
    finding.notes.push(
        "one worker of each is killed; version 1 of control groups kills one process, so that an application of several stays up".to_owned(),
    );
    finding
}

/// By how much later the first kill comes in the pool: pairs of the same round and size.
fn later(trials: &[(usize, Trial)]) -> (Answer, Option<Judgement>) {
    let killed = |round: usize, own: bool, size: u64| {
        let found = trials.iter().find(|(r, trial)| (*r, trial.own, trial.size_mib) == (round, own, size));
        found.and_then(|(_, trial)| trial.killed)
    };
    let differences: Vec<f64> = trials
        .iter()
        .filter(|(_, trial)| trial.own)
        .filter_map(|(round, trial)| Some((killed(*round, false, trial.size_mib)? / trial.killed?).ln()))
        .collect();
    let question = "in a shared pool a leaking application lives longer before anybody is killed";
    let metric = "time to the first kill, pool over limits of their own";
    let judged = judge(&differences, material::LATENCY, None).ok();
    let mut answer =
        judged.as_ref().map_or_else(Answer::default, |judged| Answer::of("C5", question, metric, judged));
    if judged.is_none() {
        (answer.id, answer.question, answer.metric) =
            ("C5".to_owned(), question.to_owned(), metric.to_owned());
        (answer.verdict, answer.because) = (Verdict::Inconclusive, Some("nobody was killed".to_owned()));
    }
    (answer.a, answer.b) = ("own limits".to_owned(), Arm::FairShare.code().to_owned());
    answer.differences = differences;
    (answer, judged)
}

/// In which size of the innocent one the wrong one dies.
fn sizes(shared: &[&Trial]) -> String {
    let wrong = SIZES_MIB.map(|size| {
        let of_size: Vec<_> = shared.iter().filter(|trial| trial.size_mib == size).collect();
        let wrong = of_size.iter().filter(|trial| trial.killed.is_some() && !trial.right).count();
        format!("{size} MiB: the innocent one in {wrong} of {}", of_size.len())
    });
    format!(
        "with the size of the innocent application: the kernel takes the largest ({}); without any neighbour in the pool there is nobody \
         else to be hit",
        wrong.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(own: bool, size_mib: u64, killed: f64, right: bool) -> Trial {
        let collateral = usize::from(!right);
        Trial {
            own,
            size_mib,
            killed: Some(killed),
            right,
            reported: Some(0.03),
            precision: 5,
            collateral,
            predicted: 2.0,
        }
    }

    #[test]
    fn late_and_wrong_in_the_pool_supports_it() {
        let mut trials = Vec::new();
        for round in 0..5 {
            for (size, shared, right) in [(300, 2.6, false), (180, 4.2, true)] {
                trials.push((round, trial(true, size, 2.05, true)));
                trials.push((round, trial(false, size, shared, right)));
            }
        }
        let found = finding(&trials);
        assert_eq!(found.verdict, Verdict::Supported, "{found:?}");
        assert!(found.sentence.contains("in 5 of 10 trials it was the innocent one"), "{}", found.sentence);
        assert!(
            found
                .flips_when
                .as_ref()
                .is_some_and(|text| text.contains("300 MiB: the innocent one in 5 of 5"))
        );
        // Late reports are not "at once".
        for (_, trial) in &mut trials {
            trial.reported = Some(0.9);
        }
        assert_eq!(finding(&trials).verdict, Verdict::Conditional);
        assert_eq!(finding(&[]).verdict, Verdict::Inconclusive);
    }
}
