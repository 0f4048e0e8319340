//! The same scenario with several seeds: estimates with their intervals.

use serde::Serialize;

use super::{Outcome, Scenario, run};
use crate::statistics::special::student_two_sided;
use crate::statistics::{mean, standard_deviation};

/// A mean over independent runs with its interval (95 %).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// Infinite values, which are quantiles among failed requests, make an infinite estimate.
    #[must_use]
    pub fn of(values: &[f64]) -> Estimate {
        let value = mean(values);
        let degrees = values.len() as f64 - 1.0;
        let error = standard_deviation(values) / (values.len() as f64).sqrt();
        let half =
            if degrees >= 1.0 && error.is_finite() { student_two_sided(0.95, degrees) * error } else { 0.0 };
        Estimate { value, low: value - half, high: value + half }
    }

    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// What several runs of a scenario say. Times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prediction {
    pub p50: Estimate,
    pub p95: Estimate,
    pub p99: Estimate,
    pub mean: Estimate,
    /// Answers per second.
    pub throughput: Estimate,
    /// Share of the planned requests that were not answered.
    pub failed: Estimate,
    pub retries_per_request: f64,
    /// Cores that the application used, and the share of its slots.
    pub cores: f64,
    pub slots: f64,
    /// Share of a quota's periods that ended with threads held back.
    pub throttled: f64,
    pub most_bytes: u64,
    pub killed: u64,
    pub requests: u64,
    pub events: u64,
    /// A run did not end: the figures are of a system that collapses.
    pub cut_off: bool,
}

/// Run so many times with seeds made from one.
#[must_use]
pub fn replicate(scenario: &Scenario, seed: u64, runs: u64) -> Prediction {
    let outcomes: Vec<Outcome> =
        (0..runs.max(1)).map(|index| run(scenario, seed.wrapping_add(index * 0x9e37_79b9))).collect();
    Prediction::of(&outcomes)
}

impl Prediction {
    #[must_use]
    pub fn of(outcomes: &[Outcome]) -> Prediction {
        let estimate =
            |of: &dyn Fn(&Outcome) -> f64| Estimate::of(&outcomes.iter().map(of).collect::<Vec<_>>());
        let average = |of: &dyn Fn(&Outcome) -> f64| mean(&outcomes.iter().map(of).collect::<Vec<_>>());
        let sum = |of: &dyn Fn(&Outcome) -> u64| outcomes.iter().map(of).sum();
        let per_planned = |count: u64, outcome: &Outcome| count as f64 / outcome.planned.max(1) as f64;
        Prediction {
            p50: estimate(&|outcome| outcome.latency(0.5)),
            p95: estimate(&|outcome| outcome.latency(0.95)),
            p99: estimate(&|outcome| outcome.latency(0.99)),
            mean: estimate(&Outcome::mean_latency),
            throughput: estimate(&Outcome::throughput),
            failed: estimate(&|outcome| per_planned(outcome.failed(), outcome)),
            retries_per_request: average(&|outcome| per_planned(outcome.retries, outcome)),
            cores: average(&Outcome::cores_used),
            slots: average(&Outcome::slots_used),
            throttled: average(&|outcome| outcome.throttled_periods),
            most_bytes: outcomes.iter().map(|outcome| outcome.most_bytes).max().unwrap_or(0),
            killed: sum(&|outcome| outcome.killed),
            requests: sum(&|outcome| outcome.planned),
            events: sum(&|outcome| outcome.events),
            cut_off: outcomes.iter().any(|outcome| outcome.cut_off),
        }
    }
}
