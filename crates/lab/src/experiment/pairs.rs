//! Two conditions compared by pairs of blocks, with A/A pairs among them.

use super::block::{Block, Condition, patient};
use super::order::{self, Turn};
use super::record::Purpose;
use super::session::Session;
use super::{Effort, SessionError};
use crate::document::{Answer, BlockKind, Shift, Verdict};
use crate::statistics::shift::{self, PairOfBlocks};
use crate::statistics::verdict::{self, Control, Judgement};

/// What is to be compared. Ratios are those of `b` over `a`.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Of the answer that rests on it.
    pub id: String,
    pub a: Condition,
    pub b: Condition,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Paired {
    pub comparison: Comparison,
    /// Those that count: a, b.
    pub pairs: Vec<(Block, Block)>,
    /// The same condition twice.
    pub null: Vec<(Block, Block)>,
    /// Pairs that were run and do not count, with the first reason of each.
    pub dropped: Vec<String>,
}

impl Session<'_> {
    /// Run the pairs of a comparison, interleaved, in an order that was drawn before, and A/A pairs of the conditions in
    /// turn.
    ///
    /// # Errors
    /// A block could not be run. What was measured until then is in the document.
    pub fn compare(&mut self, comparison: &Comparison) -> Result<Paired, SessionError> {
        let Effort { pairs, control, .. } = self.options.effort;
        let mut paired = Paired {
            comparison: comparison.clone(),
            pairs: Vec::new(),
            null: Vec::new(),
            dropped: Vec::new(),
        };
        let mut turns: Vec<Turn> = order::draw(pairs, control, &mut self.random);
        turns.reverse();
        let mut spare = super::spare(pairs);
        let (mut number, of) = (0, turns.len());
        while let Some(turn) = turns.pop() {
            let title = format!("{} against {}", comparison.b.name, comparison.a.name);
            self.progress.step(usize::from(number).min(of), of, &title);
            let pair = self.pair(comparison, turn, (number, spare > 0), paired.null.len())?;
            number += 1;
            match pair {
                Err(why) => {
                    paired.dropped.push(why);
                    if spare > 0 {
                        spare -= 1;
                        turns.insert(0, Turn { seed: self.random.next_u64(), ..turn });
                    }
                }
                Ok(pair) if turn.is_null => paired.null.push(pair),
                Ok((first, second)) if turn.reversed => paired.pairs.push((second, first)),
                Ok(pair) => paired.pairs.push(pair),
            }
        }
        self.progress.step(of, of, &comparison.id);
        Ok(paired)
    }

    /// Two blocks in the order in which they ran, or why they do not count. Without a first one that does there is no second, if
    /// the pair can be run `again`.
    fn pair(
        &mut self,
        comparison: &Comparison,
        turn: Turn,
        (number, again): (u16, bool),
        nulls: usize,
    ) -> Result<Result<(Block, Block), String>, SessionError> {
        let Comparison { a, b, .. } = comparison;
        let (first, second) = match (turn.is_null, turn.reversed) {
            (true, _) if nulls.is_multiple_of(2) => (b, b),
            (true, _) => (a, a),
            (false, false) => (a, b),
            (false, true) => (b, a),
        };
        let kind = if turn.is_null { BlockKind::Control } else { BlockKind::Measured };
        let purpose = Purpose { kind, pair: Some(number), question: comparison.id.clone() };
        let fault = |block: &Block| block.spoilt_by().map(super::Fault::sentence);
        let first = self.block(first, turn.seed, &purpose)?;
        let mut why = fault(&first);
        if again && let Some(why) = why {
            return Ok(Err(why));
        }
        let second = self.block(second, turn.seed, &purpose)?;
        why = why.or_else(|| fault(&second));
        Ok(why.map_or_else(|| Ok((first, second)), Err))
    }
}

impl Paired {
    /// ln(b / a) of a figure in each pair. Where it fell among failed requests these took as long as anybody waits.
    pub fn differences(&self, figure: impl Fn(&Block) -> f64) -> Vec<f64> {
        logarithms(&self.pairs, figure)
    }

    /// The same of the A/A pairs.
    pub fn null_differences(&self, figure: impl Fn(&Block) -> f64) -> Vec<f64> {
        logarithms(&self.null, figure)
    }

    /// A verdict on "the figure is larger in b"; None without a single pair. `material` is the logarithm of a ratio.
    pub fn judge(&self, material: f64, figure: impl Fn(&Block) -> f64) -> Option<Judgement> {
        let control = self.control(&figure);
        verdict::judge(&self.differences(figure), material, control).ok()
    }

    fn control(&self, figure: impl Fn(&Block) -> f64) -> Option<Control> {
        verdict::control(&self.null_differences(figure)).ok()
    }

    /// The same as an answer of the document.
    pub fn answer(
        &self,
        question: &str,
        metric: &str,
        material: f64,
        figure: impl Fn(&Block) -> f64,
    ) -> (Answer, Option<Judgement>) {
        let Comparison { id, a, b } = &self.comparison;
        let judged = self.judge(material, &figure);
        let mut answer = match &judged {
            Some(judged) => Answer::of(id, question, metric, judged),
            None => Answer {
                id: id.clone(),
                question: question.to_owned(),
                metric: metric.to_owned(),
                verdict: Verdict::Inconclusive,
                because: Some("not a single pair of blocks counts".to_owned()),
                ..Answer::default()
            },
        };
        (answer.a, answer.b) = (a.name.clone(), b.name.clone());
        answer.differences = self.differences(&figure);
        answer.control_differences = self.null_differences(&figure);
        if !self.dropped.is_empty() {
            let lost = format!("{} pairs do not count, for example: {}", self.dropped.len(), self.dropped[0]);
            answer.because =
                Some(answer.because.map_or(lost.clone(), |because| format!("{because}; {lost}")));
        }
        (answer, judged)
    }

    /// Where in the distribution the two differ.
    #[must_use]
    pub fn shift(&self, seed: u64) -> Option<Shift> {
        let milliseconds = |block: &Block| block.latencies.iter().map(|latency| latency * 1e3).collect();
        let pairs: Vec<PairOfBlocks> =
            self.pairs.iter().map(|(a, b)| PairOfBlocks { a: milliseconds(a), b: milliseconds(b) }).collect();
        let run_length = self.pairs.first().map_or(1, |(a, _)| (a.throughput() as usize).max(1));
        let options = shift::Options { run_length, ..shift::Options::default() };
        let mut random = crate::Random::stream(seed, 4);
        let points = shift::shift_function(&pairs, &options, &mut random).ok()?;
        let Comparison { id, a, b } = &self.comparison;
        Some(Shift::of(id, &a.name, &b.name, &points))
    }

    /// Median over the blocks of one side; NaN without any.
    pub fn typical(&self, of_b: bool, figure: impl Fn(&Block) -> f64) -> f64 {
        let values: Vec<f64> =
            self.pairs.iter().map(|(a, b)| patient(figure(if of_b { b } else { a }))).collect();
        verdict::range(&values).0
    }
}

fn logarithms(pairs: &[(Block, Block)], figure: impl Fn(&Block) -> f64) -> Vec<f64> {
    let ratios = pairs.iter().map(|(a, b)| (patient(figure(b)) / patient(figure(a))).ln());
    ratios.filter(|ratio| ratio.is_finite()).collect()
}
