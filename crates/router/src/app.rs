//! One application: its bounded queue, its workers, and the decision which worker runs which request.
//!
//! Requests, not connections, are dispatched: whoever has a free slot takes the oldest request. Fast sync workers are
//! handed a few requests ahead, because a wake-up costs more than a fast request; the rule that keeps this from
//! hurting is in [`App::tick`]: what waits inside a worker that turns slow goes back to the queue.
//!
//! What time does to it (deadlines, reports, stalled workers) is in `sweep.rs`. An application without requests is not
//! looked at by anything.

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use incident::{Name, Request};
use wire::{ControlToWorker, Interface, ToWorker};

use crate::answer::Problem;
use crate::bandwidth::Bandwidth;
use crate::budget::RetryBudget;
use crate::core::Core;
use crate::dispatch::{self, Candidate, Finished, ServiceTime};
use crate::event::{self, Event};
use crate::exchange::{Exchange, Rerun};
use crate::link::{Gauge, Held, Link, Phase};
use crate::measure::Measure;
use crate::settings::Settings;
use crate::snapshot::{AppSnapshot, WorkerPhase, WorkerSnapshot};
use crate::stats::{Stats, add};
use crate::sweep::Pace;
use crate::trouble::{PATIENCE, SAMPLES, Troubles};
use crate::visit::Overrides;

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) id: event::App,
    pub(crate) core: Rc<Core>,
    name: RefCell<Box<str>>,
    settings: RefCell<Settings>,
    overrides: RefCell<Overrides>,
    pub(crate) queue: RefCell<VecDeque<Rc<Exchange>>>,
    pub(crate) links: RefCell<Vec<Rc<Link>>>,
    interface: Cell<Interface>,
    pub(crate) service: Cell<ServiceTime>,
    open: Cell<bool>,
    removed: Cell<bool>,
    /// Somebody wants to know when nothing is under way any more.
    idle_wanted: Cell<bool>,
    /// A worker serves.
    warm: Cell<bool>,
    /// Requests that were routed here and are not over.
    visits: Cell<usize>,
    /// Client connections whose latest request was for this application.
    pub(crate) connections: Cell<usize>,
    /// Slots in use over all workers.
    pub(crate) busy: Rc<Gauge>,
    pub(crate) pace: Pace,
    pub(crate) bandwidth: Bandwidth,
    budget: RefCell<RetryBudget>,
    pub(crate) troubles: Troubles,
    /// Requests whose worker died and that are answered 502 once it is known how.
    orphans: RefCell<Vec<Orphan>>,
    pub(crate) stats: Stats,
    pub(crate) measure: Measure,
}

/// See [`crate::trouble`].
#[derive(Debug)]
struct Orphan {
    exchange: Rc<Exchange>,
    worker: event::Worker,
    since: Instant,
    problem: Problem,
}

/// What became of the requests that a worker held when its link closed.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) replayed: usize,
    pub(crate) failed: usize,
    /// The first few.
    pub(crate) requests: Vec<Request>,
}

impl App {
    pub(crate) fn new(id: event::App, name: String, settings: Settings, core: Rc<Core>) -> Rc<Self> {
        Rc::new(App {
            id,
            core,
            name: RefCell::new(name.into()),
            overrides: RefCell::new(Overrides::new(&settings)),
            bandwidth: Bandwidth::new(&settings),
            settings: RefCell::new(settings),
            queue: RefCell::default(),
            links: RefCell::default(),
            interface: Cell::new(Interface::Wsgi),
            service: Cell::new(ServiceTime::default()),
            open: Cell::new(true),
            removed: Cell::new(false),
            idle_wanted: Cell::new(false),
            warm: Cell::new(false),
            visits: Cell::new(0),
            connections: Cell::new(0),
            busy: Rc::default(),
            pace: Pace::default(),
            budget: RefCell::default(),
            troubles: Troubles::default(),
            orphans: RefCell::default(),
            stats: Stats::default(),
            measure: Measure::default(),
        })
    }

    // ---- what it is told ----

    pub(crate) fn set(&self, name: String, settings: Settings) {
        *self.name.borrow_mut() = name.into();
        *self.overrides.borrow_mut() = Overrides::new(&settings);
        self.bandwidth.set(&settings, Instant::now());
        *self.settings.borrow_mut() = settings;
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.open.set(open);
        self.idle_wanted.set(!open);
        self.notice_end();
    }

