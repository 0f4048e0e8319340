//! What each page spends its time with, asked for alone and one at a time.
//!
//! The worker's own clocks say it for each route (`GET /v1/apps/{app}/routes`); where they do not, processor time is what the control group's
//! counter says over the block, and the rest of the time was waiting. What of that was for storage the group's pressure says (PSI,
//! Documentation/accounting/psi.rst), and whether it was for durable writes the disks' count of flushes.

use std::time::Duration;

use serde::Deserialize;

use super::survey::Target;
use super::{CompareError, Depth, Known, SUBJECT, Wishes};
use crate::document::{Class, Endpoint, Quantiles, known};
use crate::experiment::{Arm, Block, Condition, Load, Noise, Purpose, Rate, Session};
use crate::statistics::quantile::interpolated;

/// Of the control interface.
const PATIENCE: Duration = Duration::from_secs(8);

/// lab.md 3.5: above this a request is heavy whatever its share.
const HEAVY_MS: f64 = 20.0;
/// Waiting for storage that is none, milliseconds of a request.
const NO_STORAGE_MS: f64 = 0.02;
/// Flushes of disks for each request, below which they are somebody else's: the journal's, every few seconds.
const DURABLE: f64 = 0.5;
/// And above this when most of its time is processor time.
const SOMETHING_MS: f64 = 5.0;

#[derive(Debug, Default, Deserialize)]
struct Answer {
    routes: Vec<Endpoint>,
}

pub(super) fn measure(
    session: &mut Session<'_>,
    wishes: &Wishes,
    found: &mut Known,
) -> Result<(), CompareError> {
    let block = Duration::from_millis(match wishes.depth {
        Depth::Quick => 400,
        Depth::Normal => 1_500,
        Depth::Thorough => 3_000,
    });
    let effort = session.options.effort.with_blocks(block, Duration::from_millis(100));
    session.with_effort(effort, |session| each(session, found))?;
    said(session, &mut found.endpoints);
    found.wait_seconds = waiting(&found.survey.targets, &found.endpoints);
    session.document.endpoints.clone_from(&found.endpoints);
    Ok(())
}

/// By the laboratory's own measurement, and the processor time of a request of the mix.
fn each(session: &mut Session<'_>, found: &mut Known) -> Result<(), CompareError> {
    let targets = &found.survey.targets;
    let (mut weights, mut cpu) = (0.0, 0.0);
    for (index, target) in targets.iter().enumerate() {
        session.progress.step(index, targets.len(), &target.target);
        let block = ask(session, target, index as u64)?;
        let finite = block.latencies.iter().filter(|latency| latency.is_finite());
        let typical = finite.sum::<f64>() / answers(&block);
        let used = block.usage.app_cores.map(|cores| cores * block.seconds / answers(&block));
        weights += target.weight;
        cpu += target.weight * used.unwrap_or(0.0);
        found.endpoints.push(endpoint(&block, target, typical, used));
    }
    found.cpu_seconds = cpu / weights;
    Ok(())
}

/// Mean over the mix, in seconds; not known where that of one page is not.
fn waiting(targets: &[Target], endpoints: &[Endpoint]) -> Option<f64> {
    let pages = || targets.iter().zip(endpoints);
    let waits: Option<f64> =
        pages().map(|(target, endpoint)| Some(target.weight * endpoint.wait_ms? / 1e3)).sum();
    let weights: f64 = pages().map(|(target, _)| target.weight).sum();
    Some(waits? / weights).filter(|seconds| seconds.is_finite())
}

fn ask(session: &mut Session<'_>, target: &Target, seed: u64) -> Result<Block, CompareError> {
    let condition = Condition {
        name: "one at a time".to_owned(),
        app: SUBJECT.to_owned(),
        arm: Arm::FairShare,
        noise: Noise::quiet(),
        load: Load::of(&target.target, Rate::Closed(1)),
    };
    Ok(session.block(&condition, session.options.seed ^ seed, &Purpose::series("endpoints"))?)
}

fn endpoint(block: &Block, target: &Target, seconds: f64, used: Option<f64>) -> Endpoint {
    let sorted = block.sorted(None);
    let quantile = |q: f64| known(interpolated(&sorted, q) * 1e3);
    let cpu_ms = used.map(|used| used * 1e3);
    let run_queue_ms = known(block.usage.run_queue_ms / block.answered.max(1) as f64);
    let storage_ms = block.usage.pressure_io.map(|share| share * block.seconds * 1e3 / answers(block));
    let flushes = block.usage.flushes.map(|flushes| flushes as f64 / answers(block));
    let wait_ms = cpu_ms.map(|cpu| (seconds * 1e3 - cpu - run_queue_ms.unwrap_or(0.0)).max(0.0));
    Endpoint {
        method: "GET".to_owned(),
        route: target.target.clone(),
        requests: block.answered + block.failed,
        failed: block.failed,
        latency_ms: Quantiles { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) },
        cpu_ms,
        wait_ms,
        run_queue_ms,
        storage_ms,
        fsyncs: durable_writes(storage_ms, flushes),
        classification: classify(seconds * 1e3 - run_queue_ms.unwrap_or(0.0), cpu_ms, storage_ms),
        ..Endpoint::default()
    }
}

