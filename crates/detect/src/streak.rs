//! What lasts: an interval may be bad by chance, a start or a backup; three of four are not.

use std::collections::VecDeque;

/// Of so many intervals ...
const WINDOW: usize = 4;
/// ... so many are bad, the latest among them.
const NEEDED: usize = 3;

/// The latest intervals, with what was bad about them.
#[derive(Debug)]
pub(crate) struct Streak<T> {
    recent: VecDeque<Option<T>>,
}

impl<T> Default for Streak<T> {
    fn default() -> Self {
        Streak { recent: VecDeque::with_capacity(WINDOW) }
    }
}

impl<T> Streak<T> {
    /// One more interval, and what was bad about it. Answers with all that was bad once it has lasted, and begins anew: no
    /// interval is told twice.
    pub(crate) fn push(&mut self, bad: Option<T>) -> Option<Vec<T>> {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        let is_bad = bad.is_some();
        self.recent.push_back(bad);
        let lasts = is_bad && self.recent.iter().flatten().count() >= NEEDED;
        lasts.then(|| self.recent.drain(..).flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_not_told_and_what_lasts_is_told_once() {
        let mut streak = Streak::default();
        let mut told = |bad: &[bool]| {
            let lasting = bad.iter().filter_map(|bad| streak.push(bad.then_some(1)));
            lasting.map(|all| all.len()).collect::<Vec<_>>()
        };
        assert_eq!(told(&[true, true, false, false, true, false, true, false]), [0; 0]);
        assert_eq!(told(&[false, false, false, false]), [0; 0]);
        assert_eq!(told(&[true, false, true, true]), [3]);
        assert_eq!(told(&[true, true, true, true]), [3]);
        assert_eq!(told(&[true, true]), [3]);
    }
}
