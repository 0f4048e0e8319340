//! Known results. R: mean time in the system, S: mean service time, rho: load.

use lab::simulate::{
    Arriving, Class, Cores, Dispatch, Length, Model, Neighbours, Outcome, Queue, Sample, Sharing, run,
};

use super::{SERVICE, assert_exact, constant, estimate, exponential, queue, runs};

/// R = S / (1 - rho), and R is exponential.
#[test]
fn one_server() {
    let outcomes = runs(&queue(exponential(SERVICE), 1, 0.7));
    let mean = SERVICE / 0.3;
    assert_exact("mean", estimate(&outcomes, Outcome::mean_latency), mean);
    assert_exact("p50", estimate(&outcomes, |outcome| outcome.latency(0.5)), mean * 2.0_f64.ln());
    assert_exact("p95", estimate(&outcomes, |outcome| outcome.latency(0.95)), mean * 20.0_f64.ln());
    assert_exact("load", estimate(&outcomes, Outcome::cores_used), 0.7);
    assert_exact("slots", estimate(&outcomes, Outcome::slots_used), 0.7);
    assert_exact("throughput", estimate(&outcomes, Outcome::throughput), 70.0);
    assert_exact("wait", estimate(&outcomes, |outcome| outcome.queued as f64 / outcome.attempts as f64), 0.7);
}

/// Erlang C with 4 servers at 80 %: P(wait) = 0.5964, Wq = P / (c mu - lambda) = 0.7455 S.
#[test]
fn several_servers() {
    let outcomes = runs(&queue(exponential(SERVICE), 4, 0.8));
    assert_exact("mean", estimate(&outcomes, Outcome::mean_latency), 1.7455 * SERVICE);
    let waits = |outcome: &Outcome| outcome.queued as f64 / outcome.attempts as f64;
    assert_exact("share that waits", estimate(&outcomes, waits), 0.5964);
}

/// Pollaczek and Khinchine without variance: Wq = rho S / 2 (1 - rho).
#[test]
fn constant_service() {
    let outcomes = runs(&queue(constant(SERVICE, 0.0), 1, 0.8));
    assert_exact("mean", estimate(&outcomes, Outcome::mean_latency), SERVICE * (1.0 + 0.8 / 0.4));
}

/// Processor sharing does not care how work is distributed: nine requests of 1 ms to one of 91 ms take S / (1 - rho) on
/// average, and each in proportion to its work.
#[test]
fn a_shared_core_is_insensitive() {
    let mut samples = vec![constant(0.001, 0.0)[0]; 9];
    samples.push(constant(0.091, 0.0)[0]);
    let mut scenario = queue(samples, 1, 0.5);
    scenario.workers.model = Model::FreeThreads { threads: 300 };
    scenario.length = Length::of_requests(60_000.0, 50.0);
    let outcomes = runs(&scenario);
    assert_exact("mean", estimate(&outcomes, Outcome::mean_latency), SERVICE / 0.5);
}

/// Two cores shared by any number of threads have as many requests inside as M/M/2: R = S / (1 - rho^2).
#[test]
fn two_shared_cores() {
    let mut scenario = queue(exponential(SERVICE), 2, 0.7);
    scenario.workers.model = Model::FreeThreads { threads: 60 };
    let outcomes = runs(&scenario);
    assert_exact("mean", estimate(&outcomes, Outcome::mean_latency), SERVICE / (1.0 - 0.49));
}

/// The same with neighbours: half a core of ours, half a core of theirs. Alone on one core it would be S / (1 - 0.5).
#[test]
fn neighbours_that_share_two_cores() {
    let mut scenario = queue(exponential(SERVICE), 2, 0.25);
    scenario.workers.model = Model::FreeThreads { threads: 60 };
    let neighbours = Neighbours { hogs: 0, load: 0.5, piece: SERVICE, sharing: Sharing::Threads };
    scenario.cores.neighbours = Some(neighbours);
    let outcomes = runs(&scenario);
    assert_exact("mean", estimate(&outcomes, Outcome::mean_latency), SERVICE / (1.0 - 0.25));
}

/// M/M/1/K refuses (1 - rho) rho^K / (1 - rho^(K+1)); here K = 1 + 4 and rho = 0.9.
#[test]
fn a_bounded_queue() {
    let mut scenario = queue(exponential(SERVICE), 1, 0.9);
    scenario.queue.limit = 4;
    let outcomes = runs(&scenario);
    let exact = 0.1 * 0.9_f64.powi(5) / (1.0 - 0.9_f64.powi(6));
    let refused = |outcome: &Outcome| outcome.failed() as f64 / outcome.planned as f64;
    assert_exact("refused", estimate(&outcomes, refused), exact);
}

