//! Metrics as text: Prometheus text format 0.0.4, or OpenMetrics 1.0.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>. Names end in their base unit (seconds, bytes), counters in
//! `_total`. An application that never had a request has no histograms, so that a thousand sleeping ones stay readable.

use std::fmt::{self, Display, Write as _};

use super::metrics::{AppMetrics, Histogram, MetricsSnapshot, WorkerMetrics};
use super::types::WorkerState;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Prometheus,
    OpenMetrics,
}

impl Form {
    /// What the caller would like, from its Accept field.
    pub(super) fn accepted(accept: &[u8]) -> Form {
        let wanted =
            std::str::from_utf8(accept).is_ok_and(|text| text.contains("application/openmetrics-text"));
        if wanted { Form::OpenMetrics } else { Form::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Form::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

pub(super) fn write(snapshot: &MetricsSnapshot, form: Form) -> String {
    let mut text =
        Text { out: String::with_capacity(1024 + 2048 * snapshot.apps.len()), form, family: String::new() };
    write_host(&mut text, snapshot);
    write_apps(&mut text, &snapshot.apps);
    write_latency(&mut text, &snapshot.apps);
    write_workers(&mut text, &snapshot.apps);
    if form == Form::OpenMetrics {
        text.out.push_str("# EOF\n");
    }
    text.out
}

fn write_host(text: &mut Text, snapshot: &MetricsSnapshot) {
    let host = &snapshot.host;
    text.family("serpentry_build_info", Kind::Gauge, "The version that runs; always 1.");
    text.sample("", &[("version", &host.version)], 1);
    text.family("serpentry_uptime_seconds", Kind::Gauge, "Time since the host was started.");
    text.sample("", &[], host.uptime.as_secs_f64());
    text.family("serpentry_configuration_generation", Kind::Gauge, "How often a configuration was applied.");
    text.sample("", &[], host.generation);
    text.family("serpentry_connections", Kind::Gauge, "Open client connections.");
    text.sample("", &[], host.connections);
    if let Some(bytes) = host.memory_bytes {
        text.family(
            "serpentry_memory_bytes",
            Kind::Gauge,
            "Resident memory of the host without its workers.",
        );
        text.sample("", &[], bytes);
    }
    if let Some(cpu) = host.cpu {
        text.family("serpentry_cpu_seconds", Kind::Counter, "CPU time of the host without its workers.");
        text.sample("_total", &[], cpu.as_secs_f64());
    }
    text.family("serpentry_unrouted_requests", Kind::Counter, "Requests that matched no application.");
    for (status, count) in &host.unrouted {
        text.sample("_total", &[("status", &status.to_string())], count);
    }
    text.family(
        "serpentry_incidents",
        Kind::Counter,
        "Incidents opened that concern no application, by code.",
    );
    for (code, count) in &host.incidents {
        text.sample("_total", &[("code", code)], count);
    }
}

fn write_apps(text: &mut Text, apps: &[AppMetrics]) {
    text.family("serpentry_app_state", Kind::Gauge, "What the application is doing; always 1.");
    for app in apps {
        text.sample("", &[("app", &app.name), ("state", &name(app.state))], 1);
    }
    type Number = fn(&AppMetrics) -> u64;
    let gauges: [(&str, &str, Number); 6] = [
        ("generation", "The version that serves.", |app| app.generation),
        ("workers_target", "Workers wanted.", |app| app.target.into()),
        ("queue_requests", "Requests that wait for a worker.", |app| app.queue_depth),
        ("queue_limit_requests", "Requests that may wait for a worker.", |app| app.queue_limit),
        ("running_requests", "Requests inside workers.", |app| app.running),
        ("open_incidents", "Incidents that are open.", |app| app.open_incidents),
    ];
    for (metric, help, number) in gauges {
        text.family(&format!("serpentry_app_{metric}"), Kind::Gauge, help);
        for app in apps {
            text.sample("", &[("app", &app.name)], number(app));
        }
    }
    text.family("serpentry_app_workers", Kind::Gauge, "Workers by state.");
    for app in apps {
        use WorkerState::{Draining, Serving, Starting, Stopping};
        for state in [Starting, Serving, Draining, Stopping] {
            let count = app.workers.iter().filter(|worker| worker.state == state).count();
            text.sample("", &[("app", &app.name), ("state", &name(state))], count);
        }
    }
    let counters: [(&str, &str, Number); 5] = [
        ("failed_requests", "Requests answered 5xx by the host instead of the application.", |app| {
            app.failed
        }),
        ("replayed_requests", "Requests run again because their worker was lost.", |app| app.replayed),
        ("request_bytes", "Bytes of requests from clients.", |app| app.bytes_in),
        ("response_bytes", "Bytes of answers to clients.", |app| app.bytes_out),
        ("dropped_log_lines", "Lines of output that were not written.", |app| app.dropped_log_lines),
    ];
    for (metric, help, number) in counters {
        text.family(&format!("serpentry_app_{metric}"), Kind::Counter, help);
        for app in apps {
            text.sample("_total", &[("app", &app.name)], number(app));
        }
    }
    text.family("serpentry_app_requests", Kind::Counter, "Finished requests by status of the answer.");
    for app in apps {
        for (status, count) in &app.requests {
            text.sample("_total", &[("app", &app.name), ("status", &status.to_string())], count);
        }
    }
    text.family("serpentry_app_refused_requests", Kind::Counter, "Requests that no worker saw, by reason.");
    for app in apps {
        for (reason, count) in &app.refused {
            text.sample("_total", &[("app", &app.name), ("reason", reason)], count);
        }
    }
    text.family(
        "serpentry_app_incidents",
        Kind::Counter,
        "Incidents opened, by code (serpentry explain CODE).",
    );
    for app in apps {
        for (code, count) in &app.incidents {
            text.sample("_total", &[("app", &app.name), ("code", code)], count);
        }
    }
    text.family("serpentry_app_respawns", Kind::Counter, "Workers started in place of others, by cause.");
    for app in apps {
        for (cause, count) in &app.respawns {
            text.sample("_total", &[("app", &app.name), ("cause", cause)], count);
        }
    }
}

fn write_latency(text: &mut Text, apps: &[AppMetrics]) {
    let help =
        "Latency by phase: waiting for a worker, inside the application, and from arrival to the last byte.";
    text.family("serpentry_app_phase_seconds", Kind::Histogram, help);
    for app in apps {
        for (phase, histogram) in [("queued", &app.queued), ("service", &app.service), ("total", &app.total)]
        {
            if histogram.count() > 0 {
                write_histogram(text, &[("app", &app.name), ("phase", phase)], histogram);
            }
        }
    }
}

fn write_histogram(text: &mut Text, labels: &[(&str, &str)], histogram: &Histogram) {
    for (bound, count) in histogram.cumulative() {
        let bound = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() };
        let labels = [labels, &[("le", &bound)]].concat();
        text.sample("_bucket", &labels, count);
    }
    text.sample("_sum", labels, histogram.sum());
    text.sample("_count", labels, histogram.count());
}

fn write_workers(text: &mut Text, apps: &[AppMetrics]) {
    let mut family =
        |metric: &str, kind, help: &str, samples: &dyn Fn(&mut Text, &Labels<'_>, &WorkerMetrics)| {
            text.family(&format!("serpentry_worker_{metric}"), kind, help);
            for app in apps {
                for worker in &app.workers {
                    samples(text, &Labels { app: &app.name, worker: worker.id.to_string() }, worker);
                }
            }
        };
    family("process_info", Kind::Gauge, "The worker's process; always 1.", &|text, labels, worker| {
        let pid = worker.pid.map(|pid| pid.to_string()).unwrap_or_default();
        labels.sample(text, "", &[("pid", &pid), ("state", &name(worker.state))], 1);
    });
    family(
        "requests",
        Kind::Counter,
        "Finished requests by status of the answer.",
        &|text, labels, worker| {
            for (status, count) in &worker.requests {
                labels.sample(text, "_total", &[("status", &status.to_string())], count);
            }
        },
    );
    family("busy_seconds", Kind::Counter, "Time with a request inside.", &|text, labels, worker| {
        labels.sample(text, "_total", &[], worker.busy.as_secs_f64());
    });
    family("idle_seconds", Kind::Counter, "Time without a request inside.", &|text, labels, worker| {
        labels.sample(text, "_total", &[], worker.idle.as_secs_f64());
    });
    family("memory_bytes", Kind::Gauge, "Resident memory.", &|text, labels, worker| {
        if let Some(bytes) = worker.memory_bytes {
            labels.sample(text, "", &[], bytes);
        }
    });
    family("cpu_seconds", Kind::Counter, "CPU time.", &|text, labels, worker| {
        if let Some(cpu) = worker.cpu {
            labels.sample(text, "_total", &[], cpu.as_secs_f64());
        }
    });
}

/// Which worker a sample is about.
struct Labels<'a> {
    app: &'a str,
    worker: String,
}

impl Labels<'_> {
    fn sample(&self, text: &mut Text, suffix: &str, more: &[(&str, &str)], value: impl Display) {
        let labels = [&[("app", self.app), ("worker", &self.worker)], more].concat();
        text.sample(suffix, &labels, value);
    }
}

/// The name of a state as it is in the JSON.
fn name(state: impl serde::Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text as it grows. Samples belong to the family before them.
struct Text {
    out: String,
    form: Form,
    family: String,
}

impl Text {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        name.clone_into(&mut self.family);
        // The two formats disagree on whether the suffix belongs to a counter's name.
        let suffix = if kind == Kind::Counter && self.form == Form::Prometheus { "_total" } else { "" };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.put(format_args!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(&self.family);
        self.out.push_str(suffix);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            self.put(format_args!("{before}{label}=\"{}\"", Escaped(text)));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{after} {value}\n"));
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        // Writing into a string does not fail.
        let _ = self.out.write_fmt(text);
    }
}

/// A label's value: backslash, quote and line feed are escaped, everything else is itself.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
