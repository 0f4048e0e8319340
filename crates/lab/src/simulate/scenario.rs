//! What is simulated: plain data, complete before a run begins. Times are seconds.

use std::sync::Arc;

use super::Profile;

/// Everything about one run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub profile: Arc<Profile>,
    pub arriving: Arriving,
    pub clients: Clients,
    pub queue: Queue,
    pub workers: Workers,
    pub cores: Cores,
    pub disk: Disk,
    pub memory: Memory,
    /// What happens at which time, in ascending order.
    pub triggers: Vec<(f64, Trigger)>,
    pub length: Length,
}

/// When requests are sent.
#[derive(Debug, Clone)]
pub enum Arriving {
    Poisson {
        rate: f64,
    },
    Constant {
        rate: f64,
    },
    /// Poisson with two rates in turns, each for an exponential time of mean `dwell`.
    Bursts {
        rates: [f64; 2],
        dwell: [f64; 2],
    },
    /// Ascending times; over when they are.
    Trace(Arc<[f64]>),
    /// So many clients; each sends its next request `think` (mean of an exponential; 0: at once) after an answer.
    Closed {
        clients: u32,
        think: f64,
    },
}

impl Arriving {
    /// Requests per second in the long run; none for a closed loop, whose rate is a result.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        match self {
            Arriving::Poisson { rate } | Arriving::Constant { rate } => Some(*rate),
            Arriving::Bursts { rates, dwell } => {
                Some((rates[0] * dwell[0] + rates[1] * dwell[1]) / (dwell[0] + dwell[1]))
            }
            Arriving::Trace(times) => times.last().map(|last| times.len() as f64 / last.max(1e-9)),
            Arriving::Closed { .. } => None,
        }
    }

    /// The same pattern with another rate. A closed loop stays as it is.
    #[must_use]
    pub fn times(&self, factor: f64) -> Arriving {
        match self {
            Arriving::Poisson { rate } => Arriving::Poisson { rate: rate * factor },
            Arriving::Constant { rate } => Arriving::Constant { rate: rate * factor },
            Arriving::Bursts { rates, dwell } => {
                Arriving::Bursts { rates: rates.map(|rate| rate * factor), dwell: *dwell }
            }
            Arriving::Trace(times) => Arriving::Trace(times.iter().map(|time| time / factor).collect()),
            Arriving::Closed { .. } => self.clone(),
        }
    }
}

/// How clients behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clients {
    /// From the sending of one attempt to giving it up.
    pub timeout: Option<f64>,
    pub retries: Option<Retries>,
    /// A client that gives up closes its connection, so that the host forgets a request that still waits in its queue. What has
    /// begun is finished for nobody in any case.
    pub hang_up: bool,
}

impl Default for Clients {
    fn default() -> Self {
        Clients { timeout: None, retries: None, hang_up: true }
    }
}

/// What a client does after an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    /// Attempts after the first.
    pub most: u8,
    /// Mean of the (exponential) pause before an attempt; doubled for each further one.
    pub pause: f64,
    /// Retries per first attempt that all clients together may send; None is any number.
    pub budget: Option<f64>,
}

/// The host's queue of the application.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Queue {
    /// Requests that may wait; one more is refused.
    pub limit: usize,
    /// How long one may wait before it is refused.
    pub timeout: Option<f64>,
    pub discipline: Discipline,
    /// From arrival to the end of the work, after which the host answers in the application's place.
    pub deadline: Option<f64>,
}

impl Default for Queue {
    /// What the host does unless it is told otherwise.
    fn default() -> Self {
        Queue { limit: 100, timeout: Some(10.0), discipline: Discipline::Fifo, deadline: Some(30.0) }
    }
}

/// Who is next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Discipline {
    /// Who waited longest.
    Fifo,
    /// Who came last.
    Lifo,
    /// Who waited longest, but whoever waited longer than `target` is refused while the queue has not been empty for
    /// `interval` (Maurer, "Fail at scale", 2015).
    CoDel { target: f64, interval: f64 },
}

/// Worker processes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workers {
    pub model: Model,
    pub processes: u16,
    pub dispatch: Dispatch,
    /// Processor time of a request relative to what was measured (for example of threads that fight for the lock).
    pub cpu_factor: f64,
}

/// How one process works on several requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Model {
    Sync,
    /// Threads that share an interpreter lock, which is taken from its holder after `switch` when another wants it.
    Threads {
        threads: u16,
        switch: f64,
    },
    /// Threads that run at the same time.
    FreeThreads {
        threads: u16,
    },
    /// One event loop with at most so many requests.
    Async {
        requests: u16,
    },
}

impl Model {
    /// CPython's `sys.getswitchinterval()`.
    pub const SWITCH: f64 = 0.005;

    /// Requests that a process works on at a time.
    #[must_use]
    pub fn slots(&self) -> u16 {
        match *self {
            Model::Sync => 1,
            Model::Threads { threads, .. } | Model::FreeThreads { threads } => threads,
            Model::Async { requests } => requests,
        }
    }
}

/// Which worker gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// The least loaded one with a free slot; while there is none, requests wait in one queue. What the host does.
    FreeSlot,
    /// In turns, whatever each has to do: one queue per worker. What servers do that hand out connections.
    InTurns,
}

/// Cores and who else uses them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cores {
    /// That this application can use at all: the machine's, or those of its set.
    pub count: f64,
    pub quota: Option<Quota>,
    pub neighbours: Option<Neighbours>,
}

impl Cores {
    #[must_use]
    pub fn own(count: f64) -> Self {
        Cores { count, quota: None, neighbours: None }
    }
}

/// Processor time per period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// Processor seconds per period.
    pub budget: f64,
    pub period: f64,
    /// Unused time that may be saved.
    pub burst: f64,
}

/// Others on the same cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbours {
    /// Threads that never stop.
    pub hogs: u32,
    /// Cores that other work needs on average, which comes at random times.
    pub load: f64,
    /// Mean processor time of a piece of that work (exponential).
    pub piece: f64,
    pub sharing: Sharing,
}

/// How the kernel divides cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sharing {
    /// Every thread the same.
    Threads,
    /// Every tenant by its weight: ours, and the sum of the neighbours'. A tenant's weight is divided among the cores on which it has threads,
    /// so one with a single thread competes with a core's part of the others'.
    Weights { own: f64, others: f64 },
}

/// Durable writes: one commit at a time, all that wait for it go into the next one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Disk {
    /// Each write is a commit of its own.
    pub one_at_a_time: bool,
}

/// A limit beyond which the fullest worker is killed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Memory {
    pub limit_bytes: Option<u64>,
}

/// What happens to the application.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trigger {
    /// No worker runs for so long.
    Stall(f64),
    /// The most loaded worker dies and comes back after a cold start.
    KillWorker,
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    /// Requests of this first time are not counted.
    pub warm_up: f64,
    /// Requests that arrive after this are not simulated; those that arrived before are followed to their end.
    pub end: f64,
}

impl Length {
    /// As long as about so many requests take, after a tenth of it.
    #[must_use]
    pub fn of_requests(count: f64, rate: f64) -> Self {
        let counted = count / rate;
        Length { warm_up: counted / 10.0, end: counted * 1.1 }
    }
}
