//! The plan: everything that is shown, as data.

use lab::plan::capacity::{self, Concurrency, Configuration, Goal, Machine, Proposal, Tenancy};
use lab::plan::tenancy::{self, Demand, Fit};
use lab::plan::trust::{Figures, Trust};
use lab::plan::what_if::{self, Metastability, WhatIf};
use lab::simulate::replicate;
use serde::Serialize;
use serpentry::control;

use super::PlanArguments;
use super::observe::{Observed, Present};

/// Requests and runs of the comparison with what was measured.
const COMPARED: (u64, f64) = (10, 20_000.0);
const SEED: u64 = 1;
const GIB: f64 = 1_073_741_824.0;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) app: String,
    pub(super) source: String,
    pub(super) goal: Goal,
    pub(super) machine: Machine,
    pub(super) request: Request,
    /// None when there was nothing to compare with.
    pub(super) trust: Option<Trust>,
    pub(super) why_not_compared: Option<&'static str>,
    pub(super) proposals: Vec<Priced>,
    /// Of `proposals`: the cheapest that meets the goal.
    pub(super) best: Option<usize>,
    pub(super) metastability: Option<Metastability>,
    pub(super) tenants: Tenants,
    pub(super) what_if: Vec<WhatIf>,
    pub(super) assumed: Vec<String>,
}

