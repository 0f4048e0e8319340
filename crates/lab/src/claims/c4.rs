//! C4: async has better throughput, and needs less memory for each request that is open.
//!
//! Three parts. (a) Throughput of waiting work against *threads*, as many as there are requests, so that no pool is what is
//! measured. (b) Memory against the number of requests held open. (c) What it costs: light requests of a loop wait for
//! heavy ones.

use std::time::Duration;

use super::c3::mebibytes;
use super::pairing::{Question, ask, judged, latency, median, middle, ratio, shown, throughput};
use super::rounds::{closed, ladder, quiet, roomy, rounds, shorter};
use super::{Claim, Finding, Requirement};
use crate::document::{Answer, Block, Latency, Verdict, bounds};
use crate::experiment::{Load, Rate, Session, SessionError};
use crate::host::{HostError, HostPlan};
use crate::load::mix::Request;
use crate::load::{self, LoadPlan, Mix, Outcome, Pace, RawRecords, StopRule, Watch};
use crate::probe;
use crate::statistics::trend::{Trend, theil_sen};
use crate::statistics::verdict::material;
use crate::statistics::{Interval, StatisticsError};

pub(super) const ASYNC: &str = "async 2";
/// For (a) and (b): a thread for every request.
pub(super) const THREADS: &str = "threads 2x256";
/// For (c): as one would configure it.
pub(super) const FEW_THREADS: &str = "threads 2x8";
pub(super) const SYNC: &str = "sync 5x1";

/// Requests at a time in (a); the first is the one that counts.
pub(super) const RUNGS: [u32; 2] = [64, 256];
/// Requests held open in (b).
pub(super) const HELD: [u32; 4] = [0, 32, 128, 512];
/// In (c): heavy and light requests, and their share.
pub(super) const HEAVY_MS: f64 = 50.0;
pub(super) const LIGHT_MS: f64 = 5.0;
pub(super) const HEAVY_SHARE: f64 = 0.05;
pub(super) const MIXED: &str = "mixed";

/// Requests per second of (c): 0.05 x 50 ms and what everything else costs use about half of two cores.
const MIXED_RATE: f64 = 250.0;
const LIGHT: &str = "light p95";
/// How long requests of (b) are held open, and after how long it is looked at memory.
const HOLD: Duration = Duration::from_millis(1_200);
const LOOK: Duration = Duration::from_millis(900);
const REPEATS: u32 = 2;
/// Threads of each of two workers in (a), and at most in (b).
const MOST_THREADS: u32 = 256;
const RESTART: Duration = Duration::from_secs(125);
/// Workers of (b) for sync.
const WORKERS: [u32; 4] = [1, 2, 3, 5];

/// Threads need at least so many times the memory of async for each open request, and sync workers so many times.
const LESS_THAN_THREADS: f64 = 2.0;
const LESS_THAN_SYNC: f64 = 20.0;

const EXPECTATION: &str = "throughput of waiting work: no material difference between a loop and enough threads, both \
    wait for the same thing; memory: less than half of what threads need for each open request, and a twentieth of sync; \
    light requests beside heavy ones: worse than threads, because a loop runs one thing at a time to its end";

/// The claim.
pub(super) struct C4;

impl Claim for C4 {
    fn id(&self) -> &'static str {
        "C4"
    }

    fn title(&self) -> &'static str {
        "async has better throughput, and needs less memory for each open request"
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

/// Memory of all workers of an arm at a moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) arm: String,
    /// Open requests; for sync, workers.
    pub(super) open: u32,
    pub(super) bytes: u64,
}

