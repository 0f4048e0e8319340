//! What a request takes of its thread: CPU time, time in the run queue, time waiting for the interpreter lock.
//!
//! Every thread that runs requests has a meter of its own, which knows what the thread is doing for whom. Nothing is shared
//! and nothing is locked. Reading the kernel's figures costs a system call, which is much for a request of 20 us, so:
//!
//! - the CPU clock is read when the last reading is older than [`CPU_FRESH`]; in between, a thread that has not gone to
//!   sleep in our own code is taken to have been running. So a figure may be off by that much, and a sum is not;
//! - the run queue (`/proc/thread-self/schedstat`) is looked at when the last look is older than [`RUN_QUEUE_FRESH`], and
//!   only for what took at least as long;
//! - waiting for the interpreter lock is timed where this extension itself asks for it back. Where the application's own
//!   calls do that inside a request, it is not seen: the figure is a lower bound.
//!
//! In an event loop, what is measured are the steps of the request's own task (see [`crate::asgi`]): neither tasks that it
//! starts nor threads that it sends work to.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use wire::Spent;

/// A reading of the CPU clock is good for so long: at 0.7 us each, they cost 0.3 % of a busy thread at the most.
const CPU_FRESH: Duration = Duration::from_micros(250);

/// The same for the run queue, at 1.2 us each.
const RUN_QUEUE_FRESH: Duration = Duration::from_millis(2);

thread_local!(static METER: RefCell<Meter> = RefCell::new(Meter::new()));

/// What some work took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) cpu: Duration,
    /// `None`: not known, or too short to tell.
    pub(crate) run_queue: Option<Duration>,
}

/// One thread's figures.
#[derive(Debug)]
struct Meter {
    cpu: CpuClock,
    run_queue: RunQueue,
    /// Time waited for the interpreter lock before the request that comes next.
    attached_after: Duration,
    running: Option<Running>,
}

/// What the thread is doing now.
#[derive(Debug, Clone, Copy)]
struct Running {
    id: u64,
    /// With the wait for the interpreter lock that came before.
    began: Instant,
    turned: Instant,
    cpu: Duration,
    run_queue: Option<Duration>,
    gil: Duration,
}

/// CPU time of the thread, with a reading that may be a little old.
#[derive(Debug)]
struct CpuClock {
    read_at: Instant,
    /// `value` is what the clock would show then, if the thread ran since `read_at`.
    at: Instant,
    value: Duration,
}

#[derive(Debug)]
struct RunQueue {
    /// `None`: this machine does not tell.
    file: Option<File>,
    read_at: Instant,
    value: Option<Duration>,
}

impl Meter {
    fn new() -> Self {
        let now = Instant::now();
        let file = File::open("/proc/thread-self/schedstat").ok();
        let run_queue = RunQueue { value: file.as_ref().and_then(read_run_queue), file, read_at: now };
        Meter { cpu: CpuClock::new(now), run_queue, attached_after: Duration::ZERO, running: None }
    }

    fn total(&mut self, now: Instant) -> Option<(Running, Total)> {
        let running = self.running?;
        let cpu = self.cpu.now(now).saturating_sub(running.cpu);
        let run_queue = match running.run_queue {
            Some(before) if now.saturating_duration_since(running.began) >= RUN_QUEUE_FRESH => {
                self.run_queue.now(now, Duration::ZERO).map(|after| after.saturating_sub(before))
            }
            _ => None,
        };
        Some((running, Total { cpu, run_queue }))
    }
}

impl CpuClock {
    fn new(now: Instant) -> Self {
        CpuClock { read_at: now, at: now, value: thread_cpu_time() }
    }

    fn now(&mut self, now: Instant) -> Duration {
        if now.saturating_duration_since(self.read_at) > CPU_FRESH {
            *self = CpuClock::new(now);
        } else {
            self.value += now.saturating_duration_since(self.at);
            self.at = now;
        }
        self.value
    }
}

impl RunQueue {
    fn now(&mut self, now: Instant, fresh: Duration) -> Option<Duration> {
        if now.saturating_duration_since(self.read_at) > fresh {
            self.value = self.file.as_ref().and_then(read_run_queue);
            self.read_at = now;
        }
        self.value
    }
}

