//! A request's way: host, slot, parts of work with waits between them, answer.

use super::engine::Engine;
use super::outcome::Failure;
use super::scenario::Discipline;
use super::state::{NONE, Place};
use super::timers::Timer;

impl Engine<'_> {
    /// An attempt reaches the host.
    #[inline]
    pub(super) fn send(&mut self, id: u32) {
        let now = self.now;
        let request = self.requests.get_mut(id);
        request.sent = now;
        request.place = Place::Queued;
        if request.planned >= self.scenario.length.warm_up {
            self.outcome.attempts += 1;
        }
        self.outcome.window(now).1 += 1;
        self.patience.set(&self.requests, now, id);
        self.deadlines.set(&self.requests, now, id);
        if self.lanes.in_turns() {
            return self.deal(id);
        }
        if self.line.length == 0 {
            if let Some(lane) = self.lanes.choose() {
                return self.begin(id, lane);
            }
            self.line.empty_at = now;
        }
        if self.line.length >= self.scenario.queue.limit {
            return self.attempt_failed(id, Failure::Refused);
        }
        self.line.push(&mut self.requests, id, false);
        if self.line.length == 1 {
            self.line_changed();
        }
    }

    /// To the next worker in turn, whatever it has to do.
    fn deal(&mut self, id: u32) {
        let lane = self.lanes.deal();
        self.requests.get_mut(id).lane = lane as u16;
        if self.lanes.has_room(lane) {
            return self.begin(id, lane);
        }
        if self.line.length >= self.scenario.queue.limit {
            return self.attempt_failed(id, Failure::Refused);
        }
        self.line.length += 1;
        self.lanes.lanes[lane].backlog.push(&mut self.requests, id);
    }

    /// When the first in line has waited too long.
    #[inline]
    pub(super) fn line_changed(&mut self) {
        self.line_due = match (self.scenario.queue.timeout, self.line.first(&self.requests)) {
            (Some(timeout), Some(id)) => self.requests.get(id).sent + timeout,
            _ => f64::INFINITY,
        };
    }

    /// A slot is free: whoever is next takes it.
    #[inline]
    pub(super) fn next_in_line(&mut self) {
        if self.line.length == 0 {
            return;
        }
        while let Some(lane) = self.lanes.choose() {
            let Some(id) = self.line.pop(&self.requests, self.scenario.queue.discipline == Discipline::Lifo)
            else {
                break;
            };
            if self.is_late(id) {
                self.attempt_failed(id, Failure::WaitedTooLong);
            } else {
                self.begin(id, lane);
            }
        }
        self.line_changed();
    }

    fn is_late(&self, id: u32) -> bool {
        let Discipline::CoDel { target, interval } = self.scenario.queue.discipline else { return false };
        let standing = self.now - self.line.empty_at > interval;
        self.now - self.requests.get(id).sent > if standing { target } else { interval }
    }

    /// Into a slot.
    #[inline]
    fn begin(&mut self, id: u32, lane: usize) {
        self.slots_changed();
        self.in_slots += 1;
        self.lanes.free -= 1;
        self.lanes.loads[lane] += 1;
        let request = self.requests.get_mut(id);
        let (class, sample) = self.drawing.look_up(request.class, request.sample);
        request.waits = if sample.wait_us > 0.0 { class.waits.max(1) } else { 0 };
        request.fsyncs = sample.fsyncs;
        request.wait = f64::from(sample.wait_us) / 1e6 / f64::from(request.waits.max(1));
        let parts = f64::from(request.waits) + f64::from(request.fsyncs) + 1.0;
        request.part = f64::from(sample.cpu_us) / 1e6 * self.scenario.workers.cpu_factor / parts;
        request.left = request.part;
        request.lane = lane as u16;
        if request.planned >= self.scenario.length.warm_up && self.now > request.sent {
            self.outcome.queued += 1;
            self.outcome.queued_seconds += self.now - request.sent;
        }
        self.ready(id, lane);
        if self.scenario.profile.request_bytes > 0 || self.scenario.memory.limit_bytes.is_some() {
            self.watch_memory();
        }
    }

    /// It could run.
    #[inline]
    fn ready(&mut self, id: u32, index: usize) {
        self.requests.get_mut(id).place = Place::Inside;
        let lane = &mut self.lanes.lanes[index];
        if lane.holder == NONE && !lane.blocked {
            return self.hold(id, index);
        }
        let first = lane.ready.is_empty();
        lane.ready.push(&mut self.requests, id);
        if first && lane.holder != NONE && lane.piece > self.lanes.switch {
            lane.piece -= self.processor.cut(self.now, index, self.lanes.switch);
        }
    }

    /// It runs.
    #[inline]
    fn hold(&mut self, id: u32, index: usize) {
        let lane = &mut self.lanes.lanes[index];
        lane.holder = id;
        lane.piece = self.requests.get(id).left;
        if !lane.ready.is_empty() {
            lane.piece = lane.piece.min(self.lanes.switch);
        }
        self.processor.begin(self.now, index, lane.piece);
    }

    /// Whoever runs has done what it could at once.
    #[inline]
    pub(super) fn part_done(&mut self, index: usize) {
        let lane = &mut self.lanes.lanes[index];
        let id = lane.holder;
        lane.holder = NONE;
        let request = self.requests.get_mut(id);
        request.left -= lane.piece;
        if request.left > 1e-12 {
            // The lock was taken from it.
            lane.ready.push(&mut self.requests, id);
        } else if request.waits > 0 {
            request.waits -= 1;
            request.left = request.part;
            request.place = Place::Waiting;
            let timer = Timer { time: self.now + request.wait, subject: id, epoch: request.run() };
            self.timers.push(timer);
        } else if request.fsyncs > 0 {
            self.write(id, index);
        } else {
            self.answer(id, index);
        }
        self.run_next(index);
    }

    #[inline]
    fn run_next(&mut self, index: usize) {
        let lane = &mut self.lanes.lanes[index];
        if lane.holder == NONE
            && !lane.blocked
            && let Some(next) = lane.ready.pop(&self.requests)
        {
            self.hold(next, index);
        }
    }

    fn write(&mut self, id: u32, index: usize) {
        let request = self.requests.get_mut(id);
        request.fsyncs -= 1;
        request.left = request.part;
        request.place = Place::Writing;
        let writer = (id, request.run());
        self.lanes.lanes[index].blocked = self.lanes.writes_block;
        if self.commits.write(writer) {
            self.begin_commit();
        }
    }

    fn begin_commit(&mut self) {
        let time = self.now + self.drawing.write(&mut self.disk_random);
        self.timers.push(Timer { time, subject: Timer::DISK, epoch: 0 });
    }

    pub(super) fn commit_done(&mut self) {
        let mut done = std::mem::take(&mut self.committed);
        let more = self.commits.commit(&mut done);
        for &(id, run) in &done {
            let request = self.requests.get(id);
            if request.run() == run && request.place == Place::Writing {
                let lane = usize::from(request.lane);
                self.lanes.lanes[lane].blocked = false;
                self.ready(id, lane);
            }
        }
        self.committed = done;
        if more {
            self.begin_commit();
        }
    }

    /// A wait or a client's pause is over.
    #[inline]
    pub(super) fn request_timer(&mut self, id: u32, run: u32) {
        let request = self.requests.get(id);
        if request.run() != run {
            return;
        }
        match request.place {
            Place::Waiting => self.ready(id, usize::from(request.lane)),
            Place::Paused => self.send(id),
            _ => {}
        }
    }

    /// It is done.
    #[inline]
    fn answer(&mut self, id: u32, index: usize) {
        let request = self.requests.get(id);
        if !request.left_alone {
            let planned = request.planned;
            let answered = self.now + self.overhead;
            self.outcome.window(answered).0 += 1;
            if self.counts(planned) {
                self.outcome.record(answered - planned);
            }
            self.come_again();
        }
        self.requests.remove(id);
        self.leave_slot(index);
    }

    /// A slot becomes free.
    #[inline]
    pub(super) fn leave_slot(&mut self, index: usize) {
        self.slots_changed();
        self.in_slots -= 1;
        self.lanes.free += 1;
        self.lanes.loads[index] -= 1;
        if self.lanes.in_turns() {
            self.next_in_backlog(index);
        } else {
            self.next_in_line();
        }
    }

    pub(super) fn next_in_backlog(&mut self, index: usize) {
        while self.lanes.has_room(index)
            && let Some(id) = self.lanes.lanes[index].backlog.pop(&self.requests)
        {
            self.line.length -= 1;
            if self.requests.get(id).left_alone {
                self.requests.remove(id);
            } else {
                self.begin(id, index);
            }
        }
    }
}
