//! The heartbeat of an event loop: a count that its thread raises, and that the observer looks at.
//!
//! It costs the loop one addition and one load per batch. The observer sleeps while nothing happens and is woken by the
//! next beat.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Only counted up by the loop's thread. (Several threads may use one to show that anything happens: they may lose beats.)
#[derive(Debug)]
pub(crate) struct Pulse {
    origin: Instant,
    /// When the latest step of our own began, in nanoseconds since the origin.
    began: AtomicU64,
    /// Everything that shows that the loop goes on.
    beats: AtomicU64,
    /// Of these, how many were only because someone woke it.
    woken: AtomicU64,
    /// The loop is inside of our code, and perhaps in the application's within that.
    inside: AtomicBool,
    asleep: AtomicBool,
    observer: OnceLock<Thread>,
}

/// What the observer sees of a pulse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) count: u64,
    /// Without those that only answer a wake-up.
    pub(super) own: u64,
}

impl Pulse {
    pub(crate) fn new(origin: Instant) -> Self {
        Pulse {
            origin,
            began: AtomicU64::new(0),
            beats: AtomicU64::new(0),
            woken: AtomicU64::new(0),
            inside: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            observer: OnceLock::new(),
        }
    }

    /// The loop goes on. `inside`: since then it runs what came for it (who beats has read the clock already).
    pub(crate) fn beat(&self, inside: Option<Instant>) {
        if let Some(since) = inside {
            let since = since.saturating_duration_since(self.origin).as_nanos();
            self.began.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.inside.store(inside.is_some(), Ordering::Relaxed);
        raise(&self.beats);
        if self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// It goes on because it was woken.
    pub(crate) fn beat_woken(&self) {
        self.inside.store(false, Ordering::Relaxed);
        raise(&self.woken);
        raise(&self.beats);
    }

    /// There may be something to observe. Any thread may say so.
    pub(crate) fn wake(&self) {
        if self.asleep.swap(false, Ordering::Relaxed)
            && let Some(observer) = self.observer.get()
        {
            observer.unpark();
        }
    }

    pub(super) fn now(&self) -> Beat {
        let count = self.beats.load(Ordering::Relaxed);
        Beat { count, own: count.wrapping_sub(self.woken.load(Ordering::Relaxed)) }
    }

    /// Since when it is inside of our code.
    pub(super) fn inside_since(&self) -> Option<Instant> {
        let since = Duration::from_nanos(self.began.load(Ordering::Relaxed));
        self.inside.load(Ordering::Relaxed).then(|| self.origin + since)
    }

    /// The calling thread observes.
    pub(super) fn observed_here(&self) {
        // The only place that sets it.
        let _ = self.observer.set(std::thread::current());
    }

    /// Until [`Pulse::wake`]. A beat in this very moment may be missed: then the next one wakes.
    pub(super) fn sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        while self.asleep.load(Ordering::Relaxed) {
            std::thread::park();
        }
    }
}

/// There is one writer, so no locked instruction is needed.
fn raise(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}
