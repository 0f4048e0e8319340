//! Reload: a new generation beside the old, all or nothing.

use supervisor::{Action, AppState, DrainReason, Event, ExitStatus, KillReason, WorkerId};

use crate::host::{Host, elastic, seconds, settings};

const OLD: [WorkerId; 2] = [WorkerId(1), WorkerId(2)];
const NEW: [WorkerId; 2] = [WorkerId(3), WorkerId(4)];

fn reloading() -> Host {
    let mut host = Host::serving(settings(2));
    host.tell(Event::Reload);
    assert_eq!(host.spawned(), [(NEW[0], 2), (NEW[1], 2)]);
    assert_eq!(host.supervisor.status().reloading, Some(2));
    host
}

#[test]
fn new_generation_takes_over_when_all_of_it_is_ready() {
    let mut host = reloading();
    host.boot(NEW[0]);
    assert!(host.actions.is_empty(), "not admitted before the other is ready: {:?}", host.actions);
    host.boot(NEW[1]);
    let switch = [
        Action::Activate { generation: 2 },
        Action::Admit { worker: NEW[0] },
        Action::Admit { worker: NEW[1] },
        Action::Drain { worker: OLD[0], why: DrainReason::Reload },
        Action::Drain { worker: OLD[1], why: DrainReason::Reload },
    ];
    assert_eq!(host.actions[..5], switch);
    assert_eq!(host.notices(), ["reload done: generation 2 serves"]);
    host.tell(Event::Drained { worker: OLD[0] });
    host.exit(OLD[0], ExitStatus::Code(0));
    assert!(host.actions.is_empty());
    host.wait(seconds(30));
    assert_eq!(host.killed(), [(OLD[1], KillReason::GracefulTimeout)]);
    assert_eq!(host.supervisor.status().state, AppState::Serving);
}

