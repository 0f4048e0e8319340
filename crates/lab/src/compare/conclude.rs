//! From what was measured to the inputs of the decision, and from there to scorecard and recommendation.

use super::tenancy::Measured as Tenancies;
use super::{Known, Subject, Wishes, models};
use crate::Random;
use crate::decide::score::{Complexity, Figure, Knob, Measured, scorecard};
use crate::decide::{Concurrency, Growing, Inputs, Interface, Pairwise, Quality, TenancyFigures, decide};
use crate::document::{Document, Growth, NotTestable, Verdict, Weights};
use crate::experiment::Session;
use crate::plan::tenancy::{Demand, crossover};

/// Seconds of a month, for prices per month.
const MONTH: f64 = 30.44 * 24.0 * 3600.0;
const GIB: f64 = 1_073_741_824.0;
/// A core and a GiB when no prices are given: what two cores with 4 GiB cost is about evenly both.
const PRICES: (f64, f64) = (1.0, 0.25);

pub(super) fn all(session: &mut Session<'_>, subject: &Subject, wishes: &Wishes, found: &Known) {
    let effort = session.options.effort;
    let document = &mut session.document;
    document.method.pairs = u32::try_from(effort.pairs).ok();
    document.method.block_seconds = Some(effort.block.as_secs_f64());
    document.method.discarded_seconds = Some(effort.discard.as_secs_f64());
    document.method.arrivals = Some("poisson".to_owned());
    document.method.target_ms = wishes.p95.map(|p95| p95.as_secs_f64() * 1e3);
    document.method.target_quantile = wishes.p95.map(|_| 0.95);
    let inputs = inputs(document, subject, wishes, found, effort.pairs);
    document.not_testable.clone_from(&inputs.not_testable);
    let options = options(document, wishes, found);
    if let Some(options) = options {
        let mut random = Random::stream(document.seed, 5);
        document.scorecard = Some(scorecard(&options, Weights::default(), &mut random));
    }
    document.recommendation = Some(decide(&inputs));
}

fn inputs(document: &Document, subject: &Subject, wishes: &Wishes, found: &Known, pairs: usize) -> Inputs {
    let cores = document.machine.cores.unwrap_or(1);
    let best = models::best(&found.models);
    let tenancy = found.tenancy.clone().unwrap_or_default();
    let load = tenancy.rate * found.cpu_seconds;
    // As if each request took the mean: how they vary around it is not known here.
    let demand = Demand::of_moments(found.cpu_seconds, found.cpu_seconds.powi(2), tenancy.rate);
    // One that still warms up has a slope too, which is no leak: then it is not known.
    let served = document.memory.iter().find(|memory| matches!(memory.growth, Growth::Leak | Growth::Flat));
    let growth = served.and_then(|served| {
        let [low, high] = served.slope_ci;
        // What was judged to be an allocator's doing must not become a leak by being known exactly.
        let low = if served.growth == Growth::Leak { low? } else { low?.min(0.0) };
        Some(Growing { bytes: served.slope?, low, high: high? })
    });
    let threads = found.models.iter().find(|measured| measured.model.concurrency == "threads");
    let peak = best.and_then(|best| {
        Some((best.worker_bytes? as f64 * f64::from(best.model.workers), best.model.workers))
    });
    let noisy = tenancy.noisy.as_ref();
    let valid = noisy.map(|answer| u32::try_from(answer.differences.len()).unwrap_or(u32::MAX));
    Inputs {
        app: subject.name.clone(),
        interface: if found.asynchronous { Interface::Asgi } else { Interface::Wsgi },
        rate: Some(wishes.rate.unwrap_or(tenancy.rate)),
        cpu_ms: Some(found.cpu_seconds * 1e3),
        wait_ms: found.wait_seconds.map(|seconds| seconds * 1e3),
        cores: Some(f64::from(cores)),
        worker_bytes: found.worker_bytes.map(|bytes| bytes as f64),
        thread_bytes: threads.and_then(|measured| measured.bytes_per_request),
        memory_budget_bytes: subject.memory_limit.map(|bytes| bytes as f64),
        memory_peak_bytes: peak.map(|(bytes, _)| bytes),
        memory_peak_workers: peak.map(|(_, workers)| workers),
        growth,
        target_ms: document.method.target_ms,
        target_quantile: document.method.target_quantile,
        pairwise: pairwise(found),
        tenancy: TenancyFigures {
            shared_noisy_ms: known(tenancy.p95[1][0] * 1e3),
            isolated_noisy_ms: known(tenancy.p95[1][1] * 1e3),
            noisy: noisy.map(|answer| answer.verdict),
            noisy_ratio: noisy.and_then(|answer| answer.ratio),
            noisy_evidence: noisy.map(|answer| answer.id.clone()),
            crossover: (load < 1.0).then(|| crossover(cores, 1, load)),
            own_cores_p99: Some(demand.together(1.0)),
            machine_cores: Some(cores),
            ..TenancyFigures::default()
        },
        fsyncs: document.endpoints.iter().filter_map(|endpoint| endpoint.fsyncs).reduce(f64::max),
        quality: Quality {
            valid_pairs: valid,
            planned_pairs: u32::try_from(pairs).ok(),
            noise: noisy.and_then(|answer| answer.delta_aa),
            material: noisy.and_then(|answer| answer.delta),
        },
        not_testable: tenancy
            .not_testable
            .into_iter()
            .map(|because| NotTestable { what: "shared against isolated".to_owned(), because })
            .collect(),
        ..Inputs::default()
    }
}

