//! Shared or isolated, resource by resource.

use super::concurrency;
use super::inputs::{Inputs, Tenancy};
use super::{Part, SLOTS_IN_USE, count, measured, reason};
use crate::document::{Change, Resource, ResourceChoice, Verdict};
use crate::plan::capacity::CORES_USED;

/// Targets below this leave no room for neighbours at all.
const STRICT_TARGET_MS: f64 = 10.0;
/// Of the peak, so that a peak that was not seen does not kill.
const MEMORY_SPARE: f64 = 1.3;
const MIB: f64 = 1_048_576.0;
/// Limits are whole multiples of this.
const MEMORY_STEP: f64 = 16.0 * MIB;
/// What changes to the better lead to.
const SHARED: &str = "shared, by weight";
/// Probability beyond which isolation is known to pay.
const SURE: f64 = 0.9;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) choice: Tenancy,
    /// "shared with a processor weight".
    pub(super) how: String,
    /// ", as long as ...".
    pub(super) condition: String,
    pub(super) memory_limit: Option<u64>,
    pub(super) own_cores: Option<u32>,
    /// Two rules disagree, or the answer is near its threshold.
    pub(super) contested: bool,
    pub(super) part: Part,
}

pub(super) fn choose(inputs: &Inputs, model: &concurrency::Choice) -> Choice {
    let mut part = Part::default();
    let figures = &inputs.tenancy;
    let wanted = processor(inputs, &mut part);
    let own_cores = own_cores(inputs);
    let fits = figures.machine_cores.is_none_or(|machine| own_cores < machine.max(2));
    let choice = if wanted.choice == Tenancy::Isolated && !fits && !figures.must_be_isolated {
        let machine = figures.machine_cores.unwrap_or(0);
        part.reasons.push(reason(format!("It would need {} of its own and this machine has {machine}: isolating it leaves nothing for the others, so it stays shared here.", count(own_cores, "core")), &[]));
        part.fix_first
            .push(format!("to be isolated it needs a machine with more than {}", count(own_cores, "core")));
        // They say when isolation would not be needed.
        part.changes.retain(|change| change.then != SHARED);
        price_of_sharing(inputs, own_cores, &mut part);
        Tenancy::Shared
    } else {
        wanted.choice
    };
    let isolated = choice == Tenancy::Isolated;
    part.resources.push(ResourceChoice {
        resource: Resource::Cpu,
        choice: match (isolated, figures.batch) {
            (true, _) => format!("{} of its own", count(own_cores, "core")),
            (false, true) => "lowest weight: it may wait for everybody else".to_owned(),
            (false, false) => "fair share by weight".to_owned(),
        },
        because: wanted.because,
    });
    let memory_limit = memory(inputs, model, &mut part);
    storage(inputs, &mut part);
    part.resources.push(ResourceChoice {
        resource: Resource::Network,
        choice: "limits on connections, times and sizes".into(),
        because: "a slow or greedy client must not hold what others need; these cost nothing".into(),
    });
    let how = if isolated {
        format!("isolated, with {} of its own", count(own_cores, "core"))
    } else {
        "shared, with a processor weight and a hard memory limit".to_owned()
    };
    Choice {
        choice,
        how,
        condition: if choice == wanted.choice { wanted.condition } else { String::new() },
        memory_limit,
        own_cores: isolated.then_some(own_cores),
        contested: wanted.contested || choice != wanted.choice,
        part,
    }
}

/// What it costs to stay shared on a machine that is too small, where that was measured.
fn price_of_sharing(inputs: &Inputs, own_cores: u32, part: &mut Part) {
    let figures = &inputs.tenancy;
    let evidence = figures.noisy_evidence.as_deref().unwrap_or("C1");
    let times = measured(figures.shared_noisy_ms).zip(measured(figures.isolated_noisy_ms));
    if let Some((shared, isolated)) = times.filter(|_| figures.noisy == Some(Verdict::Supported)) {
        part.reasons.push(reason(
            format!(
                "That has a price when neighbours are busy: shared, {}; on a core of its own, {}.",
                within(inputs, shared),
                within(inputs, isolated)
            ),
            &[evidence],
        ));
    }
    part.changes.push(Change {
        text: "the machine is larger".into(),
        quantity: "cores of the machine".into(),
        unit: "cores".into(),
        threshold: Some(f64::from(own_cores + 1)),
        current: figures.machine_cores.map(f64::from),
        then: "isolated".into(),
    });
}

