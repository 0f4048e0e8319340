//! From the rounds to answers and sentences.
//!
//! An effect is the difference of the logarithms of p95 in the same round. Two limits interact when that of the one is another
//! beside the other: the difference of two such differences (a factorial design of two factors at two levels).

use std::collections::BTreeMap;

use super::super::tenancy::Measured as Tenancy;
use super::{BOTH, DOUBLED, MEMORY, MEMORY_ONLY, MIB, NONE, QUOTA, QUOTA_DOUBLED, QUOTA_ONLY};
use super::{Row, Settings, Trial};
use crate::claims::ratio;
use crate::document::{Answer, Document, LimitsTogether, Verdict};
use crate::statistics::verdict::{self, material};

/// p95 of the rounds that count.
type Rounds = BTreeMap<usize, f64>;

pub(super) fn all(document: &mut Document, rows: &[Row], settings: Settings, tenancy: &Tenancy) {
    let control = tenancy.quiet.as_ref().map_or(&[][..], |answer| &answer.control_differences);
    let of = |trial: Trial| rows.iter().find(|row| row.trial == trial);
    let p95 = |trial: Trial| of(trial).map(rounds).unwrap_or_default();
    let quota = settings.cores.map_or(String::new(), |cores| {
        format!("a quota of {} cores, {QUOTA} times what it needs on average", ratio(cores))
    });
    let memory = settings.memory_mib.map_or(String::new(), |mib| {
        format!("a limit of memory of {mib} MiB, {MEMORY} times what its group holds")
    });
    let doubled = format!("{} workers in place of {}", 2 * settings.workers, settings.workers);
    let mut sentences = Vec::new();
    for (id, trial, what) in [
        ("limits-quota", QUOTA_ONLY, &quota),
        ("limits-memory", MEMORY_ONLY, &memory),
        ("limits-workers", DOUBLED, &doubled),
    ] {
        let Some(row) = of(trial) else { continue };
        if let Some(why) = &row.refused {
            sentences.push(format!("{what}: it cannot be run so: {why}"));
            continue;
        }
        let question = format!("{} makes it slower", trial.name());
        let differences = effect(&p95(NONE), &p95(trial));
        let answer = judged(id, &question, "p95 with it over p95 without", differences, control);
        sentences.push(format!("{what}: {}", alone(&answer)));
        document.verdicts.push(answer);
    }
    for (id, first, second, together) in [
        ("limits-quota-memory", QUOTA_ONLY, MEMORY_ONLY, BOTH),
        ("limits-quota-workers", QUOTA_ONLY, DOUBLED, QUOTA_DOUBLED),
    ] {
        if [first, second, together]
            .into_iter()
            .any(|trial| of(trial).is_none_or(|row| row.refused.is_some()))
        {
            continue;
        }
        let question = format!("the {} costs more beside {}", first.name(), second.name());
        let metric = "p95 with over without the quota, beside the other over alone";
        let differences = interplay(&p95(NONE), &p95(first), &p95(second), &p95(together));
        // What a difference of two differences shows when nothing differs.
        let control: Vec<f64> = control.chunks_exact(2).map(|two| two[1] - two[0]).collect();
        let answer = judged(id, &question, metric, differences, &control);
        sentences.push(format!("the quota beside {}: {}", with_article(second), beside(&answer)));
        document.verdicts.push(answer);
    }
    let held = |trial| of(trial).and_then(Row::used_bytes);
    sentences.extend(room(settings, held(NONE), held(DOUBLED)));
    if settings.cores.is_none() {
        sentences
            .push(format!("no quota was tried: {QUOTA} times what it needs is all that this machine has"));
    }
    document.limits = Some(LimitsTogether {
        rate: tenancy.rate,
        trials: rows.iter().map(|row| row.document(settings)).collect(),
        sentences,
    });
}

fn rounds(row: &Row) -> Rounds {
    let valid = row.blocks.iter().filter(|(_, block)| block.is_valid());
    valid.map(|(round, block)| (*round, block.waited(0.95))).collect()
}

fn effect(without: &Rounds, with: &Rounds) -> Vec<f64> {
    let both = without.iter().filter_map(|(round, without)| Some((without, with.get(round)?)));
    both.map(|(without, with)| (with / without).ln()).collect()
}

fn interplay(neither: &Rounds, first: &Rounds, second: &Rounds, both: &Rounds) -> Vec<f64> {
    let all = neither.iter().filter_map(|(round, neither)| {
        Some([*neither, *first.get(round)?, *second.get(round)?, *both.get(round)?])
    });
    all.map(|[neither, first, second, both]| (both / second).ln() - (first / neither).ln()).collect()
}

fn judged(id: &str, question: &str, metric: &str, differences: Vec<f64>, control: &[f64]) -> Answer {
    let control = verdict::control(control).ok();
    let mut answer = match verdict::judge(&differences, material::LATENCY, control) {
        Ok(judged) => Answer::of(id, question, metric, &judged),
        Err(_) => Answer {
            id: id.to_owned(),
            question: question.to_owned(),
            metric: metric.to_owned(),
            verdict: Verdict::Inconclusive,
            because: Some("not a single round counts".to_owned()),
            ..Answer::default()
        },
    };
    answer.differences = differences;
    answer
}

fn alone(answer: &Answer) -> String {
    match answer.verdict {
        Verdict::Supported | Verdict::Contradicted => format!("p95 is {} times as long", figures(answer)),
        Verdict::NoMaterialEffect => format!("p95 is the same, {} times", figures(answer)),
        _ => unknown(answer),
    }
}

