//! C10: a service whose clients try again does not recover by itself from a short stop (metastable failure).
//!
//! Clients of an open loop at 0.7 of what the service can do, who give up after three times the usual p95 and try twice
//! again; the workers are stopped for a second; then it is watched. Without anything against it every client that gave up
//! adds work, while the answers that are computed are for those who left. Compared: a server that serves whatever it
//! accepted, this program, this program with a queue that is shorter than the clients' patience, and this program when clients
//! keep a budget of retries.

mod clients;
mod trials;

use super::pairing::shown;
use super::{Claim, Finding, Requirement};
use crate::document::{Answer, Verdict};
use crate::experiment::{Session, SessionError};

use trials::run;

/// Offered before the stop, relative to the highest throughput.
pub(super) const LOAD: f64 = 0.7;
pub(super) const RETRIES: u32 = 2;
/// A client gives up after so many times the p95 before.
pub(super) const PATIENCE: f64 = 3.0;
/// Share of first attempts that a client's budget allows to try again.
pub(super) const BUDGET: f64 = 0.1;

/// Goodput afterwards, relative to before, below which it has not recovered.
const RECOVERED: f64 = 0.9;
/// Attempts afterwards, relative to requests, above which it is the retries that keep it down.
const AMPLIFIED: f64 = 1.3;

const EXPECTATION: &str = "a server that serves whatever it accepted stays down: with two retries above a load of \
    1 / (1 + 2) = 0.33 the attempts alone are more than it can do. Forgetting requests whose clients have left is not enough \
    where the rest is served in order: what is begun last is finished too late. A queue that is shorter than the clients' \
    patience, or clients with a budget of retries, recover";

/// The claim.
pub(super) struct C10;

impl Claim for C10 {
    fn id(&self) -> &'static str {
        "C10"
    }

    fn title(&self) -> &'static str {
        "a service whose clients try again does not recover by itself from a short stop"
    }

    fn expectation(&self) -> &'static str {
        EXPECTATION
    }

    fn requirements(&self) -> &'static [Requirement] {
        &[Requirement::Cores(2)]
    }

    fn run(&self, session: &mut Session<'_>) -> Result<Finding, SessionError> {
        run(session)
    }
}

/// Who is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Variant {
    /// A server of the standard library that serves every connection in the order in which it came.
    Direct,
    /// Requests whose clients have left are forgotten, all others wait as long as the configuration allows by default.
    Hosted,
    /// With a `queue_timeout` of a third of the clients' patience: what is begun can still be finished in time.
    HostedShortQueue,
    HostedBudget,
}

impl Variant {
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Variant::Direct => "direct",
            Variant::Hosted => "hosted",
            Variant::HostedShortQueue => "hosted, short queue",
            Variant::HostedBudget => "hosted, retry budget",
        }
    }
}

/// One run, in seconds: requests that became due in each, how many of these were answered in time at some attempt, and
/// how many attempts were begun.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trial {
    pub(super) variant: Variant,
    /// Seconds before the workers were stopped, and the first one of those that count afterwards.
    pub(super) stopped_at: usize,
    pub(super) counted_from: usize,
    pub(super) due: Vec<u32>,
    pub(super) good: Vec<u32>,
    pub(super) attempts: Vec<u32>,
}

impl Trial {
    /// Share of requests answered in time afterwards, relative to before; None when nothing was answered before.
    #[must_use]
    pub(super) fn recovery(&self) -> Option<f64> {
        let share = |from: usize, to: usize| {
            let sum = |counts: &[u32]| f64::from(counts[from..to].iter().sum::<u32>());
            sum(&self.good) / sum(&self.due)
        };
        let ratio = share(self.counted_from, self.due.len()) / share(0, self.stopped_at);
        ratio.is_finite().then_some(ratio)
    }

    /// Attempts for each request, afterwards.
    #[must_use]
    pub(super) fn amplification(&self) -> f64 {
        let sum = |counts: &[u32]| f64::from(counts[self.counted_from..].iter().sum::<u32>());
        sum(&self.attempts) / sum(&self.due)
    }

    /// Seconds from the end of the stop until nine of ten are answered in time again, and stay so for two seconds.
    #[must_use]
    pub(super) fn seconds_to_recover(&self) -> Option<usize> {
        let before = f64::from(self.good[..self.stopped_at].iter().sum::<u32>())
            / f64::from(self.due[..self.stopped_at].iter().sum::<u32>());
        let fine =
            |second: usize| f64::from(self.good[second]) >= RECOVERED * before * f64::from(self.due[second]);
        let resumed = self.stopped_at + 1;
        (resumed..self.due.len().saturating_sub(1))
            .find(|&second| fine(second) && fine(second + 1))
            .map(|second| second - resumed)
    }

