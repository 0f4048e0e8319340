//! Where the next request comes from: a schedule, or a request that has just ended.

use std::collections::VecDeque;

use super::{Arrivals, LoadPlan, Pace, ScheduleError};

/// A closed loop's connection whose request failed waits so long before the next, in nanoseconds: a server that is down must
/// not turn the generator into a busy loop.
const PENALTY: u64 = 10_000_000;

pub(super) enum Source {
    Open {
        arrivals: Arrivals,
        next: Option<u64>,
    },
    /// How many may begin now, and when those whose request failed may. Together never more than the loop has.
    Closed {
        ready: usize,
        later: VecDeque<u64>,
    },
}

/// When the next request is due.
pub(super) enum Due {
    /// Now; it was planned for this time.
    Now(u64),
    At(u64),
    /// Never again. The plan was filled up to this time.
    Never {
        filled: u64,
    },
}

impl Source {
    pub(super) fn new(plan: &LoadPlan) -> Result<Source, ScheduleError> {
        Ok(match &plan.pace {
            Pace::Open(schedule) => {
                let mut arrivals = Arrivals::new(schedule.clone(), plan.seed)?;
                let next = arrivals.next();
                Source::Open { arrivals, next }
            }
            Pace::Closed { connections } => Source::Closed { ready: *connections, later: VecDeque::new() },
        })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Source::Open { .. })
    }

    /// Take the next request if it is due. No request is planned from `end` on.
    pub(super) fn take(&mut self, now: u64, end: u64) -> Due {
        match self {
            Source::Open { arrivals, next } => match *next {
                None => Due::Never { filled: 0 },
                Some(planned) if planned >= end => Due::Never { filled: end },
                Some(planned) if planned > now => Due::At(planned),
                Some(planned) => {
                    *next = arrivals.next();
                    Due::Now(planned)
                }
            },
            Source::Closed { .. } if now >= end => Due::Never { filled: 0 },
            Source::Closed { ready, later } => {
                while later.front().is_some_and(|&when| when <= now) {
                    later.pop_front();
                    *ready += 1;
                }
                if *ready == 0 {
                    return Due::At(later.front().copied().unwrap_or(end).min(end));
                }
                *ready -= 1;
                Due::Now(now)
            }
        }
    }

    /// A request that was taken has ended.
    pub(super) fn ended(&mut self, answered: bool, now: u64) {
        match self {
            Source::Closed { ready, .. } if answered => *ready += 1,
            Source::Closed { later, .. } => later.push_back(now + PENALTY),
            Source::Open { .. } => {}
        }
    }
}
