//! One number per pair: the Hodges-Lehmann estimate, its exact interval, and Wilcoxon's signed-rank test.
//!
//! Assumes that the pairs are independent and their differences symmetric around the effect, which log ratios of paired
//! blocks nearly are; no particular distribution. Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods",
//! section 3.1 (test), 3.2 (estimate), 3.3 (interval).
//!
//! Ties and zeros: differences of exactly zero are left out of the *test* (Wilcoxon's way) and the p-value is exact given
//! the ties among the rest (the permutation distribution of the midranks). Estimate and interval keep every difference;
//! with ties the interval covers at least as often as it says.

use serde::Serialize;

use super::{Interval, StatisticsError, checked_level, doubled_midranks, finite, median_of_sorted, sorted};

/// The exact distribution is computed up to here: more pairs than any run has, in milliseconds.
pub const MAX_PAIRS: usize = 300;

/// What one number per pair says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    pub pairs: usize,
    /// Hodges-Lehmann: median of the means of any two differences, each with itself included.
    pub estimate: f64,
    pub interval: Interval,
    /// Two-sided, of "there is no effect".
    pub p: f64,
    /// Sample standard deviation of the differences.
    pub deviation: f64,
}

/// Estimate, interval at `level` (0.95) and p-value of paired differences.
///
/// # Errors
/// No differences or more than [`MAX_PAIRS`], one is not finite, or the level is not between 0 and 1.
pub fn effect(differences: &[f64], level: f64) -> Result<Effect, StatisticsError> {
    let alpha = checked_level(level)?;
    check(differences)?;
    let walsh = walsh_averages(differences);
    Ok(Effect {
        pairs: differences.len(),
        estimate: median_of_sorted(&walsh),
        interval: interval(differences.len(), &walsh, alpha),
        p: test(differences)?,
        deviation: super::standard_deviation(differences),
    })
}

/// Two-sided p-value of Wilcoxon's signed-rank test; 1 when all differences are zero.
///
/// # Errors
/// As [`effect`].
pub fn test(differences: &[f64]) -> Result<f64, StatisticsError> {
    check(differences)?;
    let kept: Vec<f64> = differences.iter().copied().filter(|&difference| difference != 0.0).collect();
    let magnitudes: Vec<f64> = kept.iter().map(|difference| difference.abs()).collect();
    let ranks = doubled_midranks(&magnitudes);
    let positive: usize =
        ranks.iter().zip(&kept).filter(|&(_, &difference)| difference > 0.0).map(|(rank, _)| rank).sum();
    let mass = null_distribution(&ranks);
    let lower: f64 = mass[..=positive].iter().sum();
    let upper: f64 = mass[positive..].iter().sum();
    Ok((2.0 * lower.min(upper)).min(1.0))
}

/// The smallest p-value that so many pairs can give: with fewer than 6 it is above 0.05, whatever the data.
#[must_use]
pub fn smallest_p(pairs: usize) -> f64 {
    // Two of the 2^n equally likely sign patterns.
    (2.0 * 0.5_f64.powi(i32::try_from(pairs).unwrap_or(i32::MAX))).min(1.0)
}

fn check(differences: &[f64]) -> Result<(), StatisticsError> {
    let what = "the paired differences";
    if differences.is_empty() {
        return Err(StatisticsError::TooFew { what, have: 0, need: 1 });
    }
    if differences.len() > MAX_PAIRS {
        return Err(StatisticsError::TooMany { what, have: differences.len(), limit: MAX_PAIRS });
    }
    finite(what, differences)
}

/// Means of all pairs of values, each with itself too, in order: n (n + 1) / 2 of them.
fn walsh_averages(values: &[f64]) -> Vec<f64> {
    let mut averages = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (i, &first) in values.iter().enumerate() {
        averages.extend(values[i..].iter().map(|&second| f64::midpoint(first, second)));
    }
    sorted(&averages)
}

