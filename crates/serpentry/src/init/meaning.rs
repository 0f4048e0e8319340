//! What the settings of other servers mean here: one list for command lines and configuration files alike.
//!
//! A setting comes as text, from wherever it was read, and becomes a setting of ours, a note that says why not, or nothing if
//! it makes no difference. Values out of our bounds become notes too, so that what is written is always accepted.

use super::address;
use super::draft::{App, Draft, Table, Value};
use super::target;

/// What a setting of another server is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// `HOST:PORT`, `unix:PATH`, `fd://N`.
    Bind,
    /// The two halves of an address, put together by [`finish`].
    Host,
    Port,
    UnixSocket,
    Descriptor,
    Workers,
    Threads,
    WorkerClass,
    /// Seconds.
    RequestTimeout,
    GracefulTimeout,
    KeepAlive,
    HeaderTimeout,
    MaxRequests,
    MaxRequestsJitter,
    Preload,
    Directory,
    PythonPath,
    /// `NAME=VALUE`.
    Env,
    Factory,
    /// The application itself, as a setting.
    Target,
    /// Below which path a proxy serves the application.
    RootPath,
    /// The same for servers that take the prefix off the path, as we do.
    Prefix,
    ForwardedAllowIps,
    AccessLog,
    /// A switch: access log to standard output.
    AccessLogOn,
    LogLevel,
    Interface,
    Lifespan,
    EventLoop,
    /// Bytes.
    MessageSize,
    BodySize,
    HeaderSize,
    Connections,
    /// MiB.
    RecycleMemory,
    /// It is not carried over, for this reason.
    Not(&'static str),
    /// It makes no difference here.
    Nothing,
}

/// A setting as it was found.
pub(super) struct Found<'a> {
    /// As the other server calls it, for notes.
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    /// Where it stands.
    pub(super) place: &'a str,
    /// What its value depends on, or "".
    pub(super) remark: &'a str,
}

/// Largest number of workers and of threads.
const MOST: u64 = 1024;

/// A week, in seconds: no timeout of ours is longer.
const LONGEST: f64 = 604_800.0;

/// Carry one setting over. Returns `false` if the value makes no sense; the caller's note then says what was found.
pub(super) fn apply(meaning: Meaning, found: &Found<'_>, draft: &mut Draft, app: &mut App) -> bool {
    let Found { name, text, place, .. } = *found;
    let from = from(found);
    match meaning {
        Meaning::Bind => return address::bind(found, draft),
        Meaning::Host => draft.host.set(HOST, Value::Text(text.to_owned()), from),
        // Followed, not copied: see `address`.
        Meaning::Port if text.starts_with('$') => draft.host.set(PORT, Value::Text(text.to_owned()), place),
        Meaning::Port => draft.host.set(PORT, Value::Text(text.to_owned()), from),
        Meaning::UnixSocket => return address::bind(&Found { text: &format!("unix:{text}"), ..*found }, draft),
        Meaning::Descriptor => return address::bind(&Found { text: &format!("fd://{text}"), ..*found }, draft),
        Meaning::Workers => return number(&mut app.table, "workers", found, 1, MOST),
        Meaning::Threads => return threads(found, app),
        Meaning::WorkerClass => worker_class(found, app),
        Meaning::RequestTimeout => return request_timeout(found, app),
        Meaning::GracefulTimeout => return duration(&mut app.table, "graceful_timeout", found),
        Meaning::KeepAlive => return duration(&mut app.limits, "keepalive_timeout", found),
        Meaning::HeaderTimeout => return duration(&mut app.limits, "header_timeout", found),
        Meaning::MaxRequests => return text == "0" || number(&mut app.table, "max_requests", found, 1, 1 << 53),
        Meaning::MaxRequestsJitter => {
            return text == "0" || number(&mut app.table, "max_requests_jitter", found, 0, 1 << 53);
        }
        Meaning::Preload => {
            if is_on(text) {
                app.table.set("preload", Value::Boolean(true), from);
            }
        }
        Meaning::Directory => text.trim_end_matches('/').clone_into(&mut app.directory),
        Meaning::PythonPath => app.set_env("PYTHONPATH", &text.replace(',', ":")),
        Meaning::Env => match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !text.contains('\0') => app.set_env(name, value),
            _ => return false,
        },
        Meaning::Factory => app.factory = is_on(text),
        Meaning::Target if target::is_target(text) => target::set_target(app, text),
        Meaning::Target => return false,
        Meaning::RootPath => app.table.note(format!(
            "{place}: {name} {text}: with routes = [\"{text}\"] the application is told the same; the prefix is taken off \
             the path, so requests must come with it"
        )),
        Meaning::Prefix => app.routes.push((route_prefix(text), format!("{place}: {name}"))),
        Meaning::ForwardedAllowIps => return forwarded(found, draft),
        Meaning::AccessLog => return access_log(found, draft),
        Meaning::AccessLogOn => {
            if is_on(text) {
                draft.host.set("access_log", Value::Text("-".to_owned()), from);
            }
        }
        Meaning::LogLevel => return log_level(found, draft),
        Meaning::Interface => return interface(found, app),
        Meaning::Lifespan => return word(&mut app.table, "lifespan", found, &["auto", "on", "off"]),
        Meaning::EventLoop => return event_loop(found, app),
        Meaning::MessageSize => return size(&mut app.limits, "message_size", found, 1024, 1 << 30),
        Meaning::BodySize => return size(&mut app.limits, "body_size", found, 0, 1 << 40),
        Meaning::HeaderSize => return header_size(found, app),
        Meaning::Connections => return number(&mut app.limits, "connections", found, 1, 1_000_000),
        Meaning::RecycleMemory => return recycle_memory(found, app),
        Meaning::Not(why) => not_carried(found, why, app),
        Meaning::Nothing => {}
    }
    true
}

