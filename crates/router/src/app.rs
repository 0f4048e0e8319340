//! One application: its bounded queue, its workers, and the decision which worker runs which request.
//!
//! Requests, not connections, are dispatched: whoever has a free slot takes the oldest request. Fast sync workers are
//! handed a few requests ahead, because a wake-up costs more than a fast request; the rule that keeps this from
//! hurting is in [`App::tick`]: what waits inside a worker that turns slow goes back to the queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use wire::{ControlToWorker, Interface, ToWorker};

use crate::answer::Problem;
use crate::core::Core;
use crate::dispatch::{self, Candidate, ServiceTime};
use crate::event::{Event, Worker};
use crate::exchange::Exchange;
use crate::link::{Interrupted, Link, Phase};
use crate::settings::Settings;

/// How often [`App::tick`] looks at stalled workers while there may be any.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) core: Rc<Core>,
    queue: RefCell<VecDeque<Rc<Exchange>>>,
    links: RefCell<Vec<Rc<Link>>>,
    interface: Cell<Interface>,
    service: Cell<ServiceTime>,
    events: mpsc::Sender<Event>,
    tick_needed: Notify,
}

impl App {
    pub(crate) fn new(settings: Settings, core: Rc<Core>, events: mpsc::Sender<Event>) -> Rc<Self> {
        Rc::new(App {
            settings,
            core,
            queue: RefCell::default(),
            links: RefCell::default(),
            interface: Cell::new(Interface::Wsgi),
            service: Cell::new(ServiceTime::default()),
            events,
            tick_needed: Notify::new(),
        })
    }

