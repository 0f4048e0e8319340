//! How far the verdicts can be trusted: many simulated measurements whose truth is known.
//!
//! `cargo run --release -p lab --example simulate [RUNS]` (2,000 by default, about half a minute) prints the coverage of the
//! intervals, the share of each verdict against the true effect, and what a test on single requests would have said.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

mod measurement;

use lab::Random;
use lab::statistics::signed_rank;
use lab::statistics::verdict::{WIDTH, power};
use measurement::{Measurement, Outcomes};

fn main() {
    let runs: usize = std::env::args().nth(1).and_then(|runs| runs.parse().ok()).unwrap_or(2_000);
    let mut random = Random::new(20_261_125);
    coverage(10 * runs, &mut random);
    verdicts(runs, &mut random);
    requests(runs.div_ceil(10), &mut random);
}

/// Normal differences: how often the interval holds the truth, and how wide it is.
fn coverage(runs: usize, random: &mut Random) {
    println!("interval of the Hodges-Lehmann estimate, {runs} simulations with normal differences");
    println!("pairs   level said   covered   half-width / deviation   rule of thumb");
    for pairs in [6, 7, 8, 9, 10, 12, 16, 24] {
        let (mut covered, mut width, mut level) = (0, 0.0, 0.0);
        for _ in 0..runs {
            let differences: Vec<f64> = (0..pairs).map(|_| random.normal()).collect();
            let Ok(effect) = signed_rank::effect(&differences, 0.95) else { return };
            covered += usize::from(effect.interval.contains(0.0));
            width += effect.interval.half_width() / runs as f64;
            level = effect.interval.level;
        }
        let covered = covered as f64 / runs as f64;
        let rule = power(pairs, 1.0, 1.0).half_width;
        println!("{pairs:>5}   {level:>10.4}   {covered:>7.4}   {width:>22.3}   {rule:>13.3}");
    }
    println!("(rule of thumb: {WIDTH} / root of pairs)\n");
}

/// A queue at half load, p95, and a true ratio of service times.
fn verdicts(runs: usize, random: &mut Random) {
    println!("verdicts on p95, {runs} simulated measurements each, material effect 25 %");
    println!("pairs  service B/A   supported  contradicted  no effect  inconclusive");
    for pairs in [8, 12] {
        for slower in [0.8, 0.9, 1.0, 1.1, 1.25, 1.4] {
            let measurement = Measurement { slower, pairs, ..Measurement::default() };
            let outcomes = Outcomes::of(&measurement, runs, random);
            let share = |count: usize| format!("{:.1} %", 100.0 * count as f64 / runs as f64);
            println!(
                "{pairs:>5}  {slower:>11.2}   {:>9}  {:>12}  {:>9}  {:>12}",
                share(outcomes.supported),
                share(outcomes.contradicted),
                share(outcomes.no_effect),
                share(outcomes.inconclusive)
            );
        }
    }
    println!();
}

fn requests(runs: usize, random: &mut Random) {
    let measurement = Measurement { requests: 1_000, ..Measurement::default() };
    let significant = (0..runs).filter(|_| measurement.request_level_p(random) <= 0.05).count();
    println!(
        "two blocks of the same configuration, every request a value (Mann-Whitney): \"significant\" in {:.0} % of {runs}",
        100.0 * significant as f64 / runs as f64
    );
}
