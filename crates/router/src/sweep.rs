//! What time does to an application: deadlines of its requests, workers that stall or hang, and what it reports about
//! itself. Called for applications that have something under way; nothing here runs for the others.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use wire::ControlToWorker;

use crate::app::App;
use crate::event::Event;
use crate::link::{Interrupted, Link, Phase};

/// Shortest time between two [`Event::Demand`] of one application.
pub const DEMAND_PAUSE: Duration = Duration::from_millis(50);

/// Seconds for Retry-After: never more, however slowly the queue empties.
const LONGEST_RETRY: u64 = 30;

/// Retry-After while nothing is known about how fast the queue empties.
const FIRST_RETRY: u8 = 1;

/// How fast an application works, and what has been reported about that.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// It is in the core's list of applications to sweep, and in that of those to watch closely.
    active: Cell<bool>,
    watched: Cell<bool>,
    demanded: Cell<Option<Instant>>,
    /// Since the last report: requests that came and that were finished.
    came: Cell<bool>,
    done: Cell<usize>,
    /// The last report was not all zero.
    was_busy: Cell<bool>,
    /// Requests finished per second, smoothed over a few seconds.
    rate: Cell<Option<f64>>,
}

impl Pace {
    /// True when [`Event::Demand`] is due.
    pub(crate) fn demands(&self, now: Instant) -> bool {
        let due = self.demanded.get().is_none_or(|at| now.saturating_duration_since(at) >= DEMAND_PAUSE);
        if due {
            self.demanded.set(Some(now));
        }
        due
    }

    pub(crate) fn finished(&self, done: usize) {
        self.done.set(self.done.get() + done);
    }

    /// Seconds after which the queue will have room: what waits now, at the rate at which it is worked off.
    pub(crate) fn retry_after(&self, waiting: usize) -> u8 {
        let seconds = |rate: f64| ((waiting + 1) as f64 / rate).ceil().clamp(1.0, LONGEST_RETRY as f64) as u8;
        self.rate.get().map_or(FIRST_RETRY, seconds)
    }

    fn learn_rate(&self, since: Duration) {
        let now = self.done.take() as f64 / since.as_secs_f64().max(0.001);
        self.rate.set(Some(self.rate.get().map_or(now, |rate| (rate + now) / 2.0)));
    }
}

impl App {
    /// A request came: from now on there is something to look after.
    pub(crate) fn wake(self: &Rc<Self>) {
        self.pace.came.set(true);
        if !self.pace.active.replace(true) {
            self.core.activate(self);
        }
    }

    /// A worker may sit on requests: look every millisecond.
    pub(crate) fn watch_closely(self: &Rc<Self>) {
        if !self.pace.watched.replace(true) {
            self.core.watch_closely(self);
        }
    }

    pub(crate) fn may_stall(&self) -> bool {
        self.links.borrow().iter().any(|link| link.may_stall())
    }

    /// Deadlines of requests, waiting and running. Called every [`crate::watchdog::SWEEP`].
    pub(crate) fn sweep(self: &Rc<Self>, now: Instant) {
        self.sweep_queue(now);
        self.sweep_orphans(now);
        // A worker may have become trustworthy again by the mere passing of time.
        self.dispatch();
        let grace = self.settings().interrupt_grace;
        let mut hung = false;
        for link in self.links.borrow().iter() {
            hung |= self.sweep_held(link, now, grace);
        }
        if hung {
            self.update_warmth();
        }
    }

    fn sweep_queue(&self, now: Instant) {
        if self.queue.borrow().is_empty() {
            return;
        }
        let settings = self.settings();
        let waiting = self.queue.borrow().len();
        let mut late = Vec::new();
        self.queue.borrow_mut().retain(|exchange| {
            let problem = exchange.waited_too_long(now, &settings);
            late.extend(problem.map(|problem| (Rc::clone(exchange), problem)));
            problem.is_none() && !exchange.is_over()
        });
        for (exchange, problem) in late {
            exchange.fail(match problem.retry_after {
                Some(_) => problem.retry_after(self.pace.retry_after(waiting)),
                None => problem,
            });
        }
    }

    /// True when the worker is found hung.
    fn sweep_held(&self, link: &Link, now: Instant, grace: Duration) -> bool {
        let mut overdue = Vec::new();
        let mut hung = false;
        for (id, held) in link.held.borrow_mut().iter_mut() {
            if let Some((exchange, problem)) =
                held.exchange.as_ref().and_then(|exchange| Some((exchange, exchange.overdue(now)?)))
            {
                exchange.fail(problem);
                held.interrupted = Some(Interrupted { at: now, request: Some(exchange.describe()) });
                held.exchange = None;
                overdue.push(*id);
            }
            hung |= held.interrupted.as_ref().is_some_and(|it| now.saturating_duration_since(it.at) >= grace);
        }
        for id in overdue {
            link.order(ControlToWorker::Interrupt { id });
        }
        let hung = hung && matches!(link.phase.get(), Phase::Serving | Phase::Draining);
        if hung {
            link.phase.set(Phase::Hung);
            link.nudge(true);
            self.core.report(Event::Hung { worker: link.worker });
        }
        hung
    }

    /// Report how busy it was since the last time; false when there is nothing to look after any more.
    pub(crate) fn report_load(&self, since: Duration) -> bool {
        self.pace.learn_rate(since);
        self.troubles.flush(&self.core, Some(self.id), self.stats.take_finished());
        self.report_findings(Instant::now());
        let (came, busy_peak) = (self.pace.came.take(), self.busy.take_peak());
        let waiting = self.queue.borrow().len();
        let busy = came || busy_peak + waiting > 0;
        if busy || self.pace.was_busy.get() {
            let slots = self.links.borrow().iter().map(|link| link.slots.get()).max().unwrap_or(0).max(1);
            self.core.report(Event::Load { app: self.id, busy_peak, slots, waiting });
        }
        self.pace.was_busy.set(busy);
        let stays = busy || !self.is_at_rest();
        if !stays {
            self.pace.active.set(false);
            self.pace.rate.set(None);
        }
        stays
    }

    /// Take requests back from workers that sit on them, while another has a free slot. False when no worker may do
    /// that any more.
    pub(crate) fn tick(&self, now: Instant, tick: Duration) -> bool {
        for link in self.links.borrow().iter().filter(|link| link.is_stalled(now)) {
            let elsewhere =
                self.links.borrow().iter().any(|other| {
                    !Rc::ptr_eq(other, link) && other.has_free_slot(now) && !other.is_stalled(now)
                });
            // With nowhere else to go, only answers that it holds back are of interest, and those it sends soon.
            let patience = self.service.get().patience(tick);
            if elsewhere || now.saturating_duration_since(link.last_progress()) >= patience {
                link.nudge(elsewhere);
            }
        }
        let stays = self.may_stall();
        self.pace.watched.set(stays);
        stays
    }
}
