//! Drawing: from the state to cells of a terminal. Texts of applications and clients are made harmless first.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState, Wrap};
use serpentry::control::{AppStatus, Incident, IncidentState, Severity, WorkerStatus};

use super::state::{Rates, Screen, State};
use crate::commands::table::{duration, milliseconds, name, printable, size, state_name};

/// From this share of a limit on it is worth looking at.
const NEARLY: f64 = 0.9;

const HELP: [(&str, &str); 8] = [
    ("Up, Down", "choose an application, or scroll"),
    ("Enter", "its workers, routes and incidents"),
    ("Esc", "back"),
    ("s", "sort by the next column"),
    ("r", "the other way round"),
    ("i", "incidents of all applications"),
    ("?", "this page"),
    ("q", "end; the host goes on"),
];

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let rows = Layout::vertical([Constraint::Length(3), Constraint::Min(3), Constraint::Length(1)]);
    let [head, body, foot] = rows.areas(frame.area());
    frame.render_widget(header(state), head);
    match &state.screen {
        Screen::Apps => apps(frame, body, state),
        Screen::App(wanted) => match state.picture.status.apps.iter().find(|app| app.name == *wanted) {
            Some(app) => one(frame, body, state, app),
            None => frame.render_widget(Paragraph::new(format!("there is no application {wanted}")), body),
        },
        Screen::Incidents => frame.render_widget(incidents(state), body),
        Screen::Help => frame.render_widget(help(), body),
    }
    let keys = "q end  Enter details  Esc back  s sort  r reverse  i incidents  ? help";
    frame.render_widget(Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
}

fn header(state: &State) -> Paragraph<'static> {
    let status = &state.picture.status;
    let host = &status.host;
    let workers: usize = status.apps.iter().map(|app| app.workers.len()).sum();
    let open = state.open_incidents();
    let first = format!(
        "serpentry {}  pid {}  up {}  {}",
        printable(&host.version),
        host.pid,
        duration(host.uptime_seconds),
        host.memory_bytes.map_or("memory unknown".to_owned(), size),
    );
    let second =
        format!("{} applications, {workers} workers, sorted by {}", status.apps.len(), state.order.title());
    let troubled = if open > 0 { Style::new().fg(Color::Red) } else { Style::new() };
    let mut lines = vec![
        Line::from(first),
        Line::from(vec![Span::raw(second + ", "), Span::styled(format!("{open} open incidents"), troubled)]),
    ];
    if let Some(why) = &state.lost {
        let text = format!("no newer picture: {}", printable(why));
        lines.push(Line::styled(text, Style::new().fg(Color::Red)));
    }
    Paragraph::new(lines)
}

const COLUMNS: [(&str, u16); 14] = [
    ("APPLICATION", 16),
    ("TENANCY", 8),
    ("MODEL", 7),
    ("STATE", 11),
    ("WORKERS", 7),
    ("REQ/S", 8),
    ("FAIL/S", 7),
    ("QUEUE", 7),
    ("P50", 7),
    ("P95", 7),
    ("CPU", 14),
    ("MEMORY", 17),
    ("PRESSURE", 11),
    ("INCIDENTS", 12),
];

fn apps(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let rows: Vec<Row<'_>> = state.apps().into_iter().map(|app| row(app, state.rates(&app.name))).collect();
    let table = Table::new(rows, COLUMNS.map(|(_, width)| Constraint::Length(width)))
        .header(Row::new(COLUMNS.map(|(title, _)| title)).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut chosen = TableState::new().with_selected(state.selected());
    frame.render_stateful_widget(table, area, &mut chosen);
}

fn row(app: &AppStatus, rates: Rates) -> Row<'static> {
    let red = |is_bad: bool| if is_bad { Style::new().fg(Color::Red) } else { Style::new() };
    let p = |value: Option<f64>| value.map_or("-".to_owned(), milliseconds);
    let codes: Vec<&str> = app.incidents.iter().map(|incident| incident.code.as_str()).collect();
    let cells = [
        Cell::from(printable(&app.name)),
        Cell::from(name(app.tenancy)),
        Cell::from(name(app.concurrency)),
        Cell::from(state_name(app.state)).style(red(app.last_error.is_some())),
        Cell::from(format!("{}/{}", app.workers.len(), app.target)),
        Cell::from(format!("{:.1}", rates.requests)),
        Cell::from(format!("{:.1}", rates.failed)).style(red(rates.failed > 0.0)),
        Cell::from(format!("{}/{}", app.queue.depth, app.queue.limit))
            .style(red(nearly(app.queue.depth as f64, Some(app.queue.limit as f64)))),
        Cell::from(p(app.latency_ms.p50)),
        Cell::from(p(app.latency_ms.p95)),
        Cell::from(processor(app, rates)).style(red(rates.throttled.is_some_and(|share| share > 0.0))),
        Cell::from(memory(app)).style(red(nearly(
            app.memory_bytes.unwrap_or(0) as f64,
            app.limits.memory_bytes.map(|it| it as f64),
        ))),
        Cell::from(pressure(app)),
        Cell::from(codes.join(" ")).style(red(!codes.is_empty())),
    ];
    Row::new(cells)
}

fn nearly(used: f64, limit: Option<f64>) -> bool {
    limit.is_some_and(|limit| limit > 0.0 && used >= NEARLY * limit)
}

/// Cores used of those allowed, and `T` with the share of the time held back.
fn processor(app: &AppStatus, rates: Rates) -> String {
    let used = rates.cpu.map_or("-".to_owned(), |cores| format!("{cores:.2}"));
    let of = app.limits.cpu_cores.map_or(String::new(), |limit| format!("/{limit}"));
    match rates.throttled {
        Some(share) if share > 0.0 => format!("{used}{of} T{:.0}%", share * 100.0),
        _ => format!("{used}{of}"),
    }
}

