//! Whether a prediction deserves belief: compared with what was measured in the same configuration under the same traffic.

use serde::Serialize;

/// Largest relative errors of a model that is believed.
pub const P50: f64 = 0.15;
pub const P95: f64 = 0.25;
pub const THROUGHPUT: f64 = 0.05;

/// What is compared. Seconds and requests per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    pub p50: f64,
    pub p95: f64,
    pub throughput: f64,
}

/// The comparison: predicted over measured, minus 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trust {
    pub measured: Figures,
    pub predicted: Figures,
    pub errors: Figures,
    pub trusted: bool,
}

impl Trust {
    #[must_use]
    pub fn of(measured: Figures, predicted: Figures) -> Trust {
        let error = |of: fn(&Figures) -> f64| of(&predicted) / of(&measured) - 1.0;
        let errors = Figures {
            p50: error(|figures| figures.p50),
            p95: error(|figures| figures.p95),
            throughput: error(|figures| figures.throughput),
        };
        // Written so that what is no number is not believed.
        let trusted =
            errors.p50.abs() <= P50 && errors.p95.abs() <= P95 && errors.throughput.abs() <= THROUGHPUT;
        Trust { measured, predicted, errors, trusted }
    }

    /// Which bounds are broken: "p95 by +31 %, allowed 25 %".
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let bounds = [
            ("p50", self.errors.p50, P50),
            ("p95", self.errors.p95, P95),
            ("throughput", self.errors.throughput, THROUGHPUT),
        ];
        let broken = bounds.into_iter().filter(|(_, error, bound)| error.is_nan() || error.abs() > *bound);
        broken
            .map(|(name, error, bound)| {
                format!("{name} by {:+.0} %, allowed {:.0} %", 100.0 * error, 100.0 * bound)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(p50: f64, p95: f64, throughput: f64) -> Trust {
        let measured = Figures { p50: 0.01, p95: 0.1, throughput: 200.0 };
        Trust::of(measured, Figures { p50: 0.01 * p50, p95: 0.1 * p95, throughput: 200.0 * throughput })
    }

    #[test]
    fn bounds_hold_on_both_sides() {
        assert!(trust(1.14, 0.76, 1.04).trusted && trust(0.86, 1.24, 0.96).trusted);
        for (broken, name) in [
            (trust(1.16, 1.0, 1.0), "p50 by +16 %, allowed 15 %"),
            (trust(1.0, 0.74, 1.0), "p95 by -26 %, allowed 25 %"),
            (trust(1.0, 1.0, 1.06), "throughput by +6 %, allowed 5 %"),
        ] {
            assert!(!broken.trusted);
            assert_eq!(broken.broken(), [name]);
        }
        assert!(!trust(f64::NAN, 1.0, 1.0).trusted && !trust(1.0, f64::INFINITY, 1.0).trusted);
    }
}