fn answers(block: &Block) -> f64 {
    block.answered.max(1) as f64
}

/// Of one request, which was alone: who does not wait for storage makes nothing durable, and who does may only read. Not known where
/// the kernel tells neither.
fn durable_writes(storage_ms: Option<f64>, flushes: Option<f64>) -> Option<f64> {
    if storage_ms? < NO_STORAGE_MS {
        return Some(0.0);
    }
    flushes.map(|flushes| if flushes < DURABLE { 0.0 } else { flushes })
}

/// By lab.md 3.5, of what a request takes without its time in the run queue: who waits for a processor does not wait for
/// something else.
fn classify(ms: f64, cpu_ms: Option<f64>, storage_ms: Option<f64>) -> Class {
    let Some(cpu) = cpu_ms else { return Class::Unknown };
    if storage_ms.is_some_and(|storage| storage >= 0.3 * ms) {
        Class::Storage
    } else if cpu >= HEAVY_MS || (cpu >= SOMETHING_MS && cpu >= 0.5 * ms) {
        Class::Cpu
    } else if ms - cpu >= 0.7 * ms {
        Class::Wait
    } else {
        Class::Mixed
    }
}

/// What the worker's own clocks say, where they do.
fn said(session: &mut Session<'_>, endpoints: &mut [Endpoint]) {
    let asked = session.host().ok().map(|host| {
        host.control().get::<Answer>(&format!("/v1/apps/{SUBJECT}/routes"), PATIENCE).unwrap_or_default()
    });
    for said in asked.into_iter().flat_map(|answer| answer.routes) {
        let path = |target: &str| target.split('?').next().unwrap_or_default().to_owned();
        let same = |endpoint: &&mut Endpoint| path(&endpoint.route) == said.route && said.method == "GET";
        let mut matching: Vec<&mut Endpoint> = endpoints.iter_mut().filter(same).collect();
        // Two targets of one route cannot be told apart there.
        let [endpoint] = matching.as_mut_slice() else { continue };
        endpoint.cpu_ms = said.cpu_ms.or(endpoint.cpu_ms);
        endpoint.wait_ms = said.wait_ms.or(endpoint.wait_ms);
        endpoint.run_queue_ms = said.run_queue_ms.or(endpoint.run_queue_ms);
        endpoint.queue_ms = said.queue_ms;
        endpoint.gil_ms = said.gil_ms;
        endpoint.cpu_ms_p95 = said.cpu_ms_p95;
        endpoint.storage_ms = said.storage_ms.or(endpoint.storage_ms);
        endpoint.fsyncs = said.fsyncs.or(endpoint.fsyncs);
        // The worker does not know what of its waiting was for storage.
        if said.classification != Class::Unknown && endpoint.classification != Class::Storage {
            endpoint.classification = said.classification;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_page_waits_for_is_not_guessed() {
        let target = |weight| Target { target: "/".to_owned(), weight, elapsed: Duration::ZERO };
        let endpoint = |wait_ms| Endpoint { wait_ms, ..Endpoint::default() };
        let targets = [target(3.0), target(1.0)];
        let seconds = waiting(&targets, &[endpoint(Some(10.0)), endpoint(Some(50.0))]).unwrap();
        assert!((seconds - 0.02).abs() < 1e-9, "{seconds}");
        assert_eq!(waiting(&targets, &[endpoint(Some(10.0)), endpoint(None)]), None);
        assert_eq!(waiting(&[], &[]), None);
    }

    #[test]
    fn durable_writes_are_waited_for_and_flush_a_disk() {
        for (storage, flushes, found) in [
            (Some(0.001), Some(3.0), Some(0.0)),
            (Some(0.001), None, Some(0.0)),
            (Some(4.0), Some(1.02), Some(1.02)),
            (Some(4.0), Some(0.01), Some(0.0)),
            (Some(4.0), None, None),
            (None, Some(1.0), None),
        ] {
            assert_eq!(durable_writes(storage, flushes), found, "{storage:?} {flushes:?}");
        }
    }

    #[test]
    fn classes_are_those_of_the_specification() {
        for (ms, cpu, storage, class) in [
            (100.0, Some(25.0), None, Class::Cpu),
            (10.0, Some(6.0), None, Class::Cpu),
            (10.0, Some(2.0), None, Class::Wait),
            (3.0, Some(2.0), None, Class::Mixed),
            (10.0, Some(2.0), Some(4.0), Class::Storage),
            (10.0, None, None, Class::Unknown),
        ] {
            assert_eq!(classify(ms, cpu, storage), class, "{ms} {cpu:?} {storage:?}");
        }
    }
}