fn memory(app: &AppStatus) -> String {
    let used = app.memory_bytes.map_or("-".to_owned(), size);
    app.limits.memory_bytes.map_or(used.clone(), |limit| format!("{used}/{}", size(limit)))
}

/// Processor, storage, memory: per cent of the time in which somebody waited.
fn pressure(app: &AppStatus) -> String {
    let share = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.0}"));
    [app.pressure.cpu, app.pressure.io, app.pressure.memory].map(share).join(" ")
}

fn one(frame: &mut Frame<'_>, area: Rect, state: &State, app: &AppStatus) {
    let workers = u16::try_from(app.workers.len()).unwrap_or(u16::MAX).min(8) + 3;
    let routes = state.picture.routes.as_ref().map_or(0, |routes| routes.routes.len().min(8));
    let routes = if routes == 0 { 0 } else { u16::try_from(routes).unwrap_or(8) + 3 };
    let parts = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(workers),
        Constraint::Length(routes),
        Constraint::Min(3),
    ]);
    let [top, middle, phases, bottom] = parts.areas(area);
    let header = Row::new(COLUMNS.map(|(title, _)| title)).style(Style::new().add_modifier(Modifier::BOLD));
    let widths = COLUMNS.map(|(_, width)| Constraint::Length(width));
    frame.render_widget(Table::new([row(app, state.rates(&app.name))], widths).header(header), top);
    frame.render_widget(worker_table(app, state), middle);
    if routes > 0 {
        frame.render_widget(route_table(state), phases);
    }
    frame.render_widget(incidents(state), bottom);
}

fn worker_table(app: &AppStatus, state: &State) -> Table<'static> {
    let row = |worker: &WorkerStatus| {
        Row::new([
            worker.id.to_string(),
            worker.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            name(worker.state),
            worker.generation.to_string(),
            worker.requests.to_string(),
            state.worker_cpu(worker.id).map_or("-".to_owned(), |cores| format!("{cores:.2}")),
            worker.memory_bytes.map_or("-".to_owned(), size),
        ])
    };
    let titles = ["WORKER", "PID", "STATE", "GENERATION", "REQUESTS", "CPU", "MEMORY"];
    Table::new(app.workers.iter().map(row), [8, 8, 10, 10, 10, 6, 10].map(Constraint::Length))
        .header(Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD)))
        .block(Block::new().borders(Borders::TOP).title("workers"))
}

/// Where requests spend their time: means.
fn route_table(state: &State) -> Table<'static> {
    let phase = |value: Option<f64>| value.map_or("-".to_owned(), milliseconds);
    let rows = state.picture.routes.iter().flat_map(|routes| &routes.routes).map(|route| {
        Row::new([
            printable(&format!("{} {}", route.method, route.route)),
            route.requests.to_string(),
            phase(route.latency_ms.p95),
            phase(route.queue_ms),
            phase(route.cpu_ms),
            phase(route.wait_ms),
            phase(route.run_queue_ms),
            phase(route.gil_ms),
            name(route.classification),
        ])
    });
    let titles = ["ROUTE", "REQUESTS", "P95", "QUEUE", "CPU", "WAIT", "RUN QUEUE", "GIL", "CLASS"];
    let rows: Vec<Row<'_>> = rows.collect();
    Table::new(rows, [32, 10, 8, 8, 8, 8, 10, 8, 8].map(Constraint::Length))
        .header(Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD)))
        .block(Block::new().borders(Borders::TOP).title("routes, and where their time goes (ms, means)"))
}

fn incidents(state: &State) -> Paragraph<'static> {
    let mut lines = Vec::new();
    for incident in state.incidents().into_iter().skip(state.scrolled) {
        lines.extend(lines_of(incident));
    }
    if lines.is_empty() {
        lines.push(Line::from("nothing is known to be wrong"));
    }
    let block = Block::new().borders(Borders::TOP).title("incidents, newest first");
    Paragraph::new(lines).wrap(Wrap { trim: false }).block(block)
}

fn lines_of(incident: &Incident) -> [Line<'static>; 2] {
    let colour = match (incident.state, incident.severity) {
        (IncidentState::Closed, _) => Color::DarkGray,
        (_, Severity::Notice) => Color::Blue,
        (_, Severity::Warning) => Color::Yellow,
        (_, Severity::Error) => Color::Red,
    };
    let count = if incident.count > 1 { format!(" ({} times)", incident.count) } else { String::new() };
    let id = Span::styled(printable(&incident.id), Style::new().fg(colour).add_modifier(Modifier::BOLD));
    [
        Line::from(vec![id, Span::raw(format!("{count} {}", printable(&incident.sentence)))]),
        Line::styled(
            format!("   to do: {}", printable(&incident.remedy)),
            Style::new().add_modifier(Modifier::DIM),
        ),
    ]
}

fn help() -> Paragraph<'static> {
    let line = |(key, meaning): &(&'static str, &'static str)| {
        Line::from(vec![
            Span::styled(format!("{key:10}"), Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(*meaning),
        ])
    };
    let columns = Line::from(
        "WORKERS: running/wanted. CPU: cores used/allowed, T: held back by its quota. PRESSURE: cpu io memory, % of time waited.",
    );
    let lines: Vec<Line<'_>> = HELP.iter().map(line).chain([Line::default(), columns]).collect();
    Paragraph::new(lines).wrap(Wrap { trim: false })
}

#[cfg(test)]
mod tests;
