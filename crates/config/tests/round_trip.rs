//! Whatever a right file says, printing the plan and reading that gives the same plan; whatever a wrong file says, there is an
//! answer.

use std::fmt::Write as _;

use config::table::{APP, HOST, Kind, LIMITS, OVERRIDES, Section, Setting, Unlimited};
use config::{Environment, load, print};
use proptest::prelude::*;

fn environment(directory: &str) -> Environment {
    Environment { directory: directory.into(), port: Some("5000".to_owned()), ..Environment::default() }
}

fn number(min: u64, max: u64) -> BoxedStrategy<String> {
    // Not only large numbers: shifted by a random amount.
    (0..=max - min, 0..40_u32).prop_map(move |(more, shift)| (min + (more >> shift)).to_string()).boxed()
}

fn quantity(min: u64, max: u64, units: &'static [(&'static str, u64)]) -> BoxedStrategy<String> {
    let unit = prop::sample::select(units);
    (unit, any::<u64>(), 0..50_u32)
        .prop_map(move |((unit, factor), number, shift)| {
            let (low, high) = (min.div_ceil(factor), max / factor);
            if low > high {
                return format!("\"{min}{}\"", units.last().map_or("", |(unit, _)| unit));
            }
            format!("\"{}{unit}\"", low + ((number >> shift) % (high - low + 1)))
        })
        .boxed()
}

