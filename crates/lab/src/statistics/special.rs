//! The special functions that the other files need, to about ten digits. Not a library of them.

use std::f64::consts::{PI, SQRT_2};

/// P(Z > z) of the standard normal distribution.
pub(super) fn normal_upper(z: f64) -> f64 {
    0.5 * erfc(z / SQRT_2)
}

/// Complementary error function through the incomplete gamma function of one half (Numerical Recipes, section 6.2).
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 1.5 {
        // Series for erf.
        let (mut sum, mut term, mut n) = (x, x, 0.0);
        while term.abs() > 1e-17 * sum.abs() {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        1.0 - 2.0 / PI.sqrt() * sum
    } else {
        // Continued fraction from far out (Abramowitz and Stegun 7.1.14): 60 terms are enough from 1.5 on.
        let fraction = (1..=60).rev().fold(x, |tail, k| x + f64::from(k) / 2.0 / tail);
        (-x * x).exp() / (PI.sqrt() * fraction)
    }
}

/// The z with P(Z <= z) = p: bisection, since speed does not matter here. Infinite at 0 and 1.
pub(super) fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if normal_upper(-middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// ln of the gamma function for x > 0 (Lanczos, g = 7, n = 9).
pub(super) fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let sum = COEFFICIENTS
        .iter()
        .enumerate()
        .fold(0.999_999_999_999_809_9, |sum, (i, coefficient)| sum + coefficient / (x + i as f64 + 1.0));
    let t = x + 7.5;
    0.5 * (2.0 * PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// Regularised incomplete beta function I_x(a, b), by its continued fraction (Numerical Recipes, section 6.4).
pub(super) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    // Lentz's method never divides by less than this.
    const TINY: f64 = 1e-300;
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for step in 1..=2_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / nonzero(1.0 + even * d);
        c = nonzero(1.0 + even / c);
        result *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / nonzero(1.0 + odd * d);
        c = nonzero(1.0 + odd / c);
        let change = d * c;
        result *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}

/// The t with P(|T| <= t) = level of Student's distribution.
pub(crate) fn student_two_sided(level: f64, degrees: f64) -> f64 {
    let beyond = |t: f64| incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t));
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if beyond(middle) > 1.0 - level {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() <= 1e-10 * expected.abs().max(1e-3), "{value} is not {expected}");
    }

    /// SciPy: norm.sf, norm.ppf, gammaln, betainc.
    #[test]
    fn values_are_those_of_scipy() {
        close(normal_upper(0.0), 0.5);
        close(normal_upper(1.0), 0.158_655_253_931_457_05);
        close(normal_upper(-1.0), 0.841_344_746_068_542_9);
        close(normal_upper(3.0), 0.001_349_898_031_630_094_5);
        close(normal_quantile(0.975), 1.959_963_984_540_054);
        close(ln_gamma(0.5), 0.572_364_942_924_700_1);
        close(ln_gamma(10.0), 12.801_827_480_081_469);
        close(incomplete_beta(2.0, 3.0, 0.4), 0.5248);
        close(student_two_sided(0.95, 3.0), 3.182_446_305_284_263);
        close(incomplete_beta(50.5, 50.5, 0.5), 0.5);
        close(incomplete_beta(5.5, 95.5, 0.1), 0.962_137_610_207_670_9);
    }
}
