//! `serpentry drill`: faults happen, are recognised, and happen only where they may.

use std::process::Output;

use serde_json::Value;

use crate::context::{TestContext, python};
use crate::program::Program;

fn drill(ctx: &TestContext, arguments: &[&str]) -> Output {
    ctx.command(&[&["drill"], arguments].concat()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `shop`, which is no test application, and its workers.
fn host(ctx: &TestContext) -> (Program, Vec<u32>) {
    let python = python().display();
    let file = format!(
        "[host]\nlisten = [\"127.0.0.1:0\"]\nstate = \".serpentry\"\n\n\
         [apps.shop]\napp = \"hello:app\"\npython = \"{python}\"\nworkers = 2\n"
    );
    ctx.write("serpentry.toml", &file);
    let program = Program::start(ctx.command(&["host"]));
    let line = program.line("shop: ready: ");
    let (_, pids) = line.trim_end_matches(')').rsplit_once("(pids ").unwrap();
    let pids = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    (program, pids)
}

#[test]
fn faults_are_listed() {
    let ctx = TestContext::new();
    let out = drill(&ctx, &[]);
    assert!(out.status.success());
    let list = text(&out.stdout);
    for name in
        ["oom", "starved", "throttled", "blocked-loop", "gil", "slow-fsync", "hung", "connections", "segv"]
    {
        assert!(list.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} in {list}");
    }
    let all: Value = serde_json::from_slice(&drill(&ctx, &["--json"]).stdout).unwrap();
    let codes: Vec<_> = all.as_array().unwrap().iter().filter_map(|it| it["code"].as_str()).collect();
    assert!(codes.len() > 30 && codes.contains(&"M10"), "{codes:?}");
    let source = text(&drill(&ctx, &["--source"]).stdout);
    assert!(source.contains("def wsgi(") && source.contains("async def asgi("), "{source}");
}

#[test]
fn only_test_applications_are_hurt_unless_it_is_asked_for() {
    let ctx = TestContext::new();
    let (_program, before) = host(&ctx);
    let refused = [
        (
            &["shop", "kill"][..],
            "is not a test application (it runs hello:app): its visitors would notice. With --yes",
        ),
        (
            &["shop", "oom", "--yes"],
            "is not a test application (it runs hello:app), and oom happens inside of one",
        ),
        (&["shop", "earthquake"], "no fault \"earthquake\": `serpentry drill` lists them"),
        (&["blog", "kill"], "no application \"blog\" here; there are shop"),
    ];
    for (arguments, sentence) in refused {
        let out = drill(&ctx, arguments);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        assert!(text(&out.stderr).contains(sentence), "{arguments:?}: {}", text(&out.stderr));
    }
    let why = ctx.command(&["why"]).output().unwrap();
    assert_eq!(text(&why.stdout), "nothing went wrong lately\n", "nothing was done");

    let out = drill(&ctx, &["shop", "kill", "--yes", "--json"]);
    let drilled: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&out.stdout), text(&out.stderr)));
    assert!(out.status.success(), "{drilled}");
    assert_eq!((&drilled["outcome"], &drilled["code"]), (&"explained".into(), &"A20".into()));
    let incident = &drilled["incident"];
    assert_eq!((&incident["code"], &incident["cause"]), (&"A20".into(), &"sigkill".into()));
    let pid = incident["worker_pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap();
    assert!(before.contains(&pid), "{pid} of {before:?}");
    assert_eq!(drilled["precision"]["worker"], true);
    assert!(drilled["seconds_to_incident"].as_f64().unwrap() < 1.0, "{drilled}");
    assert_eq!(drilled["false"].as_array().map(Vec::len), Some(0), "{drilled}");
}

#[test]
fn all_faults_have_ground_of_their_own() {
    let ctx = TestContext::new();
    let python = python().display().to_string();
    let temporary = ctx.path("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = ctx.command(&["drill", "--all", "--tenancy", "shared", "--json", "--python", &python]);
    command.env("TMPDIR", &temporary);
    for fault in ["segv", "short-answer"] {
        command.args(["--only", fault]);
    }
    let out = command.output().unwrap();
    let lines: Vec<Value> =
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(out.status.success(), "{lines:?} {}", text(&out.stderr));
    assert_eq!(lines.len(), 2);
    let crash = &lines[0];
    // Application, worker, requests, and a visitor who was told why.
    assert_eq!((&crash["precision"]["points"], &crash["precision"]["of"]), (&4.into(), &4.into()), "{crash}");
    let name = crash["incident"]["id"].as_str().unwrap();
    let told = |visit: &Value| visit["incident"].as_str() == Some(name) && visit["status"] == 502;
    assert!(crash["visitors"].as_array().unwrap().iter().any(told), "{crash}");
    assert!(
        crash["log"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains(name)),
        "{crash}"
    );
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "it leaves nothing behind");
}