const TIMES: &[(&str, u64)] = &[("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: &[(&str, u64)] = &[("GiB", 1 << 30), ("MB", 1_000_000), ("KiB", 1 << 10), (" B", 1)];

fn word(none: Unlimited, other: BoxedStrategy<String>) -> BoxedStrategy<String> {
    match none {
        Unlimited::Never => other,
        Unlimited::Word | Unlimited::WordOrZero => {
            prop_oneof![4 => other, 1 => Just("\"none\"".to_owned())].boxed()
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    "[ -!#-\\[\\]-~\u{e4}\u{1f40d}]{0,12}".prop_map(|text| format!("\"{text}\""))
}

/// A right value for a setting.
fn value(setting: &'static Setting) -> BoxedStrategy<String> {
    match setting.kind {
        Kind::Flag => any::<bool>().prop_map(|flag| flag.to_string()).boxed(),
        Kind::Integer { min, max, none } => word(none, number(min, max)),
        Kind::Number { min, max, none } => {
            word(none, (min..=max).prop_map(|number| number.to_string()).boxed())
        }
        Kind::Duration { min, max, none } => word(none, quantity(min, max, TIMES)),
        Kind::Size { min, max, none } => word(none, quantity(min, max.min(1 << 50), SIZES)),
        Kind::Rate => prop_oneof![
            quantity(1, 1 << 40, SIZES).prop_map(|size| format!("{}/s\"", size.trim_end_matches('"'))),
            (1..1_000_000_u32).prop_map(|count| format!("\"{count}ops/s\"")),
        ]
        .boxed(),
        Kind::Bandwidth => (1..1_000_u32).prop_map(|count| format!("\"{count}Mbit/s\"")).boxed(),
        Kind::Choice(words) => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            prop::sample::select(words).prop_map(|word| format!("\"{word}\"")).boxed()
        }
        Kind::Callable => "\"[a-z_]{1,8}(\\.[a-z]{1,8})?(:[a-z]{1,8}(\\(\\))?)?\"".boxed(),
        Kind::Directory | Kind::Log => "\"/?[a-z][a-z0-9 _.-]{0,8}(/[a-z]{1,8}){0,3}\"".boxed(),
        Kind::Hook => {
            "\"(http://[a-z]{1,8}(:[1-9][0-9]{0,3})?(/[a-z?]{0,8})?|/?[a-z]{1,8}(/[a-z]{1,8})?)\"".boxed()
        }
        Kind::Interpreter => "\"(/?[a-z]{1,8}/)?python3(\\.1[0-9])?\"".boxed(),
        Kind::Environment => {
            let pairs = prop::collection::btree_map("[A-Z_]{1,8}", text(), 0..4);
            let show = |(name, value): (String, String)| format!("{name} = {value}");
            pairs
                .prop_map(move |pairs| {
                    format!("{{{}}}", pairs.into_iter().map(show).collect::<Vec<_>>().join(","))
                })
                .boxed()
        }
        Kind::Workers => prop_oneof![
            (1..1_024_u32).prop_map(|count| count.to_string()),
            (0..512_u32, 1..512_u32, quantity(1, 86_400_000, TIMES)).prop_map(|(min, more, idle)| format!(
                "{{ min = {min}, max = {}, idle = {idle} }}",
                min + more
            )),
        ]
        .boxed(),
        // Those that depend on other parts of the file keep to their examples.
        Kind::Addresses
        | Kind::Proxies
        | Kind::User
        | Kind::Application
        | Kind::Routes
        | Kind::Prefix
        | Kind::Limits
        | Kind::Overrides => Just(setting.example.to_owned()).boxed(),
    }
}

/// Some of a section's settings with right values, a line each.
fn lines(section: &'static Section, but: &'static [&'static str]) -> impl Strategy<Value = String> {
    let settings = section.settings.iter().filter(|setting| !but.contains(&setting.name));
    let line = |setting: &'static Setting| {
        prop::option::weighted(0.4, value(setting)).prop_map(move |value| {
            value.map(|value| format!("{} = {value}\n", setting.name)).unwrap_or_default()
        })
    };
    settings.map(line).collect::<Vec<_>>().prop_map(|lines| lines.concat())
}

/// A right file, but for combinations of values, which are not looked at here.
fn file() -> impl Strategy<Value = String> {
    let app = || {
        let overrides = prop::collection::btree_map("/[a-z]{1,6}", lines(&OVERRIDES, &["prefix"]), 0..3);
        (lines(&APP, &["app", "routes", "limits", "overrides"]), lines(&LIMITS, &[]), overrides)
    };
    let apps = prop::collection::vec(app(), 1..4);
    (lines(&HOST, &["default_app"]), lines(&APP, &["routes", "limits", "overrides"]), apps).prop_map(
        |(host, defaults, apps)| {
            let mut text = format!("[host]\n{host}[defaults]\n{defaults}");
            for (number, (app, limits, overrides)) in apps.into_iter().enumerate() {
                let _ = write!(
                    text,
                    "[apps.a{number}]\napp = \"x:y\"\nroutes = [\"h{number}\", \"/p{number}\"]\n{app}"
                );
                let _ = write!(text, "[apps.a{number}.limits]\n{limits}");
                for (prefix, lines) in overrides {
                    let _ = write!(text, "[[apps.a{number}.overrides]]\nprefix = \"{prefix}\"\n{lines}");
                }
            }
            text
        },
    )
}

/// Combinations that are errors although each value is right.
const CONFLICTS: [&str; 3] = ["`threads` is", "`concurrency` cannot be", "no request could ever"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_means_the_same(text in file()) {
        let first = match load(text.as_bytes(), "serpentry.toml", &environment("/srv/sites")) {
            Ok(resolved) => resolved,
            Err(all) => {
                let errors = all.shown().iter().filter(|one| one.severity == config::Severity::Error);
                for error in errors {
                    let conflict = CONFLICTS.iter().any(|conflict| error.message.starts_with(conflict) || error.message.contains(conflict));
                    prop_assert!(conflict, "{}\n{}", text, all.render(false));
                }
                return Ok(());
            }
        };
        let printed = print(&first.plan, &first.origins);
        // It depends neither on where it lies nor on the environment.
        let second = load(printed.as_bytes(), "printed.toml", &Environment { directory: "/elsewhere".into(), ..Environment::default() });
        match second {
            Ok(second) => prop_assert_eq!(first.plan, second.plan, "{}", printed),
            Err(all) => prop_assert!(false, "{}\n{}", printed, all.render(false)),
        }
    }

    #[test]
    fn a_damaged_file_is_answered(text in file(), cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..6)) {
        let mut bytes = text.into_bytes();
        for (at, how, byte) in cuts {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes.truncate(at),
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, byte),
                _ => bytes[at] = byte % 128,
            }
        }
        match load(&bytes, "serpentry.toml", &environment("/srv/sites")) {
            Ok(resolved) => { print(&resolved.plan, &resolved.origins); resolved.warnings.render(true); }
            Err(all) => {
                prop_assert!(all.has_errors() && !all.shown().is_empty());
                all.render(true);
            }
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = load(&bytes, "serpentry.toml", &environment("/srv/sites")).map_err(|all| all.render(false));
    }

    #[test]
    fn any_tokens_are_answered(tokens in prop::collection::vec(prop::sample::select(vec![
        "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\"", "'", "\"\"\"", "#", " ", "\\", "apps", "shop", "host", "defaults",
        "limits", "overrides", "app", "routes", "workers", "env", "listen", "min", "1", "1.5", "true", "1979-05-27", "\"x:y\"", "\"1s\"", "\u{e4}",
    ]), 0..60)) {
        let text = tokens.concat();
        let _ = load(text.as_bytes(), "serpentry.toml", &environment("/srv/sites")).map_err(|all| all.render(true));
    }
}
