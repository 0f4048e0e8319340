//! A resolved plan as a file that says everything, each line with where its value came from.
//!
//! It is valid TOML, and read again it gives the same plan: nothing in it depends on where it lies or on the environment.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::origin::{Origins, Place};
use crate::plan::{App, Host, Limits, Plan, Rate, Workers};
use crate::table::{APP, HOST, LIMITS};
use crate::units::{show_bandwidth, show_duration, show_rate, show_size};

/// Where the remarks begin, if the line is not longer.
const REMARK: usize = 44;

const NONE: &str = "\"none\"";

/// The plan as text.
pub fn print(plan: &Plan, origins: &Origins) -> String {
    let mut text = String::from("[host]\n");
    for setting in HOST.settings {
        line(&mut text, setting.name, host_value(&plan.host, setting.name), &|key| {
            origins.origin(Place::Host, key).to_string()
        });
    }
    for app in &plan.apps {
        let begins = origins.line(&app.name).map(|line| format!("from line {line}")).unwrap_or_default();
        remarked(&mut text, &format!("\n[apps.{}]", app.name), &begins);
        let origin = |key: &str| origins.origin(Place::App(&app.name), key).to_string();
        for setting in APP.settings.iter().filter(|setting| setting.name != "limits") {
            line(&mut text, setting.name, app_value(app, setting.name), &origin);
        }
        let _ = writeln!(text, "\n[apps.{}.limits]", app.name);
        for setting in LIMITS.settings {
            let origin = |key: &str| origin(&format!("limits.{key}"));
            line(&mut text, setting.name, limit_value(&app.limits, setting.name), &origin);
        }
    }
    text
}

/// One setting; as a remark only, if there is no way to say its value.
fn line(text: &mut String, name: &str, value: Option<String>, origin: &dyn Fn(&str) -> String) {
    match value {
        Some(value) => remarked(text, &format!("{name} = {value}"), &origin(name)),
        None => remarked(text, &format!("# {name}:"), unsaid(name)),
    }
}

/// What it means that a setting has no value.
fn unsaid(name: &str) -> &'static str {
    match name {
        "python" => "found in the directory or in PATH",
        "user" => "the host's if shared, one of its own if isolated",
        _ => "none",
    }
}

fn remarked(text: &mut String, code: &str, remark: &str) {
    let width = REMARK + code.len() - code.trim_start().len();
    let _ = writeln!(text, "{code:width$} # {remark}");
}

fn host_value(host: &Host, name: &str) -> Option<String> {
    Some(match name {
        "listen" => list(host.listen.iter().map(|address| quoted(address))),
        "state" => path(&host.state),
        "connections" => host.connections.to_string(),
        "forwarded_allow_ips" => quoted(&host.forwarded_allow_ips),
        "access_log" => host.access_log.as_deref().map_or(NONE.to_owned(), path),
        "access_log_format" => quoted(&host.access_log_format.to_string()),
        "default_app" => quoted(host.default_app.as_ref()?),
        "graceful_timeout" => time(host.graceful_timeout),
        "log_level" => quoted(&host.log_level.to_string()),
        "log_size" => quoted(&show_size(host.log_size)),
        "log_files" => host.log_files.to_string(),
        "pool_cpu" => host.pool_cpu.map_or(NONE.to_owned(), |cores| cores.to_string()),
        "pool_memory" => size(host.pool_memory),
        "on_incident" => host.on_incident.as_ref().map_or(NONE.to_owned(), |hook| quoted(&hook.to_string())),
        _ => return None,
    })
}

