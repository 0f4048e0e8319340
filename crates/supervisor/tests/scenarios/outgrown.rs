//! Workers that use too much memory: with room their replacement comes first, without it they go first.

use supervisor::{Action, Cause, DrainReason, Event, ExitStatus, KillReason, WorkerId, WorkerState};

use crate::host::{Host, elastic, seconds, settings};

const DRAINED: DrainReason = DrainReason::Outgrown;

impl Host {
    fn outgrown(&mut self, worker: u64, room: bool) {
        self.tell(Event::Outgrown { worker: WorkerId(worker), room });
    }

    fn leave(&mut self, worker: u64) {
        self.tell(Event::Drained { worker: WorkerId(worker) });
        assert!(self.actions.is_empty(), "its process is still there: {:?}", self.actions);
        self.exit(WorkerId(worker), ExitStatus::Code(0));
    }
}

#[test]
fn with_room_the_replacement_comes_first() {
    let mut host = Host::serving(settings(1));
    host.outgrown(1, true);
    let replacement = host.only_spawned();
    assert!(host.drained().is_empty());
    host.outgrown(1, false);
    assert!(host.actions.is_empty(), "the first report counts");
    host.boot(replacement);
    assert_eq!(host.drained(), [(WorkerId(1), DRAINED)]);
    host.leave(1);
    assert!(host.actions.is_empty());
    let endings = host.supervisor.status().endings;
    assert_eq!((endings.of(Cause::Outgrown), endings.of(Cause::Quota)), (1, 0));
}

#[test]
fn without_room_it_goes_first() {
    let mut host = Host::serving(settings(1));
    host.outgrown(1, false);
    assert_eq!(host.actions, [Action::Drain { worker: WorkerId(1), why: DRAINED }]);
    host.leave(1);
    let replacement = host.only_spawned();
    host.boot(replacement);
    assert_eq!(host.admitted(), [replacement]);
}

#[test]
fn without_room_they_go_one_by_one_and_the_others_serve() {
    let mut host = Host::serving(settings(3));
    for worker in [1, 2, 3] {
        host.outgrown(worker, false);
    }
    let status = host.supervisor.status();
    let states: Vec<WorkerState> = status.workers.iter().map(|worker| worker.state).collect();
    assert_eq!(states, [WorkerState::Draining, WorkerState::Retiring, WorkerState::Retiring]);
    assert_eq!(status.serving, 2, "retiring workers serve");
    for (worker, replacement) in [(1, 4), (2, 5), (3, 6)] {
        host.leave(worker);
        assert_eq!(host.only_spawned(), WorkerId(replacement));
        host.boot(WorkerId(replacement));
        let next = (worker < 3).then_some((WorkerId(worker + 1), DRAINED));
        assert_eq!(host.drained(), Vec::from_iter(next));
    }
}

#[test]
fn it_serves_on_while_another_one_is_missing() {
    let mut host = Host::serving(settings(2));
    host.die(WorkerId(2));
    let replacement = host.only_spawned();
    host.outgrown(1, false);
    assert!(host.actions.is_empty(), "{:?}", host.actions);
    host.boot(replacement);
    assert_eq!(host.drained(), [(WorkerId(1), DRAINED)]);
}

#[test]
fn requests_that_wait_do_not_take_the_room() {
    let mut host = Host::serving(elastic(1, 3));
    host.outgrown(1, false);
    host.tell(Event::Demand);
    assert!(host.actions.is_empty(), "{:?}", host.actions);
    host.leave(1);
    let replacement = host.only_spawned();
    host.boot(replacement);
    host.tell(Event::Demand);
    host.only_spawned();
}

#[test]
fn its_place_is_kept_until_the_process_is_gone() {
    let mut host = Host::serving(settings(1));
    host.outgrown(1, false);
    host.wait(seconds(30));
    assert_eq!(host.killed(), [(WorkerId(1), KillReason::GracefulTimeout)]);
    assert!(host.spawned().is_empty());
    host.die(WorkerId(1));
    host.only_spawned();
}

#[test]
fn when_fewer_are_wanted_it_is_the_one_to_go() {
    let mut host = Host::serving(settings(3));
    host.outgrown(1, false);
    host.outgrown(2, false);
    host.tell(Event::SetTarget(1));
    assert_eq!(host.drained(), [(WorkerId(2), DRAINED)], "not the good one");
    host.leave(1);
    host.leave(2);
    assert!(host.spawned().is_empty());
    assert_eq!(host.supervisor.status().serving, 1);
}
