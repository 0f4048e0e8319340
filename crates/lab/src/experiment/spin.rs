//! A loop of known work: how fast this processor is at the moment. Where the governor and the neighbours of a virtual machine
//! are invisible, it is the proxy for both.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::statistics::verdict::range;

/// What one loop should take.
const AIM: Duration = Duration::from_millis(10);
/// To find out how many rounds that are.
const TRIAL: u64 = 1_000_000;

/// Loops of the same work.
#[derive(Debug, Clone, Default)]
pub(super) struct Spin {
    rounds: u64,
    /// Milliseconds of each.
    taken: Vec<f64>,
}

impl Spin {
    pub(super) fn new() -> Spin {
        let trial = turn(TRIAL).as_secs_f64().max(1e-6);
        Spin { rounds: (TRIAL as f64 * AIM.as_secs_f64() / trial) as u64, taken: Vec::new() }
    }

    /// Once more: what it took, in milliseconds of processor time, and how far that is from the median of all before it.
    pub(super) fn once(&mut self) -> (f64, Option<f64>) {
        let taken = turn(self.rounds).as_secs_f64() * 1e3;
        let (median, _, _) = range(&self.taken);
        self.taken.push(taken);
        (taken, (median > 0.0).then(|| taken / median - 1.0))
    }

    /// Median, and the median deviation from it as a share.
    pub(super) fn summary(&self) -> (f64, f64) {
        let (median, _, _) = range(&self.taken);
        let deviations: Vec<f64> = self.taken.iter().map(|taken| (taken / median - 1.0).abs()).collect();
        (median, range(&deviations).0)
    }
}

/// Processor time of so many rounds.
fn turn(rounds: u64) -> Duration {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    let start = now();
    let mut state = black_box(1_u64);
    for _ in 0..rounds {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    black_box(state);
    now().saturating_sub(start)
}