/// Where a value is from, as a remark.
pub(super) fn from(found: &Found<'_>) -> String {
    if found.remark.is_empty() {
        found.place.to_owned()
    } else {
        format!("{}: {}", found.place, found.remark)
    }
}

fn not_carried(found: &Found<'_>, why: &str, app: &mut App) {
    let Found { name, text, place, .. } = found;
    let text = if is_switch(text) { String::new() } else { format!(" {text}") };
    app.table.note(format!("{place}: {name}{text}: {why}"));
}

/// Keys under which the halves of an address wait for each other. No setting of ours has such a name.
const HOST: &str = "(host)";
const PORT: &str = "(port)";

/// What can only be done when all of a server's settings are known.
pub(super) fn finish(draft: &mut Draft, app: &mut App, default_host: &str, default_port: &str) {
    let remark = |key: &str| {
        let setting = draft.host.settings.iter().find(|setting| setting.key == key);
        setting.map(|setting| setting.remark.clone())
    };
    let text = |key: &str, default: &str| match draft.host.get(key) {
        Some(Value::Text(text)) => text.clone(),
        _ => default.to_owned(),
    };
    if let Some(place) = remark(PORT).or_else(|| remark(HOST)) {
        let (host, port) = (text(HOST, default_host), text(PORT, default_port));
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        draft.host.remove(HOST);
        draft.host.remove(PORT);
        let address = format!("{host}:{port}");
        let found = Found { name: "the address", text: &address, place: &place, remark: "" };
        if !address::bind(&found, draft) {
            draft.host.note(format!("{place}: the address {address} was not understood"));
        }
    }
    // What gunicorn's threads do is what its gthread workers are: one need not be said with the other.
    let threads = matches!(app.table.get("threads"), Some(Value::Integer(2..)));
    let concurrency = app.table.get("concurrency").cloned();
    if threads && concurrency == Some(Value::Text("async".to_owned())) {
        app.table.remove("threads");
        app.table.note("threads was left out: an event loop needs none");
    } else if concurrency == Some(Value::Text("threads".to_owned())) && !threads {
        app.table.remove("concurrency");
    }
}

