//! Quantiles of one sample, their intervals without any distribution, and how many values a quantile needs.

use super::special::{incomplete_beta, normal_quantile};
use super::{Interval, StatisticsError, checked_level};

/// Values that must lie beyond a quantile before it is shown at all.
pub const TO_SHOW: f64 = 10.0;
/// Values that must lie beyond a quantile before something is decided on it.
pub const TO_DECIDE: f64 = 60.0;

/// Quantile of sorted values, linear between neighbours (Hyndman and Fan's type 7, NumPy's default). NaN when empty;
/// infinite as soon as an infinite value (a failed request) has a part in it.
#[must_use]
pub fn interpolated(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = position.floor();
    let share = position - below;
    let (low, high) = (sorted[below as usize], sorted[(below as usize + 1).min(last)]);
    // Without the first case, infinity times 0 would be NaN.
    if share == 0.0 || low == high { low } else { low + share * (high - low) }
}

/// How many of `n` values lie beyond the quantile `q`, in expectation.
#[must_use]
pub fn beyond(n: f64, q: f64) -> f64 {
    n * (1.0 - q)
}

/// Whether a quantile of `n` independent values is worth showing.
#[must_use]
pub fn may_show(n: f64, q: f64) -> bool {
    // A half more than enough is lost to rounding of 1 - q.
    beyond(n, q) + 1e-9 >= TO_SHOW
}

/// Whether a quantile of `n` independent values is good enough to decide on.
#[must_use]
pub fn may_decide(n: f64, q: f64) -> bool {
    beyond(n, q) + 1e-9 >= TO_DECIDE
}

/// Weights of Harrell and Davis (1982) for a quantile of `n` sorted values: a mean of all of them, smoother than any single
/// one. Computed once for many samples of the same size.
#[must_use]
pub fn harrell_davis_weights(n: usize, q: f64) -> Vec<f64> {
    let (a, b) = ((n + 1) as f64 * q, (n + 1) as f64 * (1.0 - q));
    if q <= 0.0 || q >= 1.0 {
        return vec![f64::NAN; n];
    }
    let mut before = 0.0;
    (1..=n)
        .map(|i| {
            let until = incomplete_beta(a, b, i as f64 / n as f64);
            let weight = until - before;
            before = until;
            weight
        })
        .collect()
}

/// The estimate that the weights give. Failed requests (infinite) make it infinite when they have any weight.
#[must_use]
pub fn weighted(sorted: &[f64], weights: &[f64]) -> f64 {
    // Below this a weight is rounding, and must not make the sum infinite.
    const NOTHING: f64 = 1e-12;
    sorted
        .iter()
        .zip(weights)
        .map(|(&value, &weight)| if value.is_infinite() && weight < NOTHING { 0.0 } else { value * weight })
        .sum()
}

/// Interval for a quantile of sorted independent values, by order statistics and the normal approximation of the binomial.
/// Without limits on a side where the sample has no such value: below 368 values p99 has no upper limit.
///
/// # Errors
/// The level or q is not between 0 and 1.
pub fn interval(sorted: &[f64], q: f64, level: f64) -> Result<Interval, StatisticsError> {
    let alpha = checked_level(level)?;
    if !(q > 0.0 && q < 1.0) {
        return Err(StatisticsError::OutOfRange {
            what: "the quantile",
            value: q,
            allowed: "between 0 and 1",
        });
    }
    let n = sorted.len() as f64;
    let spread = normal_quantile(1.0 - alpha / 2.0) * (n * q * (1.0 - q)).sqrt();
    let (low, high) = ((n * q - spread).floor(), (n * q + spread).ceil() + 1.0);
    let at = |rank: f64, otherwise: f64| {
        if rank >= 1.0 && rank <= n { sorted[rank as usize - 1] } else { otherwise }
    };
    Ok(Interval { low: at(low, f64::NEG_INFINITY), high: at(high, f64::INFINITY), level })
}

