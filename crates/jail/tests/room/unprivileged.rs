//! Without a room: what a worker of a user without privileges can still be bound by, and what is said of the rest. And
//! control groups and limits, which any worker may have.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jail::{Failure, Identity, Limit, Plan, Resource, RoomPlan, Step};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

use crate::support::{ALONE_MODE, Process, Room, USER, as_root, confined, plan, report_of, room_plan};

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

/// What a shell finds in a room that was made without privileges.
const LOOK: &str = "
id -u; id -g; uname -n; echo $$ | grep -qE '^[0-9]{1,2}$' && echo few; ls -d /proc/1 2>/dev/null || echo alone
kill -9 1 2>/dev/null || echo no kill
for f in /etc/x /usr/x /proc/sys/kernel/hostname /dev/x; do (echo x > $f) 2>/dev/null && echo written $f; done
for f in /tmp/x /var/tmp/x /dev/shm/x /dev/null; do (echo x > $f) 2>/dev/null || echo not written $f; done
head -c 4 /dev/urandom | wc -c; for d in /root /sys/fs/cgroup; do ls -A $d 2>/dev/null; done
cat /etc/resolv.conf; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '
unshare -m true 2>/dev/null || echo no namespaces; mount -t tmpfs none /tmp 2>/dev/null || echo no mounts
grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2 | sort -u; exit 7
";

/// A host without privileges: makes a room and looks around in it, or says why not. Never returns.
pub(crate) fn be_alone() -> ! {
    for network in [true, false] {
        let mut made = RoomPlan { network, ..room_plan() };
        made.view.visible = Vec::new();
        match Room::start(&made) {
            Ok(room) => {
                let mut look = outside("/bin/sh", &["-c", LOOK]);
                look.confinement = Some(confined(&[]));
                match Process::start(&room, &look) {
                    Ok(process) => {
                        let outcome = process.end();
                        println!("{:?} {:?}\n{}", outcome.code, outcome.signal, outcome.text);
                    }
                    Err(failure) => println!("{:?} {failure}", failure.step),
                }
            }
            Err(failure) => println!("{:?} {failure}", failure.step),
        }
    }
    std::process::exit(0)
}

/// In a directory of the superuser's, for this thread and what it starts.
fn mount_where_nobody_gets(closed: &Path) {
    // SAFETY: the only thing that this thread stops sharing is what it changes below.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    fs::set_permissions(closed, fs::Permissions::from_mode(0o700)).unwrap();
    let place = closed.join("place");
    fs::create_dir(&place).unwrap();
    mount(c"none", &place, c"tmpfs", MountFlags::empty(), c"size=64k").unwrap();
}

#[test]
fn a_room_needs_no_privileges_where_user_namespaces_are_allowed() {
    let closed = tempfile::tempdir().unwrap();
    let mut command = Command::new("/proc/self/exe");
    command.arg(ALONE_MODE);
    // Anybody may do this; the superuser tries it as somebody else.
    let uid = if rustix::process::geteuid().is_root() {
        command.uid(USER).gid(USER);
        mount_where_nobody_gets(closed.path());
        USER
    } else {
        rustix::process::getuid().as_raw()
    };
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    if text.starts_with("Namespaces ") {
        eprintln!("skipped: no user namespaces for users here: {text}");
        return;
    }
    let found = format!(
        "Some(7) None\n{uid}\n{uid}\napp\nfew\nalone\nno kill\n4\nnameserver 192.0.2.1\nlo\n\
         no namespaces\nno mounts\n0000000000000000\n"
    );
    let with_network = text.find("\n\n").map_or("", |end| &text[..=end]);
    assert_eq!(with_network, found, "{text}{}", String::from_utf8_lossy(&output.stderr));
    let with_hosts = &text[with_network.len() + 1..];
    let interfaces = fs::read_dir("/sys/class/net").unwrap().count();
    let seen = with_hosts.split("192.0.2.1\n").nth(1).and_then(|rest| rest.split("no namespaces").next());
    assert_eq!(seen.map(|seen| seen.lines().count()), Some(interfaces), "{with_hosts}");
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
        eprintln!("skipped: no control groups can be made here");
        return;
    }
    let mut plan = outside("/bin/cat", &["/proc/self/cgroup"]);
    plan.cgroups = groups.0.iter().map(|group| group.join("cgroup.procs")).collect();
    let text = run_outside(&plan, None).unwrap();
    assert_eq!(text.matches(&format!("/{name}\n")).count(), groups.0.len(), "{text}");
    // Inside a room the same is the root of what is seen, and there is nothing to write to.
    let mut made = room_plan();
    made.cgroups = plan.cgroups.clone();
    let room = Room::start(&made).unwrap();
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
