use super::*;

fn complexity(knobs: usize, domains: usize) -> Option<Complexity> {
    let names = |count: usize| (0..count).map(|i| format!("thing {i}")).collect();
    Some(Complexity { knobs: names(knobs), failure_domains: names(domains), ..Complexity::default() })
}

/// A figure with samples around it.
fn around(value: f64, spread: f64) -> Option<Figure> {
    Some(Figure { value, samples: (-10..=10).map(|i| value + spread * f64::from(i) / 10.0).collect() })
}

fn option(name: &str, cost: f64, spread: f64) -> Measured {
    Measured {
        name: name.into(),
        cost: around(cost, 0.05),
        spread: around(spread, 0.1),
        keeps_target: around(0.9, 0.05),
        complexity: complexity(2, 1),
        precision: around(4.5, 0.5),
        report_seconds: around(0.2, 0.05),
        wrong_victim: Some(Figure::from(0.0)),
        collateral: Some(Figure::from(0.25)),
        doubling: around(1.4, 0.1),
        slowest_knob: Some(Knob::Worker),
    }
}

fn card(options: &[Measured], weights: Weights) -> Scorecard {
    scorecard(options, weights, &mut Random::new(5))
}

fn scores(card: &Scorecard, number: usize) -> Vec<Option<f64>> {
    card.options[number]
        .scores
        .iter()
        .map(|score| score.score.map(|score| (score * 10.0).round() / 10.0))
        .collect()
}

#[test]
fn scores_are_by_the_formulas() {
    let card = card(&[option("shared", 1.0, 2.0), option("isolated", 1.6, 1.0)], Weights::default());
    // cost 1/1.6; exp(-ln 2) * 0.9; 100 - 2 * 5 - 10; 60 * 4.5/6 + 20 * 0.1/0.2 + 20 * 0.75; 50 * 0.7 + 50 * 0.7.
    assert_eq!(scores(&card, 0), [Some(100.0), Some(45.0), Some(80.0), Some(70.0), Some(70.0)]);
    assert_eq!(scores(&card, 1), [Some(62.5), Some(90.0), Some(80.0), Some(70.0), Some(70.0)]);
    assert!((card.options[0].total.unwrap() - 73.0).abs() < 1e-9);
    let cost = &card.options[1].scores[0];
    assert!(
        cost.ci[0].unwrap() < 62.5 && cost.ci[1].unwrap() > 62.5 && cost.ci[0].unwrap() > 55.0,
        "{cost:?}"
    );
    assert_eq!(card.options[0].scores[2].ci, [None, None], "rules have no interval");
    assert!(card.options[0].scores[2].rule_based && card.options[0].scores[2].details[0].contains("thing 1"));
}

#[test]
fn a_clear_winner_wins_most_draws_and_an_even_one_none() {
    let even = card(&[option("shared", 1.0, 2.0), option("isolated", 2.0, 1.0)], Weights::default());
    assert_eq!(even.winner, None);
    let share = even.robustness.unwrap();
    assert!((0.35..0.6).contains(&share), "{share}");
    assert!(even.sentence.as_ref().unwrap().starts_with("No clear winner"), "{even:?}");
    let weights = Weights { cost: 100.0, performance_predictability: 5.0, ..Weights::default() };
    let thrifty = card(&[option("shared", 1.0, 2.0), option("isolated", 2.0, 1.0)], weights);
    assert_eq!(thrifty.winner.as_deref(), Some("shared"));
    assert!(thrifty.robustness.unwrap() > 0.9);
    let repeated =
        scorecard(&[option("shared", 1.0, 2.0), option("isolated", 2.0, 1.0)], weights, &mut Random::new(5));
    assert_eq!(thrifty, repeated, "the same seed, the same card");
}

#[test]
fn the_simpler_one_is_kept_without_a_winner() {
    let mut simple = option("simple", 1.65, 1.5);
    simple.complexity = complexity(0, 1);
    let mut other = option("cheap", 1.25, 1.25);
    other.complexity = complexity(3, 3);
    let card = card(&[other, simple], Weights::default());
    assert_eq!(card.winner, None, "{card:?}");
    assert!(card.sentence.unwrap().contains("is kept: simple"));
}

#[test]
fn worse_on_everything_is_out() {
    let mut worse = option("worse", 3.0, 4.0);
    worse.complexity = complexity(6, 3);
    worse.precision = around(1.0, 0.2);
    worse.doubling = around(0.5, 0.1);
    let both = card(&[worse.clone(), option("better", 1.0, 1.2)], Weights::default());
    assert_eq!(both.options[0].dominated_by.as_deref(), Some("better"));
    assert_eq!(both.winner.as_deref(), Some("better"));
    worse.complexity = complexity(0, 0);
    let simpler = card(&[worse, option("better", 1.0, 1.2)], Weights::default());
    assert_eq!(simpler.options[0].dominated_by, None, "better in one thing");
}

#[test]
fn unknown_counts_for_nobody() {
    let mut partly = option("isolated", 1.6, 1.0);
    partly.precision = None;
    let card = card(&[option("shared", 1.0, 2.0), partly], Weights::default());
    assert_eq!(scores(&card, 1)[3], None);
    assert!(card.sentence.as_ref().unwrap().contains("not known of all: failure transparency"));
    // Without the dimension: (100 + 45 + 80 + 70) / 4.
    assert!((card.options[0].total.unwrap() - 73.75).abs() < 1e-9);
    for options in [&[][..], &[Measured::default(), Measured::default()]] {
        let empty = scorecard(options, Weights::default(), &mut Random::new(1));
        assert_eq!((empty.winner, empty.robustness), (None, None));
        assert!(empty.sentence.unwrap().starts_with("No option can be scored"));
    }
}

#[test]
fn nonsense_is_no_panic() {
    let figures = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, f64::MAX];
    let of = |value: f64| Some(Figure { value, samples: figures.to_vec() });
    let options: Vec<Measured> = figures
        .iter()
        .map(|&value| Measured {
            name: value.to_string(),
            cost: of(value),
            spread: of(value),
            keeps_target: of(value),
            complexity: complexity(50, 50),
            precision: of(value),
            report_seconds: of(value),
            wrong_victim: of(value),
            collateral: of(value),
            doubling: of(value),
            slowest_knob: Some(Knob::Redeploy),
        })
        .collect();
    let weights = Weights {
        cost: f64::NAN,
        scaling_control: -5.0,
        failure_transparency: f64::MAX,
        ..Weights::default()
    };
    let card = card(&options, weights);
    let all = card.options.iter().flat_map(|option| &option.scores).filter_map(|score| score.score);
    assert!(all.into_iter().all(|score| (0.0..=100.0).contains(&score)));
    assert!(card.weights.values().iter().all(|weight| weight.is_finite() && *weight >= 0.0));
}

#[test]
fn drawn_weights_are_around_those_asked_for() {
    let mut random = Random::new(9);
    let mut sums = [0.0; 3];
    for _ in 0..4_000 {
        let drawn = dirichlet(&[30.0, 10.0, 0.0], &mut random);
        let sum: f64 = drawn.iter().sum();
        for (total, weight) in sums.iter_mut().zip(&drawn) {
            *total += weight / sum / 4_000.0;
        }
    }
    assert!((sums[0] - 0.75).abs() < 0.02 && sums[2] == 0.0, "{sums:?}");
    let mean = (0..4_000).map(|_| gamma(0.5, &mut random)).sum::<f64>() / 4_000.0;
    assert!((mean - 0.5).abs() < 0.06, "{mean}");
}
