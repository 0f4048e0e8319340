//! C8: isolated costs more.

use std::time::Duration;

use super::{Claim, Finding, Requirement, ratio};
use crate::Random;
use crate::document::{Answer, Verdict};
use crate::experiment::{Demand, Fault, Noise, Part, Session, SessionError};
use crate::host::HostPlan;
use crate::probe;
use crate::statistics::quantile::interpolated;

pub(super) struct C8;

/// Small applications with visitors in bursts, 0.1 cores each in the mean.
const TENANTS: usize = 6;
const TARGET: &str = "/cpu?ms=5";
const RATE: f64 = 20.0;
const LENGTH: Duration = Duration::from_secs(24);
/// With little effort.
const SHORT: Duration = Duration::from_secs(3);
/// What is sold: whole cores, and memory in pieces of 256 MiB. A GiB costs an eighth of a core.
const CORE_UNIT: f64 = 1.0;
const MEMORY_UNIT: f64 = 0.25;
const GIB_PER_CORE: f64 = 8.0;
/// Share of the time in which shared capacity is enough: one-sided 99 per cent of a normal sum.
const Z: f64 = 2.326;
const QUANTILE: f64 = 0.99;
/// Isolated costs more, if it costs so much more.
const MATERIAL: f64 = 0.10;
const REPLICATES: usize = 1_000;
/// Bins that are drawn together: a burst.
const RUN: usize = 5;

impl Claim for C8 {
    fn id(&self) -> &'static str {
        "C8"
    }

    fn title(&self) -> &'static str {
        "isolated hosting costs more; shared hosting is denser"
    }

    fn expectation(&self) -> &'static str {
        "True, by 20 to 150 % where applications fill what they buy, and by far more where they are small and bought in whole cores: \
         rounding up is most of it. The rest is that peaks do not coincide."
    }

    fn requirements(&self) -> &'static [Requirement] {
        &[Requirement::Root, Requirement::Controller("cpuacct")]
    }

    fn run(&self, session: &mut Session<'_>) -> Result<Finding, SessionError> {
        let apps: Vec<String> = (0..TENANTS).map(|tenant| format!("tenant-{tenant}")).collect();
        let app = session.probe(probe::WSGI).set("workers", 1).set("concurrency", "sync");
        session.start(apps.iter().fold(HostPlan::default(), |plan, name| plan.with(name, app.clone())))?;
        let length = if session.options.effort.pairs > 1 { LENGTH } else { SHORT };
        session.progress.step(0, 1, "what six small tenants need");
        let visitors = Noise {
            name: "visitors in bursts".to_owned(),
            parts: apps.iter().map(|app| visitor(app)).collect(),
        };
        let seed = session.random.next_u64();
        let (demands, faults) = session.demand(&visitors, &apps, length, seed)?;
        let fault = faults.first().map(Fault::sentence);
        Ok(finding(&demands, fault, &mut session.random))
    }
}

fn visitor(app: &str) -> Part {
    Part::Bursts { tenant: app.to_owned(), target: TARGET.to_owned(), rate: RATE }
}

/// What both cost, in cores.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    shared: f64,
    isolated: f64,
    /// Isolated, if one could buy exactly what is needed.
    unrounded: f64,
}

impl Cost {
    fn premium(&self) -> f64 {
        self.isolated / self.shared - 1.0
    }
}

/// The same bins for all tenants: what coincides must stay together.
fn cost(demands: &[Demand], bins: &[usize]) -> Cost {
    let (mut mean, mut variance, mut isolated, mut unrounded, mut memory) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for demand in demands {
        let mut cores: Vec<f64> = bins.iter().filter_map(|bin| demand.cores.get(*bin).copied()).collect();
        cores.sort_unstable_by(f64::total_cmp);
        let count = cores.len().max(1) as f64;
        let m = cores.iter().sum::<f64>() / count;
        mean += m;
        variance += cores.iter().map(|cores| (cores - m).powi(2)).sum::<f64>() / count;
        let peak = interpolated(&cores, QUANTILE);
        let gib = demand.memory_bytes as f64 / f64::from(1 << 30);
        isolated += up(peak, CORE_UNIT) + up(gib, MEMORY_UNIT) / GIB_PER_CORE;
        unrounded += peak + gib / GIB_PER_CORE;
        memory += gib;
    }
    Cost { shared: mean + Z * variance.sqrt() + memory / GIB_PER_CORE, isolated, unrounded }
}

/// In whole units, at least one.
fn up(need: f64, unit: f64) -> f64 {
    (need / unit).ceil().max(1.0) * unit
}

