//! Elastic numbers of workers: growth by demand, sleep, and what an operator may want of them.

use std::time::Duration;

use supervisor::{Action, AppState, DrainReason, Event, KillReason, WorkerId};

use crate::host::{Host, elastic, seconds, settings};

const LITTLE: Duration = Duration::from_millis(50);

impl Host {
    /// A request waits for so long: `Demand` every 50 ms. `actions` are those of all steps.
    fn demand(&mut self, time: Duration) {
        let end = self.now + time;
        let mut all = Vec::new();
        while self.now < end {
            self.tell(Event::Demand);
            all.append(&mut self.actions);
            self.wait(LITTLE);
            all.append(&mut self.actions);
        }
        self.actions = all;
    }

    /// Requests keep so many workers busy for so long: `Load` every second.
    fn load(&mut self, busy_workers: usize, time: Duration) {
        let end = self.now + time;
        let mut all = Vec::new();
        while self.now < end {
            self.tell(Event::Load { busy_workers, waiting: 0 });
            all.append(&mut self.actions);
            self.wait(seconds(1));
            all.append(&mut self.actions);
        }
        self.actions = all;
    }

    /// Asked until so many workers serve.
    fn grown(min: usize, max: usize) -> Self {
        let mut host = Self::start(elastic(min, max));
        host.boot_all();
        for _ in min..max {
            host.tell(Event::Demand);
            host.boot_all();
        }
        assert_eq!(host.supervisor.status().serving, max);
        host
    }

    fn state(&self) -> AppState {
        self.supervisor.status().state
    }

    fn target(&self) -> usize {
        self.supervisor.status().target
    }
}

#[test]
fn demand_starts_one_worker_after_the_other() {
    let mut host = Host::serving(elastic(1, 3));
    host.tell(Event::Demand);
    assert_eq!(host.notices(), ["scaled from 1 to 2 workers: requests wait"]);
    let second = host.only_spawned();
    host.demand(seconds(1));
    assert!(host.actions.is_empty(), "one is on the way: {:?}", host.actions);
    host.boot(second);
    assert!(host.spawned().is_empty(), "nobody asks");
    host.tell(Event::Demand);
    let third = host.only_spawned();
    host.boot(third);
    host.demand(seconds(1));
    assert!(host.actions.is_empty(), "never above the maximum: {:?}", host.actions);
    assert_eq!(host.state(), AppState::Serving);
}

#[test]
fn a_number_of_workers_is_fixed() {
    let mut host = Host::serving(settings(2));
    host.demand(seconds(1));
    host.load(0, seconds(400));
    assert_eq!((host.actions.is_empty(), host.target()), (true, 2));
}

#[test]
fn the_youngest_leave_one_by_one_when_they_were_idle() {
    let mut host = Host::grown(1, 4);
    host.load(2, seconds(59));
    assert!(host.actions.is_empty(), "{:?}", host.actions);
    host.load(2, seconds(1));
    assert_eq!(host.drained(), [(WorkerId(4), DrainReason::ScaleDown)]);
    assert_eq!(host.notices(), ["scaled from 4 to 3 workers: idle"]);
    host.load(2, seconds(1));
    assert_eq!(host.drained(), [(WorkerId(3), DrainReason::ScaleDown)]);
    host.load(2, seconds(100));
    assert_eq!(host.target(), 2);
}

#[test]
fn without_requests_nobody_reports_load_and_the_minimum_is_left() {
    let mut host = Host::grown(1, 4);
    host.wait(seconds(59));
    assert!(host.actions.is_empty());
    host.wait(seconds(4));
    assert_eq!(host.drained().len(), 3);
    assert_eq!((host.target(), host.state()), (1, AppState::Serving));
}

#[test]
fn an_application_sleeps_until_the_first_request_and_again() {
    let mut host = Host::start(elastic(0, 2));
    assert_eq!(host.actions, [Action::Activate { generation: 1 }, Action::FirstReady]);
    assert_eq!((host.state(), host.supervisor.next_deadline()), (AppState::Asleep, None));
    host.tell(Event::Demand);
    let first = host.only_spawned();
    assert_eq!(host.state(), AppState::Starting);
    host.boot(first);
    assert_eq!(host.actions, [Action::Admit { worker: first }]);
    assert_eq!(host.state(), AppState::Serving);
    host.load(1, seconds(10));
    host.wait(seconds(58));
    assert!(host.actions.is_empty());
    host.wait(seconds(1));
    assert_eq!(host.drained(), [(first, DrainReason::ScaleDown)]);
    assert_eq!(host.state(), AppState::Asleep);
    host.tell(Event::Demand);
    host.only_spawned();
    assert_eq!(host.state(), AppState::Starting, "not down: it is waking");
}

#[test]
fn demand_starts_nothing_within_a_pause() {
    let mut host = Host::start(elastic(0, 3));
    host.tell(Event::Demand);
    host.tell(Event::SpawnFailed { worker: WorkerId(1), error: "fork: EAGAIN".to_owned() });
    assert_eq!((host.pause(), host.state()), (Some(seconds(1)), AppState::BackingOff));
    host.demand(Duration::from_millis(950));
    assert!(host.actions.is_empty(), "{:?}", host.actions);
    host.demand(LITTLE);
    let second = host.only_spawned();
    host.tell(Event::SpawnFailed { worker: second, error: "fork: EAGAIN".to_owned() });
    assert!(host.pause().unwrap() > seconds(1), "the pauses grow");
}

