//! C11: an application that was ready to run and did not, because its neighbours did.
//!
//! Threads wait for a processor for four reasons, and only one of them is a neighbour: their own quota holds them back (C10),
//! they are more than there are processors (their own fault), somebody outside this host runs, or a neighbour runs. So the
//! wait is laid at neighbours' doors no further than all of these allow:
//!
//! - its own quota did not hold it back at all;
//! - what it used and what it waited for, less what it could ever have had: its own threads stood in each other's way;
//! - what it could have had and did not get;
//! - what the neighbours used on the same processors, and that is most of what others used there;
//! - the processors were busy: else the scheduler was only slow to move a thread;
//! - and one neighbour used at least twice as much as it did itself: else both only want more than there is, and whoever
//!   takes most is not starved by those who take less.

use std::time::Duration;

use incident::{Code, Detection};

use crate::since::Since;
use crate::streak::Streak;

/// Milliseconds in each second that count, and part of what it wanted to run (percent).
const WAIT_MS: f64 = 50.0;
const SHARE: f64 = 33.0;

/// What the neighbour that used most did, against its own.
const MORE: f64 = 2.0;

/// Percent of the processors that were busy.
const BUSY: f64 = 80.0;

/// Counters of an application and of its surroundings, since whenever, in microseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Demand {
    pub used_us: u64,
    /// By thread: how long it was ready to run and did not. A thread that is new has waited since it began.
    pub waited_us: Vec<(u64, u64)>,
    /// How long its own quota held it back.
    pub throttled_us: u64,
    /// Processors that it may use.
    pub cores: f64,
    /// What all these processors have done, whoever it was for.
    pub busy_us: u64,
    /// Applications that may use some of the same processors.
    pub neighbours: Vec<(String, u64)>,
}

/// One bad interval.
#[derive(Debug, Clone)]
struct Starved {
    passed: Duration,
    waited_ms: f64,
    /// Microseconds.
    busy: u64,
    neighbours: Vec<(String, u64)>,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Starving {
    since: Since<Demand>,
    streak: Streak<Starved>,
}

impl Starving {
    /// `awaited`: requests were under way.
    pub fn look(&mut self, at: Duration, now: &Demand, awaited: bool, app: &str) -> Option<Detection> {
        let (passed, before) = self.since.next(at, now)?;
        let starved = starved(&before, now, passed).filter(|_| awaited);
        let bad = self.streak.push(starved)?;
        let mut neighbours: Vec<(String, u64)> = Vec::new();
        for (name, used) in bad.iter().flat_map(|it| &it.neighbours) {
            match neighbours.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += used,
                None => neighbours.push((name.clone(), *used)),
            }
        }
        let (name, used) = neighbours.into_iter().max_by_key(|(_, used)| *used)?;
        let seconds: f64 = bad.iter().map(|it| it.passed.as_secs_f64()).sum();
        let busy = bad.iter().map(|it| it.busy).sum::<u64>() as f64;
        Some(
            Detection::new(Code::C11, "neighbours", Some(app))
                .number("waited_ms", bad.iter().map(|it| it.waited_ms).sum::<f64>())
                .number("interval_seconds", seconds)
                .text("neighbour", name)
                .number("neighbour_cores", used as f64 / 1e6 / seconds)
                .number("neighbour_percent", (100.0 * used as f64 / busy).min(100.0)),
        )
    }
}

fn starved(before: &Demand, now: &Demand, passed: Duration) -> Option<Starved> {
    let span = passed.as_secs_f64() * 1e6;
    if now.throttled_us != before.throttled_us || now.cores != before.cores {
        return None;
    }
    let used = now.used_us.checked_sub(before.used_us)? as f64;
    let busy = now.busy_us.checked_sub(before.busy_us)?;
    let waited: u64 = now.waited_us.iter().map(|thread| waited(before, *thread)).sum();
    let waited = waited as f64;
    let neighbours: Vec<(String, u64)> =
        now.neighbours.iter().filter_map(|it| moved(&before.neighbours, it)).collect();
    let theirs = neighbours.iter().map(|(_, used)| *used).sum::<u64>() as f64;
    let could_have = now.cores * span;
    let own = (used + waited - could_have).max(0.0);
    let blamed = (waited - own).min(could_have - used).min(theirs);
    let others = busy as f64 - used;
    let material = blamed * 1e3 >= WAIT_MS * span && blamed * 100.0 >= SHARE * (used + blamed);
    let theirs_alone = theirs * 2.0 >= others;
    let most = neighbours.iter().map(|(_, used)| *used).max().unwrap_or(0) as f64;
    let is_less = most >= MORE * used;
    let is_busy = busy as f64 * 100.0 >= BUSY * could_have;
    (material && theirs_alone && is_less && is_busy).then(|| Starved {
        passed,
        waited_ms: blamed / 1e3,
        busy,
        neighbours,
    })
}

/// How long a thread has waited since.
fn waited(before: &Demand, (thread, waited): (u64, u64)) -> u64 {
    let known = before.waited_us.iter().find(|(known, _)| *known == thread);
    // The number of a thread that ended may be another's now.
    known.map_or(0, |(_, before)| waited.saturating_sub(*before))
}

