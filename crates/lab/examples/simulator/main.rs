//! How many things the simulator handles per second: `cargo run --release -p lab --example simulator [REQUESTS]`.
//!
//! One plain queue as the theory has it, then an application with everything on: routes that compute and wait, threads that
//! fight for the lock, a quota, neighbours, clients with timeouts and retries, the host's limits. Best of several
//! runs, in processor time of one core.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::sync::Arc;
use std::time::Duration;

use lab::Random;
use lab::simulate::{
    Arriving, Class, Clients, Cores, Discipline, Disk, Dispatch, Length, Memory, Model, Neighbours, Profile,
    Queue, Quota, Retries, Sample, Scenario, Sharing, Workers, run,
};

const RUNS: u64 = 7;

fn samples(count: usize, cpu_us: f64, wait_us: f64, random: &mut Random) -> Vec<Sample> {
    let mut draw = |mean: f64| (mean * random.exponential()) as f32;
    (0..count).map(|_| Sample { cpu_us: draw(cpu_us), wait_us: draw(wait_us), fsyncs: 0 }).collect()
}

/// M/M/c at 80 %.
fn plain(servers: u16) -> Scenario {
    let mut random = Random::new(1);
    let class = Class {
        name: "GET /".into(),
        share: 1.0,
        waits: 1,
        samples: samples(1_024, 10_000.0, 0.0, &mut random),
    };
    scenario(vec![class], 80.0 * f64::from(servers), servers)
}

fn scenario(classes: Vec<Class>, rate: f64, servers: u16) -> Scenario {
    let profile = Profile {
        classes,
        overhead_us: 100.0,
        fsync_us: vec![2_000.0],
        worker_bytes: 50 << 20,
        request_bytes: 0,
        cold_start_ms: 500.0,
    };
    Scenario {
        profile: Arc::new(profile),
        arriving: Arriving::Poisson { rate },
        clients: Clients::default(),
        queue: Queue { limit: 10_000, timeout: None, discipline: Discipline::Fifo, deadline: None },
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
        length: Length::of_requests(1e5, rate),
    }
}

/// An application on two cores, at about 70 % of what it may use.
fn full(model: Model, processes: u16) -> Scenario {
    let mut random = Random::new(2);
    let class = |name: &str, share, waits, samples| Class { name: name.into(), share, waits, samples };
    let classes = vec![
        class("GET /", 0.6, 1, samples(1_024, 1_000.0, 5_000.0, &mut random)),
        class("GET /items/{}", 0.3, 3, samples(1_024, 2_000.0, 20_000.0, &mut random)),
        class("POST /items", 0.1, 2, samples(1_024, 5_000.0, 30_000.0, &mut random)),
    ];
    let mut scenario = scenario(classes, 500.0, processes);
    scenario.workers.model = model;
    scenario.clients = Clients {
        timeout: Some(1.0),
        retries: Some(Retries { most: 2, pause: 0.05, budget: Some(0.1) }),
        hang_up: true,
    };
    scenario.queue = Queue::default();
    scenario.cores = Cores {
        count: 2.0,
        quota: Some(Quota { budget: 0.15, period: 0.1, burst: 0.05 }),
        neighbours: Some(Neighbours {
            hogs: 0,
            load: 0.3,
            piece: 0.01,
            sharing: Sharing::Weights { own: 100.0, others: 100.0 },
        }),
    };
    scenario
}

/// Of this thread, so that what else the machine does costs only its caches.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() {
    let requests: f64 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(400_000.0);
    println!("{:<44} {:>9} {:>12} {:>14} {:>9}", "scenario", "requests", "events", "events/s", "p95 ms");
    for (name, mut scenario) in [
        ("M/M/1 at 80 %", plain(1)),
        ("M/M/4 at 80 %", plain(4)),
        ("M/M/32 at 80 %", plain(32)),
        ("everything on: 16 sync workers", full(Model::Sync, 16)),
        (
            "everything on: 2 workers x 12 threads",
            full(Model::Threads { threads: 12, switch: Model::SWITCH }, 2),
        ),
        ("everything on: 2 event loops", full(Model::Async { requests: 1_000 }, 2)),
    ] {
        let rate = scenario.arriving.rate().unwrap_or(1.0);
        scenario.length = Length::of_requests(requests, rate);
        let mut best = (0.0, 0);
        let mut p95 = 0.0;
        for seed in 0..RUNS {
            let begun = processor_time();
            let outcome = run(&scenario, seed);
            let speed = outcome.events as f64 / (processor_time() - begun).as_secs_f64();
            if speed > best.0 {
                best = (speed, outcome.events);
            }
            p95 = outcome.latency(0.95) * 1e3;
        }
        println!("{name:<44} {requests:>9} {:>12} {:>14.0} {p95:>9.2}", best.1, best.0);
    }
}
