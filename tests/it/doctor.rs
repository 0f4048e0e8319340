//! `serpentry doctor`: it always answers, says why what is missing is missing, and leaves nothing behind.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use serde_json::Value;

use crate::context::{self, TestContext};

fn doctor(ctx: &TestContext, arguments: &[&str]) -> String {
    let all: Vec<&str> = ["doctor"].iter().chain(arguments).copied().collect();
    ctx.run(ctx.command(&all))
}

fn json(transcript: &str) -> Value {
    serde_json::from_str(transcript.strip_prefix("exit 0\n").unwrap()).unwrap()
}

/// What was found out about one constraint.
fn finding<'a>(report: &'a Value, constraint: &str) -> &'a Value {
    let all = report["findings"].as_array().unwrap();
    all.iter()
        .find(|finding| finding["constraint"] == constraint)
        .unwrap_or_else(|| panic!("no {constraint}"))
}

#[test]
fn the_table_and_the_json_say_the_same() {
    let ctx = TestContext::new();
    let table = doctor(&ctx, &[]);
    let report = json(&doctor(&ctx, &["--json"]));
    let all = report["findings"].as_array().unwrap();
    assert!(all.len() > 30);
    for finding in all {
        let (name, level) = (finding["constraint"].as_str().unwrap(), finding["level"].as_str().unwrap());
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        assert_eq!(line.and_then(|line| line.split_whitespace().nth(1)), Some(level), "{name}\n{table}");
        if level == "impossible" {
            assert!(!finding["why"].as_str().unwrap().is_empty(), "{finding}");
            let explained = table.split("\n\n").skip(1).any(|part| part.contains(name));
            assert!(explained, "{name}\n{table}");
        }
    }
    // The router's are everywhere.
    assert_eq!(finding(&report, "request_timeout")["level"], "enforced");
    let groups = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let cgroups =
        groups.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    for mount in cgroups {
        let left = std::path::Path::new(mount).join("serpentry-doctor");
        assert!(!left.exists(), "{}", left.display());
    }
}

#[test]
fn of_each_application_it_says_what_holds() {
    let ctx = TestContext::new();
    let python = context::python();
    let text = format!(
        "[defaults]\npython = {python:?}\n[apps.plain]\napp = \"hello:app\"\nroutes = [\"/plain\"]\n\
         [apps.strict]\napp = \"hello:app\"\nroutes = [\"/strict\"]\ntenancy = \"isolated\"\n\
         [apps.strict.limits]\nmemory = \"64MiB\"\negress = \"none\"\n"
    );
    ctx.write("serpentry.toml", &text);
    let report = json(&doctor(&ctx, &["serpentry.toml", "--json"]));
    let names = |app: &Value| -> Vec<String> {
        let all = app["constraints"].as_array().unwrap();
        all.iter().map(|finding| finding["constraint"].as_str().unwrap().to_owned()).collect()
    };
    let (plain, strict) = (&report["apps"][0], &report["apps"][1]);
    assert_eq!((&plain["name"], &strict["name"]), (&"plain".into(), &"strict".into()));
    assert!(!names(plain).contains(&"memory".to_owned()), "it has no limit: {plain}");
    for name in ["cores", "memory", "egress_none", "seccomp", "pid_namespace"] {
        assert!(names(strict).contains(&name.to_owned()), "{name}: {strict}");
    }
    for app in [plain, strict] {
        let all = app["constraints"].as_array().unwrap();
        let holds = all.iter().all(|finding| finding["level"] == "enforced");
        assert_eq!(app["enforced"], holds, "{app}");
    }
    let table = doctor(&ctx, &["serpentry.toml"]);
    assert!(table.contains("\nplain (shared): ") && table.contains("\nstrict (isolated): "), "{table}");
}

#[test]
fn a_file_that_cannot_be_used_is_an_error() {
    let ctx = TestContext::new();
    let transcript = doctor(&ctx, &["none.toml"]);
    assert!(transcript.starts_with("exit 78\n"), "{transcript}");
}

#[test]
fn without_root_it_says_what_root_would_change() {
    if !context::is_root() {
        context::skipped("only root can become somebody else");
        return;
    }
    let ctx = TestContext::new();
    // Where the program was built may not be open to others; the test's folder is not.
    std::fs::set_permissions(ctx.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = ctx.path("serpentry");
    std::fs::copy(env!("CARGO_BIN_EXE_serpentry"), &program).unwrap();
    let mut command = ctx.command_of(&program, &["doctor", "--json"]);
    command.uid(65_534).gid(65_534).current_dir("/");
    let transcript = ctx.run(command);
    let report = json(&transcript);
    assert_eq!(report["user"], 65_534);
    for name in ["memory", "processes", "user_ids", "disk_space"] {
        let finding = finding(&report, name);
        assert_eq!(finding["level"], "impossible", "{finding}");
        assert!(finding["remedy"].as_str().unwrap().contains("run as root"), "{finding}");
    }
    assert_eq!(finding(&report, "queue")["level"], "enforced");
}
