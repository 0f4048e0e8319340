//! C3: sync workers scale poorly for work that waits.
//!
//! `/io?ms=50`, closed loops, everything quiet. A ladder of concurrency for the picture, then groups of the three models at
//! 64 at a time for the verdict, then sync once more with as many workers as there are requests: what it takes to be as
//! good, in memory.

use std::collections::BTreeMap;

use super::pairing::{Question, ask, judged, median, middle, ratio, shown, throughput};
use super::rounds::{closed, ladder, quiet, roomy, rounds, shorter};
use super::{Claim, Finding, Requirement};
use crate::document::{Answer, Block, Verdict};
use crate::experiment::{Condition, Session, SessionError};
use crate::host::HostPlan;
use crate::probe;
use crate::statistics::queueing::{TOLERANCE, little_deviation};
use crate::statistics::verdict::range;

pub(super) const SYNC: &str = "sync 5x1";
pub(super) const THREADS: &str = "threads 5x8";
pub(super) const ASYNC: &str = "async 2";
/// The plain functions of a framework beside a loop: 40 threads per worker.
pub(super) const POOL: &str = "async 2, pool of 40";
pub(super) const MANY: &str = "sync 64x1";
/// What the knee is measured by; in every round, as the ladder has only one block of it.
pub(super) const ONE: &str = "sync 5x1, one at a time";

/// 2 x cores + 1, as is usually advised; fixed, so that the claim is the same on every machine.
pub(super) const SYNC_WORKERS: u32 = 5;
pub(super) const CONNECTIONS: u32 = 64;
/// For the picture.
pub(super) const LADDER: [u32; 5] = [1, 4, 16, CONNECTIONS, 256];
/// Wait 50 ms.
const TARGET: &str = "/io?ms=50";
const WAIT_SECONDS: f64 = 0.05;
const POOL_TARGET: &str = "/io?ms=50&pool=1";
/// A factor of two, as logarithm.
pub(super) const MATERIAL: f64 = std::f64::consts::LN_2;
/// Sync with a worker for every request is as good from here on.
const AS_GOOD: f64 = 0.9;

/// What blocks do not say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// Largest relative deviation of an arm from Little's law in the blocks of the verdict.
    pub(super) little: Option<f64>,
    /// How far an arm may be: a block begins and ends somewhere between two waves of answers, which come as far apart as a request waits.
    pub(super) allowed: f64,
    /// Of the whole application with [`SYNC_WORKERS`], of async, and with a worker for every request.
    pub(super) sync_bytes: Option<u64>,
    pub(super) async_bytes: Option<u64>,
    pub(super) many_bytes: Option<u64>,
    pub(super) available_bytes: Option<u64>,
}

const EXPECTATION: &str = "async and threads answer 4 to 10 times as much as 5 sync workers: a sync worker does \
    nothing else while it waits, so 5 of them answer 5 / 50 ms = 100 requests/s at most, however many are asked";

/// The claim.
pub(super) struct C3;

impl Claim for C3 {
    fn id(&self) -> &'static str {
        "C3"
    }

    fn title(&self) -> &'static str {
        "sync workers scale poorly for work that waits"
    }

    fn expectation(&self) -> &'static str {
        EXPECTATION
    }

    fn requirements(&self) -> &'static [Requirement] {
        &[Requirement::Cores(2), Requirement::Memory(2_048)]
    }

    fn run(&self, session: &mut Session<'_>) -> Result<Finding, SessionError> {
        run(session)
    }
}

