//! `--preload`: workers are forked by a template that imported the application once. What is inside of a fork is looked
//! at in `tests/worker/test_preload.py`; here it is the host's side, over real processes.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getsid, kill_process};

use crate::context::TestContext;
use crate::http::{self, Gate};
use crate::program::{Program, children, to_pid};

/// What the slow application sleeps while it is imported.
const IMPORT: Duration = Duration::from_secs(2);

/// Far below any timeout, far above what a kill takes.
const AT_ONCE: Duration = Duration::from_secs(2);

const SLOW: &str = "
import os, time
time.sleep(2)
def app(environ, start_response):
    start_response('200 OK', [])
    return [b'%d %d' % (IMPORTER, os.getpid())]
IMPORTER = os.getpid()
";

/// An application that says which version of it this is.
fn version(number: u32) -> String {
    format!(
        "
def app(environ, start_response):
    start_response('200 OK', [])
    return [b'version {number}']
"
    )
}

fn serve(ctx: &TestContext, arguments: &[&str]) -> Program {
    let mut command = ctx.serve_command(arguments);
    command.args(["--preload", "--log-level", "debug"]);
    Program::start(command)
}

/// The process id at the end of a line.
fn pid_in(line: &str, before: &str) -> u32 {
    let (_, rest) = line.split_once(before).unwrap();
    rest.split(|end: char| !end.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Process id of a worker by its number, once it is forked.
fn worker(program: &Program, number: u32) -> u32 {
    let before = format!("worker {number} is process ");
    pid_in(&program.line(&before), &before)
}

/// Process id of the nth template.
fn template(program: &Program, generation: u32, nth: usize) -> u32 {
    let before = format!("the template of generation {generation} is process ");
    pid_in(&program.nth_line(&before, nth), &before)
}

fn kill(pid: u32) {
    kill_process(to_pid(pid), Signal::KILL).unwrap();
}

/// The letter of its state (proc_pid_stat(5)), or `None` when it is gone.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Look again and again, for what no line announces.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_workers_are_back_without_another_import() {
    const KILLED: u32 = 10;
    let ctx = TestContext::new();
    ctx.write("slow.py", SLOW);
    let program = serve(&ctx, &["slow:app"]);
    program.ready();
    let (host, origin) = (program.pid(), template(&program, 1, 1));
    let mut pid = worker(&program, 1);
    let mut took = Vec::new();
    for number in 2..KILLED + 2 {
        kill(pid);
        let line = program.line(&format!("worker {number} is ready, "));
        let (_, after) = line.split_once("ready, ").unwrap();
        took.push(after.split(' ').next().unwrap().parse::<f64>().unwrap());
        pid = worker(&program, number);
        assert_eq!(http::get(&program.address(), "/").body, format!("{origin} {pid}"));
        assert_eq!(getsid(Some(to_pid(pid))).unwrap(), to_pid(pid), "it leads a session of its own");
        let mut expected = [origin, pid];
        expected.sort_unstable();
        let mut found = children(host);
        found.sort_unstable();
        assert_eq!(found, expected, "the killed one is reaped, and nothing else is left");
    }
    took.sort_by(f64::total_cmp);
    eprintln!(
        "measured: a killed worker is back after {:.1} ms (median of {KILLED}, longest {:.1} ms)",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(took[took.len() - 1] < IMPORT.as_secs_f64() * 1e3, "{took:?} ms");
    assert_eq!(program.stop(), Some(0));
    program.all_gone();
}

#[test]
fn template_and_workers_die_with_the_program() {
    let ctx = TestContext::new();
    let kinds: [&[&str]; 3] = [
        &["hello:app", "--workers", "3"],
        &["hello:app", "--threads", "4"],
        &["hello:asgi", "--workers", "2"],
    ];
    for kind in kinds {
        let program = serve(&ctx, kind);
        let mut processes = program.ready();
        processes.push(template(&program, 1, 1));
        let killed = Instant::now();
        program.signal(Signal::KILL);
        // They hold our standard error: its end is theirs.
        program.all_gone();
        let took = killed.elapsed();
        assert!(took < Duration::from_secs(1), "{kind:?}: {processes:?} took {took:?}");
    }
}

/// A worker notices by itself that its links end, but only once it serves.
#[test]
fn a_worker_that_does_not_look_at_its_links_yet_dies_with_the_program() {
    let ctx = TestContext::new();
    let app = "
import os, sys, time
def stuck():
    print('stuck', file=sys.stderr, flush=True)
    time.sleep(60)
os.register_at_fork(after_in_child=stuck)
def app(environ, start_response):
    pass
";
    ctx.write("stuck.py", app);
    let program = serve(&ctx, &["stuck:app"]);
    program.line("stuck");
    worker(&program, 1);
    let killed = Instant::now();
    program.signal(Signal::KILL);
    program.all_gone();
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
}

#[test]
fn a_reload_brings_new_code_and_ends_the_old_template() {
    let ctx = TestContext::new();
    ctx.write("shop.py", &version(1));
    let program = serve(&ctx, &["shop:app", "--workers", "2"]);
    program.ready();
    assert_eq!(http::get(&program.address(), "/").body, "version 1");
    let first = template(&program, 1, 1);
    ctx.write("shop.py", &version(2));
    program.signal(Signal::HUP);
    program.line("reload done: generation 2 serves");
    program.line("the template of generation 1 ends after ");
    assert_eq!(http::get(&program.address(), "/").body, "version 2");
    until("the old generation is gone", || children(program.pid()).len() == 3);
    assert!(!children(program.pid()).contains(&first));

    // A broken version: what serves goes on, and can still be forked.
    ctx.write("shop.py", "def app(\n");
    program.signal(Signal::HUP);
    let line = program.line("reload to generation 3 failed, generation 2 keeps serving: ");
    assert!(line.contains("module shop does not compile"), "{line}");
    program.line("SyntaxError: ");
    kill(children(program.pid()).into_iter().find(|pid| *pid != template(&program, 2, 1)).unwrap());
    program.line("lost after ");
    until("it is replaced", || children(program.pid()).len() == 3);
    assert_eq!(http::get(&program.address(), "/").body, "version 2");
    assert_eq!(program.stop(), Some(0));
    program.all_gone();
}

#[test]
fn an_import_error_ends_the_program_with_its_traceback() {
    let ctx = TestContext::new();
    ctx.write("shop.py", "def stock():\n    raise LookupError('no such shelf')\n\nstock()\n");
    let mut command = ctx.serve_command(&["shop:app", "--workers", "3", "--preload"]);
    command.args(["--log-level", "warning"]);
    let transcript = ctx.run(command);
    assert!(transcript.starts_with("exit 1\n"), "{transcript}");
    assert_eq!(transcript.matches("the application's traceback:\n").count(), 1, "{transcript}");
    assert!(transcript.contains("shop.py\", line 2, in stock\n"), "{transcript}");
    let last = "serpentry: error: the application did not start: module shop raised \
                LookupError: no such shelf while it was imported\n";
    assert!(transcript.ends_with(last), "{transcript}");
}

#[test]
fn an_import_that_ends_the_template_is_named() {
    let ctx = TestContext::new();
    ctx.write("shop.py", "import os\nos._exit(5)\n");
    let transcript = ctx.run(ctx.serve_command(&["shop:app", "--preload"]));
    let last = "serpentry: error: the application did not start: the template exited \
                with status 5 while it imported the application\n";
    assert!(transcript.starts_with("exit 1\n") && transcript.ends_with(last), "{transcript}");
}

#[test]
fn an_import_that_takes_too_long_is_named() {
    let ctx = TestContext::new();
    let gate = Gate::new();
    let mut command = ctx.serve_command(&["hello:app", "--preload", "--start-timeout", "300ms"]);
    command.args(["--env", &gate.variable(), "--env", "GATE_AT=import"]);
    let transcript = ctx.run(command);
    assert!(transcript.starts_with("exit 1\n"), "{transcript}");
    // Who says it first, the template's clock or the supervisor's, is left open.
    assert!(transcript.contains("serpentry: error: the application did not start: "), "{transcript}");
    assert!(transcript.contains("0.3 s"), "{transcript}");
}

#[test]
fn term_during_the_import_stops_without_waiting_for_it() {
    let ctx = TestContext::new();
    let gate = Gate::new();
    let mut command = ctx.serve_command(&["hello:app", "--preload", "--workers", "2"]);
    command.args(["--env", &gate.variable(), "--env", "GATE_AT=import"]);
    let program = Program::start(command);
    program.line("at the gate: import");
    let _held = gate.waiting();
    let asked = Instant::now();
    assert_eq!(program.stop(), Some(0));
    program.all_gone();
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
}

#[test]
fn workers_outlive_their_template_and_another_is_started() {
    let ctx = TestContext::new();
    let program = serve(&ctx, &["hello:app", "--workers", "2"]);
    let workers = program.ready();
    kill(template(&program, 1, 1));
    program.line("generation 1: the template was killed by signal 9; its workers live on");
    let answer = http::get(&program.address(), "/").body;
    assert!(workers.iter().any(|pid| answer.starts_with(&pid.to_string())), "{answer}");
    assert_eq!(children(program.pid()).len(), 2);
    kill(workers[0]);
    let origin = template(&program, 1, 2);
    program.line("worker 3 is ready, ");
    let mut expected = [workers[1], origin, worker(&program, 3)];
    expected.sort_unstable();
    let mut found = children(program.pid());
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(program.stop(), Some(0));
}

/// The application lets its second fork fail: a limit of processes, as the superuser does not have one.
const LIMITED: &str = "
import os, resource
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
forks = 0
_, most = resource.getrlimit(resource.RLIMIT_NPROC)
def limit():
    global forks
    forks += 1
    resource.setrlimit(resource.RLIMIT_NPROC, (0 if forks == 2 else most, most))
os.register_at_fork(before=limit)
def app(environ, start_response):
    start_response('200 OK', [])
    return [b'served']
";

#[test]
fn a_fork_that_fails_is_reported_and_tried_again_after_a_pause() {
    let ctx = TestContext::new();
    ctx.write("limited.py", LIMITED);
    let program = serve(&ctx, &["limited:app"]);
    let pid = program.ready()[0];
    let origin = template(&program, 1, 1);
    kill(pid);
    let line = program.line("did not start: ");
    let expected = "serpentry: warning: worker 2 of generation 1 did not start: cannot fork a \
                    worker: Resource temporarily unavailable (os error 11)";
    assert_eq!(line, expected);
    program.line("next worker is started in 1.0 s (pause 1 in a row)");
    let asked = http::send(&program.address(), "GET", "/");
    program.line("worker 3 is ready, ");
    assert_eq!(asked.answer().body, "served");
    until("the template is the same", || children(program.pid()).contains(&origin));
    assert_eq!(program.stop(), Some(0));
    program.all_gone();
}

/// Leaves a process behind whose parent ends at once, as daemons do.
const DAEMONS: &str = "
import os, sys
def app(environ, start_response):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
        os._exit(0)
    os.wait()
    start_response('200 OK', [])
    return [b'%d' % os.getpid()]
";

#[test]
fn what_an_application_leaves_behind_is_reaped() {
    let ctx = TestContext::new();
    ctx.write("daemons.py", DAEMONS);
    let program = serve(&ctx, &["daemons:app"]);
    program.ready();
    for number in 1..=3 {
        assert_eq!(http::get(&program.address(), "/").status, 200);
        let line = program.nth_line("left behind by an application, has ended", number);
        let pid = pid_in(&line, "process ");
        assert!(!children(program.pid()).contains(&pid), "{line}");
    }
    assert!(children(program.pid()).iter().all(|pid| state(*pid).is_some_and(|state| state != 'Z')));
    assert_eq!(children(program.pid()).len(), 2, "template and worker");
    assert_eq!(program.stop(), Some(0));
}

/// As in a container that somebody looks into from outside: the session's leader has no pid here, getsid(2) says 0.
#[test]
fn what_an_application_leaves_behind_is_reaped_below_a_session_from_outside() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: a pid namespace needs root");
    }
    let ctx = TestContext::new();
    ctx.write("daemons.py", DAEMONS);
    let mut inner = ctx.serve_command(&["daemons:app", "--preload", "--log-level", "debug"]);
    inner.arg("--graceful-timeout").arg("1s");
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(inner.get_program());
    command.args(inner.get_args()).envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = inner.get_current_dir() {
        command.current_dir(directory);
    }
    let program = Program::start(command);
    program.ready();
    assert_eq!(http::get(&program.address(), "/").status, 200);
    program.line("left behind by an application, has ended");
    for outside in children(program.pid()) {
        kill(outside);
    }
    program.all_gone();
}

#[test]
fn scaling_forks_and_ends_workers() {
    let ctx = TestContext::new();
    let program = serve(&ctx, &["hello:asgi", "--loop", "asyncio"]);
    program.ready();
    program.signal(Signal::TTIN);
    program.line("scaled from 1 to 2 workers");
    program.line("worker 2 is ready, ");
    program.signal(Signal::TTOU);
    program.line("scaled from 2 to 1 workers");
    until("one worker and the template are left", || children(program.pid()).len() == 2);
    assert_eq!(http::get(&program.address(), "/").status, 200);
    assert_eq!(program.stop(), Some(0));
}
