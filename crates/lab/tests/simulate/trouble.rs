//! Overload, retries, deaths, memory and quotas: what must happen is known, if not exactly how much.

use lab::simulate::{
    Arriving, Clients, Discipline, Failure, Length, Memory, Model, Outcome, Queue, Quota, Retries, Sample,
    Trigger, run,
};

use super::{SERVICE, constant, exponential, queue};

const TRIES: Retries = Retries { most: 2, pause: 0.05, budget: None };

/// Goodput from 8 to 12 s after a stall of a second, relative to before, and attempts meanwhile.
fn after_a_stall(load: f64, clients: Clients, queue: Queue) -> (f64, f64) {
    let mut scenario = super::queue(exponential(SERVICE), 2, load);
    scenario.clients = clients;
    scenario.queue = queue;
    scenario.triggers = vec![(30.0, Trigger::Stall(1.0))];
    scenario.length = Length { warm_up: 0.0, end: 45.0 };
    let outcome = run(&scenario, 3);
    let (before, sent_before) = outcome.rates_between(10.0, 30.0);
    let (after, sent) = outcome.rates_between(39.0, 43.0);
    (after / before, sent / sent_before)
}

/// Two retries per timed-out request make any load above a third able to stay overloaded; a budget of a tenth does not, nor
/// does a queue that sheds. A host that forgets those who left is better off, but whoever is first in its line has waited so
/// long by then that most leave while they are served.
#[test]
fn retries_keep_an_overload_alive() {
    let endless = Queue { limit: 10_000, timeout: None, discipline: Discipline::Fifo, deadline: None };
    let clients = Clients { timeout: Some(0.3), retries: Some(TRIES), hang_up: false };
    let (goodput, attempts) = after_a_stall(0.7, clients, endless);
    assert!(goodput < 0.1 && attempts > 1.5, "metastable: {goodput} {attempts}");
    let (goodput, _) = after_a_stall(0.7, Clients { retries: None, ..clients }, endless);
    assert!(goodput > 0.95, "no retries: {goodput}");
    let budget = Some(Retries { budget: Some(0.1), ..TRIES });
    let (goodput, _) = after_a_stall(0.7, Clients { retries: budget, ..clients }, endless);
    assert!(goodput > 0.95, "budget: {goodput}");
    let (goodput, _) = after_a_stall(0.25, clients, endless);
    assert!(goodput > 0.95, "below a third: {goodput}");
    let (goodput, _) = after_a_stall(0.7, Clients { hang_up: true, ..clients }, endless);
    assert!(goodput > 0.3 && goodput < 0.7, "forgets those who left: {goodput}");
    let codel = Queue { discipline: Discipline::CoDel { target: 0.005, interval: 0.1 }, ..endless };
    let (goodput, _) = after_a_stall(0.7, clients, codel);
    assert!(goodput > 0.95, "CoDel: {goodput}");
}

/// At twice the capacity somebody must be refused; with whom depends on the discipline.
#[test]
fn overload_is_refused_or_shed() {
    let overload = |discipline| {
        let mut scenario = queue(exponential(SERVICE), 1, 2.0);
        scenario.queue = Queue { limit: 100, timeout: Some(10.0), discipline, deadline: Some(30.0) };
        run(&scenario, 1)
    };
    let fifo = overload(Discipline::Fifo);
    let share = fifo.failed[Failure::Refused as usize] as f64 / fifo.planned as f64;
    assert!((share - 0.5).abs() < 0.02, "{share}");
    assert_eq!(fifo.planned, fifo.answered + fifo.failed());
    assert!(fifo.latency(0.45) > 0.8, "a full queue of a second: {}", fifo.latency(0.45));
    assert!(overload(Discipline::Lifo).latency(0.25) < 0.1, "the last come are served at once");
    let codel = overload(Discipline::CoDel { target: 0.005, interval: 0.1 });
    assert!(
        codel.latency(0.45) < 0.2 && codel.throughput() > 0.9 * fifo.throughput(),
        "{}",
        codel.latency(0.45)
    );
    assert!(codel.failed[Failure::WaitedTooLong as usize] > 0);
}

#[test]
fn times_run_out() {
    let mut scenario = queue(constant(0.1, 0.0), 1, 3.0);
    scenario.queue = Queue { limit: 1_000, timeout: Some(1.0), discipline: Discipline::Fifo, deadline: None };
    scenario.length = Length { warm_up: 0.0, end: 20.0 };
    let outcome = run(&scenario, 1);
    assert!(outcome.failed[Failure::WaitedTooLong as usize] > outcome.planned / 2);
    assert!(outcome.latency(0.3) <= 1.101, "nobody waits longer: {}", outcome.latency(0.3));
    scenario.queue = Queue { timeout: None, deadline: Some(0.5), ..scenario.queue };
    let outcome = run(&scenario, 1);
    assert!(outcome.failed[Failure::Deadline as usize] > outcome.planned / 2);
    // Whoever is first in line has nearly no time left: the server is busy for nobody.
    assert!(outcome.cores_used() > 0.9 && outcome.answered < outcome.planned / 10, "{}", outcome.answered);
}

