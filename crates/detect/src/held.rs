//! D10 and N30: transfers that a limit of the application's own holds back.
//!
//! Two things prove it together: somebody waited, and what passed was as much as the limit allows. Waiting alone can be a slow
//! disk or client, and so much alone can be what it happened to want.

use std::time::Duration;

use incident::{Code, Detection};

use crate::since::Since;
use crate::streak::Streak;

/// Percent of the limit that passed: the kernel and the router give it out in pieces.
const USED: f64 = 80.0;
/// Percent of the interval in which somebody waited.
const WAITED: f64 = 25.0;

/// Counters of one way, since whenever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// Bytes or operations, as the limit counts them.
    pub amount: u64,
    /// Of these per second.
    pub limit: u64,
    pub counts: Counts,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counts {
    #[default]
    Bytes,
    /// Of a disk only.
    Operations,
}

/// What the two ways of something have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transfer {
    /// In and out, or read and written; `None`: without a limit.
    pub ways: [Option<Way>; 2],
    /// How long somebody waited because of each. For a disk the kernel does not tell them apart: twice the same.
    pub waited: [Duration; 2],
}

/// See the module documentation.
#[derive(Debug)]
pub struct HeldBack {
    code: Code,
    since: Since<Transfer>,
    streaks: [Streak<Held>; 2],
    /// What passed in the interval before, of what was allowed.
    latest: [Option<Passed>; 2],
}

/// What passed in one interval.
#[derive(Debug, Clone, Copy)]
struct Passed {
    amount: u64,
    allowed: f64,
}

/// One bad interval.
#[derive(Debug, Clone, Copy)]
struct Held {
    passed: Duration,
    amount: u64,
    waited: Duration,
}

impl HeldBack {
    /// By its limits of disk rates.
    #[must_use]
    pub fn disk() -> Self {
        HeldBack::new(Code::D10)
    }

    /// By its limits of bandwidth.
    #[must_use]
    pub fn bandwidth() -> Self {
        HeldBack::new(Code::N30)
    }

    fn new(code: Code) -> Self {
        HeldBack { code, since: Since::default(), streaks: Default::default(), latest: [None; 2] }
    }

    pub fn look(&mut self, at: Duration, now: Transfer, app: &str) -> Option<Detection> {
        let (passed, before) = self.since.next(at, &now)?;
        let mut found = None;
        for (index, streak) in self.streaks.iter_mut().enumerate() {
            let held = held(&before, &now, index, passed, &mut self.latest[index]);
            if let (Some(bad), Some(way)) = (streak.push(held), now.ways[index]) {
                let seconds: f64 = bad.iter().map(|it| it.passed.as_secs_f64()).sum();
                let amount = bad.iter().map(|it| it.amount).sum::<u64>() as f64;
                let waited: Duration = bad.iter().map(|it| it.waited).sum();
                let (cause, limit, used) = match way.counts {
                    Counts::Bytes => ("limit", "limit_bytes_per_second", "used_bytes_per_second"),
                    Counts::Operations => {
                        ("operations", "limit_operations_per_second", "used_operations_per_second")
                    }
                };
                found = Some(
                    Detection::new(self.code, cause, Some(app))
                        .number(limit, way.limit as f64)
                        .number(used, amount / seconds)
                        .number("waited_ms", waited.as_secs_f64() * 1e3),
                );
            }
        }
        found
    }
}

fn held(
    before: &Transfer,
    now: &Transfer,
    index: usize,
    passed: Duration,
    latest: &mut Option<Passed>,
) -> Option<Held> {
    let earlier = latest.take();
    let (then, way) = (before.ways[index]?, now.ways[index]?);
    let same = (then.limit, then.counts) == (way.limit, way.counts);
    let amount = way.amount.checked_sub(then.amount).filter(|_| same)?;
    let waited = now.waited[index].checked_sub(before.waited[index])?;
    let this = Passed { amount, allowed: way.limit as f64 * passed.as_secs_f64() };
    *latest = Some(this);
    // A low limit is given out in pieces of more than one interval: then the next one gets nothing.
    let full = this.is_full() || earlier.is_some_and(|earlier| this.and(earlier).is_full());
    let waits = waited.as_secs_f64() * 100.0 >= WAITED * passed.as_secs_f64();
    (full && waits).then_some(Held { passed, amount, waited })
}

impl Passed {
    fn and(self, other: Passed) -> Passed {
        Passed { amount: self.amount.saturating_add(other.amount), allowed: self.allowed + other.allowed }
    }

    fn is_full(self) -> bool {
        self.amount as f64 * 100.0 >= USED * self.allowed
    }
}

#[cfg(test)]
mod tests {
    use incident::Value;

    use super::*;

    /// Intervals of half a second at a limit of 1 MB/s: bytes, and milliseconds waited.
    fn told(intervals: &[(u64, u64)]) -> Vec<Detection> {
        told_of(Counts::Bytes, intervals)
    }

    fn told_of(counts: Counts, intervals: &[(u64, u64)]) -> Vec<Detection> {
        let mut detector = HeldBack::disk();
        let (mut bytes, mut waited) = (7, Duration::from_secs(9));
        let mut found = Vec::new();
        for (step, (more, ms)) in [(0, 0)].iter().chain(intervals).enumerate() {
            bytes += more;
            waited += Duration::from_millis(*ms);
            let ways = [None, Some(Way { amount: bytes, limit: 1_000_000, counts })];
            let now = Transfer { ways, waited: [waited; 2] };
            found.extend(detector.look(Duration::from_millis(500 * step as u64), now, "shop"));
        }
        found
    }

    #[test]
    fn waiting_at_the_limit_is_being_held_back() {
        let found = told(&[(500_000, 400), (450_000, 500), (520_000, 480)]);
        assert_eq!((found.len(), found[0].code), (1, Code::D10));
        assert_eq!(found[0].facts.get("used_bytes_per_second"), Some(&Value::Number(980_000.0)));
        assert_eq!(found[0].facts.get("waited_ms"), Some(&Value::Number(1380.0)));
    }

    #[test]
    fn a_low_limit_is_given_out_in_large_pieces() {
        assert_eq!(told(&[(0, 500), (1_000_000, 500), (0, 500), (1_000_000, 500)]).len(), 1);
        assert_eq!(told(&[(0, 500), (700_000, 500), (0, 500), (700_000, 500)]), [], "less than it may");
    }

    #[test]
    fn operations_are_called_that() {
        let found = told_of(Counts::Operations, &[(500_000, 400), (450_000, 500), (520_000, 480)]);
        assert_eq!((found.len(), found[0].cause), (1, "operations"));
        assert_eq!(found[0].facts.get("limit_operations_per_second"), Some(&Value::Number(1_000_000.0)));
    }

    #[test]
    fn one_without_the_other_proves_nothing() {
        assert_eq!(told(&[(500_000, 20); 8]), [], "nobody waits");
        assert_eq!(told(&[(100_000, 500); 8]), [], "a slow disk");
        assert_eq!(told(&[(500_000, 500), (0, 0), (500_000, 500), (0, 0), (0, 0)]), [], "not for long");
    }
}
