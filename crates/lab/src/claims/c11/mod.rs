//! C11: how long it takes until an action on a running application has its effect, and what it costs. A description: there
//! is nothing to support or contradict, but for the order in which control groups, forks and new processes come.

mod actions;

use super::pairing::{median, shown};
use super::{Claim, Finding, Requirement};
use crate::document::Verdict;
use crate::experiment::{Session, SessionError};

use actions::run;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Action {
    /// One worker more, from a template process that has imported the application.
    AddForked,
    /// One worker more, as a new process.
    AddSpawned,
    /// More of the processors, by the control group.
    RaiseCpu,
    /// More memory, by the control group.
    RaiseMemory,
    /// From shared to isolated, and so to a core of its own.
    Move,
    /// One of two workers killed.
    KillSync,
    KillThreads,
    KillAsync,
}

impl Action {
    pub(super) const ALL: [Action; 8] = [
        Action::RaiseCpu,
        Action::RaiseMemory,
        Action::AddForked,
        Action::AddSpawned,
        Action::Move,
        Action::KillSync,
        Action::KillThreads,
        Action::KillAsync,
    ];

    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Action::AddForked => "one worker more, forked from a template",
            Action::AddSpawned => "one worker more, a new process",
            Action::RaiseCpu => "twice the processor limit",
            Action::RaiseMemory => "twice the memory limit",
            Action::Move => "moved from shared to isolated",
            Action::KillSync => "kill -9 of one of two sync workers",
            Action::KillThreads => "kill -9 of one of two workers with 8 threads",
            Action::KillAsync => "kill -9 of one of two async workers",
        }
    }
}

/// One repeat of an action under load.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Effect {
    pub(super) action: Action,
    /// From the call, or the kill, until the effect; None when it did not come while it was watched.
    pub(super) seconds: Option<f64>,
    /// Requests that failed while it was watched.
    pub(super) lost: u32,
    /// Requests that were run again and answered.
    pub(super) replayed: u32,
}

/// Windows in which throughput is counted.
pub(super) const WINDOW: f64 = 0.05;
/// An effect is there when throughput is this close to what it is in the end.
const CLOSE: f64 = 0.10;
/// And stays so for this many windows together: single ones are noisy.
const STEADY: usize = 5;

/// When throughput reached what it is in the end, in seconds after `at`. `done` are the times at which requests were
/// answered, `end` when watching ended; the last third is what it is in the end. None when it was never close, or when the
/// end is no better than `least` times what it was before.
#[must_use]
pub(super) fn time_to_effect(done: &[f64], at: f64, end: f64, least: f64) -> Option<f64> {
    let rate = |from: f64, to: f64| {
        done.iter().filter(|&&time| (from..to).contains(&time)).count() as f64 / (to - from)
    };
    let finally = rate(end - (end - at) / 3.0, end);
    let before = rate(0.0, at);
    if finally <= 0.0 || finally < least * before {
        return None;
    }
    let span = WINDOW * STEADY as f64;
    let steps = ((end - at - span) / WINDOW).max(0.0) as usize;
    (0..=steps)
        .map(|step| at + step as f64 * WINDOW)
        .find(|&from| rate(from, from + span) >= (1.0 - CLOSE) * finally)
        .map(|from| from - at)
}

const EXPECTATION: &str = "limits of a control group: under 100 ms; a forked worker: 10 to 100 ms; a new process: the \
    time of its imports, 200 ms or more. A killed worker loses what it was working on: at most 1 request of a sync worker, as \
    many as there are threads, and everything that is open on an event loop";

/// The claim.
pub(super) struct C11;

impl Claim for C11 {
    fn id(&self) -> &'static str {
        "C11"
    }

    fn title(&self) -> &'static str {
        "how soon an action on a running application has its effect"
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

