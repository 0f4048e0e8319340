//! The text against the formats' rules, and word for word where it matters.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::control::metrics::HostMetrics;
use crate::control::types::AppState;

fn app(app: &str) -> AppMetrics {
    AppMetrics {
        name: app.to_owned(),
        state: AppState::BackingOff,
        generation: 3,
        target: 2,
        requests: vec![(200, 7), (503, 1)],
        failed: 1,
        replayed: 2,
        refused: vec![("queue full".to_owned(), 4)],
        bytes_in: 10,
        bytes_out: 20,
        queue_depth: 5,
        queue_limit: 100,
        running: 1,
        queued: Histogram::default(),
        service: Histogram::default(),
        total: Histogram::default(),
        respawns: vec![("exited".to_owned(), 1)],
        incidents: vec![("N11".to_owned(), 2)],
        open_incidents: 1,
        dropped_log_lines: 6,
        workers: vec![WorkerMetrics {
            id: 9,
            pid: Some(1234),
            state: WorkerState::Draining,
            requests: vec![(200, 7)],
            busy: Duration::from_millis(1500),
            idle: Duration::from_secs(10),
            memory_bytes: Some(4096),
            cpu: None,
        }],
    }
}

fn snapshot() -> MetricsSnapshot {
    let mut shop = app("shop");
    shop.total.add(0.003, 8);
    let host = HostMetrics { version: "1.2.3".to_owned(), connections: 12, ..HostMetrics::default() };
    MetricsSnapshot { host, apps: vec![shop, app("a\\b\"c\nd")] }
}

#[test]
fn samples_are_as_the_documentation_says() {
    let text = write(&snapshot(), Form::Prometheus);
    for line in [
        "# TYPE serpentry_app_requests_total counter",
        "serpentry_build_info{version=\"1.2.3\"} 1",
        "serpentry_uptime_seconds 0",
        "serpentry_app_state{app=\"shop\",state=\"backing off\"} 1",
        "serpentry_app_requests_total{app=\"shop\",status=\"503\"} 1",
        "serpentry_app_refused_requests_total{app=\"shop\",reason=\"queue full\"} 4",
        "serpentry_app_respawns_total{app=\"shop\",cause=\"exited\"} 1",
        "serpentry_app_queue_requests{app=\"shop\"} 5",
        "serpentry_app_workers{app=\"shop\",state=\"draining\"} 1",
        "serpentry_app_workers{app=\"shop\",state=\"serving\"} 0",
        "serpentry_app_phase_seconds_bucket{app=\"shop\",phase=\"total\",le=\"0.0025\"} 0",
        "serpentry_app_phase_seconds_bucket{app=\"shop\",phase=\"total\",le=\"0.005\"} 8",
        "serpentry_app_phase_seconds_bucket{app=\"shop\",phase=\"total\",le=\"1.0\"} 8",
        "serpentry_app_phase_seconds_bucket{app=\"shop\",phase=\"total\",le=\"+Inf\"} 8",
        "serpentry_app_phase_seconds_sum{app=\"shop\",phase=\"total\"} 0.024",
        "serpentry_app_phase_seconds_count{app=\"shop\",phase=\"total\"} 8",
        "serpentry_worker_process_info{app=\"shop\",worker=\"9\",pid=\"1234\",state=\"draining\"} 1",
        "serpentry_worker_busy_seconds_total{app=\"shop\",worker=\"9\"} 1.5",
        "serpentry_worker_memory_bytes{app=\"shop\",worker=\"9\"} 4096",
        "serpentry_app_generation{app=\"a\\\\b\\\"c\\nd\"} 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    assert!(!text.contains("phase=\"queued\""), "an empty histogram is left out");
    assert!(!text.contains("serpentry_worker_cpu_seconds_total{"), "what is not known is left out");
}

/// Rules common to both formats: a family is one block that begins with HELP and TYPE, its samples have its name, and no
/// series comes twice.
fn check(text: &str, form: Form) {
    let (mut family, mut kind) = (String::new(), String::new());
    let (mut families, mut series) = (HashSet::new(), HashSet::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap().to_owned();
            assert!(families.insert(family.clone()), "{family} comes twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (of, is) = rest.split_once(' ').unwrap();
            assert_eq!(of, family);
            kind = is.to_owned();
            assert_eq!(family.ends_with("_total"), kind == "counter" && form == Form::Prometheus, "{line}");
        } else if line != "# EOF" {
            let (found, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            assert!(series.insert(found.to_owned()), "{found} comes twice");
            let suffix = found.split('{').next().unwrap().strip_prefix(&family).unwrap();
            let fits = match (kind.as_str(), form) {
                ("histogram", _) => ["_bucket", "_sum", "_count"].contains(&suffix),
                ("counter", Form::OpenMetrics) => suffix == "_total",
                _ => suffix.is_empty(),
            };
            assert!(fits, "{line} in the family {family}");
        }
    }
}

#[test]
fn both_formats_keep_their_rules() {
    let text = write(&snapshot(), Form::Prometheus);
    check(&text, Form::Prometheus);
    assert!(!text.contains("# EOF"));
    let text = write(&snapshot(), Form::OpenMetrics);
    check(&text, Form::OpenMetrics);
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn the_callers_wish_decides_the_format() {
    let prometheus = b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4";
    assert_eq!(Form::accepted(prometheus), Form::OpenMetrics);
    for accept in [&b""[..], b"text/plain", b"*/*", b"\xff"] {
        assert_eq!(Form::accepted(accept), Form::Prometheus, "{accept:?}");
    }
}
