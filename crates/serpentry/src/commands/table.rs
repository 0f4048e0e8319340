//! What `status` prints for people. Pure: from the host's answer to text.
//!
//! Texts that come from applications (errors, tracebacks) are made harmless for terminals first.

mod routes;

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use serpentry::control::{AppState, AppStatus, HostState, Severity, Status, WorkerState, WorkerStatus};

pub(super) use routes::routes;

/// How the output may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) terminal: bool,
    pub(crate) colour: bool,
}

impl Style {
    /// Colours for terminals only, and not if `NO_COLOR` is set (<https://no-color.org>).
    pub(crate) fn of_stdout() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Style { terminal, colour }
    }
}

/// One cell; coloured ones are as wide as others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    /// SGR parameter (ECMA-48), for example "31" for red.
    colour: Option<&'static str>,
    right: bool,
}

pub(crate) fn left(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), colour: None, right: false }
}

pub(crate) fn right(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), colour: None, right: true }
}

pub(crate) fn coloured(text: impl Into<String>, colour: Option<&'static str>) -> Cell {
    Cell { text: text.into(), colour, right: false }
}

/// The host and a line for each application, then what is wrong with whom.
pub(super) fn all(status: &Status, style: Style) -> String {
    let host = &status.host;
    let state = match host.state {
        HostState::Starting => "starting",
        HostState::Serving => "serving",
        HostState::Reloading => "reloading",
        HostState::Stopping => "stopping",
    };
    let mut text = format!(
        "serpentry {}, pid {}, {state}, up {}, {}\nlistening on {}\n\n",
        printable(&host.version),
        host.pid,
        duration(host.uptime_seconds),
        host.memory_bytes.map_or("memory unknown".to_owned(), size),
        printable(&host.listeners.join(", ")),
    );
    text.push_str(&apps(&status.apps, style));
    let troubles: Vec<String> =
        status.apps.iter().flat_map(|app| trouble(app).into_iter().chain(incidents(app, style))).collect();
    if !troubles.is_empty() {
        text.push('\n');
        text.extend(troubles);
    }
    text
}

/// One application with all that is known of it.
pub(super) fn one(app: &AppStatus, style: Style) -> String {
    let mut text = apps(std::slice::from_ref(app), style);
    let _ = writeln!(text, "\nroutes: {}", or_none(&printable(&app.routes.join(", "))));
    let _ = writeln!(
        text,
        "generation {}, {}, {} replayed, {} dropped",
        app.generation,
        count(usize::try_from(app.respawns).unwrap_or(usize::MAX), "respawn"),
        count(usize::try_from(app.requests.replayed).unwrap_or(usize::MAX), "request"),
        count(usize::try_from(app.dropped_log_lines).unwrap_or(usize::MAX), "log line"),
    );
    if !app.workers.is_empty() {
        text.push('\n');
        text.push_str(&workers(&app.workers, style));
    }
    if let Some(trouble) = trouble(app) {
        let _ = write!(text, "\n{trouble}");
    }
    let incidents: String = incidents(app, style).collect();
    if !incidents.is_empty() {
        let _ = write!(text, "\n{incidents}");
    }
    if let Some(traceback) = app.last_error.as_ref().and_then(|error| error.traceback.as_ref()) {
        let _ = write!(text, "\n{}\n", printable(traceback.trim_end()));
    }
    text
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn apps(apps: &[AppStatus], style: Style) -> String {
    let titles = [
        left("APP"),
        left("STATE"),
        left("TENANCY"),
        left("CONCURRENCY"),
        right("WORKERS"),
        right("REQUESTS"),
        right("FAILED"),
        right("P50"),
        right("P95"),
        right("P99"),
        right("QUEUE"),
        right("MEMORY"),
    ];
    let rows = apps.iter().map(|app| {
        let serving = app.workers.iter().filter(|worker| worker.state == WorkerState::Serving).count();
        vec![
            left(printable(&app.name)),
            coloured(state_name(app.state), state_colour(app.state)),
            left(name(app.tenancy)),
            left(name(app.concurrency)),
            right(format!("{serving}/{}", app.target)),
            right(app.requests.total.to_string()),
            right(app.requests.failed.to_string()),
            right(app.latency_ms.p50.map_or("-".to_owned(), milliseconds)),
            right(app.latency_ms.p95.map_or("-".to_owned(), milliseconds)),
            right(app.latency_ms.p99.map_or("-".to_owned(), milliseconds)),
            right(format!("{}/{}", app.queue.depth, app.queue.limit)),
            right(app.memory_bytes.map_or("-".to_owned(), size)),
        ]
    });
    layout(titles.to_vec(), rows.collect(), style)
}

fn workers(workers: &[WorkerStatus], style: Style) -> String {
    let titles = ["WORKER", "PID", "STATE", "GENERATION", "REQUESTS", "MEMORY", "CPU", "BOOT"];
    let titles = titles.map(|title| if title == "STATE" { left(title) } else { right(title) });
    let rows = workers.iter().map(|worker| {
        vec![
            right(worker.id.to_string()),
            right(worker.pid.map_or("-".to_owned(), |pid| pid.to_string())),
            left(name(worker.state)),
            right(worker.generation.to_string()),
            right(worker.requests.to_string()),
            right(worker.memory_bytes.map_or("-".to_owned(), size)),
            right(worker.cpu_seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1}s"))),
            right(worker.boot_ms.map_or("-".to_owned(), |boot| format!("{boot:.0}ms"))),
        ]
    });
    layout(titles.to_vec(), rows.collect(), style)
}

/// Columns as wide as their widest cell, two blanks apart.
pub(crate) fn layout(titles: Vec<Cell>, mut rows: Vec<Vec<Cell>>, style: Style) -> String {
    rows.insert(0, titles);
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].text.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let padding = " ".repeat(width - cell.text.chars().count());
            let shown = match cell.colour.filter(|_| style.colour) {
                Some(colour) => format!("\x1b[{colour}m{}\x1b[0m", cell.text),
                None => cell.text.clone(),
            };
            let gap = if line.is_empty() { "" } else { "  " };
            let _ = if cell.right {
                write!(line, "{gap}{padding}{shown}")
            } else {
                write!(line, "{gap}{shown}{padding}")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The open incidents of an application that are more than notices, one per line. `serpentry why` says the rest.
fn incidents(app: &AppStatus, style: Style) -> impl Iterator<Item = String> {
    let name = printable(&app.name);
    let serious = app.incidents.iter().filter(|incident| incident.severity > Severity::Notice);
    serious.map(move |incident| {
        let colour = if incident.severity == Severity::Error { "31" } else { "33" };
        let (on, off) =
            if style.colour { (format!("\x1b[{colour}m"), "\x1b[0m") } else { Default::default() };
        let times = if incident.count > 1 { format!(", {} times", incident.count) } else { String::new() };
        format!("{name}: {on}{}{off} {}{times}: serpentry why {name}\n", incident.id, incident.title)
    })
}

/// What is wrong with an application and when the next attempt comes, as one line.
fn trouble(app: &AppStatus) -> Option<String> {
    let error = app.last_error.as_ref().map(|error| printable(&error.text));
    let next = app.next_attempt_seconds.map(|seconds| format!("next attempt in {}", duration(seconds)));
    let parts: Vec<String> = [next, error].into_iter().flatten().collect();
    let text = format!("{}: {}: {}\n", printable(&app.name), state_name(app.state), parts.join(": "));
    (!parts.is_empty()).then_some(text)
}

/// The name of a state as in the JSON.
pub(crate) fn state_name(state: AppState) -> String {
    name(state)
}

pub(crate) fn name(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

fn state_colour(state: AppState) -> Option<&'static str> {
    match state {
        AppState::Serving => Some("32"),
        AppState::Starting | AppState::Degraded | AppState::Stopping => Some("33"),
        AppState::BackingOff | AppState::Down => Some("31"),
        AppState::Asleep | AppState::Stopped => Some("2"),
    }
}

/// `1 worker`, `2 workers`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Three digits are enough.
pub(crate) fn milliseconds(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.1}ms"),
        value if value < 1_000.0 => format!("{value:.0}ms"),
        value => format!("{:.1}s", value / 1_000.0),
    }
}