    /// No request comes any more; when none is left, it is forgotten.
    pub(crate) fn remove(&self) {
        self.removed.set(true);
        for link in self.links.borrow().iter() {
            link.each_held(Exchange::going_away);
        }
        self.notice_end();
    }

    pub(crate) fn clear(&self) {
        self.queue.borrow_mut().clear();
        self.orphans.borrow_mut().clear();
        for link in std::mem::take(&mut *self.links.borrow_mut()) {
            link.take_all();
        }
    }

    // ---- what it is ----

    pub(crate) fn name(&self) -> Ref<'_, str> {
        Ref::map(self.name.borrow(), |name| &**name)
    }

    pub(crate) fn settings(&self) -> Ref<'_, Settings> {
        self.settings.borrow()
    }

    pub(crate) fn overrides(&self) -> Ref<'_, Overrides> {
        self.overrides.borrow()
    }

    /// WSGI until a worker says otherwise.
    pub(crate) fn interface(&self) -> Interface {
        self.interface.get()
    }

    pub(crate) fn set_interface(&self, interface: Interface) {
        self.interface.set(interface);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.get()
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.get()
    }

    /// Nothing is under way, for clients or in workers.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.visits.get() == 0 && self.busy.now() == 0
    }

    /// Requests that are not over.
    pub(crate) fn in_flight(&self) -> usize {
        self.visits.get()
    }

    pub(crate) fn snapshot(&self) -> AppSnapshot {
        let now = Instant::now();
        let links = self.links.borrow();
        let workers = links.iter().map(|link| WorkerSnapshot {
            worker: link.worker,
            phase: match link.phase.get() {
                Phase::Booting => WorkerPhase::Booting,
                Phase::Ready => WorkerPhase::Ready,
                Phase::Serving => WorkerPhase::Serving,
                Phase::Draining => WorkerPhase::Draining,
                Phase::Hung => WorkerPhase::Hung,
                Phase::Closed => WorkerPhase::Closed,
            },
            slots: link.slots.get(),
            busy: link.load().min(link.slots.get()),
            requests: link.served.get(),
            classes: link.classes.get(),
            busy_time: link.busy_time(now),
            age: now.saturating_duration_since(link.attached),
        });
        let (held_back_in, held_back_out) = self.bandwidth.held_back();
        let mut snapshot = AppSnapshot {
            app: self.id,
            name: self.name.borrow().to_string(),
            open: self.open.get(),
            removed: self.removed.get(),
            queue: self.queue.borrow().len(),
            queue_limit: self.settings.borrow().queue,
            in_flight: self.visits.get(),
            connections: self.connections.get(),
            held_back_in,
            held_back_out,
            workers: workers.collect(),
            ..AppSnapshot::default()
        };
        self.stats.snapshot(&mut snapshot, self.core.clock.uptime());
        snapshot
    }

    // ---- requests ----

    /// A request was routed here.
    pub(crate) fn enter(self: &Rc<Self>) {
        self.visits.set(self.visits.get() + 1);
        self.budget.borrow_mut().request(self.core.clock.uptime());
        self.wake();
    }

    /// A request is over that this worker was given last, if it is still there.
    pub(crate) fn count_for_worker(&self, worker: event::Worker, status: u16) {
        if let Some(link) = self.links.borrow().iter().find(|link| link.worker == worker) {
            link.count(status);
        }
    }

    /// It is over.
    pub(crate) fn leave(&self) {
        self.visits.set(self.visits.get() - 1);
        self.notice_end();
    }

    /// Whoever waits for the last request of an application that is closed or removed is told.
    fn notice_end(&self) {
        if self.visits.get() > 0 {
            return;
        }
        if self.removed.get() {
            self.core.forget_app(self.id);
        } else if self.idle_wanted.take() {
            self.core.report(Event::AppIdle { app: self.id });
        }
    }

    /// Queue a request and dispatch what can be; refused when the queue is full.
    pub(crate) fn submit(self: &Rc<Self>, exchange: &Rc<Exchange>) {
        if !self.open.get() {
            exchange.fail(Problem::STOPPED);
            return;
        }
        let waiting = self.queue.borrow().len();
        if waiting >= self.settings.borrow().queue && self.find_worker(Instant::now()).is_none() {
            exchange.fail(Problem::QUEUE_FULL.retry_after(self.pace.retry_after(waiting)));
            return;
        }
        exchange.queued(self.warm.get());
        self.queue.borrow_mut().push_back(Rc::clone(exchange));
        self.dispatch();
    }

    /// The client is gone: forget a waiting request, tell the worker of a running one.
    pub(crate) fn abandon(&self, exchange: &Exchange) {
        if self.withdraw(exchange) {
            return;
        }
        if let Some(link) = exchange.link() {
            if let Some(held) = link.held.borrow_mut().get_mut(&exchange.id) {
                held.exchange = None;
            }
            link.send(&ToWorker::Cancel { id: exchange.id });
        }
    }

    /// Take a request out of the queue; false if it is not there (any more).
    pub(crate) fn withdraw(&self, exchange: &Exchange) -> bool {
        let mut queue = self.queue.borrow_mut();
        let position = queue.iter().position(|queued| queued.id == exchange.id);
        position.and_then(|position| queue.remove(position)).is_some()
    }

    /// Hand out waiting requests for as long as there is a worker for them.
    pub(crate) fn dispatch(self: &Rc<Self>) {
        let mut now = None;
        loop {
            if self.queue.borrow().is_empty() {
                return;
            }
            let now = *now.get_or_insert_with(Instant::now);
            let Some(link) = self.find_worker(now) else {
                if self.may_stall() {
                    self.watch_closely();
                }
                if self.pace.demands(now) {
                    self.core.report(Event::Demand { app: self.id });
                }
                return;
            };
            let Some(exchange) = self.queue.borrow_mut().pop_front() else {
                return;
            };
            if exchange.is_over() {
                continue;
            }
            link.hand_over(&exchange, now);
            if link.quota == Some(link.served.get()) {
                self.core.report(Event::QuotaReached { worker: link.worker });
            }
            if link.may_stall() {
                self.watch_closely();
            }
        }
    }

    fn find_worker(&self, now: Instant) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        let candidates = links.iter().map(|link| Candidate {
            serving: link.serves(now),
            load: link.load(),
            slots: link.slots.get(),
            silent: now.saturating_duration_since(link.last_progress()),
            reruns: link.reruns(),
        });
        let queue = self.queue.borrow();
        let rerun = queue.front().is_some_and(|exchange| exchange.is_rerun());
        dispatch::choose(candidates, self.service.get(), queue.len(), rerun)
            .map(|index| Rc::clone(&links[index]))
    }

    /// A worker with so many slots was `busy` for so long with what it `finished`.
    pub(crate) fn learn(&self, busy: Duration, finished: &Finished, slots: usize) {
        self.service.update(|mut service| {
            service.learn(busy, finished, slots);
            service
        });
        self.pace.finished(finished.requests);
    }

    // ---- workers ----

    pub(crate) fn attach(self: &Rc<Self>, link: &Rc<Link>) {
        self.core.add_link(self, link);
        self.links.borrow_mut().push(Rc::clone(link));
    }

    pub(crate) fn admit(self: &Rc<Self>, link: &Link) {
        if link.phase.get() == Phase::Ready {
            link.phase.set(Phase::Serving);
            self.update_warmth();
            self.dispatch();
        }
    }

    pub(crate) fn drain(&self, link: &Link) {
        if link.phase.get() != Phase::Closed {
            link.phase.set(Phase::Draining);
            link.nudge(true);
            self.update_warmth();
            self.finish_if_drained(link);
        }
    }

    /// Note whether a worker serves. Requests that came while none did begin to wait when one does.
    pub(crate) fn update_warmth(&self) {
        let warm = self.links.borrow().iter().any(|link| link.phase.get() == Phase::Serving);
        if !self.warm.replace(warm) && warm {
            let now = Instant::now();
            self.queue.borrow().iter().for_each(|exchange| exchange.warmed_up(now));
        }
    }

    /// A worker that is draining and holds nothing is told to finish.
    pub(crate) fn finish_if_drained(&self, link: &Link) {
        if link.phase.get() == Phase::Draining && link.held.borrow().is_empty() {
            link.order(ControlToWorker::Finish);
            self.core.report(Event::Drained { worker: link.worker });
        }
    }

    /// The link is closed: run what its worker held elsewhere where that is allowed, answer the rest.
    pub(crate) fn detach(self: &Rc<Self>, link: &Rc<Link>) -> Left {
        link.close();
        self.links.borrow_mut().retain(|other| !Rc::ptr_eq(other, link));
        self.core.remove_link(link.worker);
        self.update_warmth();
        let mut held: Vec<_> = link.take_all().into_iter().collect();
        // The oldest come first, while the budget lasts.
        held.sort_unstable_by_key(|(id, _)| *id);
        let mut left = Left::default();
        let mut again = Vec::new();
        for (position, (_, Held { exchange, started, .. })) in held.into_iter().enumerate() {
            let Some(exchange) = exchange.filter(|exchange| !exchange.is_over()) else { continue };
            let problem = self.run_again(&exchange, started, position >= link.slots.get());
            if left.requests.len() < SAMPLES {
                let outcome = if problem.is_some() { "answered 502" } else { "run again" };
                left.requests.push(exchange.request(outcome));
            }
            match problem {
                None => again.push(exchange),
                Some(problem) => {
                    left.failed += 1;
                    let (worker, since) = (link.worker, Instant::now());
                    self.orphans.borrow_mut().push(Orphan { exchange, worker, since, problem });
                }
            }
        }
        left.replayed = again.len();
        // They must end up at the front of the queue.
        while let Some(exchange) = again.pop() {
            self.queue.borrow_mut().push_front(exchange);
        }
        self.dispatch();
        left
    }

    /// The worker of a request died: why it must be answered, unless it runs again. `ahead`: it was one more than the worker runs at
    /// a time. Only as many as it has slots can have ended it, and only those are charged: the budget is against requests that
    /// end every worker.
    fn run_again(&self, exchange: &Exchange, started: bool, ahead: bool) -> Option<Problem> {
        let problem = match exchange.worker_died(!started) {
            Rerun::Free => None,
            Rerun::Charged => {
                let share = self.settings.borrow().retry_budget;
                let uptime = self.core.clock.uptime();
                let may = (ahead && share > 0.0) || self.budget.borrow_mut().retry(uptime, share);
                (!may).then_some(Problem::RETRY_DENIED)
            }
            Rerun::No => Some(Problem::WORKER_DIED),
        };
        if problem.is_none() {
            add(&self.stats.replayed, 1);
            exchange.requeued();
        }
        problem
    }

    /// The host knows how a worker ended, whose link is closed.
    pub(crate) fn explain(&self, worker: event::Worker, name: Name) {
        for orphan in self.orphans.borrow_mut().extract_if(.., |orphan| orphan.worker == worker) {
            orphan.exchange.fail_as(orphan.problem, Some(name));
        }
    }

    /// Answer those for whom nobody said how their worker ended.
    pub(crate) fn sweep_orphans(&self, now: Instant) {
        let mut orphans = self.orphans.borrow_mut();
        let due = |orphan: &mut Orphan| now.saturating_duration_since(orphan.since) >= PATIENCE;
        let late: Vec<_> = orphans.extract_if(.., due).collect();
        drop(orphans);
        late.into_iter().for_each(|orphan| orphan.exchange.fail(orphan.problem));
    }

    /// The worker gave these requests back without starting them.
    pub(crate) fn reclaimed(self: &Rc<Self>, link: &Link, mut ids: Vec<u64>) {
        if !ids.is_empty() {
            link.suspect();
        }
        ids.sort_unstable();
        for id in ids.into_iter().rev() {
            let Some(held) = link.take(id) else {
                continue;
            };
            let Some(exchange) = held.exchange else { continue };
            if exchange.is_over() {
                exchange.released();
            } else if exchange.taken_back() {
                self.queue.borrow_mut().push_front(exchange);
            } else {
                // Only a worker that lies gives back what it has begun.
                exchange.fail(Problem::WORKER_DIED);
            }
        }
        self.finish_if_drained(link);
        self.dispatch();
    }
}
