//! C10: an application that its own quota holds back.
//!
//! The kernel counts the periods in which a group wanted to run, and those in which its quota was used up. Both counters and
//! the time it was held back must have moved, again and again, while somebody waited for an answer.

use std::time::Duration;

use incident::{Code, Detection};

use crate::since::Since;
use crate::streak::Streak;

/// Percent of the periods in which it ran. Below that a visitor does not notice.
const SHARE: u64 = 10;

/// Percent of the interval that it was held back for, all processors together.
const HELD: u64 = 5;

/// Counters of a control group with a quota, since whenever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    pub usage_us: u64,
    /// Periods in which it wanted to run.
    pub periods: u64,
    /// Those of them in which it used up its quota.
    pub throttled: u64,
    pub throttled_us: u64,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Throttled {
    since: Since<Quota>,
    streak: Streak<(Duration, Quota)>,
}

impl Quota {
    fn since(self, before: Quota) -> Option<Quota> {
        // A group that was made anew counts anew.
        Some(Quota {
            usage_us: self.usage_us.checked_sub(before.usage_us)?,
            periods: self.periods.checked_sub(before.periods)?,
            throttled: self.throttled.checked_sub(before.throttled)?,
            throttled_us: self.throttled_us.checked_sub(before.throttled_us)?,
        })
    }

    fn is_bad(self, passed: Duration) -> bool {
        self.throttled > 0
            && self.throttled * 100 >= self.periods * SHARE
            && u128::from(self.throttled_us) * 100 >= passed.as_micros() * u128::from(HELD)
    }
}

impl Throttled {
    /// `limit`: cores. `awaited`: requests were under way.
    pub fn look(
        &mut self,
        at: Duration,
        now: Quota,
        limit: f64,
        awaited: bool,
        app: &str,
    ) -> Option<Detection> {
        let (passed, before) = self.since.next(at, &now)?;
        let moved = now.since(before).filter(|moved| awaited && moved.is_bad(passed));
        let bad = self.streak.push(moved.map(|moved| (passed, moved)))?;
        let seconds = bad.iter().map(|(passed, _)| passed.as_secs_f64()).sum::<f64>();
        let sum = |of: fn(&Quota) -> u64| bad.iter().map(|(_, moved)| of(moved)).sum::<u64>() as f64;
        Some(
            Detection::new(Code::C10, "quota", Some(app))
                .number("limit_cores", limit)
                .number("used_cores", sum(|it| it.usage_us) / 1e6 / seconds)
                .number("throttled_percent", 100.0 * sum(|it| it.throttled) / sum(|it| it.periods))
                .number("throttled_ms", sum(|it| it.throttled_us) / 1e3)
                .number("interval_seconds", seconds),
        )
    }
}

#[cfg(test)]
mod tests {
    use incident::Value;

    use super::*;

    /// Feed intervals of half a second; after how many something is told.
    fn told(intervals: &[(u64, u64, u64)], awaited: bool) -> Vec<(usize, Detection)> {
        let mut detector = Throttled::default();
        let mut now = Quota { usage_us: 5_000, periods: 70, throttled: 9, throttled_us: 1_000 };
        let mut at = Duration::from_secs(1);
        assert_eq!(detector.look(at, now, 0.5, awaited, "shop"), None);
        let mut told = Vec::new();
        for (index, (periods, throttled, throttled_us)) in intervals.iter().enumerate() {
            at += Duration::from_millis(500);
            now.usage_us += 250_000;
            now.periods += periods;
            now.throttled += throttled;
            now.throttled_us += throttled_us;
            told.extend(detector.look(at, now, 0.5, awaited, "shop").map(|it| (index + 1, it)));
        }
        told
    }

    #[test]
    fn what_its_quota_holds_back_is_told_within_two_seconds() {
        // Recorded: one busy process with half a core, 20 ms periods (kernel 6.18, version 1).
        let told = told(&[(9, 3, 28_000), (25, 25, 251_000), (25, 24, 239_000), (25, 25, 250_000)], true);
        assert_eq!(told.len(), 1);
        let (after, detection) = &told[0];
        assert_eq!(*after, 3);
        assert_eq!((detection.code, detection.cause), (Code::C10, "quota"));
        let figure = |key| match detection.facts.get(key) {
            Some(Value::Number(number)) => *number,
            other => panic!("{key}: {other:?}"),
        };
        assert!((figure("throttled_percent") - 100.0 * 52.0 / 59.0).abs() < 1e-9);
        assert!((figure("throttled_ms") - 518.0).abs() < 1e-9);
        assert!((figure("used_cores") - 0.5).abs() < 1e-9);
        assert_eq!(figure("interval_seconds"), 1.5);
    }

    #[test]
    fn a_few_periods_are_nothing() {
        let once = [(25, 25, 250_000), (25, 20, 200_000), (3, 0, 0), (2, 0, 0), (2, 1, 9_000)];
        assert_eq!(told(&once, true), []);
        assert_eq!(told(&[(100, 9, 90_000); 10], true), [], "one in eleven");
        assert_eq!(told(&[(20, 4, 20_000); 10], true), [], "not for long");
        assert_eq!(told(&[(25, 25, 250_000); 10], false), [], "nobody waits for it");
    }

    #[test]
    fn a_new_group_counts_anew() {
        let mut detector = Throttled::default();
        let old = Quota { usage_us: 9_000_000, periods: 900, throttled: 900, throttled_us: 900_000 };
        let new = Quota { throttled: 901, throttled_us: 9_000_000, ..Quota::default() };
        for (second, quota) in [old, new, old, new, old, new].into_iter().enumerate() {
            assert_eq!(detector.look(Duration::from_secs(second as u64), quota, 1.0, true, "shop"), None);
        }
    }
}