pub(crate) fn size(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    match bytes {
        0..MIB => format!("{}KiB", bytes / 1024),
        MIB..0x4000_0000 => format!("{}MiB", bytes / MIB),
        _ => format!("{:.1}GiB", bytes as f64 / (1024 * MIB) as f64),
    }
}

/// The two largest units: `4.2s`, `3m 20s`, `1h 2m`, `5d 3h`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3_600, whole / 86_400);
    match (days, hours) {
        (0, 0) => format!("{minutes}m {}s", whole % 60),
        (0, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// Control characters other than the line feed and the tab are escaped: what an application wrote must not move cursors,
/// paint or retitle the operator's terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { terminal: false, colour: false };

    #[test]
    fn columns_line_up_with_and_without_colours() {
        let rows = vec![vec![coloured("ok", Some("32")), right("1")], vec![left("failed"), right("200")]];
        let titles = vec![left("STATE"), right("N")];
        let plain = layout(titles.clone(), rows.clone(), PLAIN);
        assert_eq!(plain, "STATE     N\nok        1\nfailed  200\n");
        let bright = layout(titles, rows, Style { terminal: true, colour: true });
        assert_eq!(bright.replace("\x1b[32m", "").replace("\x1b[0m", ""), plain);
        assert!(bright.contains("\x1b[32mok\x1b[0m  "), "{bright:?}");
    }

    #[test]
    fn figures_are_short() {
        let times = [0.04, 9.94, 12.6, 999.0, 1_260.0].map(milliseconds);
        assert_eq!(times, ["0.0ms", "9.9ms", "13ms", "999ms", "1.3s"]);
        let sizes = [0, 4096, 48 << 20, 3 << 29].map(size);
        assert_eq!(sizes, ["0KiB", "4KiB", "48MiB", "1.5GiB"]);
        let times = [4.25, 200.0, 3_723.5, 442_800.0].map(duration);
        assert_eq!(times, ["4.2s", "3m 20s", "1h 2m", "5d 3h"]);
    }

    #[test]
    fn applications_cannot_paint_the_terminal() {
        assert_eq!(printable("a\x1b[31m\r\x07\u{9b}ü\n\tb"), "a\\u{1b}[31m\\r\\u{7}\\u{9b}ü\n\tb");
    }
}
