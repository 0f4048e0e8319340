//! Two sets of blocks that were not paired: the Mann-Whitney test, the Hodges-Lehmann shift with its interval, and how often
//! one is larger than the other. Weaker than pairs on the same data; for what was measured on different days.
//!
//! Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", sections 4.1 to 4.3. Up to [`EXACT`] values together
//! the p-value is exact given the ties; above, it is the normal approximation with corrections for ties and continuity.

use serde::Serialize;

use super::special::normal_upper;
use super::{Interval, StatisticsError, checked_level, doubled_midranks, finite, median_of_sorted, sorted};

/// Values of both sets together up to which the distribution is enumerated.
pub const EXACT: usize = 60;
/// Of each set: the shift looks at every pair of values.
pub const MAX_VALUES: usize = 1_000;

/// How `b` differs from `a`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shift {
    /// Median of all differences b - a.
    pub estimate: f64,
    pub interval: Interval,
    /// Two-sided, of "both come from the same distribution".
    pub p: f64,
    pub exact: bool,
    pub dominance: Dominance,
}

/// How often a value of `b` is larger than one of `a`: an effect size that needs no unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Dominance {
    /// P(b > a) + P(b = a) / 2: 0.5 when neither tends to be larger.
    pub probability: f64,
    /// Cliff's delta, P(b > a) - P(b < a), from -1 to 1.
    pub delta: f64,
}

/// Compare two independent sets.
///
/// # Errors
/// A set is empty or has more than [`MAX_VALUES`], a value is not finite, or the level is not between 0 and 1.
pub fn shift(a: &[f64], b: &[f64], level: f64) -> Result<Shift, StatisticsError> {
    let alpha = checked_level(level)?;
    for (what, set) in [("the first set", a), ("the second set", b)] {
        if set.is_empty() {
            return Err(StatisticsError::TooFew { what, have: 0, need: 1 });
        }
        if set.len() > MAX_VALUES {
            return Err(StatisticsError::TooMany { what, have: set.len(), limit: MAX_VALUES });
        }
        finite(what, set)?;
    }
    let differences = sorted(&a.iter().flat_map(|x| b.iter().map(move |y| y - x)).collect::<Vec<_>>());
    Ok(Shift {
        estimate: median_of_sorted(&differences),
        interval: interval(a.len(), b.len(), &differences, alpha),
        p: p_value(a, b),
        exact: a.len() + b.len() <= EXACT,
        dominance: dominance(a, b),
    })
}

/// Two-sided p-value alone, for finite values.
#[must_use]
pub fn p_value(a: &[f64], b: &[f64]) -> f64 {
    if a.len() + b.len() <= EXACT { exact_p(a, b) } else { approximate_p(a, b) }
}

/// Works on any number of values, also infinite ones (failed requests), but not NaN.
#[must_use]
pub fn dominance(a: &[f64], b: &[f64]) -> Dominance {
    let a = sorted(a);
    let (mut below, mut equal) = (0.0, 0.0);
    for value in b {
        let low = a.partition_point(|x| x < value);
        let high = a.partition_point(|x| x <= value);
        below += low as f64;
        equal += (high - low) as f64;
    }
    let all = a.len() as f64 * b.len() as f64;
    let probability = (below + equal / 2.0) / all;
    Dominance { probability, delta: 2.0 * probability - 1.0 }
}

/// Number of ways to choose `chosen` of the ranks, by their sum; as probabilities.
fn null_distribution(ranks: &[usize], chosen: usize) -> Vec<f64> {
    let top: usize = ranks.iter().sum();
    let mut ways = vec![vec![0.0; top + 1]; chosen + 1];
    ways[0][0] = 1.0;
    for &rank in ranks {
        for count in (1..=chosen).rev() {
            let (fewer, more) = ways.split_at_mut(count);
            for (into, from) in more[0][rank..].iter_mut().zip(&fewer[count - 1]) {
                *into += from;
            }
        }
    }
    let mut mass = ways.swap_remove(chosen);
    let all: f64 = mass.iter().sum();
    for value in &mut mass {
        *value /= all;
    }
    mass
}