    /// None when it is down for another reason than the retries: the machine was busy with something else.
    fn is_metastable(&self) -> Option<bool> {
        match (self.recovery()? < RECOVERED, self.amplification() > AMPLIFIED) {
            (false, _) => Some(false),
            (true, true) => Some(true),
            (true, false) => None,
        }
    }
}

/// All trials of a variant must agree.
fn agreed(trials: &[Trial], variant: Variant) -> Option<bool> {
    let of_variant = trials.iter().filter(|trial| trial.variant == variant);
    let found: Vec<Option<bool>> = of_variant.map(Trial::is_metastable).collect();
    let first = (*found.first()?)?;
    found.iter().all(|&one| one == Some(first)).then_some(first)
}

/// Fewest trials of a variant that say anything.
pub(super) const FEWEST_TRIALS: usize = 2;

#[must_use]
pub(super) fn conclude(trials: &[Trial]) -> Finding {
    let enough = |variant| trials.iter().filter(|trial| trial.variant == variant).count() >= FEWEST_TRIALS;
    let stays_down = |variant| if enough(variant) { agreed(trials, variant) } else { None };
    let direct = stays_down(Variant::Direct);
    let verdict = match direct {
        Some(true) => Verdict::Supported,
        Some(false) => Verdict::Contradicted,
        None => Verdict::Inconclusive,
    };
    let answers: Vec<Answer> = [
        ("C10", Variant::Direct, "a server that serves whatever it accepted does not recover by itself"),
        ("C10-hosted", Variant::Hosted, "this program does not recover by itself"),
        (
            "C10-short",
            Variant::HostedShortQueue,
            "this program with a short queue does not recover by itself",
        ),
        (
            "C10-budget",
            Variant::HostedBudget,
            "this program does not recover when its clients keep a budget of retries",
        ),
    ]
    .into_iter()
    .map(|(id, variant, question)| {
        let of_variant: Vec<&Trial> = trials.iter().filter(|trial| trial.variant == variant).collect();
        let recoveries: Vec<f64> = of_variant.iter().filter_map(|trial| trial.recovery()).collect();
        Answer {
            id: id.into(),
            question: question.into(),
            metric: "share answered in time, after over before".into(),
            a: "before".into(),
            b: variant.name().into(),
            ratio: super::pairing::median(&recoveries),
            pairs: u32::try_from(of_variant.len()).unwrap_or(u32::MAX),
            delta: Some(RECOVERED),
            verdict: match stays_down(variant) {
                Some(true) => Verdict::Supported,
                Some(false) => Verdict::Contradicted,
                None => Verdict::Inconclusive,
            },
            because: stays_down(variant).is_none().then(|| {
                if enough(variant) {
                    "its trials do not agree, or it was down without retries".to_owned()
                } else {
                    format!("fewer than {FEWEST_TRIALS} trials")
                }
            }),
            // By a fixed rule on repeated trials, without a p-value: not for Holm's correction.
            primary: false,
            ..Answer::default()
        }
    })
    .collect();
    let sentence = answers
        .iter()
        .map(|answer| format!("{}: {} of the goodput from before", answer.b, shown(answer.ratio, 2)))
        .collect::<Vec<_>>()
        .join("; ");
    let recovers: Vec<&str> = [Variant::Hosted, Variant::HostedShortQueue, Variant::HostedBudget]
        .into_iter()
        .filter(|&variant| stays_down(variant) == Some(false))
        .map(Variant::name)
        .collect();
    let flips_when = (direct == Some(true)).then(|| match recovers.as_slice() {
        [] => "nothing that was tried; fewer attempts, longer patience, or a load below 0.33".to_owned(),
        names => format!("recovered: {}", names.join("; ")),
    });
    Finding {
        verdict,
        sentence,
        flips_when,
        notes: trials.iter().map(note).collect(),
        answers,
        ..Finding::default()
    }
}