/// The laboratory waits no longer: what takes so long has failed. Milliseconds.
const GIVEN_UP: f64 = 10_000.0;

/// A latency at the target's quantile, in words.
fn within(inputs: &Inputs, milliseconds: f64) -> String {
    if milliseconds >= GIVEN_UP {
        format!("fewer than {} of the requests are answered", share(inputs))
    } else {
        format!("{} of the requests take {milliseconds:.1} ms or less", share(inputs))
    }
}

/// Whole cores that are busy for at most [`CORES_USED`] of its busiest windows, as in a plan. An application of 0.75 cores
/// served well on one of its own when neighbours were busy (docs/compared.md).
fn own_cores(inputs: &Inputs) -> u32 {
    let needed = measured(inputs.tenancy.own_cores_p99).map_or(1.0, |cores| cores / CORES_USED);
    needed.ceil().clamp(1.0, 4_096.0) as u32
}

struct Wanted {
    choice: Tenancy,
    because: String,
    condition: String,
    contested: bool,
}

fn processor(inputs: &Inputs, part: &mut Part) -> Wanted {
    let figures = &inputs.tenancy;
    let fixed = |because: &str, condition: &str| Wanted {
        choice: Tenancy::Isolated,
        because: because.to_owned(),
        condition: condition.to_owned(),
        contested: false,
    };
    if figures.must_be_isolated {
        part.reasons.push(reason(
            "A rule of the operator says that it must be isolated; no measurement changes that.",
            &[],
        ));
        return fixed("a rule of the operator", ", because the operator's rules ask for it");
    }
    if figures.wrong_victim == Some(true) {
        part.reasons.push(reason("When memory was short, an innocent neighbour was killed: with shared memory that may be this application.", &[]));
        return fixed(
            "an innocent neighbour was killed when memory was short",
            ", as long as neighbours may fill the memory that all share",
        );
    }
    if let Some(target) = measured(inputs.target_ms).filter(|target| *target < STRICT_TARGET_MS) {
        part.reasons.push(reason(format!("A target of {target:.1} ms is about what one turn of a busy neighbour takes ({STRICT_TARGET_MS:.0} ms and less)."), &[]));
        return fixed(
            "the target leaves no room for neighbours",
            ", as long as neighbours use the processor at all",
        );
    }
    if let Some(demand) = measured(figures.own_cores_p99).filter(|demand| *demand > SLOTS_IN_USE) {
        part.changes.push(Change {
            text: "it needs less of the processor".into(),
            quantity: "its own demand, 99 % of short windows".into(),
            unit: "cores".into(),
            threshold: Some(SLOTS_IN_USE),
            current: Some(demand),
            then: SHARED.into(),
        });
        part.reasons.push(reason(format!("It needs {demand:.2} cores in its busiest windows, more than {SLOTS_IN_USE}: it has a core's worth of work of its own, and is what neighbours suffer from."), &[]));
        return fixed(
            "its own demand fills a core",
            ", as long as it has neighbours that must not suffer from it",
        );
    }
    if let Some(wanted) = by_cost(inputs, part) {
        return wanted;
    }
    by_neighbours(inputs, part)
}

