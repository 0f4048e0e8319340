//! Cores that are shared evenly: whatever is ready to run gets the same part of what the application gets, at most a core
//! each.
//!
//! Because all run at the same speed, one number says how far everybody has come: the service that a thread would have had
//! if it had always been ready ("virtual time"). A piece of work that begins at virtual time v and needs w ends at v + w,
//! however often the speed changes in between; so a change costs one division and not a loop over all that run.

use super::timers::{Timer, Timers};
use super::{Cores, Neighbours, Quota, Sharing};
use crate::Random;

/// What the processor does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The piece of work of this lane is done.
    Work(usize),
    /// Something that concerns only the speed.
    Own,
}

#[derive(Debug)]
pub(super) struct Processor {
    cores: f64,
    /// Virtual time at which each lane's work is done; infinite when it does nothing.
    ends: Vec<f64>,
    /// The same in order; entries that are not a lane's end (any more) are passed over.
    order: Timers,
    running: usize,
    /// Virtual time, as of `updated`.
    served: f64,
    updated: f64,
    /// Of every lane that runs, in cores.
    speed: f64,
    next: f64,
    due: Due,
    stale: bool,
    /// Stopped from outside.
    stalled: bool,
    quota: Option<Bucket>,
    neighbours: Option<Others>,
    /// Core seconds that the application used.
    used: f64,
    /// Seconds in which it was ready and its quota was used up.
    throttled: f64,
    /// Periods begun, and those that ended throttled.
    periods: u64,
    throttled_periods: u64,
}

#[derive(Debug)]
struct Bucket {
    quota: Quota,
    left: f64,
    refilled: f64,
    empty: bool,
}

#[derive(Debug)]
struct Others {
    what: Neighbours,
    random: Random,
    /// Pieces of work that came and are not done.
    pieces: u32,
    arrives: f64,
    /// Core seconds that all pieces together get until one of them ends. Pieces are exponential: which one does not matter.
    left: f64,
    speed: f64,
}

impl Processor {
    pub(super) fn new(cores: &Cores, lanes: usize, random: Random) -> Self {
        let quota = cores.quota.map(|quota| Bucket {
            quota,
            left: quota.budget,
            refilled: quota.period,
            empty: false,
        });
        let neighbours = cores.neighbours.map(|what| Others::new(what, random));
        let mut processor = Processor {
            cores: cores.count,
            ends: vec![f64::INFINITY; lanes],
            order: Timers::with_capacity(2 * lanes),
            running: 0,
            served: 0.0,
            updated: 0.0,
            speed: 0.0,
            next: f64::INFINITY,
            due: Due::Own,
            stale: true,
            stalled: false,
            quota,
            neighbours,
            used: 0.0,
            throttled: 0.0,
            periods: 0,
            throttled_periods: 0,
        };
        processor.plan();
        processor
    }

    #[inline]
    pub(super) fn next(&self) -> f64 {
        self.next
    }

    pub(super) fn used(&self) -> f64 {
        self.used
    }

    pub(super) fn throttled(&self) -> (f64, u64, u64) {
        (self.throttled, self.throttled_periods, self.periods)
    }

    /// Do what is due at [`Processor::next`].
    #[inline]
    pub(super) fn take(&mut self) -> Due {
        let due = self.due;
        self.advance(self.next);
        self.stale = true;
        if let Due::Work(lane) = due {
            self.end(lane);
        } else {
            self.happen();
        }
        due
    }

    /// A lane that does nothing begins to work.
    #[inline]
    pub(super) fn begin(&mut self, now: f64, lane: usize, work: f64) {
        self.advance(now);
        if self.running == 0 {
            // Small numbers are exact numbers.
            self.served = 0.0;
            self.order.clear();
        }
        self.running += 1;
        self.end_at(lane, self.served + work);
    }

    /// The lane is to end after `most` seconds of real time at today's speed. The work that is cut off.
    #[inline]
    pub(super) fn cut(&mut self, now: f64, lane: usize, most: f64) -> f64 {
        self.advance(now);
        let speed = if self.speed > 0.0 { self.speed } else { 1.0 };
        let cut = self.ends[lane] - (self.served + most * speed);
        if cut <= 0.0 {
            return 0.0;
        }
        self.end_at(lane, self.ends[lane] - cut);
        cut
    }

