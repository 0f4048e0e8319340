//! `why` and `events`: incidents in sentences for people, and as JSON.
//!
//! Sentences and remedies are made by the host and safe for a terminal; everything else that is shown here (requests,
//! tracebacks, stacks) came from tenants and clients and is escaped.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use incident::text;
use serde::Serialize;
use serpentry::control::{
    Client, ClientError, EventKind, Events, Fact, Incident, IncidentEvent, IncidentState, Severity,
};
use tokio::signal::unix::{SignalKind, signal};

use super::table::Style;
use super::{EventsArguments, WhyArguments, fail};
use crate::output::print;
use crate::say;

/// How often `events --follow` asks.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) fn why(arguments: &WhyArguments) -> anyhow::Result<ExitCode> {
    let client = arguments.host.client();
    let asked = match arguments.what.as_deref() {
        Some(name) if name.parse::<incident::Name>().is_ok() => {
            client.incident(name).map(|incident| vec![incident])
        }
        app => client.incidents(app, arguments.number).map(|all| all.incidents),
    };
    let incidents = match asked {
        Ok(incidents) => incidents,
        Err(error) => return fail(error),
    };
    if arguments.json {
        print(&json(&incidents)?)?;
    } else if incidents.is_empty() {
        let whom =
            arguments.what.as_deref().map(|app| format!(" with {}", text::line(app))).unwrap_or_default();
        print(&format!("nothing went wrong{whom} lately\n"))?;
    } else {
        let style = Style::of_stdout();
        let told: Vec<_> = incidents.iter().map(|incident| paragraph(incident, style)).collect();
        print(&told.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn events(arguments: &EventsArguments) -> anyhow::Result<ExitCode> {
    let client = arguments.host.client();
    let app = arguments.app.clone();
    let first = match client.events(app.as_deref(), None) {
        Ok(events) => events,
        Err(error) => return fail(error),
    };
    let latest = first.latest;
    show(&first, arguments.json)?;
    if !arguments.follow {
        return Ok(ExitCode::SUCCESS);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot follow")?;
    let result = runtime.block_on(follow(client, app, latest, arguments.json));
    // A call under way has a time limit, but whoever pressed Ctrl-C does not wait for it.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

/// Until Ctrl-C or TERM, or until nobody reads any more. A host that is restarted goes on counting.
async fn follow(client: Client, app: Option<String>, mut latest: u64, json: bool) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut away = false;
    loop {
        let (client, app) = (client.clone(), app.clone());
        let next = async {
            tokio::time::sleep(PAUSE).await;
            tokio::task::spawn_blocking(move || client.events(app.as_deref(), Some(latest))).await
        };
        let answer: Result<Events, ClientError> = tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            result = next => result.context("the call was lost")?,
        };
        match answer {
            Ok(events) => {
                latest = events.latest;
                away = false;
                show(&events, json)?;
            }
            // It may be on its way back: said once.
            Err(error) if !std::mem::replace(&mut away, true) => {
                say::warning(format_args!("{}", text::line(&error.to_string())));
            }
            Err(_) => {}
        }
    }
}

fn show(events: &Events, as_json: bool) -> anyhow::Result<()> {
    let mut shown = String::new();
    for event in &events.events {
        if as_json {
            shown.push_str(&text::json(&serde_json::to_string(event)?));
        } else {
            shown.push_str(&line(event));
        }
        shown.push('\n');
    }
    print(&shown)
}

fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(text::json(&serde_json::to_string_pretty(value)?) + "\n")
}

fn line(event: &IncidentEvent) -> String {
    let Incident { id, at, last_at, closed_at, sentence, title, count, .. } = &event.incident;
    let app = event.incident.app.as_deref().map_or("the host".to_owned(), text::line);
    match event.event {
        EventKind::Opened => format!("{at} opened {id} {sentence}"),
        EventKind::Grew => format!("{last_at} grew   {id} {sentence}"),
        EventKind::Closed => {
            let at = closed_at.as_ref().unwrap_or(last_at);
            format!("{at} closed {id} {title} of {app}, seen {count} times")
        }
    }
}

/// What happened, how it is proved, what to do.
pub(crate) fn paragraph(incident: &Incident, style: Style) -> String {
    let colour = match (incident.state, incident.severity) {
        _ if !style.colour => None,
        (IncidentState::Closed, _) => Some("2"),
        (_, Severity::Error) => Some("31"),
        (_, Severity::Warning) => Some("33"),
        (_, Severity::Notice) => Some("36"),
    };
    let (on, off) = colour.map_or_else(Default::default, |colour| (format!("\x1b[{colour}m"), "\x1b[0m"));
    let state = match incident.state {
        IncidentState::Open => "open",
        IncidentState::Closed => "closed",
    };
    let mut text = format!("{on}{} {}{off} ({state}, {}", incident.id, incident.title, incident.at);
    // Writing into a string does not fail; so below.
    let _ = match incident.count {
        1 => writeln!(text, ")"),
        count => writeln!(text, ", last {}, {count} times)", incident.last_at),
    };
    let _ = writeln!(text, "  {}", capital(&incident.sentence));
    for request in &incident.requests {
        let outcome = text::line(&request.outcome);
        let (method, path) = (text::line(&request.method), text::line(&request.path));
        let id =
            if request.id.is_empty() { String::new() } else { format!(" [{}]", text::line(&request.id)) };
        let _ = writeln!(text, "    {method} {path}: {outcome} after {:.0} ms{id}", request.age_ms);
    }
    for fact in incident.evidence.iter().filter(|(_, fact)| is_block(fact)) {
        let (key, Fact::Text(block)) = fact else { continue };
        let _ = writeln!(text, "  {}:", text::line(key));
        for line in text::block(block).lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    let _ = writeln!(text, "  To do: {}.", incident.remedy);
    text
}

/// Of several lines, so that it is in no sentence.
fn is_block(fact: &Fact) -> bool {
    matches!(fact, Fact::Text(text) if text.contains('\n'))
}

/// As a sentence begins and ends; names of applications stay as they are.
fn capital(sentence: &str) -> String {
    let word = sentence.split(' ').next().unwrap_or_default();
    let ours = ["worker", "a", "no", "the", "workers", "requests", "every"].contains(&word);
    let mut chars = sentence.chars();
    match chars.next() {
        Some(first) if ours => format!("{}{}.", first.to_ascii_uppercase(), chars.as_str()),
        _ => format!("{sentence}."),
    }
}
