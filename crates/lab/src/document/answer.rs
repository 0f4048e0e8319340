//! What was concluded.

use serde::{Deserialize, Serialize};

use super::block::Latency;
use super::known;
use crate::statistics::verdict::{self, Judgement};
use crate::statistics::{Interval, shift};

/// Lower and upper limit; `null` on a side without one.
pub type Bounds = [Option<f64>; 2];

/// The limits of an interval.
#[must_use]
pub fn bounds(interval: Interval) -> Bounds {
    [known(interval.low), known(interval.high)]
}

/// The answer to a question, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Supported,
    Contradicted,
    NoMaterialEffect,
    Inconclusive,
    /// True under one condition and false under another; the answer says which.
    Conditional,
    /// A mechanism is missing on this machine.
    NotTestable,
    /// It has figures but nothing to prove.
    Descriptive,
    #[default]
    #[serde(other)]
    Unknown,
}

/// One question, what was measured, and the verdict.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// What others refer to: "C1", "tenancy-noisy".
    pub id: String,
    /// As a statement that can be wrong: "shared varies more than isolated when neighbours are busy".
    pub question: String,
    /// What the ratio is of: "p95 - p50, S1 over I2".
    pub metric: String,
    /// Arms: ratio is that of `b` over `a`, unless `metric` says otherwise.
    pub a: String,
    pub b: String,
    /// Above 1 it speaks for the question.
    pub ratio: Option<f64>,
    pub ci: Bounds,
    pub level: Option<f64>,
    pub pairs: u32,
    pub p: Option<f64>,
    /// Smallest ratio that was called material beforehand: 1.25.
    pub delta: Option<f64>,
    /// Ratio that the same arm compared with itself showed (upper end): the noise of this session.
    pub delta_aa: Option<f64>,
    pub verdict: Verdict,
    /// Why it is inconclusive, conditional or not testable.
    pub because: Option<String>,
    /// What these pairs could see, and how many more would show.
    pub power: Option<String>,
    /// Fixed before measuring and corrected for the number of questions; all others are exploratory.
    pub primary: bool,
    /// ln(ratio) of each pair, for whoever computes again.
    pub differences: Vec<f64>,
    /// The same of the A/A pairs.
    pub control_differences: Vec<f64>,
}

impl Answer {
    /// From a judgement whose differences are logarithms of ratios.
    #[must_use]
    pub fn of(
        id: impl Into<String>,
        question: impl Into<String>,
        metric: impl Into<String>,
        judged: &Judgement,
    ) -> Self {
        let (verdict, because) = match &judged.verdict {
            verdict::Verdict::Supported => (Verdict::Supported, None),
            verdict::Verdict::Contradicted => (Verdict::Contradicted, None),
            verdict::Verdict::NoMaterialEffect => (Verdict::NoMaterialEffect, None),
            verdict::Verdict::Inconclusive(reason) => (Verdict::Inconclusive, Some(because(reason))),
        };
        let noise = |control: verdict::Control| (2.0 * control.estimate.abs()).max(control.half_width).exp();
        Answer {
            id: id.into(),
            question: question.into(),
            metric: metric.into(),
            ratio: known(judged.effect.estimate.exp()),
            // Not `exp` first: without a lower limit it would be 0, which is one.
            ci: bounds(judged.effect.interval).map(|limit| limit.map(f64::exp)),
            level: Some(judged.effect.interval.level),
            pairs: u32::try_from(judged.effect.pairs).unwrap_or(u32::MAX),
            p: known(judged.effect.p),
            delta: known(judged.material.exp()),
            delta_aa: judged.control.map(noise).and_then(known),
            verdict,
            because,
            power: power(judged),
            ..Answer::default()
        }
    }
}

/// Why there is no conclusion, as a sentence.
fn because(reason: &verdict::Reason) -> String {
    use verdict::Reason;
    match reason {
        Reason::TooFewPairs { have, need } => {
            format!("{have} valid pairs, with fewer than {need} no result could be conclusive")
        }
        Reason::TooNoisy { pairs_needed } => format!(
            "the interval is wider than the question; about {pairs_needed} pairs would be enough if the noise stays the same"
        ),
        Reason::WithinNoise { threshold } => format!(
            "there is a difference, but comparing an arm with itself gave up to {:.2} times as much",
            threshold.exp()
        ),
        Reason::AroundMaterial => {
            "there is a difference, about as large as what was called material: neither clearly more nor clearly less".into()
        }
        Reason::NotAfterHolm { adjusted } => format!(
            "it would be conclusive as the only question, but several were asked: p is {adjusted:.3} after Holm's correction"
        ),
    }
}

fn power(judged: &Judgement) -> Option<String> {
    let sees = known(judged.power.half_width)?.exp();
    Some(format!(
        "{} pairs see a ratio of {sees:.2} or more; {} pairs would see {:.2}",
        judged.effect.pairs,
        judged.power.pairs_needed,
        judged.material.exp()
    ))
}

/// Where in the distribution two arms differ.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Shift {
    /// The answer it belongs to.
    pub question: String,
    pub a: String,
    pub b: String,
    pub points: Vec<ShiftPoint>,
}

/// One quantile of both.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShiftPoint {
    pub q: f64,
    pub a_ms: Option<Latency>,
    pub b_ms: Option<Latency>,
    /// b - a.
    pub difference_ms: Option<f64>,
    pub difference_ci: Bounds,
    /// b / a.
    pub ratio: Option<f64>,
    pub ratio_ci: Bounds,
}

impl Shift {
    /// From the points of [`shift::shift_function`] over milliseconds.
    #[must_use]
    pub fn of(
        question: impl Into<String>,
        a: impl Into<String>,
        b: impl Into<String>,
        points: &[shift::Point],
    ) -> Self {
        let point = |point: &shift::Point| ShiftPoint {
            q: point.q,
            a_ms: Latency::new(point.a),
            b_ms: Latency::new(point.b),
            difference_ms: known(point.difference),
            difference_ci: bounds(point.difference_interval),
            ratio: known(point.ratio),
            ratio_ci: bounds(point.ratio_interval),
        };
        Shift {
            question: question.into(),
            a: a.into(),
            b: b.into(),
            points: points.iter().map(point).collect(),
        }
    }
}

/// Where the added latency of one condition over another comes from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Decomposition {
    pub question: String,
    pub arm: String,
    /// "noisy over quiet".
    pub between: String,
    pub added_ms: Option<f64>,
    pub parts: Vec<Part>,
    /// Below 0.5 the rest is called unexplained.
    pub explained: Option<f64>,
    pub sentence: Option<String>,
}

/// One cause.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// "run queue", "throttling", "interpreter lock", "disk", "memory", "accept queue", "waiting".
    pub cause: String,
    pub milliseconds: Option<f64>,
}

/// One of the claims C1 to C12.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// "C1".
    pub id: String,
    pub title: String,
    /// What was expected before measuring, and why.
    pub expectation: String,
    pub verdict: Verdict,
    /// With figures.
    pub sentence: String,
    /// The condition under which the verdict would be another.
    pub flips_when: Option<String>,
    /// Ids of its answers, the primary first.
    pub answers: Vec<String>,
    pub seconds: Option<f64>,
    pub notes: Vec<String>,
}
