//! The routes of one application and what was measured of each: bounded, whatever paths clients invent.
//!
//! A route gets a place when it is first asked for. When all are taken, one that was never answered with anything but 4xx
//! gives way (scanners ask for thousands of those); if there is none, the request counts under [`OTHERS`].

use std::time::Duration;

use incident::Request;

use super::figures::Figures;
use super::heavy::Heavy;
use super::route::{self, LONGEST};
use super::sketch::Sketch;
use crate::snapshot::{Classification, RouteSnapshot};

/// Places, the one for the rest included.
const ROUTES: usize = 64;

/// Of each route, so many of the latest requests are kept one by one: enough for a distribution, 1 KiB.
const SAMPLES: usize = 128;

/// The route of requests that found no place.
pub(crate) const OTHERS: &str = "(others)";

/// A place in the table, as long as no other route has taken it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RouteId {
    place: u8,
    generation: u32,
}

/// How a request ended, as its client saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) status: u16,
    pub(crate) total: Duration,
}

#[derive(Debug)]
pub(crate) struct Table {
    /// The first is for the rest.
    routes: Vec<Route>,
    /// Routes that had to give way.
    generation: u32,
    /// Room for a normalised path.
    scratch: String,
}

#[derive(Debug, Default)]
struct Route {
    method: &'static str,
    path: Box<str>,
    generation: u32,
    /// It was answered with something else than 4xx.
    exists: bool,
    requests: u64,
    failed: u64,
    latency: Sketch,
    measured: Measured,
    heavy: Heavy,
}

/// Sums over the requests whose worker said what they took.
#[derive(Debug, Default)]
struct Measured {
    count: u64,
    queued: Duration,
    cpu: Duration,
    wait: Duration,
    run_queue: Option<Duration>,
    gil: Option<Duration>,
    cpu_times: Sketch,
    /// CPU time and waiting of the latest, in microseconds; a ring.
    samples: Vec<[u32; 2]>,
}

impl Table {
    pub(crate) fn new() -> Self {
        let others = Route { path: OTHERS.into(), exists: true, ..Route::default() };
        Table { routes: vec![others], generation: 0, scratch: String::with_capacity(LONGEST + 4) }
    }

    /// The place of a request's route.
    pub(crate) fn find(&mut self, method: &str, path: &str) -> RouteId {
        let method = route::method(method);
        route::normalize(path, &mut self.scratch);
        let same = |route: &Route| *route.path == *self.scratch && route.method == method;
        let place = match self.routes.iter().skip(1).position(same) {
            Some(position) => position + 1,
            None => self.make_place(method),
        };
        RouteId { place: place as u8, generation: self.routes[place].generation }
    }

    fn make_place(&mut self, method: &'static str) -> usize {
        let fresh = Route { method, path: self.scratch.as_str().into(), ..Route::default() };
        if self.routes.len() < ROUTES {
            self.routes.push(fresh);
            return self.routes.len() - 1;
        }
        let Some(place) = self.routes.iter().position(|route| !route.exists && route.requests > 0) else {
            return 0;
        };
        self.generation = self.generation.wrapping_add(1);
        let gone = std::mem::replace(&mut self.routes[place], Route { generation: self.generation, ..fresh });
        self.routes[0].requests += gone.requests;
        self.routes[0].failed += gone.failed;
        place
    }

    fn at(&mut self, id: RouteId) -> &mut Route {
        let place = usize::from(id.place);
        let same = self.routes.get(place).is_some_and(|route| route.generation == id.generation);
        &mut self.routes[if same { place } else { 0 }]
    }

    /// For people: "GET /users/{}".
    pub(crate) fn name(&mut self, id: RouteId) -> String {
        let Route { method, path, .. } = self.at(id);
        format!("{method} {path}").trim_start().to_owned()
    }

