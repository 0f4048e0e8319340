//! C1: shared hosting varies more.

use super::{Claim, Finding, Requirement, ratio};
use crate::document::{Answer, Verdict};
use crate::experiment::{
    Arm, Block, Comparison, Condition, Load, Noise, Part, Purpose, Rate, Session, SessionError,
};
use crate::host::HostPlan;
use crate::neighbour::Work;
use crate::probe;
use crate::statistics::verdict::{Judgement, material, range};

pub(super) struct C1;

/// The application: half of one core, in requests of 1 to 10 ms.
const APP: &str = "subject";
const RATE: f64 = 250.0;
const LOAD_OF_APP: f64 = 0.49;
/// A tenant that gets visitors in bursts: 0.16 cores in the mean.
const VISITED: &str = "visited";
const HOGS: [&str; 2] = ["hog-0", "hog-1"];
/// Neighbours' load in cores at which shared and isolated are compared to find where they change places.
const STEPS: [f64; 4] = [0.5, 1.0, 1.5, 2.0];

impl Claim for C1 {
    fn id(&self) -> &'static str {
        "C1"
    }

    fn title(&self) -> &'static str {
        "shared hosting has a higher variance of latency; isolated hosting is consistent"
    }

    fn expectation(&self) -> &'static str {
        "Conditional. Quiet, sharing pools the cores and is as good or better (ratio 0.7 to 1.0); with busy neighbours p95 - p50 is \
         1.2 to 3 times that of a core of one's own under fair shares, 2 to 6 times unmanaged."
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
        let noisy = session.compare(&comparison("C1-noisy", &noisy()))?;
        let quiet = session.compare(&comparison("C1-quiet", &Noise::quiet()))?;
        let metric = "p95 - p50, shared (S1) over isolated (I2)";
        let (noisy_answer, primary) = noisy.answer(
            "with busy neighbours, latency varies more under fair shares than on a core of one's own",
            metric,
            material::LATENCY,
            Block::spread,
        );
        let (quiet_answer, quiet_judged) = quiet.answer(
            "without neighbours, latency varies more under fair shares than on a core of one's own",
            metric,
            material::LATENCY,
            Block::spread,
        );
        let steps = ladder(session)?;
        let mut finding = Finding {
            verdict: verdict(noisy_answer.verdict, quiet_answer.verdict),
            sentence: sentence(&noisy_answer, &quiet_answer),
            flips_when: Some(crossover(&steps)),
            shifts: [noisy.shift(session.options.seed), quiet.shift(session.options.seed)]
                .into_iter()
                .flatten()
                .collect(),
            ..Finding::default()
        };
        finding
            .notes
            .push(stability(noisy.typical(false, Block::spread), quiet.typical(false, Block::spread)));
        finding.notes.push(unmanaged(session, noisy.typical(false, Block::spread))?);
        finding.notes.extend(quiet_judged.as_ref().map(power));
        finding.answers = vec![noisy_answer, quiet_answer];
        finding.primary = primary;
        Ok(finding)
    }
}

fn plan(session: &Session<'_>) -> HostPlan {
    let app = session.probe(probe::WSGI).set("workers", 2).set("concurrency", "sync");
    let visited = session.probe(probe::WSGI).set("workers", 1).set("concurrency", "sync");
    let mut plan = HostPlan::default().with(APP, app).with(VISITED, visited);
    for name in HOGS {
        plan = plan.with(name, session.neighbour(name));
    }
    plan
}

fn load() -> Load {
    let targets = [("/cpu?ms=1", 0.70), ("/cpu?ms=3", 0.25), ("/cpu?ms=10", 0.05)];
    Load {
        targets: targets.map(|(target, weight)| (target.to_owned(), weight)).into(),
        rate: Rate::Poisson(RATE),
    }
}

/// Spinning neighbours that use so many cores together if nobody else wants them.
fn hogs(cores: f64) -> Noise {
    let duty = cores / HOGS.len() as f64;
    let part = |name: &&str| Part::Work { tenant: (*name).to_owned(), work: Work::Spin { threads: 1 }, duty };
    Noise { name: format!("neighbours of {cores:.1} cores"), parts: HOGS.iter().map(part).collect() }
}

fn noisy() -> Noise {
    let mut noise = hogs(2.0);
    noise.name = "two hogs and bursts".to_owned();
    noise.parts.push(Part::Bursts { tenant: VISITED.to_owned(), target: "/cpu?ms=4".to_owned(), rate: 40.0 });
    noise
}

fn condition(arm: Arm, noise: &Noise) -> Condition {
    Condition {
        name: format!("C1 {}", arm.code()),
        app: APP.to_owned(),
        arm,
        noise: noise.clone(),
        load: load(),
    }
}

fn comparison(id: &str, noise: &Noise) -> Comparison {
    Comparison { id: id.to_owned(), a: condition(Arm::Pinned, noise), b: condition(Arm::FairShare, noise) }
}

/// As the specification has it: the claim needs the noisy half, and the quiet half must not speak against it.
fn verdict(noisy: Verdict, quiet: Verdict) -> Verdict {
    match (noisy, quiet) {
        (Verdict::Supported, Verdict::Contradicted) => Verdict::Conditional,
        (noisy, _) => noisy,
    }
}

