//! Stopping one request on the event loop.
//!
//! A suspended task is cancelled. A task that blocks the loop cannot be: half a second later, if the loop is
//! still inside of it, the exception is raised in the loop's thread, under the same guard as for WSGI (see
//! [`crate::interrupt`]).

use std::sync::MutexGuard;
use std::time::Duration;

use pyo3::prelude::*;
use wire::ControlFromWorker;

use super::exchange::{Exchange, State};
use super::server::Shared;
use crate::gate;
use crate::interrupt::{RequestTimeout, set_exception};
use crate::link::lock;
use crate::steward::Interrupt;

/// How long a cancelled task may keep the loop before the exception is raised in it.
const PATIENCE: Duration = Duration::from_millis(500);

/// A request whose task was cancelled: its exchange, its task, and where it was.
type Cancelled = (Py<Exchange>, Py<PyAny>, String);

/// Interrupts requests of an ASGI worker.
pub(crate) struct TaskInterrupt {
    pub(crate) shared: &'static Shared,
    pub(crate) current_task: Py<PyAny>,
    pub(crate) stack_of_task: Py<PyAny>,
}

impl TaskInterrupt {
    fn find(&self, py: Python<'_>, id: u64) -> Option<Py<Exchange>> {
        let running = lock(&self.shared.exchanges).get(&id).map(|exchange| exchange.clone_ref(py));
        running.or_else(|| {
            let starting = lock(&self.shared.starting);
            starting
                .as_ref()
                .filter(|exchange| exchange.get().id() == id)
                .map(|exchange| exchange.clone_ref(py))
        })
    }

    /// The task the loop is inside of.
    fn current<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let task = self.current_task.bind(py).call1((&self.shared.event_loop,))?;
        Ok(Some(task).filter(|task| !task.is_none()))
    }

    /// Cancel the task; returns the exchange, the task and the stack.
    fn cancel(&self, py: Python<'_>, id: u64) -> PyResult<Option<Cancelled>> {
        let Some(exchange) = self.find(py, id) else {
            return Ok(None);
        };
        let current = self.current(py)?;
        let task = state_of(py, exchange.get()).task.as_ref().map(|task| task.bind(py).clone());
        // In its first step the task is only known to asyncio.
        let Some(task) = task.or_else(|| current.clone()) else {
            return Ok(None);
        };
        let blocked = current.is_some_and(|current| current.is(&task));
        let text = self.stack_of_task.bind(py).call1((&task, blocked, self.shared.thread))?.extract()?;
        {
            let mut state = state_of(py, exchange.get());
            if state.finished {
                return Ok(None);
            }
            state.overdue = true;
        }
        let cancel = task.getattr("cancel")?;
        self.shared.event_loop.bind(py).call_method1("call_soon_threadsafe", (cancel,))?;
        Ok(Some((exchange, task.unbind(), text)))
    }

    /// Raise in the loop's thread if it is still inside the task.
    fn raise(&self, py: Python<'_>, exchange: &Exchange, task: &Py<PyAny>) -> PyResult<()> {
        let class = py.get_type::<RequestTimeout>();
        if !self.current(py)?.is_some_and(|current| current.is(task)) {
            return Ok(());
        }
        let mut state = state_of(py, exchange);
        if !state.finished {
            state.raised = true;
            set_exception(self.shared.thread, Some(class.as_any()));
        }
        Ok(())
    }
}

/// The loop's thread makes Python objects while it holds this, and up to CPython 3.11 that may collect garbage, which may give the
/// interpreter lock away: so it is never waited for with that lock held, nor the other way round.
fn state_of<'a>(py: Python<'_>, exchange: &'a Exchange) -> MutexGuard<'a, State> {
    loop {
        if let Some(state) = exchange.try_state() {
            return state;
        }
        py.detach(|| std::thread::sleep(Duration::from_millis(1)));
    }
}

impl Interrupt for TaskInterrupt {
    fn interrupt(&self, id: u64) {
        let complain = |error: PyErr| crate::log::line(&format!("cannot interrupt request {id}: {error}"));
        let cancelled = gate::attach(|py| {
            self.cancel(py, id).unwrap_or_else(|error| {
                complain(error);
                None
            })
        });
        let Some(Some((exchange, task, text))) = cancelled else {
            return;
        };
        self.shared.link.tell(&ControlFromWorker::Stack { id, text: &text });
        std::thread::sleep(PATIENCE);
        gate::attach(|py| self.raise(py, exchange.get(), &task).unwrap_or_else(complain));
    }
}