/// # Errors
/// The session cannot go on.
pub(super) fn run(session: &mut Session<'_>) -> Result<Finding, SessionError> {
    let first = session.document.blocks.len();
    session.start(plan(session, MOST_THREADS))?;
    // Memory first: threads that have once run keep their stacks.
    let mut held = Vec::new();
    for repeat in 0..REPEATS {
        for (arm, app) in [(ASYNC, "async"), (THREADS, "threads")] {
            session.progress.step(repeat as usize, REPEATS as usize, "C4b");
            held.extend(slope(session, arm, app)?);
        }
    }
    let most = plan(session, MOST_THREADS);
    session.host()?.apply(most)?;
    for workers in WORKERS {
        session.check()?;
        session.host()?.scale("sync", workers)?;
        let bytes = resident(&session.host()?.workers("sync")?);
        held.push(Held { arm: SYNC.to_owned(), open: workers, bytes });
    }
    let speed = |connections: u32| {
        [(THREADS, "threads"), (ASYNC, "async")]
            .map(|(name, app)| quiet(name, app, &connections.to_string(), closed("/io?ms=50", connections)))
    };
    shorter(session, 0.4, |session| {
        rounds(session, "C4a", &speed(RUNGS[0]), |_, _| {})?;
        ladder(session, "C4a-wide", &speed(RUNGS[1])).map(drop)
    })?;
    let targets = [(LIGHT_MS, "io", 1.0 - HEAVY_SHARE), (HEAVY_MS, "cpu", HEAVY_SHARE)];
    let targets = targets.map(|(ms, route, share)| (format!("/{route}?ms={ms}"), share));
    let load = Load { targets: targets.into(), rate: Rate::Poisson(MIXED_RATE) };
    let mixed = [(ASYNC, "async"), (FEW_THREADS, "few"), (SYNC, "sync")]
        .map(|(name, app)| quiet(name, app, MIXED, load.clone()));
    shorter(session, 0.5, |session| {
        rounds(session, "C4c", &mixed, |session, block| {
            let p95 = Latency::new(block.quantile_of(0, 0.95) * 1e3);
            if let (Some(row), Some(p95)) = (session.document.blocks.last_mut(), p95) {
                row.latency_ms.insert(LIGHT.to_owned(), p95);
            }
        })
    })?;
    session.stop()?;
    Ok(conclude(&session.document.blocks[first..], &held))
}

fn plan(session: &Session<'_>, threads: u32) -> HostPlan {
    let wsgi = roomy(session.probe(probe::WSGI));
    HostPlan::default()
        .with("sync", wsgi.clone().set("workers", 5))
        .with("few", wsgi.clone().set("workers", 2).set("threads", 8))
        .with("threads", wsgi.set("workers", 2).set("threads", threads))
        .with("async", roomy(session.probe(probe::ASGI)).set("workers", 2))
}

/// Memory of fresh workers with more and more requests held open. Threads are there before their requests are: each level
/// has as many as it needs.
fn slope(session: &mut Session<'_>, arm: &str, app: &str) -> Result<Vec<Held>, SessionError> {
    if arm == ASYNC {
        let restart = format!("/v1/apps/{app}/restart");
        let answer = session.host()?.control().post::<serde_json::Value>(&restart, None, RESTART);
        answer.map_err(HostError::from)?;
        session.host()?.settle()?;
    }
    let mut found = Vec::new();
    for open in HELD {
        session.check()?;
        if arm == THREADS {
            let plan = plan(session, (open / 2).max(1));
            session.host()?.apply(plan)?;
        }
        let endpoint = session.host()?.endpoint();
        let pids = session.host()?.workers(app)?;
        // Also without held requests: the first one loads what is loaded late.
        let connections = open.max(2);
        let target =
            if open == 0 { "/hold?s=0".to_owned() } else { format!("/hold?s={}", HOLD.as_secs_f64()) };
        let request = Request::new("GET", &HostPlan::authority(app), &target, &[], b"")?;
        let load = LoadPlan {
            endpoint,
            mix: Mix::single(request),
            pace: Pace::Closed { connections: connections as usize },
            stop: StopRule { duration: LOOK, requests: Some(u64::from(connections)) },
            limits: load::Limits::default(),
            seed: 1,
            realtime: false,
            arm: 0,
            block: 0,
        };
        let generator = std::thread::spawn(move || {
            let mut records = RawRecords::default();
            load::run(&load, &mut records, &Watch::default()).map(|_| records)
        });
        std::thread::sleep(LOOK);
        let bytes = resident(&pids);
        let records =
            generator.join().map_err(|_| SessionError::Other("the load generator panicked".to_owned()))??;
        // Those that were open when it was looked at memory.
        let look = LOOK.as_nanos() as u64;
        let were_open = records
            .records()
            .iter()
            .filter(|record| record.outcome == Outcome::Answered && record.sent < look && record.done > look);
        let open = u32::try_from(were_open.count()).unwrap_or(u32::MAX);
        found.push(Held { arm: arm.to_owned(), open, bytes });
    }
    Ok(found)
}

