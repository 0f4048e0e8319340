//! Where in the distribution two configurations differ: the shift function (Doksum 1974), the difference of each quantile.
//! Two configurations can have the same median and very different tails, which no single number shows.
//!
//! A picture, not a test: the bands are for each quantile alone. They come from a hierarchical bootstrap: first pairs of
//! blocks are drawn, then within each runs of neighbouring requests (moving blocks, Kunsch 1989), because requests
//! next to each other waited in the same queue. So the band is as wide as the runs differ, however many requests there were.

use serde::Serialize;

use super::quantile::{harrell_davis_weights, interpolated, weighted};
use super::{Interval, StatisticsError, checked_level};
use crate::Random;

/// Deciles, and the tail that is talked about.
pub const QUANTILES: [f64; 11] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
/// Times the data are drawn again.
pub const REPLICATES: usize = 1_000;
/// Values of one configuration together, up to which quantiles are Harrell and Davis's; beyond, single order statistics are
/// as good and much cheaper.
pub const FEW: usize = 400;
/// Values of one configuration together, at most.
pub const MAX_VALUES: usize = 4_000_000;

/// One pair of blocks: latencies in the order of the planned times, failed requests as infinity.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairOfBlocks {
    pub a: Vec<f64>,
    pub b: Vec<f64>,
}

/// What to compute.
#[derive(Debug, Clone)]
pub struct Options {
    pub quantiles: Vec<f64>,
    pub replicates: usize,
    pub level: f64,
    /// Requests that are drawn together, at least: one second of traffic, or ten times those that are in the system at a
    /// time. Never less than the cube root of a block's size.
    pub run_length: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { quantiles: QUANTILES.to_vec(), replicates: REPLICATES, level: 0.95, run_length: 1 }
    }
}

/// One quantile of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    pub q: f64,
    pub a: f64,
    pub b: f64,
    /// b - a, and where it may be. NaN when both fell among failed requests.
    pub difference: f64,
    pub difference_interval: Interval,
    /// b / a.
    pub ratio: f64,
    pub ratio_interval: Interval,
}

/// The shift function.
///
/// # Errors
/// There is a block without values, no block, too many values, one is NaN, or a quantile or the level is not between 0 and 1.
pub fn shift_function(
    pairs: &[PairOfBlocks],
    options: &Options,
    random: &mut Random,
) -> Result<Vec<Point>, StatisticsError> {
    let alpha = checked_level(options.level)?;
    check(pairs, options)?;
    let size =
        |side: fn(&PairOfBlocks) -> &Vec<f64>| pairs.iter().map(|pair| side(pair).len()).sum::<usize>();
    let few = size(|pair| &pair.a).max(size(|pair| &pair.b)) <= FEW;
    let mut estimator = Estimator { quantiles: &options.quantiles, few, weights: Vec::new() };
    let whole: Vec<usize> = (0..pairs.len()).collect();
    let collect =
        |side: fn(&PairOfBlocks) -> &Vec<f64>| whole.iter().flat_map(|&i| side(&pairs[i]).clone()).collect();
    let a = estimator.of(collect(|pair| &pair.a));
    let b = estimator.of(collect(|pair| &pair.b));
    let (mut differences, mut ratios) = (vec![Vec::new(); a.len()], vec![Vec::new(); a.len()]);
    for _ in 0..options.replicates {
        let (drawn_a, drawn_b) = draw(pairs, options.run_length, random);
        let (a, b) = (estimator.of(drawn_a), estimator.of(drawn_b));
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            differences[i].push(b - a);
            ratios[i].push(b / a);
        }
    }
    let points = options.quantiles.iter().enumerate().map(|(i, &q)| Point {
        q,
        a: a[i],
        b: b[i],
        difference: b[i] - a[i],
        difference_interval: percentiles(&mut differences[i], alpha),
        ratio: b[i] / a[i],
        ratio_interval: percentiles(&mut ratios[i], alpha),
    });
    Ok(points.collect())
}

