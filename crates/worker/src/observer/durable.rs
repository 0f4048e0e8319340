//! How long requests wait until the disk has written.
//!
//! Two sources, which never count the same call. `os.fsync` and `os.fdatasync` are measured as they are called: their
//! replacements do nothing but call the original and look at the clock. What bypasses them (a database library in C, a
//! write that the kernel holds back) is seen by looking at the threads that run requests every few milliseconds: which share of
//! the looks found one waiting is the share of its time.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};
use wire::{ControlFromWorker, Durable};

use super::looker::Found;
use super::serving;
use crate::link::{Link, lock};

/// How often it is decided whether it was too much.
const WINDOW: Duration = Duration::from_secs(2);

/// A call that takes so long is slow; shorter ones have no place looked up unless they are long for a request.
const SLOW: Duration = Duration::from_millis(5);
const WORTH_A_LOOK: Duration = Duration::from_millis(1);

/// Durations that are kept for the percentile.
const SAMPLES: usize = 512;

/// Looks at threads, of which at least so many must have found one waiting.
const HITS: u32 = 5;

/// Percent of the requests' time.
const MUCH: f64 = 20.0;
const SOME: f64 = 5.0;

/// What was measured since the window began.
#[derive(Debug, Default)]
struct Ledger {
    event_loop: bool,
    count: u32,
    slow: u32,
    total: Duration,
    /// Of the requests concerned.
    requests: Duration,
    samples: Vec<Duration>,
    /// The longest one whose place is known.
    longest: Duration,
    found: Found,
}

static LEDGER: Mutex<Option<Ledger>> = Mutex::new(None);

/// Time of a request that has written durably.
pub(super) fn count_time(time: Duration) {
    if let Some(ledger) = &mut *lock(&LEDGER) {
        ledger.requests += time;
    }
}

/// The originals, and the observer's Python side.
static FSYNC: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static FDATASYNC: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static PYTHON: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// Put the replacements in their places. To be called before the application is imported.
pub(super) fn replace(py: Python<'_>, python: &Bound<'_, PyModule>) -> PyResult<()> {
    // The module that `os` takes them from; functions have it as their own, and pickle looks there.
    let posix = py.import("posix")?;
    let os = py.import("os")?;
    let _ = PYTHON.set(py, python.clone().unbind());
    let replacements =
        [(&FSYNC, wrap_pyfunction!(fsync, &posix)?), (&FDATASYNC, wrap_pyfunction!(fdatasync, &posix)?)];
    for (original, replacement) in replacements {
        let name: String = replacement.getattr("__name__")?.extract()?;
        // Set once: a second interpreter in this process would have its own module.
        if original.set(py, os.getattr(name.as_str())?.unbind()).is_ok() {
            posix.setattr(name.as_str(), &replacement)?;
            os.setattr(name.as_str(), &replacement)?;
        }
    }
    Ok(())
}

/// Force write of fd to disk.
#[pyfunction]
#[pyo3(signature = (*args, **kwargs), text_signature = "(fd)")]
fn fsync(
    py: Python<'_>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    timed(py, &FSYNC, args, kwargs)
}

/// Force write of fd to disk without forcing update of metadata.
#[pyfunction]
#[pyo3(signature = (*args, **kwargs), text_signature = "(fd)")]
fn fdatasync(
    py: Python<'_>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    timed(py, &FDATASYNC, args, kwargs)
}

fn timed(
    py: Python<'_>,
    original: &PyOnceLock<Py<PyAny>>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let original = original.get(py).expect("it was set before this function was put in its place").bind(py);
    let began = Instant::now();
    let (result, write) = serving::measured(|| original.call(args, kwargs));
    if let Some(write) = write {
        note(py, began.elapsed(), &write);
    }
    result.map(Bound::unbind)
}