/// Memory of processes, what they share counted in parts (`Pss`), in bytes.
fn resident(pids: &[u32]) -> u64 {
    let one = |pid: &u32| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    pids.iter().filter_map(one).sum::<u64>() * 1024
}

/// The verdict of all three parts.
#[must_use]
pub(super) fn conclude(blocks: &[Block], held: &[Held]) -> Finding {
    let at = |rung: u32| {
        let phase = rung.to_string();
        blocks.iter().filter(|block| block.phase.as_deref() == Some(&phase)).cloned().collect::<Vec<_>>()
    };
    let speed = |id, primary| Question {
        id,
        question: "an event loop answers more waiting requests than threads do",
        metric: "requests/s",
        a: THREADS,
        b: ASYNC,
        material: material::THROUGHPUT,
        primary,
    };
    let narrow = at(RUNGS[0]);
    let a = ask(&speed("C4a", true), &narrow, throughput);
    let judgement = judged(&speed("C4a", true), &narrow, throughput);
    let wide = ask(&speed("C4a-wide", false), &at(RUNGS[1]), throughput);
    let memory = memory(held);
    let mixed: Vec<Block> =
        blocks.iter().filter(|block| block.phase.as_deref() == Some(MIXED)).cloned().collect();
    let light = |id, question, b| {
        let question = Question {
            id,
            question,
            metric: "p95 of light requests",
            a: b,
            b: ASYNC,
            material: material::LATENCY,
            primary: false,
        };
        ask(&question, &mixed, latency(LIGHT))
    };
    let c = light("C4c", "light requests of an event loop wait longer than those of threads", FEW_THREADS);
    let c_sync =
        light("C4c-sync", "light requests of an event loop wait longer than those of sync workers", SYNC);
    let finding = Finding {
        verdict: together(a.verdict, memory.answer.verdict),
        sentence: format!(
            "throughput over threads: {} times; memory of an open request: {} with async, {} with threads, {} with sync workers",
            ratio(&a),
            kibibytes(memory.of_async.as_ref()),
            kibibytes(memory.of_threads.as_ref()),
            kibibytes(memory.of_sync.as_ref()),
        ),
        flips_when: Some(flips(&wide, &c, blocks)),
        notes: memory.notes,
        primary: judgement,
        ..Finding::default()
    };
    let rest = [wide, c_sync].into_iter().filter(|answer| answer.pairs > 0);
    let answers = [a, memory.answer, c].into_iter().chain(rest).collect();
    Finding { answers, ..finding }
}

/// Both halves of the sentence must hold.
fn together(throughput: Verdict, memory: Verdict) -> Verdict {
    match (throughput, memory) {
        (one, other) if one == other => one,
        (Verdict::Inconclusive, _) | (_, Verdict::Inconclusive) => Verdict::Inconclusive,
        (Verdict::Supported, _) | (_, Verdict::Supported) => Verdict::Conditional,
        _ => Verdict::Contradicted,
    }
}

fn flips(wide: &Answer, light: &Answer, blocks: &[Block]) -> String {
    let p95 = |arm| shown(middle(blocks, arm, latency(LIGHT)), 1);
    let mixed = format!(
        "with {:.0} % requests of {HEAVY_MS:.0} ms processor time among light ones, p95 of the light ones is {} ms with async, \
         {} ms with threads, {} ms with sync workers ({} times threads)",
        HEAVY_SHARE * 100.0,
        p95(ASYNC),
        p95(FEW_THREADS),
        p95(SYNC),
        ratio(light)
    );
    format!("{mixed}; at {} at a time async answers {} times what threads do", RUNGS[1], ratio(wide))
}

struct Memory {
    answer: Answer,
    of_async: Option<Trend>,
    of_threads: Option<Trend>,
    of_sync: Option<Trend>,
    notes: Vec<String>,
}

