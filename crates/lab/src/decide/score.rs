//! The five dimensions as scores from 0 to 100, who dominates, and how often the winner stays the winner when weights and
//! measurements are drawn again.
//!
//! A dimension that is not known of every option counts for none. "No clear winner" is an answer: then the simpler one is kept.

use super::count;
use crate::Random;
use crate::document::{Bounds, Dimension, Score, Scorecard, ScoredOption, Weights};
use crate::statistics::quantile::interpolated;

/// Draws of weights and measurements.
pub const DRAWS: u32 = 1_000;
/// Share of them that a clear winner wins.
pub const CLEAR: f64 = 0.6;
/// Options of one card.
pub const MAX_OPTIONS: usize = 16;
/// How concentrated drawn weights are around those asked for: 5 makes equal weights uniform over all possible ones.
const CONCENTRATION: f64 = 5.0;
/// Facts that an explanation of a failure can get right.
const FACTS: f64 = 6.0;
/// Reporting faster than this is not better, in seconds.
const AT_ONCE: f64 = 0.1;

/// A figure with what the bootstrap made of it; without samples it is taken as exact.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figure {
    pub value: f64,
    pub samples: Vec<f64>,
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Figure { value, samples: Vec::new() }
    }
}

/// The slowest of the knobs that change how much an option serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knob {
    /// A control group is written: milliseconds.
    Limit,
    Worker,
    Redeploy,
}

impl Knob {
    fn factor(self) -> f64 {
        match self {
            Knob::Limit => 1.0,
            Knob::Worker => 0.7,
            Knob::Redeploy => 0.3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Knob::Limit => "a limit that is changed at once",
            Knob::Worker => "adding a worker",
            Knob::Redeploy => "deploying again",
        }
    }
}

/// What has to be known to operate it; counted, not measured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Complexity {
    pub knobs: Vec<String>,
    pub failure_domains: Vec<String>,
    pub process_classes: Vec<String>,
    /// What has to change in the application's code.
    pub code_changes: Vec<String>,
}

/// Everything measured of one option.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    pub name: String,
    /// Per million requests at the target, in any currency.
    pub cost: Option<Figure>,
    /// (p95 - p50) with busy neighbours over that without.
    pub spread: Option<Figure>,
    /// Probability that the target is kept.
    pub keeps_target: Option<Figure>,
    pub complexity: Option<Complexity>,
    /// Of the 6 facts of an explanation.
    pub precision: Option<Figure>,
    pub report_seconds: Option<Figure>,
    /// Shares of failures in which somebody innocent was killed, or suffered.
    pub wrong_victim: Option<Figure>,
    pub collateral: Option<Figure>,
    /// Throughput with twice the slots over that with the slots.
    pub doubling: Option<Figure>,
    pub slowest_knob: Option<Knob>,
}

/// One draw of all figures of an option; 0 is what was measured.
struct Drawn<'a> {
    option: &'a Measured,
    random: Option<&'a mut Random>,
}

