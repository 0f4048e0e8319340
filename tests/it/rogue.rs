//! A worker that breaks the protocol: it is replaced, the request on another worker is answered, nothing else happens.
//!
//! What it writes is in `apps/rogue.py`, by name.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::context::TestContext;
use crate::http::{self, Answer, Gate};
use crate::program::{Program, children};

/// Name of the attack, the answer to the request that made it, and what the log says about the worker.
type Case = (&'static str, u16, &'static str);

const ATTACKS: &[Case] = &[
    ("garbage", 502, "is larger than the limit of 393216"),
    ("oversize", 502, "frame of 393217 bytes is larger than the limit of 393216"),
    ("oversize-at-most", 502, "frame of 4294967295 bytes is larger than the limit of 393216"),
    ("reserved", 502, "reserved bytes of the frame header are not zero"),
    ("unknown-kind", 502, "unknown frame kind 99 on this link"),
    ("not-its-kind", 502, "unknown frame kind 1 on this link"),
    ("control-on-data", 502, "unknown frame kind 32 on this link"),
    ("bad-flags", 502, "flags 0x80 are not valid for frame kind 7"),
    ("trailing", 502, "frame kind 3 has bytes after its last field"),
    ("lying-count", 502, "frame kind 5 ends in the middle of a field"),
    ("unknown-request", 502, "a frame for request 999999, which this worker does not hold"),
    ("somebody-elses-request", 502, "a frame for request 1, which this worker does not hold"),
    ("body-before-head", 502, "lost after"),
    ("message-before-handshake", 502, "lost after"),
    ("done-twice", 200, "a frame for request 2, which this worker does not hold"),
    ("control-garbage", 502, "is larger than the limit of 393216"),
    ("control-unknown-kind", 502, "unknown frame kind 99 on this link"),
    ("data-on-control", 502, "flags 0x03 are not valid for frame kind 5"),
    ("control-text", 502, "frame kind 39 holds a field that is out of range or not text"),
    ("second-hello", 502, "a control message that makes no sense in its state"),
    ("other-version", 502, "it speaks protocol version 7, this host speaks 3"),
    ("second-ready", 502, "a control message that makes no sense in its state"),
    ("late-boot-failure", 502, "a control message that makes no sense in its state"),
    ("odd-reclaim", 502, "frame kind 36 ends in the middle of a field"),
    ("half-then-exit", 502, "exited with status 3"),
    ("control-half-then-exit", 502, "exited with status 3"),
    ("half-then-answer", 502, "lost after"),
    ("close", 502, "lost after"),
    ("replace", 502, "lost after"),
    ("shut-down", 502, "lost after"),
    ("shut-down-writing", 502, "lost after"),
    ("control-shut-down", 502, "lost after"),
    ("control-shut-down-writing", 502, "lost after"),
];

/// Two workers: one holds a request at the gate, the other is attacked from within.
struct Siege {
    program: Program,
    address: String,
    workers: BTreeSet<u32>,
    gate: Gate,
}

impl Siege {
    fn lay(ctx: &TestContext, flags: &[&str]) -> Self {
        ctx.write("rogue.py", include_str!("apps/rogue.py"));
        let gate = Gate::new();
        let mut command = ctx.serve_command(&["rogue:app", "--workers", "2", "--env", &gate.variable()]);
        command.args(flags);
        let program = Program::start(command);
        let workers = program.ready().into_iter().collect();
        Siege { address: program.address(), program, workers, gate }
    }

    /// Hold a request in one worker while `attack` goes on, and return its answer, which names the worker.
    fn answer_during(&self, attack: impl FnOnce(&Self)) -> Answer {
        let held = http::send(&self.address, "GET", "/gate");
        self.program.line("at the gate: request");
        let waiting = self.gate.waiting();
        attack(self);
        drop(waiting);
        held.answer()
    }

    /// The processes that are there now: the one that was not attacked, and a new one. `None` while this is not so.
    fn healed(&self, innocent: u32) -> Option<String> {
        let now: BTreeSet<u32> = children(self.program.pid()).into_iter().collect();
        let fresh = now.difference(&self.workers).count();
        (now.len() != 2 || fresh != 1 || !now.contains(&innocent))
            .then(|| format!("workers {:?} became {now:?}, {innocent} was not attacked", self.workers))
    }
}