/// # Errors
/// The session cannot go on.
pub(super) fn run(session: &mut Session<'_>) -> Result<Finding, SessionError> {
    let sync = roomy(session.probe(probe::WSGI)).set("workers", SYNC_WORKERS);
    let plan = HostPlan::default()
        .with("sync", sync.clone())
        .with("threads", sync.set("threads", 8))
        .with("async", roomy(session.probe(probe::ASGI)).set("workers", 2));
    let first = session.document.blocks.len();
    session.start(plan)?;
    let models = [(SYNC, "sync", TARGET), (THREADS, "threads", TARGET), (ASYNC, "async", TARGET)];
    let condition = |(name, app, target): (&str, &str, &str), connections: u32| {
        quiet(name, app, &connections.to_string(), closed(target, connections))
    };
    let rungs: Vec<Condition> =
        LADDER.iter().flat_map(|&at| models.map(|model| condition(model, at))).collect();
    shorter(session, 0.4, |session| ladder(session, "C3-ladder", &rungs))?;
    let verdict: Vec<Condition> = models
        .into_iter()
        .chain([(POOL, "async", POOL_TARGET)])
        .map(|model| condition(model, CONNECTIONS))
        .chain([condition((ONE, "sync", TARGET), 1)])
        .collect();
    let mut facts = Facts::default();
    let mut under_way: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    shorter(session, 0.4, |session| {
        rounds(session, "C3", &verdict, |_, block| {
            let known: Vec<f64> =
                block.latencies.iter().copied().filter(|latency| latency.is_finite()).collect();
            let mean = crate::statistics::mean(&known);
            let found = block.throughput() * mean;
            facts.allowed = TOLERANCE + WAIT_SECONDS / block.seconds;
            if block.condition != ONE && block.is_valid() && found.is_finite() {
                under_way.entry(block.condition.clone()).or_default().push(found);
            }
        })
    })?;
    facts.little = little(&under_way);
    facts.sync_bytes = session.host()?.app("sync")?.memory_bytes;
    facts.async_bytes = session.host()?.app("async")?.memory_bytes;
    facts.available_bytes = available();
    session.progress.note(&format!("sync with {CONNECTIONS} workers"));
    session.host()?.scale("sync", CONNECTIONS)?;
    let last = condition((MANY, "sync", TARGET), CONNECTIONS);
    ladder(session, "C3-many", &[last])?;
    facts.many_bytes = session.host()?.app("sync")?.memory_bytes;
    session.stop()?;
    Ok(conclude(&session.document.blocks[first..], &facts))
}

/// Largest deviation of an arm from Little's law, by the median of its blocks.
fn little(under_way: &BTreeMap<String, Vec<f64>>) -> Option<f64> {
    let apart = |found: &Vec<f64>| little_deviation(f64::from(CONNECTIONS), range(found).0, 1.0);
    under_way.values().map(apart).max_by(f64::total_cmp)
}

/// Memory that this machine has left.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The verdict from all blocks: ladder blocks have their concurrency as phase.
#[must_use]
pub(super) fn conclude(blocks: &[Block], facts: &Facts) -> Finding {
    let question = |id, b, question, primary| Question {
        id,
        question,
        metric: "requests/s at 64 at a time",
        a: SYNC,
        b,
        material: MATERIAL,
        primary,
    };
    let asked = [
        question("C3", ASYNC, "an event loop answers at least twice what sync workers do", true),
        question("C3-threads", THREADS, "threads answer at least twice what sync workers do", false),
        question(
            "C3-pool",
            POOL,
            "plain functions beside a loop answer at least twice what sync workers do",
            false,
        ),
    ];
    let answers: Vec<Answer> = asked
        .iter()
        .map(|question| ask(question, blocks, throughput))
        .filter(|answer| answer.primary || answer.pairs > 0)
        .collect();
    let primary = &answers[0];
    let knee = knee(blocks);
    let many = many(blocks);
    let (verdict, because) = verdict(primary.verdict, knee, facts, many);
    let judgement = judged(&asked[0], blocks, throughput);
    let mut notes = vec![
        format!("requests/s at {CONNECTIONS} at a time, and for each 100 MiB:"),
        view(blocks, SYNC, facts.sync_bytes),
        view(blocks, ASYNC, facts.async_bytes),
        view(blocks, MANY, facts.many_bytes),
    ];
    notes.extend(because);
    let sentence = format!(
        "async over sync: {} times; threads over sync: {} times. {SYNC_WORKERS} sync workers stop gaining at {} requests at a time",
        ratio(primary),
        answers.iter().find(|answer| answer.id == "C3-threads").map_or_else(|| "?".to_owned(), ratio),
        shown(knee, 1)
    );
    let flips_when = many.map(|share| {
        format!(
            "{CONNECTIONS} sync workers, one for each request, reach {:.0} % of async; they need {} instead of {}",
            share * 100.0,
            mebibytes(facts.many_bytes),
            mebibytes(facts.sync_bytes)
        )
    });
    Finding { verdict, sentence, flips_when, notes, primary: judgement, answers, ..Finding::default() }
}