/// Interval of the premium: bins are drawn again in runs.
fn interval(demands: &[Demand], bins: usize, random: &mut Random) -> [f64; 2] {
    let mut premiums: Vec<f64> = (0..REPLICATES)
        .map(|_| {
            let mut drawn = Vec::with_capacity(bins + RUN);
            while drawn.len() < bins {
                let start = random.below(bins.saturating_sub(RUN - 1).max(1));
                drawn.extend(start..(start + RUN).min(bins));
            }
            cost(demands, &drawn).premium()
        })
        .collect();
    premiums.sort_unstable_by(f64::total_cmp);
    [interpolated(&premiums, 0.025), interpolated(&premiums, 0.975)]
}

fn finding(demands: &[Demand], fault: Option<String>, random: &mut Random) -> Finding {
    let bins = demands.iter().map(|demand| demand.cores.len()).min().unwrap_or(0);
    let all: Vec<usize> = (0..bins).collect();
    let cost = cost(demands, &all);
    let [low, high] = interval(demands, bins, random);
    let exact = cost.unrounded / cost.shared - 1.0;
    let verdict = match () {
        // Tenants that are held up by others need less than they would.
        () if fault.is_some() => Verdict::Inconclusive,
        () if low > MATERIAL => Verdict::Supported,
        () if high < -MATERIAL => Verdict::Contradicted,
        () if low > -MATERIAL && high < MATERIAL => Verdict::NoMaterialEffect,
        () => Verdict::Inconclusive,
    };
    let percent = |share: f64| format!("{:+.0} %", share * 100.0);
    let answer = Answer {
        id: "C8".to_owned(),
        question: "the same small applications cost more isolated than shared".to_owned(),
        metric: "cost, isolated over shared".to_owned(),
        ratio: crate::document::known(1.0 + cost.premium()),
        ci: [low, high].map(|premium| crate::document::known(1.0 + premium)),
        level: Some(0.95),
        delta: Some(1.0 + MATERIAL),
        verdict,
        because: fault,
        ..Answer::default()
    };
    Finding {
        verdict,
        sentence: format!(
            "isolated, {TENANTS} small applications need {} cores' worth, shared {}: {} ({} to {})",
            ratio(cost.isolated),
            ratio(cost.shared),
            percent(cost.premium()),
            percent(low),
            percent(high)
        ),
        flips_when: Some(format!(
            "when applications fill what they buy: without rounding up to whole cores and 256 MiB it is {}; rounding is {:.0} % of what \
             isolated costs",
            percent(exact),
            (1.0 - cost.unrounded / cost.isolated) * 100.0
        )),
        answers: vec![answer],
        notes: demands.iter().map(need).collect(),
        ..Finding::default()
    }
}

fn need(demand: &Demand) -> String {
    let mut cores = demand.cores.clone();
    cores.sort_unstable_by(f64::total_cmp);
    format!(
        "{}: mean {:.3} cores, p99 {:.3}, {:.0} MiB",
        demand.app,
        crate::statistics::mean(&cores),
        interpolated(&cores, QUANTILE),
        demand.memory_bytes as f64 / f64::from(1 << 20)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(peaks_at: usize, height: f64) -> Demand {
        let cores = (0..200).map(|bin| if bin % 20 == peaks_at { height } else { 0.1 }).collect();
        Demand { app: "t".into(), cores, memory_bytes: 64 << 20 }
    }

    #[test]
    fn small_tenants_pay_for_rounding_and_large_ones_for_their_peaks() {
        let small: Vec<Demand> = (0..6).map(|at| tenant(at, 0.3)).collect();
        let disturbed = finding(&small, Some("others used 1 core".to_owned()), &mut Random::new(1));
        assert_eq!(disturbed.verdict, Verdict::Inconclusive);
        let finding = finding(&small, None, &mut Random::new(1));
        assert_eq!(finding.verdict, Verdict::Supported);
        assert!(finding.answers[0].ci[0].unwrap() > 3.0, "{finding:?}");
        let all: Vec<usize> = (0..200).collect();
        let cost = cost(&small, &all);
        // Six cores, and six times a quarter of a GiB.
        assert!((cost.isolated - (6.0 + 6.0 * 0.25 / 8.0)).abs() < 1e-9, "{cost:?}");
        assert!((cost.unrounded - (6.0 * 0.3 + 6.0 * 0.0625 / 8.0)).abs() < 1e-9, "{cost:?}");
        assert!(cost.shared < 1.3, "{cost:?}");
        // Constant need: sharing gains nothing, and exactly one core each is no rounding.
        let constant = Demand { app: "t".into(), cores: vec![1.0; 200], memory_bytes: 256 << 20 };
        let cost = super::cost(&[constant.clone(), constant], &all);
        assert!(cost.premium().abs() < 1e-9, "{cost:?}");
    }
}