/// One attack; what went otherwise than it should.
fn attack(name: &str, status: u16, reason: &str) -> Result<(), String> {
    let ctx = TestContext::new();
    let siege = Siege::lay(&ctx, &["--timeout", "5s"]);
    let program = &siege.program;
    let mut answers = Vec::new();
    let held = siege.answer_during(|siege| {
        answers.push(http::send(&siege.address, "POST", &format!("/attack/{name}")).answer());
        // The other worker is taken: only the replacement can answer this.
        answers.push(http::get(&siege.address, "/"));
    });
    let said = program.stderr();
    let fail = |what: String| Err(format!("{name}: {what}; standard error:\n{said}"));

    if answers[0].status != status {
        return fail(format!("the attack was answered {:?}", answers[0]));
    }
    let number = |answer: &Answer| (answer.status, answer.body.parse().unwrap_or(0));
    let (replaced, replacement) = number(&answers[1]);
    if replaced != 200 || siege.workers.contains(&replacement) {
        return fail(format!("the next request was answered {:?}", answers[1]));
    }
    let (status, innocent) = number(&held);
    if status != 200 || !siege.workers.contains(&innocent) {
        return fail(format!("the request on the other worker was answered {held:?}"));
    }
    if let Some(wrong) = siege.healed(innocent) {
        return fail(wrong);
    }
    let lost: Vec<&str> = said.lines().filter(|line| line.contains("lost after")).collect();
    let rogue = siege.workers.iter().find(|pid| **pid != innocent).copied().unwrap_or(0);
    if lost.len() != 1 || !lost[0].contains(reason) || !lost[0].contains(&format!("(pid {rogue})")) {
        return fail(format!("the log should name {reason:?} of pid {rogue} once, not {lost:?}"));
    }
    if !program.is_running() || program.stop() != Some(0) {
        return fail("the program did not survive".to_owned());
    }
    Ok(())
}

fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn a_worker_that_breaks_the_protocol_is_replaced_and_nothing_else_happens() {
    let attacks = ATTACKS.iter();
    let failures: Vec<String> =
        attacks.filter_map(|(name, status, reason)| attack(name, *status, reason).err()).collect();
    report(&failures);
}

/// Frames that are valid one by one, written without end: the worker is not at fault until its request's deadline, but
/// it must keep neither the router from serving others nor the program from ending it, and must not fill the log.
fn flood(name: &str, answered: u16) {
    let ctx = TestContext::new();
    let siege = Siege::lay(&ctx, &["--timeout", "1s"]);
    let begun = Instant::now();
    let mut attack = None;
    let held = siege.answer_during(|siege| {
        attack = Some(http::send(&siege.address, "POST", &format!("/flood/{name}")));
        siege.program.line("flooding");
    });
    let took = begun.elapsed();
    assert_eq!(held.status, 200, "{held:?}");
    assert!(took < Duration::from_millis(900), "the other request took {took:?}");
    assert_eq!(attack.unwrap().answer().status, answered);
    siege.program.line("lost after");
    assert_eq!(http::get(&siege.address, "/").status, 200);
    assert_eq!(siege.program.stop(), Some(0));
    let lines = siege.program.stderr().lines().count();
    assert!(lines < 100, "{lines} lines on standard error");
}

#[test]
fn a_flood_of_started_frames_does_not_disturb_others() {
    flood("started", 504);
}

#[test]
fn a_flood_of_stacks_does_not_disturb_others() {
    flood("stack", 504);
}

#[test]
fn a_flood_of_boot_failures_does_not_disturb_others() {
    flood("boot-failed", 502);
}

/// The rest of a frame never comes, or a link is closed under the thread that listens to it (which the kernel does not
/// tell anybody): only the deadline of the request can tell.
#[test]
fn what_nobody_can_see_ends_at_the_deadline() {
    let mut failures = Vec::new();
    for name in ["half-then-hang", "control-close"] {
        let ctx = TestContext::new();
        let siege = Siege::lay(&ctx, &["--timeout", "1s"]);
        assert_eq!(http::get(&siege.address, "/").status, 200);
        let answer = http::send(&siege.address, "POST", &format!("/attack/{name}")).answer();
        if answer.status != 504 {
            failures.push(format!("{name}: answered {answer:?}"));
        }
        siege.program.line("lost after");
        if http::get(&siege.address, "/").status != 200 {
            failures.push(format!("{name}: nobody serves:\n{}", siege.program.stderr()));
        }
    }
    report(&failures);
}
