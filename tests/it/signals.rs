//! Signals to the program itself at awkward moments. What they do to clients in good order is in `tests/blackbox`.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::context::TestContext;
use crate::http::{self, Gate};
use crate::program::{Program, children};

/// Far below the graceful timeout, far above what a kill takes.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn a_second_signal_stops_at_once() {
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::QUIT, Signal::TERM)]
    {
        let ctx = TestContext::new();
        let gate = Gate::new();
        let program = ctx.serve(&["hello:app", "--workers", "2", "--env", &gate.variable()]);
        program.ready();
        let request = http::send(&program.address(), "POST", "/gate");
        program.line("at the gate: request");
        let _held = gate.waiting();

        program.signal(first);
        program.line("serpentry: stopping: 30 s for requests to finish");
        let asked = Instant::now();
        program.signal(second);
        let transcript = program.transcript();
        assert!(asked.elapsed() < AT_ONCE, "{first:?}, {second:?}: {:?}", asked.elapsed());
        assert!(transcript.starts_with("exit 0\n"), "{transcript}");
        assert!(transcript.contains("\nserpentry: stopping at once\n"), "{transcript}");
        assert!(transcript.ends_with("\nserpentry: stopped\n"), "{transcript}");
        let status = request.answer().status;
        assert!([0, 502].contains(&status), "{first:?}, {second:?}: {status}");
    }
}

/// Start an application that waits at the gate while it is imported.
fn booting(ctx: &TestContext, gate: &Gate, flags: &[&str]) -> Program {
    let mut command = ctx.serve_command(&["hello:app", "--env", &gate.variable(), "--env", "GATE_AT=import"]);
    command.args(flags);
    let program = Program::start(command);
    program.line("at the gate: import");
    program
}

#[test]
fn term_during_boot_stops_without_waiting_for_the_boot() {
    for signal in [Signal::TERM, Signal::INT] {
        let ctx = TestContext::new();
        let gate = Gate::new();
        let program = booting(&ctx, &gate, &[]);
        let _held = gate.waiting();
        let asked = Instant::now();
        program.signal(signal);
        let transcript = program.transcript();
        assert!(asked.elapsed() < AT_ONCE, "{signal:?}: {:?}", asked.elapsed());
        assert!(transcript.starts_with("exit 0\n"), "{transcript}");
        assert!(transcript.ends_with("serpentry: stopped\n"), "{transcript}");
        assert!(!transcript.contains("ready: "), "{transcript}");
    }
}

#[test]
fn term_during_boot_still_answers_who_waits() {
    let ctx = TestContext::new();
    let gate = Gate::new();
    let program = booting(&ctx, &gate, &[]);
    let held = gate.waiting();
    let request = http::send(&program.address(), "GET", "/");
    // Only what was received counts: this second answer proves that the first request is in the queue as well.
    let refused = http::send(&program.address(), "GET", "/\u{1}");
    assert_eq!(refused.answer().status, 400);
    program.signal(Signal::TERM);
    program.line("stopping: ");
    drop(held);
    assert_eq!(request.answer().status, 200);
    assert_eq!(program.exit().code(), Some(0));
}

#[test]
fn term_during_boot_waits_no_longer_than_the_graceful_timeout() {
    let ctx = TestContext::new();
    let gate = Gate::new();
    let program = booting(&ctx, &gate, &["--graceful-timeout", "300ms"]);
    let _held = gate.waiting();
    let request = http::send(&program.address(), "GET", "/");
    assert_eq!(http::send(&program.address(), "GET", "/\u{1}").answer().status, 400);
    program.signal(Signal::TERM);
    let asked = Instant::now();
    assert_eq!(program.exit().code(), Some(0));
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    let status = request.answer().status;
    assert!([0, 502, 503].contains(&status), "{status}");
}

/// Two generations are booting; `first_released` of them is let go and must serve, alone.
fn hup_during_boot(first_released: usize) {
    let ctx = TestContext::new();
    let gate = Gate::new();
    let program = booting(&ctx, &gate, &[]);
    let mut waiting = vec![gate.waiting()];
    let old = children(program.pid());
    program.signal(Signal::HUP);
    program.line("reload: starting 1 workers of generation 2");
    program.nth_line("at the gate: import", 2);
    waiting.push(gate.waiting());
    let request = http::send(&program.address(), "GET", "/");
    drop(waiting.remove(first_released));
    let answer = request.answer();
    assert_eq!(answer.status, 200);
    let pids = program.ready();
    assert_eq!(pids.len(), 1, "one worker was asked for and one is ready: {}", program.stderr());
    assert!(answer.body.starts_with(&pids[0].to_string()), "{answer:?}, ready {pids:?}");
    assert_eq!(old.contains(&pids[0]), first_released == 0, "{old:?}, ready {pids:?}");
    drop(waiting);
    program.line("reload done: generation 2 serves");
    assert_eq!(http::get(&program.address(), "/").status, 200);
    assert_eq!(program.stop(), Some(0));
}

#[test]
fn hup_during_boot_serves_with_the_new_generation_if_it_is_ready_first() {
    hup_during_boot(1);
}

#[test]
fn hup_during_boot_serves_with_the_old_generation_until_the_new_one_is_ready() {
    hup_during_boot(0);
}

#[test]
fn signals_that_have_nothing_to_do_do_no_harm() {
    let ctx = TestContext::new();
    let program = ctx.serve(&["hello:app"]);
    let before = program.ready();
    // No access log, and one worker is the least.
    for signal in [Signal::USR1, Signal::TTOU, Signal::TTOU] {
        program.signal(signal);
    }
    let answer = http::get(&program.address(), "/");
    assert!(answer.body.starts_with(&before[0].to_string()), "{answer:?}");
    assert_eq!(children(program.pid()), before);
    assert_eq!(program.stop(), Some(0));
}
