//! Incidents as the control interface says them: the contract of `serpentry why --json` and `serpentry events --json`.
//!
//! Texts of tenants and clients (paths, reasons, tracebacks) are in here as they came, cut to a bounded length: whoever shows
//! them escapes them for where they are shown. `sentence` and `remedy` are safe for a terminal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use crate::stamp;

/// What went wrong, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incidents {
    pub incidents: Vec<Incident>,
}

/// One thing that went wrong, however often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// For example `N11-36NPJZM01`: what visitors read in `Serpentry-Incident`.
    pub id: String,
    /// Other names that visitors were told for the same incident.
    pub also: Vec<String>,
    /// See `serpentry explain CODE`.
    pub code: String,
    pub title: String,
    /// Which variant of the code; words that do not change.
    pub cause: String,
    pub severity: Severity,
    pub state: IncidentState,
    /// Null: it concerns the host as a whole.
    pub app: Option<String>,
    /// The worker's number and process, if one is concerned: the latest one.
    pub worker: Option<u64>,
    pub worker_pid: Option<u32>,
    /// When it was first seen (RFC 3339, UTC), last seen, and closed because it was not seen any more.
    pub at: String,
    pub last_at: String,
    pub closed_at: Option<String>,
    /// How often it was seen.
    pub count: u64,
    /// What ran short, and its figures in the unit of the evidence; null if nothing did.
    pub resource: Option<String>,
    pub limit: Option<Figure>,
    pub used: Option<Figure>,
    /// Some of the requests that were affected: the first ones.
    pub requests: Vec<AffectedRequest>,
    /// Measured values; the unit is in the name.
    pub evidence: BTreeMap<String, Fact>,
    /// What happened and to whom, in one sentence.
    pub sentence: String,
    /// What to do about it.
    pub remedy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A client's own doing, or worth knowing.
    Notice,
    /// It works, but not as it should, or not for long.
    Warning,
    /// Visitors are answered errors.
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// It was seen within the last minutes.
    Open,
    Closed,
}

/// A request that was affected by an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AffectedRequest {
    /// As in `X-Request-Id` and the access log; empty if it had none yet.
    pub id: String,
    pub method: String,
    /// Without the query.
    pub path: String,
    /// How long ago it had arrived.
    pub age_ms: f64,
    /// For example "answered 502", "run again".
    pub outcome: String,
}

/// A number.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, ToSchema)]
pub struct Figure(pub f64);

impl Serialize for Figure {
    /// Whole ones without a point. Beyond 2^53 a float does not know its last digit anyway.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Figure(number) = *self;
        if number.fract() == 0.0 && number.abs() < 9e15 {
            serializer.serialize_i64(number as i64)
        } else {
            serializer.serialize_f64(number)
        }
    }
}

/// A piece of evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Fact {
    Number(Figure),
    Text(String),
}

/// An open incident in the status of its application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenIncident {
    pub id: String,
    pub code: String,
    pub title: String,
    pub severity: Severity,
    pub count: u64,
}

/// What happened to incidents, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// The number of the latest event, to ask for those after it.
    pub latest: u64,
    pub events: Vec<IncidentEvent>,
}

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IncidentEvent {
    /// Ascending, also over restarts of the host.
    pub number: u64,
    pub event: EventKind,
    /// As it was then, without long texts.
    pub incident: Incident,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    Opened,
    /// Seen again, or more is known about it. At most once a second.
    Grew,
    Closed,
}

/// Which incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct IncidentQuery {
    /// Only of this application.
    pub app: Option<String>,
    /// At most so many, 50 if it is not said.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only of this application.
    pub app: Option<String>,
    /// Only those after this number.
    #[param(minimum = 0)]
    pub after: Option<u64>,
}

impl IncidentQuery {
    pub const USUAL: u32 = 50;
    pub const MOST: u32 = 1000;
}