fn check(pairs: &[PairOfBlocks], options: &Options) -> Result<(), StatisticsError> {
    if pairs.is_empty() || pairs.iter().any(|pair| pair.a.is_empty() || pair.b.is_empty()) {
        return Err(StatisticsError::TooFew { what: "the values of a block", have: 0, need: 1 });
    }
    let have: usize = pairs.iter().map(|pair| pair.a.len().max(pair.b.len())).sum();
    if have > MAX_VALUES {
        return Err(StatisticsError::TooMany { what: "the values", have, limit: MAX_VALUES });
    }
    if pairs.iter().any(|pair| pair.a.iter().chain(&pair.b).any(|value| value.is_nan())) {
        return Err(StatisticsError::NotFinite { what: "a block", value: f64::NAN });
    }
    match options.quantiles.iter().find(|&&q| !(q > 0.0 && q < 1.0)) {
        Some(&value) => {
            let allowed = "between 0 and 1";
            Err(StatisticsError::OutOfRange { what: "a quantile", value, allowed })
        }
        None => Ok(()),
    }
}

struct Estimator<'a> {
    quantiles: &'a [f64],
    few: bool,
    /// Sizes seen, and the weights of each quantile for them.
    weights: Vec<(usize, Vec<Vec<f64>>)>,
}

impl Estimator<'_> {
    fn of(&mut self, mut values: Vec<f64>) -> Vec<f64> {
        values.sort_unstable_by(f64::total_cmp);
        if !self.few {
            return self.quantiles.iter().map(|&q| interpolated(&values, q)).collect();
        }
        let size = values.len();
        let known = match self.weights.iter().position(|(known, _)| *known == size) {
            Some(known) => known,
            None => {
                let weights = self.quantiles.iter().map(|&q| harrell_davis_weights(size, q)).collect();
                self.weights.push((size, weights));
                self.weights.len() - 1
            }
        };
        self.weights[known].1.iter().map(|weights| weighted(&values, weights)).collect()
    }
}

/// Draw pairs with replacement, and from each runs of neighbours until there are as many values as before. Where both
/// blocks have the same arrivals (the same length), the same runs are drawn from both: what the arrivals did to
/// both stays common.
fn draw(pairs: &[PairOfBlocks], run_length: usize, random: &mut Random) -> (Vec<f64>, Vec<f64>) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in pairs {
        let pair = &pairs[random.below(pairs.len())];
        let starts = runs(pair.a.len(), run_length, random);
        take(&mut a, &pair.a, &starts);
        if pair.b.len() == pair.a.len() {
            take(&mut b, &pair.b, &starts);
        } else {
            take(&mut b, &pair.b, &runs(pair.b.len(), run_length, random));
        }
    }
    (a, b)
}

/// Beginnings and lengths of runs that together have `size` values.
fn runs(size: usize, run_length: usize, random: &mut Random) -> Vec<(usize, usize)> {
    let least = (size as f64).cbrt().ceil() as usize;
    let length = run_length.max(least).clamp(1, size);
    let mut left = size;
    let mut runs = Vec::with_capacity(size / length + 1);
    while left > 0 {
        let start = random.below(size - length + 1);
        runs.push((start, length.min(left)));
        left -= length.min(left);
    }
    runs
}

fn take(into: &mut Vec<f64>, from: &[f64], runs: &[(usize, usize)]) {
    for &(start, length) in runs {
        into.extend_from_slice(&from[start..start + length]);
    }
}