#[must_use]
pub(super) fn conclude(effects: &[Effect]) -> Finding {
    let of = |action: Action| effects.iter().filter(move |effect| effect.action == action);
    let seconds = |action| median(&of(action).filter_map(|effect| effect.seconds).collect::<Vec<_>>());
    let most_lost = |action| of(action).map(|effect| effect.lost + effect.replayed).max();
    let line = |action: Action| {
        let repeats = of(action).count();
        let without = of(action).filter(|effect| effect.seconds.is_none()).count();
        let sum = |figure: fn(&Effect) -> u32| of(action).map(figure).sum::<u32>();
        let missing =
            if without > 0 { format!(" ({without} of {repeats} without effect)") } else { String::new() };
        format!(
            "{}: {} s{missing}, {} requests lost, {} run again",
            action.name(),
            shown(seconds(action), 2),
            sum(|effect| effect.lost),
            sum(|effect| effect.replayed)
        )
    };
    let order = [Action::RaiseCpu, Action::AddForked, Action::AddSpawned].map(seconds);
    let radius = [Action::KillSync, Action::KillThreads, Action::KillAsync].map(most_lost);
    let mut notes: Vec<String> =
        Action::ALL.into_iter().filter(|&action| of(action).count() > 0).map(line).collect();
    if let [Some(limit), Some(fork), Some(spawn)] = order {
        let held = if limit <= fork && fork <= spawn { "as expected" } else { "not as expected" };
        notes.push(format!("limit, fork, new process: {limit:.2} s, {fork:.2} s, {spawn:.2} s: {held}"));
    }
    if let [Some(sync), Some(threads), Some(event_loop)] = radius {
        let held = if sync <= threads && threads <= event_loop { "as expected" } else { "not as expected" };
        notes.push(format!(
            "requests that a killed worker was working on, at most: sync {sync}, threads {threads}, async {event_loop}: {held}"
        ));
    }
    Finding {
        verdict: if effects.is_empty() { Verdict::Inconclusive } else { Verdict::Descriptive },
        sentence: format!(
            "a limit takes {} s, a forked worker {} s, a new process {} s",
            shown(order[0], 2),
            shown(order[1], 2),
            shown(order[2], 2)
        ),
        flips_when: Some("the time of a new process is that of the application's imports: the probe imports next to nothing".into()),
        notes,
        ..Finding::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at `before` per second until `until`, then at `after`, up to `end`.
    fn answers(before: f64, until: f64, after: f64, end: f64) -> Vec<f64> {
        let first = (0..).map(|i| f64::from(i) / before).take_while(|&time| time < until);
        let second = (0..).map(|i| until + f64::from(i) / after).take_while(|&time| time < end);
        first.chain(second).collect()
    }

    #[test]
    fn a_known_step_is_found() {
        for delay in [0.0, 0.3, 1.0] {
            let done = answers(100.0, 1.0 + delay, 200.0, 4.0);
            let found = time_to_effect(&done, 1.0, 4.0, 1.5).unwrap();
            assert!((found - delay).abs() <= 2.0 * WINDOW, "{delay}: {found}");
        }
        let gap = answers(200.0, 1.0, 200.0, 4.0).into_iter().filter(|time| !(1.0..1.5).contains(time));
        let found = time_to_effect(&gap.collect::<Vec<_>>(), 1.0, 4.0, 0.5).unwrap();
        assert!((found - 0.5).abs() <= 2.0 * WINDOW, "{found}");
    }

    #[test]
    fn no_effect_is_no_time() {
        assert_eq!(time_to_effect(&answers(100.0, 1.0, 100.0, 4.0), 1.0, 4.0, 1.5), None);
        assert_eq!(time_to_effect(&[], 1.0, 4.0, 1.5), None);
        assert_eq!(time_to_effect(&answers(100.0, 1.0, 100.0, 1.5), 1.0, 4.0, 0.0), None);
    }

    fn effect(action: Action, seconds: Option<f64>, lost: u32) -> Effect {
        Effect { action, seconds, lost, replayed: 0 }
    }

    #[test]
    fn orders_are_told_as_they_were() {
        let effects = [
            effect(Action::RaiseCpu, Some(0.02), 0),
            effect(Action::AddForked, Some(0.1), 0),
            effect(Action::AddSpawned, Some(0.4), 0),
            effect(Action::AddSpawned, None, 0),
            effect(Action::KillSync, Some(0.5), 1),
            effect(Action::KillThreads, Some(0.5), 8),
            effect(Action::KillAsync, Some(0.5), 5),
        ];
        let finding = conclude(&effects);
        let notes = finding.notes.join("\n");
        assert_eq!(finding.verdict, Verdict::Descriptive);
        assert!(notes.contains("0.02 s, 0.10 s, 0.40 s: as expected"), "{notes}");
        assert!(notes.contains("1 of 2 without effect"), "{notes}");
        assert!(notes.contains("threads 8, async 5: not as expected"), "{notes}");
        assert_eq!(conclude(&[]).verdict, Verdict::Inconclusive);
    }
}
