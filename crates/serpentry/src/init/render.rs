//! The text of the file. Every comment is one line, whatever was found; every value is escaped.
//!
//! What to write is decided before: [`super::draft`].

use std::fmt::Write as _;

use super::draft::{App, Draft, Setting, Table, key, quoted};

/// Longest comment, in characters: a hostile file must not fill ours.
const COMMENT: usize = 220;

/// Longest name of an application.
const NAME: usize = 63;

/// Guidance for what was not found: key, shown value, what it is.
type Hint = (&'static str, &'static str, &'static str);

const APP_HINTS: &[Hint] = &[
    ("workers", "2", "processes, or { min = 0, max = 4, idle = \"5m\" }: as many as are needed"),
    ("tenancy", "\"isolated\"", "its own share of the machine; \"shared\" is the default"),
];

const LIMIT_HINTS: &[Hint] = &[
    ("memory", "\"512MiB\"", "of all workers together"),
    (
        "request_timeout",
        "\"30s\"",
        "the default: a request that takes longer is answered 504; \"none\" for no limit",
    ),
];

/// The file as text. `directories` says for each application what to write as its directory.
pub(super) fn file(draft: &Draft, directories: &[String]) -> String {
    let mut text = String::from("# Written by `serpentry init`; look it over. What it found:\n");
    for finding in &draft.findings {
        comment(&mut text, "#   ", finding);
    }
    text.push_str("# Every setting: docs/configuration.md. Next: serpentry check, then serpentry host.\n\n");
    text.push_str("[host]\n");
    if draft.host.get("listen").is_none() {
        text.push_str(
            "# listen = [\"127.0.0.1:8000\"]  # the default; with PORT in the environment 0.0.0.0:$PORT\n",
        );
    }
    table(&mut text, &draft.host);
    if draft.default_limits != Table::default() {
        text.push_str("\n[defaults.limits]\n");
        table(&mut text, &draft.default_limits);
    }
    let names = names(&draft.apps);
    let single = draft.apps.len() == 1;
    for ((app, name), directory) in draft.apps.iter().zip(&names).zip(directories) {
        text.push('\n');
        application(&mut text, app, name, directory, single);
    }
    text
}

fn application(text: &mut String, app: &App, name: &str, directory: &str, single: bool) {
    let _ = writeln!(text, "[apps.{name}]");
    comment(text, "# ", &app.reason);
    line(text, "", "app", &quoted(&app.target), "");
    if app.factory {
        text.push_str("factory = true\n");
    }
    for (keys, why) in &app.alternatives {
        let why = if why.is_empty() { String::new() } else { format!("  # or: {why}") };
        comment(text, "# ", &format!("{keys}{why}"));
    }
    line(text, "", "directory", &quoted(directory), "");
    routes(text, app, single);
    table(text, &Table { notes: Vec::new(), ..app.table.clone() });
    hints(text, &app.table, APP_HINTS);
    if !app.env.is_empty() {
        let pairs: Vec<String> =
            app.env.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value))).collect();
        let _ = writeln!(text, "env = {{ {} }}", pairs.join(", "));
    }
    notes(text, &app.table);
    let _ = writeln!(text, "\n[apps.{name}.limits]");
    table(text, &Table { notes: Vec::new(), ..app.limits.clone() });
    hints(text, &app.limits, LIMIT_HINTS);
    notes(text, &app.limits);
}

/// One route per line if there is something to say about them.
fn routes(text: &mut String, app: &App, single: bool) {
    if app.routes.is_empty() {
        if single {
            text.push_str(
                "# routes = [\"www.example.com\"]  # without: every request, as the only application\n",
            );
        }
    } else if app.routes.iter().all(|(_, remark)| remark.is_empty()) {
        let routes: Vec<String> = app.routes.iter().map(|(route, _)| quoted(route)).collect();
        let _ = writeln!(text, "routes = [{}]", routes.join(", "));
    } else {
        text.push_str("routes = [\n");
        for (route, remark) in &app.routes {
            let route = format!("    {},", quoted(route));
            text.push_str(&route);
            behind(text, remark);
        }
        text.push_str("]\n");
    }
}

