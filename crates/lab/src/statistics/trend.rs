//! A slope that a few outliers cannot move: memory per request, memory per connection, latency per second.
//!
//! Theil (1950) and Sen (1968): the median of the slopes between any two points. A slope whose interval excludes 0 is a
//! trend, not yet a leak: warming caches grow too, so look at the last half, on the number of requests instead of time.

use serde::Serialize;

use super::special::normal_quantile;
use super::{Interval, StatisticsError, checked_level, finite, median_of_sorted, sorted};

/// Points at most: every pair is looked at.
pub const MAX_POINTS: usize = 2_000;

/// y grows by `slope` per unit of x.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trend {
    pub slope: f64,
    pub interval: Interval,
    /// median(y) - slope * median(x).
    pub intercept: f64,
}

/// Slope through points, with the interval that Kendall's statistic gives (the normal approximation, as SciPy has it).
///
/// # Errors
/// Fewer than two different x, more than [`MAX_POINTS`] points, a value that is not finite.
pub fn theil_sen(points: &[(f64, f64)], level: f64) -> Result<Trend, StatisticsError> {
    let alpha = checked_level(level)?;
    let what = "the points";
    if points.len() > MAX_POINTS {
        return Err(StatisticsError::TooMany { what, have: points.len(), limit: MAX_POINTS });
    }
    let x = sorted(&points.iter().map(|point| point.0).collect::<Vec<_>>());
    let y = sorted(&points.iter().map(|point| point.1).collect::<Vec<_>>());
    finite(what, &x)?;
    finite(what, &y)?;
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (i, &(x1, y1)) in points.iter().enumerate() {
        slopes.extend(
            points[i + 1..].iter().filter(|(x2, _)| *x2 != x1).map(|&(x2, y2)| (y2 - y1) / (x2 - x1)),
        );
    }
    if slopes.is_empty() {
        return Err(StatisticsError::TooFew {
            what: "different x among the points",
            have: points.len().min(1),
            need: 2,
        });
    }
    let slopes = sorted(&slopes);
    let slope = median_of_sorted(&slopes);
    let n = points.len() as f64;
    let pairs = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let ties =
        |values: &[f64]| -> f64 { values.chunk_by(|a, b| a == b).map(|tied| pairs(tied.len() as f64)).sum() };
    let deviation = ((pairs(n) - ties(&x) - ties(&y)) / 18.0).max(0.0).sqrt();
    let spread = normal_quantile(1.0 - alpha / 2.0) * deviation;
    let count = slopes.len() as f64;
    let rank = |position: f64| (position.round_ties_even().max(0.0) as usize).min(slopes.len() - 1);
    let (low, high) = (rank((count - spread) / 2.0 - 1.0), rank((count + spread) / 2.0));
    let interval = Interval { low: slopes[low], high: slopes[high], level };
    Ok(Trend { slope, interval, intercept: median_of_sorted(&y) - slope * median_of_sorted(&x) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn outliers_do_not_move_it() {
        let mut points: Vec<(f64, f64)> = (0..20).map(|i| (f64::from(i), 3.0 + 2.0 * f64::from(i))).collect();
        points[3].1 = 1e6;
        points[15].1 = -1e6;
        let trend = theil_sen(&points, 0.95).unwrap();
        assert!((trend.slope - 2.0).abs() < 1e-9 && trend.interval.contains(2.0));
    }

    #[test]
    fn the_interval_covers() {
        let mut random = Random::new(9);
        let covered = (0..1_000)
            .filter(|_| {
                let points: Vec<(f64, f64)> =
                    (0..12).map(|i| (f64::from(i), 0.5 * f64::from(i) + random.normal())).collect();
                theil_sen(&points, 0.95).unwrap().interval.contains(0.5)
            })
            .count();
        // Five standard errors around 95 per cent.
        assert!((915..=985).contains(&covered), "{covered}");
    }

    #[test]
    fn no_slope_without_two_places() {
        assert!(theil_sen(&[(1.0, 2.0)], 0.95).is_err());
        assert!(theil_sen(&[(1.0, 2.0), (1.0, 3.0)], 0.95).is_err());
        assert!(theil_sen(&[(1.0, 2.0), (2.0, f64::NAN)], 0.95).is_err());
        assert!(theil_sen(&[], 0.95).is_err());
    }
}
