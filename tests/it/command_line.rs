//! What is said to somebody who types something wrong, word for word, and what `--help` lists.

use crate::context::TestContext;

/// Arguments after `serpentry` and the whole transcript.
type Case = (&'static [&'static str], &'static str);

const MISTAKES: &[Case] = &[
    (
        &["serve"],
        "exit 2
error: the following required arguments were not provided:
  <APP>

Usage: serpentry serve <APP>

For more information, try '--help'.
",
    ),
    (
        &["server"],
        "exit 2
error: unrecognized subcommand 'server'

  tip: a similar subcommand exists: 'serve'

Usage: serpentry <COMMAND>

For more information, try '--help'.
",
    ),
    (
        &["serve", "hello:app", "--thread", "3"],
        "exit 2
error: unexpected argument '--thread' found

  tip: a similar argument exists: '--threads'

Usage: serpentry serve --threads <N> <APP>

For more information, try '--help'.
",
    ),
    (
        &["serve", "hello:app", "--concurrency", "both"],
        "exit 2
error: invalid value 'both' for '--concurrency <CONCURRENCY>'
  [possible values: auto, sync, threads, async]

For more information, try '--help'.
",
    ),
    (
        &["serve", ":app"],
        "exit 2
serpentry: error: the application must look like module:attribute
",
    ),
    (
        &["serve", "hello:app", "--threads", "2", "--concurrency", "async"],
        "exit 2
serpentry: error: --threads above 1 needs --concurrency threads
",
    ),
    (
        &["serve", "hello:app", "--max-header", "1MiB"],
        "exit 2
serpentry: error: --max-header must be between 1KiB and 128KiB
",
    ),
    (
        &["serve", "hello:app", "--connections", "0"],
        "exit 2
serpentry: error: --connections must be at least 1
",
    ),
    (
        &["serve", "hello:app", "--chdir", "nowhere"],
        "exit 2
serpentry: error: the application's directory DIR/nowhere does not exist
",
    ),
    (
        &["serve", "hello:app", "--chdir", "hello.py"],
        "exit 2
serpentry: error: the application's directory DIR/hello.py does not exist
",
    ),
    (
        &["serve", "hello:app", "--bind", "127.0.0.1:0", "--access-log", "no/where.log"],
        "exit 1
serpentry: error: cannot open the access log no/where.log: No such file or directory (os error 2)
",
    ),
];

#[test]
fn a_mistake_is_named_word_for_word() {
    let ctx = TestContext::new();
    for (arguments, expected) in MISTAKES {
        assert_eq!(ctx.run(ctx.command(arguments)), *expected, "serpentry {arguments:?}");
    }
}

/// Flag, bad value, what is said about it after "invalid value 'VALUE' for '--flag <NAME>': ".
const BAD_VALUES: &[(&str, &str, &str)] = &[
    ("--timeout", "fast", DURATION),
    ("--timeout", "-1", DURATION),
    ("--graceful-timeout", "5 years", DURATION),
    ("--start-timeout", "", DURATION),
    ("--keep-alive", "1d", DURATION),
    ("--header-timeout", "10S", DURATION),
    ("--body-timeout", "1e3", DURATION),
    ("--queue-timeout", "99999999999999999999h", DURATION),
    ("--max-body", "big", SIZE),
    ("--max-body", "16mib", SIZE),
    ("--max-header", "99999999GiB", SIZE),
    ("--workers", "0", "0 is not in 1..=1024"),
    ("--workers", "1025", "1025 is not in 1..=1024"),
    ("--workers", "two", "invalid digit found in string"),
    ("--threads", "0", "0 is not in 1..=1024"),
    ("--queue", "-1", "invalid digit found in string"),
    ("--env", "NAME", "it must look like KEY=VALUE"),
    ("--env", "=value", "it must look like KEY=VALUE"),
    ("--root-path", "shop", "it must begin with a slash"),
    ("--forwarded-allow-ips", "1.2.3", "\"1.2.3\" is not an IP address, a network like 10.0.0.0/8, or \"*\""),
];

const DURATION: &str = "is not a duration: use a number with ms, s, m or h, for example 30s";
const SIZE: &str = "is not a size: use a number with B, KiB, MiB or GiB, for example 16MiB";

