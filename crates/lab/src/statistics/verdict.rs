//! From what was measured to one of four verdicts.
//!
//! ```text
//! supported            estimate >= +threshold and the interval is above 0
//! contradicted         estimate <= -threshold and the interval is below 0
//! no material effect   the whole interval is between -material and +material
//! inconclusive         otherwise, and it is said why
//! ```
//!
//! `material` is fixed before measuring. `threshold` is the larger of it and what the same configuration compared with
//! itself showed in the same session (the A/A control): a machine that invents differences must not support claims. The
//! noise raises the bar for an effect only. It never widens the band of "no material effect": a noisy session must not
//! turn into evidence of equality.
//!
//! A claim's sign is chosen so that positive differences speak for it. What is asked is fixed before: one primary figure per
//! claim, and [`holm`] over all primaries of a session.

use serde::Serialize;

use super::signed_rank::{self, Effect, smallest_p};
use super::{StatisticsError, finite, median_of_sorted};

/// Fewest pairs whose interval at 95 per cent has limits.
pub const FEWEST_PAIRS: usize = 6;

/// Half-width of the interval in deviations of a difference, times the root of the number of pairs. For the hint only.
pub const WIDTH: f64 = 2.3;

/// Material effects that claims use unless they say otherwise, as logarithms of ratios.
pub mod material {
    /// 25 per cent, for latencies, memory and variance: ln 1.25.
    pub const LATENCY: f64 = 0.223_143_551_314_209_76;
    /// 10 per cent, for throughput: ln 1.10.
    pub const THROUGHPUT: f64 = 0.095_310_179_804_324_87;
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "because")]
pub enum Verdict {
    Supported,
    Contradicted,
    NoMaterialEffect,
    Inconclusive(Reason),
}

/// Why there is no conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// No interval: with so few pairs no data could be conclusive.
    TooFewPairs { have: usize, need: usize },
    /// The interval is wider than the question. So many pairs would probably be enough.
    TooNoisy { pairs_needed: usize },
    /// There is an effect, but comparing a configuration with itself gave one nearly as large.
    WithinNoise { threshold: f64 },
    /// There is an effect, but it is neither clearly material nor clearly immaterial.
    AroundMaterial,
    /// It would have been conclusive as the only question, but several were asked.
    NotAfterHolm { adjusted: f64 },
}

/// What comparing a configuration with itself gave in the same session.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Control {
    pub pairs: usize,
    /// Should be near 0: otherwise position in the pair matters.
    pub estimate: f64,
    /// Of the 95 per cent interval; with fewer than [`FEWEST_PAIRS`] pairs, which have none, the largest difference seen.
    pub half_width: f64,
    pub exact: bool,
}

/// A verdict and the figures it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    #[serde(flatten)]
    pub verdict: Verdict,
    pub effect: Effect,
    /// What was called material beforehand.
    pub material: f64,
    /// The same, or what the control showed if that is larger.
    pub threshold: f64,
    pub control: Option<Control>,
    pub power: Power,
}

/// What this many pairs can see, and what more would. A rule of thumb for normal differences.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Power {
    /// Probable half-width of the interval.
    pub half_width: f64,
    /// So many pairs, and it is no wider than the material effect.
    pub pairs_needed: usize,
}

/// Summarise null pairs.
///
/// # Errors
/// There are none, too many, or one is not finite.
pub fn control(differences: &[f64]) -> Result<Control, StatisticsError> {
    finite("the A/A differences", differences)?;
    let effect = signed_rank::effect(differences, 0.95)?;
    let exact = differences.len() >= FEWEST_PAIRS;
    let largest = differences.iter().fold(0.0_f64, |largest, difference| largest.max(difference.abs()));
    let half_width = if exact { effect.interval.half_width() } else { largest };
    Ok(Control { pairs: differences.len(), estimate: effect.estimate, half_width, exact })
}