/// Part (b). Ratios of slopes, with the widest interval that both slopes' intervals allow.
fn memory(held: &[Held]) -> Memory {
    let slope = |arm: &str| {
        let points: Vec<(f64, f64)> = held
            .iter()
            .filter(|held| held.arm == arm)
            .map(|held| (f64::from(held.open), held.bytes as f64))
            .collect();
        theil_sen(&points, 0.95)
    };
    let (of_async, of_threads, of_sync) = (slope(ASYNC), slope(THREADS), slope(SYNC));
    let mut answer = Answer {
        id: "C4b".into(),
        question: "threads need at least twice the memory of an event loop for each open request".into(),
        metric: "bytes for each open request".into(),
        a: ASYNC.into(),
        b: THREADS.into(),
        delta: Some(LESS_THAN_THREADS),
        verdict: Verdict::Inconclusive,
        pairs: u32::try_from(held.iter().filter(|held| held.arm == ASYNC).count()).unwrap_or(u32::MAX),
        ..Answer::default()
    };
    match over(&of_threads, &of_async) {
        Ok((ratio, interval)) => {
            let sync = over(&of_sync, &of_async).map_or(f64::INFINITY, |(ratio, _)| ratio);
            answer.ratio = Some(ratio);
            answer.ci = bounds(interval);
            answer.level = Some(interval.level);
            (answer.verdict, answer.because) = judge(ratio, interval, sync);
        }
        Err(why) => answer.because = Some(why),
    }
    let levels = |arm: &str| {
        let mut open: Vec<u32> = held.iter().filter(|held| held.arm == arm).map(|held| held.open).collect();
        open.sort_unstable();
        open.dedup();
        let at = |&open: &u32| {
            let found = held.iter().filter(|held| held.arm == arm && held.open == open);
            let bytes = median(&found.map(|held| held.bytes as f64).collect::<Vec<_>>());
            format!("{open}: {}", mebibytes(bytes.map(|bytes| bytes as u64)))
        };
        format!("memory of {arm}, by open requests: {}", open.iter().map(at).collect::<Vec<_>>().join(", "))
    };
    let mut notes: Vec<String> = [ASYNC, THREADS].map(levels).into();
    notes.push(levels(SYNC).replace("open requests", "workers"));
    Memory { answer, of_async: of_async.ok(), of_threads: of_threads.ok(), of_sync: of_sync.ok(), notes }
}

type Slope = Result<Trend, StatisticsError>;

fn over(upper: &Slope, lower: &Slope) -> Result<(f64, Interval), String> {
    let (upper, lower) = match (upper, lower) {
        (Ok(upper), Ok(lower)) => (upper, lower),
        (Err(error), _) | (_, Err(error)) => return Err(error.to_string()),
    };
    if lower.slope <= 0.0 || upper.slope <= 0.0 {
        return Err("memory did not grow with the open requests".into());
    }
    let low = upper.interval.low.max(0.0) / lower.interval.high;
    let high =
        if lower.interval.low > 0.0 { upper.interval.high / lower.interval.low } else { f64::INFINITY };
    Ok((upper.slope / lower.slope, Interval { low, high, level: upper.interval.level }))
}

fn judge(ratio: f64, interval: Interval, sync: f64) -> (Verdict, Option<String>) {
    if ratio >= LESS_THAN_THREADS && interval.low > 1.0 {
        return if sync >= LESS_THAN_SYNC {
            (Verdict::Supported, None)
        } else {
            let why = format!(
                "less than threads, but a sync worker needs only {sync:.0} times as much as an open request"
            );
            (Verdict::Conditional, Some(why))
        };
    }
    if ratio <= 1.0 / LESS_THAN_THREADS && interval.high < 1.0 {
        return (Verdict::Contradicted, None);
    }
    if interval.is_within(1.0 / LESS_THAN_THREADS, LESS_THAN_THREADS) {
        return (Verdict::NoMaterialEffect, None);
    }
    (Verdict::Inconclusive, Some("the slopes are not known well enough to tell their ratio from 1".into()))
}