    /// A lane stops where it is.
    pub(super) fn abort(&mut self, now: f64, lane: usize) {
        if self.ends[lane].is_finite() {
            self.advance(now);
            self.end(lane);
            self.stale = true;
        }
    }

    pub(super) fn stall(&mut self, now: f64, stalled: bool) {
        self.advance(now);
        self.stalled = stalled;
        self.stale = true;
    }

    /// To be called when all changes of one moment are made.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.stale {
            self.plan();
        }
    }

    #[inline]
    fn end_at(&mut self, lane: usize, end: f64) {
        self.ends[lane] = end;
        self.order.push(Timer { time: end, subject: lane as u32, epoch: 0 });
        self.stale = true;
    }

    #[inline]
    fn end(&mut self, lane: usize) {
        self.ends[lane] = f64::INFINITY;
        self.running -= 1;
    }

    /// The lane whose work is done first; only while one runs.
    #[inline]
    fn earliest(&mut self) -> usize {
        loop {
            match self.order.first() {
                Some(first) if self.ends[first.subject as usize] == first.time => {
                    return first.subject as usize;
                }
                Some(_) => _ = self.order.pop(),
                None => return 0,
            }
        }
    }

    #[inline]
    fn advance(&mut self, now: f64) {
        let passed = now - self.updated;
        self.updated = now;
        let served = self.speed * passed;
        self.served += served;
        let used = served * self.running as f64;
        self.used += used;
        if let Some(bucket) = &mut self.quota {
            bucket.left -= used;
            if bucket.empty && self.running > 0 {
                self.throttled += passed;
            }
        }
        if let Some(others) = &mut self.neighbours {
            others.left -= others.speed * f64::from(others.pieces) * passed;
        }
    }

    /// Speed, and what happens next.
    #[inline]
    fn plan(&mut self) {
        self.stale = false;
        let stopped =
            self.stalled || self.running == 0 || self.quota.as_ref().is_some_and(|bucket| bucket.empty);
        let running = if stopped { 0.0 } else { self.running as f64 };
        let others = self.neighbours.as_ref().map_or(0, Others::running);
        self.speed = if stopped {
            0.0
        } else if others == 0 {
            if running <= self.cores { 1.0 } else { self.cores / running }
        } else {
            self.neighbours.as_ref().map_or(1.0, |neighbours| neighbours.leave(running, self.cores))
        };
        self.next = f64::INFINITY;
        self.due = Due::Own;
        if self.speed > 0.0 {
            let earliest = self.earliest();
            let left = (self.ends[earliest] - self.served).max(0.0);
            self.next = self.updated + left / self.speed;
            self.due = Due::Work(earliest);
        }
        if self.quota.is_some() || self.neighbours.is_some() {
            self.plan_own(running);
        }
    }

    fn plan_own(&mut self, running: f64) {
        let used = self.speed * running;
        let mut next = f64::INFINITY;
        if let Some(bucket) = &self.quota {
            next = bucket.refilled;
            if used > 0.0 {
                next = next.min(self.updated + bucket.left.max(0.0) / used);
            }
        }
        if let Some(others) = &mut self.neighbours {
            let all = f64::from(others.running());
            others.speed = if all > 0.0 { ((self.cores - used) / all).clamp(0.0, 1.0) } else { 0.0 };
            next = next.min(others.arrives);
            let together = others.speed * f64::from(others.pieces);
            if together > 0.0 {
                next = next.min(self.updated + others.left.max(0.0) / together);
            }
        }
        if next < self.next {
            (self.next, self.due) = (next, Due::Own);
        }
    }

    /// What is due and is not the application's work.
    fn happen(&mut self) {
        const NEARLY: f64 = 1e-12;
        let now = self.updated;
        if let Some(bucket) = &mut self.quota {
            if now >= bucket.refilled {
                self.periods += 1;
                self.throttled_periods += u64::from(bucket.empty && self.running > 0);
                let Quota { budget, period, burst } = bucket.quota;
                bucket.left = (bucket.left + budget).min(budget + burst);
                bucket.refilled += period;
                bucket.empty = false;
            } else if bucket.left <= NEARLY {
                bucket.empty = true;
            }
        }
        if let Some(others) = &mut self.neighbours {
            if now >= others.arrives {
                others.arrive(now);
            } else if others.pieces > 0 && others.left <= NEARLY {
                others.pieces -= 1;
                others.left = others.what.piece * others.random.exponential();
            }
        }
    }
}