fn app_value(app: &App, name: &str) -> Option<String> {
    Some(match name {
        "app" => quoted(&app.app),
        "factory" => app.factory.to_string(),
        "directory" => path(&app.directory),
        "python" => path(app.python.as_deref()?),
        "routes" => list(app.routes.iter().map(|route| quoted(&route.to_string()))),
        "tenancy" => quoted(&app.tenancy.to_string()),
        "user" => quoted(app.user.as_ref()?),
        "enforce" => quoted(&app.enforce.to_string()),
        "interface" => quoted(&app.interface.to_string()),
        "concurrency" => quoted(&app.concurrency.to_string()),
        "threads" => app.threads.to_string(),
        "lifespan" => quoted(&app.lifespan.to_string()),
        "loop" => quoted(&app.event_loop.to_string()),
        "workers" => workers(app.workers),
        "preload" => app.preload.to_string(),
        "env" => table(app.env.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)))),
        "max_requests" => app.max_requests.map_or(NONE.to_owned(), |count| count.to_string()),
        "max_requests_jitter" => app.max_requests_jitter.to_string(),
        "recycle_memory" => size(app.recycle_memory),
        "start_timeout" => time(app.start_timeout),
        "graceful_timeout" => time(app.graceful_timeout),
        "retry_budget" => app.retry_budget.to_string(),
        "server_timing" => app.server_timing.to_string(),
        "overrides" => overrides(app),
        _ => return None,
    })
}

fn limit_value(limits: &Limits, name: &str) -> Option<String> {
    let bandwidth =
        |value: Option<u64>| value.map_or(NONE.to_owned(), |bytes| quoted(&show_bandwidth(bytes)));
    let rate = |value: Option<Rate>| value.map_or(NONE.to_owned(), |rate| quoted(&show_rate(rate)));
    Some(match name {
        "cpu" => limits.cpu.map_or(NONE.to_owned(), |cores| cores.to_string()),
        "cpu_weight" => limits.cpu_weight.to_string(),
        "memory" => size(limits.memory),
        "disk_read" => rate(limits.disk_read),
        "disk_write" => rate(limits.disk_write),
        "disk_space" => size(limits.disk_space),
        "processes" => limits.processes.to_string(),
        "open_files" => limits.open_files.to_string(),
        "connections" => limits.connections.to_string(),
        "queue" => limits.queue.to_string(),
        "queue_timeout" => time(limits.queue_timeout),
        "request_timeout" => optional_time(limits.request_timeout),
        "first_byte_timeout" => optional_time(limits.first_byte_timeout),
        "header_timeout" => time(limits.header_timeout),
        "body_timeout" => time(limits.body_timeout),
        "keepalive_timeout" => time(limits.keepalive_timeout),
        "header_size" => size(Some(limits.header_size)),
        "body_size" => size(Some(limits.body_size)),
        "bandwidth_in" => bandwidth(limits.bandwidth_in),
        "bandwidth_out" => bandwidth(limits.bandwidth_out),
        "socket_buffers" => size(limits.socket_buffers),
        "egress" => quoted(&limits.egress.to_string()),
        "message_size" => size(Some(limits.message_size)),
        _ => return None,
    })
}

fn workers(workers: Workers) -> String {
    format!("{{ min = {}, max = {}, idle = {} }}", workers.min, workers.max, time(workers.idle))
}

fn overrides(app: &App) -> String {
    list(app.overrides.iter().map(|over| {
        let times =
            [("request_timeout", over.request_timeout), ("first_byte_timeout", over.first_byte_timeout)];
        let times =
            times.into_iter().filter_map(|(name, said)| Some(format!("{name} = {}", optional_time(said?))));
        let body = over.body_size.map(|bytes| format!("body_size = {}", size(Some(bytes))));
        table(std::iter::once(format!("prefix = {}", quoted(&over.prefix))).chain(times).chain(body))
    }))
}

fn time(duration: Duration) -> String {
    quoted(&show_duration(duration))
}

fn optional_time(duration: Option<Duration>) -> String {
    duration.map_or(NONE.to_owned(), time)
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or(NONE.to_owned(), |bytes| quoted(&show_size(bytes)))
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn table(items: impl Iterator<Item = String>) -> String {
    let items = items.collect::<Vec<_>>().join(", ");
    if items.is_empty() { "{}".to_owned() } else { format!("{{ {items} }}") }
}

/// A basic string: TOML 1.0, section "String".
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
