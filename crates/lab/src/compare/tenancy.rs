//! What neighbours do to it: shared against a core of its own, when they are quiet and when each of two takes all it can get.

use super::models::{self, Model};
use super::{CompareError, Known, NEIGHBOURS, SUBJECT, Subject, Wishes, load};
use crate::document::Answer;
use crate::experiment::{Arm, Block, Comparison, Condition, Noise, Part, Rate, Session, SessionError};
use crate::host::HostPlan;
use crate::neighbour::Work;
use crate::statistics::verdict::material;

/// Of one core, for the application.
const SHARE: f64 = 0.5;
/// Of what it can do at all: waiting applications are limited by something else than processors.
const OF_HIGHEST: f64 = 0.5;
const RATES: (f64, f64) = (5.0, 1_000.0);

const MIB: u64 = 1 << 20;
/// So many times what its workers had under load, and at least so much, so that its limit of memory does not matter here.
const ROOM: u64 = 3;
const LEAST_MEMORY_MIB: u64 = 512;

/// What came of it. Seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    pub(super) rate: f64,
    pub(super) quiet: Option<Answer>,
    pub(super) noisy: Option<Answer>,
    /// p95 and p95 - p50 of shared and isolated, quiet and noisy.
    pub(super) p95: [[f64; 2]; 2],
    pub(super) spread: [[f64; 2]; 2],
    pub(super) not_testable: Option<String>,
}

pub(super) fn measure(
    session: &mut Session<'_>,
    subject: &Subject,
    wishes: &Wishes,
    found: &mut Known,
) -> Result<(), CompareError> {
    let Some(best) = models::best(&found.models).cloned() else { return Ok(()) };
    let rate = wishes.rate.unwrap_or_else(|| {
        let by_cpu = SHARE / found.cpu_seconds.max(1e-6);
        // Where no rung of its ladder counts, its capacity is not known.
        let by_capacity = if best.throughput > 0.0 { OF_HIGHEST * best.throughput } else { f64::INFINITY };
        by_cpu.min(by_capacity).clamp(RATES.0, RATES.1)
    });
    let mut copy = of_one(best.model).apply(&subject.plan);
    // An isolated one has a limit by default, and what is compared is not that.
    let peak = best.worker_bytes.unwrap_or(0) * u64::from(best.model.workers);
    copy = copy.limit("memory", format!("{}MiB", (ROOM * peak / MIB).max(LEAST_MEMORY_MIB)));
    let plan = models::neighbours(session, HostPlan::default().with(SUBJECT, copy));
    session.start(plan)?;
    session.document.method.rate = Some(rate);
    let mut measured = Measured { rate, ..Measured::default() };
    for (index, noise) in [Noise::quiet(), noisy()].into_iter().enumerate() {
        let condition = |arm: Arm| Condition {
            name: format!("{}, {}", if arm == Arm::Pinned { "isolated" } else { "shared" }, noise.name),
            app: SUBJECT.to_owned(),
            arm,
            noise: noise.clone(),
            load: load(&found.survey, Rate::Poisson(rate)),
        };
        let comparison = Comparison {
            id: format!("tenancy-{}", if index == 0 { "quiet" } else { "noisy" }),
            a: condition(Arm::Pinned),
            b: condition(Arm::FairShare),
        };
        let paired = match session.compare(&comparison) {
            Ok(paired) => paired,
            Err(SessionError::Missing(why)) => {
                measured.not_testable = Some(why);
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let question = format!("shared is slower than isolated when neighbours are {}", noise.name);
        let p95 = |block: &Block| block.quantile(0.95);
        let (mut answer, _) = paired.answer(&question, "p95, shared over isolated", material::LATENCY, p95);
        answer.primary = true;
        let (mut varies, _) = paired.answer(
            &format!("shared varies more than isolated when neighbours are {}", noise.name),
            "p95 - p50, shared over isolated",
            material::LATENCY,
            Block::spread,
        );
        varies.id += "-spread";
        session.document.shifts.extend(paired.shift(session.options.seed));
        session.document.verdicts.extend([answer.clone(), varies]);
        for (side, isolated) in [(0, false), (1, true)] {
            measured.p95[index][side] = paired.typical(!isolated, p95);
            measured.spread[index][side] = paired.typical(!isolated, Block::spread);
        }
        *(if index == 0 { &mut measured.quiet } else { &mut measured.noisy }) = Some(answer);
    }
    found.tenancy = Some(measured);
    Ok(())
}

/// With a core of its own, more processes than one are worth nothing that threads or a loop are not; sync workers stay as many
/// as they wait for something.
fn of_one(model: Model) -> Model {
    if model.concurrency == "sync" { model } else { Model { workers: 1, ..model } }
}

fn noisy() -> Noise {
    let part =
        |name: &&str| Part::Work { tenant: (*name).to_owned(), work: Work::Spin { threads: 1 }, duty: 1.0 };
    Noise { name: "busy".to_owned(), parts: NEIGHBOURS.iter().map(part).collect() }
}
