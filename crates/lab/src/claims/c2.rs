//! C2: work that needs the processor suffers quickly when it is shared.

use std::time::Duration;

use super::{Claim, Finding, Requirement, ratio};
use crate::document::{Answer, Verdict};
use crate::experiment::{
    Arm, Block, Comparison, Condition, Load, Noise, Part, Purpose, Rate, Session, SessionError,
};
use crate::host::HostPlan;
use crate::neighbour::Work;
use crate::probe;
use crate::statistics::verdict::{Judgement, range};

pub(super) struct C2;

const APP: &str = "subject";
/// One request at a time, 20 ms of processor time each.
const TARGET: &str = "/cpu?ms=20";
/// Neighbours that want a whole core each, each a tenant of its own.
const HOGS: usize = 8;
/// The same work in one worker with threads, that many requests at a time.
const THREADED: &str = "threaded";
const THREADS: usize = 4;
/// One tenant with as many.
const CROWD: &str = "crowd";
const DOSES: [usize; 5] = [0, 1, 2, 4, 8];
const ARMS: [Arm; 3] = [Arm::Unmanaged, Arm::FairShare, Arm::Pinned];
/// The dose at which the claim is decided.
const DECIDING: usize = 4;
/// Degrading rapidly: twice the time in the shared arm, and at most 1.25 times in the isolated one. So the pairs must show a
/// ratio of at least this between the two.
const MATERIAL: f64 = 1.6;
const SHARED_AT_LEAST: f64 = 2.0;
const ISOLATED_AT_MOST: f64 = 1.25;

impl Claim for C2 {
    fn id(&self) -> &'static str {
        "C2"
    }

    fn title(&self) -> &'static str {
        "CPU-bound work degrades rapidly under shared contention"
    }

    fn expectation(&self) -> &'static str {
        "True where each hog is a tenant of its own, or where nobody manages: p50 is 2.5 to 3 times as long with 4 hogs on 2 cores, \
         and grows with each. Under fair shares one tenant can do no more than 1.5 times, with however many hogs. A core \
         of one's own does not notice (at most 1.25)."
    }

    fn requirements(&self) -> &'static [Requirement] {
        &[
            Requirement::Root,
            Requirement::Cores(2),
            Requirement::Controller("cpu"),
            Requirement::Controller("cpuset"),
        ]
    }

    fn run(&self, session: &mut Session<'_>) -> Result<Finding, SessionError> {
        session.start(plan(session))?;
        // The effort of the session is a claim's own: each begins with what was asked for.
        session.options.effort =
            session.options.effort.within(Duration::from_millis(1_000), Duration::from_millis(300));
        let cells = cells(session)?;
        let paired = session.compare(&Comparison {
            id: "C2".to_owned(),
            a: condition(Arm::Pinned, &hogs(DECIDING)),
            b: condition(Arm::FairShare, &hogs(DECIDING)),
        })?;
        let (answer, judged) = paired.answer(
            "with four hogs, a request takes longer under fair shares than on a core of its own",
            "p50, shared (S1) over isolated (I2), 4 hogs that are tenants of their own",
            f64::ln(MATERIAL),
            |block: &Block| block.quantile(0.5),
        );
        let mut finding = finding(&cells, answer, judged);
        finding.notes.push(one_lock(&threaded(session)?));
        Ok(finding)
    }
}

/// Median p50 of each cell, in seconds: arm, hogs, whether they are one tenant.
type Cells = Vec<(Arm, usize, bool, f64)>;

fn plan(session: &Session<'_>) -> HostPlan {
    let app = session.probe(probe::WSGI).set("workers", 1).set("concurrency", "sync");
    let threaded =
        session.probe(probe::WSGI).set("workers", 1).set("concurrency", "threads").set("threads", THREADS);
    let mut plan = HostPlan::default().with(APP, app).with(THREADED, threaded);
    plan = plan.with(CROWD, session.neighbour(CROWD));
    for hog in 0..HOGS {
        let name = format!("hog-{hog}");
        plan = plan.with(&name, session.neighbour(&name));
    }
    plan
}

