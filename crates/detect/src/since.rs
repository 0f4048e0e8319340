//! What has changed since the reading before.

use std::time::Duration;

/// Intervals shorter than this say nothing: counters of the kernel are folded at its ticks.
const SHORTEST: Duration = Duration::from_millis(100);

/// The reading before.
#[derive(Debug, Clone)]
pub(crate) struct Since<T> {
    last: Option<(Duration, T)>,
}

impl<T> Default for Since<T> {
    fn default() -> Self {
        Since { last: None }
    }
}

impl<T: Clone> Since<T> {
    /// The reading before and the time since then. `None` at first, and when too little time has passed.
    pub(crate) fn next(&mut self, at: Duration, now: &T) -> Option<(Duration, T)> {
        let passed = |(before, _): &(Duration, T)| at.saturating_sub(*before);
        if self.last.as_ref().is_some_and(|last| passed(last) < SHORTEST) {
            return None;
        }
        let before = self.last.replace((at, now.clone()));
        before.map(|last| (passed(&last), last.1))
    }
}
