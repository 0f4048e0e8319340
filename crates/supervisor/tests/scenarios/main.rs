//! The rules of the crate's documentation, one short story each.
//!
//! What happens when stories mix is the simulator's business (`tests/sim`).

#![expect(clippy::unwrap_used, reason = "the whole binary is a test")]

mod elastic;
mod host;
mod outgrown;
mod reload;
mod stop;

use host::{Host, seconds, settings};
use std::time::Duration;
use supervisor::{
    Action, AppState, Cause, DrainReason, Event, ExitStatus, KillReason, Settings, WorkerId, WorkerState,
};

#[test]
fn first_workers_are_started_admitted_and_announced_once() {
    let mut host = Host::start(settings(2));
    assert_eq!(host.actions[0], Action::Activate { generation: 1 });
    assert_eq!(host.spawned(), [(WorkerId(1), 1), (WorkerId(2), 1)]);
    host.boot(WorkerId(1));
    assert_eq!(host.actions, [Action::Admit { worker: WorkerId(1) }]);
    assert_eq!(host.supervisor.status().state, AppState::Starting);
    host.boot(WorkerId(2));
    assert_eq!(host.actions, [Action::Admit { worker: WorkerId(2) }, Action::FirstReady]);
    assert_eq!(host.supervisor.status().state, AppState::Serving);
    assert_eq!(host.supervisor.next_deadline(), None);
    host.die(WorkerId(1));
    host.boot_all();
    assert!(!host.did(&Action::FirstReady));
}

#[test]
fn first_boot_failure_ends_the_application_if_so_set() {
    let mut host = Host::start(Settings { give_up_on_first_boot_failure: true, ..settings(3) });
    for worker in [1, 2] {
        host.tell(Event::Spawned { worker: WorkerId(worker), pid: 7 });
    }
    host.tell(Event::BootFailed { worker: WorkerId(1), reason: "no module named shop".to_owned() });
    assert_eq!(
        host.killed(),
        [(WorkerId(1), KillReason::BootFailed), (WorkerId(2), KillReason::GaveUp)],
        "the third has no pid yet"
    );
    host.die(WorkerId(1));
    host.die(WorkerId(2));
    host.tell(Event::Spawned { worker: WorkerId(3), pid: 8 });
    assert_eq!(host.killed(), [(WorkerId(3), KillReason::GaveUp)]);
    host.die(WorkerId(3));
    assert_eq!(host.actions, [Action::Stopped { failed: Some("no module named shop".to_owned()) }]);
}

#[test]
fn every_kind_of_first_failure_gives_its_reason() {
    let give_up = || Settings { give_up_on_first_boot_failure: true, ..settings(1) };
    let worker = WorkerId(1);
    let reason = |host: &Host| match host.actions.last() {
        Some(Action::Stopped { failed }) => failed.clone().unwrap(),
        other => panic!("{other:?}"),
    };

    let mut host = Host::start(give_up());
    host.tell(Event::SpawnFailed { worker, error: "no such file".to_owned() });
    assert_eq!(reason(&host), "could not be started: no such file");

    let mut host = Host::start(give_up());
    host.tell(Event::Spawned { worker, pid: 7 });
    host.exit(worker, ExitStatus::Code(3));
    assert_eq!(reason(&host), "exited with status 3");

    let mut host = Host::start(give_up());
    host.tell(Event::Spawned { worker, pid: 7 });
    host.wait(seconds(60));
    assert_eq!(host.killed(), [(worker, KillReason::StartTimeout)]);
    host.die(worker);
    assert_eq!(reason(&host), "was not ready within 60 s");
}

#[test]
fn a_host_of_many_tries_again_with_growing_pauses() {
    let mut host = Host::start(settings(1));
    let mut worker = WorkerId(1);
    for expected in [1, 2, 4, 8] {
        host.tell(Event::SpawnFailed { worker, error: "fork: EAGAIN".to_owned() });
        let pause = host.pause().unwrap();
        assert!(pause <= seconds(expected) && pause * 4 >= seconds(expected) * 3, "{pause:?}, {expected} s");
        assert_eq!(host.supervisor.next_deadline(), Some(host.now + pause));
        assert_eq!(host.supervisor.status().next_attempt, Some(host.now + pause));
        assert_eq!(host.supervisor.status().state, AppState::BackingOff);
        host.wait(pause);
        worker = host.only_spawned();
        assert_eq!(host.supervisor.status().state, AppState::Starting);
    }
    host.boot(worker);
    assert_eq!(host.admitted(), [worker]);
}