fn table(text: &mut String, table: &Table) {
    for Setting { key, value, remark } in &table.settings {
        line(text, "", key, &value.toml(), remark);
    }
    notes(text, table);
}

fn notes(text: &mut String, table: &Table) {
    for note in &table.notes {
        comment(text, "# ", note);
    }
}

fn hints(text: &mut String, table: &Table, hints: &[Hint]) {
    for (key, value, remark) in hints.iter().filter(|(key, ..)| table.get(key).is_none()) {
        line(text, "# ", key, value, remark);
    }
}

fn line(text: &mut String, mark: &str, key: &str, value: &str, remark: &str) {
    let _ = write!(text, "{mark}{key} = {value}");
    behind(text, remark);
}

/// A remark behind what the line says, and the line's end.
fn behind(text: &mut String, remark: &str) {
    if remark.is_empty() {
        text.push('\n');
    } else {
        comment(text, "  # ", remark);
    }
}

fn comment(text: &mut String, mark: &str, comment: &str) {
    text.push_str(mark);
    text.push_str(&one_line(comment));
    text.push('\n');
}

/// A text that may stand in a comment or on a terminal: one line of bounded length, without characters that control.
pub(super) fn one_line(text: &str) -> String {
    // Those that turn the direction of text could make a comment look like something else.
    let controls = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let clean: String = text.chars().map(|c| if controls(c) { ' ' } else { c }).take(COMMENT + 1).collect();
    let clean = clean.trim();
    match clean.char_indices().nth(COMMENT) {
        Some((end, _)) => format!("{}...", &clean[..end]),
        None => clean.to_owned(),
    }
}

/// A legal name for each application, each once.
pub(super) fn names(apps: &[App]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for app in apps {
        let base = legal_name(&app.name);
        let numbered = |number: usize| {
            let suffix = format!("-{number}");
            format!("{}{suffix}", &base[..base.len().min(NAME - suffix.len())])
        };
        let candidates = std::iter::once(base.clone()).chain((2..).map(numbered));
        // Endless candidates, finitely many names taken.
        names.extend(candidates.into_iter().find(|name| !names.contains(name)));
    }
    names
}

/// `[a-z0-9][a-z0-9_-]{0,62}` from anything.
pub(super) fn legal_name(text: &str) -> String {
    let legal = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_' | '-') => c,
        _ => '-',
    };
    let name: String = text.chars().map(legal).collect();
    let name = name.trim_start_matches(['-', '_']).trim_end_matches('-');
    let name = &name[..name.len().min(NAME)];
    if name.is_empty() { "app".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_and_different() {
        let cases = [("shop", "shop"), ("My Shop!", "my-shop"), ("-_x", "x"), ("é", "app"), ("", "app")];
        for (text, expected) in cases {
            assert_eq!(legal_name(text), expected, "{text}");
        }
        assert_eq!(legal_name(&"a".repeat(100)).len(), 63);
        let apps: Vec<App> = ["a", "A", "a-2", "a"]
            .iter()
            .map(|name| App { name: (*name).to_owned(), ..App::default() })
            .collect();
        assert_eq!(names(&apps), ["a", "a-2", "a-2-2", "a-3"]);
        let long = App { name: "b".repeat(70), ..App::default() };
        assert!(names(&[long.clone(), long]).iter().all(|name| name.len() == 63));
    }

    #[test]
    fn a_comment_is_one_line_of_bounded_length() {
        assert_eq!(one_line("a\nb\t\u{1b}[31mc\r"), "a b  [31mc");
        assert_eq!(one_line("a\u{202e}b"), "a b");
        assert_eq!(one_line(&"é".repeat(1000)).chars().count(), COMMENT + 3);
        assert_eq!(one_line("x = 1  # or: y"), "x = 1  # or: y");
    }
}