impl Drawn<'_> {
    fn get(&mut self, figure: Option<&Figure>) -> Option<f64> {
        let figure = figure?;
        let value = match &mut self.random {
            Some(random) if !figure.samples.is_empty() => figure.samples[random.below(figure.samples.len())],
            _ => figure.value,
        };
        value.is_finite().then_some(value)
    }

    /// `cheapest` is that of the cheapest option in the same draw.
    fn score(&mut self, dimension: Dimension, cheapest: Option<f64>, cost: Option<f64>) -> Option<f64> {
        let option = self.option;
        let score = match dimension {
            Dimension::Cost => 100.0 * cheapest? / cost.filter(|cost| *cost > 0.0)?,
            Dimension::PerformancePredictability => {
                let spread = self.get(option.spread.as_ref()).filter(|spread| *spread > 0.0)?;
                let kept = self.get(option.keeps_target.as_ref()).map_or(1.0, |kept| kept.clamp(0.0, 1.0));
                100.0 * (-spread.ln().max(0.0)).exp() * kept
            }
            Dimension::OperationalComplexity => {
                let complexity = option.complexity.as_ref()?;
                100.0
                    - 5.0 * complexity.knobs.len() as f64
                    - 10.0 * complexity.failure_domains.len() as f64
                    - 10.0 * complexity.process_classes.len() as f64
                    - 15.0 * complexity.code_changes.len() as f64
            }
            Dimension::FailureTransparency => {
                let precision = self.get(option.precision.as_ref())? / FACTS;
                let seconds = self.get(option.report_seconds.as_ref()).filter(|seconds| *seconds >= 0.0)?;
                let wrong = self.get(option.wrong_victim.as_ref())?;
                let collateral = self.get(option.collateral.as_ref())?;
                let speed = if seconds <= AT_ONCE { 1.0 } else { AT_ONCE / seconds };
                let innocent = (1.0 - wrong.clamp(0.0, 1.0)) * (1.0 - collateral.clamp(0.0, 1.0));
                60.0 * precision.clamp(0.0, 1.0) + 20.0 * speed + 20.0 * innocent
            }
            Dimension::ScalingControl => {
                let doubling = self.get(option.doubling.as_ref())?;
                50.0 * (doubling / 2.0).clamp(0.0, 1.0) + 50.0 * option.slowest_knob?.factor()
            }
            Dimension::Unknown => return None,
        };
        Some(score.clamp(0.0, 100.0))
    }
}

type Scores = [Option<f64>; 5];

/// Scores of all options in one draw.
fn draw(options: &[Measured], mut random: Option<&mut Random>) -> Vec<Scores> {
    let costs: Vec<Option<f64>> = options
        .iter()
        .map(|option| {
            let mut drawn = Drawn { option, random: random.as_deref_mut() };
            drawn.get(option.cost.as_ref()).filter(|cost| *cost > 0.0)
        })
        .collect();
    let cheapest = costs.iter().flatten().copied().reduce(f64::min);
    let score = |(option, cost): (&Measured, &Option<f64>)| {
        let mut drawn = Drawn { option, random: random.as_deref_mut() };
        Dimension::ALL.map(|dimension| drawn.score(dimension, cheapest, *cost))
    };
    options.iter().zip(&costs).map(score).collect()
}

/// The card of these options: at most [`MAX_OPTIONS`], named differently.
#[must_use]
pub fn scorecard(options: &[Measured], weights: Weights, random: &mut Random) -> Scorecard {
    let options = &options[..options.len().min(MAX_OPTIONS)];
    let scores = draw(options, None);
    let draws: Vec<Vec<Scores>> = (0..DRAWS).map(|_| draw(options, Some(&mut *random))).collect();
    // What is known of every option.
    let counted: [bool; 5] = std::array::from_fn(|i| scores.iter().all(|scores| scores[i].is_some()));
    let weights = usable(weights);
    let asked: Vec<f64> = weights
        .values()
        .iter()
        .zip(counted)
        .map(|(weight, counted)| if counted { *weight } else { 0.0 })
        .collect();
    let total = |scores: &Scores, weights: &[f64]| {
        let sum: f64 = weights.iter().sum();
        let weighted = scores.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
        let points: f64 = weighted.map(|(score, weight)| score.unwrap_or(0.0) * weight).sum();
        (sum > 0.0).then(|| points / sum)
    };
    let intervals: Vec<[Bounds; 5]> = (0..options.len())
        .map(|option| std::array::from_fn(|i| percentiles(draws.iter().filter_map(|draw| draw[option][i]))))
        .collect();
    let mut scored: Vec<ScoredOption> = Vec::new();
    for (number, option) in options.iter().enumerate() {
        let of = |i: usize| describe(option, Dimension::ALL[i], scores[number][i], intervals[number][i]);
        scored.push(ScoredOption {
            name: option.name.clone(),
            scores: (0..5).map(of).collect(),
            total: total(&scores[number], &asked),
            dominated_by: dominator(number, &scores, &intervals, counted).map(|by| options[by].name.clone()),
        });
    }
    let mut wins = vec![0_u32; options.len()];
    for draw in &draws {
        let weights = dirichlet(&asked, random);
        let totals: Vec<Option<f64>> = draw.iter().map(|scores| total(scores, &weights)).collect();
        if let Some(best) = best(&totals) {
            wins[best] += 1;
        }
    }
    let standing = |option: &ScoredOption| if option.dominated_by.is_some() { None } else { option.total };
    let leader = best(&scored.iter().map(standing).collect::<Vec<_>>());
    let robustness = leader.map(|leader| f64::from(wins[leader]) / f64::from(DRAWS));
    let winner = leader
        .zip(robustness)
        .filter(|(_, share)| *share >= CLEAR)
        .map(|(leader, _)| options[leader].name.clone());
    let sentence = conclude(options, &scored, leader, robustness, winner.is_some(), counted);
    Scorecard { weights, options: scored, winner, robustness, draws: DRAWS, sentence: Some(sentence) }
}

