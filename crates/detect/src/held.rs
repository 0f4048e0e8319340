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
    pub bytes: u64,
    /// Bytes per second.
    pub limit: u64,
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
}

/// One bad interval.
#[derive(Debug, Clone, Copy)]
struct Held {
    passed: Duration,
    bytes: u64,
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
        HeldBack { code, since: Since::default(), streaks: Default::default() }
    }

    pub fn look(&mut self, at: Duration, now: Transfer, app: &str) -> Option<Detection> {
        let (passed, before) = self.since.next(at, &now)?;
        let mut found = None;
        for (index, streak) in self.streaks.iter_mut().enumerate() {
            let held = held(&before, &now, index, passed);
            if let (Some(bad), Some(way)) = (streak.push(held), now.ways[index]) {
                let seconds: f64 = bad.iter().map(|it| it.passed.as_secs_f64()).sum();
                let bytes = bad.iter().map(|it| it.bytes).sum::<u64>() as f64;
                let waited: Duration = bad.iter().map(|it| it.waited).sum();
                found = Some(
                    Detection::new(self.code, "limit", Some(app))
                        .number("limit_bytes_per_second", way.limit as f64)
                        .number("used_bytes_per_second", bytes / seconds)
                        .number("waited_ms", waited.as_secs_f64() * 1e3),
                );
            }
        }
        found
    }
}

fn held(before: &Transfer, now: &Transfer, index: usize, passed: Duration) -> Option<Held> {
    let (then, way) = (before.ways[index]?, now.ways[index]?);
    let bytes = way.bytes.checked_sub(then.bytes).filter(|_| then.limit == way.limit)?;
    let waited = now.waited[index].checked_sub(before.waited[index])?;
    let allowed = way.limit as f64 * passed.as_secs_f64();
    let full = bytes as f64 * 100.0 >= USED * allowed;
    let waits = waited.as_secs_f64() * 100.0 >= WAITED * passed.as_secs_f64();
    (full && waits).then_some(Held { passed, bytes, waited })
}

#[cfg(test)]
mod tests {
    use incident::Value;

    use super::*;

    /// Intervals of half a second at a limit of 1 MB/s: bytes, and milliseconds waited.
    fn told(intervals: &[(u64, u64)]) -> Vec<Detection> {
        let mut detector = HeldBack::disk();
        let (mut bytes, mut waited) = (7, Duration::from_secs(9));
        let mut found = Vec::new();
        for (step, (more, ms)) in [(0, 0)].iter().chain(intervals).enumerate() {
            bytes += more;
            waited += Duration::from_millis(*ms);
            let ways = [None, Some(Way { bytes, limit: 1_000_000 })];
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
    fn one_without_the_other_proves_nothing() {
        assert_eq!(told(&[(500_000, 20); 8]), [], "nobody waits");
        assert_eq!(told(&[(100_000, 500); 8]), [], "a slow disk");
        assert_eq!(told(&[(500_000, 500), (0, 0), (500_000, 500), (0, 0), (0, 0)]), [], "not for long");
    }
}
