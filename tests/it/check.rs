//! `serpentry check`: what it shows, where, and its exit status.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::context::{self, TestContext};
use crate::program::Program;

/// A file with one application whose interpreter is that of these tests.
fn good() -> String {
    format!("[apps.shop]\napp = \"hello:app\"\npython = {:?}\n", context::python())
}

/// `serpentry check ARGUMENTS` in the test's folder, as a transcript.
fn check(ctx: &TestContext, arguments: &[&str]) -> String {
    let all: Vec<&str> = ["check"].iter().chain(arguments).copied().collect();
    let mut command = ctx.command(&all);
    command.env_remove("NO_COLOR");
    ctx.run(command)
}

#[test]
fn eight_mistakes_are_shown_at_once() {
    let ctx = TestContext::new();
    ctx.write("serpentry.toml", include_str!("../../crates/config/tests/cases/eight.toml"));
    let expected = include_str!("../../crates/config/tests/cases/eight.txt");
    assert_eq!(expected.matches("error: ").count(), 8);
    let transcript = check(&ctx, &[]);
    assert_eq!(transcript, format!("exit 78\n{expected}serpentry.toml: 8 errors\n"));
}

#[test]
fn a_good_file_is_summed_up() {
    let ctx = TestContext::new();
    fs::create_dir(ctx.path("blog")).unwrap();
    let python = context::python();
    let text = format!(
        "[defaults]\npython = {python:?}\n[host]\ndefault_app = \"shop\"\n[apps.shop]\napp = \"hello:app\"\n\
         [apps.blog]\napp = \"blog:app\"\ndirectory = \"blog\"\nroutes = [\"blog.example\", \"/blog\"]\n\
         workers = {{ min = 0, max = 3 }}\ntenancy = \"isolated\"\n"
    );
    ctx.write("serpentry.toml", &text);
    let transcript = check(&ctx, &[]);
    let lines: Vec<&str> = transcript.lines().collect();
    assert_eq!(lines[0], "exit 0");
    assert!(lines[1].starts_with("shop  hello:app (shared, 1 worker, Python 3."), "{transcript}");
    assert!(lines[1].ends_with("): everything else"), "{transcript}");
    assert!(lines[2].starts_with("blog  blog:app (isolated, 0 to 3 workers, Python 3."), "{transcript}");
    assert!(lines[2].ends_with("): blog.example, /blog"), "{transcript}");
    assert_eq!(lines[3..], ["serpentry.toml: 2 applications, 2 routes, no problems"]);
}

#[test]
fn warnings_do_not_fail() {
    let ctx = TestContext::new();
    ctx.write("other.toml", &format!("{}[apps.shop.limits]\nqueue = 0\n", good()));
    let transcript = check(&ctx, &["other.toml"]);
    assert!(transcript.starts_with("exit 0\n"), "{transcript}");
    assert!(transcript.contains("other.toml: 1 application, 0 routes, 1 warning\n"), "{transcript}");
    assert!(transcript.contains("warning: `queue` is 0"), "{transcript}");
}