    /// Tell the supervisor. The channel is long and the supervisor fast; if it is ever full, a task waits in our place.
    pub(crate) fn report(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            let events = self.events.clone();
            tokio::task::spawn_local(async move {
                // The receiver is gone only when the program ends.
                let _ = events.send(event).await;
            });
        }
    }

    /// WSGI until a worker says otherwise.
    pub(crate) fn interface(&self) -> Interface {
        self.interface.get()
    }

    pub(crate) fn set_interface(&self, interface: Interface) {
        self.interface.set(interface);
    }

    // ---- requests ----

    /// Queue a request and dispatch what can be; refused when the queue is full.
    pub(crate) fn submit(&self, exchange: &Rc<Exchange>) {
        if self.queue.borrow().len() >= self.settings.queue && self.find_worker(Instant::now()).is_none() {
            exchange.fail(Problem::QUEUE_FULL);
            return;
        }
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
    pub(crate) fn dispatch(&self) {
        let mut now = None;
        loop {
            if self.queue.borrow().is_empty() {
                return;
            }
            let now = *now.get_or_insert_with(Instant::now);
            let Some(link) = self.find_worker(now) else {
                if self.links.borrow().iter().any(|link| link.may_stall()) {
                    self.tick_needed.notify_one();
                }
                return;
            };
            let Some(exchange) = self.queue.borrow_mut().pop_front() else {
                return;
            };
            if exchange.is_over() {
                continue;
            }
            link.hand_over(&exchange);
            if link.quota == Some(link.served.get()) {
                self.report(Event::QuotaReached { worker: link.worker });
            }
            if link.may_stall() {
                self.tick_needed.notify_one();
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
        });
        dispatch::choose(candidates, self.service.get(), self.queue.borrow().len())
            .map(|index| Rc::clone(&links[index]))
    }

    /// A worker finished `done` requests in `busy` time over its slots.
    pub(crate) fn learn(&self, busy: Duration, done: usize, slots: usize) {
        let mut service = self.service.get();
        service.learn(busy, done, slots);
        self.service.set(service);
    }

    // ---- workers ----

    pub(crate) fn attach(&self, link: Rc<Link>) {
        self.links.borrow_mut().push(link);
    }

    pub(crate) fn link(&self, worker: Worker) -> Option<Rc<Link>> {
        self.links.borrow().iter().find(|link| link.worker == worker).cloned()
    }

    pub(crate) fn admit(&self, worker: Worker) {
        if let Some(link) = self.link(worker).filter(|link| link.phase.get() == Phase::Ready) {
            link.phase.set(Phase::Serving);
            self.dispatch();
        }
    }

    pub(crate) fn drain(&self, worker: Worker) {
        if let Some(link) = self.link(worker).filter(|link| link.phase.get() != Phase::Closed) {
            link.phase.set(Phase::Draining);
            link.nudge(true);
            self.finish_if_drained(&link);
        }
    }

    /// A worker that is draining and holds nothing is told to finish.
    pub(crate) fn finish_if_drained(&self, link: &Link) {
        if link.phase.get() == Phase::Draining && link.held.borrow().is_empty() {
            link.order(ControlToWorker::Finish);
            self.report(Event::Drained { worker: link.worker });
        }
    }

    /// The link is closed: run what its worker held elsewhere where that is allowed, answer the rest. Returns how many
    /// were put back and how many were answered.
    pub(crate) fn detach(&self, link: &Rc<Link>) -> (usize, usize) {
        link.close();
        self.links.borrow_mut().retain(|other| !Rc::ptr_eq(other, link));
        let mut held: Vec<_> = std::mem::take(&mut *link.held.borrow_mut()).into_iter().collect();
        held.sort_unstable_by_key(|(id, _)| *id);
        let (mut replayed, mut failed) = (0, 0);
        // The oldest must end up at the front.
        for (_, held) in held.into_iter().rev() {
            let Some(exchange) = held.exchange.filter(|exchange| !exchange.is_over()) else {
                continue;
            };
            if exchange.worker_died(!held.started) {
                self.queue.borrow_mut().push_front(exchange);
                replayed += 1;
            } else {
                failed += 1;
            }
        }
        self.dispatch();
        (replayed, failed)
    }

    /// The worker gave these requests back without starting them.
    pub(crate) fn reclaimed(&self, link: &Link, mut ids: Vec<u64>) {
        if !ids.is_empty() {
            link.suspect();
        }
        ids.sort_unstable();
        for id in ids.into_iter().rev() {
            let Some(held) = link.held.borrow_mut().remove(&id) else {
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

    // ---- time ----

    /// Deadlines of requests, waiting and running. Called every [`crate::watchdog::SWEEP`].
    pub(crate) fn sweep(&self, now: Instant) {
        self.sweep_queue(now);
        // A worker may have become trustworthy again by the mere passing of time.
        self.dispatch();
        for link in self.links.borrow().iter() {
            self.sweep_held(link, now);
        }
    }

    fn sweep_queue(&self, now: Instant) {
        let Settings { queue_timeout, request_timeout, .. } = self.settings;
        self.queue.borrow_mut().retain(|exchange| {
            let waited = now.saturating_duration_since(exchange.arrived);
            if request_timeout.is_some_and(|limit| waited >= limit) {
                exchange.fail(Problem::DEADLINE);
            } else if waited >= queue_timeout {
                exchange.fail(Problem::QUEUED_TOO_LONG);
            }
            !exchange.is_over()
        });
    }

    fn sweep_held(&self, link: &Link, now: Instant) {
        let mut overdue = Vec::new();
        let mut hung = false;
        for (id, held) in link.held.borrow_mut().iter_mut() {
            if let Some(exchange) = held.exchange.as_ref().filter(|exchange| exchange.has_deadline()) {
                let age = now.saturating_duration_since(exchange.arrived);
                if self.settings.request_timeout.is_some_and(|limit| age >= limit) {
                    let exchange = Rc::clone(exchange);
                    exchange.fail(Problem::DEADLINE);
                    held.interrupted = Some(Interrupted { at: now, request: Some(exchange.describe()) });
                    held.exchange = None;
                    overdue.push(*id);
                }
            }
            let grace = self.settings.interrupt_grace;
            hung |= held.interrupted.as_ref().is_some_and(|it| now.saturating_duration_since(it.at) >= grace);
        }
        for id in overdue {
            link.order(ControlToWorker::Interrupt { id });
        }
        if hung && matches!(link.phase.get(), Phase::Serving | Phase::Draining) {
            link.phase.set(Phase::Hung);
            link.nudge(true);
            self.report(Event::Hung { worker: link.worker });
        }
    }

    /// Take requests back from workers that sit on them, while another has a free slot. Runs until the router ends;
    /// sleeps while no worker holds more than it works on.
    pub(crate) async fn tick(self: Rc<Self>) {
        loop {
            while !self.links.borrow().iter().any(|link| link.may_stall()) {
                self.tick_needed.notified().await;
            }
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            for link in self.links.borrow().iter().filter(|link| link.is_stalled(now)) {
                let elsewhere = self.links.borrow().iter().any(|other| {
                    !Rc::ptr_eq(other, link) && other.has_free_slot(now) && !other.is_stalled(now)
                });
                // With nowhere else to go, only answers that it holds back are of interest, and those it sends soon.
                let patience = self.service.get().patience(TICK);
                if elsewhere || now.saturating_duration_since(link.last_progress()) >= patience {
                    link.nudge(elsewhere);
                }
            }
        }
    }
}