/// One queue for four workers against one each at 70 %: 4 x M/M/1 waits 2.33 S.
#[test]
fn a_queue_per_worker() {
    let mut scenario = queue(exponential(SERVICE), 4, 0.7);
    scenario.arriving = Arriving::Poisson { rate: 280.0 };
    let one = estimate(&runs(&scenario), Outcome::mean_latency);
    scenario.workers.dispatch = Dispatch::InTurns;
    let four = estimate(&runs(&scenario), Outcome::mean_latency);
    // Erlang C: 0.4287 / (4 - 2.8) S.
    assert_exact("one queue", one, SERVICE * (1.0 + 0.4287 / 1.2));
    // In turns is more regular than at random (E4/M/1, whose root of sigma = (2.8/(2.8+1-sigma))^4 is 0.5529).
    assert_exact("in turns", four, SERVICE / (1.0 - 0.5529));
}

/// An event loop: processor time one after the other, waits beside each other. Each request passes twice with half of its
/// work, so it is 2 x M/M/1 (Jackson) plus the wait; that both halves of a request are alike costs a little more.
#[test]
fn an_event_loop() {
    let waiting = |sample| Sample { wait_us: 50_000.0, ..sample };
    let mut scenario = queue(exponential(0.004).into_iter().map(waiting).collect(), 1, 1.0);
    scenario.arriving = Arriving::Poisson { rate: 150.0 };
    scenario.length = Length::of_requests(40_000.0, 150.0);
    scenario.workers.model = Model::Async { requests: 10_000 };
    let outcomes = runs(&scenario);
    assert_exact("load", estimate(&outcomes, Outcome::cores_used), 0.6);
    let inside = estimate(&outcomes, Outcome::mean_latency).value - 0.05;
    let jackson = 2.0 * 0.002 / (1.0 - 0.6);
    assert!((inside / jackson - 1.0).abs() < 0.03, "{inside} and not {jackson}");
}

/// The highest throughput of a closed loop is min(slots / (s + w), cores / s). Where slots are what is short, requests that
/// run in step also wait a little for a core.
#[test]
fn throughput_has_its_caps() {
    let threads = |threads| Model::Threads { threads, switch: Model::SWITCH };
    for (model, processes, expected, least) in [
        (Model::Sync, 5, 5.0 / 0.052, 0.9),
        (threads(8), 5, 40.0 / 0.052, 0.8),
        (Model::Async { requests: 500 }, 1, 500.0, 0.99),
        (Model::Async { requests: 500 }, 2, 1_000.0, 0.99),
        (threads(100), 1, 500.0, 0.99),
    ] {
        let mut scenario = queue(constant(0.002, 0.050), 2, 0.5);
        scenario.workers.model = model;
        scenario.workers.processes = processes;
        scenario.arriving = Arriving::Closed { clients: 256, think: 0.0 };
        scenario.queue = Queue { limit: 1_000, ..scenario.queue };
        scenario.length = Length { warm_up: 5.0, end: 35.0 };
        let ratio = run(&scenario, 1).throughput() / expected;
        assert!(ratio > least && ratio < 1.01, "{model:?}: {ratio} of {expected}");
    }
}

/// The interpreter lock: a request that waits six times beside a thread that never stops waits 5 ms for the lock
/// after each, and at first; with an interval of 0.5 ms a tenth of it.
#[test]
fn a_thread_that_keeps_the_lock() {
    let class = |name: &str, share, waits, samples| Class { name: name.into(), share, waits, samples };
    for (switch, low, high) in [(0.005, 0.0355, 0.0359), (0.0005, 0.0040, 0.0043)] {
        let mut scenario = queue(constant(0.0001, 0.0), 2, 0.5);
        let hog = class("hog", 0.003, 1, constant(60.0, 0.0));
        let light = class("light", 0.997, 6, constant(0.0001, 0.0006));
        std::sync::Arc::make_mut(&mut scenario.profile).classes = vec![hog, light];
        scenario.workers.model = Model::Threads { threads: 40, switch };
        scenario.workers.processes = 1;
        scenario.arriving = Arriving::Trace((0..300).map(|i| 0.1 * f64::from(i)).collect());
        scenario.length = Length { warm_up: 0.0, end: 30.0 };
        let one_early_hog = |outcome: &Outcome| {
            let early: u32 = outcome.windows[..30].iter().map(|window| window.0).sum();
            early == 29 && outcome.latency(0.995) < 1.0
        };
        let outcome = (0..200).map(|seed| run(&scenario, seed)).find(one_early_hog);
        let p50 = outcome.expect("a seed with one early hog").latency(0.5);
        assert!((low..high).contains(&p50), "{switch}: {p50}");
    }
}

/// A tenant with half of two cores by weight beside two that never stop: a single thread gets two thirds of a core.
#[test]
fn hogs_under_weights() {
    let mut scenario = queue(constant(SERVICE, 0.0), 1, 0.1);
    scenario.cores = Cores {
        neighbours: Some(Neighbours {
            hogs: 8,
            load: 0.0,
            piece: 1.0,
            sharing: Sharing::Weights { own: 100.0, others: 100.0 },
        }),
        ..Cores::own(2.0)
    };
    let p50 = run(&scenario, 1).latency(0.5);
    assert!((p50 / (1.5 * SERVICE) - 1.0).abs() < 0.01, "{p50}");
}
