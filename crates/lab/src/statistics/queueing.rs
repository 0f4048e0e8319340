//! Little's law as a check of a measurement: in any system that neither loses nor keeps requests, the mean number under way
//! is throughput times mean latency. Where it does not hold, the measurement is wrong, whatever the system.

/// Largest relative deviation that a closed loop of some seconds may show.
pub const TOLERANCE: f64 = 0.03;

/// How far N and X times R are apart, relative to N. `under_way` is the mean number of requests in the system, `throughput`
/// requests per second, `latency` their mean in seconds.
#[must_use]
pub fn little_deviation(under_way: f64, throughput: f64, latency: f64) -> f64 {
    (throughput * latency - under_way).abs() / under_way
}

/// Whether the law holds within [`TOLERANCE`].
#[must_use]
pub fn little_holds(under_way: f64, throughput: f64, latency: f64) -> bool {
    little_deviation(under_way, throughput, latency) <= TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_loop_obeys_and_a_wrong_clock_does_not() {
        assert!(little_holds(8.0, 400.0, 0.02));
        assert!(little_holds(8.0, 400.0, 0.0205) && !little_holds(8.0, 400.0, 0.021));
        assert!(!little_holds(8.0, f64::NAN, 0.02) && !little_holds(0.0, 1.0, 1.0));
    }
}