#[test]
fn what_only_the_machine_knows_is_shown_with_its_line() {
    let ctx = TestContext::new();
    ctx.script("chatty", "echo I am not Python");
    ctx.script("leaver", "sleep 1000 &\necho none");
    ctx.write("a-file", "");
    let app = |name: &str, rest: &str| {
        format!("[apps.{name}]\napp = \"x:y\"\nroutes = [\"{name}.example\"]\n{rest}\n")
    };
    let text = [
        app("a", "directory = \"nowhere\""),
        app("b", "directory = \"a-file\""),
        app("c", "python = \"./missing\""),
        app("d", "python = \"./chatty\""),
        app("e", "python = \"python-of-yours\""),
        app("f", "python = \"./a-file\""),
        app("g", "python = \"./leaver\""),
        "[host]\naccess_log = \"logs/access.log\"\n".to_owned(),
    ];
    ctx.write("serpentry.toml", &text.concat());
    let transcript = check(&ctx, &["--json"]);
    let (status, json) = transcript.split_once('\n').unwrap();
    assert_eq!(status, "exit 78");
    let report: serde_json::Value = serde_json::from_str(json).unwrap();
    let found: Vec<(u64, &str)> = report["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["line"].as_u64().unwrap(), one["message"].as_str().unwrap()))
        .collect();
    let expected = [
        (4, "the directory DIR/nowhere does not exist"),
        (8, "DIR/a-file is not a directory"),
        (12, "there is no interpreter at DIR/missing"),
        (16, "DIR/chatty is not a Python interpreter"),
        (20, "there is no interpreter at python-of-yours"),
        (24, "cannot run the interpreter DIR/a-file: Permission denied"),
        (28, "DIR/leaver is not a Python interpreter"),
        (30, "the directory of the access log, DIR/logs, does not exist"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((line, message), (expected_line, begin)) in found.iter().zip(expected) {
        assert!(
            *line == expected_line && message.starts_with(begin),
            "{line} {message}, not {expected_line} {begin}"
        );
    }
}

#[test]
fn an_old_interpreter_is_refused() {
    let ctx = TestContext::new();
    let Some(old) = context::old_python() else {
        return context::skipped("no CPython older than 3.10 on this machine");
    };
    ctx.write("serpentry.toml", &format!("[apps.shop]\napp = \"x:y\"\npython = {old:?}\n"));
    let transcript = check(&ctx, &[]);
    assert!(transcript.starts_with("exit 78\n"), "{transcript}");
    assert!(transcript.contains("; 3.10 or newer is needed"), "{transcript}");
    assert!(transcript.contains(" --> serpentry.toml:3:10"), "{transcript}");
}

#[test]
fn a_file_that_cannot_be_read_is_explained() {
    let ctx = TestContext::new();
    let said = |arguments: &[&str], part: &str| {
        let transcript = check(&ctx, arguments);
        assert!(
            transcript.starts_with("exit 78\n") && transcript.contains(part),
            "{part:?} not in {transcript}"
        );
    };
    said(&[], "there is no such file");
    said(&[], "`serpentry init` writes one");
    fs::create_dir(ctx.path("sites")).unwrap();
    said(&["sites"], "did you mean sites/serpentry.toml?");
    said(&["/dev/zero"], "this is not an ordinary file");
    let garbage: Vec<u8> =
        (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(ctx.path("garbage.toml"), garbage).unwrap();
    said(&["garbage.toml"], "the file is larger than 4 MiB, the most that is read");
    if context::is_root() {
        context::skipped("the superuser can read every file");
    } else {
        let path = ctx.write("secret.toml", &good());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        said(&["secret.toml"], "permission denied");
    }
}

#[test]
fn what_is_printed_is_checked_to_the_same() {
    let ctx = TestContext::new();
    let text = format!(
        "{}env = {{ GREETING = \"hello \\\"you\\\"\" }}\n[apps.shop.limits]\nmemory = \"1GiB\"\n",
        good()
    );
    ctx.write("serpentry.toml", &text);
    let print = |file: &str| {
        let transcript = check(&ctx, &["--print", file]);
        transcript.strip_prefix("exit 0\n").unwrap_or_else(|| panic!("{transcript}")).to_owned()
    };
    let first = print("serpentry.toml");
    let line =
        |begin: &str| first.lines().find(|line| line.starts_with(begin)).unwrap_or_default().to_owned();
    assert!(line("memory = \"1GiB\"").ends_with("# from line 6"), "{first}");
    assert!(line("cpu = \"none\"").ends_with("# default (shared)"), "{first}");
    assert!(line("default_app = \"shop\"").ends_with("# the only application"), "{first}");
    ctx.write("printed.toml", &first.replace("DIR", &ctx.directory().display().to_string()));
    let second = print("printed.toml");
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().trim_end().to_owned()).collect()
    };
    assert_eq!(values(&first), values(&second));
}

#[test]
fn the_schema_and_the_keys_are_shown() {
    let ctx = TestContext::new();
    let schema = check(&ctx, &["--schema"]);
    assert_eq!(schema, format!("exit 0\n{}", include_str!("../../docs/serpentry.schema.json")));
    let help = check(&ctx, &["--help"]);
    for part in ["[apps.NAME.limits]", "request_timeout", "\"none\" (shared), \"512MiB\" (isolated)"] {
        assert!(help.contains(part), "{part:?} not in {help}");
    }
}

#[test]
fn nothing_is_coloured_that_is_not_a_terminal() {
    let ctx = TestContext::new();
    ctx.write("serpentry.toml", "[apps.shop]\naap = \"x:y\"\n");
    let program = Program::start(ctx.command(&["check"]));
    assert!(!program.transcript().contains('\u{1b}'));
}
