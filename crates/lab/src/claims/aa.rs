//! A/A: an arm compared with itself, again and again. What is conclusive there is false; how often that happens is what all
//! other verdicts of this machine are worth.

use super::pairing::{median, shown};
use super::{Claim, Finding, Requirement};
use crate::document::{Answer, Verdict};
use crate::experiment::{Arm, Block, Comparison, Condition, Load, Noise, Rate, Session, SessionError};
use crate::host::HostPlan;
use crate::probe;
use crate::statistics::verdict::material;

/// Comparisons at most: each takes about a minute.
const MOST: usize = 100;
/// Every so many comparisons one may be conclusive.
const ALLOWED: usize = 20;
/// A quarter of a core, of requests that differ.
const RATE: f64 = 100.0;
const TARGETS: [(&str, f64); 2] = [("/cpu?ms=2", 0.9), ("/cpu?ms=8", 0.1)];

/// So many comparisons.
#[derive(Debug, Clone, Copy)]
pub struct AgainstItself(pub usize);

impl Claim for AgainstItself {
    fn id(&self) -> &'static str {
        "AA"
    }

    fn title(&self) -> &'static str {
        "an arm compared with itself shows no difference"
    }

    fn expectation(&self) -> &'static str {
        "at most one comparison in twenty is conclusive: intervals hold what they promise 95 times in 100, and what is called \
         material is more than the noise of a quiet machine"
    }

    fn requirements(&self) -> &'static [Requirement] {
        &[Requirement::Cores(2)]
    }

    fn run(&self, session: &mut Session<'_>) -> Result<Finding, SessionError> {
        let app = session.probe(probe::ASGI);
        session.start(HostPlan::default().with("itself", app))?;
        let targets = TARGETS.map(|(target, share)| (target.to_owned(), share));
        let condition = |name: &str| Condition {
            name: name.to_owned(),
            app: "itself".to_owned(),
            arm: Arm::FairShare,
            noise: Noise::quiet(),
            load: Load { targets: targets.clone().into(), rate: Rate::Poisson(RATE) },
        };
        let mut answers = Vec::new();
        for number in 1..=self.0.clamp(1, MOST) {
            session.progress.note(&format!("comparison {number} of {}", self.0));
            let id = format!("AA-{number}");
            let (a, b) = (condition("A"), condition("B, the same"));
            let paired = session.compare(&Comparison { id: id.clone(), a, b })?;
            let question = "the same application is slower than itself";
            answers.push(paired.answer(question, "p95", material::LATENCY, |block| block.quantile(0.95)).0);
            let (mut spread, _) = paired.answer(question, "p95 - p50", material::LATENCY, Block::spread);
            spread.id = format!("{id}-spread");
            answers.push(spread);
        }
        session.stop()?;
        Ok(conclude(answers))
    }
}

fn conclude(answers: Vec<Answer>) -> Finding {
    let of = |metric: &'static str| answers.iter().filter(move |answer| answer.metric == metric);
    let is_false = |answer: &&Answer| matches!(answer.verdict, Verdict::Supported | Verdict::Contradicted);
    let line = |metric| {
        let (all, wrong) = (of(metric).count(), of(metric).filter(is_false).count());
        let open = of(metric).filter(|answer| answer.verdict == Verdict::Inconclusive).count();
        let widths: Vec<f64> = of(metric)
            .filter_map(|answer| match answer.ci {
                [Some(low), Some(high)] => Some((high / low).sqrt()),
                _ => None,
            })
            .collect();
        format!(
            "{metric}: {wrong} of {all} comparisons conclusive, {open} inconclusive; half of an interval is typically a factor of {}",
            shown(median(&widths), 2)
        )
    };
    let (all, wrong) = (of("p95").count(), of("p95").filter(is_false).count());
    let verdict = match (all, wrong) {
        (all, _) if all < ALLOWED => Verdict::Descriptive,
        (all, wrong) if wrong <= all / ALLOWED => Verdict::Supported,
        _ => Verdict::Contradicted,
    };
    Finding { verdict, sentence: line("p95"), notes: vec![line("p95 - p50")], answers, ..Finding::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use crate::statistics::verdict::{control, judge};

    /// Twenty comparisons whose pairs differ by noise of this deviation and, some of them, by a true factor.
    fn comparisons(deviation: f64, different: usize, factor: f64) -> Vec<Answer> {
        let mut random = Random::new(11);
        let one = |number: usize| {
            let shift = if number < different { factor.ln() } else { 0.0 };
            let pairs: Vec<f64> = (0..9).map(|_| shift + deviation * random.normal()).collect();
            let null: Vec<f64> = (0..3).map(|_| deviation * random.normal()).collect();
            let judged = judge(&pairs, material::LATENCY, control(&null).ok()).unwrap();
            Answer::of(format!("AA-{number}"), "", "p95", &judged)
        };
        (0..20).map(one).collect()
    }

    #[test]
    fn noise_alone_is_rarely_conclusive_and_a_difference_is_counted() {
        for deviation in [0.02, 0.1, 0.5] {
            let finding = conclude(comparisons(deviation, 0, 1.0));
            assert_eq!(finding.verdict, Verdict::Supported, "{}", finding.sentence);
        }
        assert_eq!(conclude(comparisons(0.05, 1, 2.0)).verdict, Verdict::Supported);
        let finding = conclude(comparisons(0.05, 2, 2.0));
        assert_eq!(finding.verdict, Verdict::Contradicted);
        assert!(finding.sentence.starts_with("p95: 2 of 20 comparisons conclusive"), "{}", finding.sentence);
        let mut few = comparisons(0.05, 2, 2.0);
        few.truncate(19);
        assert_eq!(conclude(few).verdict, Verdict::Descriptive);
    }
}