fn note(py: Python<'_>, took: Duration, write: &serving::Write) {
    let worth_a_look = {
        let mut ledger = lock(&LEDGER);
        let ledger = ledger.get_or_insert_default();
        ledger.event_loop = write.event_loop;
        ledger.count += 1;
        ledger.slow += u32::from(took >= SLOW);
        ledger.total += took;
        ledger.requests += write.request;
        if ledger.samples.len() < SAMPLES {
            ledger.samples.push(took);
        }
        // So that a window looks a few times only.
        took >= WORTH_A_LOOK && took >= ledger.longest * 2
    };
    if !worth_a_look {
        return;
    }
    let python = PYTHON.get(py).expect("it was set before").bind(py);
    let found =
        python.call_method0("place_here").and_then(|found| found.extract::<super::looker::Quadruple>());
    if let (Ok(found), Some(ledger)) = (found, &mut *lock(&LEDGER)) {
        (ledger.longest, ledger.found) = (took, found.into());
    }
}

/// Looks at the threads that run requests, and decides at the end of each window.
pub(super) struct Disk {
    link: &'static Link,
    began: Instant,
    /// Looks at a thread that ran a request, and those that found it waiting.
    looks: u32,
    hits: u32,
    event_loop: bool,
    found: Option<Found>,
}

impl Disk {
    pub(super) fn new(link: &'static Link, event_loop: bool, now: Instant) -> Self {
        Disk { link, began: now, looks: 0, hits: 0, event_loop, found: None }
    }

    /// One look at a thread that runs a request. True if it would be good to know where it is: it has waited for the disk
    /// before.
    pub(super) fn look(&mut self, mark: &serving::Mark) -> bool {
        self.looks += 1;
        if mark.measured.load(std::sync::atomic::Ordering::Relaxed) || !mark.native.waits_for_disk() {
            return false;
        }
        self.hits += 1;
        self.hits > 1 && self.found.is_none()
    }

    pub(super) fn found(&mut self, found: Found) {
        self.found = Some(found);
    }

    /// Tell, at the end of a window, if it was too much.
    pub(super) fn decide(&mut self, now: Instant) {
        if now.duration_since(self.began) >= WINDOW {
            self.conclude(now);
        }
    }

    /// End the window now: nothing happens any more.
    pub(super) fn conclude(&mut self, now: Instant) {
        let time = now.duration_since(self.began);
        if let Some(ledger) = lock(&LEDGER).take() {
            self.measured(ledger, time);
        }
        let percent = f64::from(self.hits) / f64::from(self.looks.max(1)) * 100.0;
        if self.hits >= HITS && percent >= MUCH {
            let found = self.found.take().unwrap_or_default();
            self.tell((self.event_loop, self.hits), Duration::ZERO, percent, &found);
        }
        *self = Disk::new(self.link, self.event_loop, now);
    }

    fn measured(&self, mut ledger: Ledger, window: Duration) {
        let time = if ledger.event_loop { window } else { ledger.requests };
        let percent = (ledger.total.as_secs_f64() / time.as_secs_f64().max(1e-9) * 100.0).min(100.0);
        let mean = ledger.total / ledger.count.max(1);
        let slow_ones = ledger.slow >= 3 && percent >= SOME;
        let many = ledger.count >= 5 && mean >= WORTH_A_LOOK && ledger.total >= Duration::from_millis(50);
        let long = ledger.total >= Duration::from_millis(500);
        if !slow_ones && !(percent >= MUCH && (many || long)) {
            return;
        }
        ledger.samples.sort_unstable();
        let typical = ledger.samples.get(ledger.samples.len() * 95 / 100).copied().unwrap_or_default();
        self.tell((ledger.event_loop, ledger.count), typical, percent, &ledger.found);
    }

    fn tell(&self, (event_loop, count): (bool, u32), typical: Duration, percent: f64, found: &Found) {
        self.link.tell(&ControlFromWorker::Durable(Durable {
            event_loop,
            count,
            microseconds: u32::try_from(typical.as_micros()).unwrap_or(u32::MAX),
            // Between 0 and 100.
            percent: percent as u8,
            place: super::cut(&found.place, super::LINE),
            call: super::cut(&found.call, super::LINE),
            stack: super::cut(&found.stack, super::BLOCK),
        }));
    }
}