/// Weights that are no weights count as nothing.
fn usable(weights: Weights) -> Weights {
    let fine = |weight: f64| if weight.is_finite() { weight.clamp(0.0, 1e6) } else { 0.0 };
    Weights {
        cost: fine(weights.cost),
        performance_predictability: fine(weights.performance_predictability),
        operational_complexity: fine(weights.operational_complexity),
        failure_transparency: fine(weights.failure_transparency),
        scaling_control: fine(weights.scaling_control),
    }
}

/// The first of the highest.
fn best(totals: &[Option<f64>]) -> Option<usize> {
    let known = totals.iter().enumerate().filter_map(|(i, total)| Some((i, (*total)?)));
    known
        .fold(None, |best: Option<(usize, f64)>, (i, total)| match best {
            Some((_, highest)) if highest >= total => best,
            _ => Some((i, total)),
        })
        .map(|(i, _)| i)
}

/// Who is better on every dimension, beyond the intervals.
fn dominator(
    number: usize,
    scores: &[Scores],
    intervals: &[[Bounds; 5]],
    counted: [bool; 5],
) -> Option<usize> {
    let low = |option: usize, i: usize| intervals[option][i][0].or(scores[option][i]);
    let high = |option: usize, i: usize| intervals[option][i][1].or(scores[option][i]);
    (0..scores.len()).find(|&other| {
        other != number
            && counted.iter().any(|counted| *counted)
            && (0..5)
                .filter(|&i| counted[i])
                .all(|i| low(other, i).zip(high(number, i)).is_some_and(|(low, high)| low > high))
    })
}

fn percentiles(values: impl Iterator<Item = f64>) -> Bounds {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| crate::document::known(interpolated(&values, q));
    [at(0.025), at(0.975)]
}

/// Weights around those asked for; what has none gets none.
fn dirichlet(weights: &[f64], random: &mut Random) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    let draw = |weight: &f64| if *weight > 0.0 { gamma(CONCENTRATION * weight / sum, random) } else { 0.0 };
    weights.iter().map(draw).collect()
}