/// Probability of each possible sum of the (doubled) ranks that get a plus, when every sign is a fair coin.
fn null_distribution(doubled_ranks: &[usize]) -> Vec<f64> {
    let mut mass = vec![0.0; doubled_ranks.iter().sum::<usize>() + 1];
    mass[0] = 1.0;
    let mut reached = 0;
    for &rank in doubled_ranks {
        reached += rank;
        for sum in (0..=reached).rev() {
            let with = if sum >= rank { mass[sum - rank] } else { 0.0 };
            mass[sum] = 0.5 * (mass[sum] + with);
        }
    }
    mass
}

/// From the k-th Walsh average from below to the k-th from above, with the largest k that keeps the level.
fn interval(pairs: usize, walsh: &[f64], alpha: f64) -> Interval {
    let ranks: Vec<usize> = (1..=pairs).collect();
    let mass = null_distribution(&ranks);
    let (mut k, mut below) = (0, 0.0);
    // k-th from each end: the chance to miss is P(W+ <= k - 1) on each side.
    while k < walsh.len() / 2 && 2.0 * (below + mass[k]) <= alpha {
        below += mass[k];
        k += 1;
    }
    if k == 0 {
        return Interval::UNBOUNDED;
    }
    Interval { low: walsh[k - 1], high: walsh[walsh.len() - k], level: 1.0 - 2.0 * below }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of exact levels: pairs, position from each end, level in per cent, smallest p.
    #[test]
    fn positions_and_levels_are_the_tabulated_ones() {
        for (pairs, k, level, p) in [
            (6, 1, 96.9, 0.031),
            (7, 3, 95.3, 0.016),
            (8, 4, 96.1, 0.0078),
            (9, 6, 96.1, 0.0039),
            (10, 9, 95.1, 0.0020),
            (12, 14, 95.8, 0.0005),
        ] {
            // Walsh averages that are their own position.
            let positions: Vec<f64> = (1..=pairs * (pairs + 1) / 2).map(|i| i as f64).collect();
            let interval = interval(pairs, &positions, 0.05);
            assert_eq!(interval.low, f64::from(k), "{pairs}");
            assert_eq!(interval.high, positions.len() as f64 + 1.0 - f64::from(k), "{pairs}");
            assert!((interval.level * 100.0 - level).abs() < 0.051, "{pairs}: {}", interval.level);
            assert!((smallest_p(pairs) - p).abs() < 0.0005, "{pairs}");
        }
        assert_eq!(interval(5, &[0.0; 15], 0.05), Interval::UNBOUNDED);
    }

    /// Hollander and Wolfe's example 3.1, the Hamilton depression scale of nine patients before and after a tranquilizer
    /// (Salsburg 1970): the book gives T+ = 5 with P = .0195 one-sided, the estimate -.46, and at 96.1 per cent the
    /// interval from -.786 to -.010.
    #[test]
    #[expect(clippy::approx_constant, reason = "3.14 is a patient's score")]
    fn the_textbook_example() {
        let before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
        let after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
        let differences: Vec<f64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        let effect = effect(&differences, 0.95).unwrap();
        assert!((effect.p / 2.0 - 0.01953).abs() < 5e-5, "{effect:?}");
        assert!((effect.estimate + 0.46).abs() < 0.0005, "{effect:?}");
        assert!((effect.interval.low + 0.786).abs() < 0.0005, "{effect:?}");
        assert!((effect.interval.high + 0.010).abs() < 0.0005, "{effect:?}");
        assert!((effect.interval.level - 0.961).abs() < 0.0005, "{effect:?}");
    }

    #[test]
    fn no_effect_gives_no_p_and_few_pairs_no_interval() {
        let zero = effect(&[0.0; 8], 0.95).unwrap();
        assert_eq!((zero.p, zero.estimate, zero.interval.low, zero.interval.high), (1.0, 0.0, 0.0, 0.0));
        let few = effect(&[1.0; 5], 0.95).unwrap();
        assert_eq!(few.interval, Interval::UNBOUNDED);
        assert_eq!(few.p, 0.0625);
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        assert!(effect(&[], 0.95).is_err());
        assert!(effect(&[f64::INFINITY], 0.95).is_err());
        assert!(effect(&[0.0; MAX_PAIRS + 1], 0.95).is_err());
        assert!(effect(&[1.0], 1.0).is_err());
        assert!(effect(&[1.0; MAX_PAIRS], 0.95).is_ok());
    }
}