/// The primary holds only where the mechanism is the expected one, and only for those who do not buy the memory.
fn verdict(
    primary: Verdict,
    knee: Option<f64>,
    facts: &Facts,
    many: Option<f64>,
) -> (Verdict, Option<String>) {
    if primary != Verdict::Supported {
        return (primary, None);
    }
    let workers = f64::from(SYNC_WORKERS);
    if knee.is_none() {
        return (Verdict::Inconclusive, Some("no block of one request at a time counts".to_owned()));
    }
    if knee.is_some_and(|knee| (knee - workers).abs() > 1.0) {
        let why = format!(
            "the difference is there, but sync does not stop gaining at its {SYNC_WORKERS} workers: something else limits it"
        );
        return (Verdict::Inconclusive, Some(why));
    }
    if facts.little.is_none_or(|deviation| deviation > facts.allowed) {
        let why = format!(
            "Little's law does not hold in the blocks (off by {} %, {:.0} % are allowed): the figures contradict each other",
            shown(facts.little.map(|deviation| deviation * 100.0), 1),
            facts.allowed * 100.0
        );
        return (Verdict::Inconclusive, Some(why));
    }
    let fits = matches!((facts.many_bytes, facts.available_bytes), (Some(need), Some(have)) if need <= have);
    if fits && many.is_some_and(|share| share >= AS_GOOD) {
        let why = "true for a given number of workers; a worker for every request is as good, where its memory is there";
        return (Verdict::Conditional, Some(why.to_owned()));
    }
    (Verdict::Supported, None)
}

/// Requests at a time at which sync stops gaining: what it answers in the end, in units of what one at a time gets.
#[must_use]
pub(super) fn knee(blocks: &[Block]) -> Option<f64> {
    // The rounds have both, more often than the ladder.
    let at = |concurrency: u32, arm: &str| {
        let rung = concurrency.to_string();
        let found = blocks.iter().filter(|block| {
            let of_rounds = block.pair.is_some() && block.arm == arm;
            let is_rung = block.pair.is_none() && block.arm == SYNC && block.phase.as_deref() == Some(&rung);
            block.valid && (of_rounds || is_rung)
        });
        median(&found.filter_map(throughput).collect::<Vec<_>>())
    };
    Some(at(CONNECTIONS, SYNC)? / at(1, ONE)?)
}

/// Throughput of a sync worker for each request, relative to async.
fn many(blocks: &[Block]) -> Option<f64> {
    Some(middle(blocks, MANY, throughput)? / at_verdict(blocks, ASYNC)?)
}

fn at_verdict(blocks: &[Block], arm: &str) -> Option<f64> {
    let of_arm: Vec<Block> = blocks
        .iter()
        .filter(|block| block.arm == arm && (block.pair.is_some() || arm == MANY))
        .cloned()
        .collect();
    middle(&of_arm, arm, throughput)
}

fn view(blocks: &[Block], arm: &str, bytes: Option<u64>) -> String {
    let rate = at_verdict(blocks, arm);
    let each = rate.zip(bytes).map(|(rate, bytes)| rate * (100 << 20) as f64 / bytes as f64);
    format!("{arm}: {} requests/s, {}, {} for each 100 MiB", shown(rate, 0), mebibytes(bytes), shown(each, 0))
}