fn note(trial: &Trial) -> String {
    let recovered = match trial.seconds_to_recover() {
        Some(seconds) => format!("answers in time again after {seconds} s"),
        None => "did not come back while it was watched".to_owned(),
    };
    format!(
        "{}: {recovered}, {:.2} attempts for each request afterwards; answered in time each second: {}",
        trial.variant.name(),
        trial.amplification(),
        trial
            .good
            .iter()
            .zip(&trial.due)
            .map(|(good, due)| format!("{good}/{due}"))
            .collect::<Vec<_>>()
            .join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue that is simulated request by request: one server of 10 ms, requests every 14 ms, patience 60 ms, two
    /// retries; stopped in the fourth second. Who has waited for `wait` is not served.
    fn simulate(variant: Variant, wait: u64, retries: u32) -> Trial {
        const SERVICE: u64 = 10;
        const SECONDS: usize = 14;
        let mut trial = Trial {
            variant,
            stopped_at: 3,
            counted_from: 9,
            due: vec![0; SECONDS],
            good: vec![0; SECONDS],
            attempts: vec![0; SECONDS],
        };
        // Attempts by time: (begins, second of the request, attempt).
        let mut events: std::collections::BinaryHeap<std::cmp::Reverse<(u64, usize, u32)>> =
            (0..SECONDS as u64 * 1_000 / 14)
                .map(|i| std::cmp::Reverse((i * 14, (i * 14 / 1_000) as usize, 0)))
                .collect();
        let mut free = 0_u64;
        while let Some(std::cmp::Reverse((begins, second, attempt))) = events.pop() {
            if attempt == 0 {
                trial.due[second] += 1;
            }
            if let Some(count) = trial.attempts.get_mut((begins / 1_000) as usize) {
                *count += 1;
            }
            let gives_up = begins + 60;
            let mut start = free.max(begins);
            if (3_000..4_000).contains(&start) {
                start = 4_000;
            }
            let served = start < begins + wait;
            if served {
                free = start + SERVICE;
            }
            if served && free <= gives_up {
                trial.good[second] += 1;
            } else if attempt < retries {
                events.push(std::cmp::Reverse((gives_up, second, attempt + 1)));
            }
        }
        trial
    }

    const FOR_EVER: u64 = u64::MAX / 2;

    #[test]
    fn only_a_queue_shorter_than_patience_recovers() {
        let stuck = simulate(Variant::Direct, FOR_EVER, 2);
        // Until the client leaves: what is served last is answered a moment too late.
        let patient = simulate(Variant::Hosted, 60, 2);
        let short = simulate(Variant::HostedShortQueue, 20, 2);
        for down in [&stuck, &patient] {
            assert!(down.recovery().unwrap() < 0.2 && down.amplification() > 2.0, "{down:?}");
            assert_eq!(down.seconds_to_recover(), None);
        }
        assert!(short.recovery().unwrap() > 0.98, "{short:?}");
        assert_eq!(short.seconds_to_recover(), Some(0), "{short:?}");
        let trials: Vec<Trial> =
            [stuck, patient, short].into_iter().flat_map(|trial| [trial.clone(), trial]).collect();
        let concluded = conclude(&trials);
        let verdicts: Vec<Verdict> = concluded.answers.iter().map(|answer| answer.verdict).collect();
        let (down, fine, open) = (Verdict::Supported, Verdict::Contradicted, Verdict::Inconclusive);
        assert_eq!(verdicts, [down, down, fine, open]);
        assert_eq!(concluded.verdict, Verdict::Supported);
        assert_eq!(concluded.flips_when.unwrap(), "recovered: hosted, short queue");
    }

    #[test]
    fn slow_without_retries_is_not_metastable() {
        // Every other request fails for another reason, and nobody tries again.
        let mut slow = simulate(Variant::Direct, 20, 0);
        slow.good.iter_mut().skip(9).for_each(|good| *good /= 2);
        assert!(slow.recovery().unwrap() < 0.9 && slow.amplification() <= 1.01);
        assert_eq!(conclude(&[slow.clone(), slow]).verdict, Verdict::Inconclusive);
        let fine = simulate(Variant::Direct, 20, 0);
        assert_eq!(conclude(&[fine.clone(), fine]).verdict, Verdict::Contradicted);
    }

    #[test]
    fn trials_must_agree_and_be_enough() {
        let (stuck, fine) = (simulate(Variant::Direct, FOR_EVER, 2), simulate(Variant::Direct, 20, 2));
        assert_eq!(conclude(&[stuck.clone(), fine]).verdict, Verdict::Inconclusive);
        assert_eq!(conclude(std::slice::from_ref(&stuck)).verdict, Verdict::Inconclusive);
        let mut nothing = stuck;
        nothing.good.fill(0);
        assert_eq!(nothing.recovery(), None);
        assert_eq!(conclude(&[nothing.clone(), nothing]).verdict, Verdict::Inconclusive);
    }
}