/// Isolated if violations cost more than cores, in 9 of 10 draws.
fn by_cost(inputs: &Inputs, part: &mut Part) -> Option<Wanted> {
    let costs = inputs.tenancy.costs.as_ref()?;
    if inputs.tenancy.noisy != Some(Verdict::Supported) || costs.violations.is_empty() {
        return None;
    }
    let premium = costs.isolated - costs.shared;
    let pays = |(shared, isolated): &&(f64, f64)| (shared - isolated) * costs.violation_minute > premium;
    let share = costs.violations.iter().filter(pays).count() as f64 / costs.violations.len() as f64;
    part.changes.push(Change {
        text: "isolation pays for itself with another probability".into(),
        quantity: "probability that it pays".into(),
        unit: String::new(),
        threshold: Some(SURE),
        current: Some(share),
        then: if share >= SURE { SHARED } else { "isolated" }.into(),
    });
    let evidence = inputs.tenancy.noisy_evidence.as_deref().unwrap_or("C1");
    if share < SURE {
        return None;
    }
    part.reasons.push(reason(format!("With busy neighbours the target is missed for longer than the {premium:.2} that isolation costs more, in {:.0} % of the draws.", share * 100.0), &[evidence]));
    Some(Wanted {
        choice: Tenancy::Isolated,
        because: "violations of the target cost more than cores".into(),
        condition: neighbours_condition(inputs, Tenancy::Isolated),
        contested: share < 0.95,
    })
}

/// Shared if the target is kept with busy neighbours and they use less than the crossover.
fn by_neighbours(inputs: &Inputs, part: &mut Part) -> Wanted {
    let figures = &inputs.tenancy;
    let evidence = figures.noisy_evidence.as_deref().unwrap_or("C1");
    let (noisy, target) = (measured(figures.shared_noisy_ms), measured(inputs.target_ms));
    let keeps_target = noisy.zip(target).map(|(noisy, target)| noisy <= target);
    if let (Some(noisy), Some(target)) = (noisy, target) {
        let isolated = measured(figures.isolated_noisy_ms)
            .map(|ms| format!(", isolated {ms:.1} ms"))
            .unwrap_or_default();
        let word = if noisy <= target { "keeps" } else { "misses" };
        part.reasons.push(reason(
            format!(
                "With busy neighbours, shared, {}{isolated}: that {word} the target of {target:.0} ms.",
                within(inputs, noisy)
            ),
            &[evidence],
        ));
        part.changes.push(Change {
            text: if noisy <= target {
                "the target becomes stricter"
            } else {
                "the target becomes less strict"
            }
            .into(),
            quantity: "target".into(),
            unit: "ms".into(),
            threshold: Some(noisy),
            current: Some(target),
            then: if noisy <= target { "isolated" } else { SHARED }.into(),
        });
    } else {
        part.unknown.push(if target.is_none() {
            "a target for the latency"
        } else {
            "latency with busy neighbours"
        });
    }
    let (neighbours, crossover) = (measured(figures.neighbours), measured(figures.crossover));
    let quiet_enough = neighbours.zip(crossover).map(|(neighbours, crossover)| neighbours < crossover);
    if let Some(crossover) = crossover {
        part.changes.push(Change {
            text: if quiet_enough == Some(false) { "neighbours use less" } else { "neighbours use more" }
                .into(),
            quantity: "what neighbours use".into(),
            unit: "cores".into(),
            threshold: Some(crossover),
            current: neighbours,
            then: if quiet_enough == Some(false) { SHARED } else { "isolated" }.into(),
        });
    }
    if neighbours.is_none() {
        part.unknown.push("what neighbours will use");
    }
    let slower = match figures.noisy {
        Some(Verdict::Supported) => Some(true),
        Some(Verdict::Contradicted | Verdict::NoMaterialEffect) => Some(false),
        _ => None,
    };
    if let Some(ratio) = figures.noisy_ratio.filter(|_| slower.is_some()) {
        part.reasons.push(reason(
            format!("With busy neighbours its p95 is {ratio:.2} times as large shared as isolated."),
            &[evidence],
        ));
    }
    // A target decides; without one, whether it is slower; and in both cases whether neighbours are quiet enough.
    let good = keeps_target.or(slower.map(|slower| !slower));
    let (choice, because) = match (good, quiet_enough) {
        (Some(false), _) => (Tenancy::Isolated, "with busy neighbours it does not do what it must"),
        (_, Some(false)) => (Tenancy::Isolated, "neighbours use more than pooling the cores gains"),
        (Some(true), _) => (Tenancy::Shared, "with busy neighbours it still does what it must"),
        (None, Some(true)) => (Tenancy::Shared, "neighbours use less than pooling the cores gains"),
        (None, None) => {
            (Tenancy::Shared, "nothing measured speaks against sharing, which is simpler and cheaper")
        }
    };
    let contested = matches!((good, quiet_enough), (Some(true), Some(false)) | (Some(false), Some(true)))
        || noisy.zip(target).is_some_and(|(noisy, target)| (noisy / target).ln().abs() < 0.1);
    Wanted { choice, because: because.into(), condition: neighbours_condition(inputs, choice), contested }
}

