//! What a host that was killed left behind is in nobody's way.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jail::cgroup::{Controller, Hierarchies, Limits, Tree, TreeError};
use jail::machine::Roots;

use crate::host;
use crate::sandbox::{PATIENCE, Process, Sandbox, wait_for};

fn create(name: &str) -> Result<Tree, TreeError> {
    Tree::create(&Hierarchies::find(&Roots::default()).unwrap(), name)
}

#[test]
fn processes_and_groups_of_a_dead_host_are_taken_over() {
    let Some(mut sandbox) = Sandbox::with(&[Controller::Pids]) else { return };
    let group = sandbox.group(&Limits { processes: Some(100), ..Limits::default() });
    let mut frozen =
        Process::shell(&sandbox.tree().group("shared/frozen").unwrap(), "trap '' TERM; sleep 60; sleep 60");
    let mut running = Process::shell(&group, "trap '' TERM HUP; (sleep 60; sleep 60) & sleep 60");
    let others = || sandbox.tree().group("shared/frozen").unwrap().processes();
    wait_for("them to join", || (group.processes().len() >= 3 && others().len() >= 2).then_some(()));
    sandbox.tree().group("shared/frozen").unwrap().freeze(PATIENCE).unwrap();
    // As if it was killed: the locks are gone, all else is as it was.
    sandbox.lose();
    let tree = create(&sandbox.name).unwrap();
    for process in [&mut frozen, &mut running] {
        let status = wait_for("it to be killed", || process.0.try_wait().unwrap());
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }
    assert_eq!(tree.group("isolated/app").unwrap().usage().pids.unwrap().limit, None);
    sandbox.give(tree);
}

#[test]
fn a_living_host_is_left_alone() {
    let Some(sandbox) = Sandbox::with(&[]) else { return };
    if sandbox.tree().host().entries().is_empty() {
        println!("skipped: no hierarchy can be used");
        return;
    }
    assert!(matches!(create(&sandbox.name), Err(TreeError::InUse(_))));
    assert!(sandbox.tree().host().processes().is_empty(), "of others");
}

#[test]
fn names_that_climb_are_refused() {
    let Some(sandbox) = Sandbox::with(&[]) else { return };
    for path in ["", "/", "..", "shared/../../x", "shared/", "a.b", "cgroup.procs", "ü"] {
        assert!(matches!(sandbox.tree().group(path), Err(TreeError::Name(_))), "{path:?}");
        assert!(matches!(create(path), Err(TreeError::Name(_))), "{path:?}");
    }
    // A file in every group of version 1.
    assert_eq!(sandbox.tree().group("shared/tasks").unwrap().processes(), Vec::<u32>::new());
}

/// The host of `host.rs`, in a process of its own.
struct Host(Child);

impl Host {
    /// Returns when it begins.
    fn start(name: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "host::a_round_of_a_host_leaves_nothing_behind", "--nocapture"]);
        command.env(host::NAME, name).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut started = Host(command.spawn().unwrap());
        let lines = BufReader::new(started.0.stdout.take().unwrap()).lines();
        // The harness may have words of its own before it, on the same line.
        assert!(lines.map_while(Result::ok).any(|line| line.contains(host::BEGIN)), "it did not begin");
        started
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_host_killed_at_any_step_leaves_nothing_in_the_way() {
    let Some(sandbox) = Sandbox::with(&[]) else { return };
    if sandbox.tree().host().entries().is_empty() {
        println!("skipped: no hierarchy can be used");
        return;
    }
    let name = format!("{}-killed", sandbox.name);
    // About two rounds of what it does, a step at a time.
    for step in 0..60_u64 {
        let host = Host::start(&name);
        let until = Instant::now() + Duration::from_micros(700 * step);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        drop(host);
    }
    let tree = create(&name).unwrap();
    tree.group("shared/a").unwrap();
    tree.remove().unwrap();
    let left: Vec<PathBuf> = sandbox.left(&name);
    assert_eq!(left, Vec::<PathBuf>::new());
}
