//! A measurement whose truth is known: one server with a queue, Poisson arrivals, exponential service times, and now and
//! then a pause that has nothing to do with either configuration.

use lab::Random;
use lab::statistics::verdict::{Control, Verdict, control, judge, material};
use lab::statistics::{log_ratio, quantile, rank_sum};

/// What is compared: A against B, whose service takes `slower` times as long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurement {
    pub(crate) slower: f64,
    pub(crate) pairs: usize,
    /// Pairs of A and A.
    pub(crate) control_pairs: usize,
    /// In each block.
    pub(crate) requests: usize,
    /// Share of the server's time that A uses.
    pub(crate) load: f64,
    /// Mean number of pauses in a block, each as long as 20 services.
    pub(crate) pauses: f64,
}

impl Default for Measurement {
    fn default() -> Self {
        Measurement { slower: 1.0, pairs: 8, control_pairs: 6, requests: 1_000, load: 0.5, pauses: 0.3 }
    }
}

impl Measurement {
    /// Latencies of one block (Lindley's recursion). The same `arrivals` for both configurations of a pair.
    fn block(&self, slower: f64, arrivals: u64, random: &mut Random) -> Vec<f64> {
        let mut arrivals = Random::new(arrivals);
        let mut waiting = 0.0_f64;
        let pause = self.pauses / self.requests as f64;
        let latencies = (0..self.requests).map(|_| {
            let mut service = slower * self.load * random.exponential();
            if random.unit() < pause {
                service += 20.0 * self.load;
            }
            let latency = waiting + service;
            waiting = (latency - arrivals.exponential()).max(0.0);
            latency
        });
        latencies.collect()
    }

    fn p95(&self, slower: f64, arrivals: u64, random: &mut Random) -> f64 {
        let mut latencies = self.block(slower, arrivals, random);
        latencies.sort_unstable_by(f64::total_cmp);
        quantile::interpolated(&latencies, 0.95)
    }

    /// One log ratio per pair.
    pub(crate) fn differences(&self, pairs: usize, slower: f64, random: &mut Random) -> Vec<f64> {
        let mut pair = || {
            let arrivals = random.next_u64();
            let (a, b) = (self.p95(1.0, arrivals, random), self.p95(slower, arrivals, random));
            log_ratio(a, b)
        };
        (0..pairs).filter_map(|_| pair()).collect()
    }

    pub(crate) fn control(&self, random: &mut Random) -> Option<Control> {
        control(&self.differences(self.control_pairs, 1.0, random)).ok()
    }

    pub(crate) fn verdict(&self, random: &mut Random) -> Option<Verdict> {
        let control = self.control(random);
        let differences = self.differences(self.pairs, self.slower, random);
        judge(&differences, material::LATENCY, control).ok().map(|judgement| judgement.verdict)
    }

    /// The wrong way: one block each, every request a value of its own.
    pub(crate) fn request_level_p(&self, random: &mut Random) -> f64 {
        let a = self.block(1.0, random.next_u64(), random);
        let b = self.block(self.slower, random.next_u64(), random);
        rank_sum::p_value(&a, &b)
    }
}

/// How often each verdict was given.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outcomes {
    pub(crate) supported: usize,
    pub(crate) contradicted: usize,
    pub(crate) no_effect: usize,
    pub(crate) inconclusive: usize,
}

impl Outcomes {
    pub(crate) fn of(measurement: &Measurement, runs: usize, random: &mut Random) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for _ in 0..runs {
            match measurement.verdict(random) {
                Some(Verdict::Supported) => outcomes.supported += 1,
                Some(Verdict::Contradicted) => outcomes.contradicted += 1,
                Some(Verdict::NoMaterialEffect) => outcomes.no_effect += 1,
                Some(Verdict::Inconclusive(_)) | None => outcomes.inconclusive += 1,
            }
        }
        outcomes
    }
}