/// The condition on the neighbours, which no recommendation of isolation may lack.
fn neighbours_condition(inputs: &Inputs, choice: Tenancy) -> String {
    let crossover = measured(inputs.tenancy.crossover).map(|cores| format!("{cores:.2} cores"));
    match (choice, crossover) {
        (Tenancy::Shared, Some(cores)) => format!(", as long as neighbours use less than {cores}"),
        (Tenancy::Shared, None) => String::new(),
        (Tenancy::Isolated, Some(cores))
            if measured(inputs.tenancy.neighbours) > measured(inputs.tenancy.crossover) =>
        {
            format!(", as long as neighbours use more than {cores}")
        }
        (Tenancy::Isolated, _) => {
            ", as long as neighbours are as busy as those it was measured with".to_owned()
        }
    }
}

/// "95 %".
fn share(inputs: &Inputs) -> String {
    let text = format!("{:.1}", inputs.target_quantile.unwrap_or(0.95) * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Always a hard limit; what it is, and whether memory may be promised twice.
fn memory(inputs: &Inputs, model: &concurrency::Choice, part: &mut Part) -> Option<u64> {
    let growth = inputs
        .growth
        .filter(|growth| [growth.bytes, growth.low, growth.high].iter().all(|value| value.is_finite()));
    let leaks = growth.filter(|growth| growth.low > 0.0);
    if let Some(leak) = leaks {
        part.fix_first.push(format!(
            "it takes {:.0} bytes more with every request (95 % interval {:.0} to {:.0})",
            leak.bytes, leak.low, leak.high
        ));
    }
    let peak = measured(inputs.memory_peak_bytes).filter(|peak| *peak > 0.0);
    let limit = peak.map(|peak| {
        let more = model
            .workers
            .zip(inputs.memory_peak_workers)
            .map_or(0, |(workers, then)| workers.saturating_sub(then));
        let workers = f64::from(more) * measured(inputs.worker_bytes).unwrap_or(0.0);
        (((peak * MEMORY_SPARE + workers) / MEMORY_STEP).ceil() * MEMORY_STEP).min(1e15) as u64
    });
    let promised = if leaks.is_some() {
        "do not promise memory twice: it leaks"
    } else if growth.is_none() {
        "do not promise memory twice: whether it leaks is not known"
    } else if inputs.tenancy.collateral.is_some_and(|collateral| collateral > 0.0) {
        "do not promise memory twice: neighbours suffered when it was short"
    } else {
        "limits of all together may be 1.2 times the machine's memory"
    };
    let because = match (peak, limit) {
        (Some(peak), Some(limit)) => format!(
            "its peak was {:.0} MiB, the limit is {:.0} MiB; {promised}",
            peak / MIB,
            limit as f64 / MIB
        ),
        _ => {
            part.unknown.push("its peak memory");
            format!("its peak is not known, so no size is proposed; {promised}")
        }
    };
    part.resources.push(ResourceChoice { resource: Resource::Memory, choice: "hard limit".into(), because });
    limit
}

fn storage(inputs: &Inputs, part: &mut Part) {
    let (choice, because) = match measured(inputs.fsyncs) {
        Some(0.0) => ("shared disk", "no durable writes on the request path".to_owned()),
        Some(fsyncs) => {
            part.fix_first.push(format!("{fsyncs:.1} durable writes for each request: hand them to a queue (logs: to standard output, the host writes them)"));
            (
                "own volume, and no durable writes on the request path",
                format!(
                    "{fsyncs:.1} durable writes (fsync) for each request: they wait for everybody's on the same file system; throttling others there would not help"
                ),
            )
        }
        None => {
            part.unknown.push("durable writes of a request");
            ("shared disk", "durable writes were not measured".to_owned())
        }
    };
    part.resources.push(ResourceChoice { resource: Resource::Storage, choice: choice.into(), because });
}