/// The model that is better beyond doubt against the first of another kind.
fn pairwise(found: &Known) -> Option<Pairwise> {
    let named = |name: &str| match name {
        "sync" => Concurrency::Sync,
        "threads" => Concurrency::Threads,
        _ => Concurrency::Async,
    };
    let first = found.models.first()?;
    let other = found.models.iter().find(|measured| measured.model.concurrency != first.model.concurrency)?;
    let answer = other.answer.as_ref()?;
    let (mut better, mut worse) = (named(other.model.concurrency), named(first.model.concurrency));
    let (mut verdict, mut ratio) = (answer.verdict, answer.ratio);
    if verdict == Verdict::Contradicted {
        (better, worse, verdict, ratio) = (worse, better, Verdict::Supported, ratio.map(f64::recip));
    }
    Some(Pairwise { better, other: worse, verdict, ratio, evidence: answer.id.clone() })
}

fn known(value: f64) -> Option<f64> {
    crate::document::known(value).filter(|value| *value > 0.0)
}

/// Shared and isolated on the five dimensions; None without a comparison.
fn options(document: &Document, wishes: &Wishes, found: &Known) -> Option<[Measured; 2]> {
    let tenancy = found.tenancy.as_ref()?;
    let best = models::best(&found.models)?;
    let bytes = best.worker_bytes.map(|bytes| bytes as f64 * f64::from(best.model.workers));
    let (core, gib) = wishes.prices.unwrap_or(PRICES);
    let used = tenancy.rate * found.cpu_seconds;
    let millions = tenancy.rate * MONTH / 1e6;
    let cost = |cores: f64| Some(Figure::from((cores * core + bytes? / GIB * gib) / millions));
    let option = |name: &str, index: usize, cores: f64, complexity: Complexity| {
        let failure = found.failures[index];
        Measured {
            name: name.to_owned(),
            cost: cost(cores),
            spread: spread(tenancy, index),
            keeps_target: keeps(document, name),
            complexity: Some(complexity),
            precision: failure.map(|failure| failure.precision().into()),
            report_seconds: failure.and_then(|failure| failure.seconds).map(Figure::from),
            wrong_victim: failure.map(|failure| failure.wrong_victim.into()),
            collateral: failure.map(|failure| failure.collateral.into()),
            doubling: failure.and_then(|failure| failure.doubling).map(Figure::from),
            slowest_knob: Some(Knob::Worker),
        }
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let shared = Complexity {
        knobs: words(&["cpu_weight"]),
        failure_domains: words(&["the pool of all shared applications"]),
        process_classes: words(&["workers"]),
        code_changes: Vec::new(),
    };
    let isolated = Complexity {
        knobs: words(&["cpu", "memory", "disk_space", "egress"]),
        failure_domains: Vec::new(),
        process_classes: words(&["workers", "the holder of its room"]),
        code_changes: Vec::new(),
    };
    // Own cores are whole ones, used or not.
    Some([option("shared", 0, used, shared), option("isolated", 1, used.ceil().max(1.0), isolated)])
}

/// (p95 - p50) with busy neighbours over that without.
fn spread(tenancy: &Tenancies, index: usize) -> Option<Figure> {
    let ratio = tenancy.spread[1][index] / tenancy.spread[0][index];
    known(ratio).map(Figure::from)
}

/// Share of the valid blocks with busy neighbours in which the target was kept.
fn keeps(document: &Document, tenancy: &str) -> Option<Figure> {
    let target = document.method.target_ms?;
    let blocks =
        document.blocks.iter().filter(|block| block.valid && block.arm == format!("{tenancy}, busy"));
    let kept: Vec<f64> = blocks
        .filter_map(|block| block.latency_ms.get("p95"))
        .map(|p95| f64::from(u8::from(p95.milliseconds() <= target)))
        .collect();
    (!kept.is_empty()).then(|| Figure { value: kept.iter().sum::<f64>() / kept.len() as f64, samples: kept })
}
