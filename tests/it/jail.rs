//! The step between the program and Python: failures named by step, and what a worker is and has when it is ready.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getsid};

use crate::context::{TestContext, is_root, skipped};
use crate::program::{Program, descriptors, to_pid};

/// A step, what the interpreter does while it is being checked to make that step fail later, and what is said then.
struct Failure {
    step: &'static str,
    sabotage: &'static str,
    reason: &'static str,
    /// Permissions do not stop the superuser.
    stops_root: bool,
}

/// The interpreter is asked for its version after the directory was checked and before the first worker is started.
const FAILURES: &[Failure] = &[
    Failure {
        step: "the directory was removed",
        sabotage: "rm -r ../app",
        reason: "cannot enter the application's directory DIR/app: No such file or directory (os error 2)",
        stops_root: true,
    },
    Failure {
        step: "the directory is a file now",
        sabotage: "rm -r ../app; echo > ../app",
        reason: "cannot enter the application's directory DIR/app: Not a directory (os error 20)",
        stops_root: true,
    },
    Failure {
        step: "the directory may not be entered",
        sabotage: "chmod 000 ../app",
        reason: "cannot enter the application's directory DIR/app: Permission denied (os error 13)",
        stops_root: false,
    },
    Failure {
        step: "the interpreter may not be executed",
        sabotage: "chmod 644 \"$0\"",
        reason: "cannot run the interpreter DIR/python: Permission denied (os error 13)",
        stops_root: true,
    },
    Failure {
        step: "the interpreter was removed",
        sabotage: "rm \"$0\"",
        reason: "cannot run the interpreter DIR/python: No such file or directory (os error 2)",
        stops_root: true,
    },
    Failure {
        step: "what runs the interpreter was removed",
        sabotage: "rm \"$0\"; echo '#!/no/such/shell' > \"$0\"; chmod 755 \"$0\"",
        reason: "cannot run the interpreter DIR/python: No such file or directory (os error 2)",
        stops_root: true,
    },
];

#[test]
fn a_step_that_fails_is_named_and_ends_the_program() {
    for failure in FAILURES {
        if is_root() && !failure.stops_root {
            skipped(&format!("{}: the superuser may", failure.step));
            continue;
        }
        let ctx = TestContext::new();
        ctx.write("app/hello.py", include_str!("apps/hello.py"));
        let script =
            format!("cd app\n{}\nexec PYTHON \"$@\"", failure.sabotage.replace("$0", "$OLDPWD/python"));
        ctx.script("python", &script);
        let arguments = ["serve", "hello:app", "--chdir", "app", "--python", "./python"];
        let mut command = ctx.command(&arguments);
        command.args(["--bind", "127.0.0.1:0", "--workers", "3"]);
        let transcript = ctx.run(command);
        let last = format!("serpentry: error: the application did not start: {}\n", failure.reason);
        assert!(transcript.starts_with("exit 1\n"), "{}: {transcript}", failure.step);
        assert!(transcript.ends_with(&last), "{}: {transcript}", failure.step);
        assert!(!transcript.contains("could not"), "{}: {transcript}", failure.step);
    }
}

#[test]
fn a_directory_that_is_gone_at_a_reload_keeps_the_old_workers() {
    let ctx = TestContext::new();
    ctx.write("app/hello.py", include_str!("apps/hello.py"));
    let program = ctx.serve(&["hello:app", "--chdir", "app"]);
    let before = program.ready();
    fs::remove_dir_all(ctx.path("app")).unwrap();
    program.signal(Signal::HUP);
    let line = ctx.masked(&program.line("reload to generation 2 failed"));
    let expected = "serpentry: warning: reload to generation 2 failed, generation 1 keeps serving: \
                    cannot enter the application's directory DIR/app: No such file or directory (os error 2)";
    assert_eq!(line, expected);
    let answer = crate::http::get(&program.address(), "/");
    assert!(answer.body.starts_with(&before[0].to_string()), "{answer:?}");
}

#[test]
fn workers_die_with_the_program() {
    let ctx = TestContext::new();
    let kinds: [&[&str]; 3] = [
        &["hello:app", "--workers", "3"],
        &["hello:app", "--threads", "4"],
        &["hello:asgi", "--workers", "2"],
    ];
    for kind in kinds {
        let program = ctx.serve(kind);
        let workers = program.ready();
        let killed = Instant::now();
        program.signal(Signal::KILL);
        // They hold our standard error: its end is theirs.
        program.all_gone();
        let took = killed.elapsed();
        assert!(took < Duration::from_secs(1), "{kind:?}: {workers:?} took {took:?}");
    }
}

