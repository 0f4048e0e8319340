//! Stopping one request on the event loop.
//!
//! A suspended task is cancelled. A task that blocks the loop cannot be: half a second later, if the loop is
//! still inside of it, the exception is raised in the loop's thread, under the same guard as for WSGI (see
//! [`crate::interrupt`]).

use std::time::Duration;

use pyo3::prelude::*;
use wire::ControlFromWorker;

use super::exchange::Exchange;
use super::server::Shared;
use crate::gate;
use crate::interrupt::{RequestTimeout, set_exception};
use crate::link::lock;
use crate::steward::Interrupt;

/// How long a cancelled task may keep the loop before the exception is raised in it.
const PATIENCE: Duration = Duration::from_millis(500);

/// A request that has been taken from the queue is looked for so often until its task is there.
const AGAIN: Duration = Duration::from_millis(1);

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

    /// True if [`TaskInterrupt::find`] would find it. Needs no interpreter: many may wait behind a task that keeps it busy.
    fn knows(&self, id: u64) -> bool {
        let starting =
            || lock(&self.shared.starting).as_ref().is_some_and(|exchange| exchange.get().id() == id);
        lock(&self.shared.exchanges).contains_key(&id) || starting()
    }

    /// The task the loop is inside of.
    fn current<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let task = self.current_task.bind(py).call1((&self.shared.event_loop,))?;
        Ok(Some(task).filter(|task| !task.is_none()))
    }

    /// Cancel the task; returns the exchange, the task and the stack. `None`: the request has no task yet, or has ended.
    fn cancel(&self, py: Python<'_>, id: u64) -> PyResult<Option<Cancelled>> {
        let Some(exchange) = self.find(py, id) else {
            return Ok(None);
        };
        let current = self.current(py)?;
        let task = exchange.get().state().task.as_ref().map(|task| task.bind(py).clone());
        // In its first step the task is only known to asyncio.
        let Some(task) = task.or_else(|| current.clone()) else {
            return Ok(None);
        };
        let blocked = current.is_some_and(|current| current.is(&task));
        let text = self.stack_of_task.bind(py).call1((&task, blocked, self.shared.thread))?.extract()?;
        {
            let mut state = exchange.get().state();
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
        let mut state = exchange.state();
        if !state.finished {
            state.raised = true;
            set_exception(self.shared.thread, Some(class.as_any()));
        }
        Ok(())
    }
}

impl Interrupt for TaskInterrupt {
    fn interrupt(&self, id: u64) {
        let complain = |error: PyErr| crate::log::line(&format!("cannot interrupt request {id}: {error}"));
        let (exchange, task, text) = loop {
            if self.knows(id) {
                match gate::attach(|py| self.cancel(py, id)) {
                    Some(Ok(Some(cancelled))) => break cancelled,
                    Some(Ok(None)) => {}
                    Some(Err(error)) => return complain(error),
                    None => return,
                }
            }
            // While a task is made, and after the first step of one, the loop may run other code.
            if !self.shared.link.inbox().mail.contains_key(&id) {
                return;
            }
            std::thread::sleep(AGAIN);
        };
        self.shared.link.tell(&ControlFromWorker::Stack { id, text: &text });
        std::thread::sleep(PATIENCE);
        gate::attach(|py| self.raise(py, exchange.get(), &task).unwrap_or_else(complain));
    }
}
