//! What would happen otherwise: the same configuration under another traffic, with other clients, or in trouble.

use std::sync::Arc;

use serde::Serialize;

use super::capacity::{Configuration, Goal, Machine, Tenancy};
use super::formulas::metastable_from;
use crate::simulate::{
    Clients, Discipline, Length, Neighbours, Prediction, Profile, Retries, Scenario, Sharing, Trigger,
    replicate, run,
};

const RUNS: u64 = 4;
const REQUESTS: f64 = 10_000.0;
const SEED: u64 = 7;

/// One row of the table.
#[derive(Debug, Clone, Serialize)]
pub struct WhatIf {
    pub what: String,
    pub prediction: Prediction,
    /// Whether the goal is still met.
    pub meets_goal: bool,
}

/// The rows, the configuration as it is first.
#[must_use]
pub fn table(
    profile: &Arc<Profile>,
    goal: &Goal,
    machine: &Machine,
    configuration: &Configuration,
) -> Vec<WhatIf> {
    let base = || configuration.scenario(profile, goal.rate, machine, REQUESTS);
    let spare = match configuration.tenancy {
        Tenancy::Shared => (configuration.cores - machine.neighbours).max(0.0),
        Tenancy::Isolated => configuration.cores,
    };
    let mut rows: Vec<(String, Scenario)> = vec![("as proposed".into(), base())];
    let mut workers = |what: &str, count: u16| {
        let mut scenario = base();
        scenario.workers.processes = count;
        rows.push((format!("{what} ({count})"), scenario));
    };
    if configuration.workers > 1 {
        workers("one worker less", configuration.workers - 1);
    }
    workers("one worker more", configuration.workers + 1);
    let mut twice = base();
    twice.arriving = twice.arriving.times(2.0);
    twice.length = Length::of_requests(REQUESTS, 2.0 * goal.rate);
    let mut shed = twice.clone();
    shed.queue.discipline = Discipline::CoDel { target: 0.005, interval: 0.1 };
    rows.push(("twice the traffic".into(), twice));
    rows.push(("twice the traffic, queue sheds early (CoDel)".into(), shed));
    let mut impatient = base();
    impatient.clients = Clients { timeout: Some(4.0 * goal.seconds), ..retrying(None, true) };
    rows.push(("clients give up after 4 x the goal and retry twice".into(), impatient));
    if configuration.tenancy == Tenancy::Shared {
        let hogs = machine.cores;
        let mut noisy = base();
        noisy.cores.neighbours = Some(Neighbours {
            hogs,
            load: machine.neighbours,
            piece: 0.005,
            sharing: Sharing::Weights { own: 100.0, others: 100.0 },
        });
        rows.push((format!("a neighbour that keeps {hogs} threads busy"), noisy));
    }
    let mut killed = base();
    killed.triggers = vec![(killed.length.warm_up, Trigger::KillWorker)];
    rows.push(("a worker is killed".into(), killed));
    let simulate = |(what, scenario): (String, Scenario)| {
        let prediction = replicate(&scenario, SEED, RUNS);
        WhatIf { what, prediction, meets_goal: goal.is_met(&prediction, spare) }
    };
    rows.into_iter().map(simulate).collect()
}

fn retrying(budget: Option<f64>, hang_up: bool) -> Clients {
    Clients { timeout: None, retries: Some(Retries { most: 2, pause: 0.05, budget }), hang_up }
}

/// How near an overload is that would keep itself alive by retries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Metastability {
    /// Share of what could be served at most that the traffic is.
    pub load: f64,
    /// Load from which it is possible when clients retry twice; and the distance to it, negative beyond.
    pub boundary: f64,
    pub distance: f64,
    /// Goodput from 8 to 12 s after all workers stood still for a second, over goodput before: with clients that retry
    /// twice, with a retry budget of 10 %, and with a queue that sheds early.
    pub goodput_after_stall: f64,
    pub goodput_with_budget: f64,
    pub goodput_with_codel: f64,
}

/// Below this the system has not come back.
pub const RECOVERED: f64 = 0.9;

/// Requests of which the stall is simulated at most: 45 s of any traffic up to 4,000 per second.
const MOST_REQUESTS: f64 = 180_000.0;

