//! What is due when: a heap with four children per node, which for the few hundred timers of a run touches half the cache
//! lines of a binary one. Entries are never removed; whoever pops one compares its epoch with the subject's.

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timer {
    pub(super) time: f64,
    /// A request, or from [`Timer::CONTROL`] on something else.
    pub(super) subject: u32,
    pub(super) epoch: u32,
}

impl Timer {
    pub(super) const CONTROL: u32 = u32::MAX - 70_000;
    pub(super) const DISK: u32 = Timer::CONTROL;
    pub(super) const TRIGGER: u32 = Timer::CONTROL + 1;
    pub(super) const STALL_OVER: u32 = Timer::CONTROL + 2;
    /// A client of a closed loop has thought.
    pub(super) const CLIENT: u32 = Timer::CONTROL + 3;
    /// And so on, one per process.
    pub(super) const RESTARTED: u32 = Timer::CONTROL + 4;
}

#[derive(Debug)]
pub(super) struct Timers {
    heap: Vec<Timer>,
}

const CHILDREN: usize = 4;

impl Timers {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Timers { heap: Vec::with_capacity(capacity) }
    }

    /// Infinite when there is none.
    #[inline]
    pub(super) fn next(&self) -> f64 {
        self.heap.first().map_or(f64::INFINITY, |timer| timer.time)
    }

    #[inline]
    pub(super) fn first(&self) -> Option<Timer> {
        self.heap.first().copied()
    }

    pub(super) fn clear(&mut self) {
        self.heap.clear();
    }

    #[inline]
    pub(super) fn push(&mut self, timer: Timer) {
        let mut hole = self.heap.len();
        self.heap.push(timer);
        while hole > 0 {
            let parent = (hole - 1) / CHILDREN;
            if self.heap[parent].time <= timer.time {
                break;
            }
            self.heap[hole] = self.heap[parent];
            hole = parent;
        }
        self.heap[hole] = timer;
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Timer> {
        let first = *self.heap.first()?;
        let last = self.heap.pop()?;
        let length = self.heap.len();
        if length == 0 {
            return Some(first);
        }
        let mut hole = 0;
        loop {
            let begin = hole * CHILDREN + 1;
            if begin >= length {
                break;
            }
            let children = &self.heap[begin..length.min(begin + CHILDREN)];
            let mut least = 0;
            for child in 1..children.len() {
                if children[child].time < children[least].time {
                    least = child;
                }
            }
            let child = children[least];
            if child.time >= last.time {
                break;
            }
            self.heap[hole] = child;
            hole = begin + least;
        }
        self.heap[hole] = last;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn they_come_in_order() {
        let (mut timers, mut random) = (Timers::with_capacity(1_000), Random::new(5));
        assert!(timers.pop().is_none() && timers.next().is_infinite());
        let mut expected: Vec<f64> = (0..1_000).map(|_| random.unit()).collect();
        for (subject, time) in (0..).zip(&expected) {
            timers.push(Timer { time: *time, subject, epoch: 0 });
        }
        expected.sort_unstable_by(f64::total_cmp);
        for time in expected {
            assert_eq!(timers.next(), time);
            assert_eq!(timers.pop().map(|timer| timer.time), Some(time));
        }
        assert!(timers.pop().is_none());
    }
}
