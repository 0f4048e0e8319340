//! What an operator wants to see inside of a worker: the stacks of its threads, or which lines allocate memory.
//!
//! Each order runs on a thread of its own, which ends with the answer. Without an order nothing of this costs anything.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use wire::{ControlFromWorker, Look};

use super::Observer;
use crate::gate;
use crate::link::Link;

/// Longest time that memory is traced.
const LONGEST: Duration = Duration::from_secs(60);

/// How often it is looked whether the tracing itself needs too much memory.
const STEP: Duration = Duration::from_millis(500);

impl Observer {
    /// Carry out an order; the answer goes over the control link.
    pub(crate) fn look(self: &Arc<Self>, link: &'static Link, id: u64, what: Look) {
        let tell = move |seen: Result<String, String>| {
            let (done, text) = seen.map_or_else(|reason| (false, reason), |text| (true, text));
            link.tell(&ControlFromWorker::Seen { id, done, text: super::cut(&text, super::BLOCK) });
        };
        let traces = matches!(what, Look::Memory { .. });
        // Here, and not on the thread: of two orders the first is carried out.
        if traces && self.tracing.swap(true, Ordering::AcqRel) {
            return tell(Err("its memory is being traced already".to_owned()));
        }
        let observer = Arc::clone(self);
        let work = move || {
            let seen = observer.seen(what);
            if traces {
                observer.tracing.store(false, Ordering::Release);
            }
            tell(seen);
        };
        if let Err(error) = std::thread::Builder::new().name("look".to_owned()).spawn(work) {
            if traces {
                self.tracing.store(false, Ordering::Release);
            }
            tell(Err(format!("it cannot start a thread: {error}")));
        }
    }

    fn seen(&self, what: Look) -> Result<String, String> {
        match what {
            Look::Stacks => self.ask("stacks"),
            Look::Memory { seconds } => self.trace(Duration::from_secs(seconds.into()).min(LONGEST)),
        }
    }

    fn trace(&self, time: Duration) -> Result<String, String> {
        self.ask::<bool>("trace_begin")?;
        let end = Instant::now() + time;
        // Whatever happens: the tracing must end.
        while Instant::now() < end && self.ask("trace_has_room") == Ok(true) {
            std::thread::sleep(STEP.min(end.saturating_duration_since(Instant::now())));
        }
        self.ask("trace_end")
    }

    fn ask<T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr>>(&self, function: &str) -> Result<T, String> {
        let answer = gate::attach(|py| {
            let answer = self.python.bind(py).call_method0(function);
            answer.and_then(|answer| answer.extract()).map_err(|error| crate::failure::one_line(py, &error))
        });
        answer.unwrap_or_else(|| Err("it is ending".to_owned()))
    }
}
