//! Requests that need much CPU time: one is none, a few of a route that take much of a core are worth a word.

use std::time::Duration;

use incident::Request;

use super::figures::Figures;
use crate::trouble::SAMPLES;

/// Seconds of one period; each is judged for itself.
pub(crate) const PERIOD: u64 = 10;

/// Heavy requests of a route in a period that are too many for one slow import and its companions.
const SEVERAL: u64 = 5;

/// What they must have taken together: a tenth of a core.
const MUCH: Duration = Duration::from_millis(PERIOD * 1000 / 10);

/// CPU time of a request, and its share of the time that the request ran.
pub(crate) fn is_heavy(cpu: Duration, share: f64) -> bool {
    cpu >= Duration::from_millis(20) || (cpu >= Duration::from_millis(5) && share >= 0.5)
}

/// The heavy requests of one route in this period.
#[derive(Debug, Default)]
pub(crate) struct Heavy {
    period: u64,
    seen: u64,
    count: u64,
    /// Of which were reported.
    reported: u64,
    cpu: Duration,
    wall: Duration,
    requests: Vec<Request>,
}

/// What is to be said about a route.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// Since the last report.
    pub(crate) count: u64,
    /// Mean CPU time of a request.
    pub(crate) cpu: Duration,
    /// CPU time in the time that they ran, 0 to 1.
    pub(crate) share: f64,
    pub(crate) requests: Vec<Request>,
}

impl Heavy {
    pub(crate) fn see(&mut self, figures: &Figures, period: u64, request: impl FnOnce() -> Option<Request>) {
        self.turn(period);
        self.seen += 1;
        let wall = figures.wall();
        if !is_heavy(figures.cpu, figures.cpu.as_secs_f64() / wall.as_secs_f64().max(1e-9)) {
            return;
        }
        self.count += 1;
        self.cpu += figures.cpu;
        self.wall += wall;
        if self.requests.len() < SAMPLES {
            self.requests.extend(request());
        }
    }

    fn turn(&mut self, period: u64) {
        if self.period != period {
            *self = Heavy { period, ..Heavy::default() };
        }
    }

    /// Several requests, most of the route's, and much of a core; `None`: nothing new.
    pub(crate) fn report(&mut self, period: u64) -> Option<Report> {
        self.turn(period);
        let is_rule = self.count >= SEVERAL && self.count * 2 >= self.seen && self.cpu >= MUCH;
        if !is_rule || self.count == self.reported {
            return None;
        }
        let count = self.count - std::mem::replace(&mut self.reported, self.count);
        Some(Report {
            count,
            cpu: self.cpu.div_f64(self.count as f64),
            share: (self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)).min(1.0),
            requests: std::mem::take(&mut self.requests),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn see(heavy: &mut Heavy, times: u64, cpu: u32, wait: u32, period: u64) {
        let figures = Figures { cpu: cpu * MS, wait: wait * MS, ..Figures::default() };
        (0..times).for_each(|_| heavy.see(&figures, period, || None));
    }

    #[test]
    fn several_that_take_much_are_reported() {
        let mut heavy = Heavy::default();
        see(&mut heavy, 4, 1000, 0, 3);
        assert_eq!(heavy.report(3), None, "one slow import and its companions");
        see(&mut heavy, 1, 1000, 250, 3);
        let report = heavy.report(3).expect("five");
        assert_eq!((report.count, report.cpu, report.share), (5, 1000 * MS, 5000.0 / 5250.0));
        assert_eq!(heavy.report(3), None, "nothing new");
        see(&mut heavy, 2, 1000, 0, 3);
        assert_eq!(heavy.report(3).map(|report| report.count), Some(2));
        see(&mut heavy, 2, 1000, 0, 4);
        assert_eq!(heavy.report(4), None, "another period");
    }

    #[test]
    fn what_takes_little_or_happens_rarely_is_not() {
        let mut little = Heavy::default();
        see(&mut little, 5, 30, 0, 0);
        assert_eq!(little.report(0), None, "150 ms in ten seconds");
        let mut rare = Heavy::default();
        see(&mut rare, 9, 200, 0, 0);
        see(&mut rare, 10, 1, 5, 0);
        assert_eq!(rare.report(0), None, "most of the route's requests are light");
        let mut light = Heavy::default();
        see(&mut light, 10_000, 4, 0, 0);
        assert_eq!(light.report(0), None, "many light requests are load");
    }
}
