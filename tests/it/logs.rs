//! `serpentry logs` over a state directory without a host, and what reaches a pipe from a worker.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::context::TestContext;
use crate::program::{Program, to_pid};

/// For everything that must happen sooner or later.
const DEADLINE: Duration = Duration::from_secs(20);

/// A command whose standard output is read as it comes.
struct Reading {
    child: Child,
    lines: Receiver<String>,
}

impl Reading {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = sync_channel(1024);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Reading { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line in time")
    }

    fn signal(&self, signal: Signal) {
        kill_process(to_pid(self.child.id()), signal).unwrap();
    }

    fn exit(&mut self) -> Option<i32> {
        exit(&mut self.child)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Gone already, or its end is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exit(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A record of second `second`.
fn record(second: u32, text: &str) -> String {
    format!("2026-11-24T03:14:{second:02}.000Z out 7 | {text}\n")
}

/// A state directory with the logs of two applications, one of them rotated.
fn state() -> TestContext {
    let ctx = TestContext::new();
    ctx.write("state/logs/shop.log.1", &(record(1, "shop 1") + &record(3, "shop 3")));
    ctx.write("state/logs/shop.log", &record(5, "shop 5"));
    let host = "2026-11-24T03:14:02.000Z host 1 + long\n2026-11-24T03:14:04.000Z err 8 | feed 4\n";
    ctx.write("state/logs/feed.log", host);
    ctx
}

fn logs(ctx: &TestContext, arguments: &[&str]) -> Command {
    let mut command = ctx.command(&["logs", "--state", "state"]);
    command.args(arguments);
    command
}

fn append(ctx: &TestContext, app: &str, text: &str) {
    let path = ctx.path(&format!("state/logs/{app}.log"));
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn several_logs_are_merged_by_time() {
    let ctx = state();
    let expect = "exit 0
feed 2026-11-24T03:14:02.000Z host 1 + long
shop 2026-11-24T03:14:03.000Z out 7 | shop 3
feed 2026-11-24T03:14:04.000Z err 8 | feed 4
shop 2026-11-24T03:14:05.000Z out 7 | shop 5
";
    assert_eq!(ctx.run(logs(&ctx, &["-n", "4"])), expect);
    let all = ctx.run(logs(&ctx, &["-n", "all", "shop", "feed", "shop"]));
    assert_eq!(all.lines().count(), 6);
    assert!(all.starts_with("exit 0\nshop 2026-11-24T03:14:01.000Z out 7 | shop 1\n"), "{all}");
}

#[test]
fn one_log_is_shown_as_it_is() {
    let ctx = state();
    let expect = format!("exit 0\n{}{}", record(3, "shop 3"), record(5, "shop 5"));
    assert_eq!(ctx.run(logs(&ctx, &["-n2", "shop"])), expect);
    // Named by the environment, as systemd does it.
    let mut command = ctx.command(&["logs", "-n2", "shop"]);
    command.env("STATE_DIRECTORY", "state");
    assert_eq!(ctx.run(command), expect);
}

#[test]
fn json_is_one_object_per_line() {
    let ctx = state();
    append(&ctx, "feed", "somebody else's \"line\"\n");
    let output = ctx.run(logs(&ctx, &["--json", "feed"]));
    let objects: Vec<Value> =
        output.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let at = |second: u32| format!("2026-11-24T03:14:{second:02}.000Z");
    let expect = [
        json!({"at": at(2), "app": "feed", "stream": "host", "pid": 1, "text": "long", "continued": true}),
        json!({"at": at(4), "app": "feed", "stream": "err", "pid": 8, "text": "feed 4"}),
        json!({"at": null, "app": "feed", "stream": null, "pid": null, "text": "somebody else's \"line\""}),
    ];
    assert_eq!(objects, expect);
}

#[test]
fn what_does_not_exist_is_said_with_what_does() {
    let ctx = state();
    for (arguments, expect) in [
        (
            &["logs", "--state", "state", "shpo"][..],
            "there is no log of \"shpo\" in state/logs: there are feed, shop",
        ),
        (
            &["logs", "--state", "state", "../logs/shop"],
            "there is no log of \"../logs/shop\" in state/logs: there are feed, shop",
        ),
        (&["logs"], "there are no logs in .serpentry/logs: name the host's state directory with --state"),
    ] {
        assert_eq!(ctx.run(ctx.command(arguments)), format!("exit 1\nserpentry: error: {expect}\n"));
    }
}

#[test]
fn following_goes_on_across_rotation_until_ctrl_c() {
    let ctx = state();
    let mut follow = Reading::start(logs(&ctx, &["-f", "-n", "1", "shop"]));
    assert_eq!(follow.line(), record(5, "shop 5").trim_end());
    // Faster than anybody looks: what is between must not be missed.
    let mut expect = Vec::new();
    for number in 0..30 {
        append(&ctx, "shop", &record(6, &format!("before {number}")));
        for age in (0..40).rev() {
            let name = |age| {
                ctx.path(&if age == 0 {
                    "state/logs/shop.log".into()
                } else {
                    format!("state/logs/shop.log.{age}")
                })
            };
            let _ = fs::rename(name(age), name(age + 1));
        }
        append(&ctx, "shop", &record(6, &format!("after {number}")));
        expect.extend([format!("before {number}"), format!("after {number}")]);
    }
    let seen: Vec<String> =
        expect.iter().map(|_| follow.line().split_once(" | ").unwrap().1.to_owned()).collect();
    assert_eq!(seen, expect);
    follow.signal(Signal::INT);
    assert_eq!(follow.exit(), Some(0));
}

#[test]
fn following_everything_takes_in_applications_that_come_later() {
    let ctx = state();
    let follow = Reading::start(logs(&ctx, &["-f", "-n", "1"]));
    assert_eq!(follow.line(), format!("shop {}", record(5, "shop 5").trim_end()));
    append(&ctx, "blog", &record(6, "new"));
    assert_eq!(follow.line(), format!("blog {}", record(6, "new").trim_end()));
}

#[test]
fn nobody_reading_any_more_is_a_quiet_end() {
    let ctx = state();
    let many: String = (0..50_000).map(|number| record(6, &number.to_string())).collect();
    append(&ctx, "shop", &many);
    for arguments in [&["-n", "all"][..], &["-f", "-n", "all"], &["-f", "-n", "1"]] {
        let mut command = logs(&ctx, arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout: BufReader<ChildStdout> = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains(" | "), "{line}");
        drop(stdout);
        assert_eq!(exit(&mut child), Some(0), "{arguments:?}");
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!(said, "", "{arguments:?}");
    }
}

#[test]
fn what_a_worker_prints_is_there_at_once() {
    let ctx = TestContext::new();
    ctx.write("printing.py", "from hello import app\nprint('imported')\nprint('not yet', end='')\n");
    let mut command = ctx.serve_command(&["printing:app"]);
    // Whoever runs the tests may have asked for it.
    command.env_remove("PYTHONUNBUFFERED");
    let program = Program::start(command);
    // It goes on serving: nothing but the end of the line brings it here.
    program.stdout_lines(1);
    assert!(program.is_running());
    // Before that it would be killed, not stopped.
    program.ready();
    assert_eq!(program.stop(), Some(0));
    let transcript = program.transcript();
    assert!(transcript.starts_with("exit 0\nimported\nnot yet"), "{transcript}");
}