fn hogs(count: usize) -> Noise {
    let part = |hog| Part::Work { tenant: format!("hog-{hog}"), work: Work::Spin { threads: 1 }, duty: 1.0 };
    Noise { name: format!("{count} hogs"), parts: (0..count).map(part).collect() }
}

fn crowd() -> Noise {
    let work = Work::Spin { threads: HOGS as u8 };
    let part = Part::Work { tenant: CROWD.to_owned(), work, duty: 1.0 };
    Noise { name: format!("one tenant with {HOGS} hogs"), parts: vec![part] }
}

fn condition(arm: Arm, noise: &Noise) -> Condition {
    Condition {
        name: format!("C2 {}", arm.code()),
        app: APP.to_owned(),
        arm,
        noise: noise.clone(),
        load: Load::of(TARGET, Rate::Closed(1)),
    }
}

/// Every dose in every arm, twice, in random order within each arm: entering one costs more than a block.
fn cells(session: &mut Session<'_>) -> Result<Cells, SessionError> {
    let rounds = if session.options.effort.pairs > 1 { 2 } else { 1 };
    let mut taken: Vec<(Arm, usize, bool, Vec<f64>)> = Vec::new();
    for round in 0..rounds {
        let mut arms = ARMS;
        session.random.shuffle(&mut arms);
        for (position, arm) in arms.into_iter().enumerate() {
            session.progress.step(round * ARMS.len() + position, rounds * ARMS.len(), "doses of hogs");
            let mut doses: Vec<(usize, bool)> = DOSES.iter().map(|dose| (*dose, false)).collect();
            doses.push((HOGS, true));
            session.random.shuffle(&mut doses);
            for (dose, together) in doses {
                let noise = if together { crowd() } else { hogs(dose) };
                let seed = session.random.next_u64();
                let block = session.sound_block(&condition(arm, &noise), seed, &Purpose::series("C2"))?;
                let p50 = block.trusted(|block| block.quantile(0.5));
                match taken.iter_mut().find(|cell| (cell.0, cell.1, cell.2) == (arm, dose, together)) {
                    Some(cell) => cell.3.push(p50),
                    None => taken.push((arm, dose, together, vec![p50])),
                }
            }
        }
    }
    Ok(taken.into_iter().map(|(arm, dose, together, p50)| (arm, dose, together, middle(&p50))).collect())
}

/// In each arm, without hogs: how many times the time of a request alone it takes with as many at once as there are threads.
fn threaded(session: &mut Session<'_>) -> Result<[f64; ARMS.len()], SessionError> {
    let mut times = [f64::NAN; ARMS.len()];
    for (arm, times) in ARMS.into_iter().zip(&mut times) {
        let mut p50 = |clients| -> Result<f64, SessionError> {
            let condition = Condition {
                name: format!("C2 threads {}", arm.code()),
                app: THREADED.to_owned(),
                load: Load::of(TARGET, Rate::Closed(clients)),
                ..condition(arm, &Noise::quiet())
            };
            let seed = session.random.next_u64();
            let block = session.sound_block(&condition, seed, &Purpose::series("C2"))?;
            Ok(block.trusted(|block| block.quantile(0.5)))
        };
        let alone = p50(1)?;
        *times = p50(THREADS)? / alone;
    }
    Ok(times)
}

fn one_lock(times: &[f64]) -> String {
    let shown: Vec<_> =
        ARMS.iter().zip(times).map(|(arm, times)| format!("{} {}", arm.code(), ratio(*times))).collect();
    format!(
        "exploratory: {THREADS} requests at once in one worker with {THREADS} threads take, without any hog, times that of one alone: {} (one interpreter \
         lock: no tenancy helps)",
        shown.join(", ")
    )
}

/// Median of those that are known.
fn middle(values: &[f64]) -> f64 {
    range(&values.iter().copied().filter(|value| !value.is_nan()).collect::<Vec<_>>()).0
}

/// How many times the time without hogs.
fn stretch(cells: &Cells, arm: Arm, dose: usize, together: bool) -> f64 {
    let of = |dose, together| {
        cells
            .iter()
            .find(|cell| (cell.0, cell.1, cell.2) == (arm, dose, together))
            .map_or(f64::NAN, |cell| cell.3)
    };
    of(dose, together) / of(0, false)
}

