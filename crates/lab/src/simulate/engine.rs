//! The loop: what is due next, and who handles it.

use super::arrivals::Arrivals;
use super::disk::Commits;
use super::lifecycle::MOST_SAVED;
use super::outcome::{Failure, Outcome, WINDOW};
use super::processor::{Due, Processor};
use super::profile::Drawing;
use super::scenario::{Arriving, Scenario, Trigger};
use super::state::{Deadlines, Line, MOST_REQUESTS, Requests};
use super::timers::{Timer, Timers};
use super::workers::Lanes;
use crate::Random;

/// Things that may happen in one run: a scenario that feeds itself for ever ends here.
const MOST_EVENTS: u64 = 2_000_000_000;

/// Purposes of random numbers: what one draws does not move another's, so that two scenarios with the same seed meet the
/// same requests at the same times.
mod purpose {
    pub(super) const ARRIVALS: u64 = 1;
    pub(super) const NEEDS: u64 = 2;
    pub(super) const CLIENTS: u64 = 3;
    pub(super) const NEIGHBOURS: u64 = 4;
    pub(super) const DISK: u64 = 5;
}

pub(super) struct Engine<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) drawing: Drawing<'a>,
    pub(super) now: f64,
    pub(super) requests: Requests,
    pub(super) line: Line,
    /// When the first in line has waited too long.
    pub(super) line_due: f64,
    pub(super) lanes: Lanes,
    pub(super) processor: Processor,
    pub(super) timers: Timers,
    pub(super) patience: Deadlines,
    pub(super) deadlines: Deadlines,
    pub(super) commits: Commits,
    pub(super) committed: Vec<(u32, u32)>,
    arrivals: Arrivals<'a>,
    next_arrival: f64,
    needs: Random,
    pub(super) client_random: Random,
    pub(super) disk_random: Random,
    /// Retries that all clients together may still send, and what each first attempt adds to it.
    pub(super) budget: f64,
    saved: f64,
    pub(super) overhead: f64,
    /// Requests that a worker works on, and since when so many.
    pub(super) in_slots: u64,
    slots_since: f64,
    triggered: usize,
    /// Clients of a closed loop between two requests.
    thinking: usize,
    pub(super) outcome: Outcome,
}

/// Simulate. The profile must have passed [`super::Profile::check`].
#[must_use]
pub fn run(scenario: &Scenario, seed: u64) -> Outcome {
    Engine::new(scenario, seed).run()
}

