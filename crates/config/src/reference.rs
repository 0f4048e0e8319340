//! The reference page and the short list of keys of the help. Made from the table of settings.

use std::fmt::Write as _;

use crate::table::{APP, Fallback, HOST, Kind, LIMITS, OVERRIDES, Setting, Unlimited};
use crate::units::{show_duration, show_size};

const INTRODUCTION: &str = r#"# Configuration

<!-- Made by `cargo run -p config --example reference`; do not edit. -->

`serpentry.toml` says what a host does: one table for the host, one for each application. `serpentry check` shows all
mistakes of a file at once, `serpentry check --print` what every setting comes to and where it came from. Editors get a
schema from [serpentry.schema.json](serpentry.schema.json), also printed by `serpentry check --schema`.

```toml
[host]
listen = ["127.0.0.1:8000"]

[defaults.limits]
memory = "256MiB"

[apps.shop]
app = "shop.wsgi:application"
directory = "/srv/shop"
routes = ["shop.example.com", "example.com/shop"]
workers = { min = 1, max = 4 }

[apps.feed]
app = "feed.main:app"
directory = "/srv/feed"
routes = ["feed.example.com"]

[apps.feed.limits]
request_timeout = "2m"
```

## How values are written

- **Times** are texts with a unit: `"250ms"`, `"30s"`, `"1.5m"`, `"2h"`. The finest is a millisecond.
- **Sizes** are texts with a unit: `"512B"`, `"64KiB"`, `"16MiB"`, `"1GiB"`, `"1TiB"` (powers of 1024), `"10kB"`, `"10MB"`, `"10GB"`,
  `"1TB"` (powers of 1000).
- **Rates** are sizes per second, `"20MiB/s"`, or operations per second, `"500ops/s"`; bandwidth may be in bits: `"100Mbit/s"`.
- **No limit** is `"none"`, where it says so below; times without limit may also be `"0"`.
- **Relative paths** begin at the directory of the file, except `python`, which begins at the application's directory. `~` and `$VARIABLE`
  are not replaced.
- Keys that are not listed here are errors. A file has at most 4 MiB and 10,000 applications.

What an application does not say comes from `[defaults]`, then from what is built in; inside `limits` and `env`, key by key.
"#;

/// The reference page, in Markdown.
pub fn page() -> String {
    let mut text = INTRODUCTION.to_owned();
    for section in [&HOST, &APP, &LIMITS, &OVERRIDES] {
        let _ = write!(text, "\n## `{}`\n\n{}\n", section.title, one_line(section.about));
        for setting in section.settings {
            describe(&mut text, setting);
        }
        if std::ptr::eq(section, &APP) {
            text.push_str(DEFAULTS);
        }
    }
    text
}

const DEFAULTS: &str = "\n## `[defaults]`\n\nThe same keys as an application except `routes`, with `[defaults.limits]` and \
                        `[[defaults.overrides]]`: for every application that does not say otherwise.\n";

fn describe(text: &mut String, setting: &Setting) {
    let _ = write!(text, "\n### `{}`\n\n{}\n\n", setting.name, one_line(setting.about));
    let _ = writeln!(text, "- Value: {}", kind(setting.kind));
    match setting.default {
        Fallback::Required => text.push_str("- Required\n"),
        Fallback::Is(value) => {
            let _ = writeln!(text, "- Default: `{value}`");
        }
        Fallback::ByTenancy { shared, isolated } => {
            let _ = writeln!(text, "- Default: `{shared}` (shared), `{isolated}` (isolated)");
        }
        Fallback::Found(how) => {
            let _ = writeln!(text, "- Default: {how}");
        }
    }
    let _ = writeln!(text, "- Example: `{} = {}`", setting.name, setting.example);
    if let Kind::Choice(words) = setting.kind {
        text.push('\n');
        for (word, about) in words {
            let _ = writeln!(text, "  - `\"{word}\"`: {about}");
        }
    }
}

/// What can be a value, in words.
fn kind(kind: Kind) -> String {
    let or_none = |none: Unlimited| if none == Unlimited::Never { "" } else { ", or `\"none\"`" };
    match kind {
        Kind::Callable | Kind::Application => "a text".to_owned(),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Integer { min, max, none } => format!("a whole number from {min} to {max}{}", or_none(none)),
        Kind::Number { min, max, none } => format!("a number from {min} to {max}{}", or_none(none)),
        Kind::Duration { min, max, none } => {
            let shown = |millis| show_duration(std::time::Duration::from_millis(millis));
            format!("a time from `\"{}\"` to `\"{}\"`{}", shown(min), shown(max), or_none(none))
        }
        Kind::Size { min, max, none } => {
            format!("a size from `\"{}\"` to `\"{}\"`{}", show_size(min), show_size(max), or_none(none))
        }
        Kind::Rate => "a rate, or `\"none\"`".to_owned(),
        Kind::Bandwidth => "a bandwidth, or `\"none\"`".to_owned(),
        Kind::Choice(_) => "one of the words below".to_owned(),
        Kind::Directory => "a path".to_owned(),
        Kind::Hook => "a path, an `http://` URL or `\"none\"`".to_owned(),
        Kind::Log => "a path, `\"-\"` or `\"none\"`".to_owned(),
        Kind::Interpreter => "a path or the name of a command".to_owned(),
        Kind::Addresses => "a list of addresses".to_owned(),
        Kind::Proxies => "a text".to_owned(),
        Kind::User => "the name or number of a user".to_owned(),
        Kind::Routes => "a list of routes".to_owned(),
        Kind::Workers => "a number, or a table with `max` and perhaps `min` and `idle`".to_owned(),
        Kind::Environment => "a table of texts".to_owned(),
        Kind::Prefix => "a path that begins with a slash".to_owned(),
        Kind::Limits => "a table".to_owned(),
        Kind::Overrides => "a list of tables".to_owned(),
    }
}

/// All keys with their defaults, a line each, for the help of the command line.
pub fn summary() -> String {
    let mut text = String::new();
    for section in [&HOST, &APP, &LIMITS, &OVERRIDES] {
        let _ = writeln!(text, "{}", section.title);
        for setting in
            section.settings.iter().filter(|setting| !matches!(setting.kind, Kind::Limits | Kind::Overrides))
        {
            let default = match setting.default {
                Fallback::Required => "required".to_owned(),
                Fallback::Is(value) => value.to_owned(),
                Fallback::ByTenancy { shared, isolated } => {
                    format!("{shared} (shared), {isolated} (isolated)")
                }
                Fallback::Found(how) => how.to_owned(),
            };
            let _ = writeln!(text, "  {:<20} {default}", setting.name);
        }
    }
    text
}

/// Paragraphs in the table are broken in the source only.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