/// A request of this application on average.
#[derive(Debug, Serialize)]
pub(super) struct Request {
    pub(super) cpu_ms: f64,
    pub(super) wait_ms: f64,
    /// Squared coefficient of variation of the time that it needs.
    pub(super) variability: f64,
    pub(super) worker_bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Priced {
    #[serde(flatten)]
    pub(super) proposal: Proposal,
    pub(super) cost_per_hour: Option<f64>,
    /// At the highest rate that meets the goal.
    pub(super) cost_per_million: Option<f64>,
}

/// How many applications like this one fit on the machine, each with the traffic of the goal.
#[derive(Debug, Serialize)]
pub(super) struct Tenants {
    pub(super) shared: u32,
    pub(super) shared_full: &'static str,
    pub(super) isolated: u32,
    pub(super) isolated_full: &'static str,
    /// Cores that neighbours may use on this machine until a core of its own is faster for it; None when one is not enough.
    pub(super) neighbours_until_isolated_is_faster: Option<f64>,
}

impl Answer {
    pub(super) fn of(arguments: &PlanArguments, observed: &Observed) -> Answer {
        let (quantile, time) = match (arguments.p99, arguments.p95) {
            (Some(p99), _) => (0.99, p99.as_secs_f64()),
            (None, p95) => (0.95, p95.map_or(0.25, |p95| p95.as_secs_f64())),
        };
        let goal = Goal { rate: arguments.rps, quantile, seconds: time };
        let machine = machine(arguments);
        let profile = &observed.profile;
        let proposals: Vec<Priced> = models(arguments, observed.present.as_ref())
            .into_iter()
            .flat_map(|model| [Tenancy::Shared, Tenancy::Isolated].map(|tenancy| (tenancy, model)))
            .map(|(tenancy, model)| {
                let proposal = match given(arguments, &machine, tenancy, model) {
                    Some(configuration) => capacity::assess(profile, &goal, &machine, configuration),
                    None => capacity::propose(profile, &goal, &machine, tenancy, model),
                };
                Priced::of(arguments, proposal, machine.memory_bytes)
            })
            .collect();
        let best = best(&proposals);
        let chosen = best.map(|index| &proposals[index].proposal);
        let (trust, why_not_compared) = trust(observed);
        Answer {
            app: observed.name.clone(),
            source: observed.source.clone(),
            goal,
            machine,
            request: Request {
                cpu_ms: profile.cpu() * 1e3,
                wait_ms: profile.wait() * 1e3,
                variability: profile.variability(),
                worker_bytes: profile.worker_bytes,
            },
            trust,
            why_not_compared,
            metastability: chosen.map(|chosen| {
                what_if::metastability(profile, &goal, &machine, &chosen.configuration, chosen.highest)
            }),
            tenants: Tenants::of(observed, &goal, &machine, &proposals),
            what_if: chosen
                .map_or(Vec::new(), |chosen| what_if::table(profile, &goal, &machine, &chosen.configuration)),
            proposals,
            best,
            assumed: observed.assumed.clone(),
        }
    }
}

fn machine(arguments: &PlanArguments) -> Machine {
    let system = rustix::system::sysinfo();
    let memory = system.totalram as u64 * u64::from(system.mem_unit.max(1));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Machine {
        cores: arguments.cores.unwrap_or(u32::try_from(cores).unwrap_or(1)),
        memory_bytes: arguments.memory.unwrap_or(memory),
        neighbours: arguments.neighbours,
    }
}

/// What the application can have: an event loop needs one that is written for it.
fn models(arguments: &PlanArguments, present: Option<&Present>) -> Vec<Concurrency> {
    if !arguments.concurrency.is_empty() {
        return arguments.concurrency.iter().map(|name| name.concurrency()).collect();
    }
    match present.map(|present| present.concurrency) {
        Some(control::Concurrency::Async) => vec![Concurrency::Async],
        Some(_) => vec![Concurrency::Sync, Concurrency::Threads],
        None => vec![Concurrency::Sync, Concurrency::Threads, Concurrency::Async],
    }
}

/// The configuration that was asked about; isolated, it has as many cores as can be used.
fn given(
    arguments: &PlanArguments,
    machine: &Machine,
    tenancy: Tenancy,
    concurrency: Concurrency,
) -> Option<Configuration> {
    let workers = arguments.workers?;
    let threads = if concurrency == Concurrency::Threads { arguments.threads } else { 1 };
    let cores = match tenancy {
        Tenancy::Shared => machine.cores,
        Tenancy::Isolated => machine.cores.min(u32::from(workers)),
    };
    Some(Configuration { tenancy, concurrency, workers, threads, cores: f64::from(cores) })
}

impl Priced {
    fn of(arguments: &PlanArguments, mut proposal: Proposal, memory: u64) -> Priced {
        proposal.meets_goal &= proposal.paid_bytes <= memory;
        let priced = arguments.price_core.is_some() || arguments.price_gb.is_some();
        let cost_per_hour = priced.then(|| {
            arguments.price_core.unwrap_or(0.0) * proposal.paid_cores
                + arguments.price_gb.unwrap_or(0.0) * proposal.paid_bytes as f64 / GIB
        });
        let cost_per_million = cost_per_hour
            .filter(|_| proposal.capacity > 0.0)
            .map(|cost| cost * 1e6 / (3_600.0 * proposal.capacity));
        Priced { proposal, cost_per_hour, cost_per_million }
    }
}

/// The cheapest that meets the goal; without prices the one with the fewest cores, then the least memory. The simpler one
/// comes first in the list and wins a tie.
fn best(proposals: &[Priced]) -> Option<usize> {
    let price = |priced: &Priced| {
        // Without prices a core counts as four GiB, as on most price lists.
        let Proposal { paid_cores, paid_bytes, .. } = priced.proposal;
        priced.cost_per_hour.unwrap_or(4.0 * paid_cores + paid_bytes as f64 / GIB)
    };
    let meets = proposals.iter().enumerate().filter(|(_, priced)| priced.proposal.meets_goal);
    meets.min_by(|a, b| price(a.1).total_cmp(&price(b.1))).map(|(index, _)| index)
}

/// What the simulation says about the present, against the present.
fn trust(observed: &Observed) -> (Option<Trust>, Option<&'static str>) {
    let Some(present) = &observed.present else {
        return (None, Some("a profile from a file has no measured run to compare with"));
    };
    let Some(configuration) = present.configuration else {
        return (None, Some("it does not serve at the moment"));
    };
    let Some(measured) = present.measured else {
        return (None, Some("it has too little traffic at the moment"));
    };
    let machine = Machine { cores: 1, memory_bytes: 0, neighbours: 0.0 };
    let scenario = configuration.scenario(&observed.profile, measured.throughput, &machine, COMPARED.1);
    let prediction = replicate(&scenario, SEED, COMPARED.0);
    let predicted = Figures {
        p50: prediction.p50.value,
        p95: prediction.p95.value,
        throughput: prediction.throughput.value,
    };
    (Some(Trust::of(measured, predicted)), None)
}

impl Tenants {
    fn of(observed: &Observed, goal: &Goal, machine: &Machine, proposals: &[Priced]) -> Tenants {
        let cheapest = |tenancy| {
            let of_tenancy = proposals.iter().map(|priced| &priced.proposal);
            of_tenancy
                .filter(|proposal| proposal.configuration.tenancy == tenancy && proposal.meets_goal)
                .min_by(|a, b| {
                    (a.paid_cores, a.paid_bytes)
                        .partial_cmp(&(b.paid_cores, b.paid_bytes))
                        .unwrap_or(std::cmp::Ordering::Equal)
                })
        };
        let (cores, memory) = (f64::from(machine.cores), machine.memory_bytes);
        let none = Fit { tenants: 0, full: tenancy::Full::Cores };
        let demand = Demand::of(&observed.profile, goal.rate);
        let shared = cheapest(Tenancy::Shared).map_or(none, |proposal| {
            tenancy::fit_shared(demand, proposal.paid_bytes, capacity::CORES_USED * cores, memory)
        });
        let isolated = cheapest(Tenancy::Isolated).map_or(none, |proposal| {
            tenancy::fit_isolated(proposal.paid_cores, proposal.paid_bytes, cores, memory)
        });
        let full = |fit: Fit| match fit.full {
            tenancy::Full::Cores => "cores",
            tenancy::Full::Memory => "memory",
        };
        Tenants {
            shared: shared.tenants,
            shared_full: full(shared),
            isolated: isolated.tenants,
            isolated_full: full(isolated),
            neighbours_until_isolated_is_faster: (demand.mean < 1.0)
                .then(|| tenancy::crossover(machine.cores, 1, demand.mean)),
        }
    }
}