fn number(table: &mut Table, key: &'static str, found: &Found<'_>, least: u64, most: u64) -> bool {
    let Ok(number) = found.text.trim().parse::<u64>() else { return false };
    let within = number.clamp(least, most);
    let bounded =
        if within == number { String::new() } else { format!(": {number}, brought within our bounds") };
    table.set(key, Value::Integer(within), from(found) + &bounded);
    true
}

fn threads(found: &Found<'_>, app: &mut App) -> bool {
    if found.text.trim() == "1" {
        app.table.remove("threads");
        return true;
    }
    number(&mut app.table, "threads", found, 1, MOST)
}

/// A time in seconds as a duration of ours, or `None` if it is none.
pub(super) fn seconds(text: &str) -> Option<String> {
    let seconds: f64 = text.trim().parse().ok()?;
    let millis = (seconds * 1000.0).round();
    if !(0.0..=LONGEST).contains(&seconds) || (seconds > 0.0 && millis < 1.0) {
        return None;
    }
    let whole = millis % 1000.0 == 0.0;
    Some(if whole { format!("{}s", millis / 1000.0) } else { format!("{millis}ms") })
}

fn duration(table: &mut Table, key: &'static str, found: &Found<'_>) -> bool {
    match seconds(found.text) {
        None => false,
        Some(text) if text == "0s" => {
            table.note(format!("{}: {} 0: there is always a time here", found.place, found.name));
            true
        }
        Some(text) => {
            table.set(key, Value::Text(text), from(found));
            true
        }
    }
}

fn request_timeout(found: &Found<'_>, app: &mut App) -> bool {
    let Some(text) = seconds(found.text) else { return false };
    let text = if text == "0s" { "none".to_owned() } else { text };
    app.limits.set("request_timeout", Value::Text(text), from(found) + ", here for the whole request");
    true
}

fn size(table: &mut Table, key: &'static str, found: &Found<'_>, least: u64, most: u64) -> bool {
    let Ok(bytes) = found.text.trim().parse::<u64>() else { return false };
    table.set(key, Value::Text(bytes_text(bytes.clamp(least, most))), from(found));
    true
}

