//! From evidence to words.
//!
//! A template is a sentence with places for evidence in braces and optional parts in guillemets:
//! `worker {worker}« (pid {pid})» was killed« after {served_seconds}»`. An optional part is left out when a value in it is not
//! known; outside of those an unknown value is called unknown, so that a sentence never says more than was measured.
//! `{failed|request}` counts: "1 request", "2 requests". Besides the evidence of its code there are `{app}`, `{worker}`, `{pid}` and `{count}`.
//!
//! Values are escaped for a terminal. What is in the template itself is ours.

use crate::book::Incident;
use crate::code::Unit;
use crate::detection::Value;
use crate::text;

/// What happened and to whom.
#[must_use]
pub fn sentence(incident: &Incident) -> String {
    fill(incident.cause().sentence, &|key| value(incident, key))
}

/// What to do.
#[must_use]
pub fn remedy(incident: &Incident) -> String {
    fill(incident.cause().remedy, &|key| value(incident, key))
}

fn value(incident: &Incident, key: &str) -> Option<String> {
    match key {
        "app" => Some(text::line(incident.app.as_deref().unwrap_or("the host"))),
        "worker" => incident.worker.map(|worker| worker.id.to_string()),
        "pid" => incident.worker?.pid.map(|pid| pid.to_string()),
        "count" => Some(incident.count.to_string()),
        // "once" needs no words.
        "times" => (incident.count > 1).then(|| incident.count.to_string()),
        key => {
            let evidence = incident.code.entry().evidence(key)?;
            incident.facts.get(key).map(|value| shown(value, evidence.unit))
        }
    }
}

/// A value with its unit, for people.
#[must_use]
pub fn shown(value: &Value, unit: Unit) -> String {
    let number = match value {
        Value::Text(it) if unit == Unit::Block => return text::block(it),
        Value::Text(it) => return text::line(it),
        Value::Number(number) => *number,
    };
    match unit {
        Unit::Count | Unit::Text | Unit::Block => trimmed(number),
        Unit::Bytes => bytes(number),
        Unit::BytesPerSecond => format!("{}/s", bytes(number)),
        Unit::PerSecond => format!("{}/s", trimmed(number)),
        Unit::Seconds if number < 1.0 => format!("{} ms", trimmed(number * 1e3)),
        Unit::Seconds => format!("{} s", trimmed(number)),
        Unit::Milliseconds if number >= 10_000.0 => format!("{} s", trimmed(number / 1e3)),
        Unit::Milliseconds => format!("{} ms", trimmed(number)),
        Unit::Percent => format!("{} %", trimmed(number)),
        Unit::Cores if number == 1.0 => "1 core".to_owned(),
        Unit::Cores => format!("{} cores", trimmed(number)),
        Unit::Signal => signal(number),
    }
}

/// At most one digit after the point.
fn trimmed(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn bytes(number: f64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = number;
    let mut at = 0;
    while scaled.abs() >= 1024.0 && at + 1 < units.len() {
        scaled /= 1024.0;
        at += 1;
    }
    format!("{} {}", trimmed(scaled), units[at])
}

/// `signal 11 (SIGSEGV)`, see signal(7); the numbers are those of x86 and ARM.
fn signal(number: f64) -> String {
    let name = match number as i64 {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {}", trimmed(number)),
    };
    format!("signal {} ({name})", trimmed(number))
}

/// Optional parts may not be nested.
fn fill(template: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('«') {
        let (optional, after) = after.split_once('»').unwrap_or((after, ""));
        filled.push_str(&places(before, value).unwrap_or_default());
        // The whole part or nothing of it.
        if let Some(part) = places_all(optional, value) {
            filled.push_str(&part);
        }
        rest = after;
    }
    filled.push_str(&places(rest, value).unwrap_or_default());
    filled
}

fn places(template: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    places_all(template, &|key| Some(value(key).unwrap_or_else(|| format!("unknown {key}"))))
}

fn places_all(template: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (key, after) = after.split_once('}').unwrap_or((after, ""));
        let (key, noun) = key.split_once('|').map_or((key, None), |(key, noun)| (key, Some(noun)));
        let shown = value(key)?;
        filled.push_str(before);
        filled.push_str(&shown);
        if let Some(noun) = noun {
            let plural = if shown == "1" { "" } else { "s" };
            filled.push_str(&format!(" {noun}{plural}"));
        }
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

/// The names in a template.
#[cfg(test)]
pub(crate) fn names(template: &str) -> impl Iterator<Item = &str> {
    let names = template.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0));
    names.map(|name| name.split('|').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_are_left_out_or_called_unknown() {
        let value = |key: &str| (key == "a").then(|| "1".to_owned());
        assert_eq!(fill("x {a}«, y {b}»«, z {a}» {b}", &value), "x 1, z 1 unknown b");
        assert_eq!(fill("«{b}»", &value), "");
        assert_eq!(fill("no places", &value), "no places");
        assert_eq!(fill("{a|request}«, {b|request}»", &value), "1 request");
        assert_eq!(fill("{a|request}", &|_| Some("0".to_owned())), "0 requests");
    }

    #[test]
    fn a_value_cannot_be_a_template() {
        assert_eq!(fill("{a}!", &|_| Some("{b}«c»".to_owned())), "{b}«c»!");
    }

    #[test]
    fn values_have_units() {
        for (number, unit, expect) in [
            (3.0, Unit::Count, "3"),
            (268_435_456.0, Unit::Bytes, "256 MiB"),
            (1000.0, Unit::Bytes, "1000 bytes"),
            (30.0, Unit::Seconds, "30 s"),
            (0.25, Unit::Seconds, "250 ms"),
            (730.4, Unit::Milliseconds, "730.4 ms"),
            (1.0, Unit::Cores, "1 core"),
            (11.0, Unit::Signal, "signal 11 (SIGSEGV)"),
            (35.0, Unit::Signal, "signal 35"),
        ] {
            assert_eq!(shown(&Value::Number(number), unit), expect);
        }
        assert_eq!(shown(&Value::Text("a\x1b[1m\nb".into()), Unit::Text), "a\\u{1b}[1m\\nb");
    }
}
