//! The smallest configuration that meets a goal, by simulation.
//!
//! For each model a handful of candidates in the order of what they cost, tried with short runs; the first that meets the
//! goal with something to spare is predicted again with long ones. The traffic that it could bear at most is found by
//! bisection.

use std::sync::Arc;

use serde::Serialize;

use super::formulas::{self, Bound};
use crate::simulate::{
    Arriving, Clients, Cores, Disk, Dispatch, Length, Memory, Model, Neighbours, Prediction, Profile, Queue,
    Scenario, Sharing, Workers, replicate,
};

/// Share of the slots that may be in use; beyond, a little more traffic makes long queues.
pub const SLOTS_USED: f64 = 0.8;
/// The same of cores.
pub const CORES_USED: f64 = 0.85;
/// Share of requests that may fail.
pub const FAILED: f64 = 0.001;
/// Share of the cores that shared hosting can sell: the rest is for peaks.
const SOLD: f64 = 0.7;
/// Memory limit of an isolated application over what it is expected to need.
const MEMORY_SPARE: f64 = 1.3;
/// Workers and threads that are considered.
const MOST_WORKERS: u16 = 256;
const MOST_THREADS: u16 = 256;
/// Requests per event loop; the host's own default.
const LOOP: u16 = 1_000;

const TRIES: (u64, f64) = (2, 6_000.0);
const FINAL: (u64, f64) = (10, 20_000.0);
const SEED: u64 = 20_261_125;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Goal {
    /// Requests per second.
    pub rate: f64,
    /// The share `quantile` of them within so many seconds.
    pub quantile: f64,
    pub seconds: f64,
}

impl Goal {
    /// Whether a prediction meets it.
    #[must_use]
    pub fn is_met(&self, prediction: &Prediction, cores: f64) -> bool {
        let latency = if self.quantile >= 0.99 { prediction.p99 } else { prediction.p95 };
        latency.value <= self.seconds
            && prediction.failed.value <= FAILED
            && prediction.slots <= SLOTS_USED
            && prediction.cores <= CORES_USED * cores
            && !prediction.cut_off
    }
}

/// Where it would run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Machine {
    pub cores: u32,
    pub memory_bytes: u64,
    /// Cores that others use on average.
    pub neighbours: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tenancy {
    Shared,
    Isolated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    Sync,
    Threads,
    Async,
}

/// One configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Configuration {
    pub tenancy: Tenancy,
    pub concurrency: Concurrency,
    pub workers: u16,
    /// Per worker; 1 for sync, not used for async.
    pub threads: u16,
    /// Cores it can use at all.
    pub cores: f64,
}

/// A configuration and what it would do.
#[derive(Debug, Clone, Serialize)]
pub struct Proposal {
    #[serde(flatten)]
    pub configuration: Configuration,
    pub meets_goal: bool,
    /// What is to be paid for: whole cores if they are its own, otherwise what it uses and its part of the reserve.
    pub paid_cores: f64,
    pub paid_bytes: u64,
    pub prediction: Prediction,
    /// Requests per second up to which the goal is met; and beyond which, by formula, nothing could be served.
    pub capacity: f64,
    pub highest: f64,
    #[serde(skip)]
    pub bound: Bound,
}

impl Configuration {
    #[must_use]
    pub fn model(&self) -> Model {
        match self.concurrency {
            Concurrency::Sync => Model::Sync,
            Concurrency::Threads => Model::Threads { threads: self.threads, switch: Model::SWITCH },
            Concurrency::Async => Model::Async { requests: LOOP },
        }
    }

    /// The simulation of it. `count` requests are counted.
    #[must_use]
    pub fn scenario(&self, profile: &Arc<Profile>, rate: f64, machine: &Machine, count: f64) -> Scenario {
        let others = Neighbours {
            hogs: 0,
            load: machine.neighbours,
            piece: 0.005,
            sharing: Sharing::Weights { own: 100.0, others: 100.0 },
        };
        let neighbours = Some(others).filter(|others| self.tenancy == Tenancy::Shared && others.load > 0.0);
        Scenario {
            profile: Arc::clone(profile),
            arriving: Arriving::Poisson { rate },
            clients: Clients::default(),
            queue: Queue::default(),
            workers: Workers {
                model: self.model(),
                processes: self.workers,
                dispatch: Dispatch::FreeSlot,
                cpu_factor: 1.0,
            },
            cores: Cores { neighbours, ..Cores::own(self.cores) },
            disk: Disk::default(),
            memory: Memory::default(),
            triggers: Vec::new(),
            length: Length::of_requests(count, rate),
        }
    }

