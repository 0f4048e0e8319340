//! What requests take, by route: the figures that workers send along, cut to what the router itself saw.
//!
//! `figures` says how far a worker is believed, `route` what a route is, `table` keeps the sums, `heavy` and `lock` find
//! requests that need much CPU time and requests that hold the interpreter lock. All of them are pure; here is what connects
//! them with an application. An application that was never asked for anything has none of it.

mod figures;
mod heavy;
mod lock;
pub(crate) mod route;
mod sketch;
mod table;

use std::cell::{OnceCell, RefCell};
use std::time::Instant;

use incident::Request;

pub(crate) use figures::Figures;
pub(crate) use table::{Ended, RouteId};

use crate::app::App;
use crate::event::{Event, Finding, Found};
use crate::link::{Held, Link};
use crate::snapshot::RouteSnapshot;

/// What was measured of one application's requests.
#[derive(Debug, Default)]
pub(crate) struct Measure(OnceCell<Box<RefCell<Inner>>>);

#[derive(Debug)]
struct Inner {
    table: table::Table,
    contention: lock::Contention,
    /// Since when it counts.
    since: Instant,
}

impl Measure {
    fn with<T>(&self, action: impl FnOnce(&mut Inner) -> T) -> T {
        let fresh = || {
            let (table, contention) = (table::Table::new(), lock::Contention::default());
            Box::new(RefCell::new(Inner { table, contention, since: Instant::now() }))
        };
        action(&mut self.0.get_or_init(fresh).borrow_mut())
    }

    /// The place of a request's route.
    pub(crate) fn route(&self, method: &str, path: &str) -> RouteId {
        self.with(|inner| inner.table.find(method, path))
    }

    pub(crate) fn ended(&self, route: RouteId, ended: Ended) {
        self.with(|inner| inner.table.ended(route, ended));
    }

    /// Seconds for which it counts, and the routes.
    pub(crate) fn snapshot(&self) -> (u64, Vec<RouteSnapshot>) {
        self.0.get().map_or((0, Vec::new()), |inner| {
            let inner = inner.borrow();
            (inner.since.elapsed().as_secs(), inner.table.snapshot())
        })
    }
}

impl App {
    /// A worker has finished with a request that it held.
    pub(crate) fn measured(&self, link: &Link, held: &Held, figures: &Figures, now: Instant) {
        let Some(route) = held.route else { return };
        let request =
            || -> Option<Request> { held.exchange.as_ref().map(|exchange| exchange.request("measured")) };
        let period = self.core.clock.uptime() / heavy::PERIOD;
        self.measure.with(|inner| {
            inner.table.measured(route, figures, period, request);
            if link.slots.get() > 1 && figures.gil.is_some() {
                let stay = lock::Stay { worker: link.worker, from: held.handed, to: now };
                inner.contention.see(stay, route, figures, request);
            }
        });
    }

    /// Report what the figures of the last seconds show.
    pub(crate) fn report_findings(&self, now: Instant) {
        let Some(inner) = self.measure.0.get() else { return };
        let Inner { table, contention, .. } = &mut *inner.borrow_mut();
        let tell = |finding| self.core.report(Event::Found(Box::new(Found { app: self.id, finding })));
        for (route, report) in table.take_heavy(self.core.clock.uptime() / heavy::PERIOD) {
            let heavy::Report { count, cpu, share, requests } = report;
            tell(Finding::CpuHeavy { route, count, cpu, share, requests });
        }
        for report in contention.report(now) {
            let lock::Report { worker, route, held, delayed, requests } = report;
            let route = table.name(route);
            tell(Finding::GilHeld { worker, route, held, delayed, requests });
        }
    }
}
