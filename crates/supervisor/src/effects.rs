//! What the supervisor can do to one worker: admit, drain, kill, move to another state.
//!
//! Each of these changes the state, sets the deadline of the new state and says so in an action, so that the three
//! can never disagree. Whether and when is decided in `supervisor.rs` and `plan.rs`.

use std::time::Duration;

use crate::action::{Action, DrainReason, KillReason};
use crate::event::WorkerId;
use crate::lifecycle::Input;
use crate::supervisor::Supervisor;
use crate::worker::{Worker, WorkerState};

impl Supervisor {
    pub(crate) fn admit(&mut self, now: Duration, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.admitted_at = Some(now);
            self.first_boot_over = true;
            self.actions.push(Action::Admit { worker: id });
        }
    }

    pub(crate) fn drain(&mut self, now: Duration, id: WorkerId, why: DrainReason) {
        if self.advance(now, id, Input::Drain).is_some()
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.deadline = Some(now.saturating_add(self.settings.graceful_timeout));
            self.actions.push(Action::Drain { worker: id, why });
        }
    }

    pub(crate) fn kill(&mut self, now: Duration, id: WorkerId, why: KillReason) {
        if self.advance(now, id, Input::Kill).is_some() {
            self.condemn(now, id, why);
        }
    }

    /// Send the signal to a worker that is `Dying`, or remember to do so when it has a pid.
    pub(crate) fn condemn(&mut self, now: Duration, id: WorkerId, why: KillReason) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.condemned = Some(why);
        if worker.pid.is_some() {
            worker.deadline = Some(now.saturating_add(self.settings.kill_repeat));
            self.actions.push(Action::Kill { worker: id, why });
        } else {
            worker.deadline = None;
        }
    }

    /// Move a worker on, and return what it was before; `None` if there is no such worker or the input means nothing to it.
    pub(crate) fn advance(&mut self, now: Duration, id: WorkerId, input: Input) -> Option<Worker> {
        let worker = self.workers.get_mut(&id)?;
        let next = worker.state.after(input)?;
        let before = worker.clone();
        if next != worker.state {
            worker.state = next;
            worker.since = now;
        }
        if next == WorkerState::Gone {
            self.workers.remove(&id);
        }
        Some(before)
    }

    /// The workers that match, oldest first, and whether each was ever admitted.
    pub(crate) fn ids(&self, matches: impl Fn(&Worker) -> bool) -> Vec<(WorkerId, bool)> {
        let matching = self.workers.iter().filter(|(_, worker)| matches(worker));
        matching.map(|(id, worker)| (*id, worker.admitted_at.is_some())).collect()
    }
}