fn exact_p(a: &[f64], b: &[f64]) -> f64 {
    let ranks = doubled_midranks(&[a, b].concat());
    let sum: usize = ranks[a.len()..].iter().sum();
    let mass = null_distribution(&ranks, b.len());
    let lower: f64 = mass[..=sum].iter().sum();
    let upper: f64 = mass[sum..].iter().sum();
    (2.0 * lower.min(upper)).min(1.0)
}

fn approximate_p(a: &[f64], b: &[f64]) -> f64 {
    let ranks = doubled_midranks(&[a, b].concat());
    let (m, n) = (a.len() as f64, b.len() as f64);
    let all = m + n;
    let sum = ranks[a.len()..].iter().sum::<usize>() as f64 / 2.0;
    let u = sum - n * (n + 1.0) / 2.0;
    let sorted = sorted(&[a, b].concat());
    let ties: f64 =
        sorted.chunk_by(|x, y| x == y).map(|tied| (tied.len() as f64).powi(3) - tied.len() as f64).sum();
    let deviation = (m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)))).sqrt();
    if deviation == 0.0 {
        return 1.0;
    }
    let z = ((u - m * n / 2.0).abs() - 0.5).max(0.0) / deviation;
    (2.0 * normal_upper(z)).min(1.0)
}

/// From the k-th smallest to the k-th largest difference (Moses).
fn interval(m: usize, n: usize, differences: &[f64], alpha: f64) -> Interval {
    let (k, level) = if m + n <= EXACT {
        let ranks: Vec<usize> = (1..=m + n).collect();
        // The smallest possible rank sum of n values is n (n + 1) / 2: U counts from there.
        let mass = null_distribution(&ranks, n).split_off(n * (n + 1) / 2);
        let (mut k, mut below) = (0, 0.0);
        while k < differences.len() / 2 && 2.0 * (below + mass[k]) <= alpha {
            below += mass[k];
            k += 1;
        }
        (k, 1.0 - 2.0 * below)
    } else {
        let (m, n) = (m as f64, n as f64);
        let z = super::special::normal_quantile(1.0 - alpha / 2.0);
        let k = (m * n / 2.0 - z * (m * n * (m + n + 1.0) / 12.0).sqrt()).floor();
        (k.max(0.0) as usize, 1.0 - alpha)
    };
    if k == 0 {
        return Interval::UNBOUNDED;
    }
    Interval { low: differences[k - 1], high: differences[differences.len() - k], level }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hollander and Wolfe's example 4.1, permeability of the human chorioamnion at term and at 12 to 26 weeks: the book
    /// gives P(W >= 30) = .127 one-sided and the estimate .305 for the difference.
    #[test]
    fn the_textbook_example() {
        let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let early = [1.15, 0.88, 0.90, 0.74, 1.21];
        let shift = shift(&early, &term, 0.95).unwrap();
        assert!((shift.p / 2.0 - 0.127).abs() < 0.0005, "{shift:?}");
        assert!((shift.estimate - 0.305).abs() < 1e-9, "{shift:?}");
        assert!(shift.exact);
        assert_eq!(shift.dominance.probability, 0.7);
    }

    #[test]
    fn failed_requests_count_as_slower_than_any() {
        let dominance = dominance(&[1.0, 2.0], &[2.0, f64::INFINITY]);
        assert_eq!(dominance, Dominance { probability: 0.875, delta: 0.75 });
    }

    #[test]
    fn four_against_four_can_be_significant_and_three_cannot() {
        let low: Vec<f64> = (0..4).map(f64::from).collect();
        let high: Vec<f64> = (10..14).map(f64::from).collect();
        assert!(shift(&low, &high, 0.95).unwrap().p < 0.05);
        let three = shift(&low[..3], &high[..3], 0.95).unwrap();
        assert!(three.p > 0.05);
        assert_eq!(three.interval, Interval::UNBOUNDED);
    }

    #[test]
    fn approximation_agrees_with_enumeration_where_both_work() {
        let mut random = crate::Random::new(5);
        let a: Vec<f64> = (0..28).map(|_| random.normal()).collect();
        let b: Vec<f64> = (0..30).map(|_| random.normal() + 0.5).collect();
        assert!((exact_p(&a, &b) - approximate_p(&a, &b)).abs() < 0.003);
    }
}