impl From<&incident::Incident> for Incident {
    fn from(from: &incident::Incident) -> Self {
        let entry = from.code.entry();
        let figure = |word: &str| {
            let fact = from.facts.iter().find(|(key, _)| key.split('_').next() == Some(word))?;
            match fact.1 {
                incident::Value::Number(number) => Some(Figure(*number)),
                incident::Value::Text(_) => None,
            }
        };
        let name = |id| incident::Name { code: from.code, id }.to_string();
        Incident {
            id: from.name().to_string(),
            also: from.also.iter().copied().map(name).collect(),
            code: from.code.to_string(),
            title: entry.title.to_owned(),
            cause: from.cause.to_owned(),
            severity: entry.severity.into(),
            state: if from.is_open() { IncidentState::Open } else { IncidentState::Closed },
            app: from.app.clone(),
            worker: from.worker.map(|worker| worker.id),
            worker_pid: from.worker.and_then(|worker| worker.pid),
            at: stamp::of(from.opened),
            last_at: stamp::of(from.last),
            closed_at: from.closed.map(stamp::of),
            count: from.count,
            resource: entry.resource.map(str::to_owned),
            limit: figure("limit").filter(|_| entry.resource.is_some()),
            used: figure("used").filter(|_| entry.resource.is_some()),
            requests: from.requests.iter().map(AffectedRequest::from).collect(),
            evidence: from.facts.iter().map(|(key, value)| (key.to_owned(), Fact::from(value))).collect(),
            sentence: incident::sentence(from),
            remedy: incident::remedy(from),
        }
    }
}

impl From<&incident::Incident> for OpenIncident {
    fn from(from: &incident::Incident) -> Self {
        let entry = from.code.entry();
        OpenIncident {
            id: from.name().to_string(),
            code: from.code.to_string(),
            title: entry.title.to_owned(),
            severity: entry.severity.into(),
            count: from.count,
        }
    }
}

impl From<&incident::Event> for IncidentEvent {
    fn from(from: &incident::Event) -> Self {
        IncidentEvent {
            number: from.number,
            event: match from.kind {
                incident::EventKind::Opened => EventKind::Opened,
                incident::EventKind::Grew => EventKind::Grew,
                incident::EventKind::Closed => EventKind::Closed,
            },
            incident: Incident::from(&from.incident),
        }
    }
}

impl From<incident::Severity> for Severity {
    fn from(from: incident::Severity) -> Self {
        match from {
            incident::Severity::Notice => Severity::Notice,
            incident::Severity::Warning => Severity::Warning,
            incident::Severity::Error => Severity::Error,
        }
    }
}

impl From<&incident::Request> for AffectedRequest {
    fn from(from: &incident::Request) -> Self {
        AffectedRequest {
            id: from.id.clone(),
            method: from.method.clone(),
            path: from.path.clone(),
            // Microseconds are enough.
            age_ms: from.age.as_micros() as f64 / 1e3,
            outcome: from.outcome.to_owned(),
        }
    }
}

impl From<&incident::Value> for Fact {
    fn from(value: &incident::Value) -> Self {
        match value {
            incident::Value::Number(number) => Fact::Number(Figure(*number)),
            incident::Value::Text(text) => Fact::Text(text.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn limits_are_shown_twice_and_whole_numbers_without_a_point() {
        let now = incident::Moment { steady: Duration::ZERO, unix: Duration::from_secs(1) };
        let mut book = incident::Book::new(incident::Bounds::default(), now.unix);
        let detection = incident::Detection::new(incident::Code::N11, "limit", Some("shop"))
            .number("limit", 100.0)
            .number("used", 100.5)
            .number("no such evidence", 1.0);
        let name = book.record(now, detection).name;
        let shown = serde_json::to_value(Incident::from(book.find(name.id).unwrap())).unwrap();
        assert_eq!(shown["limit"], serde_json::json!(100));
        assert_eq!(shown["evidence"], serde_json::json!({"limit": 100, "used": 100.5}));
        assert_eq!((&shown["resource"], &shown["state"]), (&"queue".into(), &"open".into()));
        let back: Incident = serde_json::from_value(shown.clone()).unwrap();
        assert_eq!(serde_json::to_value(back).unwrap(), shown);
    }
}