impl<'a> Engine<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let random = |purpose| Random::stream(seed, purpose);
        let lanes = Lanes::new(&scenario.workers);
        let capacity = (lanes.free + scenario.queue.limit.min(MOST_REQUESTS) + 64).min(MOST_REQUESTS);
        let mut outcome = Outcome::new((scenario.length.end / WINDOW).ceil() as usize + 1);
        outcome.slots = lanes.free;
        let mut arrivals = Arrivals::new(&scenario.arriving, random(purpose::ARRIVALS));
        let next_arrival = arrivals.next();
        Engine {
            scenario,
            drawing: Drawing::new(&scenario.profile),
            now: 0.0,
            requests: Requests::with_capacity(capacity),
            line: Line::with_capacity(scenario.queue.limit.min(MOST_REQUESTS) + 64),
            line_due: f64::INFINITY,
            processor: Processor::new(&scenario.cores, lanes.lanes.len(), random(purpose::NEIGHBOURS)),
            lanes,
            timers: Timers::with_capacity(capacity),
            patience: Deadlines::new(scenario.clients.timeout, capacity),
            deadlines: Deadlines::new(scenario.queue.deadline, capacity),
            commits: Commits::new(scenario.disk.one_at_a_time),
            committed: Vec::new(),
            arrivals,
            next_arrival,
            needs: random(purpose::NEEDS),
            client_random: random(purpose::CLIENTS),
            disk_random: random(purpose::DISK),
            budget: MOST_SAVED,
            saved: scenario.clients.retries.and_then(|retries| retries.budget).unwrap_or(0.0),
            overhead: scenario.profile.overhead_us / 1e6,
            in_slots: 0,
            slots_since: 0.0,
            triggered: 0,
            thinking: 0,
            outcome,
        }
    }

    fn run(mut self) -> Outcome {
        self.prepare();
        loop {
            let waiting = self.line_due.min(self.patience.next()).min(self.deadlines.next());
            let (timer, work) = (self.timers.next(), self.processor.next());
            let next = self.next_arrival.min(work).min(timer).min(waiting);
            let over = self.next_arrival.is_infinite() && self.requests.live + self.thinking == 0;
            if over || next.is_infinite() {
                break;
            }
            self.now = next;
            self.outcome.events += 1;
            if work <= next {
                if let Due::Work(lane) = self.processor.take() {
                    self.part_done(lane);
                }
            } else if self.next_arrival <= next {
                self.arrive();
            } else if timer <= next {
                self.timer();
            } else {
                self.time_is_up();
            }
            self.processor.settle();
            if self.outcome.events >= MOST_EVENTS {
                self.outcome.cut_off = true;
                break;
            }
        }
        self.finish()
    }

    fn prepare(&mut self) {
        if let Some((time, _)) = self.scenario.triggers.first() {
            self.timers.push(Timer { time: *time, subject: Timer::TRIGGER, epoch: 0 });
        }
        if let Arriving::Closed { clients, .. } = self.scenario.arriving {
            for _ in 0..clients {
                self.come_again();
            }
        }
    }

    fn finish(mut self) -> Outcome {
        self.slots_changed();
        let outcome = &mut self.outcome;
        outcome.cpu_seconds = self.processor.used();
        let (throttled, periods, of) = self.processor.throttled();
        outcome.throttled_seconds = throttled;
        outcome.throttled_periods = if of > 0 { periods as f64 / of as f64 } else { 0.0 };
        outcome.elapsed = self.now;
        outcome.seconds = (self.scenario.length.end.min(self.now) - self.scenario.length.warm_up).max(0.0);
        self.outcome
    }

    fn arrive(&mut self) {
        let planned = self.next_arrival;
        self.next_arrival = self.arrivals.next();
        if self.next_arrival > self.scenario.length.end {
            self.next_arrival = f64::INFINITY;
        }
        if planned <= self.scenario.length.end {
            self.first_attempt(planned);
        }
    }

    /// A client's first attempt, sent now.
    #[inline]
    fn first_attempt(&mut self, planned: f64) {
        let (class, sample) = self.drawing.draw(&mut self.needs);
        if self.counts(planned) {
            self.outcome.planned += 1;
        }
        self.budget = (self.budget + self.saved).min(MOST_SAVED);
        match self.requests.add(self.now, planned, class, sample) {
            Some(id) => self.send(id),
            None => self.give_up(planned, Failure::NotSent),
        }
    }

    /// Whether a request that was planned for then is in the result.
    #[inline]
    pub(super) fn counts(&self, planned: f64) -> bool {
        planned >= self.scenario.length.warm_up
    }

    /// A client of a closed loop begins to think.
    pub(super) fn come_again(&mut self) {
        let Arriving::Closed { think, .. } = self.scenario.arriving else { return };
        let time = self.now + think * if think > 0.0 { self.client_random.exponential() } else { 0.0 };
        if time <= self.scenario.length.end {
            self.thinking += 1;
            self.timers.push(Timer { time, subject: Timer::CLIENT, epoch: 0 });
        }
    }

    fn timer(&mut self) {
        let Some(timer) = self.timers.pop() else { return };
        match timer.subject {
            id if id < Timer::CONTROL => self.request_timer(id, timer.epoch),
            Timer::DISK => self.commit_done(),
            Timer::CLIENT => {
                self.thinking -= 1;
                self.first_attempt(timer.time);
            }
            Timer::STALL_OVER => self.processor.stall(self.now, false),
            Timer::TRIGGER => self.trigger(),
            process => self.restarted((process - Timer::RESTARTED) as usize, timer.epoch),
        }
    }

    fn trigger(&mut self) {
        let (_, trigger) = self.scenario.triggers[self.triggered];
        self.triggered += 1;
        if let Some((time, _)) = self.scenario.triggers.get(self.triggered) {
            self.timers.push(Timer { time: *time, subject: Timer::TRIGGER, epoch: 0 });
        }
        match trigger {
            Trigger::Stall(seconds) => {
                self.processor.stall(self.now, true);
                let time = self.now + seconds;
                self.timers.push(Timer { time, subject: Timer::STALL_OVER, epoch: 0 });
            }
            Trigger::KillWorker => self.kill_fullest(),
        }
    }

    /// The integral of slots in use, before their number changes.
    #[inline]
    pub(super) fn slots_changed(&mut self) {
        self.outcome.slot_seconds += self.in_slots as f64 * (self.now - self.slots_since);
        self.slots_since = self.now;
    }
}
