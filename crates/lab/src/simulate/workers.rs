//! Worker processes as lanes: a lane runs one request at a time and holds as many as it has slots. A process with an
//! interpreter lock is one lane; one without is a lane per thread.

use super::scenario::{Dispatch, Model, Workers};
use super::state::{NONE, Requests};

/// The load of a lane whose process is dead.
pub(super) const DEAD: u16 = u16::MAX;

#[derive(Debug, Clone)]
pub(super) struct Lane {
    /// A durable write holds up the whole event loop.
    pub(super) blocked: bool,
    /// Who runs, and how much of its work is given to the processor.
    pub(super) holder: u32,
    pub(super) piece: f64,
    /// Who is ready and waits for the lane, in order.
    pub(super) ready: List,
    /// Handed to this lane and waiting for a slot; only when requests are dealt out in turns.
    pub(super) backlog: List,
    /// So that a restart that was overtaken by another is known.
    pub(super) life: u32,
}

/// A queue through the requests themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl List {
    pub(super) const EMPTY: List = List { first: NONE, last: NONE };

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.first == NONE
    }

    #[inline]
    pub(super) fn push(&mut self, requests: &mut Requests, id: u32) {
        requests.get_mut(id).next = NONE;
        if self.first == NONE {
            self.first = id;
        } else {
            requests.get_mut(self.last).next = id;
        }
        self.last = id;
    }

    #[inline]
    pub(super) fn pop(&mut self, requests: &Requests) -> Option<u32> {
        if self.first == NONE {
            return None;
        }
        let id = self.first;
        self.first = requests.get(id).next;
        Some(id)
    }
}

#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) lanes: Vec<Lane>,
    /// Requests in each; [`DEAD`] when its process is. Beside the lanes, because whoever chooses reads all of them.
    pub(super) loads: Vec<u16>,
    pub(super) slots: u16,
    per_process: usize,
    /// Slots in lanes that are alive.
    pub(super) free: usize,
    turn: usize,
    dispatch: Dispatch,
    pub(super) switch: f64,
    pub(super) writes_block: bool,
}

impl Lanes {
    pub(super) fn new(workers: &Workers) -> Self {
        let processes = usize::from(workers.processes.max(1));
        let (per_process, slots) = match workers.model {
            Model::FreeThreads { threads } => (usize::from(threads.max(1)), 1),
            model => (1, model.slots().clamp(1, DEAD - 1)),
        };
        let lane = Lane {
            blocked: false,
            holder: NONE,
            piece: 0.0,
            ready: List::EMPTY,
            backlog: List::EMPTY,
            life: 0,
        };
        let lanes = vec![lane; processes * per_process];
        let free = lanes.len() * usize::from(slots);
        let switch = match workers.model {
            Model::Threads { switch, threads } if threads > 1 => switch,
            _ => f64::INFINITY,
        };
        let writes_block = matches!(workers.model, Model::Async { .. });
        let loads = vec![0; lanes.len()];
        Lanes {
            lanes,
            loads,
            slots,
            per_process,
            free,
            turn: 0,
            dispatch: workers.dispatch,
            switch,
            writes_block,
        }
    }

    pub(super) fn processes(&self) -> usize {
        self.lanes.len() / self.per_process
    }

    /// The lanes of a process.
    pub(super) fn of(&self, process: usize) -> std::ops::Range<usize> {
        process * self.per_process..(process + 1) * self.per_process
    }

    pub(super) fn is_alive(&self, process: usize) -> bool {
        self.loads[self.of(process).start] != DEAD
    }

    pub(super) fn alive(&self) -> usize {
        (0..self.processes()).filter(|process| self.is_alive(*process)).count()
    }

    pub(super) fn load_of(&self, process: usize) -> u32 {
        self.loads[self.of(process)].iter().map(|load| u32::from(*load)).sum()
    }

    pub(super) fn in_turns(&self) -> bool {
        self.dispatch == Dispatch::InTurns
    }

    #[inline]
    pub(super) fn has_room(&self, lane: usize) -> bool {
        self.loads[lane] < self.slots
    }

    /// The least loaded lane with a free slot.
    #[inline]
    pub(super) fn choose(&self) -> Option<usize> {
        if self.free == 0 {
            return None;
        }
        let (mut best, mut least) = (None, self.slots);
        for (index, load) in self.loads.iter().enumerate() {
            if *load < least {
                (best, least) = (Some(index), *load);
                if least == 0 {
                    break;
                }
            }
        }
        best
    }

    /// The next lane in turn.
    pub(super) fn deal(&mut self) -> usize {
        for _ in 0..self.lanes.len() {
            self.turn = (self.turn + 1) % self.lanes.len();
            if self.loads[self.turn] != DEAD {
                break;
            }
        }
        self.turn
    }
}
