//! Throughput and memory against the number of requests at a time, in a closed loop, with the fit of Gunther's law.

use std::time::Duration;

use super::{CompareError, Known, Wishes, load};
use crate::document::{Fit, Growth, Ladder, MemoryGrowth, Rung, bounds, known};
use crate::experiment::{Arm, Block, Condition, Fault, Noise, Purpose, Rate, Session};
use crate::statistics::queueing::{little_deviation, little_holds};
use crate::statistics::trend::theil_sen;
use crate::statistics::usl;

/// One application, rung by rung. The highest throughput of a valid rung, the processor seconds of a request in all of them, and
/// the bytes of each request under way.
pub(super) struct Climbed {
    pub(super) throughput: f64,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) bytes_per_request: Option<f64>,
    pub(super) worker_bytes: Option<u64>,
}

pub(super) fn climb(
    session: &mut Session<'_>,
    wishes: &Wishes,
    found: &Known,
    app: &str,
    title: &str,
) -> Result<Climbed, CompareError> {
    let effort = session.options.effort.with_blocks(wishes.depth.rung(), Duration::from_millis(100));
    let Rungs { rungs, memory, cpu } =
        session.with_effort(effort, |session| rungs(session, found, (app, title), wishes.depth.rungs()))?;
    let mut ladder = Ladder { arm: title.to_owned(), rungs, ..Ladder::default() };
    let valid = || ladder.rungs.iter().filter(|rung| rung.valid);
    let points: Vec<(f64, f64)> =
        valid().filter_map(|rung| Some((f64::from(rung.concurrency), rung.throughput?))).collect();
    match usl::fit(&points) {
        Ok(fit) => ladder.fit = Some(Fit::of(&fit)),
        Err(error) => ladder.no_fit_because = Some(error.to_string()),
    }
    let best = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let slope = theil_sen(&memory, 0.95).ok();
    if let Some(trend) = slope {
        session.document.memory.push(MemoryGrowth {
            arm: title.to_owned(),
            against: "requests under way".to_owned(),
            points: memory,
            slope: known(trend.slope),
            slope_ci: bounds(trend.interval),
            intercept: known(trend.intercept),
            growth: Growth::PerConcurrentRequest,
            ..MemoryGrowth::default()
        });
    }
    session.document.ladders.push(ladder);
    let status = session.host()?.app(app)?;
    let bytes: Vec<u64> = status.workers.iter().filter_map(|worker| worker.memory_bytes).collect();
    Ok(Climbed {
        throughput: best,
        cpu_seconds: cpu.per_request(),
        bytes_per_request: slope.map(|trend| trend.slope.max(0.0)),
        worker_bytes: (!bytes.is_empty()).then(|| bytes.iter().sum::<u64>() / bytes.len() as u64),
    })
}

#[derive(Default)]
struct Rungs {
    rungs: Vec<Rung>,
    /// Requests at a time and bytes, of each.
    memory: Vec<(f64, f64)>,
    cpu: Cpu,
}

/// Processor time of the application over all rungs that count. Pages asked for alone, one at a time,
/// need as much or less: 8.4 and 11.0 ms of a Wagtail site, 15.0 and 17.7 of Datasette, 1.37 and 1.39 of a small Django site.
#[derive(Debug, Default)]
struct Cpu {
    seconds: f64,
    answers: f64,
}

impl Cpu {
    fn add(&mut self, cores: f64, seconds: f64, answers: u64) {
        self.seconds += cores * seconds;
        self.answers += answers as f64;
    }

    fn per_request(&self) -> Option<f64> {
        (self.answers > 0.0).then(|| self.seconds / self.answers)
    }
}

fn rungs(
    session: &mut Session<'_>,
    found: &Known,
    (app, title): (&str, &str),
    ladder: &[usize],
) -> Result<Rungs, CompareError> {
    let mut climbed = Rungs::default();
    for (index, &connections) in ladder.iter().enumerate() {
        session.progress.step(index, ladder.len(), &format!("{title}, {connections} at a time"));
        let condition = Condition {
            name: title.to_owned(),
            app: app.to_owned(),
            arm: Arm::FairShare,
            noise: Noise::quiet(),
            load: load(&found.survey, Rate::Closed(connections)),
        };
        let block = session.block(&condition, connections as u64, &Purpose::series("ladder"))?;
        climbed.memory.extend(block.usage.memory_bytes.map(|bytes| (connections as f64, bytes as f64)));
        let rung = rung(&block, connections);
        if let Some(cores) = block.usage.app_cores.filter(|_| rung.valid) {
            climbed.cpu.add(cores, block.seconds, block.answered);
        }
        climbed.rungs.push(rung);
    }
    Ok(climbed)
}

/// Few requests and a busy generator are no reason to drop a rung of a closed loop; errors and foreign load are.
fn rung(block: &Block, connections: usize) -> Rung {
    let mean = block.latencies.iter().filter(|latency| latency.is_finite()).sum::<f64>()
        / block.answered.max(1) as f64;
    let throughput = block.throughput();
    let spoilt =
        block.faults.iter().find(|fault| !matches!(fault, Fault::Lag { .. } | Fault::Generator { .. }));
    let little = little_deviation(connections as f64, throughput, mean);
    let because = match spoilt {
        Some(fault) => Some(fault.sentence()),
        // In a short block the requests under way at its ends are many.
        None if !little_holds(connections as f64, throughput, mean) && little.abs() > 0.15 => Some(format!(
            "throughput times latency is {:.0} % off the requests under way",
            little.abs() * 100.0
        )),
        None => None,
    };
    Rung {
        concurrency: u32::try_from(connections).unwrap_or(u32::MAX),
        throughput: known(throughput),
        p50_ms: known(block.quantile(0.5) * 1e3),
        p95_ms: known(block.quantile(0.95) * 1e3),
        failed: block.failed,
        little_deviation: known(little),
        valid: because.is_none(),
        invalid_because: because,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_of_a_request_is_over_all_rungs() {
        let mut cpu = Cpu::default();
        assert_eq!(cpu.per_request(), None);
        cpu.add(0.5, 0.4, 100);
        cpu.add(2.0, 0.4, 300);
        assert_eq!(cpu.per_request(), Some(1.0 / 400.0));
    }
}
