//! The screen as text, from made-up pictures.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::super::state::{Key, Picture, State};
use super::draw;

fn app(name: &str, requests: u64, cpu: f64, memory: u64) -> serde_json::Value {
    json!({
        "name": name, "app": "shop:app", "tenancy": "shared", "concurrency": "threads", "state": "serving", "generation": 1,
        "routes": ["/"], "target": 1,
        "workers": [{ "id": name.len(), "pid": 4_000, "state": "serving", "generation": 1, "requests": requests,
            "memory_bytes": memory, "cpu_seconds": cpu }],
        "queue": { "depth": 3, "limit": 100 },
        "requests": { "total": requests, "failed": 0, "replayed": 0 },
        "latency_ms": { "p50": 1.5, "p95": 12.0, "p99": null },
        "limits": { "cpu_cores": 0.5, "memory_bytes": 100 << 20, "processes": 1, "open_files": 1, "connections": 1,
            "request_timeout_seconds": null, "queue_timeout_seconds": 1.0 },
        "cpu": { "throttled_ms": requests }, "pressure": { "cpu": 3.0, "io": null, "memory": 0.0 },
        "memory_bytes": memory, "unenforced": [], "partly_enforced": [], "next_attempt_seconds": null, "last_error": null, "respawns": 0,
        "dropped_log_lines": 0, "incidents": [],
    })
}

fn picture(at: Instant, apps: &[serde_json::Value]) -> Picture {
    let host = json!({ "version": "0.1.0", "pid": 1, "state": "serving", "uptime_seconds": 60.0, "file": null,
        "generation": 1, "listeners": [], "state_directory": "/s", "memory_bytes": 1 << 20 });
    let incident = json!({ "id": "N11-36NPJZM01", "also": [], "code": "N11", "title": "queue full", "cause": "limit",
        "severity": "error", "state": "open", "app": "shop", "worker": null, "worker_pid": null, "at": "", "last_at": "",
        "closed_at": null, "count": 7, "resource": null, "limit": null, "used": null, "requests": [], "evidence": {},
        "sentence": "the queue of shop was full\u{1b}[2J", "remedy": "more workers" });
    Picture {
        at,
        status: serde_json::from_value(json!({ "host": host, "apps": apps })).unwrap(),
        incidents: vec![serde_json::from_value(incident).unwrap()],
        routes: None,
    }
}

fn screen(state: &State) -> String {
    let mut terminal = Terminal::new(TestBackend::new(150, 24)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    terminal.backend().to_string()
}

fn two_pictures() -> State {
    let start = Instant::now();
    let before = vec![app("shop", 100, 1.0, 50 << 20), app("news", 0, 0.0, 95 << 20)];
    let after = vec![app("shop", 300, 1.5, 60 << 20), app("news", 0, 0.0, 95 << 20)];
    let mut state = State::new(picture(start, &before), None);
    state.take(picture(start + Duration::from_secs(2), &after));
    state
}

#[test]
fn applications_with_what_changed_per_second() {
    let text = screen(&two_pictures());
    let line = text.lines().find(|line| line.contains("shop ")).unwrap();
    for part in ["shared", "threads", "1/1", "100.0", "3/100", "0.25/0.5", "T10%", "60", "3 - 0"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(text.contains("2 applications, 2 workers, sorted by name, 1 open incidents"), "{text}");
}

#[test]
fn keys_sort_choose_and_open() {
    let mut state = two_pictures();
    let first = |state: &State| state.apps()[0].name.clone();
    assert_eq!(first(&state), "news");
    state.press(Key::NextOrder);
    assert_eq!(first(&state), "shop");
    state.press(Key::Reverse);
    assert_eq!(first(&state), "news");
    state.press(Key::Reverse);
    // The choice stays with its application, wherever that is sorted to.
    assert_eq!(state.selected(), Some(0));
    state.press(Key::Down);
    state.press(Key::Down);
    assert_eq!(state.selected(), Some(1));
    state.press(Key::Up);
    state.press(Key::Open);
    assert_eq!(state.detail(), Some("shop"));
    let text = screen(&state);
    assert!(text.contains("4000") && text.contains("N11-36NPJZM01") && text.contains("(7 times)"), "{text}");
    assert!(text.contains("to do: more workers"), "{text}");
    state.press(Key::Back);
    assert_eq!(state.detail(), None);
    state.press(Key::Help);
    assert!(screen(&state).contains("the host goes on"));
}

#[test]
fn what_clients_write_is_harmless_and_a_lost_host_is_said() {
    let mut state = two_pictures();
    state.press(Key::Incidents);
    let text = screen(&state);
    assert!(!text.contains('\u{1b}') && text.contains("the queue of shop was full"), "{text}");
    state.lost("the host does not answer".to_owned());
    assert!(screen(&state).contains("no newer picture: the host does not answer"));
}
