//! P10: processes or threads that could not be started because of the application's own limit.
//!
//! The kernel counts refusals of a group whoever's limit it was, that of a group above or its own. So the group must have
//! been at its own limit too.

use incident::{Code, Detection};

/// Counters of a control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processes {
    pub current: u64,
    /// The most there were at a time, where the kernel remembers that (Linux 6.8).
    pub peak: Option<u64>,
    pub limit: u64,
    /// Forks that failed, since the group was made.
    pub refused: u64,
}

/// See the module documentation. For one group: what was refused before the first look counts too, because a limit is often
/// met while an application starts.
#[derive(Debug, Default)]
pub struct ProcessLimit {
    refused: u64,
}

impl ProcessLimit {
    pub fn look(&mut self, now: Processes, app: &str) -> Option<Detection> {
        let Processes { current, peak, limit, refused } = now;
        let before = std::mem::replace(&mut self.refused, refused);
        let more = refused.checked_sub(before).filter(|more| *more > 0)?;
        let most = peak.unwrap_or(current).max(current);
        if most < limit {
            return None;
        }
        Some(
            Detection::new(Code::P10, "limit", Some(app))
                .number("limit", limit as f64)
                .number("used", most.min(limit) as f64)
                .number("refused", more as f64),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_where_its_own_limit_was_reached() {
        let mut detector = ProcessLimit::default();
        let at = |current, refused| Processes { current, peak: None, limit: 32, refused };
        let mut look = |now| detector.look(now, "shop").map(|it| it.facts.get("refused").cloned());
        assert_eq!(look(at(32, 4)), Some(Some(incident::Value::Number(4.0))));
        assert_eq!(look(at(32, 4)), None);
        assert_eq!(look(at(32, 9)), Some(Some(incident::Value::Number(5.0))));
        assert_eq!(look(at(30, 12)), None, "somebody else's limit, or there is no telling");
        assert_eq!(look(Processes { peak: Some(32), ..at(1, 13) }), Some(Some(incident::Value::Number(1.0))));
    }
}
