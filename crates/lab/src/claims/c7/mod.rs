//! C7: models differ in how they treat connections: how many they hold, what becomes of work whose client has left, how long a
//! slow reader keeps a worker.
//!
//! Direct against hosted. *Direct* is a server of the standard library without a router in front ([`crate::probe::Direct`]):
//! what sync workers, threads and event loops do with connections by themselves. *Hosted* is the same application in this
//! program. The claim is about the models, so it is tested on direct servers; what is left of it behind the router is the
//! condition under which it flips.

mod clients;
mod instruments;

use super::pairing::{median, shown};
use super::{Claim, Finding, Requirement};
use crate::document::{Answer, Verdict};
use crate::experiment::{Session, SessionError};

use instruments::run;

/// Connections that are held, half of them idle, half with an unfinished head.
pub(super) const LADDER: [u32; 7] = [0, 4, 8, 16, 64, 256, 1_024];
/// What direct servers are made of.
pub(super) const PROCESSES: u32 = 5;
pub(super) const THREADS: u32 = 40;

/// Largest over smallest number of connections from which the models are said to differ.
const DIFFERS: f64 = 4.0;
/// A level is held when so many probes are answered, and p95 is at most so many times that without connections.
const ANSWERED: f64 = 0.99;
const SLOWER: f64 = 2.0;
/// Below this, in milliseconds, nobody notices: a p95 of 0.5 ms may grow more than twice.
const UNNOTICED: f64 = 10.0;
/// Occupancy by formula and by measurement agree within this share, or within so many seconds.
const CLOSE: f64 = 0.2;
const CLOSE_SECONDS: f64 = 0.15;

const EXPECTATION: &str = "direct: sync holds one connection less than it has workers, threads one less than threads, an \
    event loop as many as descriptors; a slow reader keeps a direct worker until all but a socket buffer is read; work whose \
    client has left goes on. Behind a buffering router nearly nothing of this is left";

/// The claim.
pub(super) struct C7;

impl Claim for C7 {
    fn id(&self) -> &'static str {
        "C7"
    }

    fn title(&self) -> &'static str {
        "models differ in how they treat connections"
    }

    fn expectation(&self) -> &'static str {
        EXPECTATION
    }

    fn requirements(&self) -> &'static [Requirement] {
        &[Requirement::Cores(2)]
    }

    fn run(&self, session: &mut Session<'_>) -> Result<Finding, SessionError> {
        run(session)
    }
}

/// Who holds connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Model {
    Sync,
    Threads,
    Async,
}

impl Model {
    pub(super) const ALL: [Model; 3] = [Model::Sync, Model::Threads, Model::Async];

    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Model::Sync => "sync",
            Model::Threads => "threads",
            Model::Async => "async",
        }
    }
}

/// One level of the ladder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    pub(super) model: Model,
    pub(super) hosted: bool,
    pub(super) repeat: u32,
    pub(super) connections: u32,
    /// Share of probes that were answered.
    pub(super) answered: f64,
    /// Infinite when it fell among failed probes.
    pub(super) p95_ms: f64,
}

/// How long a worker was kept by a slow reader.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Occupancy {
    pub(super) hosted: bool,
    pub(super) bytes: u64,
    /// Bytes per second that the reader takes.
    pub(super) rate: f64,
    /// What takes bytes without the worker: socket buffers, and the router's.
    pub(super) buffers: u64,
    pub(super) seconds: f64,
}

impl Occupancy {
    #[must_use]
    pub(super) fn predicted(&self) -> f64 {
        self.bytes.saturating_sub(self.buffers) as f64 / self.rate
    }

    fn is_as_predicted(&self) -> bool {
        let off = (self.seconds - self.predicted()).abs();
        off <= CLOSE_SECONDS.max(CLOSE * self.predicted())
    }
}

/// What became of work whose client has left, or whose time was up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Abandoned {
    pub(super) model: Model,
    pub(super) hosted: bool,
    /// The router ended it; otherwise the client left.
    pub(super) timed_out: bool,
    /// What the client got.
    pub(super) status: Option<u16>,
    /// Processor time of the worker before and after nobody waited any more, in seconds.
    pub(super) cpu_before: f64,
    pub(super) cpu_after: f64,
    /// The worker was replaced.
    pub(super) replaced: bool,
    /// Requests beside it in the same worker, and those of them that failed.
    pub(super) beside: u32,
    pub(super) beside_failed: u32,
}

