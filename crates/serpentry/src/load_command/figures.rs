//! The figures of a run, as they are printed and as they are in JSON.

use std::collections::BTreeMap;
use std::io;

use lab::load::gate::{self, Validity, is_busy};
use lab::load::{Arrivals, LoadPlan, Outcome, Pace, Schedule, Summary, Tally, dispersion::Dispersion};
use lab::statistics::{quantile, queueing};
use serde::Serialize;

use super::LoadArguments;

/// What is asked of each distribution.
const QUANTILES: [f64; 6] = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999];
/// Arrivals that are looked at for their variability.
const LOOKED_AT: usize = 1_000_000;

#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) url: String,
    pub(super) endpoint: String,
    pub(super) schedule: &'static str,
    /// Requests per second that were asked for; none for a closed loop.
    pub(super) rate: Option<f64>,
    /// Requests at a time; only of a closed loop.
    pub(super) connections: Option<usize>,
    /// Connections of an open loop, if they were limited.
    pub(super) pool: Option<usize>,
    pub(super) seed: u64,
    /// From the end of the warm-up to the end of the last request.
    pub(super) seconds: f64,
    pub(super) planned: u64,
    pub(super) answered: u64,
    /// Answered with a status from 200 to 399, per second.
    pub(super) goodput: f64,
    /// By kind; they have no latency but count as slower than any that has.
    pub(super) failed: BTreeMap<&'static str, u64>,
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Milliseconds; "failed" when the quantile falls among failed requests, absent when there are too few requests.
    pub(super) latency_ms: BTreeMap<String, Quantile>,
    pub(super) service_ms: BTreeMap<String, Quantile>,
    pub(super) generator: Generator,
    pub(super) arrivals: Option<Variability>,
    /// Of a closed loop without failures: how far requests at a time, throughput and mean latency are from Little's law.
    pub(super) little_deviation: Option<f64>,
    #[serde(flatten)]
    pub(super) validity: Validity,
    /// Why the run counts as failed.
    pub(super) because: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Quantile {
    Milliseconds(f64),
    #[serde(serialize_with = "failed")]
    Failed,
}

fn failed<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("failed")
}

/// The generator about itself.
#[derive(Debug, Serialize)]
pub(super) struct Generator {
    pub(super) lag_p50_ms: f64,
    pub(super) lag_p99_ms: f64,
    pub(super) lag_max_ms: f64,
    /// Of one core.
    pub(super) cpu_share: f64,
    pub(super) cpu_per_request_us: f64,
    pub(super) busy: bool,
    pub(super) connections_opened: u64,
    pub(super) resent: u64,
    /// Why the latest connection that could not be made was refused.
    pub(super) connect_error: Option<String>,
    pub(super) peak_outstanding: usize,
    pub(super) received_bytes: u64,
    pub(super) realtime: bool,
    pub(super) interrupted: bool,
}

/// How bursty the plan was; 1 is Poisson.
#[derive(Debug, Serialize)]
pub(super) struct Variability {
    pub(super) gaps_cv2: f64,
    pub(super) index_of_dispersion: Option<f64>,
}

impl Figures {
    pub(super) fn of(
        arguments: &LoadArguments,
        plan: &LoadPlan,
        tally: &Tally,
        summary: &Summary,
    ) -> Figures {
        let validity = gate::validity(tally);
        let answered = tally.count(Outcome::Answered);
        let seconds = summary.elapsed.saturating_sub(arguments.warm_up).as_secs_f64().max(1e-9);
        let (schedule, rate, connections) = match &plan.pace {
            Pace::Closed { connections } => ("closed loop", None, Some(*connections)),
            Pace::Open(schedule) => (name(schedule), Some(schedule.mean_rate()), None),
        };
        let failed = Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Answered);
        let failed =
            failed.map(|outcome| (outcome.name(), tally.count(*outcome))).filter(|(_, count)| *count > 0);
        Figures {
            url: arguments.urls.join(" "),
            endpoint: plan.endpoint.to_string(),
            schedule,
            rate,
            connections,
            pool: plan.limits.pool,
            seed: plan.seed,
            seconds,
            planned: tally.planned(),
            answered,
            goodput: answered as f64 / seconds,
            failed: failed.collect(),
            statuses: tally.statuses().collect(),
            latency_ms: quantiles(tally.planned(), |q| tally.latency(q)),
            service_ms: quantiles(answered, |q| tally.service_time(q)),
            generator: Generator::of(tally, summary),
            arrivals: variability(plan, summary),
            little_deviation: connections.filter(|_| answered == tally.planned()).map(|connections| {
                queueing::little_deviation(
                    connections as f64,
                    answered as f64 / seconds,
                    tally.mean_latency() / 1e9,
                )
            }),
            validity,
            because: because(validity, answered, tally, summary),
        }
    }
}