#[test]
fn kill_nine_of_a_worker_each_second_is_replaced_at_once() {
    for target in [1, 2, 4] {
        let mut host = Host::serving(settings(target));
        for victim in 0..20 {
            let workers = host.supervisor.status().workers;
            let worker = workers[victim % workers.len()].id;
            host.die(worker);
            assert_eq!(host.pause(), None, "target {target}, victim {victim}");
            let replacement = host.only_spawned();
            assert!(replacement > worker);
            host.wait(Duration::from_millis(300));
            host.boot(replacement);
            host.wait(Duration::from_millis(700));
        }
        assert_eq!(host.supervisor.status().serving, target);
    }
}

#[test]
fn a_crash_loop_backs_off_and_leaves_the_others_alone() {
    let mut host = Host::serving(settings(2));
    let mut looping = WorkerId(2);
    let mut pauses = Vec::new();
    for _ in 0..24 {
        host.die(looping);
        assert!(host.drained().is_empty() && host.killed().is_empty());
        let pause = host.pause();
        pauses.extend(pause);
        if let Some(pause) = pause {
            host.wait(pause);
        }
        looping = host.only_spawned();
        host.boot(looping);
        // Slow enough for the rate of deaths not to be the reason.
        host.wait(Duration::from_millis(600));
    }
    // The first death is that of a stable worker; 20 fast ones are forgiven.
    assert_eq!(pauses.len(), 3, "{pauses:?}");
    assert!(pauses[2] >= seconds(3), "{pauses:?}");
    assert_eq!(host.supervisor.status().workers[0].state, WorkerState::Ready);
    host.wait(seconds(2));
    for _ in 0..2 {
        host.die(looping);
        assert_eq!(
            host.pause(),
            None,
            "a worker that served ended the row: the next fast death is forgiven again"
        );
        assert_eq!(host.supervisor.status().backoff_round, 0);
        looping = host.only_spawned();
        host.boot(looping);
    }
}

#[test]
fn slow_boot_is_killed_and_retried() {
    let mut host = Host::serving(settings(2));
    host.die(WorkerId(1));
    let slow = host.only_spawned();
    host.tell(Event::Spawned { worker: slow, pid: 9 });
    host.wait(seconds(59));
    assert!(host.actions.is_empty());
    host.wait(seconds(1));
    assert_eq!(host.killed(), [(slow, KillReason::StartTimeout)]);
    assert_eq!(host.pause(), Some(seconds(1)));
    host.wait(Duration::from_millis(999));
    assert!(host.spawned().is_empty());
    host.wait(Duration::from_millis(1));
    host.only_spawned();
}

#[test]
fn quota_replacement_comes_first() {
    let mut host = Host::serving(settings(2));
    host.tell(Event::QuotaReached { worker: WorkerId(1) });
    host.tell(Event::QuotaReached { worker: WorkerId(2) });
    assert!(host.actions.is_empty(), "one replacement at a time: {:?}", host.actions);
    let replacement = WorkerId(3);
    assert_eq!(host.supervisor.status().serving, 2);
    host.tell(Event::Spawned { worker: replacement, pid: 9 });
    assert!(host.drained().is_empty());
    host.tell(Event::Ready { worker: replacement });
    assert_eq!(host.drained(), [(WorkerId(1), DrainReason::Quota)]);
    let second = host.only_spawned();
    host.boot(second);
    assert_eq!(host.drained(), [(WorkerId(2), DrainReason::Quota)]);
    host.tell(Event::Drained { worker: WorkerId(1) });
    host.exit(WorkerId(1), ExitStatus::Code(0));
    assert!(host.actions.is_empty());
}