impl Abandoned {
    /// Share of its processor time that was used for nobody.
    #[must_use]
    pub(super) fn zombie(&self) -> f64 {
        let total = self.cpu_before + self.cpu_after;
        if total > 0.0 { self.cpu_after / total } else { 0.0 }
    }
}

/// What an application got while a neighbour took connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Beside {
    /// The neighbour's own limit of connections; none.
    pub(super) capped: Option<u32>,
    pub(super) held: u32,
    pub(super) answered: f64,
    pub(super) p95_ms: f64,
    /// Connections that the kernel refused because the accept queue was full.
    pub(super) overflows: u64,
}

/// Everything that was measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Measured {
    pub(super) levels: Vec<Level>,
    pub(super) occupancies: Vec<Occupancy>,
    pub(super) abandoned: Vec<Abandoned>,
    pub(super) beside: Vec<Beside>,
    pub(super) notes: Vec<String>,
}

/// Largest number of connections of a ladder beside which the server still answered, before the first at which it did
/// not. None without the level of no connections.
#[must_use]
pub(super) fn held(levels: &[Level], model: Model, hosted: bool, repeat: u32) -> Option<u32> {
    let mut rungs: Vec<&Level> = levels
        .iter()
        .filter(|level| (level.model, level.hosted, level.repeat) == (model, hosted, repeat))
        .collect();
    rungs.sort_by_key(|level| level.connections);
    let quiet = rungs.first().filter(|level| level.connections == 0)?.p95_ms;
    let allowed = (SLOWER * quiet).max(UNNOTICED);
    let fine = rungs.iter().take_while(|level| level.answered >= ANSWERED && level.p95_ms <= allowed);
    fine.last().map(|level| level.connections)
}

/// Largest over smallest over the models, in each repeat that has all of them. Nothing held counts as one.
fn spreads(levels: &[Level], hosted: bool) -> Vec<f64> {
    let repeats = levels.iter().map(|level| level.repeat + 1).max().unwrap_or(0);
    let spread = |repeat| {
        let all: Option<Vec<u32>> =
            Model::ALL.iter().map(|&model| held(levels, model, hosted, repeat)).collect();
        let all = all?;
        let bound = |value: Option<&u32>| f64::from(value.copied().unwrap_or(0).max(1));
        Some(bound(all.iter().max()) / bound(all.iter().min()))
    };
    (0..repeats).filter_map(spread).collect()
}

/// All repeats must be on one side.
fn differs(spreads: &[f64]) -> Verdict {
    match spreads {
        [] | [_] => Verdict::Inconclusive,
        some if some.iter().all(|&spread| spread >= DIFFERS) => Verdict::Supported,
        some if some.iter().all(|&spread| spread < DIFFERS) => Verdict::NoMaterialEffect,
        _ => Verdict::Inconclusive,
    }
}

