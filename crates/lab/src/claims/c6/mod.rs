//! C6: storage hurts applications that wait more than processors do.

mod ladder;

use std::time::Duration;

use super::{Claim, Finding, Requirement, ratio};
use crate::document::{Answer, BlockKind, Verdict};
use crate::experiment::{Arm, Condition, Fault, Load, Noise, Part, Purpose, Rate, Session, SessionError};
use crate::host::HostPlan;
use crate::neighbour::Work;
use crate::probe;
use crate::statistics::verdict::{Control, Judgement, control, judge, material, range};

pub(super) struct C6;

const APP: &str = "subject";
/// Waits for something elsewhere, for 20 ms.
const WAITS: &str = "/io?ms=20";
/// The same, and a log line that must be on the disk before the answer.
const LOGS: &str = "/log?ms=20&fsync=1";
const RATE: f64 = 60.0;
const HOGS: usize = 4;
const STORM: &str = "storm";
/// Written by the storm in one block, at most, in MiB; and by all of them.
const STORM_MIB: u16 = 96;
const ALL_MIB: u64 = 2_048;
/// For so long the storm works alone, to know what it can do.
const ALONE: Duration = Duration::from_secs(1);

/// What the neighbours use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Quiet,
    Cpu,
    Disk,
}

const STATES: [State; 3] = [State::Quiet, State::Cpu, State::Disk];

impl Claim for C6 {
    fn id(&self) -> &'static str {
        "C6"
    }

    fn title(&self) -> &'static str {
        "applications that wait suffer more from shared storage than from shared processors, most with synchronous logging"
    }

    fn expectation(&self) -> &'static str {
        "Conditional. Only requests that wait for the disk themselves (fsync) suffer from it, p95 3 to 20 times; for all others a \
         neighbour's storage is invisible, and its processors are what they notice."
    }

    fn requirements(&self) -> &'static [Requirement] {
        &[
            Requirement::Root,
            Requirement::Cores(2),
            Requirement::Controller("cpu"),
            Requirement::Disk(ALL_MIB),
        ]
    }

    fn run(&self, session: &mut Session<'_>) -> Result<Finding, SessionError> {
        session.start(plan(session))?;
        // The effort of the session is a claim's own: each begins with what was asked for.
        session.options.effort =
            session.options.effort.within(Duration::from_millis(1_000), Duration::from_millis(300));
        let measured = measure(session)?;
        let mut finding = finding(&measured);
        finding.notes.push(ladder::climb(session)?);
        Ok(finding)
    }
}