/// The middle share of the replicates. Those where both quantiles fell among failed requests say nothing; when that is most
/// of them, neither does the interval.
fn percentiles(replicates: &mut Vec<f64>, alpha: f64) -> Interval {
    let all = replicates.len();
    replicates.retain(|value| !value.is_nan());
    if replicates.is_empty() || replicates.len() * 2 < all {
        return Interval::UNBOUNDED;
    }
    replicates.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| interpolated(replicates, q);
    Interval { low: at(alpha / 2.0), high: at(1.0 - alpha / 2.0), level: 1.0 - alpha }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of blocks with a common level per pair, and exponential latencies; b's are `slower` times a's beyond 1.
    fn pairs(seed: u64, count: usize, size: usize, slower: f64) -> Vec<PairOfBlocks> {
        let mut random = Random::new(seed);
        let mut pair = || {
            let level = (0.2 * random.normal()).exp();
            let a = (0..size).map(|_| level * random.exponential()).collect();
            let b = (0..size).map(|_| level * random.exponential());
            let b =
                b.map(|value| if value > level { level + (value - level) * slower } else { value }).collect();
            PairOfBlocks { a, b }
        };
        (0..count).map(|_| pair()).collect()
    }

    fn points(pairs: &[PairOfBlocks], replicates: usize) -> Vec<Point> {
        let options = Options { replicates, ..Options::default() };
        shift_function(pairs, &options, &mut Random::new(1)).unwrap()
    }

    #[test]
    fn a_difference_in_the_tail_is_seen_there_only() {
        let points = points(&pairs(3, 8, 1_500, 2.0), 200);
        let at = |q: f64| points.iter().find(|point| point.q == q).unwrap();
        assert!(at(0.3).ratio_interval.contains(1.0), "{:?}", at(0.3));
        assert!(
            at(0.95).ratio_interval.low > 1.2 && at(0.95).difference_interval.low > 0.0,
            "{:?}",
            at(0.95)
        );
        // -ln 0.05 = 3.0 becomes 1 + 2 * 2.0 = 5.0.
        assert!((at(0.95).ratio - 5.0 / 3.0).abs() < 0.15, "{:?}", at(0.95));
        assert!(points.iter().all(|point| point.ratio_interval.contains(point.ratio)));
    }

    #[test]
    fn few_values_use_the_smoother_estimate_and_seeds_repeat() {
        let pairs = pairs(5, 6, 40, 1.0);
        assert_eq!(points(&pairs, 50), points(&pairs, 50));
        let whole = super::super::sorted(&pairs.iter().flat_map(|pair| pair.a.clone()).collect::<Vec<_>>());
        let median = weighted(&whole, &harrell_davis_weights(whole.len(), 0.5));
        assert_eq!(points(&pairs, 5)[4].a, median);
    }

    #[test]
    fn failed_requests_are_the_slowest() {
        let mut pairs = pairs(7, 6, 500, 1.0);
        for pair in &mut pairs {
            // Three per cent of b fail, spread evenly.
            pair.b.iter_mut().step_by(33).for_each(|value| *value = f64::INFINITY);
        }
        let points = points(&pairs, 100);
        let last = points.last().unwrap();
        assert_eq!(
            (last.b, last.difference, last.ratio_interval.low),
            (f64::INFINITY, f64::INFINITY, f64::INFINITY)
        );
        assert!(points[4].difference.is_finite());
        pairs.iter_mut().for_each(|pair| pair.a.fill(f64::INFINITY));
        let options = Options { replicates: 20, ..Options::default() };
        let points = shift_function(&pairs, &options, &mut Random::new(1)).unwrap();
        assert_eq!(points.last().unwrap().difference_interval, Interval::UNBOUNDED);
    }

    #[test]
    fn the_band_covers_and_is_wider_than_requests_alone_would_make_it() {
        let options = Options { quantiles: vec![0.5], replicates: 80, ..Options::default() };
        let mut random = Random::new(8);
        let runs = 120;
        let covered = (0..runs).filter(|&seed| {
            // Blocks of b are at a level of their own: the truth is 1, the noise is between blocks.
            let mut pairs = pairs(100 + seed, 10, 40, 1.0);
            for pair in &mut pairs {
                let level = (0.3 * random.normal()).exp();
                pair.b.iter_mut().for_each(|value| *value *= level);
            }
            let points = shift_function(&pairs, &options, &mut Random::new(seed)).unwrap();
            points[0].ratio_interval.contains(1.0)
        });
        // A percentile bootstrap of ten blocks covers less than it says; requests taken for independent: below a half.
        let covered = covered.count() as f64 / runs as f64;
        assert!((0.8..=1.0).contains(&covered), "{covered}");
    }

    #[test]
    fn nonsense_is_refused() {
        let mut random = Random::new(1);
        let options = Options::default();
        let empty = [PairOfBlocks { a: vec![1.0], b: vec![] }];
        assert!(shift_function(&empty, &options, &mut random).is_err());
        let nan = [PairOfBlocks { a: vec![1.0], b: vec![f64::NAN] }];
        assert!(shift_function(&nan, &options, &mut random).is_err());
        let fine = [PairOfBlocks { a: vec![1.0], b: vec![2.0] }];
        let options = Options { quantiles: vec![1.0], ..options };
        assert!(shift_function(&fine, &options, &mut random).is_err());
    }
}
