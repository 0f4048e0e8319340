//! Each limit is broken by somebody, and holds.

use jail::cgroup::{Controller, Limits};

use crate::sandbox::{PATIENCE, Process, Sandbox, accepted, wait_for};

const MIB: u64 = 1 << 20;

#[test]
fn a_memory_hog_is_killed_at_its_limit() {
    let Some(sandbox) = Sandbox::with(&[Controller::Memory]) else { return };
    let group = sandbox.group(&Limits { memory: Some(64 * MIB), ..Limits::default() });
    let (status, text) = Process::python(&group, "bytearray(300 << 20)").finish();
    assert_eq!(status, -9, "{text}");
    let memory = group.usage().memory.unwrap();
    assert_eq!((memory.limit, memory.oom_kills), (Some(64 * MIB), 1), "{memory:?}");
    assert!(memory.peak.is_none_or(|peak| peak <= 64 * MIB), "{memory:?}");
    // Without a limit the same is fine.
    accepted(&group.apply(&Limits::default()));
    let (status, text) = Process::python(&group, "bytearray(300 << 20)").finish();
    assert_eq!(status, 0, "{text}");
    assert_eq!(group.usage().memory.unwrap().limit, None);
}

#[test]
fn a_fork_bomb_gets_no_more_processes() {
    let Some(sandbox) = Sandbox::with(&[Controller::Pids]) else { return };
    let group = sandbox.group(&Limits { processes: Some(8), ..Limits::default() });
    let script = "import os, sys, time
made = 0
try:
    for _ in range(20):
        if os.fork() == 0:
            os.closerange(0, 3)
            time.sleep(60)
            os._exit(0)
        made += 1
except BlockingIOError:
    print(made)
    sys.exit(11)";
    let (status, text) = Process::python(&group, script).finish();
    assert_eq!((status, text.as_str()), (11, "7\n"));
    let pids = group.usage().pids.unwrap();
    assert_eq!((pids.current, pids.limit, pids.refused), (7, Some(8), 1), "{pids:?}");
    group.kill(PATIENCE).unwrap();
    assert_eq!(group.processes(), Vec::<u32>::new());
}

#[test]
fn a_burner_gets_its_quota_and_no_more() {
    let Some(sandbox) = Sandbox::with(&[Controller::Cpu]) else { return };
    let group = sandbox.group(&Limits { cpu: Some(0.4), ..Limits::default() });
    let burn = "while :; do :; done & while :; do :; done";
    let _burner = Process::shell(&group, burn);
    wait_for("the burner to be throttled", || (group.usage().cpu?.throttled >= 10).then_some(()));
    let (start, before) = (std::time::Instant::now(), group.usage().cpu.unwrap());
    std::thread::sleep(std::time::Duration::from_secs(3));
    let (used, elapsed) = (group.usage().cpu.unwrap().usage_us - before.usage_us, start.elapsed());
    let cores = used as f64 / elapsed.as_micros() as f64;
    println!("0.4 cores allowed, {cores:.3} used");
    assert!((0.38..=0.42).contains(&cores), "{cores}");
    // Changed in place.
    accepted(&group.apply(&Limits { cpu: Some(0.1), ..Limits::default() }));
    let (start, before) = (std::time::Instant::now(), group.usage().cpu.unwrap());
    std::thread::sleep(std::time::Duration::from_secs(2));
    let used = group.usage().cpu.unwrap().usage_us - before.usage_us;
    let cores = used as f64 / start.elapsed().as_micros() as f64;
    println!("0.1 cores allowed, {cores:.3} used");
    assert!((0.09..=0.11).contains(&cores), "{cores}");
    group.kill(PATIENCE).unwrap();
}