    fn predict(
        &self,
        profile: &Arc<Profile>,
        rate: f64,
        machine: &Machine,
        effort: (u64, f64),
    ) -> Prediction {
        replicate(&self.scenario(profile, rate, machine, effort.1), SEED, effort.0)
    }

    fn meets(&self, profile: &Arc<Profile>, goal: &Goal, rate: f64, machine: &Machine) -> bool {
        goal.is_met(&self.predict(profile, rate, machine, TRIES), self.spare(machine))
    }

    /// Cores that neighbours leave.
    fn spare(&self, machine: &Machine) -> f64 {
        match self.tenancy {
            Tenancy::Shared => (self.cores - machine.neighbours).max(0.0),
            Tenancy::Isolated => self.cores,
        }
    }

    /// Memory of all workers with as many requests as are under way at the busiest moment of a prediction.
    fn bytes(&self, profile: &Profile, prediction: &Prediction) -> u64 {
        (u64::from(self.workers) * profile.worker_bytes).max(prediction.most_bytes)
    }
}

/// The smallest configuration of a model and tenancy, or the largest that was tried, which then does not meet the goal.
#[must_use]
pub fn propose(
    profile: &Arc<Profile>,
    goal: &Goal,
    machine: &Machine,
    tenancy: Tenancy,
    concurrency: Concurrency,
) -> Proposal {
    let candidates = candidates(profile, goal, machine, tenancy, concurrency);
    let found = candidates.iter().find(|candidate| candidate.meets(profile, goal, goal.rate, machine));
    let fallback = || {
        // The one that is nearest to the goal, by the number that matters.
        let fails =
            |candidate: &&Configuration| candidate.predict(profile, goal.rate, machine, TRIES).p95.value;
        candidates.iter().min_by(|a, b| fails(a).total_cmp(&fails(b)))
    };
    let configuration = *found.or_else(fallback).unwrap_or(&Configuration {
        tenancy,
        concurrency,
        workers: 1,
        threads: 1,
        cores: f64::from(machine.cores),
    });
    assess(profile, goal, machine, configuration)
}

/// What a given configuration would do.
#[must_use]
pub fn assess(
    profile: &Arc<Profile>,
    goal: &Goal,
    machine: &Machine,
    configuration: Configuration,
) -> Proposal {
    let prediction = configuration.predict(profile, goal.rate, machine, FINAL);
    let bytes = configuration.bytes(profile, &prediction);
    let (paid_cores, paid_bytes) = match configuration.tenancy {
        Tenancy::Shared => (prediction.cores / SOLD, bytes),
        Tenancy::Isolated => (configuration.cores.ceil(), (bytes as f64 * MEMORY_SPARE) as u64),
    };
    let spare = configuration.spare(machine);
    let slots = u32::from(configuration.model().slots());
    let (highest, bound) = formulas::highest_throughput(
        u32::from(configuration.workers),
        slots,
        profile.cpu(),
        profile.wait(),
        spare,
        true,
    );
    let meets_goal = goal.is_met(&prediction, spare);
    let known = if meets_goal { goal.rate } else { 0.0 };
    Proposal {
        configuration,
        meets_goal,
        paid_cores,
        paid_bytes,
        capacity: capacity(profile, goal, machine, &configuration, (known, highest)),
        prediction,
        highest,
        bound,
    }
}

/// The highest rate at which the goal is met, to 2 %, from one at which it is to one at which it cannot be.
fn capacity(
    profile: &Arc<Profile>,
    goal: &Goal,
    machine: &Machine,
    configuration: &Configuration,
    (mut low, mut high): (f64, f64),
) -> f64 {
    for _ in 0..12 {
        let middle = f64::midpoint(low, high);
        if middle <= 0.0 || high - low < 0.02 * high {
            break;
        }
        if configuration.meets(profile, goal, middle, machine) { low = middle } else { high = middle }
    }
    low
}

/// In the order of what they cost.
fn candidates(
    profile: &Profile,
    goal: &Goal,
    machine: &Machine,
    tenancy: Tenancy,
    concurrency: Concurrency,
) -> Vec<Configuration> {
    let under_way = formulas::under_way(goal.rate, profile.cpu() + profile.wait());
    let mut found = Vec::new();
    let sets = match tenancy {
        Tenancy::Shared => machine.cores..=machine.cores,
        Tenancy::Isolated => 1..=machine.cores,
    };
    for cores in sets {
        let mut add = |workers: u16, threads: u16| {
            found.push(Configuration { tenancy, concurrency, workers, threads, cores: f64::from(cores) });
        };
        let processes = 1..=u16::try_from(cores).unwrap_or(MOST_WORKERS).min(MOST_WORKERS);
        match concurrency {
            Concurrency::Sync => {
                steps(under_way / SLOTS_USED, MOST_WORKERS).for_each(|workers| add(workers, 1));
            }
            Concurrency::Threads => processes.for_each(|workers| {
                steps(under_way / SLOTS_USED / f64::from(workers), MOST_THREADS)
                    .for_each(|threads| add(workers, threads.max(2)));
            }),
            Concurrency::Async => processes.for_each(|workers| add(workers, 1)),
        }
    }
    found
}

