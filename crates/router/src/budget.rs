//! How many requests may be run again: a share of all requests in a sliding window.
//!
//! Running a request again helps when one worker died. When every request kills its worker, running them again doubles
//! the damage and keeps the application down; the budget ends that. It counts; what a retry is, is decided elsewhere.

/// The window slides in steps of a second.
const WINDOW: usize = 10;

/// Retries that are always allowed in a window: a small application is not denied its first.
const FLOOR: u64 = 10;

/// Requests and retries of the last [`WINDOW`] seconds. Time is a number of seconds that does not go back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RetryBudget {
    slots: [Slot; WINDOW],
    second: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    requests: u32,
    retries: u32,
}

impl RetryBudget {
    fn slot(&mut self, second: u64) -> &mut Slot {
        if second > self.second {
            // The slots of the seconds in between are those of an older round.
            for passed in (self.second + 1..=second).rev().take(WINDOW) {
                self.slots[passed as usize % WINDOW] = Slot::default();
            }
            self.second = second;
        }
        &mut self.slots[self.second as usize % WINDOW]
    }

    /// A request came.
    pub(crate) fn request(&mut self, second: u64) {
        let slot = self.slot(second);
        slot.requests = slot.requests.saturating_add(1);
    }

    /// A request should run again; true if it may, and then it is counted. `share`: of the requests, 0.1 for 10 %; with 0 none
    /// may.
    pub(crate) fn retry(&mut self, second: u64, share: f64) -> bool {
        self.slot(second);
        let sum = |field: fn(&Slot) -> u32| self.slots.iter().map(|slot| u64::from(field(slot))).sum::<u64>();
        let allowed = (share * sum(|slot| slot.requests) as f64) as u64;
        let may = share > 0.0 && sum(|slot| slot.retries) < allowed.max(FLOOR);
        if may {
            self.slot(second).retries += 1;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_application_may_retry_a_few() {
        let mut budget = RetryBudget::default();
        budget.request(7);
        assert_eq!((0..20).filter(|_| budget.retry(7, 0.0)).count(), 0);
        assert_eq!((0..20).filter(|_| budget.retry(7, 0.1)).count(), FLOOR as usize);
        assert!(!budget.retry(16, 0.1), "the window is not over");
        assert!(budget.retry(17, 0.1), "the window is over");
    }

    #[test]
    fn a_large_one_may_retry_its_share() {
        let mut budget = RetryBudget::default();
        for second in 0..10 {
            (0..100).for_each(|_| budget.request(second));
        }
        assert_eq!((0..1000).filter(|_| budget.retry(9, 0.1)).count(), 100);
        assert_eq!(
            (0..1000).filter(|_| budget.retry(10, 0.5)).count(),
            350,
            "half of 900, and 100 are spent"
        );
    }

    proptest! {
        /// Against the plain definition: count everything not older than the window.
        #[test]
        fn counts_like_a_list(steps in vec((0_u64..14, 0_u32..40, 0_u32..12), 1..30), share in 0.0..1.0_f64) {
            let mut budget = RetryBudget::default();
            let (mut requests, mut retries): (Vec<u64>, Vec<u64>) = Default::default();
            let mut now = 0;
            for (pause, come, again) in steps {
                now += pause;
                for _ in 0..come {
                    budget.request(now);
                    requests.push(now);
                }
                for _ in 0..again {
                    let recent = |list: &[u64]| list.iter().filter(|at| now - **at < WINDOW as u64).count() as u64;
                    let may = share > 0.0 && recent(&retries) < ((share * recent(&requests) as f64) as u64).max(FLOOR);
                    prop_assert_eq!(budget.retry(now, share), may);
                    if may {
                        retries.push(now);
                    }
                }
            }
        }
    }
}
