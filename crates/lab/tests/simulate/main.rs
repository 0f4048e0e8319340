//! The simulator against what queueing theory knows exactly, and against what must happen when something goes wrong.
//!
//! Seeds are fixed: a test passes always or never. An estimate must be within four standard errors of the exact value, and the
//! standard error must be below 2 % of it, so that a wrong model cannot hide in noise.

mod exact;
mod trouble;

use std::sync::Arc;

use lab::simulate::{
    Arriving, Class, Clients, Cores, Discipline, Disk, Dispatch, Estimate, Length, Memory, Model, Outcome,
    Profile, Queue, Sample, Scenario, Workers, run,
};

/// Milliseconds of a request in most tests.
const SERVICE: f64 = 0.010;

/// The mean of each of 4,096 equally likely slices of an exponential, so that mean and (nearly) variance are exact.
fn exponential(mean: f64) -> Vec<Sample> {
    let n = 4_096;
    let middle = |i: i32| -(1.0 - (f64::from(i) + 0.5) / f64::from(n)).ln();
    let total: f64 = (0..n).map(middle).sum();
    let scale = mean * 1e6 * f64::from(n) / total;
    (0..n).map(|i| Sample { cpu_us: (middle(i) * scale) as f32, wait_us: 0.0, fsyncs: 0 }).collect()
}

fn constant(cpu: f64, wait: f64) -> Vec<Sample> {
    vec![Sample { cpu_us: (cpu * 1e6) as f32, wait_us: (wait * 1e6) as f32, fsyncs: 0 }]
}

fn profile(samples: Vec<Sample>) -> Profile {
    Profile {
        classes: vec![Class { name: "GET /".into(), share: 1.0, waits: 1, samples }],
        overhead_us: 0.0,
        fsync_us: Vec::new(),
        worker_bytes: 0,
        request_bytes: 0,
        cold_start_ms: 0.0,
    }
}

/// As many sync workers as cores, no limits: M/G/c.
fn queue(samples: Vec<Sample>, servers: u16, load: f64) -> Scenario {
    let profile = profile(samples);
    let rate = load * f64::from(servers) / (profile.cpu() + profile.wait());
    Scenario {
        profile: Arc::new(profile),
        arriving: Arriving::Poisson { rate },
        clients: Clients::default(),
        queue: Queue { limit: 50_000, timeout: None, discipline: Discipline::Fifo, deadline: None },
        workers: Workers {
            model: Model::Sync,
            processes: servers,
            dispatch: Dispatch::FreeSlot,
            cpu_factor: 1.0,
        },
        cores: Cores::own(f64::from(servers)),
        disk: Disk::default(),
        memory: Memory::default(),
        triggers: Vec::new(),
        length: Length::of_requests(40_000.0, rate),
    }
}

fn runs(scenario: &Scenario) -> Vec<Outcome> {
    (0..16).map(|seed| run(scenario, seed)).collect()
}

fn estimate(outcomes: &[Outcome], of: impl Fn(&Outcome) -> f64) -> Estimate {
    Estimate::of(&outcomes.iter().map(of).collect::<Vec<_>>())
}

/// Within four standard errors (the interval's half-width is 2.13 of them with 16 runs) and 0.3 % for the rounding of the
/// samples, and precise enough to say so.
#[track_caller]
fn assert_exact(what: &str, estimate: Estimate, exact: f64) {
    let error = (estimate.high - estimate.low) / 2.0 / 2.13;
    let apart = (estimate.value - exact).abs();
    assert!(
        apart <= 4.0 * error + 0.003 * exact,
        "{what}: {} is not {exact} (error {error})",
        estimate.value
    );
    assert!(error < 0.02 * exact, "{what}: error {error} of {exact} proves nothing");
}
