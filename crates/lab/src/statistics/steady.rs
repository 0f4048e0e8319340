//! When warm-up is over. Detected, not assumed: of benchmarks that run "long enough" a good part never becomes steady
//! (Barrett et al., "Virtual machine warmup blows hot and cold", OOPSLA 2017), and then that is the finding.

use super::{StatisticsError, finite, mean, trend};

/// Windows that must agree.
pub const WINDOWS: usize = 4;
/// How far from their mean each may be.
pub const AGREEMENT: f64 = 0.10;
/// Observations per batch of [`mser5`].
const BATCH: usize = 5;

/// Index of the first window that belongs to the steady state: it and the next [`WINDOWS`] - 1 are within
/// [`AGREEMENT`] of their mean, and their slope is not clearly different from 0. None: it never came.
///
/// `medians` is one figure per window (half a second of latencies, say).
///
/// # Errors
/// A value is not finite.
pub fn first_steady(medians: &[f64]) -> Result<Option<usize>, StatisticsError> {
    finite("the windows", medians)?;
    for (index, windows) in medians.windows(WINDOWS).enumerate() {
        let mean = mean(windows);
        let agree = windows.iter().all(|median| (median - mean).abs() <= AGREEMENT * mean.abs());
        let points: Vec<(f64, f64)> =
            windows.iter().enumerate().map(|(i, &median)| (i as f64, median)).collect();
        if agree && trend::theil_sen(&points, 0.95)?.interval.contains(0.0) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// How many observations to cut off the beginning: the truncation that minimises the variance of the remaining batch means
/// over their number (White 1997; batches of five, Spratt 1998). Looks at cuts in the first half only: a minimum beyond
/// means that there is no steady state, and gives None.
///
/// # Errors
/// Fewer than ten batches, or a value is not finite.
pub fn mser5(observations: &[f64]) -> Result<Option<usize>, StatisticsError> {
    finite("the observations", observations)?;
    let batches: Vec<f64> = observations.chunks_exact(BATCH).map(mean).collect();
    if batches.len() < 10 {
        let (have, need) = (observations.len(), 10 * BATCH);
        return Err(StatisticsError::TooFew { what: "the observations", have, need });
    }
    // From the end, so that each cut adds one batch to what is kept.
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut best = (f64::INFINITY, 0);
    for cut in (0..batches.len()).rev() {
        sum += batches[cut];
        squares += batches[cut] * batches[cut];
        let kept = (batches.len() - cut) as f64;
        let error = (squares - sum * sum / kept).max(0.0) / (kept * kept);
        // The last few batches agree by chance.
        if kept >= 5.0 && error <= best.0 {
            best = (error, cut);
        }
    }
    Ok((best.1 <= batches.len() / 2).then_some(best.1 * BATCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn finds_where_it_settles() {
        assert_eq!(first_steady(&[9.0, 5.0, 2.0, 1.0, 1.01, 0.99, 1.0, 1.02]).unwrap(), Some(3));
        assert_eq!(first_steady(&[1.0, 1.3, 1.0, 1.3, 1.0, 1.3]).unwrap(), None);
        // Within ten per cent, but growing all the time.
        assert_eq!(first_steady(&[1.00, 1.02, 1.04, 1.06, 1.08]).unwrap(), None);
        assert_eq!(first_steady(&[1.0, 1.0]).unwrap(), None);
        assert!(first_steady(&[f64::INFINITY; 4]).is_err());
    }

    #[test]
    fn cuts_off_the_warm_up() {
        let mut random = Random::new(4);
        let warm: Vec<f64> =
            (0..400).map(|i| 10.0 * (-f64::from(i) / 20.0).exp() + 1.0 + 0.1 * random.normal()).collect();
        let cut = mser5(&warm).unwrap().unwrap();
        assert!((60..=150).contains(&cut), "{cut}");
        let level: Vec<f64> = (0..400).map(|_| random.normal()).collect();
        assert!(mser5(&level).unwrap().is_some_and(|cut| cut <= 100));
        let growing: Vec<f64> = (0..400).map(f64::from).collect();
        assert_eq!(mser5(&growing).unwrap(), None);
        assert!(mser5(&[1.0; 49]).is_err());
    }
}