fn beside(answer: &Answer) -> String {
    match answer.verdict {
        Verdict::Supported => {
            format!("it costs more there than alone, {} times as much p95", figures(answer))
        }
        Verdict::Contradicted => {
            format!("it costs less there than alone, {} times as much p95", figures(answer))
        }
        Verdict::NoMaterialEffect => format!("it costs what it costs alone, {} times", figures(answer)),
        _ => unknown(answer),
    }
}

fn unknown(answer: &Answer) -> String {
    let because = answer.because.as_deref().unwrap_or("there are too few figures");
    match answer.ratio {
        Some(ratio) => format!("{} times p95, but not conclusive: {because}", self::ratio(ratio)),
        None => format!("not known: {because}"),
    }
}

/// The estimate and its interval.
fn figures(answer: &Answer) -> String {
    let maybe = |value: Option<f64>| value.map_or("?".to_owned(), ratio);
    let [low, high] = answer.ci;
    format!("{} ({} to {})", maybe(answer.ratio), maybe(low), maybe(high))
}

fn with_article(trial: Trial) -> String {
    if trial.memory { format!("the {}", trial.name()) } else { trial.name() }
}

/// Whether the limit of memory also holds twice the workers.
fn room(settings: Settings, held: Option<u64>, held_by_twice: Option<u64>) -> Option<String> {
    let (limit, held, twice) = (settings.memory_mib?, held?, held_by_twice?);
    let mib = |bytes: u64| ratio(bytes as f64 / MIB as f64);
    let workers = 2 * settings.workers;
    if twice <= limit * MIB {
        return Some(format!("the limit of memory holds {workers} workers too: they use {} MiB", mib(twice)));
    }
    let each = twice.saturating_sub(held) / u64::from(settings.workers.max(1));
    Some(format!(
        "the limit of memory does not hold {workers} workers: they use {} MiB, each one more {} MiB: raise `limits.memory` with `workers`",
        mib(twice),
        mib(each)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Rounds {
        values.iter().copied().enumerate().collect()
    }

    fn settings() -> Settings {
        Settings { cores: Some(0.75), memory_mib: Some(60), workers: 1 }
    }

    #[test]
    fn effects_that_multiply_do_not_interact() {
        let neither = of(&[10.0, 11.0, 12.0]);
        let first = of(&[20.0, 22.0, 24.0]);
        let second = of(&[30.0, 33.0, 36.0]);
        for (difference, expected) in effect(&neither, &first).into_iter().zip([2.0_f64.ln(); 3]) {
            assert!((difference - expected).abs() < 1e-9, "{difference}");
        }
        let none = interplay(&neither, &first, &second, &of(&[60.0, 66.0, 72.0]));
        assert!(none.len() == 3 && none.iter().all(|difference| difference.abs() < 1e-9), "{none:?}");
        let worse = interplay(&neither, &first, &second, &of(&[120.0, 132.0, 144.0]));
        assert!(worse.iter().all(|difference| (difference - 2.0_f64.ln()).abs() < 1e-9), "{worse:?}");
    }

    #[test]
    fn only_rounds_in_which_all_count_are_used() {
        let mut second = of(&[30.0, 30.0, 30.0]);
        second.remove(&1);
        let neither = of(&[10.0, 10.0, 10.0]);
        assert_eq!(effect(&neither, &second).len(), 2);
        assert_eq!(interplay(&neither, &neither, &second, &neither).len(), 2);
        assert!(effect(&neither, &Rounds::new()).is_empty());
    }

    #[test]
    fn sentences_say_what_was_found_and_what_was_not() {
        let answer =
            |differences: &[f64], control: &[f64]| judged("x", "x", "x", differences.to_vec(), control);
        let twice = [0.68, 0.69, 0.7, 0.69, 0.7, 0.68];
        assert_eq!(alone(&answer(&twice, &[])), "p95 is 1.99 (1.97 to 2.01) times as long");
        let same = [0.01, -0.01, 0.02, -0.02, 0.0, 0.01];
        assert!(
            alone(&answer(&same, &[])).starts_with("p95 is the same, 1.00 ("),
            "{}",
            alone(&answer(&same, &[]))
        );
        assert!(beside(&answer(&twice, &[])).starts_with("it costs more there than alone, 1.99"));
        let less: Vec<f64> = twice.iter().map(|difference| -difference).collect();
        assert!(beside(&answer(&less, &[])).starts_with("it costs less there than alone, 0.50"));
        assert!(beside(&answer(&same, &[])).starts_with("it costs what it costs alone"));
        let few = alone(&answer(&twice[..3], &[]));
        assert!(few.contains("not conclusive: 3 valid pairs"), "{few}");
        let noisy = alone(&answer(&twice, &[0.9, -1.2]));
        assert!(noisy.contains("not conclusive: there is a difference, but"), "{noisy}");
        assert_eq!(alone(&answer(&[], &[])), "not known: not a single round counts");
    }

    #[test]
    fn memory_for_more_workers_is_counted() {
        let said = room(settings(), Some(54 << 20), Some(90 << 20)).unwrap();
        assert!(said.contains("does not hold 2 workers: they use 90 MiB, each one more 36 MiB"), "{said}");
        let said = room(settings(), Some(54 << 20), Some(58 << 20)).unwrap();
        assert!(said.contains("holds 2 workers too: they use 58 MiB"), "{said}");
        assert_eq!(room(settings(), None, Some(1)), None);
        assert_eq!(room(Settings { memory_mib: None, ..settings() }, Some(1), Some(1)), None);
    }
}