#[test]
fn old_generation_is_kept_when_one_of_the_new_does_not_boot() {
    let mut host = reloading();
    host.boot(NEW[0]);
    host.tell(Event::Spawned { worker: NEW[1], pid: 9 });
    host.tell(Event::BootFailed { worker: NEW[1], reason: "SyntaxError".to_owned() });
    assert_eq!(host.killed(), [(NEW[1], KillReason::BootFailed), (NEW[0], KillReason::ReloadAbandoned)]);
    assert_eq!(host.notices()[1], "reload to generation 2 failed, generation 1 keeps serving: SyntaxError");
    assert!(host.drained().is_empty() && host.pause().is_none());
    assert_eq!(host.supervisor.status().generation, 1);
    assert_eq!(host.supervisor.status().reloading, None);
    host.tell(Event::Reload);
    assert_eq!(host.spawned().iter().map(|(_, generation)| *generation).collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn old_generation_is_kept_when_the_new_is_too_slow() {
    let mut host = reloading();
    host.boot(NEW[0]);
    host.tell(Event::Spawned { worker: NEW[1], pid: 9 });
    host.wait(seconds(60));
    assert_eq!(host.killed(), [(NEW[1], KillReason::StartTimeout), (NEW[0], KillReason::ReloadAbandoned)]);
    assert_eq!(host.supervisor.status().serving, 2);
}

#[test]
fn old_workers_that_crash_during_a_reload_are_replaced_with_the_old_code() {
    let mut host = reloading();
    host.die(OLD[0]);
    assert_eq!(host.spawned(), [(WorkerId(5), 1)]);
    host.tell(Event::Spawned { worker: WorkerId(5), pid: 9 });
    host.boot(NEW[0]);
    host.boot(NEW[1]);
    assert_eq!(host.drained(), [(OLD[1], DrainReason::Reload)]);
    assert_eq!(host.killed(), [(WorkerId(5), KillReason::Outdated)], "it was not serving yet");
}

#[test]
fn a_reload_during_a_reload_starts_over() {
    let mut host = reloading();
    host.boot(NEW[0]);
    host.tell(Event::Reload);
    assert_eq!(host.killed(), [(NEW[0], KillReason::ReloadAbandoned)], "the other has no pid yet");
    assert_eq!(host.spawned(), [(WorkerId(5), 3), (WorkerId(6), 3)]);
    assert_eq!(host.notices()[0], "reload to generation 2 abandoned for a newer one");
    host.boot(WorkerId(5));
    host.boot(WorkerId(6));
    assert!(host.did(&Action::Activate { generation: 3 }));
    host.tell(Event::Spawned { worker: NEW[1], pid: 9 });
    assert_eq!(host.killed(), [(NEW[1], KillReason::ReloadAbandoned)]);
}

#[test]
fn good_code_ends_a_crash_loop() {
    let mut host = Host::start(settings(1));
    host.tell(Event::SpawnFailed { worker: WorkerId(1), error: "no such file".to_owned() });
    host.tell(Event::Reload);
    assert_eq!(host.spawned(), [(WorkerId(2), 2)], "the pause is that of the old generation");
    host.boot(WorkerId(2));
    assert!(host.did(&Action::FirstReady));
    assert_eq!(host.supervisor.status().backoff_round, 0);
    host.wait(seconds(5));
    assert!(host.spawned().is_empty());
}

#[test]
fn scaling_during_a_reload_counts_for_both_generations() {
    let mut host = reloading();
    host.tell(Event::Scale(1));
    assert_eq!(host.spawned(), [(WorkerId(5), 1), (WorkerId(6), 2)]);
    host.boot(NEW[0]);
    host.boot(NEW[1]);
    assert!(host.admitted().is_empty());
    host.boot(WorkerId(6));
    assert_eq!(host.admitted(), [NEW[0], NEW[1], WorkerId(6)]);
}

#[test]
fn processes_that_refuse_to_die_cannot_pile_up() {
    let mut host = Host::serving(settings(1));
    for _ in 0..50 {
        host.tell(Event::Reload);
        for (worker, _) in host.spawned() {
            host.tell(Event::Spawned { worker, pid: 9 });
        }
    }
    let status = host.supervisor.status();
    assert_eq!(status.serving, 1);
    assert!(status.workers.len() <= 5, "3 x 1 + 2 x 1: {}", status.workers.len());
    let oldest_leaving = status.workers[1].id;
    host.die(oldest_leaving);
    assert_eq!(host.spawned().len(), 1, "the reload goes on when there is room");
}

#[test]
fn a_reload_of_a_sleeping_application_is_done_at_once() {
    let mut host = Host::start(elastic(0, 2));
    host.tell(Event::Reload);
    assert!(host.did(&Action::Activate { generation: 2 }));
    assert_eq!(
        host.notices(),
        [
            "reload: no worker runs, generation 2 begins with the next request",
            "reload done: generation 2 serves"
        ]
    );
    host.tell(Event::Demand);
    assert_eq!(host.spawned(), [(WorkerId(1), 2)]);
}

#[test]
fn idleness_does_not_empty_a_reload() {
    let mut host = Host::start(elastic(0, 2));
    host.tell(Event::Demand);
    host.boot_all();
    host.tell(Event::Load { busy_workers: 1, waiting: 0 });
    host.wait(seconds(59));
    host.tell(Event::Reload);
    let new = host.only_spawned();
    host.tell(Event::Spawned { worker: new, pid: 9 });
    host.wait(seconds(30));
    assert!(host.actions.is_empty(), "the new code is to prove itself: {:?}", host.actions);
    host.tell(Event::Ready { worker: new });
    assert_eq!(host.admitted(), [new]);
    assert_eq!(
        host.drained(),
        [(WorkerId(1), DrainReason::Reload), (new, DrainReason::ScaleDown)],
        "and then it sleeps, as idle as before"
    );
}

#[test]
fn a_reload_is_tried_at_once_while_the_application_is_backing_off() {
    let mut host = Host::start(elastic(0, 2));
    host.tell(Event::Demand);
    host.tell(Event::SpawnFailed { worker: WorkerId(1), error: "fork: EAGAIN".to_owned() });
    assert_eq!(host.supervisor.status().state, AppState::BackingOff);
    host.tell(Event::Reload);
    assert_eq!(host.spawned(), [(WorkerId(2), 2)]);
    host.boot(WorkerId(2));
    let status = host.supervisor.status();
    assert_eq!((status.state, status.backoff_round), (AppState::Serving, 0));
}

#[test]
fn a_worker_that_does_not_serve_yet_cannot_be_used_up() {
    let mut host = reloading();
    host.boot(NEW[0]);
    host.tell(Event::QuotaReached { worker: NEW[0] });
    host.tell(Event::Outgrown { worker: NEW[0], room: false });
    host.boot(NEW[1]);
    assert_eq!(host.admitted(), NEW, "it is as new as the other: {:?}", host.actions);
}