#[test]
fn nobody_waits_any_more_when_the_pause_is_over() {
    let mut host = Host::start(elastic(0, 3));
    host.tell(Event::Demand);
    host.tell(Event::SpawnFailed { worker: WorkerId(1), error: "fork: EAGAIN".to_owned() });
    host.wait(seconds(1));
    assert_eq!(host.notices(), ["scaled from 1 to 0 workers: nobody waits for them any more"]);
    assert!(host.spawned().is_empty());
    assert_eq!((host.state(), host.supervisor.next_deadline()), (AppState::Asleep, None));
    host.tell(Event::Demand);
    host.only_spawned();
}

#[test]
fn what_the_minimum_wants_is_tried_although_nobody_waits() {
    let mut host = Host::grown(1, 3);
    host.wait(seconds(10));
    for worker in [1, 2, 3] {
        host.die(WorkerId(worker));
    }
    for worker in [4, 5, 6] {
        host.tell(Event::SpawnFailed { worker: WorkerId(worker), error: "fork: EAGAIN".to_owned() });
    }
    assert_eq!(host.state(), AppState::BackingOff);
    host.wait(seconds(1));
    assert_eq!((host.target(), host.spawned().len()), (1, 1));
    assert_eq!(host.state(), AppState::Down);
}

#[test]
fn an_operator_s_start_tries_for_a_sleeper_too() {
    let mut host = Host::start(elastic(0, 3));
    host.tell(Event::Demand);
    for worker in [1, 2] {
        host.tell(Event::SpawnFailed { worker: WorkerId(worker), error: "fork: EAGAIN".to_owned() });
        host.wait(Duration::from_millis(900));
        host.tell(Event::Start);
        host.only_spawned();
    }
}

#[test]
fn a_sleeper_that_does_not_boot_is_not_given_up() {
    let give_up = supervisor::Settings { give_up_on_first_boot_failure: true, ..elastic(0, 1) };
    let mut host = Host::start(give_up);
    host.tell(Event::Demand);
    host.tell(Event::SpawnFailed { worker: WorkerId(1), error: "no such file".to_owned() });
    assert_eq!(host.state(), AppState::BackingOff);
}

#[test]
fn an_operator_s_number_is_neither_grown_nor_shrunk() {
    let mut host = Host::grown(1, 3);
    host.tell(Event::SetTarget(2));
    assert_eq!(host.drained(), [(WorkerId(3), DrainReason::ScaleDown)]);
    host.die(WorkerId(3));
    host.demand(seconds(1));
    assert!(host.actions.is_empty());
    host.wait(seconds(1_000));
    let status = host.supervisor.status();
    assert_eq!((status.min, status.target, status.max), (2, 2, 2));
    host.tell(Event::SetLimits { min: 1, max: 3, idle: seconds(60) });
    assert!(host.notices().is_empty(), "nothing changes at once");
    host.wait(seconds(60));
    assert_eq!(host.notices(), ["scaled from 2 to 1 workers: idle"]);
    host.tell(Event::Demand);
    host.only_spawned();
}

#[test]
fn other_limits_hold_at_once() {
    let mut host = Host::grown(1, 3);
    host.tell(Event::SetLimits { min: 0, max: 2, idle: seconds(10) });
    assert_eq!(host.notices(), ["scaled from 3 to 2 workers: as configured"]);
    assert_eq!(host.drained(), [(WorkerId(3), DrainReason::ScaleDown)]);
    host.wait(seconds(11));
    assert_eq!(host.state(), AppState::Asleep);
    host.tell(Event::SetLimits { min: 2, max: 1, idle: Duration::ZERO });
    assert_eq!(host.spawned().len(), 2, "limits in the wrong order mean the minimum");
    let status = host.supervisor.status();
    assert_eq!((status.min, status.max, status.state), (2, 2, AppState::Starting));
}

#[test]
fn limits_may_change_while_stopped() {
    let mut host = Host::serving(settings(1));
    host.tell(Event::StopNow);
    host.die(WorkerId(1));
    host.tell(Event::SetLimits { min: 3, max: 3, idle: seconds(60) });
    assert!(host.actions.is_empty());
    host.tell(Event::Start);
    assert_eq!(host.spawned().len(), 3);
}

#[test]
fn a_worker_that_still_starts_leaves_first() {
    let mut host = Host::grown(1, 2);
    host.die(WorkerId(2));
    let starting = host.only_spawned();
    host.tell(Event::Spawned { worker: starting, pid: 9 });
    host.wait(Duration::from_millis(59_999));
    assert!(host.killed().is_empty());
    host.wait(Duration::from_millis(1));
    assert_eq!(host.killed(), [(starting, KillReason::StartTimeout)]);
    assert_eq!(host.target(), 1, "and it is not missed");
}

#[test]
fn an_attempt_under_way_is_seen_to_its_end() {
    let mut host = Host::grown(0, 2);
    host.die(WorkerId(1));
    host.die(WorkerId(2));
    for worker in [3, 4] {
        host.tell(Event::SpawnFailed { worker: WorkerId(worker), error: "fork: EAGAIN".to_owned() });
    }
    host.demand(seconds(1));
    let attempt = host.only_spawned();
    host.tell(Event::Spawned { worker: attempt, pid: 9 });
    host.wait(seconds(10));
    host.tell(Event::Tick);
    assert_eq!(host.target(), 2, "whether it succeeds is to be seen first: {:?}", host.actions);
    host.tell(Event::Ready { worker: attempt });
    host.only_spawned();
}

#[test]
fn an_application_is_degraded_below_its_minimum() {
    let mut host = Host::grown(2, 3);
    for (worker, state) in [(1, AppState::Serving), (2, AppState::Degraded), (3, AppState::Down)] {
        host.die(WorkerId(worker));
        assert_eq!(host.state(), state);
    }
}