    pub(crate) fn ended(&mut self, id: RouteId, ended: Ended) {
        let route = self.at(id);
        route.requests += 1;
        route.exists |= !(400..500).contains(&ended.status);
        route.failed += u64::from(ended.status >= 500);
        route.latency.record(ended.total);
    }

    /// Its worker has finished with a request of the route. `request` describes it, if anything does; `period`: see [`Heavy`].
    pub(crate) fn measured(
        &mut self,
        id: RouteId,
        figures: &Figures,
        period: u64,
        request: impl FnOnce() -> Option<Request>,
    ) {
        let route = self.at(id);
        route.measured.add(figures);
        if id.place > 0 {
            route.heavy.see(figures, period, request);
        }
    }

    /// Routes whose requests turn out to need much CPU time.
    pub(crate) fn take_heavy(&mut self, period: u64) -> Vec<(String, super::heavy::Report)> {
        let found = self.routes.iter_mut().filter_map(|route| {
            let report = route.heavy.report(period)?;
            Some((format!("{} {}", route.method, route.path), report))
        });
        found.collect()
    }

    /// In the order of the CPU time that each took.
    pub(crate) fn snapshot(&self) -> Vec<RouteSnapshot> {
        let asked_for = self.routes.iter().filter(|route| route.requests + route.measured.count > 0);
        let mut routes: Vec<_> = asked_for.map(Route::snapshot).collect();
        routes.sort_by(|a, b| b.cpu_total.cmp(&a.cpu_total).then_with(|| a.route.cmp(&b.route)));
        routes
    }
}

impl Measured {
    fn add(&mut self, figures: &Figures) {
        let more = |sum: &mut Option<Duration>, value: Option<Duration>| {
            if let Some(value) = value {
                *sum = Some(sum.unwrap_or_default() + value);
            }
        };
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let sample = [micros(figures.cpu), micros(figures.wait)];
        if self.samples.len() < SAMPLES {
            self.samples.push(sample);
        } else {
            self.samples[self.count as usize % SAMPLES] = sample;
        }
        self.count += 1;
        self.queued += figures.queued;
        self.cpu += figures.cpu;
        self.wait += figures.wait;
        more(&mut self.run_queue, figures.run_queue);
        more(&mut self.gil, figures.gil);
        self.cpu_times.record(figures.cpu);
    }

    fn mean(&self, sum: Duration) -> Option<Duration> {
        (self.count > 0).then(|| sum.div_f64(self.count as f64))
    }
}

impl Route {
    fn snapshot(&self) -> RouteSnapshot {
        let measured = &self.measured;
        let (cpu, wait) = (measured.mean(measured.cpu), measured.mean(measured.wait));
        RouteSnapshot {
            method: self.method,
            route: self.path.to_string(),
            requests: self.requests,
            failed: self.failed,
            latency: [0.5, 0.95, 0.99].map(|quantile| self.latency.quantile(quantile)),
            queued: measured.mean(measured.queued),
            cpu,
            wait,
            run_queue: measured.run_queue.and_then(|sum| measured.mean(sum)),
            gil: measured.gil.and_then(|sum| measured.mean(sum)),
            cpu_p95: measured.cpu_times.quantile(0.95),
            cpu_total: measured.cpu,
            samples: measured.samples.clone(),
            classification: classify(measured),
        }
    }
}

/// Requests of which a mean is worth something.
const ENOUGH: u64 = 5;

