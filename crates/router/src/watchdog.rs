//! Deadlines for connections, cheap enough to set on every read.
//!
//! A timer per read would cost more than the read. Each connection has one [`Watchdog`] that holds its current
//! deadline; the router sweeps all of them every [`SWEEP`] and wakes the connections that are past theirs. Deadlines
//! are therefore met with that precision, never early.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How often deadlines are looked at.
pub(crate) const SWEEP: Duration = Duration::from_millis(50);

/// The deadline passed before the operation completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired;

/// One connection's current deadline.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    at: Cell<Option<Instant>>,
    expired: Cell<bool>,
    /// Nothing would be lost if the connection ended now.
    idle: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Watchdog {
    /// Run `operation` until it completes or `limit` has passed.
    pub(crate) async fn guard<T>(
        &self,
        limit: Duration,
        operation: impl Future<Output = T>,
    ) -> Result<T, Expired> {
        let mut operation = pin!(operation);
        // An earlier guard may have been dropped half-way.
        self.expired.set(false);
        self.at.set(Some(Instant::now() + limit));
        let result = poll_fn(|ctx| {
            if let Poll::Ready(value) = operation.as_mut().poll(ctx) {
                return Poll::Ready(Ok(value));
            }
            if self.expired.get() {
                return Poll::Ready(Err(Expired));
            }
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(ctx.waker())) {
                *waker = Some(ctx.waker().clone());
            }
            Poll::Pending
        })
        .await;
        self.at.set(None);
        result
    }

    /// The same, while nothing is under way: when the router stops, it expires at once.
    pub(crate) async fn guard_idle<T>(
        &self,
        limit: Duration,
        operation: impl Future<Output = T>,
    ) -> Result<T, Expired> {
        self.idle.set(true);
        let result = self.guard(limit, operation).await;
        self.idle.set(false);
        result
    }

    fn sweep(&self, now: Instant, stopping: bool) {
        if self.at.get().is_some_and(|at| at <= now || (stopping && self.idle.get())) {
            self.expired.set(true);
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

/// All watchdogs of one router thread.
#[derive(Debug, Default)]
pub(crate) struct Watchdogs(RefCell<Vec<Weak<Watchdog>>>);

impl Watchdogs {
    pub(crate) fn register(&self) -> Rc<Watchdog> {
        let watchdog = Rc::new(Watchdog::default());
        self.0.borrow_mut().push(Rc::downgrade(&watchdog));
        watchdog
    }

    /// Wake whoever is past its deadline, and forget the connections that are gone.
    pub(crate) fn sweep(&self, now: Instant, stopping: bool) {
        self.0.borrow_mut().retain(|watchdog| {
            let alive = watchdog.upgrade();
            if let Some(watchdog) = &alive {
                watchdog.sweep(now, stopping);
            }
            alive.is_some()
        });
    }
}
