//! What may be concluded from numbers: pure functions, no clock, no HTTP, randomness as a parameter.
//!
//! The unit that is replicated is a *pair of blocks* (configuration A and configuration B under the same arrivals, one
//! right after the other), never a request: requests within a block wait for each other, and a test that takes them for
//! independent calls everything significant. Hence:
//!
//! - [`signed_rank`]: from one number per pair (usually [`log_ratio`]) to an estimate with an exact interval and p-value.
//! - [`rank_sum`]: the same for blocks that were not paired; weaker.
//! - [`verdict`]: from interval, material effect and A/A control to one of four verdicts; Holm over several; how many pairs
//!   a clearer answer needs.
//! - [`quantile`]: quantiles, their intervals, and how many requests a quantile needs before it may be shown or decided on.
//! - [`shift`]: where in the distribution two configurations differ: the picture, not the verdict.
//! - [`trend`]: slopes (memory per request, per connection); [`steady`]: when warm-up is over; [`queueing`]: Little's law as a
//!   check of the measurement; [`usl`]: how throughput grows with concurrency.
//!
//! What is random is the run; so nothing here averages percentiles, and nothing tests again until it is significant.

pub mod quantile;
pub mod queueing;
pub mod rank_sum;
pub mod shift;
pub mod signed_rank;
pub(crate) mod special;
pub mod steady;
pub mod trend;
pub mod usl;
pub mod verdict;

use serde::Serialize;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatisticsError {
    #[error("{what}: {have} values, at least {need} are needed")]
    TooFew { what: &'static str, have: usize, need: usize },
    #[error("{what}: {have} values, at most {limit} are supported")]
    TooMany { what: &'static str, have: usize, limit: usize },
    #[error("{what} contains {value}, which is not a finite number")]
    NotFinite { what: &'static str, value: f64 },
    #[error("{what} is {value}, it must be {allowed}")]
    OutOfRange { what: &'static str, value: f64, allowed: &'static str },
}

/// An estimate's neighbourhood that holds the true value with at least probability `level`. Without limits when the data
/// cannot give the level that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// What is achieved, which with few values is more than what was asked for.
    pub level: f64,
}

impl Interval {
    /// The interval that says nothing.
    pub const UNBOUNDED: Interval = Interval { low: f64::NEG_INFINITY, high: f64::INFINITY, level: 1.0 };

    #[must_use]
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }

    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Whether all of it is strictly between the limits.
    #[must_use]
    pub fn is_within(&self, low: f64, high: f64) -> bool {
        low < self.low && self.high < high
    }

    /// For intervals of logarithms: the same statement about ratios.
    #[must_use]
    pub fn exp(&self) -> Interval {
        Interval { low: self.low.exp(), high: self.high.exp(), level: self.level }
    }
}

/// A ratio beyond which it no longer matters how much: where a quantile fell among requests that failed, its true value is
/// unknown but worse than anything seen.
const CENSORED_RATIO: f64 = 1e4;

/// ln(b / a) for two positive figures, the number of a pair. Infinite figures (a quantile that fell among failed requests)
/// count as 10,000 times worse; ranks use only their order. None when there is nothing to compare: both are infinite, or
/// one is not positive.
#[must_use]
pub fn log_ratio(a: f64, b: f64) -> Option<f64> {
    if !(a > 0.0 && b > 0.0) || (a.is_infinite() && b.is_infinite()) {
        return None;
    }
    Some((b / a).ln().clamp(-CENSORED_RATIO.ln(), CENSORED_RATIO.ln()))
}

/// Middle of a sorted slice; the mean of the two middle ones when there are two. NaN when empty.
pub(crate) fn median_of_sorted(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

pub(crate) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample standard deviation (divisor n - 1); NaN below two values.
#[must_use]
pub fn standard_deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}

pub(crate) fn finite(what: &'static str, values: &[f64]) -> Result<(), StatisticsError> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(&value) => Err(StatisticsError::NotFinite { what, value }),
        None => Ok(()),
    }
}

/// Ranks from 1, ties share their mean rank; doubled, so that they are whole numbers.
pub(crate) fn doubled_midranks(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]];
        let tied = order[start..].iter().take_while(|&&i| values[i] == value).count();
        // Ranks start+1 ..= start+tied: their mean is (2 start + tied + 1) / 2.
        for &i in &order[start..start + tied] {
            ranks[i] = 2 * start + tied + 1;
        }
        start += tied;
    }
    ranks
}

pub(crate) fn checked_level(level: f64) -> Result<f64, StatisticsError> {
    if level > 0.0 && level < 1.0 {
        Ok(1.0 - level)
    } else {
        Err(StatisticsError::OutOfRange { what: "the level", value: level, allowed: "between 0 and 1" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_rank() {
        assert_eq!(doubled_midranks(&[3.0, 1.0, 3.0, 2.0]), [7, 2, 7, 4]);
        assert_eq!(doubled_midranks(&[]), Vec::<usize>::new());
    }

    #[test]
    fn a_failed_quantile_is_worse_and_two_say_nothing() {
        assert_eq!(log_ratio(1.0, 1.0), Some(0.0));
        assert_eq!(log_ratio(1.0, f64::INFINITY), Some(CENSORED_RATIO.ln()));
        assert_eq!(log_ratio(f64::INFINITY, 1.0), Some(-CENSORED_RATIO.ln()));
        assert_eq!(log_ratio(f64::INFINITY, f64::INFINITY), None);
        assert_eq!(log_ratio(0.0, 1.0), None);
        assert_eq!(log_ratio(f64::NAN, 1.0), None);
    }
}