fn finding(cells: &Cells, answer: Answer, judged: Option<Judgement>) -> Finding {
    let shared = stretch(cells, Arm::FairShare, DECIDING, false);
    let isolated = stretch(cells, Arm::Pinned, DECIDING, false);
    let grows = grows(&DOSES.map(|dose| stretch(cells, Arm::FairShare, dose, false)));
    let mut finding = Finding {
        verdict: verdict(answer.verdict, shared, isolated, grows),
        sentence: format!(
            "p50 of 20 ms of work with {DECIDING} hogs is {} times that without under fair shares, {} times unmanaged, {} times on a \
             core of its own",
            ratio(shared),
            ratio(stretch(cells, Arm::Unmanaged, DECIDING, false)),
            ratio(isolated)
        ),
        flips_when: Some(flips(cells)),
        answers: vec![answer],
        primary: judged,
        ..Finding::default()
    };
    for arm in ARMS {
        let shown = DOSES.map(|dose| format!("{dose}: {}", ratio(stretch(cells, arm, dose, false))));
        let crowd = ratio(stretch(cells, arm, HOGS, true));
        finding.notes.push(format!(
            "{}, times by hogs: {}; {HOGS} hogs of one tenant: {crowd}",
            arm.title(),
            shown.join(", ")
        ));
    }
    finding
}

/// It must be twice the time and more with each dose where it is shared, and stay where it is isolated.
fn verdict(pairs: Verdict, shared: f64, isolated: f64, grows: bool) -> Verdict {
    match pairs {
        Verdict::Supported if shared >= SHARED_AT_LEAST && isolated <= ISOLATED_AT_MOST && grows => {
            Verdict::Supported
        }
        // Shared is slower, but not as rapidly as was said, or isolated is too.
        Verdict::Supported => Verdict::Inconclusive,
        other => other,
    }
}

/// From the first dose that meets nobody on this machine's second core, each is worse than the one before.
fn grows(stretches: &[f64; DOSES.len()]) -> bool {
    stretches[1..].windows(2).all(|pair| pair[1] > pair[0])
}

fn flips(cells: &Cells) -> String {
    let crowd = stretch(cells, Arm::FairShare, HOGS, true);
    let apart = stretch(cells, Arm::FairShare, HOGS, false);
    let first =
        DOSES[1..].iter().find(|dose| stretch(cells, Arm::FairShare, **dose, false) >= SHARED_AT_LEAST);
    let from = first.map_or_else(|| "no number of hogs up to 8".to_owned(), |dose| format!("{dose} hogs"));
    format!(
        "with the number of tenants, not of processes: {HOGS} hogs of one tenant make it {} times, {HOGS} tenants {} times; it is \
         twice the time from {from}",
        ratio(crowd),
        ratio(apart)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dose_is_not_enough() {
        let supported = Verdict::Supported;
        assert_eq!(verdict(supported, 2.6, 1.1, true), Verdict::Supported);
        assert_eq!(verdict(supported, 2.6, 1.1, false), Verdict::Inconclusive);
        assert_eq!(verdict(supported, 1.7, 1.0, true), Verdict::Inconclusive);
        assert_eq!(verdict(supported, 2.6, 1.4, true), Verdict::Inconclusive);
        assert_eq!(verdict(Verdict::Contradicted, 2.6, 1.1, true), Verdict::Contradicted);
        assert!(grows(&[1.0, 1.0, 1.5, 2.5, 4.5]) && !grows(&[1.0, 1.1, 1.5, 1.4, 4.5]));
    }

    #[test]
    fn stretches_are_of_the_same_arm() {
        let cells = vec![
            (Arm::FairShare, 0, false, 0.02),
            (Arm::FairShare, 8, false, 0.1),
            (Arm::FairShare, 8, true, 0.03),
            (Arm::Pinned, 0, false, 0.01),
        ];
        assert!((stretch(&cells, Arm::FairShare, 8, false) - 5.0).abs() < 1e-9);
        assert!((stretch(&cells, Arm::FairShare, 8, true) - 1.5).abs() < 1e-9);
        assert!(stretch(&cells, Arm::Pinned, 8, false).is_nan());
    }
}