/// By the means: CPU-heavy from 20 ms, or from 5 ms if that is half of the time; waiting if 70 % of the time is.
fn classify(measured: &Measured) -> Classification {
    let Measured { count, cpu, wait, run_queue, gil, .. } = measured;
    let whole = *cpu + *wait + run_queue.unwrap_or_default() + gil.unwrap_or_default();
    if *count < ENOUGH || whole.is_zero() {
        return Classification::Unknown;
    }
    let share = |part: Duration| part.as_secs_f64() / whole.as_secs_f64();
    let mean = cpu.div_f64(*count as f64);
    if super::heavy::is_heavy(mean, share(*cpu)) {
        Classification::Cpu
    } else if share(*wait) >= 0.7 {
        Classification::Wait
    } else {
        Classification::Mixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn answer(table: &mut Table, path: &str, status: u16) -> RouteId {
        let id = table.find("GET", path);
        table.ended(id, Ended { status, total: MS });
        id
    }

    fn requests(table: &Table) -> u64 {
        table.snapshot().iter().map(|route| route.requests).sum()
    }

    #[test]
    fn there_is_a_bound_to_the_routes() {
        let mut table = Table::new();
        for number in 0..500 {
            answer(&mut table, &format!("/page-{number}"), 200);
        }
        assert_eq!(table.snapshot().len(), ROUTES);
        assert_eq!(requests(&table), 500);
        let others = table.snapshot().into_iter().find(|route| route.route == OTHERS).unwrap();
        assert_eq!((others.method, others.requests), ("", 500 - (ROUTES as u64 - 1)));
    }

    #[test]
    fn what_does_not_exist_gives_way_to_what_does() {
        let mut table = Table::new();
        for number in 0..500 {
            answer(&mut table, &format!("/junk-{number}.php"), 404);
        }
        let lost = answer(&mut table, "/late-junk", 404);
        for number in 0..20 {
            answer(&mut table, &format!("/page-{number}"), 200);
        }
        for number in 0..500 {
            answer(&mut table, &format!("/more-junk-{number}"), 404);
        }
        let found = table.snapshot().iter().filter(|route| route.route.starts_with("/page-")).count();
        assert_eq!((found, requests(&table)), (20, 1021));
        let before = table.snapshot().iter().find(|route| route.route == OTHERS).unwrap().requests;
        table.ended(lost, Ended { status: 200, total: MS });
        let after = table.snapshot().iter().find(|route| route.route == OTHERS).unwrap().requests;
        assert_eq!(after, before + 1, "late news about a route that had to go");
    }

    #[test]
    fn methods_and_paths_make_a_route() {
        let mut table = Table::new();
        let first = table.find("GET", "/users/1");
        assert_eq!(first, table.find("GET", "/users/2"));
        assert_ne!(first, table.find("POST", "/users/2"));
        assert_eq!(table.name(first), "GET /users/{}");
        assert_eq!(table.name(RouteId::default()), OTHERS);
    }

    #[test]
    fn means_are_of_what_was_measured() {
        let mut table = Table::new();
        let id = answer(&mut table, "/a", 200);
        let figures = |cpu, wait, run_queue| Figures {
            queued: MS,
            cpu: cpu * MS,
            run_queue,
            gil: None,
            wait: wait * MS,
        };
        for (cpu, wait, run_queue) in [(2, 10, None), (4, 30, Some(3 * MS))] {
            table.measured(id, &figures(cpu, wait, run_queue), 0, || None);
        }
        let route = &table.snapshot()[0];
        assert_eq!((route.cpu, route.wait, route.queued), (Some(3 * MS), Some(20 * MS), Some(MS)));
        assert_eq!((route.run_queue, route.gil), (Some(3 * MS / 2), None));
        assert_eq!(route.classification, Classification::Unknown, "two say nothing");
    }

    #[test]
    fn classes_are_those_of_the_means() {
        for (cpu, wait, expect) in [
            (20, 500, Classification::Cpu),
            (5, 5, Classification::Cpu),
            (5, 6, Classification::Mixed),
            (4, 1, Classification::Mixed),
            (3, 7, Classification::Wait),
        ] {
            let mut table = Table::new();
            let id = table.find("GET", "/");
            let figures = Figures { cpu: cpu * MS, wait: wait * MS, ..Figures::default() };
            for _ in 0..ENOUGH {
                table.measured(id, &figures, 0, || None);
            }
            assert_eq!(table.snapshot()[0].classification, expect, "{cpu} ms of CPU, {wait} ms of waiting");
        }
    }
}
