//! Which interpreter is taken, and what is said about one that cannot be.

use std::process::Command;

use crate::context::{TestContext, old_python, python, skipped};
use crate::http;
use crate::program::Program;

/// Name of a script, its text (`None`: there is none), and the whole transcript of `--python DIR/NAME`.
type Case = (&'static str, Option<&'static str>, &'static str);

const UNUSABLE: &[Case] = &[
    (
        "missing",
        None,
        "exit 1
serpentry: error: there is no interpreter at DIR/missing
",
    ),
    (
        "silent",
        Some("exit 0"),
        "exit 1
serpentry: error: DIR/silent is not a Python interpreter: it did not answer what every Python answers: EOF while parsing a value at line 1 column 0
",
    ),
    (
        "chatty",
        Some("echo hello"),
        "exit 1
serpentry: error: DIR/chatty is not a Python interpreter: it did not answer what every Python answers: expected value at line 1 column 1
",
    ),
    (
        "structured",
        Some("echo '{\"python\": 3}'"),
        "exit 1
serpentry: error: DIR/structured is not a Python interpreter: it did not answer what every Python answers
",
    ),
    (
        "pypy",
        Some("echo '[\"pypy\", [3, 11], false]'"),
        "exit 1
serpentry: error: DIR/pypy is pypy; only CPython can be served
",
    ),
    (
        "free-threaded",
        Some("echo '[\"cpython\", [3, 13], true]'"),
        "exit 1
serpentry: error: DIR/free-threaded is a free-threaded build of Python 3.13; use an ordinary build
",
    ),
    (
        "ancient",
        Some("echo '[\"cpython\", [3, 9], false]'"),
        "exit 1
serpentry: error: DIR/ancient is Python 3.9; 3.10 or newer is needed
",
    ),
];

#[test]
fn an_interpreter_that_cannot_serve_is_refused_with_the_reason() {
    let ctx = TestContext::new();
    for (name, text, expected) in UNUSABLE {
        if let Some(text) = text {
            ctx.script(name, text);
        }
        let path = ctx.path(name).display().to_string();
        let command = ctx.command(&["serve", "hello:app", "--bind", "127.0.0.1:0", "--python", &path]);
        assert_eq!(ctx.run(command), *expected, "--python {name}");
    }
}

#[test]
fn a_file_that_cannot_be_executed_is_a_matter_of_permission() {
    let ctx = TestContext::new();
    let expected = "exit 77
serpentry: error: cannot run the interpreter DIR/hello.py: Permission denied (os error 13)
";
    assert_eq!(ctx.run(ctx.command(&["serve", "hello:app", "--python", "./hello.py"])), expected);
}

#[test]
fn a_real_python_that_is_too_old_is_named_with_its_version() {
    let ctx = TestContext::new();
    let Some(old) = old_python() else {
        return skipped("this machine has no Python older than 3.10 in pyenv");
    };
    let old = old.display().to_string();
    let transcript = ctx.run(ctx.command(&["serve", "hello:app", "--python", &old]));
    let begin = format!("exit 1\nserpentry: error: {old} is Python 3.");
    assert!(transcript.starts_with(&begin), "{transcript}");
    assert!(transcript.ends_with("; 3.10 or newer is needed\n"), "{transcript}");
}

/// What the application says about its interpreter: `sys.executable`.
fn interpreter_of(program: &Program) -> String {
    let answer = http::get(&program.address(), "/");
    answer.body.split_once(' ').unwrap().1.to_owned()
}

fn make_venv(ctx: &TestContext, name: &str) {
    let status = Command::new(python()).args(["-m", "venv", "--without-pip"]).arg(ctx.path(name)).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_virtual_environment_in_the_directory_is_found_by_itself() {
    let ctx = TestContext::new();
    ctx.write("shop/hello.py", include_str!("apps/hello.py"));
    // Later ones win over earlier ones; --python wins over all.
    for (venv, flags) in [
        ("shop/venv", &[][..]),
        ("shop/.venv", &[]),
        ("other", &["--python", "other/bin/python"]),
        ("shop/inner", &["--python", "inner/bin/python"]),
    ] {
        make_venv(&ctx, venv);
        let mut command = ctx.command(&["serve", "hello:app", "--chdir", "shop", "--bind", "127.0.0.1:0"]);
        command.args(flags);
        let program = Program::start(command);
        let expected = ctx.path(venv).join("bin/python").display().to_string();
        assert_eq!(interpreter_of(&program), expected, "{flags:?}");
        assert_eq!(program.stop(), Some(0));
    }
}

#[test]
fn a_bare_name_is_looked_up_in_the_search_path() {
    let ctx = TestContext::new();
    ctx.script("tools/python-of-mine", "exec PYTHON \"$@\"");
    // One that is not a program comes first, and one of the same name in the directory does not count.
    ctx.write("folder/python-of-mine/readme", "");
    ctx.write("python-of-mine", "not a program");
    let paths = std::env::join_paths([ctx.path("folder"), ctx.path("tools")]).unwrap();
    let serve = |name| {
        let mut command = ctx.command(&["serve", "hello:app", "--bind", "127.0.0.1:0", "--python", name]);
        command.env("PATH", &paths);
        command
    };
    let program = Program::start(serve("python-of-mine"));
    program.ready();
    assert_eq!(program.stop(), Some(0));

    let expected = "exit 1
serpentry: error: there is no interpreter at python-of-yours
";
    assert_eq!(ctx.run(serve("python-of-yours")), expected);

    let mut nothing = ctx.command(&["serve", "hello:app", "--bind", "127.0.0.1:0"]);
    nothing.env("PATH", ctx.path("tools"));
    let expected = "exit 1
serpentry: error: no Python found: there is no .venv in the application's directory and no python3 in PATH; use --python
";
    assert_eq!(ctx.run(nothing), expected);
}