/// A worker notices by itself that its links end, but only once Python has come that far.
#[test]
fn a_worker_that_knows_nothing_of_its_links_yet_dies_with_the_program() {
    let ctx = TestContext::new();
    // The check of the version is answered; as a worker it never gets to Python.
    let script = "[ \"$1\" = -I ] && exec PYTHON \"$@\"\necho stuck >&2\nexec sleep 60";
    ctx.script("python", script);
    let arguments = ["serve", "hello:app", "--bind", "127.0.0.1:0", "--python", "./python"];
    let program = Program::start(ctx.command(&arguments));
    program.line("stuck");
    let killed = Instant::now();
    program.signal(Signal::KILL);
    program.all_gone();
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
}

#[test]
fn a_worker_leads_its_own_session() {
    let ctx = TestContext::new();
    let program = ctx.serve(&["hello:app", "--workers", "2"]);
    for worker in program.ready() {
        assert_eq!(getsid(Some(to_pid(worker))).unwrap(), to_pid(worker));
    }
}

/// What a process of ours may have open besides 0 to 4: for its own use, not sockets.
const ALLOWED: [&str; 3] = ["anon_inode:[eventfd]", "anon_inode:[eventpoll]", "anon_inode:[signalfd]"];

#[test]
fn a_worker_has_its_two_links_and_nothing_of_anybody_else() {
    let ctx = TestContext::new();
    let kinds: [&[&str]; 3] = [
        &["hello:app", "--workers", "3"],
        &["hello:app", "--workers", "2", "--threads", "4"],
        &["hello:asgi", "--workers", "2", "--loop", "asyncio"],
    ];
    for kind in kinds {
        let mut command = ctx.serve_command(kind);
        // Several listening sockets, or theirs could be the very numbers that the links take.
        command.args(["--bind", "127.0.0.1:0", "--bind", "127.0.0.1:0", "--bind", "unix:app.sock"]);
        let program = Program::start(command);
        let workers = program.ready();
        let mut seen = sockets(program.pid());
        for worker in workers {
            let open = descriptors(worker);
            let shown = format!("{kind:?}: {open:?}");
            let target =
                |number| open.iter().find(|(open, _)| *open == number).map(|(_, target)| &target[..]);
            assert_eq!(target(0), Some("/dev/null"), "{shown}");
            assert!(target(1).is_some_and(|target| target.starts_with("pipe:")), "{shown}");
            assert!(target(2).is_some_and(|target| target.starts_with("pipe:")), "{shown}");
            assert!(target(3).is_some_and(is_socket), "{shown}");
            assert!(target(4).is_some_and(is_socket), "{shown}");
            // asyncio wakes itself up through a pair of sockets of its own.
            let own = if kind[0] == "hello:asgi" { 2 } else { 0 };
            let further: Vec<_> = open.iter().filter(|(number, _)| *number > 4).collect();
            let strange =
                further.iter().filter(|(_, target)| !ALLOWED.contains(&&target[..]) && !is_own(target));
            assert_eq!(strange.filter(|(_, target)| !is_socket(target)).count(), 0, "{shown}");
            assert_eq!(further.iter().filter(|(_, target)| is_socket(target)).count(), own, "{shown}");
            for socket in sockets(worker) {
                assert!(!seen.contains(&socket), "{kind:?}: {socket} is open elsewhere too, {shown}");
                seen.push(socket);
            }
        }
        assert_eq!(program.stop(), Some(0));
    }
}

/// What its observer looks at.
fn is_own(target: &str) -> bool {
    target.starts_with("/proc/") && ["/syscall", "/schedstat"].iter().any(|name| target.ends_with(name))
}

fn is_socket(target: &str) -> bool {
    target.starts_with("socket:")
}

/// The sockets of a process, listening ones and links alike.
fn sockets(pid: u32) -> Vec<String> {
    let targets = descriptors(pid).into_iter().map(|(_, target)| target);
    targets.filter(|target| is_socket(target)).collect()
}

#[test]
fn what_the_program_was_started_with_does_not_reach_the_workers() {
    let ctx = TestContext::new();
    let serve = ctx.serve_command(&["hello:app"]);
    let mut command = std::process::Command::new("sh");
    // As from a shell or a supervisor that forgot to close its files.
    command
        .args(["-c", "exec \"$0\" \"$@\" 7<hello.py"])
        .arg(serve.get_program())
        .args(serve.get_args())
        .current_dir(ctx.directory());
    let program = Program::start(command);
    let worker = program.ready()[0];
    let leaked: Vec<_> =
        descriptors(worker).into_iter().filter(|(_, target)| target.ends_with("hello.py")).collect();
    assert_eq!(leaked, []);
}