fn moved(before: &[(String, u64)], (name, now): &(String, u64)) -> Option<(String, u64)> {
    let (_, before) = before.iter().find(|(known, _)| known == name)?;
    Some((name.clone(), now.checked_sub(*before)?))
}

#[cfg(test)]
mod tests {
    use incident::Value;

    use super::*;

    /// In cores: what it used, what its threads waited, what each neighbour used, and what somebody outside used.
    #[derive(Clone, Copy)]
    struct Case {
        used: f64,
        waited: f64,
        neighbours: &'static [(&'static str, f64)],
        outside: f64,
        throttled: bool,
    }

    const STARVED: Case = Case {
        used: 0.2,
        waited: 0.5,
        neighbours: &[("calm", 0.1), ("hog", 1.6)],
        outside: 0.1,
        throttled: false,
    };

    fn told(case: Case) -> Option<Detection> {
        let mut detector = Starving::default();
        let mut found = Vec::new();
        for step in 0..5_u64 {
            let us = |cores: f64| (cores * 500_000.0) as u64 * step;
            let neighbours: Vec<_> =
                case.neighbours.iter().map(|(name, used)| ((*name).to_owned(), us(*used))).collect();
            let theirs: u64 = neighbours.iter().map(|(_, used)| used).sum();
            let now = Demand {
                used_us: us(case.used),
                // Two threads; the numbers are those of Linux.
                waited_us: vec![(7, 9_000 + us(case.waited / 2.0)), (8, us(case.waited / 2.0))],
                throttled_us: if case.throttled { step } else { 0 },
                cores: 2.0,
                busy_us: us(case.used) + theirs + us(case.outside),
                neighbours,
            };
            found.extend(detector.look(Duration::from_millis(500 * step), &now, true, "shop"));
        }
        assert!(found.len() <= 1);
        found.pop()
    }

    #[test]
    fn the_neighbour_that_used_most_is_named_with_its_share() {
        let told = told(STARVED).unwrap();
        assert_eq!((told.code, told.cause), (Code::C11, "neighbours"));
        assert_eq!(told.facts.get("neighbour"), Some(&Value::Text("hog".to_owned())));
        let figure = |key| match told.facts.get(key) {
            Some(Value::Number(number)) => *number,
            other => panic!("{key}: {other:?}"),
        };
        assert!((figure("neighbour_cores") - 1.6).abs() < 1e-6);
        assert!((figure("neighbour_percent") - 80.0).abs() < 1e-3);
        assert!((figure("waited_ms") - 750.0).abs() < 1.0, "half a core for 1.5 s");
        assert_eq!(figure("interval_seconds"), 1.5);
    }

    #[test]
    fn own_threads_that_compete_are_nobody_elses_fault() {
        // Eight busy threads on two cores, alone, or beside somebody who does next to nothing.
        let alone = Case { used: 1.95, waited: 6.0, neighbours: &[("calm", 0.03)], outside: 0.02, ..STARVED };
        assert_eq!(told(alone), None);
        assert_eq!(told(Case { neighbours: &[], outside: 0.05, ..alone }), None);
        // The same beside a hog: what it would have had without it, no more.
        let both = Case { used: 0.6, waited: 6.0, neighbours: &[("hog", 1.4)], outside: 0.0, ..STARVED };
        let told = told(both).unwrap();
        let Some(Value::Number(waited)) = told.facts.get("waited_ms") else { panic!() };
        assert!((waited - 2100.0).abs() < 1.0, "{waited}: 1.4 of 2 cores for 1.5 s");
    }

    #[test]
    fn other_reasons_are_not_neighbours() {
        assert_eq!(told(Case { throttled: true, ..STARVED }), None, "its own quota");
        let outside = Case { neighbours: &[("hog", 0.3)], outside: 1.5, ..STARVED };
        assert_eq!(told(outside), None, "somebody outside");
        // As measured: the hog, beside an application of the same weight that wants less.
        let hog = Case { used: 1.2, waited: 2.8, neighbours: &[("app", 0.8)], outside: 0.0, ..STARVED };
        assert_eq!(told(hog), None, "it takes most");
        let idle = Case { neighbours: &[("hog", 0.9)], outside: 0.0, ..STARVED };
        assert_eq!(told(idle), None, "there was room");
        assert_eq!(told(Case { waited: 0.04, ..STARVED }), None, "not for long");
        assert_eq!(
            told(Case { used: 1.0, waited: 0.3, neighbours: &[("b", 1.0)], ..STARVED }),
            None,
            "a bit"
        );
    }

    #[test]
    fn a_thread_that_is_new_or_has_an_old_number_adds_nothing() {
        let before = Demand { waited_us: vec![(7, 100), (8, 900)], ..Demand::default() };
        assert_eq!([(7, 150), (8, 20), (9, 5_000)].map(|thread| waited(&before, thread)), [50, 0, 0]);
    }
}
