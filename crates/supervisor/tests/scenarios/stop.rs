//! Stopping: gently, at once, and with processes that do not want to.

use supervisor::{
    Action, AppState, DrainReason, Event, ExitStatus, KillReason, Settings, Supervisor, WorkerId,
};

use crate::host::{Host, seconds, settings};

const STOPPED: Action = Action::Stopped { failed: None };

#[test]
fn stop_drains_and_kills_at_the_deadline() {
    let mut host = Host::serving(settings(2));
    host.tell(Event::Stop);
    assert_eq!(host.drained(), [(WorkerId(1), DrainReason::Stop), (WorkerId(2), DrainReason::Stop)]);
    host.wait(seconds(10));
    host.tell(Event::Drained { worker: WorkerId(1) });
    host.exit(WorkerId(1), ExitStatus::Code(0));
    assert!(host.actions.is_empty());
    host.tell(Event::Stop);
    host.wait(seconds(20));
    assert_eq!(
        host.killed(),
        [(WorkerId(2), KillReason::GracefulTimeout)],
        "a second stop does not move the deadline"
    );
    assert_eq!(host.supervisor.status().state, AppState::Stopping);
    host.die(WorkerId(2));
    assert_eq!(host.actions, [STOPPED]);
    assert_eq!(host.supervisor.status().state, AppState::Stopped);
    assert_eq!(host.supervisor.next_deadline(), None);
    for event in [Event::Stop, Event::StopNow, Event::Reload, Event::Scale(1), Event::Tick] {
        host.tell(event);
        assert!(host.actions.is_empty());
    }
}

#[test]
fn stop_kills_what_holds_no_request() {
    let mut host = Host::serving(settings(1));
    host.tell(Event::Scale(2));
    host.tell(Event::Spawned { worker: WorkerId(2), pid: 9 });
    host.tell(Event::Reload);
    host.boot(WorkerId(4));
    host.tell(Event::Stop);
    assert_eq!(host.drained(), [(WorkerId(1), DrainReason::Stop)]);
    assert_eq!(host.killed(), [(WorkerId(2), KillReason::Stop), (WorkerId(4), KillReason::Stop)]);
    host.tell(Event::Spawned { worker: WorkerId(3), pid: 10 });
    assert_eq!(host.killed(), [(WorkerId(3), KillReason::Stop)], "as soon as it has a pid");
    host.tell(Event::SpawnFailed { worker: WorkerId(5), error: String::new() });
    host.tell(Event::SpawnFailed { worker: WorkerId(6), error: String::new() });
    for worker in [1, 2, 3] {
        host.die(WorkerId(worker));
        assert!(host.actions.is_empty());
    }
    host.die(WorkerId(4));
    assert_eq!(host.actions, [STOPPED]);
}

#[test]
fn stop_now_kills_everything() {
    let mut host = Host::serving(settings(2));
    host.tell(Event::Stop);
    host.tell(Event::StopNow);
    assert_eq!(host.killed(), [(WorkerId(1), KillReason::Stop), (WorkerId(2), KillReason::Stop)]);
    host.die(WorkerId(1));
    host.die(WorkerId(2));
    assert_eq!(host.actions, [STOPPED]);
}

#[test]
fn kill_is_repeated_until_the_process_is_gone() {
    let mut host = Host::serving(settings(1));
    host.tell(Event::StopNow);
    host.wait(seconds(11));
    assert_eq!(host.killed().len(), 2, "every five seconds");
    assert_eq!(host.notices()[0], "worker 1 (pid 1001) is still alive after SIGKILL, sending it again");
    host.die(WorkerId(1));
    assert_eq!(host.actions, [STOPPED]);
}

#[test]
fn stop_before_the_start_is_a_stop() {
    let mut supervisor = Supervisor::new(settings(1), 1);
    assert_eq!(supervisor.step(seconds(1), Event::Stop), [STOPPED]);
    assert!(supervisor.step(seconds(1), Event::Stop).is_empty());
}