fn sentence(noisy: &Answer, quiet: &Answer) -> String {
    let part = |answer: &Answer| {
        let [low, high] = answer.ci.map(|limit| limit.map_or_else(|| "?".to_owned(), ratio));
        format!("{} ({low} to {high})", answer.ratio.map_or_else(|| "?".to_owned(), ratio))
    };
    format!(
        "p95 - p50 under fair shares is {} times that on a core of its own with busy neighbours, and {} times without",
        part(noisy),
        part(quiet)
    )
}

/// One block in each arm at each load of the neighbours: (cores, shared over isolated p95).
fn ladder(session: &mut Session<'_>) -> Result<Vec<(f64, f64)>, SessionError> {
    let mut steps = Vec::new();
    for (position, cores) in STEPS.into_iter().enumerate() {
        session.progress.step(position, STEPS.len(), "neighbours' load at which it changes");
        let seed = session.random.next_u64();
        let mut p95 = [0.0; 2];
        let mut arms = [(0, Arm::FairShare), (1, Arm::Pinned)];
        session.random.shuffle(&mut arms);
        for (side, arm) in arms {
            let block = session.block(&condition(arm, &hogs(cores)), seed, &Purpose::series("C1-noisy"))?;
            p95[side] = block.trusted(|block| block.quantile(0.95));
        }
        steps.push((cores, p95[0] / p95[1]));
    }
    Ok(steps)
}

/// Where the ratio passes 1, by interpolation; and what pooling alone would predict.
fn crossover(steps: &[(f64, f64)]) -> String {
    let predicted = 2.0 * LOAD_OF_APP.sqrt() - LOAD_OF_APP;
    let shown: Vec<String> =
        steps.iter().map(|(cores, p95)| format!("{cores:.1}: {}", ratio(*p95))).collect();
    let at = match crossing(steps) {
        Crossing::Below(cores) => format!("already at {cores:.1} cores of neighbours"),
        Crossing::At(cores) => format!("at about {cores:.2} cores of neighbours"),
        Crossing::Never => "at no load of the neighbours that was tried".to_owned(),
        Crossing::Unknown => "at a load that is not known, because blocks do not count".to_owned(),
    };
    format!(
        "sharing stops being better (p95) {at}; pooling alone predicts b* = {predicted:.2}; measured ratios by cores: {}",
        shown.join(", ")
    )
}

#[derive(Debug, PartialEq)]
enum Crossing {
    Below(f64),
    At(f64),
    Never,
    Unknown,
}

fn crossing(steps: &[(f64, f64)]) -> Crossing {
    if steps.iter().any(|(_, p95)| !p95.is_finite()) {
        return Crossing::Unknown;
    }
    match steps.first() {
        Some((cores, p95)) if *p95 > 1.0 => return Crossing::Below(*cores),
        _ => {}
    }
    let between = steps.windows(2).find(|pair| pair[0].1 <= 1.0 && pair[1].1 > 1.0);
    between.map_or(Crossing::Never, |pair| {
        let ((b0, r0), (b1, r1)) = (pair[0], pair[1]);
        Crossing::At(b0 + (b1 - b0) * (1.0 - r0) / (r1 - r0))
    })
}

fn stability(noisy: f64, quiet: f64) -> String {
    format!("on its own core p95 - p50 with busy neighbours is {} times that without", ratio(noisy / quiet))
}

/// Exploratory: the same with no management at all, against the pairs on a core of its own.
fn unmanaged(session: &mut Session<'_>, pinned: f64) -> Result<String, SessionError> {
    let mut spreads = Vec::new();
    for _ in 0..session.options.effort.control {
        let seed = session.random.next_u64();
        let purpose = Purpose::series("C1-noisy");
        let block = session.block(&condition(Arm::Unmanaged, &noisy()), seed, &purpose)?;
        spreads.push(block.trusted(Block::spread));
    }
    Ok(format!(
        "exploratory: unmanaged (S0) it is {} times that of a core of its own",
        ratio(range(&spreads).0 / pinned)
    ))
}

fn power(judged: &Judgement) -> String {
    format!("quiet: {} pairs, deviation of ln(ratio) {:.2}", judged.effect.pairs, judged.effect.deviation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crossover_is_where_the_ratio_passes_one() {
        assert_eq!(crossing(&[(0.5, 0.8), (1.0, 1.2), (2.0, 3.0)]), Crossing::At(0.75));
        assert_eq!(crossing(&[(0.5, 1.1), (1.0, 1.2)]), Crossing::Below(0.5));
        assert_eq!(crossing(&[(0.5, 0.8), (1.0, 0.9)]), Crossing::Never);
        assert_eq!(crossing(&[(0.5, f64::NAN), (1.0, 1.2)]), Crossing::Unknown);
        assert!(crossover(&[(0.5, 0.8)]).contains("b* = 0.91"));
    }

    #[test]
    fn quiet_decides_whether_it_is_conditional() {
        assert_eq!(verdict(Verdict::Supported, Verdict::Contradicted), Verdict::Conditional);
        assert_eq!(verdict(Verdict::Supported, Verdict::NoMaterialEffect), Verdict::Supported);
        assert_eq!(verdict(Verdict::Inconclusive, Verdict::Contradicted), Verdict::Inconclusive);
    }
}
