//! The figures of one application as they are gathered: a few additions per request, memory only once there are any.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::histogram::Histogram;
use crate::snapshot::{AppSnapshot, Reason};

/// Exact statuses that are counted one by one; an application that sends more has the rest counted as 0.
const STATUSES: usize = 64;

/// Latencies of "recent" requests are from this period and the one before.
const PERIOD: u64 = 30;

/// How a request went, when it is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    /// The host answered, and why.
    pub(crate) reason: Option<Reason>,
    /// `None`: a WebSocket, whose duration says nothing.
    pub(crate) times: Option<Times>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) queued: Duration,
    /// `None` when no worker finished it.
    pub(crate) service: Option<Duration>,
    pub(crate) total: Duration,
}

/// Counters by reason.
#[derive(Debug, Default)]
pub(crate) struct Reasons([Cell<u64>; Reason::COUNT]);

impl Reasons {
    pub(crate) fn count(&self, reason: Reason) {
        add(&self.0[reason as usize], 1);
    }

    /// Those that are not zero.
    pub(crate) fn list(&self) -> Vec<(Reason, u64)> {
        let counts = Reason::ALL.iter().map(|reason| (*reason, self.0[*reason as usize].get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) bytes_in: Cell<u64>,
    pub(crate) bytes_out: Cell<u64>,
    pub(crate) replayed: Cell<u64>,
    failed: Cell<u64>,
    /// Requests that ended since [`Stats::take_finished`].
    finished: Cell<u64>,
    refused: Reasons,
    rest: RefCell<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    statuses: Vec<(u16, u64)>,
    queued: Histogram,
    service: Histogram,
    total: Histogram,
    /// `total` of this period, and of the one before.
    recent: [Histogram; 2],
    period: u64,
}

pub(crate) fn add(counter: &Cell<u64>, more: usize) {
    counter.set(counter.get() + more as u64);
}

impl Stats {
    /// A request is over; `uptime` in seconds.
    pub(crate) fn finished(&self, outcome: &Outcome, uptime: u64) {
        let Outcome { status, reason, times } = *outcome;
        add(&self.finished, 1);
        if let Some(reason) = reason {
            self.refused.count(reason);
            if status >= 500 {
                add(&self.failed, 1);
            }
        }
        let mut rest = self.rest.borrow_mut();
        rest.count(status);
        if let Some(times) = times {
            rest.rotate(uptime);
            rest.queued.record(times.queued);
            if let Some(service) = times.service {
                rest.service.record(service);
            }
            rest.total.record(times.total);
            rest.recent[0].record(times.total);
        }
    }

    /// Requests that are over.
    pub(crate) fn requests(&self) -> u64 {
        self.rest.borrow().statuses.iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn take_finished(&self) -> u64 {
        self.finished.take()
    }

    /// Fill in what is counted here.
    pub(crate) fn snapshot(&self, into: &mut AppSnapshot, uptime: u64) {
        let mut rest = self.rest.borrow_mut();
        rest.rotate(uptime);
        into.bytes_in = self.bytes_in.get();
        into.bytes_out = self.bytes_out.get();
        into.replayed = self.replayed.get();
        into.failed = self.failed.get();
        into.refused = self.refused.list();
        into.statuses.clone_from(&rest.statuses);
        into.statuses.sort_unstable();
        for (status, count) in &rest.statuses {
            into.requests += count;
            if let Some(class) = into.classes.get_mut(usize::from(status / 100).wrapping_sub(1)) {
                *class += count;
            }
        }
        into.queued = rest.queued.clone();
        into.service = rest.service.clone();
        into.total = rest.total.clone();
        into.recent = rest.recent[0].clone();
        into.recent.merge(&rest.recent[1]);
    }
}

impl Rest {
    fn count(&mut self, status: u16) {
        // The usual status is found at once: it is the first.
        let status = match self.statuses.iter().position(|(known, _)| *known == status) {
            Some(at) => {
                self.statuses[at].1 += 1;
                if at > 0 && self.statuses[at].1 > self.statuses[at - 1].1 {
                    self.statuses.swap(at, at - 1);
                }
                return;
            }
            None if self.statuses.len() < STATUSES => status,
            None => 0,
        };
        match self.statuses.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => self.statuses.push((status, 1)),
        }
    }

    fn rotate(&mut self, uptime: u64) {
        let period = uptime / PERIOD;
        if period != self.period {
            let last = std::mem::take(&mut self.recent[0]);
            self.recent[1] = if period == self.period + 1 { last } else { Histogram::default() };
            self.period = period;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, reason: Option<Reason>) -> Outcome {
        let millisecond = Duration::from_millis(1);
        let times = Times { queued: millisecond, service: None, total: 2 * millisecond };
        Outcome { status, reason, times: Some(times) }
    }

    fn snapshot(stats: &Stats, uptime: u64) -> AppSnapshot {
        let mut snapshot = AppSnapshot::default();
        stats.snapshot(&mut snapshot, uptime);
        snapshot
    }

    #[test]
    fn recent_requests_are_of_the_last_minute() {
        let stats = Stats::default();
        stats.finished(&outcome(200, None), 25);
        for (uptime, recent) in [(29, 1), (30, 1), (59, 1), (60, 0)] {
            let snapshot = snapshot(&stats, uptime);
            assert_eq!((snapshot.recent.count(), snapshot.total.count()), (recent, 1), "after {uptime} s");
        }
        stats.finished(&outcome(200, None), 61);
        assert_eq!(snapshot(&stats, 61).recent.count(), 1);
        assert_eq!(snapshot(&stats, 200).recent.count(), 0, "periods without any request pass too");
    }

    #[test]
    fn statuses_are_counted_within_bounds() {
        let stats = Stats::default();
        let statuses = 200..200 + 2 * STATUSES as u16;
        for status in statuses.clone().chain(statuses) {
            stats.finished(&outcome(status, None), 0);
        }
        let snapshot = snapshot(&stats, 0);
        assert_eq!(snapshot.requests, 4 * STATUSES as u64);
        assert_eq!(snapshot.statuses.len(), STATUSES + 1);
        assert_eq!(snapshot.statuses[..2], [(0, 2 * STATUSES as u64), (200, 2)]);
    }

    #[test]
    fn only_the_hosts_own_errors_are_failures() {
        let stats = Stats::default();
        stats.finished(&outcome(500, None), 0);
        stats.finished(&outcome(504, Some(Reason::Deadline)), 0);
        stats.finished(&outcome(413, Some(Reason::BodyTooLarge)), 0);
        let snapshot = snapshot(&stats, 0);
        assert_eq!((snapshot.failed, snapshot.classes), (1, [0, 0, 0, 1, 2]));
        assert_eq!(snapshot.refused, [(Reason::Deadline, 1), (Reason::BodyTooLarge, 1)]);
        assert_eq!((snapshot.service.count(), snapshot.queued.count()), (0, 3));
    }

    #[test]
    fn every_reason_has_its_place() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{}", reason.as_str());
        }
    }
}