/// Fewest independent values for which any two-sided interval of the quantile with this level has limits: `q^n` or
/// `(1 - q)^n`, whichever is larger, must be at most half of what may be missed.
#[must_use]
pub fn fewest_values(q: f64, level: f64) -> usize {
    let tail = ((1.0 - level) / 2.0).ln();
    (tail / q.max(1.0 - q).ln()).ceil() as usize
}

/// How many independent values are worth as much as these, in which neighbours resemble each other: n over 1 + 2 times the
/// sum of the autocorrelations, up to the first that is not positive (Geyer's initial positive sequence, simplified).
#[must_use]
pub fn effective_size(values: &[f64]) -> f64 {
    let n = values.len();
    let mean = super::mean(values);
    let covariance = |lag: usize| -> f64 {
        values.iter().zip(&values[lag..]).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>() / n as f64
    };
    // Longer memory than this is a trend, and looking for it costs n^2.
    const LAGS: usize = 1_000;
    let variance = if n == 0 { 0.0 } else { covariance(0) };
    if variance <= 0.0 || !variance.is_finite() {
        return n as f64;
    }
    let correlations = (1..n.min(LAGS)).map(|lag| covariance(lag) / variance).take_while(|&rho| rho > 0.0);
    (n as f64 / (1.0 + 2.0 * correlations.sum::<f64>())).clamp(1.0, n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn interpolates_as_numpy_does() {
        let values = [1.0, 2.0, 4.0, 8.0];
        // numpy.quantile([1, 2, 4, 8], [0, .25, .5, .9, 1])
        for (q, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
            assert!((interpolated(&values, q) - expected).abs() < 1e-12, "{q}");
        }
        assert!(interpolated(&[], 0.5).is_nan());
        let failed = [1.0, 2.0, f64::INFINITY, f64::INFINITY];
        assert_eq!((interpolated(&failed, 1.0 / 3.0), interpolated(&failed, 0.5)), (2.0, f64::INFINITY));
        assert_eq!(interpolated(&failed, 1.0), f64::INFINITY);
    }

    /// The published table: smallest sample with a finite interval.
    #[test]
    fn tails_need_many_values() {
        for (q, n) in [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.999, 3_688), (0.9999, 36_887)] {
            assert_eq!(fewest_values(q, 0.95), n, "{q}");
        }
        assert!(may_show(1_000.0, 0.99) && !may_show(999.0, 0.99));
        assert!(may_decide(6_000.0, 0.99) && !may_decide(5_999.0, 0.99));
    }

    #[test]
    fn the_interval_covers() {
        let mut random = Random::new(11);
        let runs = 2_000;
        let mut covered = 0;
        for _ in 0..runs {
            let values: Vec<f64> = (0..500).map(|_| random.exponential()).collect();
            let interval = interval(&super::super::sorted(&values), 0.95, 0.95).unwrap();
            covered += u32::from(interval.contains(20.0_f64.ln()));
        }
        // Conservative by a rank on each side; five standard errors below 95 per cent are 92.6.
        assert!((0.926..=0.99).contains(&(f64::from(covered) / f64::from(runs))), "{covered}");
        let few = super::super::sorted(&[1.0, 2.0, 3.0]);
        assert_eq!(interval(&few, 0.99, 0.95).unwrap().high, f64::INFINITY);
    }

    #[test]
    fn neighbours_that_resemble_each_other_count_less() {
        let mut random = Random::new(2);
        let independent: Vec<f64> = (0..4_000).map(|_| random.normal()).collect();
        assert!(effective_size(&independent) > 3_400.0, "{}", effective_size(&independent));
        let mut last = 0.0;
        let resembling: Vec<f64> = independent
            .iter()
            .map(|noise| {
                last = 0.9 * last + noise;
                last
            })
            .collect();
        // An AR(1) process with rho = 0.9 has (1 - rho) / (1 + rho) = 1/19 of the size.
        let size = effective_size(&resembling);
        assert!((110.0..400.0).contains(&size), "{size}");
        assert_eq!(effective_size(&[5.0; 10]), 10.0);
        assert_eq!(effective_size(&[]), 0.0);
    }
}
