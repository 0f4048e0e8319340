//! What is said about wrong files, word for word: `cases/NAME.toml` and, beside it, what is shown, `cases/NAME.txt`.
//!
//! After a change that is meant: `SERPENTRY_WRITE_CASES=1 cargo test -p config --test diagnostics`, then read the difference.

use std::fs;
use std::path::Path;

use config::{Diagnostics, Environment, SHOWN, Severity, load};

fn environment() -> Environment {
    Environment { directory: "/srv/sites".into(), ..Environment::default() }
}

fn all(text: &[u8]) -> Diagnostics {
    match load(text, "serpentry.toml", &environment()) {
        Ok(resolved) => resolved.warnings,
        Err(all) => all,
    }
}

#[test]
fn what_is_said_is_as_it_was() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let write = std::env::var_os("SERPENTRY_WRITE_CASES").is_some();
    let mut seen = 0;
    for entry in fs::read_dir(&cases).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        seen += 1;
        let shown = all(&fs::read(&path).unwrap()).render(false);
        let expected = path.with_extension("txt");
        if write {
            fs::write(&expected, &shown).unwrap();
        }
        let expected_text = fs::read_to_string(&expected).unwrap_or_default();
        // The first line that differs says more than two pages.
        let differs =
            shown.lines().zip(expected_text.lines()).position(|(shown, expected)| shown != expected);
        let line = differs.unwrap_or_else(|| shown.lines().count().min(expected_text.lines().count()));
        let now = shown.lines().nth(line).unwrap_or("(the end)");
        assert!(shown == expected_text, "{}:{}: now it is: {now}", expected.display(), line + 1);
    }
    assert!(seen >= 8, "the cases are not there");
}

/// Severity, line, column and the beginning of the message of each.
fn brief(text: &str) -> Vec<(Severity, usize, usize, String)> {
    let all = all(text.as_bytes());
    let brief = |one: &config::Diagnostic| {
        let (line, column) =
            one.location.as_ref().map_or((0, 0), |location| (location.line, location.column));
        (one.severity, line, column, one.message.clone())
    };
    all.shown().iter().map(brief).collect()
}

#[test]
fn one_mistake_gives_one_diagnostic() {
    for text in [
        "[apps.a]\naap = \"x:y\"",
        "[apps.a]\napplication = \"x:y\"",
        "[apps.a]\nthe_entry_point = \"x:y\"",
        "[app.a]\napp = \"x:y\"",
        "[apps.a]\napp = 3",
        "[apps.a]\napp = \"x:y\"\nthreads = \"many\"\nconcurrency = \"sync\"",
        "[apps.a]\napp = \"x:y\"\nthreads = 2\nconcurrency = \"snyc\"",
        "[apps.a]\napp = \"x:y\"\nrutes = [\"a.b\"]\n[apps.b]\napp = \"x:y\"\nroutes = [\"c.d\"]",
        "[apps.a]\napp = \"x:y\"\nroutes = \"a.b\"\n[apps.b]\napp = \"x:y\"\nroutes = [\"c.d\"]",
        "[host]\ndefault_ap = \"a\"\n[apps.a]\napp = \"x:y\"\n[apps.b]\napp = \"x:y\"\nroutes = [\"c.d\"]",
        "[host]\ndefault_app = \"b\"\n[apps.a]\napp = \"x:y\"",
        "[apps.a]\napp = \"x:y\nworkers = 3",
        "[apps.a\napp = \"x:y\"",
        "[apps.A]\napp = \"x:y\"",
        "[apps.a]\napp = \"x:y\"\n[apps.a.limits]\nmemory = \"1XB\"\nbody_size = \"2GiB\"",
        "[defaults.limits]\nmemory = \"1XB\"\nbody_size = \"2GiB\"\n[apps.a]\napp = \"x:y\"",
        "[apps.a]\napp = \"x:y\"\ntenancy = \"isolated\"\nlimits = { memory = \"1XB\", body_size = \"2GiB\" }",
        "[defaults.limits]\nprocesses = \"1\"\n[apps.a]\napp = \"x:y\"\nworkers = 200",
        "[apps.a]\napp = \"x:y\"\nworkers = { mni = 3, max = 2 }",
        "[apps.a]\napp = \"x:y\"\napp = \"x:y\"",
        "[apps.a]\napp = \"x:y\"\n[[apps.a.overrides]]\nprefx = \"/a\"\nbody_size = \"1MiB\"",
        "host = 3\n[apps.a]\napp = \"x:y\"",
        "apps = 3",
        "",
    ] {
        let found = brief(text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert_eq!(found[0].0, Severity::Error, "{text}");
    }
}

#[test]
fn lines_and_columns_are_right_in_text_with_other_alphabets() {
    let text =
        "# \u{4e2d}\u{6587}\n[apps.a]\napp = \"x:y\"\nenv = { \"\u{e4}\u{f6}\" = \"\u{1f40d}\", B = 1 }\n";
    assert_eq!(brief(text).iter().map(|one| (one.1, one.2)).collect::<Vec<_>>(), [(4, 25)]);
}

#[test]
fn at_most_a_hundred_are_shown_and_the_first_ones() {
    let mut text = String::from("[apps.a]\napp = \"x:y\"\n");
    for number in (0..1_000).rev() {
        text.push_str(&format!("strange_{number} = 1\n"));
    }
    let all = all(text.as_bytes());
    assert_eq!((all.shown().len(), all.omitted(), all.counts()), (SHOWN, 900, (1_000, 0)));
    assert_eq!(all.shown()[0].location.as_ref().unwrap().line, 3);
    assert_eq!(all.shown()[99].location.as_ref().unwrap().line, 102);
    assert!(all.render(false).ends_with("and 900 more\n\n"));
    assert_eq!(all.to_json()["omitted"], 900);
}

#[test]
fn a_diagnostic_is_data() {
    let all =
        all(b"[apps.a]\napp = \"x:y\"\nroutes = [\"a.b\"]\n[apps.b]\napp = \"x:y\"\nroutes = [\"a.b\"]\n");
    let expected = serde_json::json!({
        "file": "serpentry.toml",
        "errors": 1,
        "warnings": 0,
        "omitted": 0,
        "diagnostics": [{
            "severity": "error",
            "message": "`a.b` belongs to the application `a` already",
            "line": 6, "column": 11, "end_line": 6, "end_column": 16,
            "hint": "give one of them another host or a longer prefix",
            "related": [{
                "message": "the route of `a`",
                "line": 3, "column": 11, "end_line": 3, "end_column": 16,
            }],
        }],
    });
    assert_eq!(all.to_json(), expected);
}

#[test]
fn no_control_character_reaches_the_terminal() {
    let text = "[apps.a]\napp = \"x:y\"\n\"\\u001b[31mred\" = 1\nlog = \"\u{1b}[31m\"\nenv = { \"\\u0007=\" = \"x\" }\nroutes = \"\\u001b[31m\"\n";
    let shown = all(text.as_bytes()).render(false);
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
}