#[test]
fn a_start_after_the_stop_begins_anew() {
    let mut host = Host::serving(settings(2));
    host.tell(Event::StopNow);
    host.tell(Event::Start);
    assert!(host.actions.is_empty(), "not while it is stopping");
    host.die(WorkerId(1));
    host.die(WorkerId(2));
    assert_eq!(host.actions, [STOPPED]);
    host.tell(Event::Start);
    assert_eq!(host.actions[0], Action::Activate { generation: 2 }, "other code may be there by now");
    assert_eq!(host.spawned(), [(WorkerId(3), 2), (WorkerId(4), 2)]);
    assert_eq!(host.supervisor.status().state, AppState::Starting);
    host.boot_all();
    assert!(host.did(&Action::FirstReady));
    host.tell(Event::StopNow);
    host.die(WorkerId(3));
    host.die(WorkerId(4));
    assert_eq!(host.actions, [STOPPED], "once for each stop");
}

#[test]
fn a_start_after_the_stop_keeps_the_number_of_the_operator() {
    let mut host = Host::serving(settings(1));
    host.tell(Event::SetTarget(3));
    host.tell(Event::StopNow);
    for worker in 1..=3 {
        host.tell(Event::SpawnFailed { worker: WorkerId(worker), error: String::new() });
        host.die(WorkerId(worker));
    }
    host.tell(Event::Start);
    assert_eq!(host.spawned().len(), 3);
}

#[test]
fn a_start_ends_the_pause_and_its_growth() {
    let mut host = Host::start(settings(2));
    for worker in [1, 2, 3, 4, 5] {
        host.tell(Event::SpawnFailed { worker: WorkerId(worker), error: "fork: EAGAIN".to_owned() });
        if worker > 1 && worker < 5 {
            host.wait(host.supervisor.next_deadline().unwrap() - host.now);
        }
    }
    assert!(host.pause().unwrap() > seconds(4), "{:?}", host.actions);
    assert_eq!(host.supervisor.status().state, AppState::BackingOff);
    host.tell(Event::Start);
    let attempt = host.only_spawned();
    host.tell(Event::Start);
    assert!(host.actions.is_empty(), "one at a time");
    host.tell(Event::SpawnFailed { worker: attempt, error: "fork: EAGAIN".to_owned() });
    assert_eq!(host.pause(), Some(seconds(1)));
    assert_eq!(host.supervisor.status().last_failure.unwrap().reason, "could not be started: fork: EAGAIN");
}

#[test]
fn a_failed_first_boot_may_be_started_again() {
    let mut host = Host::start(Settings { give_up_on_first_boot_failure: true, ..settings(1) });
    for worker in [1, 2] {
        host.tell(Event::SpawnFailed { worker: WorkerId(worker), error: "no such file".to_owned() });
        let failed = Some("could not be started: no such file".to_owned());
        assert_eq!(host.actions.last(), Some(&Action::Stopped { failed }));
        host.tell(Event::Start);
        host.only_spawned();
    }
    host.boot(WorkerId(3));
    host.tell(Event::StopNow);
    host.die(WorkerId(3));
    assert_eq!(host.actions, [STOPPED], "the failures of earlier starts are forgotten");
    host.tell(Event::Start);
    host.tell(Event::SpawnFailed { worker: WorkerId(4), error: "no such file".to_owned() });
    let failed = Some("could not be started: no such file".to_owned());
    assert_eq!(host.actions.last(), Some(&Action::Stopped { failed }), "each start has a first boot");
}

#[test]
fn a_crash_while_draining_is_a_normal_end() {
    let mut host = Host::serving(settings(2));
    host.tell(Event::Scale(-1));
    host.die(WorkerId(2));
    assert!(host.actions.is_empty());
    assert_eq!(host.supervisor.status().serving, 1);
}
