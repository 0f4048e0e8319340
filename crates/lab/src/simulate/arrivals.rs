//! When the next request is sent, if that does not depend on the answers.

use super::Arriving;
use crate::Random;

#[derive(Debug)]
pub(super) struct Arrivals<'a> {
    arriving: &'a Arriving,
    random: Random,
    /// Of the latest arrival.
    time: f64,
    /// Arrivals so far.
    count: usize,
    /// Which of two rates, and until when.
    phase: usize,
    phase_ends: f64,
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(arriving: &'a Arriving, mut random: Random) -> Self {
        let (mut phase, mut phase_ends) = (0, f64::INFINITY);
        if let Arriving::Bursts { dwell, .. } = arriving {
            // As if it had been going on for ever.
            phase = usize::from(random.unit() * (dwell[0] + dwell[1]) >= dwell[0]);
            phase_ends = dwell[phase] * random.exponential();
        }
        Arrivals { arriving, random, time: 0.0, count: 0, phase, phase_ends }
    }

    /// Infinite when no more come.
    #[inline]
    pub(super) fn next(&mut self) -> f64 {
        self.time = match self.arriving {
            Arriving::Poisson { rate } => self.time + self.random.exponential() / rate,
            Arriving::Constant { rate } => (self.count + 1) as f64 / rate,
            Arriving::Bursts { rates, dwell } => self.in_bursts(rates, dwell),
            Arriving::Trace(times) => times.get(self.count).copied().unwrap_or(f64::INFINITY),
            Arriving::Closed { .. } => f64::INFINITY,
        };
        self.count += 1;
        self.time
    }

    fn in_bursts(&mut self, rates: &[f64; 2], dwell: &[f64; 2]) -> f64 {
        let mut time = self.time;
        let mut needed = self.random.exponential();
        loop {
            let possible = (self.phase_ends - time) * rates[self.phase];
            if needed <= possible {
                return time + needed / rates[self.phase];
            }
            needed -= possible;
            time = self.phase_ends;
            self.phase = 1 - self.phase;
            self.phase_ends = time + dwell[self.phase] * self.random.exponential();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(arriving: &Arriving, count: usize) -> Vec<f64> {
        let mut arrivals = Arrivals::new(arriving, Random::new(11));
        (0..count).map(|_| arrivals.next()).collect()
    }

    #[test]
    fn rates_are_kept_and_bursts_are_bursty() {
        let bursts = Arriving::Bursts { rates: [0.0, 400.0], dwell: [1.5, 0.5] };
        assert_eq!(bursts.rate(), Some(100.0));
        for arriving in [Arriving::Poisson { rate: 100.0 }, Arriving::Constant { rate: 100.0 }, bursts] {
            let times = take(&arriving, 200_000);
            assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
            let rate = times.len() as f64 / times[times.len() - 1];
            assert!((rate / 100.0 - 1.0).abs() < 0.07, "{arriving:?}: {rate}");
            let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let square = gaps.iter().map(|gap| gap * gap).sum::<f64>() / gaps.len() as f64;
            let variability = square / (mean * mean) - 1.0;
            let right = match arriving {
                Arriving::Constant { .. } => variability < 1e-6,
                Arriving::Poisson { .. } => (variability - 1.0).abs() < 0.05,
                _ => variability > 10.0,
            };
            assert!(right, "{arriving:?}: {variability}");
        }
    }

    #[test]
    fn a_trace_is_replayed_and_ends() {
        let times = take(&Arriving::Trace([0.5, 0.5, 2.0].into()), 4);
        assert_eq!(times, [0.5, 0.5, 2.0, f64::INFINITY]);
    }
}