#[must_use]
pub fn metastability(
    profile: &Arc<Profile>,
    goal: &Goal,
    machine: &Machine,
    configuration: &Configuration,
    highest: f64,
) -> Metastability {
    let goodput = |clients: Clients, discipline: Discipline| {
        let mut scenario = configuration.scenario(profile, goal.rate, machine, 1.0);
        scenario.clients = Clients { timeout: Some((2.0 * goal.seconds).max(0.1)), ..clients };
        scenario.queue.discipline = discipline;
        // The stall comes late enough to know how it was before, if the traffic is not too much to simulate.
        let before = (MOST_REQUESTS / goal.rate - 15.0).clamp(5.0, 30.0);
        scenario.triggers = vec![(before, Trigger::Stall(1.0))];
        scenario.length = Length { warm_up: 0.0, end: before + 15.0 };
        let outcome = run(&scenario, SEED);
        outcome.rates_between(before + 9.0, before + 13.0).0 / outcome.rates_between(1.0, before).0
    };
    let load = goal.rate / highest;
    let boundary = metastable_from(2.0);
    Metastability {
        load,
        boundary,
        distance: boundary - load,
        goodput_after_stall: goodput(retrying(None, true), Discipline::Fifo),
        goodput_with_budget: goodput(retrying(Some(0.1), true), Discipline::Fifo),
        goodput_with_codel: goodput(retrying(None, true), Discipline::CoDel { target: 0.005, interval: 0.1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::capacity::Concurrency;
    use crate::simulate::{Class, Sample};

    fn profile() -> Arc<Profile> {
        let samples = (1..=40_u8).map(|i| Sample { cpu_us: 500.0 * f32::from(i), wait_us: 0.0, fsyncs: 0 });
        Arc::new(Profile {
            classes: vec![Class { name: "GET /".into(), share: 1.0, waits: 1, samples: samples.collect() }],
            overhead_us: 0.0,
            fsync_us: Vec::new(),
            worker_bytes: 50 << 20,
            request_bytes: 0,
            cold_start_ms: 500.0,
        })
    }

    const MACHINE: Machine = Machine { cores: 2, memory_bytes: 8 << 30, neighbours: 0.0 };
    const TWO: Configuration = Configuration {
        tenancy: Tenancy::Shared,
        concurrency: Concurrency::Sync,
        workers: 2,
        threads: 1,
        cores: 2.0,
    };

    #[test]
    fn each_row_changes_what_it_says() {
        // About 10 ms each: 60 % of two cores.
        let goal = Goal { rate: 120.0, quantile: 0.95, seconds: 0.06 };
        let rows = table(&profile(), &goal, &MACHINE, &TWO);
        let p95 = |what: &str| {
            let row = rows.iter().find(|row| row.what.starts_with(what));
            row.unwrap_or_else(|| panic!("no row {what}: {rows:?}")).prediction.p95.value
        };
        let base = p95("as proposed");
        assert!(rows[0].meets_goal && base < 0.05, "{base}");
        assert!(p95("one worker less") > 3.0 * base, "one core is too little");
        assert!(p95("twice the traffic").is_infinite(), "more than fail than a twentieth");
        assert!(p95("a neighbour that keeps") > 1.3 * base);
        assert!(p95("a worker is killed") > base);
        assert!(!rows.iter().any(|row| row.what.starts_with("twice") && row.meets_goal));
    }

    #[test]
    fn high_load_and_retries_do_not_come_back() {
        let goal = |rate| Goal { rate, quantile: 0.95, seconds: 0.1 };
        let highest = 2.0 / profile().cpu();
        let far = metastability(&profile(), &goal(40.0), &MACHINE, &TWO, highest);
        assert!(far.distance > 0.0 && far.goodput_after_stall > RECOVERED, "{far:?}");
        let near = metastability(&profile(), &goal(175.0), &MACHINE, &TWO, highest);
        assert!(near.distance < 0.0 && near.goodput_after_stall < RECOVERED, "{near:?}");
        assert!(near.goodput_with_codel > near.goodput_after_stall, "{near:?}");
    }
}