#[test]
fn quota_worker_serves_on_while_its_replacement_does_not_boot() {
    let mut host = Host::serving(settings(1));
    host.tell(Event::QuotaReached { worker: WorkerId(1) });
    let replacement = host.only_spawned();
    host.tell(Event::SpawnFailed { worker: replacement, error: "fork: EAGAIN".to_owned() });
    assert!(host.drained().is_empty() && host.spawned().is_empty());
    assert_eq!(host.supervisor.status().state, AppState::Serving);
    host.wait(seconds(1));
    host.boot_all();
    assert_eq!(host.drained(), [(WorkerId(1), DrainReason::Quota)]);
}

#[test]
fn quotas_are_jittered_within_bounds() {
    let jittered = Settings { max_requests: Some(1_000), max_requests_jitter: 50, ..settings(100) };
    let host = Host::start(jittered);
    let quota = |action: &Action| match action {
        Action::Spawn { max_requests, .. } => *max_requests,
        _ => None,
    };
    let quotas: std::collections::BTreeSet<u64> = host.actions.iter().filter_map(quota).collect();
    assert!(quotas.len() > 20 && quotas.iter().all(|quota| (1_000..=1_050).contains(quota)), "{quotas:?}");
}

#[test]
fn hung_worker_is_replaced_at_once_and_killed_after_the_grace() {
    let mut host = Host::serving(settings(2));
    host.tell(Event::Hung { worker: WorkerId(1) });
    assert_eq!(host.drained(), [(WorkerId(1), DrainReason::Hung)]);
    host.only_spawned();
    host.wait(Duration::from_millis(1_999));
    assert!(host.killed().is_empty());
    host.wait(Duration::from_millis(1));
    assert_eq!(host.killed(), [(WorkerId(1), KillReason::HangGrace)]);
    host.die(WorkerId(1));
    assert!(host.actions.is_empty(), "it was replaced before");
}

#[test]
fn hanging_does_not_prolong_a_drain() {
    let mut host = Host::serving(settings(2));
    host.tell(Event::Scale(-1));
    host.wait(seconds(29));
    host.tell(Event::Hung { worker: WorkerId(2) });
    assert!(host.actions.is_empty(), "{:?}", host.actions);
    host.wait(seconds(1));
    assert_eq!(host.killed(), [(WorkerId(2), KillReason::HangGrace)]);
}

#[test]
fn hung_workers_that_refuse_to_die_cannot_pile_up() {
    let mut host = Host::serving(settings(1));
    let mut serving = WorkerId(1);
    for _ in 0..4 {
        host.tell(Event::Hung { worker: serving });
        serving = host.only_spawned();
        host.boot(serving);
        host.wait(seconds(20));
    }
    assert_eq!(host.supervisor.status().workers.len(), 5, "3 x 1 + 2 x 1");
    host.tell(Event::Hung { worker: serving });
    assert!(host.spawned().is_empty());
    host.die(WorkerId(1));
    host.only_spawned();
}

#[test]
fn a_clock_that_goes_back_is_held() {
    let mut host = Host::serving(settings(1));
    host.tell(Event::Tick);
    let latest = host.now;
    host.now = latest - seconds(50);
    host.die(WorkerId(1));
    assert_eq!(
        host.supervisor.next_deadline(),
        Some(latest + seconds(60)),
        "the start timeout of the next worker"
    );
}

#[test]
fn misbehaving_worker_is_killed_and_replaced() {
    let mut host = Host::serving(settings(1));
    host.tell(Event::Misbehaved { worker: WorkerId(1), reason: "frame for unknown request 7".to_owned() });
    assert_eq!(host.killed(), [(WorkerId(1), KillReason::Misbehaved)]);
    host.only_spawned();
    assert_eq!(
        host.notices(),
        ["worker 1 (pid 1001) of generation 1 lost after 60.0 s: frame for unknown request 7"]
    );
}