#[must_use]
pub(super) fn conclude(measured: &Measured) -> Finding {
    let (direct, hosted) = (spreads(&measured.levels, false), spreads(&measured.levels, true));
    let answer = |id: &str, question: &str, spreads: &[f64]| Answer {
        id: id.into(),
        question: question.into(),
        metric: "connections held beside which it still answers, largest over smallest of the models".into(),
        ratio: median(spreads),
        pairs: u32::try_from(spreads.len()).unwrap_or(u32::MAX),
        delta: Some(DIFFERS),
        verdict: differs(spreads),
        because: (spreads.len() < 2).then(|| format!("{} complete ladders, 2 are needed", spreads.len())),
        ..Answer::default()
    };
    let mut answers = vec![
        answer("C7", "without a router, models differ in the connections they can hold", &direct),
        answer(
            "C7-hosted",
            "behind this program's router, models differ in the connections they can hold",
            &hosted,
        ),
    ];
    answers.extend(occupancy(&measured.occupancies));
    let most = |hosted| {
        let one = |&model: &Model| {
            let found: Vec<f64> = (0..2)
                .filter_map(|repeat| held(&measured.levels, model, hosted, repeat))
                .map(f64::from)
                .collect();
            format!("{} {}", model.name(), shown(median(&found), 0))
        };
        Model::ALL.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let mut notes: Vec<String> = measured.occupancies.iter().map(occupancy_note).collect();
    notes.extend(measured.abandoned.iter().map(abandoned_note));
    notes.extend(measured.beside.iter().map(beside_note));
    notes.extend(measured.notes.iter().cloned());
    Finding {
        verdict: answers[0].verdict,
        sentence: format!("connections beside which it still answers, without a router: {}", most(false)),
        flips_when: Some(format!(
            "behind the router, which takes no worker for a request that is not complete, they hold: {}; the limit is then \
             that of the router",
            most(true)
        )),
        notes,
        answers,
        ..Finding::default()
    }
}

/// A router that buffers lets the worker go: direct over hosted, for each size of the answer.
fn occupancy(occupancies: &[Occupancy]) -> Vec<Answer> {
    let mut sizes: Vec<u64> = occupancies.iter().map(|one| one.bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let one = |&bytes: &u64| {
        let of = |hosted| {
            let found = occupancies.iter().filter(move |one| one.bytes == bytes && one.hosted == hosted);
            found.copied().collect::<Vec<_>>()
        };
        let seconds = |all: &[Occupancy]| median(&all.iter().map(|one| one.seconds).collect::<Vec<_>>());
        let (direct, hosted) = (of(false), of(true));
        // Shorter than can be told from nothing counts as that.
        let ratio = seconds(&direct)? / seconds(&hosted)?.max(CLOSE_SECONDS);
        let formula = direct.iter().chain(&hosted).all(Occupancy::is_as_predicted);
        let (verdict, because) = match (ratio >= DIFFERS, formula) {
            (true, true) => (Verdict::Supported, None),
            (true, false) => (
                Verdict::Inconclusive,
                Some("the time is not that of the buffers: something else keeps the worker".to_owned()),
            ),
            (false, _) => (Verdict::NoMaterialEffect, None),
        };
        Some(Answer {
            id: format!("C7-buffers-{}", bytes >> 10),
            question: format!("a slow reader of {} KiB keeps a worker longer without a router", bytes >> 10),
            metric: "seconds, direct over hosted".into(),
            a: "hosted".into(),
            b: "direct".into(),
            ratio: Some(ratio),
            delta: Some(DIFFERS),
            pairs: u32::try_from(direct.len().min(hosted.len())).unwrap_or(u32::MAX),
            verdict,
            because,
            ..Answer::default()
        })
    };
    sizes.iter().filter_map(one).collect()
}

fn place(hosted: bool) -> &'static str {
    if hosted { "hosted" } else { "direct" }
}

fn occupancy_note(one: &Occupancy) -> String {
    format!(
        "a reader of {:.0} KiB/s kept a worker for {:.2} s with {} KiB ({}; {:.2} s by the size of the buffers)",
        one.rate / 1024.0,
        one.seconds,
        one.bytes >> 10,
        place(one.hosted),
        one.predicted()
    )
}

fn abandoned_note(one: &Abandoned) -> String {
    let what = if one.timed_out { "time was up" } else { "its client left" };
    let status = one.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let worker = if one.replaced { "; the worker was replaced" } else { "" };
    format!(
        "{} {}, {what} ({status}): {:.0} % of the processor time was used for nobody{worker}; {} of {} requests beside it failed",
        place(one.hosted),
        one.model.name(),
        one.zombie() * 100.0,
        one.beside_failed,
        one.beside
    )
}

fn beside_note(one: &Beside) -> String {
    let cap = one.capped.map_or_else(|| "without a limit".to_owned(), |cap| format!("limited to {cap}"));
    let p95 = if one.p95_ms.is_finite() { format!(", p95 {:.1} ms", one.p95_ms) } else { String::new() };
    format!(
        "a neighbour ({cap}) that holds {} connections: {:.0} % of the other's requests answered{p95}, {} connections refused by the kernel",
        one.held,
        one.answered * 100.0,
        one.overflows
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ladder of a server that holds so many.
    fn ladder(model: Model, hosted: bool, repeat: u32, holds: u32) -> Vec<Level> {
        let level = |connections: u32| Level {
            model,
            hosted,
            repeat,
            connections,
            answered: if connections <= holds { 1.0 } else { 0.0 },
            p95_ms: if connections <= holds { 3.0 } else { f64::INFINITY },
        };
        LADDER.into_iter().map(level).collect()
    }

    fn levels(direct: [u32; 3], hosted: [u32; 3]) -> Vec<Level> {
        let mut levels = Vec::new();
        for repeat in 0..2 {
            for (holds, hosted) in [(direct, false), (hosted, true)] {
                for (model, holds) in Model::ALL.into_iter().zip(holds) {
                    levels.extend(ladder(model, hosted, repeat, holds));
                }
            }
        }
        levels
    }

    #[test]
    fn what_is_held_is_found() {
        let of = |holds| held(&ladder(Model::Sync, false, 0, holds), Model::Sync, false, 0);
        assert_eq!([of(4), of(39), of(1_024), of(3)], [Some(4), Some(16), Some(1_024), Some(0)]);
        assert_eq!(held(&[], Model::Sync, false, 0), None);
        // Answered, but too slow.
        let mut slow = ladder(Model::Sync, false, 0, 1_024);
        slow[3].p95_ms = 11.0;
        assert_eq!(held(&slow, Model::Sync, false, 0), Some(8));
        slow[0].p95_ms = 6.0;
        assert_eq!(held(&slow, Model::Sync, false, 0), Some(1_024));
    }

    #[test]
    fn models_differ_directly_and_not_behind_a_router() {
        let measured = Measured { levels: levels([4, 39, 1_024], [1_024; 3]), ..Measured::default() };
        let concluded = conclude(&measured);
        assert_eq!(concluded.verdict, Verdict::Supported);
        assert_eq!(concluded.answers[1].verdict, Verdict::NoMaterialEffect);
        assert!(concluded.sentence.ends_with("sync 4, threads 16, async 1024"), "{}", concluded.sentence);
        let same = Measured { levels: levels([64; 3], [64; 3]), ..Measured::default() };
        assert_eq!(conclude(&same).verdict, Verdict::NoMaterialEffect);
        let mut mixed = levels([4, 39, 1_024], [64; 3]);
        mixed.retain(|level| level.hosted || level.repeat == 0 || level.model != Model::Async);
        assert_eq!(
            conclude(&Measured { levels: mixed.clone(), ..Measured::default() }).verdict,
            Verdict::Inconclusive
        );
        mixed.extend(ladder(Model::Async, false, 1, 4));
        let mixed = Measured { levels: mixed, ..Measured::default() };
        assert_eq!(conclude(&mixed).verdict, Verdict::Supported, "16 over 4 is enough");
    }

    #[test]
    fn a_slow_reader_is_the_buffers_size() {
        let one = |hosted, buffers: u64, seconds| Occupancy {
            hosted,
            bytes: 512 << 10,
            rate: 262_144.0,
            buffers: buffers << 10,
            seconds,
        };
        let verdict = |direct, hosted| {
            let measured = Measured {
                occupancies: vec![one(false, 128, direct), one(true, 640, hosted)],
                ..Measured::default()
            };
            conclude(&measured).answers[2].verdict
        };
        assert_eq!(verdict(1.5, 0.01), Verdict::Supported);
        assert_eq!(verdict(3.0, 0.01), Verdict::Inconclusive, "not by the formula");
        assert_eq!(verdict(1.5, 1.4), Verdict::NoMaterialEffect);
    }

    #[test]
    fn work_for_nobody_has_a_share() {
        let one = Abandoned {
            model: Model::Threads,
            hosted: false,
            timed_out: false,
            status: None,
            cpu_before: 0.2,
            cpu_after: 0.8,
            replaced: false,
            beside: 3,
            beside_failed: 0,
        };
        let measured = Measured { abandoned: vec![one], ..Measured::default() };
        assert!(conclude(&measured).notes[0].contains("direct threads, its client left (no answer): 80 %"));
    }
}
