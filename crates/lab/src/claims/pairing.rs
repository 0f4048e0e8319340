//! From blocks to answers, for the claims that compare more than two arms: which blocks belong together, what their ratio
//! is, and what one number for each group says. Pure.

use crate::document::{Answer, Block, BlockKind, Verdict};
use crate::statistics::verdict::{Judgement, control, judge};
use crate::statistics::{StatisticsError, log_ratio};

/// What is compared and how it is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) id: &'a str,
    pub(super) question: &'a str,
    pub(super) metric: &'a str,
    /// The ratio is that of `b` over `a`, and above 1 it speaks for the question.
    pub(super) a: &'a str,
    pub(super) b: &'a str,
    /// Smallest difference of logarithms that matters, fixed before measuring.
    pub(super) material: f64,
    pub(super) primary: bool,
}

/// ln(b / a) of every group that has a valid block of both arms. A group is what was measured one right after the other:
/// blocks with the same `pair` in the same `phase`.
#[must_use]
pub(super) fn differences(
    blocks: &[Block],
    a: &str,
    b: &str,
    figure: impl Fn(&Block) -> Option<f64>,
) -> Vec<f64> {
    let valid = |arm: &str, like: Option<&Block>| {
        let found = blocks.iter().filter(|block| {
            block.valid && block.arm == arm && block.kind == BlockKind::Measured && block.pair.is_some()
        });
        let found = found
            .filter(|block| like.is_none_or(|like| (block.pair, &block.phase) == (like.pair, &like.phase)));
        found.cloned().collect::<Vec<Block>>()
    };
    let both = |first: &Block| {
        let second = valid(b, Some(first)).into_iter().next()?;
        log_ratio(figure(first)?, figure(&second)?)
    };
    valid(a, None).iter().filter_map(both).collect()
}

/// The same of two blocks of one arm, of those arms that a question compares: second over first.
#[must_use]
pub(super) fn null_differences(
    blocks: &[Block],
    arms: [&str; 2],
    figure: impl Fn(&Block) -> Option<f64>,
) -> Vec<f64> {
    let controls: Vec<&Block> = blocks
        .iter()
        .filter(|block| block.kind == BlockKind::Control && arms.contains(&block.arm.as_str()))
        .collect();
    let twins = controls
        .chunk_by(|one, other| (one.pair, &one.phase, &one.arm) == (other.pair, &other.phase, &other.arm));
    twins
        .filter_map(|twins| match twins {
            [first, second] if first.valid && second.valid => log_ratio(figure(first)?, figure(second)?),
            _ => None,
        })
        .collect()
}

/// Judge one question on blocks: their differences, and the A/A differences of the same arms.
#[must_use]
pub(super) fn ask(
    question: &Question<'_>,
    blocks: &[Block],
    figure: impl Fn(&Block) -> Option<f64>,
) -> Answer {
    let null = null_differences(blocks, [question.a, question.b], &figure);
    answer(question, differences(blocks, question.a, question.b, figure), null)
}

/// The same as a judgement, for what is corrected afterwards.
#[must_use]
pub(super) fn judged(
    question: &Question<'_>,
    blocks: &[Block],
    figure: impl Fn(&Block) -> Option<f64>,
) -> Option<Judgement> {
    let null = null_differences(blocks, [question.a, question.b], &figure);
    judge(&differences(blocks, question.a, question.b, figure), question.material, control(&null).ok()).ok()
}

fn answer(question: &Question<'_>, differences: Vec<f64>, null: Vec<f64>) -> Answer {
    let mut answer = match judge(&differences, question.material, control(&null).ok()) {
        Ok(judged) => Answer::of(question.id, question.question, question.metric, &judged),
        Err(error) => unanswered(question, &error),
    };
    answer.a = question.a.to_owned();
    answer.b = question.b.to_owned();
    answer.primary = question.primary;
    answer.differences = differences;
    answer.control_differences = null;
    answer
}

fn unanswered(question: &Question<'_>, error: &StatisticsError) -> Answer {
    let because = match error {
        StatisticsError::TooFew { .. } => "no valid group of blocks has both arms".to_owned(),
        other => other.to_string(),
    };
    Answer {
        id: question.id.to_owned(),
        question: question.question.to_owned(),
        metric: question.metric.to_owned(),
        verdict: Verdict::Inconclusive,
        because: Some(because),
        ..Answer::default()
    }
}

/// Middle of a figure over the valid blocks of an arm; None without any.
#[must_use]
pub(super) fn middle(blocks: &[Block], arm: &str, figure: impl Fn(&Block) -> Option<f64>) -> Option<f64> {
    let of_arm = blocks.iter().filter(|block| block.valid && block.arm == arm);
    median(&of_arm.filter_map(figure).collect::<Vec<_>>())
}

/// None when there are no values.
#[must_use]
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let middle = crate::statistics::median_of_sorted(&crate::statistics::sorted(values));
    (!values.is_empty()).then_some(middle)
}

/// Good answers per second.
#[must_use]
pub(super) fn throughput(block: &Block) -> Option<f64> {
    block.throughput.filter(|&rate| rate > 0.0)
}

/// A quantile in milliseconds, infinite where it fell among failed requests.
pub(super) fn latency(name: &'static str) -> impl Fn(&Block) -> Option<f64> {
    move |block| block.latency_ms.get(name).map(|latency| latency.milliseconds())
}

/// A figure for people; `?` when it is not known.
#[must_use]
pub(super) fn shown(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.digits$}"),
        Some(_) => "failed".to_owned(),
        None => "?".to_owned(),
    }
}