/// From the least that could do, about a fifth more each time, up to four times as much.
fn steps(least: f64, most: u16) -> impl Iterator<Item = u16> {
    let first = (least.ceil().max(1.0) as u64).min(u64::from(most)) as u16;
    let last = first.saturating_mul(4).clamp(4, most).max(first);
    std::iter::successors(Some(first), move |number| {
        (*number < last).then(|| (number + (number / 5).max(1)).min(last))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Class, Sample};

    const MACHINE: Machine = Machine { cores: 2, memory_bytes: 8 << 30, neighbours: 0.0 };

    fn profile(cpu_us: f32, wait_us: f32) -> Arc<Profile> {
        let sample = Sample { cpu_us, wait_us, fsyncs: 0 };
        Arc::new(Profile {
            classes: vec![Class { name: "GET /".into(), share: 1.0, waits: 1, samples: vec![sample] }],
            overhead_us: 0.0,
            fsync_us: Vec::new(),
            worker_bytes: 50 << 20,
            request_bytes: 0,
            cold_start_ms: 0.0,
        })
    }

    /// 200/s that compute 2 ms and wait 50 ms: 10.4 under way. Sync needs a worker for each and some to spare, threads the
    /// same number of threads in one worker, an event loop is one worker at 40 %.
    #[test]
    fn the_smallest_that_does() {
        let goal = Goal { rate: 200.0, quantile: 0.95, seconds: 0.1 };
        let propose = |tenancy, concurrency| {
            propose(&profile(2_000.0, 50_000.0), &goal, &MACHINE, tenancy, concurrency)
        };
        let sync = propose(Tenancy::Shared, Concurrency::Sync);
        assert!(
            sync.meets_goal && (13..=18).contains(&sync.configuration.workers),
            "{:?}",
            sync.configuration
        );
        assert_eq!(sync.bound, Bound::Slots);
        assert!(sync.capacity >= 200.0 && sync.capacity < sync.highest, "{} {}", sync.capacity, sync.highest);
        let threads = propose(Tenancy::Shared, Concurrency::Threads);
        assert!(threads.meets_goal && threads.configuration.workers == 1, "{:?}", threads.configuration);
        assert!((13..=20).contains(&threads.configuration.threads), "{:?}", threads.configuration);
        let event_loop = propose(Tenancy::Isolated, Concurrency::Async);
        assert!(event_loop.meets_goal && event_loop.configuration.workers == 1);
        assert_eq!((event_loop.paid_cores, event_loop.bound), (1.0, Bound::Cores));
        assert!((event_loop.highest - 500.0).abs() < 1e-6);
        assert!(event_loop.paid_bytes < sync.paid_bytes / 5);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let too_much = Goal { rate: 5_000.0, quantile: 0.95, seconds: 0.1 };
        assert!(
            !propose(&profile(2_000.0, 0.0), &too_much, &MACHINE, Tenancy::Shared, Concurrency::Sync)
                .meets_goal
        );
        let too_fast = Goal { rate: 10.0, quantile: 0.95, seconds: 0.01 };
        let slow =
            propose(&profile(2_000.0, 50_000.0), &too_fast, &MACHINE, Tenancy::Shared, Concurrency::Async);
        assert!(!slow.meets_goal && slow.capacity == 0.0);
    }

    /// Neighbours take their part: what fits alone needs more, or does not fit.
    #[test]
    fn neighbours_count() {
        let goal = Goal { rate: 200.0, quantile: 0.95, seconds: 0.05 };
        let busy = Machine { neighbours: 1.2, ..MACHINE };
        let alone = propose(&profile(4_000.0, 0.0), &goal, &MACHINE, Tenancy::Shared, Concurrency::Sync);
        let beside = propose(&profile(4_000.0, 0.0), &goal, &busy, Tenancy::Shared, Concurrency::Sync);
        assert!(alone.meets_goal && !beside.meets_goal, "{:?}", beside.prediction.p95);
        let same = assess(&profile(4_000.0, 0.0), &goal, &busy, alone.configuration);
        assert!(same.prediction.p95.value > 1.3 * alone.prediction.p95.value, "{:?}", same.prediction.p95);
    }
}