/// Judge one claim as if it were the only one. `differences` are positive where they speak for it; `material` is
/// positive and was fixed before.
///
/// # Errors
/// As [`signed_rank::effect`]; `material` is not positive.
pub fn judge(
    differences: &[f64],
    material: f64,
    control: Option<Control>,
) -> Result<Judgement, StatisticsError> {
    if !(material > 0.0 && material.is_finite()) {
        let allowed = "positive";
        return Err(StatisticsError::OutOfRange { what: "the material effect", value: material, allowed });
    }
    let effect = signed_rank::effect(differences, 0.95)?;
    let noise = control.map_or(0.0, |control| (2.0 * control.estimate.abs()).max(control.half_width));
    let threshold = material.max(noise);
    let power = power(effect.pairs, effect.deviation, material);
    Ok(Judgement {
        verdict: verdict(&effect, material, threshold, power),
        effect,
        material,
        threshold,
        control,
        power,
    })
}

fn verdict(effect: &Effect, material: f64, threshold: f64, power: Power) -> Verdict {
    let (estimate, interval) = (effect.estimate, effect.interval);
    if effect.pairs < FEWEST_PAIRS {
        return Verdict::Inconclusive(Reason::TooFewPairs { have: effect.pairs, need: FEWEST_PAIRS });
    }
    if interval.is_within(-material, material) {
        return Verdict::NoMaterialEffect;
    }
    let nonzero = interval.low > 0.0 || interval.high < 0.0;
    if nonzero && estimate.abs() >= threshold {
        return if estimate > 0.0 { Verdict::Supported } else { Verdict::Contradicted };
    }
    let reason = if nonzero && estimate.abs() >= material {
        Reason::WithinNoise { threshold }
    } else if nonzero && interval.half_width() <= material {
        Reason::AroundMaterial
    } else {
        Reason::TooNoisy { pairs_needed: power.pairs_needed.max(effect.pairs + 1) }
    };
    Verdict::Inconclusive(reason)
}

/// What `pairs` differences of this deviation can resolve.
#[must_use]
pub fn power(pairs: usize, deviation: f64, material: f64) -> Power {
    let needed = (WIDTH * deviation / material).powi(2).ceil();
    // Beyond any session; also where there is no deviation yet (one pair).
    let pairs_needed =
        if needed.is_finite() { (needed as usize).clamp(FEWEST_PAIRS, 100_000) } else { FEWEST_PAIRS };
    Power { half_width: WIDTH * deviation / (pairs as f64).sqrt(), pairs_needed }
}

/// Holm's adjusted p-values, in the order given (Holm 1979): each may be compared with 0.05 as if it were alone.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_unstable_by(|&i, &j| p_values[i].total_cmp(&p_values[j]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut least = 0.0_f64;
    for (position, &i) in order.iter().enumerate() {
        least = least.max((p_values.len() - position) as f64 * p_values[i]).min(1.0);
        adjusted[i] = least;
    }
    adjusted
}

/// Take back verdicts on primaries that are conclusive only because several were asked. "No material effect" stays: asking
/// more does not make equality more likely.
pub fn after_holm(judgements: &mut [&mut Judgement]) {
    let p_values: Vec<f64> = judgements.iter().map(|judgement| judgement.effect.p).collect();
    for (judgement, adjusted) in judgements.iter_mut().zip(holm(&p_values)) {
        if matches!(judgement.verdict, Verdict::Supported | Verdict::Contradicted) && adjusted > 0.05 {
            judgement.verdict = Verdict::Inconclusive(Reason::NotAfterHolm { adjusted });
        }
    }
}

/// Fewest pairs with which the first of `claims` primaries can be conclusive at all: 6 for one, 9 for twelve.
#[must_use]
pub fn fewest_pairs(claims: usize) -> usize {
    (FEWEST_PAIRS..signed_rank::MAX_PAIRS)
        .find(|&pairs| smallest_p(pairs) * claims as f64 <= 0.05)
        .unwrap_or(signed_rank::MAX_PAIRS)
}