pub(super) fn mebibytes(bytes: Option<u64>) -> String {
    format!("{} MiB", shown(bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)), 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use crate::claims::pairing::simulated::block;

    /// A server that answers `sync_rate` at 64 at a time and `one` at one.
    fn session(sync_rate: f64, one: f64, async_rate: f64, many_rate: f64) -> Vec<Block> {
        let mut random = Random::new(3);
        let mut blocks = Vec::new();
        for (rung, rate) in [(1, one), (4, one * 4.0), (64, sync_rate), (256, sync_rate)] {
            let rung = Block { phase: Some(format!("{rung}")), ..block(SYNC, None, rate, 0.01, &mut random) };
            blocks.push(rung);
        }
        for group in 0..6 {
            blocks.push(block(SYNC, Some(group), sync_rate, 0.02, &mut random));
            blocks.push(block(ONE, Some(group), one, 0.02, &mut random));
            blocks.push(block(THREADS, Some(group), async_rate * 0.6, 0.02, &mut random));
            blocks.push(block(ASYNC, Some(group), async_rate, 0.02, &mut random));
        }
        blocks.push(block(MANY, None, many_rate, 0.02, &mut random));
        blocks
    }

    fn facts() -> Facts {
        Facts {
            little: Some(0.07),
            allowed: 0.08,
            sync_bytes: Some(60 << 20),
            async_bytes: Some(40 << 20),
            many_bytes: Some(700 << 20),
            available_bytes: Some(4 << 30),
        }
    }

    #[test]
    fn a_fivefold_difference_at_the_expected_knee_is_supported_or_conditional() {
        let few = session(98.0, 19.6, 900.0, 500.0);
        let concluded = conclude(&few, &facts());
        assert_eq!(concluded.verdict, Verdict::Supported, "{concluded:?}");
        assert_eq!(
            concluded.answers.iter().map(|answer| answer.id.as_str()).collect::<Vec<_>>(),
            ["C3", "C3-threads"]
        );
        assert!(concluded.flips_when.unwrap().contains("700 MiB instead of 60 MiB"));
        let as_good = session(98.0, 19.6, 900.0, 880.0);
        assert_eq!(conclude(&as_good, &facts()).verdict, Verdict::Conditional);
        let poor = Facts { available_bytes: Some(500 << 20), ..facts() };
        assert_eq!(conclude(&as_good, &poor).verdict, Verdict::Supported);
    }

    #[test]
    fn the_mechanism_must_be_the_expected_one() {
        // The same ratio, but sync gains nothing from its workers.
        let concluded = conclude(&session(98.0, 90.0, 900.0, 500.0), &facts());
        assert_eq!(concluded.verdict, Verdict::Inconclusive);
        assert!(concluded.notes.last().unwrap().contains("something else limits it"));
        let wrong = Facts { little: Some(0.2), ..facts() };
        let concluded = conclude(&session(98.0, 19.6, 900.0, 500.0), &wrong);
        assert_eq!(concluded.verdict, Verdict::Inconclusive);
        assert!(concluded.notes.last().unwrap().contains("off by 20.0 %, 8 % are allowed"));
    }

    #[test]
    fn the_knee_is_known_without_the_ladder() {
        let mut blocks = session(98.0, 19.6, 900.0, 500.0);
        blocks.retain(|block| block.pair.is_some());
        let found = knee(&blocks).unwrap();
        assert!((found - 5.0).abs() < 0.2, "{found}");
        blocks.retain(|block| block.arm != ONE);
        assert_eq!(knee(&blocks), None);
    }

    #[test]
    fn one_block_is_no_contradiction_and_a_wrong_clock_is() {
        let arm = |found: &[f64]| BTreeMap::from([("sync 5x1".to_owned(), found.to_vec())]);
        let near = little(&arm(&[64.0, 63.5, 69.0, 64.2])).unwrap();
        assert!(near < 0.01, "{near}");
        let wrong = little(&arm(&[70.0, 71.0, 69.0])).unwrap();
        assert!(wrong > TOLERANCE, "{wrong}");
        assert_eq!(little(&BTreeMap::new()), None);
    }

    #[test]
    fn equal_models_contradict_nothing_and_show_no_effect() {
        let equal = session(98.0, 19.6, 99.0, 99.0);
        assert_eq!(conclude(&equal, &facts()).verdict, Verdict::NoMaterialEffect);
        let reversed = session(400.0, 80.0, 99.0, 99.0);
        assert_eq!(conclude(&reversed, &facts()).verdict, Verdict::Contradicted);
    }
}
