//! C9: a quota is not isolation. A check of the mechanism: it guards against a wrong idea of "isolated".

use super::{Claim, Finding, Requirement, ratio};
use crate::document::{Answer, Verdict};
use crate::experiment::{
    Arm, Block, Comparison, Condition, Load, Noise, Paired, Part, Purpose, Rate, Session, SessionError,
};
use crate::host::HostPlan;
use crate::probe;
use crate::statistics::verdict::{material, range};

pub(super) struct C9;

const APP: &str = "subject";
/// Requests of 2 ms of processor time, at random: a tenth of one core. These are what is judged.
const LIGHT: &str = "/cpu?ms=2";
const LIGHT_RATE: f64 = 50.0;
/// Two at once that need 50 ms each, every 200 ms: half of one core.
const HEAVY: &str = "/cpu?ms=50";
const EVERY_MS: u32 = 200;
const AT_ONCE: usize = 2;

impl Claim for C9 {
    fn id(&self) -> &'static str {
        "C9"
    }

    fn title(&self) -> &'static str {
        "a processor quota is not isolation: whoever comes after a burst pays for it"
    }

    fn expectation(&self) -> &'static str {
        "True for what follows a burst. Two parallel requests use up the quota of 100 ms in 50 ms; whoever comes in the rest of \
         the period waits for the next: p95 of light requests is 4 to 6 times that on a core of its own. The burst itself is \
         served earlier."
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
        let app =
            session.probe(probe::WSGI).set("workers", 2).set("concurrency", "threads").set("threads", 4);
        session.start(HostPlan::default().with(APP, app))?;
        let paired = session.compare(&Comparison {
            id: "C9".to_owned(),
            a: condition(Arm::Pinned),
            b: condition(Arm::Quota),
        })?;
        let (answer, primary) = paired.answer(
            "with a quota of one core, light requests after a burst are slower than on a core of one's own",
            "p95 of light requests, quota (I1) over a core of its own (I2)",
            material::LATENCY,
            |block: &Block| block.quantile(0.95),
        );
        let others = others(session)?;
        let mut finding = Finding {
            verdict: answer.verdict,
            sentence: sentence(&paired, &answer),
            flips_when: Some(
                "with requests that never run in parallel (one worker with one thread): then a quota of one core is never used up; \
                 or with a quota above what a burst needs in one period"
                    .to_owned(),
            ),
            shifts: paired.shift(session.options.seed).into_iter().collect(),
            answers: vec![answer],
            primary,
            ..Finding::default()
        };
        finding.notes.push(throttling(&paired));
        finding.notes.extend(others);
        if finding.verdict == Verdict::Supported {
            finding.notes.push(
                "so: weights, or a core of its own; a bare quota only as a cap on what is paid for"
                    .to_owned(),
            );
        }
        Ok(finding)
    }
}

fn condition(arm: Arm) -> Condition {
    let part = Part::Periodic {
        tenant: APP.to_owned(),
        target: HEAVY.to_owned(),
        every_ms: EVERY_MS,
        at_once: AT_ONCE,
    };
    Condition {
        name: format!("C9 {}", arm.code()),
        app: APP.to_owned(),
        arm,
        noise: Noise { name: "bursts of its own".to_owned(), parts: vec![part] },
        load: Load::of(LIGHT, Rate::Poisson(LIGHT_RATE)),
    }
}

fn sentence(paired: &Paired, answer: &Answer) -> String {
    let milliseconds = |of_b| ratio(paired.typical(of_b, |block| block.quantile(0.95) * 1e3));
    let times = answer.ratio.map_or_else(|| "?".to_owned(), ratio);
    format!(
        "p95 of light requests is {} ms with a quota of one core and {} ms on a core of its own ({times} times)",
        milliseconds(true),
        milliseconds(false)
    )
}

fn throttling(paired: &Paired) -> String {
    let share = paired.typical(true, |block| block.usage.throttled.unwrap_or(f64::NAN));
    let held = paired.typical(true, |block| block.usage.throttled_ms.unwrap_or(f64::NAN));
    format!(
        "with the quota it was throttled in {} % of the periods, {} ms in a block",
        ratio(share * 100.0),
        ratio(held)
    )
}

/// Exploratory: the same under fair shares without any quota, with burst, and with the quota that the program sets.
fn others(session: &mut Session<'_>) -> Result<Vec<String>, SessionError> {
    let mut notes = Vec::new();
    for arm in [Arm::FairShare, Arm::QuotaBurst, Arm::OwnQuota] {
        let (mut taken, mut throttled) = (Vec::new(), Vec::new());
        for _ in 0..session.options.effort.control {
            let seed = session.random.next_u64();
            let block = session.block(&condition(arm), seed, &Purpose::series("C9"))?;
            taken.push(block.trusted(|block| block.quantile(0.95) * 1e3));
            throttled.push(block.usage.throttled.unwrap_or(0.0) * 100.0);
        }
        notes.push(format!(
            "exploratory: {}: p95 {} ms, throttled in {} % of the periods",
            arm.title(),
            ratio(range(&taken).0),
            ratio(range(&throttled).0)
        ));
    }
    Ok(notes)
}