fn kibibytes(slope: Option<&Trend>) -> String {
    format!("{} KiB", shown(slope.map(|slope| slope.slope / 1024.0), 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use crate::claims::pairing::simulated::{block, slow};
    use crate::document::Latency;

    /// Two measurements of each level, `noise` bytes of deviation.
    fn held(of_async: f64, of_threads: f64, of_sync: f64, noise: f64) -> Vec<Held> {
        let mut random = Random::new(8);
        let mut points = Vec::new();
        for (arm, slope, levels) in
            [(ASYNC, of_async, HELD), (THREADS, of_threads, HELD), (SYNC, of_sync, [1, 2, 3, 5])]
        {
            for open in levels.into_iter().chain(levels) {
                let bytes = 3e7 + slope * f64::from(open) + noise * random.normal();
                points.push(Held { arm: arm.into(), open, bytes: bytes as u64 });
            }
        }
        points
    }

    fn blocks(speed: f64, wobble: f64) -> Vec<Block> {
        let mut random = Random::new(2);
        let mut blocks = Vec::new();
        for pair in 0..8 {
            for rung in RUNGS {
                for (arm, rate) in [(THREADS, 1_000.0), (ASYNC, 1_000.0 * speed)] {
                    let block = block(arm, Some(pair), rate, 0.02, &mut random);
                    blocks.push(Block { phase: Some(rung.to_string()), ..block });
                }
            }
            for (arm, p95) in [(ASYNC, 10.0 * wobble), (FEW_THREADS, 10.0), (SYNC, 12.0)] {
                let mut block = slow(arm, pair, p95, 0.05, &mut random);
                let light = block.latency_ms.remove("p95").map(Latency::milliseconds).and_then(Latency::new);
                block.latency_ms.insert(LIGHT.into(), light.unwrap());
                blocks.push(Block { phase: Some(MIXED.into()), ..block });
            }
        }
        blocks
    }

    #[test]
    fn the_expected_world_is_conditional() {
        let concluded = conclude(&blocks(1.0, 2.0), &held(40e3, 140e3, 14e6, 2e5));
        let verdicts: Vec<Verdict> = concluded.answers.iter().map(|answer| answer.verdict).collect();
        assert_eq!(verdicts[..3], [Verdict::NoMaterialEffect, Verdict::Supported, Verdict::Supported]);
        assert_eq!(concluded.verdict, Verdict::Conditional);
        assert!(concluded.sentence.contains("KiB with async"), "{}", concluded.sentence);
        assert!((concluded.answers[1].ratio.unwrap() - 3.5).abs() < 0.2);
        assert!(concluded.flips_when.unwrap().contains("with 5 % requests of 50 ms"));
    }

    #[test]
    fn both_halves_count() {
        let verdict =
            |speed, of_threads| conclude(&blocks(speed, 1.0), &held(40e3, of_threads, 14e6, 2e5)).verdict;
        assert_eq!(verdict(1.5, 140e3), Verdict::Supported);
        assert_eq!(verdict(0.5, 10e3), Verdict::Contradicted);
        assert_eq!(verdict(1.0, 45e3), Verdict::NoMaterialEffect);
        assert_eq!(verdict(1.0, 10e3), Verdict::Contradicted);
    }

    #[test]
    fn unknown_slopes_decide_nothing() {
        let noisy = conclude(&blocks(1.0, 1.0), &held(40e3, 140e3, 14e6, 3e7));
        assert_eq!(noisy.answers[1].verdict, Verdict::Inconclusive, "{:?}", noisy.answers[1]);
        let none = conclude(&blocks(1.0, 1.0), &[]);
        assert_eq!((none.answers[1].verdict, none.answers[1].ratio), (Verdict::Inconclusive, None));
        assert!(none.sentence.contains("? KiB with async"));
        let flat = conclude(&blocks(1.0, 1.0), &held(0.0, 0.0, 0.0, 0.0));
        assert!(flat.answers[1].because.as_ref().unwrap().contains("did not grow"));
    }

    #[test]
    fn sync_workers_must_be_dear() {
        let concluded = conclude(&blocks(1.5, 1.0), &held(40e3, 140e3, 4e5, 2e4));
        assert_eq!(concluded.answers[1].verdict, Verdict::Conditional);
    }
}