/// Bytes in the largest unit that divides them.
pub(super) fn bytes_text(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fits = units.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    fits.map_or(format!("{bytes}B"), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

/// A limit of one line of the head; ours is for the whole head and is left alone unless theirs does not fit in it.
fn header_size(found: &Found<'_>, app: &mut App) -> bool {
    const OURS: u64 = 64 * 1024;
    let Ok(bytes) = found.text.trim().parse::<u64>() else { return false };
    if bytes == 0 || bytes > OURS {
        let largest = Value::Text("128KiB".to_owned());
        app.limits.set("header_size", largest, from(found) + ", here for the whole head and at most this");
    } else {
        let Found { name, text, place, .. } = found;
        app.limits
            .note(format!("{place}: {name} {text}: here one limit for the whole head, header_size, 64KiB"));
    }
    true
}

fn recycle_memory(found: &Found<'_>, app: &mut App) -> bool {
    let Ok(mebibytes) = found.text.trim().parse::<u64>() else { return false };
    let text = Value::Text(format!("{}MiB", mebibytes.clamp(1, 1 << 20)));
    app.table.set("recycle_memory", text, from(found));
    true
}

fn word(table: &mut Table, key: &'static str, found: &Found<'_>, known: &[&str]) -> bool {
    let text = found.text.trim().to_ascii_lowercase();
    if !known.contains(&text.as_str()) {
        return false;
    }
    if text != "auto" {
        table.set(key, Value::Text(text), from(found));
    }
    true
}

/// gunicorn's and hypercorn's kinds of workers.
fn worker_class(found: &Found<'_>, app: &mut App) {
    let Found { name, text, place, .. } = *found;
    let mut concurrency = |word: &str| {
        app.table.set("concurrency", Value::Text(word.to_owned()), format!("{place}: {name} {text}"));
    };
    match text {
        "sync" => {}
        "gthread" => concurrency("threads"),
        "asgi" | "asyncio" => concurrency("async"),
        "uvloop" => app.table.set("loop", Value::Text("uvloop".to_owned()), format!("{place}: {name}")),
        "gevent" | "eventlet" | "gevent_pywsgi" => app.table.note(format!(
            "{place}: {name} {text}: there are no green threads here; threads = N runs N requests at a time in each worker"
        )),
        _ if text.to_ascii_lowercase().contains("uvicorn") => concurrency("async"),
        _ => app.table.note(format!("{place}: {name} {text}: there is no such kind of worker here")),
    }
}

fn interface(found: &Found<'_>, app: &mut App) -> bool {
    let Found { name, text, place, .. } = found;
    match *text {
        "auto" => {}
        "wsgi" => app.table.set("interface", Value::Text("wsgi".to_owned()), from(found)),
        "asgi" | "asgi3" => app.table.set("interface", Value::Text("asgi".to_owned()), from(found)),
        "asginl" => {
            app.table.set("interface", Value::Text("asgi".to_owned()), from(found));
            app.table.set("lifespan", Value::Text("off".to_owned()), from(found));
        }
        "asgi2" | "rsgi" => {
            app.table.note(format!("{place}: {name} {text}: only WSGI and ASGI 3 can be hosted"));
        }
        _ => return false,
    }
    true
}

fn event_loop(found: &Found<'_>, app: &mut App) -> bool {
    if ["rloop", "winloop", "trio"].contains(&found.text) || found.text.contains(':') {
        not_carried(found, "the event loop is uvloop or asyncio here", app);
        return true;
    }
    found.text == "none" || word(&mut app.table, "loop", found, &["auto", "asyncio", "uvloop"])
}

fn forwarded(found: &Found<'_>, draft: &mut Draft) -> bool {
    let list: Vec<&str> = found.text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    let list = list.join(",");
    let legal = router::TrustedProxies::parse(&list).is_ok();
    if legal {
        draft.host.set("forwarded_allow_ips", Value::Text(list), from(found));
    }
    legal
}

fn access_log(found: &Found<'_>, draft: &mut Draft) -> bool {
    let legal = !found.text.is_empty() && !found.text.contains(['$', '\0']);
    if legal {
        draft.host.set("access_log", Value::Text(found.text.to_owned()), from(found));
    }
    legal
}

fn log_level(found: &Found<'_>, draft: &mut Draft) -> bool {
    let level = match found.text.to_ascii_lowercase().as_str() {
        "critical" | "error" => "error",
        "warning" | "warn" => "warning",
        "info" => "info",
        "debug" | "trace" => "debug",
        _ => return false,
    };
    if level != "info" {
        draft.host.set("log_level", Value::Text(level.to_owned()), from(found));
    }
    true
}

/// "/prefix" without a slash at its end.
fn route_prefix(text: &str) -> String {
    let inner = text.trim_matches('/');
    if inner.is_empty() { "*".to_owned() } else { format!("/{inner}") }
}

fn is_switch(text: &str) -> bool {
    matches!(text, "True" | "true" | "")
}

fn is_on(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(meaning: Meaning, text: &str) -> (bool, Draft, App) {
        let (mut draft, mut app) = (Draft::default(), App::default());
        let found = Found { name: "--it", text, place: "file, line 1", remark: "" };
        let understood = apply(meaning, &found, &mut draft, &mut app);
        (understood, draft, app)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn halves_of_an_address_are_put_together() {
        for (host, port, expected) in [("::1", "80", "[::1]:80"), ("", "80", "h:80"), ("a", "", "a:1")] {
            let (mut draft, mut app) = (Draft::default(), App::default());
            for (meaning, text) in [(Meaning::Host, host), (Meaning::Port, port)] {
                if !text.is_empty() {
                    let found = Found { name: "", text, place: "p", remark: "" };
                    assert!(apply(meaning, &found, &mut draft, &mut app));
                }
            }
            finish(&mut draft, &mut app, "h", "1");
            let expected = [("listen", Value::Texts(vec![expected.to_owned()]))];
            let found: Vec<_> =
                draft.host.settings.iter().map(|setting| (setting.key, setting.value.clone())).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn numbers_and_times_stay_within_bounds() {
        assert_eq!(applied(Meaning::Workers, "5000").2.table.get("workers"), Some(&Value::Integer(1024)));
        assert_eq!(applied(Meaning::Workers, "0").2.table.get("workers"), Some(&Value::Integer(1)));
        assert!(!applied(Meaning::Workers, "many").0);
        let cases = [("30", "30s"), ("0.5", "500ms"), ("1.5", "1500ms"), ("90.0", "90s"), ("0", "none")];
        for (found, expected) in cases {
            let (_, _, app) = applied(Meaning::RequestTimeout, found);
            assert_eq!(app.limits.get("request_timeout"), Some(&text(expected)), "{found}");
        }
        for bad in ["-1", "x", "nan", "inf", "1e9", "0.0001"] {
            assert!(!applied(Meaning::RequestTimeout, bad).0, "{bad}");
        }
        assert!(applied(Meaning::GracefulTimeout, "0").2.table.notes[0].contains("always a time"));
        assert_eq!(applied(Meaning::BodySize, "1048576").2.limits.get("body_size"), Some(&text("1MiB")));
        assert_eq!(applied(Meaning::HeaderSize, "0").2.limits.get("header_size"), Some(&text("128KiB")));
        assert!(applied(Meaning::HeaderSize, "8190").2.limits.notes[0].contains("--it 8190"));
        assert_eq!(
            applied(Meaning::RecycleMemory, "300").2.table.get("recycle_memory"),
            Some(&text("300MiB"))
        );
    }

    #[test]
    fn kinds_of_workers_are_our_concurrency() {
        let cases = [("gthread", "threads"), ("uvicorn.workers.UvicornWorker", "async"), ("asgi", "async")];
        for (class, expected) in cases {
            let (_, _, app) = applied(Meaning::WorkerClass, class);
            assert_eq!(app.table.get("concurrency"), Some(&text(expected)), "{class}");
        }
        assert!(applied(Meaning::WorkerClass, "gevent").2.table.notes[0].contains("green threads"));
        assert!(applied(Meaning::WorkerClass, "my.Worker").2.table.notes[0].contains("no such kind"));
    }

    #[test]
    fn threads_and_event_loops_exclude_each_other() {
        let (_, mut draft, mut app) = applied(Meaning::Threads, "4");
        app.table.set("concurrency", text("async"), "");
        finish(&mut draft, &mut app, "", "");
        assert_eq!(app.table.get("threads"), None);
        assert_eq!(app.table.notes.len(), 1);
    }

    #[test]
    fn words_are_checked() {
        assert_eq!(applied(Meaning::LogLevel, "CRITICAL").1.host.get("log_level"), Some(&text("error")));
        assert_eq!(applied(Meaning::Lifespan, "off").2.table.get("lifespan"), Some(&text("off")));
        assert_eq!(applied(Meaning::EventLoop, "uvloop").2.table.get("loop"), Some(&text("uvloop")));
        assert!(applied(Meaning::EventLoop, "rloop").2.table.notes[0].contains("uvloop or asyncio"));
        let (_, _, app) = applied(Meaning::Interface, "asginl");
        assert_eq!(
            (app.table.get("interface"), app.table.get("lifespan")),
            (Some(&text("asgi")), Some(&text("off")))
        );
        assert!(applied(Meaning::Interface, "rsgi").2.table.notes[0].contains("ASGI 3"));
        for (meaning, bad) in [
            (Meaning::LogLevel, "loud"),
            (Meaning::Lifespan, "x"),
            (Meaning::EventLoop, "x"),
            (Meaning::Interface, "x"),
            (Meaning::ForwardedAllowIps, "1.2.3"),
            (Meaning::Env, "=x"),
            (Meaning::Env, "x"),
        ] {
            assert!(!applied(meaning, bad).0, "{meaning:?} {bad}");
        }
    }
}
