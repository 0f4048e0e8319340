//! How throughput grows with concurrency: Gunther's universal scalability law,
//! X(N) = gamma N / (1 + sigma (N - 1) + kappa N (N - 1)).
//!
//! sigma is the share that is serial, kappa what every pair costs each other; with kappa > 0 there is a number beyond
//! which more workers serve less. Least squares on X with sigma and kappa not below 0.

use serde::Serialize;

use super::special::student_two_sided;
use super::{Interval, StatisticsError, finite};

/// Fewest levels of concurrency for three parameters and something left to judge them by.
pub const FEWEST_LEVELS: usize = 6;
const STEPS: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usl {
    /// Throughput of one.
    pub gamma: f64,
    pub sigma: f64,
    pub kappa: f64,
    /// Of kappa, from the curvature of the fit; its lower limit may be below 0.
    pub kappa_interval: Interval,
    /// Share of the variance that the law explains.
    pub r_squared: f64,
}

impl Usl {
    #[must_use]
    pub fn throughput(&self, concurrency: f64) -> f64 {
        predict([self.gamma, self.sigma, self.kappa], concurrency)
    }

    /// The concurrency with the highest throughput; infinite when there is none.
    #[must_use]
    pub fn best_concurrency(&self) -> f64 {
        if self.kappa > 0.0 { ((1.0 - self.sigma).max(0.0) / self.kappa).sqrt() } else { f64::INFINITY }
    }

    /// Whether more workers are known to serve less beyond that.
    #[must_use]
    pub fn is_retrograde(&self) -> bool {
        self.kappa_interval.low > 0.0
    }
}

/// Fit to (concurrency, throughput).
///
/// # Errors
/// Fewer than [`FEWEST_LEVELS`] points, or one that is not positive and finite.
pub fn fit(points: &[(f64, f64)]) -> Result<Usl, StatisticsError> {
    let what = "the ladder";
    if points.len() < FEWEST_LEVELS {
        return Err(StatisticsError::TooFew { what, have: points.len(), need: FEWEST_LEVELS });
    }
    for &(n, x) in points {
        finite(what, &[n, x])?;
        if n <= 0.0 || x <= 0.0 {
            let value = n.min(x);
            return Err(StatisticsError::OutOfRange { what, value, allowed: "above 0" });
        }
    }
    // Throughput per worker of the smallest level, and a little of each cost.
    let first = points
        .iter()
        .fold((f64::INFINITY, 0.0), |first, point| if point.0 < first.0 { *point } else { first });
    let start = [first.1 / first.0, 0.05, 0.001];
    let (parameters, normal) = minimise(points, start);
    let [gamma, sigma, kappa] = parameters;
    let left = squares(points, parameters);
    let mean = points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64;
    let total: f64 = points.iter().map(|point| (point.1 - mean).powi(2)).sum();
    let degrees = points.len() as f64 - 3.0;
    let variance = inverse_last(normal).map_or(f64::INFINITY, |last| last * left / degrees);
    let half = student_two_sided(0.95, degrees) * variance.max(0.0).sqrt();
    let kappa_interval = Interval { low: kappa - half, high: kappa + half, level: 0.95 };
    Ok(Usl { gamma, sigma, kappa, kappa_interval, r_squared: 1.0 - left / total.max(f64::MIN_POSITIVE) })
}

fn predict([gamma, sigma, kappa]: [f64; 3], n: f64) -> f64 {
    gamma * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0))
}

fn squares(points: &[(f64, f64)], parameters: [f64; 3]) -> f64 {
    points.iter().map(|&(n, x)| (x - predict(parameters, n)).powi(2)).sum()
}

