//! The statistics against SciPy on the same numbers (`scripts/statistics_expected.py`), and against simulated measurements whose
//! truth is known. `cargo run --release -p lab --example simulate` does the latter for longer and prints it.

#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

#[path = "../examples/simulate/measurement.rs"]
mod measurement;

use lab::Random;
use lab::statistics::{Interval, quantile, rank_sum, signed_rank, trend, usl, verdict};
use measurement::{Measurement, Outcomes};
use serde_json::Value;

fn expected(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("expected/statistics.json")).unwrap();
    let cases = all[kind].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    case[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn points(case: &Value) -> Vec<(f64, f64)> {
    let pair = |point: &Value| (point[0].as_f64().unwrap(), point[1].as_f64().unwrap());
    case["points"].as_array().unwrap().iter().map(pair).collect()
}

#[track_caller]
fn close(case: &Value, key: &str, value: f64, tolerance: f64) {
    let expected = case[key].as_f64().unwrap();
    assert!(
        (value - expected).abs() <= tolerance * expected.abs().max(1.0),
        "{key}: {value}, not {expected}\n{case}"
    );
}

/// Limits, or none where enumeration finds none.
#[track_caller]
fn close_interval(case: &Value, interval: Interval) {
    if case["low"].is_null() {
        assert_eq!(interval, Interval::UNBOUNDED, "{case}");
        return;
    }
    close(case, "low", interval.low, 1e-12);
    close(case, "high", interval.high, 1e-12);
    close(case, "level", interval.level, 1e-12);
}

#[test]
fn signed_rank_is_that_of_scipy() {
    for case in expected("signed_rank") {
        let effect = signed_rank::effect(&numbers(&case, "differences"), 0.95).unwrap();
        close(&case, "p", effect.p, 1e-12);
        close(&case, "estimate", effect.estimate, 1e-12);
        close(&case, "deviation", effect.deviation, 1e-12);
        close_interval(&case, effect.interval);
    }
}

#[test]
fn rank_sum_is_that_of_scipy() {
    for case in expected("rank_sum") {
        let shift = rank_sum::shift(&numbers(&case, "a"), &numbers(&case, "b"), 0.95).unwrap();
        close(&case, "p", shift.p, 1e-10);
        close(&case, "estimate", shift.estimate, 1e-12);
        close(&case, "probability", shift.dominance.probability, 1e-12);
        if shift.exact {
            close_interval(&case, shift.interval);
        }
    }
}

#[test]
fn theil_sen_is_that_of_scipy() {
    for case in expected("theil_sen") {
        let trend = trend::theil_sen(&points(&case), 0.95).unwrap();
        close(&case, "slope", trend.slope, 1e-12);
        close(&case, "intercept", trend.intercept, 1e-12);
        close(&case, "low", trend.interval.low, 1e-12);
        close(&case, "high", trend.interval.high, 1e-12);
    }
}

#[test]
fn quantiles_are_those_of_numpy_and_scipy() {
    for case in expected("quantiles") {
        let mut values = numbers(&case, "values");
        values.sort_unstable_by(f64::total_cmp);
        for (i, q) in numbers(&case, "q").into_iter().enumerate() {
            let interpolated = quantile::interpolated(&values, q);
            assert!((interpolated - numbers(&case, "interpolated")[i]).abs() < 1e-12, "{q}");
            let weights = quantile::harrell_davis_weights(values.len(), q);
            let smooth = quantile::weighted(&values, &weights);
            assert!((smooth - numbers(&case, "harrell_davis")[i]).abs() < 1e-9, "{q}");
        }
    }
}

#[test]
fn the_scalability_law_is_fitted_as_scipy_fits_it() {
    for case in expected("scalability") {
        let usl = usl::fit(&points(&case)).unwrap();
        close(&case, "gamma", usl.gamma, 1e-5);
        close(&case, "sigma", usl.sigma, 1e-6);
        close(&case, "kappa", usl.kappa, 1e-7);
        close(&case, "kappa_low", usl.kappa_interval.low, 1e-6);
        close(&case, "kappa_high", usl.kappa_interval.high, 1e-6);
    }
}

#[test]
fn holm_is_its_definition() {
    for case in expected("holm") {
        for (value, expected) in
            verdict::holm(&numbers(&case, "p")).into_iter().zip(numbers(&case, "adjusted"))
        {
            assert!((value - expected).abs() < 1e-12, "{value}, not {expected}\n{case}");
        }
    }
}

/// Whatever symmetric distribution the noise has, the interval covers as often as its exact level says, and a difference
/// that is not there is called significant in 3.9 per cent of cases with eight pairs.
#[test]
fn intervals_cover_and_tests_keep_their_level() {
    type Noise = fn(&mut Random) -> f64;
    let noises: [(&str, Noise); 3] = [
        ("normal", Random::normal),
        ("two exponentials", |random| random.exponential() - random.exponential()),
        ("Cauchy", |random| random.normal() / random.normal()),
    ];
    for (name, noise) in noises {
        let mut random = Random::new(1);
        let runs = 4_000;
        let (mut covered, mut significant) = (0, 0);
        for _ in 0..runs {
            let differences: Vec<f64> = (0..8).map(|_| 0.3 + noise(&mut random)).collect();
            let effect = signed_rank::effect(&differences, 0.95).unwrap();
            covered += u32::from(effect.interval.contains(0.3));
            let null: Vec<f64> = differences.iter().map(|difference| difference - 0.3).collect();
            significant += u32::from(signed_rank::test(&null).unwrap() <= 0.05);
        }
        // 96.1 per cent, and five standard errors of it.
        let share = f64::from(covered) / f64::from(runs);
        assert!((0.961 - share).abs() < 0.0154, "{name}: covered {share}");
        let share = f64::from(significant) / f64::from(runs);
        assert!((0.0391 - share).abs() < 0.0154, "{name}: significant {share}");
    }
}

/// The whole way, on a simulated server with a queue: the same arrivals for both, p95 per block, eight pairs, a verdict.
#[test]
fn verdicts_are_rarely_false_and_find_what_is_there() {
    let measure = |slower: f64| {
        let measurement = Measurement { slower, requests: 500, ..Measurement::default() };
        Outcomes::of(&measurement, 300, &mut Random::new(2))
    };
    let same = measure(1.0);
    // The target is at most 1 in 20 that is neither "no material effect" nor "inconclusive".
    assert!(same.supported + same.contradicted <= 15, "{same:?}");
    let slower = measure(1.4);
    assert!(slower.supported >= 200 && slower.contradicted == 0 && slower.no_effect == 0, "{slower:?}");
    let faster = measure(1.0 / 1.4);
    assert!(faster.contradicted >= 150 && faster.supported == 0 && faster.no_effect <= 3, "{faster:?}");
}

/// Why requests are not the unit: the same data, and a test that takes them for independent.
#[test]
fn requests_are_not_independent() {
    let measurement = Measurement { requests: 400, ..Measurement::default() };
    let runs = 60;
    let mut random = Random::new(3);
    let significant = (0..runs).filter(|_| measurement.request_level_p(&mut random) <= 0.05).count();
    assert!(significant > runs / 4, "{significant} of {runs}");
}