/// Mean of the worst share (0.05 for the worst five per cent) of sorted values, at least one of them; infinite when
/// requests that failed are among them. NaN when there are none.
#[must_use]
pub fn expected_shortfall(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let worst = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    super::mean(&sorted[sorted.len() - worst..])
}

/// Middle and spread of a few figures for people: median and the smallest and largest.
#[must_use]
pub fn range(values: &[f64]) -> (f64, f64, f64) {
    let sorted = super::sorted(values);
    let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
    (median_of_sorted(&sorted), end(sorted.first()), end(sorted.last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELTA: f64 = material::LATENCY;

    fn verdict_of(differences: &[f64], control: Option<Control>) -> Verdict {
        judge(differences, DELTA, control).unwrap().verdict
    }

    /// Eight differences around a centre.
    fn around(center: f64, spread: f64) -> Vec<f64> {
        [-1.0, -0.7, -0.4, -0.1, 0.2, 0.4, 0.6, 1.0].iter().map(|x| center + spread * x).collect()
    }

    #[test]
    fn each_verdict_and_each_reason() {
        assert_eq!(verdict_of(&around(0.5, 0.1), None), Verdict::Supported);
        assert_eq!(verdict_of(&around(-0.5, 0.1), None), Verdict::Contradicted);
        assert_eq!(verdict_of(&around(0.0, 0.1), None), Verdict::NoMaterialEffect);
        assert_eq!(verdict_of(&around(0.1, 0.05), None), Verdict::NoMaterialEffect);
        let reason = |differences: &[f64], control| match verdict_of(differences, control) {
            Verdict::Inconclusive(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert!(
            matches!(reason(&around(0.5, 2.0), None), Reason::TooNoisy { pairs_needed } if pairs_needed > 8)
        );
        assert_eq!(reason(&[9.0; 5], None), Reason::TooFewPairs { have: 5, need: 6 });
        assert_eq!(reason(&around(0.2, 0.15), None), Reason::AroundMaterial);
        let noisy = control(&[0.4, -0.3, 0.1]).unwrap();
        assert!(!noisy.exact);
        assert_eq!(noisy.half_width, 0.4);
        assert_eq!(reason(&around(0.3, 0.1), Some(noisy)), Reason::WithinNoise { threshold: 0.4 });
    }

    /// The published rule floors one delta for both; then a session too noisy to see a doubling would report equality.
    #[test]
    fn noise_is_no_evidence_of_equality() {
        let noisy = Control { pairs: 8, estimate: 0.0, half_width: 2.0, exact: true };
        assert!(matches!(verdict_of(&around(0.5, 0.5), Some(noisy)), Verdict::Inconclusive(_)));
        assert_eq!(verdict_of(&around(0.0, 0.1), Some(noisy)), Verdict::NoMaterialEffect);
    }

    /// Holm's procedure by hand; the same as R's p.adjust(p, "holm").
    #[test]
    fn holm_adjusts() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (value, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((value - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(holm(&[]).is_empty());
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn many_questions_need_many_pairs() {
        assert_eq!([1, 6, 7, 12].map(fewest_pairs), [6, 8, 9, 9]);
        let mut judgements: Vec<Judgement> =
            (0..12).map(|_| judge(&around(0.5, 0.1), DELTA, None).unwrap()).collect();
        after_holm(&mut judgements.iter_mut().collect::<Vec<_>>());
        let lost = |judgement: &Judgement| matches!(judgement.verdict, Verdict::Inconclusive(Reason::NotAfterHolm { adjusted }) if adjusted > 0.05);
        assert!(judgements.iter().all(lost), "8 pairs have p = 1/128 at best: 12 times that is 0.094");
    }

    #[test]
    fn the_worst_five_per_cent() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(expected_shortfall(&sorted, 0.05), 98.0);
        assert_eq!(expected_shortfall(&sorted[..3], 0.05), 3.0);
        assert!(expected_shortfall(&[], 0.05).is_nan());
        assert_eq!(range(&[3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
    }
}
