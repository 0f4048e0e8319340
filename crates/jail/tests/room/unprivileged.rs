//! Without a room: what a worker of a user without privileges can still be bound by, and what is said of the rest. And
//! control groups and limits, which any worker may have.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use jail::{Failure, Identity, Limit, Plan, Resource, Step};

use crate::support::{USER, as_root, confined, plan, report_of};

/// A process outside of rooms, started by the superuser or by somebody else: what it writes, or the step that failed.
fn run_outside(plan: &Plan, starter: Option<u32>) -> Result<String, Failure> {
    let (mut command, handover) = jail::command().unwrap();
    command.stdout(Stdio::piped());
    if let Some(uid) = starter {
        command.uid(uid).gid(uid);
    }
    let mut child = command.spawn().unwrap();
    drop(command);
    let report = handover.send(plan, &[]).unwrap();
    let failure = report_of(report);
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    failure.map_or(Ok(text), Err)
}

fn outside(program: &str, arguments: &[&str]) -> Plan {
    Plan {
        program: program.into(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        identity: None,
        confinement: None,
        ..plan("")
    }
}

#[test]
fn a_plan_that_asks_for_nothing_changes_nothing() {
    let status = outside("/bin/cat", &["/proc/self/status"]);
    let text = run_outside(&status, None).unwrap();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    for line in ["Uid:", "Gid:", "Groups:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:"] {
        let find = |text: &str| text.lines().find(|found| found.starts_with(line)).map(str::to_owned);
        assert_eq!(find(&text), find(&own));
    }
}

#[test]
fn without_privileges_the_rest_holds() {
    // Anybody may do this; the superuser tries it as somebody else.
    let starter = rustix::process::geteuid().is_root().then_some(USER);
    let script = "ulimit -n; ulimit -c; grep -E '^(NoNewPrivs|Seccomp|CapEff):' /proc/self/status; \
                  echo x 2>/dev/null > /tmp/$0 && echo tmp && rm /tmp/$0; echo x 2>/dev/null > /var/tmp/$0 || echo no; unshare -U true 2>&1";
    let mut plan = outside("/bin/sh", &["-c", script, &format!("room-{}", std::process::id())]);
    plan.limits = vec![
        Limit { resource: Resource::OpenFiles, most: Some(99) },
        Limit { resource: Resource::CoreSize, most: Some(0) },
    ];
    let mut confinement = confined(&[]);
    confinement.access.as_mut().unwrap().writable = vec!["/tmp".into(), "/dev".into()];
    plan.confinement = Some(confinement);
    let text = run_outside(&plan, starter).unwrap();
    let landlock = if jail::Landlock::here().files { "no\n" } else { "" };
    let expected = format!(
        "99\n0\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\ntmp\n{landlock}\
         unshare: unshare failed: Operation not permitted\n"
    );
    assert_eq!(text, expected);
    // And what does not hold is said.
    let identity = Some(Identity { uid: USER + 1, gid: USER + 1, groups: Vec::new() });
    let failure = run_outside(&Plan { identity, ..plan.clone() }, starter).unwrap_err();
    assert_eq!((failure.step, failure.errno), (Step::Identity, Some(1)));
    assert_eq!(failure.to_string(), "cannot become user 61201: Operation not permitted (os error 1)");
    plan.limits[0].most = Some(u64::MAX - 1);
    let failure = run_outside(&plan, starter).unwrap_err();
    assert_eq!((failure.step, &failure.path[..]), (Step::Limits, "OpenFiles to 18446744073709551614"));
}

/// Control groups of the test, removed with it.
struct Groups(Vec<PathBuf>);

impl Drop for Groups {
    fn drop(&mut self) {
        for group in &self.0 {
            // A zombie leaves its group when it is reaped, which may be a moment later.
            for _ in 0..1000 {
                if fs::remove_dir(group).is_ok() {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn a_worker_joins_its_control_groups_before_it_starts() {
    if !as_root() {
        return;
    }
    let candidates =
        ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let name = format!("serpentry-test-{}", std::process::id());
    let mut groups = Groups(Vec::new());
    for candidate in candidates {
        let group = Path::new(candidate).join(&name);
        if Path::new(candidate).join("cgroup.procs").exists() && fs::create_dir(&group).is_ok() {
            groups.0.push(group);
        }
    }
    if groups.0.is_empty() {
        println!("skipped: no control groups can be made here");
        return;
    }
    let mut plan = outside("/bin/cat", &["/proc/self/cgroup"]);
    plan.cgroups = groups.0.iter().map(|group| group.join("cgroup.procs")).collect();
    let text = run_outside(&plan, None).unwrap();
    assert_eq!(text.matches(&format!("/{name}\n")).count(), groups.0.len(), "{text}");
    // Inside a room the same is the root of what is seen, and there is nothing to write to.
    let mut made = crate::support::room_plan();
    made.cgroups = plan.cgroups.clone();
    let room = crate::support::Room::start(&made).unwrap();
    let text = crate::support::run_plan(&room, &Plan { cgroups: plan.cgroups.clone(), ..plan.clone() });
    assert_eq!(text.matches(":/\n").count(), text.lines().count(), "{text}");
    let seen = crate::support::run(
        &room,
        "import os; print(os.listdir('/sys/fs/cgroup') if os.path.exists('/sys/fs/cgroup') else [])",
    );
    assert_eq!(seen, "[]\n");
    drop(room.socket);
    crate::support::wait_readable(&room.holder);
    room.holder.try_wait().unwrap();
}