#[test]
fn a_bad_value_is_refused_with_what_would_be_accepted() {
    let ctx = TestContext::new();
    for (flag, value, why) in BAD_VALUES {
        // With `=`, or "-1" would be taken for a flag.
        let transcript = ctx.run(ctx.command(&["serve", "hello:app", &format!("{flag}={value}")]));
        let quoted = format!("invalid value '{value}' for '{flag} <");
        for part in ["exit 2\n", &quoted, why] {
            assert!(transcript.contains(part), "{flag} {value:?}: no {part:?} in {transcript}");
        }
    }
}

/// Every flag of the contract, with the default that the help must state.
const FLAGS: &[(&str, &str)] = &[
    ("-b, --bind <ADDRESS>", "[default: 127.0.0.1:8000, or 0.0.0.0:$PORT]"),
    ("-w, --workers <N>", "[env: WEB_CONCURRENCY=] [default: 1]"),
    ("--threads <N>", "[default: 1]"),
    ("--concurrency <CONCURRENCY>", "[default: auto]"),
    ("--tenancy", "[default: shared]"),
    ("--cpu", "[default: no limit; 1 if isolated]"),
    ("--memory", "[default: no limit; 512MiB if isolated]"),
    ("--interface <INTERFACE>", "[default: auto] [possible values: auto, wsgi, asgi]"),
    ("--lifespan <LIFESPAN>", "[default: auto]"),
    ("--loop <EVENT_LOOP>", "[default: auto]"),
    ("--timeout <TIME>", "[default: 30s]"),
    ("--graceful-timeout <TIME>", "[default: 30s]"),
    ("--start-timeout <TIME>", "[default: 60s]"),
    ("--keep-alive <TIME>", "[default: 75s]"),
    ("--header-timeout <TIME>", "[default: 10s]"),
    ("--body-timeout <TIME>", "[default: 30s]"),
    ("--max-body <SIZE>", "[default: 16MiB]"),
    ("--max-header <SIZE>", "[default: 64KiB]"),
    ("--queue <N>", "[default: 100]"),
    ("--queue-timeout <TIME>", "[default: 10s]"),
    ("--connections <N>", "[default: 1024]"),
    ("--max-requests <N>", "[default: 0]"),
    ("--max-requests-jitter <N>", "[default: 0]"),
    ("--preload", ""),
    ("--reload", ""),
    ("--factory", ""),
    ("--chdir <DIR>", "[default: .]"),
    ("--python <PATH>", "[default: .venv or venv in the directory, else python3]"),
    ("-e, --env <KEY=VALUE>", ""),
    ("--root-path <PREFIX>", ""),
    ("--forwarded-allow-ips <LIST>", "[env: FORWARDED_ALLOW_IPS=] [default: 127.0.0.1,::1]"),
    ("--access-log <FILE>", ""),
    ("--log-format <LOG_FORMAT>", "[default: combined] [possible values: common, combined, json]"),
    ("--log-level <LOG_LEVEL>", "[default: info] [possible values: error, warning, info, debug]"),
    ("-h, --help", ""),
];

#[test]
fn help_lists_every_flag_and_its_default() {
    let ctx = TestContext::new();
    let help = ctx.run(ctx.command(&["serve", "--help"]));
    assert!(help.starts_with("exit 0\n"), "{help}");
    let paragraphs = paragraphs(&help);
    for (flag, default) in FLAGS {
        let about = paragraphs.iter().find(|text| text.starts_with(flag));
        let about = about.unwrap_or_else(|| panic!("{flag} is not in the help:\n{help}"));
        assert!(about.contains(default), "{flag}: no {default:?} in {about:?}");
    }
    assert_eq!(paragraphs.len(), FLAGS.len(), "a flag that this test does not know:\n{help}");
}

/// One text per flag, on one line and with single spaces, whatever the width of the terminal. Flags are indented by at
/// most 6 columns, what is said about them by more.
fn paragraphs(help: &str) -> Vec<String> {
    let options = help.split_once("\nOptions:\n").map_or("", |(_, options)| options);
    let mut found: Vec<String> = Vec::new();
    for line in options.lines() {
        let indent = line.len() - line.trim_start().len();
        match found.last_mut() {
            Some(last) if indent > 6 => last.push_str(&format!(" {line}")),
            _ if line.trim().is_empty() => {}
            _ => found.push(line.to_owned()),
        }
    }
    found.iter().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_version_is_said() {
    let ctx = TestContext::new();
    let expected = format!("exit 0\nserpentry {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(ctx.run(ctx.command(&["--version"])), expected);
}
