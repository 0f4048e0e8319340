//! What goes wrong on the way: clients that give up and try again, times that run out, workers that die and come back.

use super::engine::Engine;
use super::outcome::Failure;
use super::state::{NONE, Place};
use super::timers::Timer;
use super::workers::{DEAD, List};

/// Retries that clients may have saved from good times.
pub(super) const MOST_SAVED: f64 = 10.0;
/// A longer pause between two attempts is not doubled again.
const MOST_DOUBLINGS: u8 = 6;

impl Engine<'_> {
    /// Somebody's time is up: a client's patience, the host's deadline, or the longest wait in line.
    pub(super) fn time_is_up(&mut self) {
        if self.patience.next() <= self.now {
            match self.patience.take(&self.requests) {
                Some(id) => self.client_gives_up(id),
                None => self.outcome.events -= 1,
            }
        } else if self.deadlines.next() <= self.now {
            match self.deadlines.take(&self.requests) {
                Some(id) => self.deadline_passed(id),
                None => self.outcome.events -= 1,
            }
        } else {
            if let Some(id) = self.line.first(&self.requests) {
                self.leave_line();
                self.attempt_failed(id, Failure::WaitedTooLong);
            }
            self.line_changed();
        }
    }

    /// The request stays in the line's list until it is met there, and counts no more.
    fn leave_line(&mut self) {
        self.line.length -= 1;
        if self.line.length == 0 {
            self.line_due = f64::INFINITY;
        }
    }

    fn client_gives_up(&mut self, id: u32) {
        let request = self.requests.get(id);
        if request.left_alone {
            return;
        }
        let (planned, class, sample) = (request.planned, request.class, request.sample);
        let (attempt, place) = (request.attempt, request.place);
        let in_line = place == Place::Queued && !self.lanes.in_turns();
        if in_line && self.scenario.clients.hang_up {
            self.leave_line();
            self.requests.remove(id);
            self.line_changed();
        } else {
            self.requests.get_mut(id).left_alone = true;
        }
        self.try_again(planned, class, sample, attempt, Failure::TimedOut);
    }

    /// The host answers in the application's place; the work ends where it can be interrupted.
    fn deadline_passed(&mut self, id: u32) {
        let request = self.requests.get_mut(id);
        let again = (!request.left_alone).then_some((
            request.planned,
            request.class,
            request.sample,
            request.attempt,
        ));
        request.left_alone = true;
        (request.waits, request.fsyncs) = (0, 0);
        if request.place == Place::Queued && !self.lanes.in_turns() {
            self.leave_line();
            self.requests.remove(id);
            self.line_changed();
        }
        if let Some((planned, class, sample, attempt)) = again {
            self.try_again(planned, class, sample, attempt, Failure::Deadline);
        }
    }

    /// The host refuses an attempt that is nowhere any more.
    pub(super) fn attempt_failed(&mut self, id: u32, failure: Failure) {
        let request = self.requests.get(id);
        let (planned, class, sample) = (request.planned, request.class, request.sample);
        let (attempt, left_alone) = (request.attempt, request.left_alone);
        self.requests.remove(id);
        if !left_alone {
            self.try_again(planned, class, sample, attempt, failure);
        }
    }

    fn try_again(&mut self, planned: f64, class: u16, sample: u16, attempt: u8, failure: Failure) {
        let Some(retries) = self.scenario.clients.retries else { return self.give_up(planned, failure) };
        let allowed = attempt < retries.most && (retries.budget.is_none() || self.budget >= 1.0);
        let added = if allowed { self.requests.add(self.now, planned, class, sample) } else { None };
        let Some(id) = added else { return self.give_up(planned, failure) };
        if retries.budget.is_some() {
            self.budget -= 1.0;
        }
        let pause = retries.pause
            * f64::from(1_u32 << attempt.min(MOST_DOUBLINGS))
            * self.client_random.exponential();
        let time = self.now + pause;
        let request = self.requests.get_mut(id);
        request.attempt = attempt + 1;
        request.place = Place::Paused;
        let epoch = request.run();
        self.timers.push(Timer { time, subject: id, epoch });
        if self.counts(planned) {
            self.outcome.retries += 1;
        }
    }

    pub(super) fn give_up(&mut self, planned: f64, failure: Failure) {
        if self.counts(planned) {
            self.outcome.failed[failure as usize] += 1;
        }
        self.come_again();
    }

    /// More memory than is allowed kills the fullest worker.
    pub(super) fn watch_memory(&mut self) {
        let profile = &self.scenario.profile;
        let used = self.lanes.alive() as u64 * profile.worker_bytes + self.in_slots * profile.request_bytes;
        self.outcome.most_bytes = self.outcome.most_bytes.max(used);
        if self.scenario.memory.limit_bytes.is_some_and(|limit| used > limit) {
            self.kill_fullest();
        }
    }

    pub(super) fn kill_fullest(&mut self) {
        let alive = (0..self.lanes.processes()).filter(|process| self.lanes.is_alive(*process));
        let fullest = alive.max_by_key(|process| self.lanes.load_of(*process));
        if let Some(process) = fullest {
            self.kill(process);
        }
    }

    fn kill(&mut self, process: usize) {
        self.slots_changed();
        self.outcome.killed += 1;
        let range = self.lanes.of(process);
        for index in range.clone() {
            self.processor.abort(self.now, index);
            let load = std::mem::replace(&mut self.lanes.loads[index], DEAD);
            self.in_slots -= u64::from(load);
            self.lanes.free -= usize::from(self.lanes.slots - load);
            let lane = &mut self.lanes.lanes[index];
            (lane.holder, lane.ready, lane.blocked) = (NONE, List::EMPTY, false);
            lane.life += 1;
        }
        for id in self.requests.ids() {
            let request = self.requests.get(id);
            let inside = matches!(request.place, Place::Inside | Place::Waiting | Place::Writing);
            if inside && range.contains(&usize::from(request.lane)) {
                self.worker_died(id);
            }
        }
        let epoch = self.lanes.lanes[range.start].life;
        let time = self.now + self.scenario.profile.cold_start_ms / 1e3;
        self.timers.push(Timer { time, subject: Timer::RESTARTED + process as u32, epoch });
        self.line_changed();
    }

    /// Run again once, before all others.
    fn worker_died(&mut self, id: u32) {
        let request = self.requests.get_mut(id);
        if request.left_alone {
            self.requests.remove(id);
        } else if request.replayed || self.lanes.in_turns() {
            self.attempt_failed(id, Failure::WorkerDied);
        } else {
            request.replayed = true;
            self.line.push(&mut self.requests, id, true);
        }
    }

    pub(super) fn restarted(&mut self, process: usize, life: u32) {
        let range = self.lanes.of(process);
        if self.lanes.lanes[range.start].life != life {
            return;
        }
        for index in range {
            self.lanes.loads[index] = 0;
            self.lanes.free += usize::from(self.lanes.slots);
            if self.lanes.in_turns() {
                self.next_in_backlog(index);
            }
        }
        self.next_in_line();
    }
}