/// A ratio with its interval: "2.31 (2.1 to 2.5)".
#[must_use]
pub(super) fn ratio(answer: &Answer) -> String {
    let Some(ratio) = answer.ratio else { return "?".to_owned() };
    match answer.ci {
        [Some(low), Some(high)] => format!("{ratio:.2} ({low:.2} to {high:.2})"),
        _ => format!("{ratio:.2}"),
    }
}

#[cfg(test)]
pub(super) mod simulated {
    //! Blocks of servers whose behaviour is known.

    use crate::Random;
    use crate::document::{Block, BlockKind, Latency};

    /// One block with such a throughput, with noise whose deviation of the logarithm is `noise`.
    pub(in super::super) fn block(
        arm: &str,
        pair: Option<u32>,
        throughput: f64,
        noise: f64,
        random: &mut Random,
    ) -> Block {
        Block {
            kind: if pair.is_some() { BlockKind::Measured } else { BlockKind::Ladder },
            pair,
            arm: arm.to_owned(),
            throughput: Some(throughput * (noise * random.normal()).exp()),
            valid: true,
            ..Block::default()
        }
    }

    /// The same with a quantile.
    pub(in super::super) fn slow(arm: &str, pair: u32, p95: f64, noise: f64, random: &mut Random) -> Block {
        let mut block = block(arm, Some(pair), 1.0, 0.0, random);
        let p95 = Latency::new(p95 * (noise * random.normal()).exp()).unwrap();
        block.latency_ms.insert("p95".to_owned(), p95);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use crate::document::Latency;

    const QUESTION: Question<'_> = Question {
        id: "X1",
        question: "b is more than a",
        metric: "requests/s",
        a: "a",
        b: "b",
        material: 0.095,
        primary: true,
    };

    fn blocks(ratio: f64, groups: u32) -> Vec<Block> {
        let mut random = Random::new(5);
        let group = |group| {
            // What both blocks of a group have in common must not be seen.
            let common = 100.0 * random.exponential() + 1.0;
            [("a", common), ("b", common * ratio), ("c", common * 9.0)]
                .map(|(arm, rate)| simulated::block(arm, Some(group), rate, 0.01, &mut random))
        };
        (0..groups).flat_map(group).collect()
    }

    #[test]
    fn a_known_ratio_is_found_whatever_moves_both() {
        for (ratio, verdict) in
            [(2.0, Verdict::Supported), (0.5, Verdict::Contradicted), (1.0, Verdict::NoMaterialEffect)]
        {
            let answer = ask(&QUESTION, &blocks(ratio, 8), throughput);
            assert_eq!((answer.verdict, answer.pairs), (verdict, 8), "{answer:?}");
            assert!((answer.ratio.unwrap() / ratio - 1.0).abs() < 0.02, "{answer:?}");
            assert!(answer.primary && answer.differences.len() == 8);
        }
    }

    #[test]
    fn a_group_without_two_valid_blocks_is_left_out() {
        let mut blocks = blocks(2.0, 8);
        blocks[0].valid = false;
        blocks.remove(4);
        assert_eq!(differences(&blocks, "a", "b", throughput).len(), 6);
        for block in &mut blocks {
            block.valid = false;
        }
        let nothing = ask(&QUESTION, &blocks, throughput);
        assert_eq!(nothing.verdict, Verdict::Inconclusive);
        assert!(nothing.because.unwrap().contains("no valid group"));
    }

    /// An arm that gives 1.5 times as much the second time: a difference of 1.3 times is within that.
    #[test]
    fn what_an_arm_shows_against_itself_raises_the_bar() {
        let mut all = blocks(1.3, 8);
        assert_eq!(ask(&QUESTION, &all, throughput).verdict, Verdict::Supported);
        let mut random = Random::new(1);
        for (pair, arm) in [(20, "a"), (21, "b"), (22, "a"), (23, "c")] {
            for rate in [100.0, 150.0] {
                let block = simulated::block(arm, Some(pair), rate, 0.0, &mut random);
                all.push(Block { kind: BlockKind::Control, ..block });
            }
        }
        let answer = ask(&QUESTION, &all, throughput);
        assert_eq!((answer.verdict, answer.pairs), (Verdict::Inconclusive, 8), "{answer:?}");
        assert_eq!(
            answer.control_differences,
            [1.5_f64.ln(); 3],
            "not those of an arm that is not asked about"
        );
    }

    #[test]
    fn phases_are_not_mixed() {
        let mut random = Random::new(1);
        let mut of = |arm, phase: &str, rate| {
            let block = simulated::block(arm, Some(0), rate, 0.0, &mut random);
            Block { phase: Some(phase.to_owned()), ..block }
        };
        let blocks = [of("a", "64", 1.0), of("a", "256", 3.0), of("b", "256", 6.0), of("b", "64", 5.0)];
        let found = differences(&blocks, "a", "b", throughput);
        assert_eq!(found, [5.0_f64.ln(), 2.0_f64.ln()]);
    }

    #[test]
    fn failed_quantiles_are_worse_than_any() {
        let mut random = Random::new(1);
        let mut blocks = vec![
            simulated::slow("a", 0, 5.0, 0.0, &mut random),
            simulated::slow("b", 0, 5.0, 0.0, &mut random),
        ];
        blocks[1].latency_ms.insert("p95".to_owned(), Latency::Failed);
        assert!(differences(&blocks, "a", "b", latency("p95"))[0] > 9.0);
        assert_eq!(shown(latency("p95")(&blocks[1]), 1), "failed");
    }
}