impl Generator {
    fn of(tally: &Tally, summary: &Summary) -> Self {
        let lag = |q| tally.lag(q).map_or(0.0, milliseconds);
        let cpu = summary.cpu.as_secs_f64();
        Generator {
            lag_p50_ms: lag(0.5),
            lag_p99_ms: lag(0.99),
            lag_max_ms: lag(1.0),
            cpu_share: cpu / summary.elapsed.as_secs_f64(),
            cpu_per_request_us: cpu * 1e6 / summary.planned.max(1) as f64,
            busy: is_busy(summary),
            connections_opened: summary.connections,
            resent: summary.resent,
            connect_error: summary.connect_error.map(|error| io::Error::from(error).to_string()),
            peak_outstanding: summary.peak,
            received_bytes: summary.received,
            realtime: summary.realtime,
            interrupted: summary.stopped,
        }
    }
}

fn name(schedule: &Schedule) -> &'static str {
    match schedule {
        Schedule::Constant { .. } => "constant",
        Schedule::Poisson { .. } => "poisson",
        Schedule::Bursts { .. } => "bursts",
        Schedule::Replay(_) => "replay",
    }
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Those that enough requests lie beyond.
fn quantiles(n: u64, of: impl Fn(f64) -> Option<u64>) -> BTreeMap<String, Quantile> {
    let shown = QUANTILES.into_iter().filter(|&q| quantile::may_show(n as f64, q));
    shown
        .map(|q| {
            let value = of(q).map_or(Quantile::Failed, |value| Quantile::Milliseconds(milliseconds(value)));
            (format!("p{}", (q * 1e6).round() / 1e4), value)
        })
        .collect()
}

/// The same arrivals again, from the seed.
fn variability(plan: &LoadPlan, summary: &Summary) -> Option<Variability> {
    let Pace::Open(schedule) = &plan.pace else { return None };
    let mut dispersion = Dispersion::default();
    let count = usize::try_from(summary.planned).unwrap_or(usize::MAX).min(LOOKED_AT);
    Arrivals::new(schedule.clone(), plan.seed).ok()?.take(count).for_each(|time| dispersion.push(time));
    let gaps_cv2 = dispersion.gaps_cv2();
    let index_of_dispersion = Some(dispersion.index_of_dispersion()).filter(|index| index.is_finite());
    gaps_cv2.is_finite().then_some(Variability { gaps_cv2, index_of_dispersion })
}

fn because(validity: Validity, answered: u64, tally: &Tally, summary: &Summary) -> Option<String> {
    if summary.stopped {
        return Some(format!(
            "stopped after {:.1} s: the figures are of a part",
            summary.elapsed.as_secs_f64()
        ));
    }
    if let Some(sentence) = validity.sentence() {
        return Some(sentence);
    }
    if answered == 0 {
        let failed = Outcome::ALL.into_iter().max_by_key(|outcome| tally.count(*outcome));
        let kind = failed.map_or("failed", Outcome::name);
        let detail = summary.connect_error.filter(|_| failed == Some(Outcome::ConnectFailed));
        let detail = detail.map_or(String::new(), |error| format!(", {}", io::Error::from(error)));
        return Some(format!("not one request was answered with success; most: {kind}{detail}"));
    }
    None
}