impl Others {
    fn new(what: Neighbours, random: Random) -> Self {
        let mut others = Others { what, random, pieces: 0, arrives: f64::INFINITY, left: 0.0, speed: 0.0 };
        others.left = what.piece * others.random.exponential();
        if what.load > 0.0 {
            others.arrives = others.gap();
        }
        others
    }

    fn gap(&mut self) -> f64 {
        self.random.exponential() * self.what.piece / self.what.load
    }

    fn arrive(&mut self, now: f64) {
        self.pieces += 1;
        self.arrives = now + self.gap();
    }

    fn running(&self) -> u32 {
        self.what.hogs + self.pieces
    }

    /// What each of `running` threads of ours gets of a core.
    fn leave(&self, running: f64, cores: f64) -> f64 {
        let others = f64::from(self.running());
        if running + others <= cores {
            return 1.0;
        }
        match self.what.sharing {
            Sharing::Threads => (cores / (running + others)).min(1.0),
            Sharing::Weights { own, others: weight } => {
                let spread = running.min(cores);
                let (ours, theirs) = (own / spread, weight / cores);
                let by_weight = spread * ours / (ours + theirs);
                // What the others cannot use is ours.
                by_weight.max(cores - others).min(running).min(cores) / running
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(hogs: u32, sharing: Sharing) -> Others {
        Others::new(Neighbours { hogs, load: 0.0, piece: 0.01, sharing }, Random::new(1))
    }

    /// The stretch of a single thread on two cores: with one hog per tenant 1 + n/c, with one tenant of many hogs 3/2.
    #[test]
    fn a_single_thread_among_hogs() {
        for hogs in [1, 2, 4, 8] {
            let n = f64::from(hogs);
            let managed = |weight| Sharing::Weights { own: 1.0, others: weight };
            let stretch = |sharing| 1.0 / others(hogs, sharing).leave(1.0, 2.0);
            let (alone, each, one) = (stretch(Sharing::Threads), stretch(managed(n)), stretch(managed(1.0)));
            let free = hogs == 1;
            assert!((alone - if free { 1.0 } else { f64::midpoint(n, 1.0) }).abs() < 1e-9, "{alone}");
            assert!((each - if free { 1.0 } else { 1.0 + n / 2.0 }).abs() < 1e-9, "{each}");
            assert!((one - if free { 1.0 } else { 1.5 }).abs() < 1e-9, "{one}");
        }
        // With as many threads as cores the guarantee is the whole share.
        let guarantee = 2.0 * others(4, Sharing::Weights { own: 1.0, others: 1.0 }).leave(2.0, 2.0);
        assert!((guarantee - 1.0).abs() < 1e-9, "{guarantee}");
    }

    #[test]
    fn two_pieces_share_a_core() {
        let mut processor = Processor::new(&Cores::own(1.0), 2, Random::new(1));
        processor.begin(0.0, 0, 1.0);
        processor.settle();
        processor.begin(0.5, 1, 1.0);
        processor.settle();
        // Half is left of the first at half speed.
        assert_eq!((processor.next(), processor.take()), (1.5, Due::Work(0)));
        processor.settle();
        assert_eq!((processor.next(), processor.take()), (2.0, Due::Work(1)));
        processor.settle();
        assert!(processor.next().is_infinite() && (processor.used() - 2.0).abs() < 1e-12);
    }

    /// Two threads with 50 ms each, half a core per 100 ms: the budget is gone after 25 ms, and they stand still for 75 ms.
    #[test]
    fn a_quota_stops_for_the_rest_of_the_period() {
        let quota = Quota { budget: 0.05, period: 0.1, burst: 0.0 };
        let cores = Cores { quota: Some(quota), ..Cores::own(2.0) };
        let mut processor = Processor::new(&cores, 2, Random::new(1));
        processor.begin(0.0, 0, 0.05);
        processor.begin(0.0, 1, 0.05);
        processor.settle();
        let mut done = Vec::new();
        while done.len() < 2 {
            let now = processor.next();
            if let Due::Work(_) = processor.take() {
                done.push(now);
            }
            processor.settle();
        }
        assert!(done.iter().all(|time| (time - 0.125).abs() < 1e-9), "{done:?}");
        let (throttled, periods, of) = processor.throttled();
        assert!((throttled - 0.075).abs() < 1e-9 && (periods, of) == (1, 1), "{throttled}");
    }
}