/// p95 of each repetition.
#[derive(Debug, Default)]
struct Measured {
    waits: Vec<Repetition>,
    logs: Vec<Repetition>,
    /// Of logging without neighbours, twice in a row.
    null: Vec<(f64, f64)>,
    /// fsyncs per second that the storm got done, and those that it gets done alone.
    storm: Vec<f64>,
    alone: f64,
    pressure_io: Vec<f64>,
    dropped: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Repetition {
    quiet: f64,
    cpu: f64,
    disk: f64,
}

impl Repetition {
    /// By how much more storage hurts than processors, as a logarithm.
    fn interaction(&self) -> f64 {
        (self.disk / self.quiet).ln() - (self.cpu / self.quiet).ln()
    }
}

fn plan(session: &Session<'_>) -> HostPlan {
    let app = session.probe(probe::ASGI).set("workers", 1);
    let mut plan = HostPlan::default().with(APP, app).with(STORM, session.neighbour(STORM));
    for hog in 0..HOGS {
        let name = format!("hog-{hog}");
        plan = plan.with(&name, session.neighbour(&name));
    }
    plan
}

fn condition(target: &str, state: State) -> Condition {
    let hog = |hog| Part::Work { tenant: format!("hog-{hog}"), work: Work::Spin { threads: 1 }, duty: 1.0 };
    let (name, parts) = match state {
        State::Quiet => ("quiet", Vec::new()),
        State::Cpu => ("4 hogs", (0..HOGS).map(hog).collect()),
        State::Disk => {
            let work = Work::Storm { mib: STORM_MIB };
            ("fsync storm", vec![Part::Work { tenant: STORM.to_owned(), work, duty: 1.0 }])
        }
    };
    Condition {
        name: "C6 S1".to_owned(),
        app: APP.to_owned(),
        arm: Arm::FairShare,
        noise: Noise { name: name.to_owned(), parts },
        load: Load::of(target, Rate::Poisson(RATE)),
    }
}

/// Every state for both kinds of requests, in random order, again and again.
fn measure(session: &mut Session<'_>) -> Result<Measured, SessionError> {
    let storm = condition(LOGS, State::Disk).noise;
    let alone = session.calibrate(&storm, ALONE)?.iter().map(|(_, rate)| rate).sum();
    let mut measured = Measured { alone, ..Measured::default() };
    let repetitions = session.options.effort.pairs;
    for number in 0..repetitions {
        session.progress.step(number, repetitions, "quiet, processors, storage");
        let seed = session.random.next_u64();
        let mut cells: Vec<(bool, State)> =
            [true, false].into_iter().flat_map(|logs| STATES.map(|state| (logs, state))).collect();
        session.random.shuffle(&mut cells);
        let (mut logs, mut waits, mut fault) = (Repetition::default(), Repetition::default(), None);
        for (of_logs, state) in cells {
            let target = if of_logs { LOGS } else { WAITS };
            let purpose = Purpose {
                kind: BlockKind::Measured,
                pair: u16::try_from(number).ok(),
                question: if of_logs { "C6-log" } else { "C6-wait" }.to_owned(),
            };
            let condition = condition(target, state);
            let block = session.sound_block(&condition, seed, &purpose)?;
            fault = fault.or_else(|| block.spoilt_by().map(Fault::sentence));
            let cell = if of_logs { &mut logs } else { &mut waits };
            match state {
                State::Quiet => cell.quiet = block.waited(0.95),
                State::Cpu => cell.cpu = block.waited(0.95),
                State::Disk => cell.disk = block.waited(0.95),
            }
            if state == State::Disk {
                measured.storm.extend(block.neighbours.iter().map(|(_, rate)| *rate));
                measured.pressure_io.extend(block.usage.pressure_io.filter(|_| of_logs));
            }
        }
        match fault {
            Some(why) => measured.dropped.push(why),
            None => {
                measured.logs.push(logs);
                measured.waits.push(waits);
            }
        }
    }
    for _ in 0..session.options.effort.control {
        let seed = session.random.next_u64();
        let purpose = Purpose { kind: BlockKind::Control, pair: None, question: "C6-log".to_owned() };
        let mut p95 = [0.0; 2];
        for side in &mut p95 {
            *side = session.block(&condition(LOGS, State::Quiet), seed, &purpose)?.waited(0.95);
        }
        measured.null.push((p95[0], p95[1]));
    }
    Ok(measured)
}

fn judged(repetitions: &[Repetition], null: Option<Control>) -> Option<(Judgement, Vec<f64>)> {
    let differences: Vec<f64> =
        repetitions.iter().map(Repetition::interaction).filter(|difference| difference.is_finite()).collect();
    Some((judge(&differences, material::LATENCY, null).ok()?, differences))
}

fn answer(id: &str, question: &str, judged: Option<&(Judgement, Vec<f64>)>) -> Answer {
    let metric = "p95 with a storage neighbour over p95 with processor neighbours";
    let mut answer = match judged {
        Some((judged, differences)) => {
            Answer { differences: differences.clone(), ..Answer::of(id, question, metric, judged) }
        }
        None => Answer {
            id: id.to_owned(),
            question: question.to_owned(),
            metric: metric.to_owned(),
            verdict: Verdict::Inconclusive,
            because: Some("not a single repetition counts".to_owned()),
            ..Answer::default()
        },
    };
    (answer.a, answer.b) = ("C6 S1".to_owned(), "C6 S1".to_owned());
    answer
}

fn finding(measured: &Measured) -> Finding {
    let null: Vec<f64> = measured.null.iter().map(|(first, second)| (second / first).ln()).collect();
    let null = control(&null.into_iter().filter(|value| value.is_finite()).collect::<Vec<_>>()).ok();
    let (logs, waits) = (judged(&measured.logs, null), judged(&measured.waits, null));
    let logs_answer = answer(
        "C6-log",
        "requests that log with fsync suffer more from a storage neighbour than from processor neighbours",
        logs.as_ref(),
    );
    let waits_answer = answer(
        "C6-wait",
        "requests that only wait suffer more from a storage neighbour than from processor neighbours",
        waits.as_ref(),
    );
    let times = |of: &[Repetition], figure: fn(&Repetition) -> f64| {
        ratio(range(&of.iter().map(figure).collect::<Vec<_>>()).0)
    };
    let disk: fn(&Repetition) -> f64 = |it| it.disk / it.quiet;
    let cpu: fn(&Repetition) -> f64 = |it| it.cpu / it.quiet;
    let mut finding = Finding {
        verdict: verdict(logs_answer.verdict, waits_answer.verdict),
        sentence: format!(
            "a storage neighbour makes p95 {} times as long where each request logs with fsync and {} times where it only waits; \
             four processor hogs {} and {} times",
            times(&measured.logs, disk),
            times(&measured.waits, disk),
            times(&measured.logs, cpu),
            times(&measured.waits, cpu)
        ),
        flips_when: Some(
            "with whether requests wait for the disk: without fsync on the request path (a queue or a pipe between) a neighbour's \
             storage is not noticed"
                .to_owned(),
        ),
        answers: vec![logs_answer, waits_answer],
        primary: logs.map(|(judged, _)| judged),
        ..Finding::default()
    };
    finding.notes.push(format!(
        "the storage neighbour got {} fsyncs/s done, alone {}; tasks of the application waited for storage in {} % of the time",
        ratio(range(&measured.storm).0),
        ratio(measured.alone),
        ratio(range(&measured.pressure_io).0 * 100.0)
    ));
    if let Some(why) = measured.dropped.first() {
        finding
            .notes
            .push(format!("{} repetitions do not count, for example: {why}", measured.dropped.len()));
    }
    finding
}

/// True for those that log, and not for those that wait: it depends.
fn verdict(logs: Verdict, waits: Verdict) -> Verdict {
    match (logs, waits) {
        (Verdict::Supported, Verdict::Contradicted | Verdict::NoMaterialEffect) => Verdict::Conditional,
        (logs, _) => logs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_and_processors_are_weighed_against_each_other() {
        let repetition = |disk| Repetition { quiet: 0.02, cpu: 0.03, disk };
        let measured = Measured {
            logs: (0..9).map(|i| repetition(0.2 + 0.001 * f64::from(i))).collect(),
            waits: (0..9).map(|i| repetition(0.02 + 0.0001 * f64::from(i))).collect(),
            ..Measured::default()
        };
        let found = finding(&measured);
        assert_eq!(found.verdict, Verdict::Conditional, "{found:?}");
        assert!(found.sentence.contains("p95 10 times as long"), "{}", found.sentence);
        let ratio = found.answers[0].ratio.unwrap();
        assert!((6.6..6.9).contains(&ratio), "{ratio}");
        let nothing = finding(&Measured::default());
        assert_eq!((nothing.verdict, nothing.answers.len()), (Verdict::Inconclusive, 2));
        assert_eq!(verdict(Verdict::Supported, Verdict::Supported), Verdict::Supported);
        assert_eq!(verdict(Verdict::Contradicted, Verdict::Supported), Verdict::Contradicted);
    }
}