fn thread_cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The second field: nanoseconds spent waiting on a run queue (Documentation/scheduler/sched-stats.rst).
fn read_run_queue(file: &File) -> Option<Duration> {
    let mut bytes = [0; 64];
    let count = file.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(&bytes[..count]).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// This thread did nothing from when it was last seen until `now`: it slept in our own code.
pub(crate) fn slept_until(now: Instant) {
    METER.with_borrow_mut(|meter| meter.cpu.at = now);
}

/// When this thread last read the clock here: as good as now after [`slept_until`], [`end`] and [`end_step`].
pub(crate) fn last_reading() -> Instant {
    METER.with_borrow(|meter| meter.cpu.at)
}

/// This thread turns to request `id`. `now`: `None` when it has just ended something else. Returns since when that counts.
pub(crate) fn begin(id: u64, now: Option<Instant>) -> Instant {
    METER.with_borrow_mut(|meter| {
        let now = now.unwrap_or(meter.cpu.at);
        let gil = std::mem::take(&mut meter.attached_after);
        let began = now.checked_sub(gil).unwrap_or(now);
        let (cpu, run_queue) = (meter.cpu.now(now), meter.run_queue.now(now, RUN_QUEUE_FRESH));
        meter.running = Some(Running { id, began, turned: now, cpu, run_queue, gil });
        began
    })
}

/// It turns away from it; how long that was, until somebody last asked what it took.
pub(crate) fn end() -> Duration {
    METER.with_borrow_mut(|meter| {
        let turned = meter.running.take().map(|running| running.turned);
        turned.map_or(Duration::ZERO, |turned| meter.cpu.at.saturating_duration_since(turned))
    })
}

/// The same after a step of a task: what the step took.
pub(crate) fn end_step() -> Total {
    METER.with_borrow_mut(|meter| {
        let total = meter.total(Instant::now());
        meter.running = None;
        total.map_or(Total::default(), |(_, total)| total)
    })
}

/// True while this thread is between [`begin`] and [`end`] of that request.
pub(crate) fn runs(id: u64) -> bool {
    METER.with_borrow(|meter| meter.running.is_some_and(|running| running.id == id))
}

/// What request `id` has taken until now, for a thread that only runs one at a time. `None`: this thread does not run it.
pub(crate) fn spent(id: u64) -> Option<Spent> {
    METER.with_borrow_mut(|meter| {
        meter.running.filter(|running| running.id == id)?;
        let now = Instant::now();
        let (running, total) = meter.total(now)?;
        let wall = now.saturating_duration_since(running.began);
        Some(total.spent(wall, Some(running.gil)))
    })
}

/// The same for a task of which this thread runs a step at a time; `before` and `since` tell of it until that step.
pub(crate) fn spent_in_steps(id: u64, before: Total, since: Instant) -> Spent {
    METER.with_borrow_mut(|meter| {
        let now = Instant::now();
        let step = meter.running.filter(|running| running.id == id).and_then(|_| meter.total(now));
        let total = step.map_or(before, |(_, step)| before.and(step));
        total.spent(now.saturating_duration_since(since), None)
    })
}

impl Total {
    pub(crate) fn and(self, more: Total) -> Total {
        let run_queue = match (self.run_queue, more.run_queue) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        Total { cpu: self.cpu + more.cpu, run_queue }
    }

    fn spent(self, wall: Duration, gil: Option<Duration>) -> Spent {
        let micros = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        Spent {
            wall: micros(wall),
            cpu: micros(self.cpu.min(wall)),
            run_queue: self.run_queue.map(micros),
            gil: gil.map(micros),
        }
    }
}

/// Run `call` without the interpreter lock, and note how long it takes to get it back.
pub(crate) fn detached<T: Send>(py: Python<'_>, call: impl Send + FnOnce() -> T) -> T {
    let (value, ready) = py.detach(|| (call(), Instant::now()));
    METER.with_borrow_mut(|meter| {
        let now = Instant::now();
        let waited = now.saturating_duration_since(ready);
        // Whatever it was, it was mostly sleep.
        meter.cpu.at = now;
        match &mut meter.running {
            Some(running) => running.gil += waited,
            None => meter.attached_after += waited,
        }
    });
    value
}
