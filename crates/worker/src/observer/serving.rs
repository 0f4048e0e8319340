//! The threads that run requests, as far as observers need to know them.

use std::cell::{Cell, OnceCell};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::native::{self, NativeThread};
use crate::interrupt::this_thread;
use crate::link::lock;

/// One such thread. It lives as long as the process.
#[derive(Debug)]
pub(crate) struct Mark {
    /// Python's identifier.
    pub(super) thread: u64,
    pub(super) native: NativeThread,
    /// It runs a request; for an event loop: the loop runs.
    running: AtomicBool,
    /// It is inside of a call that is measured as it is.
    pub(super) measured: AtomicBool,
}

impl Mark {
    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }
}

/// What the thread itself knows of its request.
struct Here {
    mark: &'static Mark,
    event_loop: bool,
    /// Until when the request's time was counted.
    counted: Cell<Instant>,
    /// It has written durably.
    concerned: Cell<bool>,
}

thread_local! {
    static HERE: OnceCell<Here> = const { OnceCell::new() };
}

/// A bound is not needed: a worker has as many as its configuration says.
static MARKS: Mutex<Vec<&'static Mark>> = Mutex::new(Vec::new());

pub(super) fn all() -> Vec<&'static Mark> {
    lock(&MARKS).clone()
}

/// The calling thread serves from now on.
pub(crate) fn enter(event_loop: bool) -> &'static Mark {
    HERE.with(|here| {
        let here = here.get_or_init(|| {
            let mark: &'static Mark = Box::leak(Box::new(Mark {
                thread: this_thread(),
                native: NativeThread::open(native::this_thread()),
                running: AtomicBool::new(event_loop),
                measured: AtomicBool::new(false),
            }));
            lock(&MARKS).push(mark);
            Here { mark, event_loop, counted: Cell::new(Instant::now()), concerned: Cell::new(false) }
        });
        here.mark
    })
}

/// A request begins on this thread.
pub(crate) fn begin(now: Instant) {
    HERE.with(|here| {
        if let Some(here) = here.get() {
            here.counted.set(now);
            here.mark.running.store(true, Ordering::Relaxed);
        }
    });
}

/// It has ended.
pub(crate) fn end() {
    HERE.with(|here| {
        let Some(here) = here.get() else { return };
        here.mark.running.store(false, Ordering::Relaxed);
        if here.concerned.replace(false) {
            super::durable::count_time(here.counted.get().elapsed());
        }
    });
}

/// A durable write on the calling thread.
pub(super) struct Write {
    pub(super) event_loop: bool,
    /// Time of the request since it began or since its write before this.
    pub(super) request: Duration,
}

/// Run a call that is measured; what it was for the request, if it was in one.
pub(super) fn measured<T>(call: impl FnOnce() -> T) -> (T, Option<Write>) {
    HERE.with(|here| {
        let Some(here) = here.get().filter(|here| here.mark.is_running()) else { return (call(), None) };
        here.mark.measured.store(true, Ordering::Relaxed);
        let result = call();
        here.mark.measured.store(false, Ordering::Relaxed);
        let now = Instant::now();
        let request = now.duration_since(here.counted.replace(now));
        here.concerned.set(true);
        (result, Some(Write { event_loop: here.event_loop, request }))
    })
}
