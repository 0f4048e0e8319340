//! The laboratory drives the program as its object.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lab::document::Document;
use lab::host::{AppPlan, Host, HostPlan};
use rustix::process::Signal;
use serde_json::Value;

use crate::context::{PROGRAM, TestContext, is_root, python, skipped};
use crate::program::Program;

fn hello(ctx: &TestContext) -> AppPlan {
    AppPlan::new("hello:app", ctx.directory()).set("python", python().to_string_lossy())
}

#[test]
fn a_host_is_started_changed_and_stopped() {
    let ctx = TestContext::new();
    let plan = HostPlan::default().with("a", hello(&ctx)).with("b", hello(&ctx));
    let directory = ctx.path("host");
    std::fs::create_dir(&directory).unwrap();
    let mut host = Host::start(Path::new(PROGRAM), plan.clone(), &directory).unwrap();
    assert_ne!(host.address().port(), 0);
    let before = host.workers("a").unwrap();
    assert_eq!(before.len(), 1);
    host.scale("a", 2).unwrap();
    assert_eq!(host.workers("a").unwrap().len(), 2);
    let plan = HostPlan::default().with("a", hello(&ctx).set("env", serde_json::json!({"X": "y"})));
    host.apply(plan).unwrap();
    let after = host.workers("a").unwrap();
    assert!(after.len() == 2 && !after.contains(&before[0]), "{before:?} {after:?}");
    assert!(host.workers("b").is_err());
    let broken = HostPlan::default().with("a", hello(&ctx).limit("nonsense", 1));
    let refused = host.apply(broken).unwrap_err().to_string();
    assert!(refused.contains("nonsense"), "{refused}");
    assert_eq!(host.workers("a").unwrap(), after);
    host.stop().unwrap();
    assert!(!Path::new(&format!("/proc/{}", after[0])).exists());
}

/// A laboratory in directories of its own, so that it meets no other.
fn claims(ctx: &TestContext, arguments: &[&str]) -> Command {
    std::fs::create_dir_all(ctx.path("scratch")).unwrap();
    let mut command = ctx.command(&[&["claims"], arguments].concat());
    command.arg("--effort").arg("quick").arg("--python").arg(python());
    with_own_directories(ctx, command)
}

fn with_own_directories(ctx: &TestContext, mut command: Command) -> Command {
    command.env("TMPDIR", ctx.path("scratch")).env("SERPENTRY_LAB_DIR", ctx.path("lab"));
    command
}

/// Everything that the journal says was changed on the machine: groups, processes, directories.
fn changed(journal: &str) -> (Vec<PathBuf>, Vec<u64>) {
    let (mut paths, mut pids) = (Vec::new(), Vec::new());
    for line in journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let change = &line["noted"]["change"];
        paths.extend(change["directory"].as_str().map(PathBuf::from));
        paths.extend(change["group"].as_str().map(PathBuf::from));
        paths.extend(
            change["tree"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|path| path.as_str().map(PathBuf::from)),
        );
        pids.extend(change["process"]["pid"].as_u64());
        pids.extend(change["moved"]["pid"].as_u64());
    }
    (paths, pids)
}

/// Nothing on the machine names the test's folder: no process, no mount; and none of these is there.
fn all_is_as_it_was(ctx: &TestContext, paths: &[PathBuf]) {
    for path in paths {
        assert!(!path.exists(), "{} is left", path.display());
    }
    assert_eq!(std::fs::read_dir(ctx.path("scratch")).unwrap().count(), 0);
    let folder = ctx.directory().display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&folder), "{mounts}");
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(!line.contains(&folder), "{} is left: {line}", process.path().display());
    }
}

#[test]
fn a_claim_is_tested_and_the_machine_is_as_it_was() {
    if !is_root() {
        return skipped("claims move processes between control groups, which needs root");
    }
    let ctx = TestContext::new();
    let transcript = ctx.run(claims(&ctx, &["C9", "--json", "out.json", "--report", "out.html"]));
    assert!(transcript.starts_with("exit 0\nC9  "), "{transcript}");
    let document = Document::read(&std::fs::read(ctx.path("out.json")).unwrap()).unwrap();
    assert_eq!(document.interrupted, None);
    let page = std::fs::read_to_string(ctx.path("out.html")).unwrap();
    assert_eq!(lab::report::extract(&page).unwrap(), document);
    // I2 has a core of its own, I1 a quota: as the kernel says, whichever version of control groups it has.
    let says = |arm: &str| document.arm(arm).unwrap().cgroup.values().cloned().collect::<Vec<_>>();
    assert!(
        says("C9 I1").iter().any(|value| value == "100000" || value == "100000 100000"),
        "{:?}",
        says("C9 I1")
    );
    assert!(
        says("C9 I2").iter().any(|value| value.parse() == Ok(1) || value.parse() == Ok(0)),
        "{:?}",
        says("C9 I2")
    );
    assert!(document.blocks.iter().all(|block| block.answered > 0), "{:?}", document.blocks);
    let placement = document.method.placement.unwrap();
    assert!(placement.contains("C9 I2: load generator on core 0"), "{placement}");
    assert_eq!(std::fs::read_to_string(ctx.path("lab/journal")).unwrap(), "");
    all_is_as_it_was(&ctx, &[]);
}

#[test]
fn a_killed_laboratory_is_put_back() {
    if !is_root() {
        return skipped("claims move processes between control groups, which needs root");
    }
    let ctx = TestContext::new();
    let program = Program::start(claims(&ctx, &["C2"]));
    let journal = ctx.path("lab/journal");
    // The arm in which processes are moved to another group: the most there is to put back.
    let deadline = Instant::now() + Duration::from_secs(90);
    let text = loop {
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        if text.matches("\"moved\"").count() > 3 {
            break text;
        }
        assert!(Instant::now() < deadline && program.is_running(), "{text}\n{}", program.stderr());
        std::thread::sleep(Duration::from_millis(5));
    };
    let second = ctx.run(claims(&ctx, &["C2"]));
    assert!(second.contains(&format!("another laboratory is running (pid {})", program.pid())), "{second}");
    program.signal(Signal::KILL);
    assert!(!program.exit().success());
    let (paths, pids) = changed(&text);
    assert!(paths.len() > 3 && pids.len() > 3, "{text}");
    let restored = ctx.run(with_own_directories(&ctx, ctx.command(&["lab", "restore"])));
    assert!(restored.starts_with("exit 0\n"), "{restored}");
    all_is_as_it_was(&ctx, &paths);
    let again = ctx.run(with_own_directories(&ctx, ctx.command(&["lab", "restore"])));
    assert_eq!(again, "exit 0\nnothing was left\n");
}

#[test]
fn an_interrupted_laboratory_keeps_what_it_has() {
    if !is_root() {
        return skipped("claims move processes between control groups, which needs root");
    }
    let ctx = TestContext::new();
    let program = Program::start(claims(&ctx, &["C2", "--json", "out.json"]));
    let journal = ctx.path("lab/journal");
    let deadline = Instant::now() + Duration::from_secs(90);
    while !std::fs::read_to_string(&journal).unwrap_or_default().contains("\"moved\"") {
        assert!(Instant::now() < deadline && program.is_running(), "{}", program.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    program.signal(Signal::INT);
    let transcript = program.transcript();
    assert!(transcript.starts_with("exit 1\n"), "{transcript}");
    let document = Document::read(&std::fs::read(ctx.path("out.json")).unwrap()).unwrap();
    assert!(document.interrupted.is_some_and(|why| why.contains("C2")), "{transcript}");
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), "");
    all_is_as_it_was(&ctx, &[]);
}