/// A worker dies: its requests are run again, nobody is lost, and the others bear the load until it is back.
#[test]
fn a_worker_is_killed() {
    for model in
        [Model::Sync, Model::Threads { threads: 4, switch: Model::SWITCH }, Model::Async { requests: 100 }]
    {
        let mut scenario = queue(constant(0.002, 0.03), 4, 0.5);
        scenario.workers.model = model;
        std::sync::Arc::make_mut(&mut scenario.profile).cold_start_ms = 2_000.0;
        scenario.triggers =
            vec![(5.0, Trigger::KillWorker), (5.1, Trigger::KillWorker), (5.2, Trigger::KillWorker)];
        scenario.length = Length { warm_up: 0.0, end: 20.0 };
        let outcome = run(&scenario, 1);
        assert_eq!(
            (outcome.killed, outcome.failed(), outcome.answered),
            (3, 0, outcome.planned),
            "{model:?}"
        );
        let slowest = |outcome: &Outcome| outcome.latency(1.0);
        scenario.triggers.clear();
        assert!(slowest(&outcome) > 1.05 * slowest(&run(&scenario, 1)), "{model:?}");
    }
}

/// All requests of both workers at once do not fit: workers die, and all is well with fewer at a time.
#[test]
fn memory_has_a_limit() {
    let mut scenario = queue(constant(0.002, 0.1), 2, 0.3);
    let profile = std::sync::Arc::make_mut(&mut scenario.profile);
    (profile.worker_bytes, profile.request_bytes, profile.cold_start_ms) = (50 << 20, 10 << 20, 500.0);
    scenario.workers.model = Model::Async { requests: 1_000 };
    scenario.arriving = Arriving::Poisson { rate: 200.0 };
    scenario.length = Length { warm_up: 0.0, end: 20.0 };
    let unlimited = run(&scenario, 1);
    assert!(unlimited.most_bytes > 300 << 20 && unlimited.killed == 0, "{}", unlimited.most_bytes >> 20);
    scenario.memory = Memory { limit_bytes: Some(200 << 20) };
    assert!(run(&scenario, 1).killed > 10);
    scenario.workers.model = Model::Threads { threads: 4, switch: Model::SWITCH };
    assert_eq!(run(&scenario, 1).killed, 0);
}

/// Two threads that work at the same time under a quota of half a core: three quarters of each busy period stand still.
#[test]
fn a_quota_is_not_a_core() {
    let mut scenario = queue(constant(0.02, 0.0), 2, 0.2);
    scenario.arriving = Arriving::Constant { rate: 20.0 };
    let own = run(&scenario, 1);
    scenario.cores.quota = Some(Quota { budget: 0.05, period: 0.1, burst: 0.0 });
    let quota = run(&scenario, 1);
    assert!(own.latency(0.95) < 0.021 && own.throttled_periods == 0.0);
    // Each second request of a period is held back when bursts come; with even arrivals 40 ms of 50 ms fit.
    assert!(quota.latency(0.95) < 0.021, "{}", quota.latency(0.95));
    scenario.arriving = Arriving::Poisson { rate: 20.0 };
    let bursts = run(&scenario, 1);
    assert!(bursts.latency(0.95) > 0.06 && bursts.throttled_periods > 0.1, "{}", bursts.latency(0.95));
    scenario.cores.quota = Some(Quota { budget: 0.05, period: 0.1, burst: 0.05 });
    assert!(run(&scenario, 1).latency(0.95) < bursts.latency(0.95), "saved time helps");
}

/// Durable writes: group commit lets threads share them; on an event loop each stops everybody.
#[test]
fn durable_writes() {
    let throughput = |model, processes, one_at_a_time| {
        let sample = Sample { cpu_us: 100.0, wait_us: 0.0, fsyncs: 1 };
        let mut scenario = queue(vec![sample], 2, 0.5);
        std::sync::Arc::make_mut(&mut scenario.profile).fsync_us = vec![2_000.0];
        scenario.workers.model = model;
        scenario.workers.processes = processes;
        scenario.disk.one_at_a_time = one_at_a_time;
        scenario.arriving = Arriving::Closed { clients: 64, think: 0.0 };
        scenario.length = Length { warm_up: 1.0, end: 11.0 };
        run(&scenario, 1).throughput()
    };
    let threads = Model::Threads { threads: 16, switch: Model::SWITCH };
    let loop_ = throughput(Model::Async { requests: 1_000 }, 1, false);
    assert!((loop_ / (1.0 / 0.0021) - 1.0).abs() < 0.02, "{loop_}");
    let one = throughput(threads, 1, true);
    assert!((one / 500.0 - 1.0).abs() < 0.02, "one commit each: {one}");
    assert!(throughput(threads, 1, false) > 3_000.0, "sixteen share a commit");
}

/// The same seed is the same run, and another configuration meets the same requests.
#[test]
fn runs_repeat() {
    let scenario = queue(exponential(SERVICE), 2, 0.8);
    let figures = |outcome: &Outcome| (outcome.planned, outcome.events, outcome.latency(0.99).to_bits());
    assert_eq!(figures(&run(&scenario, 9)), figures(&run(&scenario, 9)));
    assert_ne!(figures(&run(&scenario, 9)), figures(&run(&scenario, 10)));
    let mut other = scenario.clone();
    other.workers.processes = 3;
    assert_eq!(run(&scenario, 9).planned, run(&other, 9).planned);
}