/// Gamma with scale 1 (Marsaglia and Tsang 2000; below shape 1 by their boost).
fn gamma(shape: f64, random: &mut Random) -> f64 {
    if shape < 1.0 {
        let boost = (1.0 - random.unit()).powf(1.0 / shape.max(1e-6));
        return gamma(shape + 1.0, random) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    // Accepts 95 of 100; so many in a row do not fail.
    for _ in 0..1_000 {
        let x = random.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - random.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
    shape
}

fn describe(option: &Measured, dimension: Dimension, score: Option<f64>, ci: Bounds) -> Score {
    let value = |figure: &Option<Figure>| {
        figure.as_ref().map_or("unknown".to_owned(), |figure| format!("{:.2}", figure.value))
    };
    let mut details = Vec::new();
    let raw = match dimension {
        // For few requests or many, in any currency.
        Dimension::Cost => format!(
            "{} per million requests",
            option.cost.as_ref().map_or("unknown".to_owned(), |figure| match figure.value {
                large if large >= 0.1 => format!("{large:.2}"),
                small => format!("{small:.2e}"),
            })
        ),
        Dimension::PerformancePredictability => format!(
            "with busy neighbours the spread is {} times that without; the target is kept with probability {}",
            value(&option.spread),
            value(&option.keeps_target)
        ),
        Dimension::OperationalComplexity => {
            option.complexity.as_ref().map_or("unknown".to_owned(), |complexity| {
                let lists = [
                    ("knob", &complexity.knobs),
                    ("failure domain", &complexity.failure_domains),
                    ("class of processes", &complexity.process_classes),
                    ("change of code", &complexity.code_changes),
                ];
                details.extend(
                    lists
                        .iter()
                        .filter(|(_, items)| !items.is_empty())
                        .map(|(what, items)| format!("{what}: {}", items.join(", "))),
                );
                let counts = lists[..2]
                    .iter()
                    .map(|(what, items)| count(u32::try_from(items.len()).unwrap_or(u32::MAX), what));
                counts.collect::<Vec<_>>().join(", ")
            })
        }
        Dimension::FailureTransparency => format!(
            "{} of 6 facts after {} s; wrong victim {}, others hurt {}",
            value(&option.precision),
            value(&option.report_seconds),
            value(&option.wrong_victim),
            value(&option.collateral)
        ),
        Dimension::ScalingControl => format!(
            "twice the slots serve {} times as much; the slowest knob is {}",
            value(&option.doubling),
            option.slowest_knob.map_or("unknown", Knob::name)
        ),
        Dimension::Unknown => String::new(),
    };
    if score.is_none() {
        details.push("no score: a figure is not known".into());
    }
    let rule_based = dimension == Dimension::OperationalComplexity;
    let ci = if score.is_none() || rule_based { [None, None] } else { ci };
    Score { dimension, score, ci, raw, rule_based, details }
}

fn conclude(
    options: &[Measured],
    scored: &[ScoredOption],
    leader: Option<usize>,
    robustness: Option<f64>,
    clear: bool,
    counted: [bool; 5],
) -> String {
    let left_out: Vec<&str> = Dimension::ALL
        .iter()
        .zip(counted)
        .filter(|(_, counted)| !counted)
        .map(|(dimension, _)| dimension.title())
        .collect();
    let left_out = if left_out.is_empty() {
        String::new()
    } else {
        format!(" Not counted, because not known of all: {}.", left_out.join(", "))
    };
    let (Some(leader), Some(robustness)) = (leader, robustness) else {
        return format!("No option can be scored.{left_out}");
    };
    let name = &options[leader].name;
    let share = robustness * 100.0;
    if clear {
        return format!("{name} wins in {share:.0} % of the draws of weights and measurements.{left_out}");
    }
    // Simplest first, then cheapest.
    let simple = |option: &ScoredOption| option.scores[2].score.unwrap_or(0.0);
    let cheap = |option: &ScoredOption| option.scores[0].score.unwrap_or(0.0);
    let standing = scored.iter().filter(|option| option.dominated_by.is_none());
    let kept = standing.max_by(|a, b| simple(a).total_cmp(&simple(b)).then(cheap(a).total_cmp(&cheap(b))));
    let kept = kept.map_or(name, |option| &option.name);
    format!(
        "No clear winner: {name} wins in {share:.0} % of the draws of weights and measurements, {:.0} % would be one. The simpler one is kept: {kept}.{left_out}",
        CLEAR * 100.0
    )
}

#[cfg(test)]
mod tests;