/// Levenberg and Marquardt, with steps that would leave the allowed range shortened to its edge. Also the normal matrix at
/// the end.
fn minimise(points: &[(f64, f64)], start: [f64; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    let mut parameters = start;
    let mut damping = 1e-3;
    let mut best = squares(points, parameters);
    for _ in 0..STEPS {
        let (normal, gradient) = normal_equations(points, parameters);
        let mut damped = normal;
        for (i, row) in damped.iter_mut().enumerate() {
            row[i] *= 1.0 + damping;
        }
        let Some(step) = solve(damped, gradient) else { break };
        let moved: [f64; 3] = std::array::from_fn(|i| parameters[i] + step[i]);
        let tried = [moved[0].max(f64::MIN_POSITIVE), moved[1].max(0.0), moved[2].max(0.0)];
        let error = squares(points, tried);
        if error < best {
            let gained = best - error;
            (parameters, best, damping) = (tried, error, damping / 5.0);
            if gained <= 1e-15 * best {
                break;
            }
        } else {
            damping *= 4.0;
            if damping > 1e15 {
                break;
            }
        }
    }
    (parameters, normal_equations(points, parameters).0)
}

/// J'J and J'r of the residuals.
fn normal_equations(points: &[(f64, f64)], parameters: [f64; 3]) -> ([[f64; 3]; 3], [f64; 3]) {
    let [gamma, sigma, kappa] = parameters;
    let (mut normal, mut gradient) = ([[0.0; 3]; 3], [0.0; 3]);
    for &(n, x) in points {
        let divisor = 1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0);
        let slope = -gamma * n / (divisor * divisor);
        let row = [n / divisor, slope * (n - 1.0), slope * n * (n - 1.0)];
        let residual = x - predict(parameters, n);
        for i in 0..3 {
            gradient[i] += row[i] * residual;
            for j in 0..3 {
                normal[i][j] += row[i] * row[j];
            }
        }
    }
    (normal, gradient)
}

/// Cramer's rule; None when the equations say nothing.
fn solve(matrix: [[f64; 3]; 3], right: [f64; 3]) -> Option<[f64; 3]> {
    let whole = determinant(matrix);
    if whole == 0.0 || !whole.is_finite() {
        return None;
    }
    Some(std::array::from_fn(|column| {
        let mut replaced = matrix;
        for (row, value) in replaced.iter_mut().zip(right) {
            row[column] = value;
        }
        determinant(replaced) / whole
    }))
}

/// The last diagonal element of the inverse.
fn inverse_last(matrix: [[f64; 3]; 3]) -> Option<f64> {
    solve(matrix, [0.0, 0.0, 1.0]).map(|column| column[2])
}

fn determinant([a, b, c]: [[f64; 3]; 3]) -> f64 {
    a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn ladder(gamma: f64, sigma: f64, kappa: f64, noise: f64) -> Vec<(f64, f64)> {
        let mut random = Random::new(6);
        [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
            .map(|n| (n, predict([gamma, sigma, kappa], n) * (1.0 + noise * random.normal())))
            .to_vec()
    }

    #[test]
    fn finds_the_law_again() {
        for (gamma, sigma, kappa) in [(100.0, 0.05, 0.001), (5_000.0, 0.2, 0.0), (20.0, 0.0, 0.01)] {
            let usl = fit(&ladder(gamma, sigma, kappa, 0.0)).unwrap();
            assert!((usl.gamma / gamma - 1.0).abs() < 1e-4, "{usl:?}");
            assert!((usl.sigma - sigma).abs() < 1e-4 && (usl.kappa - kappa).abs() < 1e-5, "{usl:?}");
            assert!(usl.r_squared > 0.999_999);
        }
        let usl = fit(&ladder(100.0, 0.05, 0.001, 0.01)).unwrap();
        assert!(usl.is_retrograde() && usl.kappa_interval.contains(0.001), "{usl:?}");
        assert!((usl.best_concurrency() - 30.8).abs() < 4.0, "{usl:?}");
        let usl = fit(&ladder(100.0, 0.2, 0.0, 0.02)).unwrap();
        assert!(!usl.is_retrograde(), "{usl:?}");
    }

    #[test]
    fn too_little_is_refused() {
        assert!(fit(&ladder(1.0, 0.0, 0.0, 0.0)[..5]).is_err());
        assert!(fit(&[(0.0, 1.0); 7]).is_err());
    }
}