#[test]
fn endings_are_counted_by_cause() {
    let mut host = Host::serving(settings(8));
    host.die(WorkerId(1));
    host.exit(WorkerId(2), ExitStatus::Code(3));
    host.tell(Event::Hung { worker: WorkerId(3) });
    host.tell(Event::Misbehaved { worker: WorkerId(4), reason: "bad frame".to_owned() });
    host.tell(Event::Spawned { worker: WorkerId(9), pid: 9 });
    host.exit(WorkerId(9), ExitStatus::Code(3));
    host.tell(Event::Spawned { worker: WorkerId(10), pid: 10 });
    for starting in [11, 12] {
        host.boot(WorkerId(starting));
    }
    host.wait(seconds(60));
    let endings = host.supervisor.status().endings;
    let counted: Vec<(&str, u64)> = endings
        .iter()
        .map(|(cause, count)| (cause.as_str(), count))
        .filter(|(_, count)| *count > 0)
        .collect();
    let expected = [
        ("boot_failed", 1),
        ("start_timeout", 1),
        ("crashed", 1),
        ("exited", 1),
        ("hung", 1),
        ("misbehaved", 1),
        ("overdue", 1),
    ];
    assert_eq!(counted, expected);
    let failure = host.supervisor.status().last_failure.unwrap();
    assert_eq!((failure.worker, failure.cause), (WorkerId(10), Cause::StartTimeout));
    assert_eq!(failure.reason, "was not ready within 60 s");
    assert_eq!(failure.at, host.now);
}

#[test]
fn scaling_starts_and_drains_the_youngest() {
    let mut host = Host::serving(settings(2));
    host.tell(Event::Scale(1));
    assert_eq!(host.notices(), ["scaled from 2 to 3 workers: as the operator asked"]);
    host.boot_all();
    host.tell(Event::Scale(-1));
    assert_eq!(host.drained(), [(WorkerId(3), DrainReason::ScaleDown)]);
    host.tell(Event::Scale(-9));
    assert_eq!(host.drained(), [(WorkerId(2), DrainReason::ScaleDown)]);
    assert_eq!(host.supervisor.status().target, 1, "never below one");
    host.tell(Event::SetTarget(1_000_000));
    assert_eq!(host.supervisor.status().target, 256, "never above the maximum");
}

#[test]
fn scaling_down_takes_a_starting_worker_first() {
    let mut host = Host::serving(settings(2));
    host.tell(Event::Scale(1));
    let starting = host.only_spawned();
    host.tell(Event::Spawned { worker: starting, pid: 9 });
    host.tell(Event::Scale(-1));
    assert_eq!((host.killed(), host.drained()), (vec![(starting, KillReason::ScaleDown)], vec![]));
}

#[test]
fn a_pause_nobody_waits_for_is_no_deadline() {
    let mut host = Host::serving(settings(1));
    host.tell(Event::Scale(1));
    host.tell(Event::SpawnFailed { worker: WorkerId(2), error: "fork: EAGAIN".to_owned() });
    assert_eq!(host.supervisor.next_deadline(), Some(host.now + seconds(1)));
    host.tell(Event::Scale(-1));
    assert_eq!((host.supervisor.next_deadline(), host.supervisor.status().next_attempt), (None, None));
}

#[test]
fn nonsense_is_ignored() {
    let mut host = Host::serving(settings(1));
    let before = host.supervisor.status();
    for worker in [WorkerId(0), WorkerId(1), WorkerId(99)] {
        host.tell(Event::Ready { worker });
        assert!(host.actions.is_empty());
        host.tell(Event::Spawned { worker, pid: 1 });
        assert!(host.actions.is_empty());
        host.tell(Event::SpawnFailed { worker, error: String::new() });
        assert!(host.actions.is_empty());
        host.tell(Event::Drained { worker });
        assert!(host.actions.is_empty());
        host.tell(Event::BootFailed { worker, reason: String::new() });
        assert!(host.actions.is_empty());
    }
    host.tell(Event::Start);
    assert!(host.actions.is_empty());
    for worker in [WorkerId(0), WorkerId(99)] {
        host.tell(Event::Outgrown { worker, room: false });
        assert!(host.actions.is_empty());
    }
    assert_eq!(host.supervisor.status(), before);
}
