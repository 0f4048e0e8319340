//! P11: a worker that has as many files open as it may. The next one fails with EMFILE; with one less than that it does not.

use std::collections::BTreeMap;
use std::time::Duration;

use incident::{Code, Detection, WorkerRef};

use crate::AGAIN;

/// Of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenFiles {
    pub open: u64,
    pub limit: u64,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct FileLimit {
    /// When it was told, by the number of the worker.
    told: BTreeMap<u64, Duration>,
}

impl FileLimit {
    pub fn look(&mut self, at: Duration, now: OpenFiles, worker: WorkerRef, app: &str) -> Option<Detection> {
        let OpenFiles { open, limit } = now;
        if open < limit {
            self.told.remove(&worker.id);
            return None;
        }
        if self.told.get(&worker.id).is_some_and(|told| at.saturating_sub(*told) < AGAIN) {
            return None;
        }
        self.told.insert(worker.id, at);
        let detection = Detection::new(Code::P11, "limit", Some(app));
        let detection = detection.number("limit", limit as f64).number("used", open as f64);
        Some(Detection { worker: Some(worker), ..detection })
    }

    /// Only these workers are there.
    pub(crate) fn keep(&mut self, is_there: impl Fn(u64) -> bool) {
        self.told.retain(|worker, _| is_there(*worker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_cannot_open_another_one_is_told() {
        let mut detector = FileLimit::default();
        let mut look = |second, id, open| {
            let worker = WorkerRef { id, pid: Some(1) };
            let now = OpenFiles { open, limit: 64 };
            detector
                .look(Duration::from_secs(second), now, worker, "shop")
                .map(|it| it.worker.map(|it| it.id))
        };
        assert_eq!([look(0, 1, 63), look(1, 1, 64), look(2, 1, 64)], [None, Some(Some(1)), None]);
        assert_eq!([look(2, 2, 64), look(3, 1, 9), look(4, 1, 64)], [Some(Some(2)), None, Some(Some(1))]);
        assert_eq!(look(34, 1, 64), Some(Some(1)));
    }
}
