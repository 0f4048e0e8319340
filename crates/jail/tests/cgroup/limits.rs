//! Each limit is broken by somebody, and holds.

use std::time::{Duration, Instant};

use jail::cgroup::{Controller, Group, Limits};

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
    let _burner = Process::shell(&group, "while :; do :; done & while :; do :; done");
    assert_cores(&group, 0.4);
    // Changed in place.
    accepted(&group.apply(&Limits { cpu: Some(0.1), ..Limits::default() }));
    assert_cores(&group, 0.1);
    group.kill(PATIENCE).unwrap();
}

/// What it gets once it has used up what was saved before.
fn assert_cores(group: &Group, allowed: f64) {
    let throttled = || group.usage().cpu.unwrap().throttled;
    let before = throttled();
    wait_for("the burner to be throttled", || (throttled() >= before + 10).then_some(()));
    let (start, before) = (Instant::now(), group.usage().cpu.unwrap());
    std::thread::sleep(Duration::from_secs(3));
    let after = group.usage().cpu.unwrap();
    let cores = (after.usage_us - before.usage_us) as f64 / start.elapsed().as_micros() as f64;
    // In what part of the periods the machine had enough left for it.
    let (throttled, periods) = (after.throttled - before.throttled, after.periods - before.periods);
    let had = throttled as f64 / periods as f64;
    println!("{allowed} cores allowed, {cores:.4} used, at the limit in {throttled} of {periods} periods");
    // It is a ceiling. What is handed to a processor that then has no time for it is lost; with emulated ones that is much.
    let least = if std::env::var_os("SERPENTRY_V2_MACHINE").is_some() { 0.5 } else { 0.9 * had };
    assert!((allowed * least..=allowed * 1.05).contains(&cores), "{cores}");
    assert!(had > 0.5, "the machine is too busy to tell");
}

#[test]
fn a_group_stays_on_its_cores_and_those_below_follow() {
    let Some(sandbox) = Sandbox::with(&[Controller::Cpuset]) else { return };
    let all = cores(&sandbox, "shared/other");
    let Some(last) = all.last().copied().filter(|_| all.len() > 1) else {
        println!("skipped: one core only");
        return;
    };
    let app = sandbox.group(&Limits { cores: Some(vec![last]), ..Limits::default() });
    assert_eq!(cores(&sandbox, "isolated/app"), [last]);
    // The pool loses that core, and what is in it too, without being told.
    let pool = sandbox.tree().group("shared").unwrap();
    let rest: Vec<u32> = all.iter().copied().filter(|core| *core != last).collect();
    accepted(&pool.apply(&Limits { cores: Some(rest.clone()), ..Limits::default() }));
    assert_eq!(cores(&sandbox, "shared/other"), rest);
    assert_eq!(cores(&sandbox, "shared/later"), rest);
    // And gets it back.
    accepted(&app.apply(&Limits::default()));
    accepted(&pool.apply(&Limits::default()));
    for path in ["isolated/app", "shared/other", "shared/later"] {
        assert_eq!(cores(&sandbox, path), all, "{path}");
    }
    let outcomes = app.apply(&Limits { cores: Some(vec![4000]), ..Limits::default() });
    assert!(outcomes.iter().any(|outcome| !outcome.enforced()), "{outcomes:?}");
    let outcomes = app.apply(&Limits { cores: Some(Vec::new()), ..Limits::default() });
    assert!(outcomes.iter().any(|outcome| !outcome.enforced()), "{outcomes:?}");
    assert_eq!(cores(&sandbox, "isolated/app"), all);
}

/// Where a process of that group may run, as the process sees it.
fn cores(sandbox: &Sandbox, path: &str) -> Vec<u32> {
    let group = sandbox.tree().group(path).unwrap();
    let script = "import os; print(*sorted(os.sched_getaffinity(0)), sep=',')";
    let (status, text) = Process::python(&group, script).finish();
    assert_eq!(status, 0, "{text}");
    jail::cgroup::list(&text)
}

#[test]
fn shares_decide_when_all_want_the_same_core() {
    let Some(sandbox) = Sandbox::with(&[Controller::Cpu, Controller::Cpuset]) else { return };
    let core = cores(&sandbox, "isolated/app").last().copied().unwrap();
    let group = |name: &str, weight| {
        let group = sandbox.tree().group(name).unwrap();
        accepted(&group.apply(&Limits {
            cores: Some(vec![core]),
            cpu_weight: Some(weight),
            ..Limits::default()
        }));
        group
    };
    let (large, small) = (group("shared/large", 300), group("shared/small", 100));
    let burners = [&large, &small].map(|group| Process::shell(group, "while :; do :; done"));
    let used = || [&large, &small].map(|group| group.usage().cpu.unwrap().usage_us as f64);
    wait_for("both to run", || used().iter().all(|used| *used > 50_000.0).then_some(()));
    let before = used();
    std::thread::sleep(Duration::from_secs(3));
    let after = used();
    drop(burners);
    let ratio = (after[0] - before[0]) / (after[1] - before[1]);
    println!("weights 300 to 100, time {ratio:.2} to 1");
    assert!((2.7..=3.3).contains(&ratio), "{ratio}");
}

#[test]
fn it_is_told_when_memory_runs_out() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let Some(sandbox) = Sandbox::with(&[Controller::Memory]) else { return };
    let group = sandbox.group(&Limits { memory: Some(32 * MIB), ..Limits::default() });
    let watch = group.oom_watch().unwrap();
    assert!(!watch.drain().unwrap());
    let (status, text) = Process::python(&group, "bytearray(100 << 20)").finish();
    assert_eq!(status, -9, "{text}");
    let timeout = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&timeout)), Ok(1));
    assert!(watch.drain().unwrap());
    assert!(!watch.drain().unwrap());
    assert_eq!(group.usage().memory.unwrap().oom_kills, 1);
}

#[test]
fn a_smaller_memory_limit_than_what_is_in_use_is_reported_or_kills() {
    let Some(sandbox) = Sandbox::with(&[Controller::Memory]) else { return };
    let group = sandbox.group(&Limits { memory: Some(256 * MIB), ..Limits::default() });
    let mut hog = Process::python(
        &group,
        "import time; held = bytearray(b'x' * (100 << 20)); print('held', flush=True); time.sleep(60)",
    );
    let mut line = [0; 5];
    std::io::Read::read_exact(hog.0.stdout.as_mut().unwrap(), &mut line).unwrap();
    let outcomes = group.apply(&Limits { memory: Some(16 * MIB), ..Limits::default() });
    let refusal = outcomes[0].refusal.clone();
    println!("{outcomes:?}");
    let limit = group.usage().memory.unwrap().limit;
    match refusal {
        // Version 1: nothing has changed.
        Some(refusal) => {
            assert!(refusal.why.contains("cannot be reclaimed"), "{refusal}");
            assert_eq!((limit, hog.0.try_wait().unwrap()), (Some(256 * MIB), None));
        }
        None => assert_eq!((limit, hog.finish().0), (Some(16 * MIB), -9)),
    }
}
