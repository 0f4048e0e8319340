//! M20: memory that is nearly at its limit, before the kernel kills for it.
//!
//! What counts is what the kernel cannot take back: the page cache fills every limit sooner or later, and nobody dies of it.

use std::time::Duration;

use incident::{Code, Detection};

use crate::AGAIN;

/// Percent of the limit.
const NEAR: u64 = 90;

/// Of a group at one moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Without what can be reclaimed.
    pub used: u64,
    pub limit: u64,
}

/// How fast it grows, if that is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub bytes_per_request: f64,
    pub requests_per_second: f64,
}

/// Whether it is near its limit, for longer than a moment and not told already.
#[derive(Debug, Default)]
struct Near {
    /// It was near the limit the last time.
    near: bool,
    told: Option<Duration>,
}

impl Near {
    fn is_to_be_told(&mut self, at: Duration, Memory { used, limit }: Memory) -> bool {
        let near = used.min(limit) as u128 * 100 >= u128::from(limit) * u128::from(NEAR) && limit > 0;
        let lasts = std::mem::replace(&mut self.near, near) && near;
        if !lasts || self.told.is_some_and(|told| at.saturating_sub(told) < AGAIN) {
            return false;
        }
        self.told = Some(at);
        true
    }
}

fn detection(cause: &'static str, now: Memory, app: &str) -> Detection {
    Detection::new(Code::M20, cause, Some(app))
        .number("used_bytes", now.used as f64)
        .number("limit_bytes", now.limit as f64)
}

/// An application and its own limit.
#[derive(Debug, Default)]
pub struct NearLimit(Near);

impl NearLimit {
    /// `growth`: how fast it grows, where a regression has shown it.
    pub fn look(&mut self, at: Duration, now: Memory, growth: Option<Rate>, app: &str) -> Option<Detection> {
        if !self.0.is_to_be_told(at, now) {
            return None;
        }
        let detection = detection("usage", now, app);
        let Some(Rate { bytes_per_request, requests_per_second }) = growth else { return Some(detection) };
        let left = now.limit.saturating_sub(now.used) as f64 / (bytes_per_request * requests_per_second);
        Some(detection.number("growth_bytes", bytes_per_request).number("left_seconds", left))
    }
}

/// All shared applications and the limit of what they have together.
#[derive(Debug, Default)]
pub struct NearPool(Near);

impl NearPool {
    /// `largest`: who uses most of it, and how many bytes.
    pub fn look(
        &mut self,
        at: Duration,
        now: Memory,
        largest: impl FnOnce() -> Option<(String, u64)>,
    ) -> Option<Detection> {
        if !self.0.is_to_be_told(at, now) {
            return None;
        }
        let (app, bytes) = largest()?;
        Some(detection("pool", now, &app).number("own_bytes", bytes as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(detector: &mut NearLimit, second: f64, used: u64) -> Option<Detection> {
        detector.look(Duration::from_secs_f64(second), Memory { used, limit: 1000 }, None, "shop")
    }

    #[test]
    fn a_peak_is_not_told_and_what_stays_is_told_now_and_then() {
        let mut detector = NearLimit::default();
        for (second, used) in [(0.0, 899), (0.5, 900), (1.0, 899), (1.5, 1000), (2.0, 500)] {
            assert_eq!(look(&mut detector, second, used), None, "{second}");
        }
        assert_eq!(look(&mut detector, 2.5, 900), None);
        let told = look(&mut detector, 3.0, 901).unwrap();
        assert_eq!(told.code, Code::M20);
        assert_eq!(told.facts.iter().count(), 2, "what is not known is left out");
        assert_eq!(look(&mut detector, 3.5, 950), None);
        assert_eq!(look(&mut detector, 32.9, 950), None);
        assert!(look(&mut detector, 33.0, 950).is_some());
    }

    #[test]
    fn of_a_pool_the_largest_is_told() {
        let mut detector = NearPool::default();
        let memory = |used| Memory { used, limit: 1000 };
        let largest = || Some(("hog".to_owned(), 700));
        let second = Duration::from_secs(1);
        assert_eq!(detector.look(Duration::ZERO, memory(950), largest), None, "it may be a peak");
        let told = detector.look(second, memory(950), largest).unwrap();
        assert_eq!((told.code, told.app.as_deref()), (Code::M20, Some("hog")));
        assert_eq!(told.facts.get("own_bytes"), Some(&incident::Value::Number(700.0)));
        let nobody = || panic!("nobody is asked who it is when there is nothing to tell");
        assert_eq!(detector.look(2 * second, memory(950), nobody), None);
    }

    #[test]
    fn the_time_that_is_left_follows_from_growth() {
        let mut detector = NearLimit::default();
        let memory = Memory { used: 920, limit: 1000 };
        let growth = Rate { bytes_per_request: 4.0, requests_per_second: 2.0 };
        assert_eq!(detector.look(Duration::ZERO, memory, Some(growth), "shop"), None);
        let told = detector.look(Duration::from_millis(500), memory, Some(growth), "shop").unwrap();
        assert_eq!(told.facts.get("left_seconds"), Some(&incident::Value::Number(10.0)));
        // Nobody knows when nothing is asked of it.
        let idle = Some(Rate { requests_per_second: 0.0, ..growth });
        let told = detector.look(Duration::from_secs(60), memory, idle, "shop").unwrap();
        assert_eq!(told.facts.get("left_seconds"), None);
    }
}
