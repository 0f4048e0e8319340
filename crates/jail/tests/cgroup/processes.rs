//! Stopping, resuming and killing.

use jail::cgroup::{Controller, Limits};

use crate::sandbox::{PATIENCE, Process, Sandbox, wait_for};

#[test]
fn a_frozen_group_does_nothing_until_it_is_thawed() {
    let Some(sandbox) = Sandbox::with(&[Controller::Cpuacct]) else { return };
    let group = sandbox.group(&Limits::default());
    let _burner = Process::shell(&group, "while :; do :; done");
    let used = || group.usage().cpu.unwrap().usage_us;
    wait_for("the burner to run", || (used() > 50_000).then_some(()));
    group.freeze(PATIENCE).unwrap();
    let frozen = used();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(used() < frozen + 5_000, "{} after {frozen}", used());
    group.thaw(PATIENCE).unwrap();
    wait_for("the burner to run again", || (used() > frozen + 50_000).then_some(()));
}

#[test]
fn a_group_is_killed_with_all_that_forks_in_it_even_when_frozen() {
    let Some(sandbox) = Sandbox::with(&[Controller::Pids]) else { return };
    let group = sandbox.group(&Limits { processes: Some(200), ..Limits::default() });
    for freeze in [false, true] {
        // Each forks two and ends, for ever.
        let _bomb = Process::shell(&group, "f() { f & f & }; trap '' TERM INT HUP; f 2>/dev/null & sleep 60");
        wait_for("it to multiply", || (group.usage().pids?.current > 20).then_some(()));
        if freeze {
            group.freeze(PATIENCE).unwrap();
        }
        group.kill(PATIENCE).unwrap();
        assert_eq!(group.processes(), Vec::<u32>::new());
    }
    group.remove(PATIENCE).unwrap();
    assert!(group.entries().iter().all(|entry| !entry.exists()));
    // Made again under the same name, without the old limits.
    let again = sandbox.tree().group(group.path()).unwrap();
    assert_eq!(again.usage().pids.unwrap().limit, None);
}

#[test]
fn a_group_with_processes_is_not_removed() {
    let Some(sandbox) = Sandbox::with(&[Controller::Pids]) else { return };
    let group = sandbox.group(&Limits::default());
    let sleeper = Process::shell(&group, "echo; exec sleep 60");
    wait_for("it to join", || (!group.processes().is_empty()).then_some(()));
    let error = group.remove(std::time::Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
    drop(sleeper);
    group.remove(PATIENCE).unwrap();
}
