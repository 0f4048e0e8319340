//! Who held the interpreter lock, and who waited for it: requests of one worker with threads.
//!
//! That a thread waited for the lock is measured by its worker; who held it is not. It is said of a request only when that
//! request computed for most of its stay, others in the same worker waited meanwhile, for no longer than both were there,
//! and this happened to several.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use incident::Request;

use super::figures::Figures;
use super::table::RouteId;
use crate::event::Worker;
use crate::trouble::SAMPLES;

/// CPU time from which a request can be the one that held the lock: ten switch intervals.
const LONG: Duration = Duration::from_millis(50);
const MOST_OF_ITS_STAY: f64 = 0.3;

/// A wait for the lock that is more than chance: nearly a switch interval (`sys.getswitchinterval()`, 5 ms).
const WAITED: Duration = Duration::from_millis(4);

/// Others that must have waited.
const SEVERAL: usize = 3;

/// What is remembered at most, and for how long.
const HOLDERS: usize = 8;
const WAITERS: usize = 64;
const MEMORY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Contention {
    holders: VecDeque<Holder>,
    waiters: VecDeque<Waiter>,
}

/// A request's time with its worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) worker: Worker,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

#[derive(Debug)]
struct Holder {
    stay: Stay,
    route: RouteId,
    cpu: Duration,
    request: Option<Request>,
    reported: bool,
}

#[derive(Debug)]
struct Waiter {
    stay: Stay,
    waited: Duration,
    request: Option<Request>,
}

/// What is to be said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    pub(crate) worker: Worker,
    pub(crate) route: RouteId,
    pub(crate) held: Duration,
    pub(crate) delayed: usize,
    /// The one that held it, and some of those that waited.
    pub(crate) requests: Vec<Request>,
}

impl Stay {
    fn overlap(&self, other: &Stay) -> Duration {
        if self.worker != other.worker {
            return Duration::ZERO;
        }
        self.to.min(other.to).saturating_duration_since(self.from.max(other.from))
    }
}

impl Contention {
    pub(crate) fn see(
        &mut self,
        stay: Stay,
        route: RouteId,
        figures: &Figures,
        request: impl FnOnce() -> Option<Request>,
    ) {
        let wall = figures.wall();
        if figures.cpu >= LONG && figures.cpu.as_secs_f64() >= MOST_OF_ITS_STAY * wall.as_secs_f64() {
            self.holders.truncate(HOLDERS - 1);
            let (cpu, request) = (figures.cpu, request());
            self.holders.push_front(Holder { stay, route, cpu, request, reported: false });
        } else if let Some(waited) = figures.gil.filter(|waited| {
            *waited >= WAITED && *waited > figures.cpu + figures.run_queue.unwrap_or_default()
        }) {
            self.waiters.truncate(WAITERS - 1);
            self.waiters.push_front(Waiter { stay, waited, request: request() });
        }
    }

    pub(crate) fn report(&mut self, now: Instant) -> Vec<Report> {
        let recent = |stay: &Stay| now.saturating_duration_since(stay.to) < MEMORY;
        self.holders.retain(|holder| recent(&holder.stay));
        self.waiters.retain(|waiter| recent(&waiter.stay));
        let mut reports = Vec::new();
        for holder in self.holders.iter_mut().filter(|holder| !holder.reported) {
            let by_it = |waiter: &&Waiter| {
                waiter.stay.overlap(&holder.stay) >= waiter.waited && waiter.waited <= holder.cpu
            };
            let delayed: Vec<_> = self.waiters.iter().filter(by_it).collect();
            if delayed.len() < SEVERAL {
                continue;
            }
            holder.reported = true;
            let others = delayed.iter().filter_map(|waiter| waiter.request.clone());
            reports.push(Report {
                worker: holder.stay.worker,
                route: holder.route,
                held: holder.cpu,
                delayed: delayed.len(),
                requests: holder.request.clone().into_iter().chain(others).take(SAMPLES).collect(),
            });
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct Scene {
        origin: Instant,
        contention: Contention,
    }

    impl Scene {
        fn new() -> Self {
            Scene { origin: Instant::now(), contention: Contention::default() }
        }

        /// Milliseconds.
        fn see(&mut self, worker: Worker, from: u32, to: u32, cpu: u32, gil: u32) {
            let stay = Stay { worker, from: self.origin + from * MS, to: self.origin + to * MS };
            let wait = ((to - from).saturating_sub(cpu + gil)) * MS;
            let figures = Figures { cpu: cpu * MS, gil: Some(gil * MS), wait, ..Figures::default() };
            self.contention.see(stay, RouteId::default(), &figures, || None);
        }

        fn report(&mut self, at: u32) -> Vec<(Worker, usize)> {
            let reports = self.contention.report(self.origin + at * MS);
            reports.into_iter().map(|report| (report.worker, report.delayed)).collect()
        }
    }

    #[test]
    fn who_computes_while_others_wait_held_the_lock() {
        let mut scene = Scene::new();
        for from in [10, 20] {
            scene.see(1, from, from + 8, 1, 6);
        }
        scene.see(1, 0, 300, 280, 0);
        assert_eq!(scene.report(300), [], "two are chance");
        scene.see(1, 290, 299, 1, 6);
        assert_eq!(scene.report(300), [(1, 3)]);
        assert_eq!(scene.report(301), [], "said once");
    }

    #[test]
    fn nothing_is_said_without_a_join() {
        let mut scene = Scene::new();
        scene.see(1, 0, 300, 280, 0);
        for from in [10, 20, 30, 40] {
            scene.see(2, from, from + 8, 1, 6);
            scene.see(1, from + 400, from + 408, 1, 6);
            scene.see(1, from, from + 8, 1, 2);
            scene.see(1, from, from + 30, 9, 6);
        }
        assert_eq!(scene.report(500), [], "another worker, another time, hardly waited, computed themselves");
        let mut io = Scene::new();
        io.see(1, 0, 300, 60, 0);
        for from in [10, 20, 30, 40] {
            io.see(1, from, from + 8, 1, 6);
        }
        assert_eq!(io.report(500), [], "it slept for most of its stay");
    }

    #[test]
    fn memory_is_bounded() {
        let mut scene = Scene::new();
        for number in 0..1000 {
            scene.see(1, number, number + 100, 99, 0);
            scene.see(1, number, number + 8, 0, 6);
        }
        let contention = &scene.contention;
        assert_eq!((contention.holders.len(), contention.waiters.len()), (HOLDERS, WAITERS));
        assert_eq!(scene.report(60_000), []);
        assert!(scene.contention.holders.is_empty() && scene.contention.waiters.is_empty());
    }
}
