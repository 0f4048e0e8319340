//! What came of a drill: for people, for programs, and how precise the explanation is.

use std::fmt::Write as _;

use incident::{Code, text};
use serde_json::{Value, json};
use serpentry::control::{AppStatus, Concurrency, Fact, Incident, Tenancy};

use super::faults::Fault;
use super::visitor::Visit;
use crate::commands::{Style, paragraph};

/// Visits that are shown to people.
const VISITS: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The incident that it must become was recorded.
    Explained,
    /// It was not.
    Missing,
    /// It cannot happen there.
    Prevented,
    /// The drill could not be done here.
    NotDone,
}

pub(super) struct Drilled {
    pub(super) fault: &'static Fault,
    pub(super) app: String,
    pub(super) tenancy: Tenancy,
    pub(super) concurrency: Option<Concurrency>,
    pub(super) outcome: Outcome,
    /// Why it was prevented or not done.
    pub(super) why: Option<String>,
    pub(super) seconds: Option<f64>,
    pub(super) incident: Option<Incident>,
    pub(super) precision: Option<Precision>,
    /// All that was recorded meanwhile, of any application.
    pub(super) others: Vec<Incident>,
    /// The neighbour that was kept busy for it.
    pub(super) noisy: Option<String>,
    pub(super) visits: Vec<Visit>,
    pub(super) log: Vec<String>,
    pub(super) serving_again_seconds: Option<f64>,
}

/// What the incident says, of what it should say; `None`: that is nothing for this fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Precision {
    tenant: bool,
    worker: Option<bool>,
    limit: Option<bool>,
    requests: Option<bool>,
    growth: Option<bool>,
    answer: Option<bool>,
}

/// Compare what is said with what is so.
pub(super) fn precision(
    fault: &Fault,
    incident: &Incident,
    app: &AppStatus,
    visits: &[Visit],
    ended: Option<u32>,
) -> Precision {
    let proof = fault.proof;
    let right_worker = || match (incident.worker_pid, ended) {
        (Some(said), Some(ended)) => said == ended,
        // A boot that fails is that of a process which was not there before.
        (Some(_), None) if fault.code == Code::A10 => true,
        (Some(said), None) => app.workers.iter().any(|worker| worker.pid == Some(said)),
        (None, _) => false,
    };
    // The name of the application's route is in front of what the visitors asked for.
    let asked = |path: &str| {
        visits.iter().any(|visit| visit.path.split('?').next().is_some_and(|it| it.ends_with(path)))
    };
    let number = |fact: Option<&Fact>| matches!(fact, Some(Fact::Number(_)));
    let limit = |incident: &Incident| incident.limit.is_some() && incident.resource.is_some();
    Precision {
        tenant: incident.app.as_deref() == Some(&app.name),
        worker: proof.worker.then(right_worker),
        limit: proof.limit.then(|| limit(incident)),
        requests: proof
            .requests
            .then(|| incident.requests.iter().any(|it| !it.path.is_empty() && asked(&it.path))),
        growth: proof.growth.then(|| number(incident.evidence.get("growth_bytes"))),
        answer: proof.answer.then(|| visits.iter().any(Visit::is_explained)),
    }
}

impl Precision {
    fn parts(&self) -> [(&'static str, Option<bool>); 6] {
        [
            ("application", Some(self.tenant)),
            ("worker", self.worker),
            ("resource and limit", self.limit),
            ("requests", self.requests),
            ("growth", self.growth),
            ("visitor told why", self.answer),
        ]
    }

    /// Points, and how many there could be.
    fn points(&self) -> (usize, usize) {
        let parts = self.parts();
        (
            parts.iter().filter(|(_, it)| *it == Some(true)).count(),
            parts.iter().filter(|(_, it)| it.is_some()).count(),
        )
    }

    fn json(&self) -> Value {
        let (points, of) = self.points();
        json!({
            "points": points, "of": of, "application": self.tenant, "worker": self.worker, "limit": self.limit,
            "requests": self.requests, "growth": self.growth, "answer": self.answer,
        })
    }
}

impl Drilled {
    pub(super) fn not_done(fault: &'static Fault, tenancy: Tenancy, why: String) -> Drilled {
        Drilled {
            fault,
            app: fault.home.app().to_owned(),
            tenancy,
            concurrency: None,
            outcome: Outcome::NotDone,
            why: Some(why),
            seconds: None,
            incident: None,
            precision: None,
            others: Vec::new(),
            noisy: None,
            visits: Vec::new(),
            log: Vec::new(),
            serving_again_seconds: None,
        }
    }

    pub(super) fn is_good(&self) -> bool {
        matches!(self.outcome, Outcome::Explained | Outcome::Prevented) && self.false_ones().next().is_none()
    }

    /// What was recorded and has nothing to do with the fault: of another application, or a code that it does not explain.
    fn false_ones(&self) -> impl Iterator<Item = &Incident> {
        self.others.iter().filter(|incident| {
            let own = incident.app.as_deref() == Some(&self.app);
            // What is true of an application that only computes is not what the drill is about.
            if self.noisy.is_some() && incident.app == self.noisy {
                return false;
            }
            let known = |code: Code| incident.code == code.as_str();
            !(own && (known(self.fault.code) || self.fault.also.iter().copied().any(known)))
        })
    }

    fn value(&self) -> Value {
        let brief = |incident: &Incident| json!({"id": incident.id, "code": incident.code, "app": incident.app, "sentence": incident.sentence});
        json!({
            "fault": self.fault.name,
            "about": self.fault.about,
            "code": self.fault.code.as_str(),
            "app": self.app,
            "tenancy": self.tenancy,
            "concurrency": self.concurrency,
            "outcome": self.outcome.as_str(),
            "why": self.why,
            "counted_from": self.fault.counted_from,
            "seconds_to_incident": self.seconds,
            "precision": self.precision.as_ref().map(Precision::json),
            "incident": self.incident,
            "others": distinct(self.others.iter().filter(|it| self.incident.as_ref().is_none_or(|own| own.id != it.id))).map(brief).collect::<Vec<_>>(),
            "false": distinct(self.false_ones()).map(brief).collect::<Vec<_>>(),
            "visitors": self.visits,
            "log": self.log,
            "serving_again_seconds": self.serving_again_seconds,
        })
    }

    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(text::json(&serde_json::to_string_pretty(&self.value())?))
    }

    pub(super) fn json_line(&self) -> anyhow::Result<String> {
        Ok(text::json(&serde_json::to_string(&self.value())?))
    }

    /// While many are done.
    pub(super) fn line(&self) -> String {
        let (fault, tenancy) = (self.fault.name, tenancy(self.tenancy));
        format!("{fault} ({tenancy}): {}", self.verdict())
    }

    fn verdict(&self) -> String {
        let mut verdict = match (self.outcome, &self.incident) {
            (Outcome::Explained, Some(incident)) => {
                let (points, of) = self.precision.map_or((0, 0), |precision| precision.points());
                let seconds = self.seconds.unwrap_or_default();
                format!(
                    "{} recorded {} after {}, precision {points} of {of}",
                    incident.id,
                    time(seconds),
                    self.fault.counted_from
                )
            }
            (Outcome::Prevented, _) => format!("prevented: {}", self.why.as_deref().unwrap_or_default()),
            (Outcome::NotDone, _) => format!("not done: {}", self.why.as_deref().unwrap_or_default()),
            _ => format!(
                "no incident {} within {:.0} s of {}",
                self.fault.code,
                self.fault.patience.as_secs_f64(),
                self.fault.counted_from
            ),
        };
        let false_ones: Vec<_> = distinct(self.false_ones()).map(|it| it.id.as_str()).collect();
        if !false_ones.is_empty() {
            let _ = write!(verdict, "; not explained by it: {}", false_ones.join(", "));
        }
        verdict
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut shown = format!(
            "{} to {} ({}): {}\n",
            self.fault.name,
            text::line(&self.app),
            tenancy(self.tenancy),
            self.fault.about
        );
        // Writing into a string does not fail; so below.
        let _ = writeln!(shown, "\nWhat visitors got:");
        for visit in self.visits.iter().take(VISITS) {
            let _ = writeln!(shown, "  {}", visit_line(visit));
        }
        if let Some(visit) = self.visits.iter().find(|visit| visit.is_explained()) {
            for line in text::block(&visit.body).lines() {
                let _ = writeln!(shown, "    {line}");
            }
        }
        match self.visits.len().saturating_sub(VISITS) {
            0 => {}
            more => {
                let _ = writeln!(shown, "  and {more} more");
            }
        }
        let _ = writeln!(shown, "\nWhat the log says:");
        for line in &self.log {
            let _ = writeln!(shown, "  {}", text::line(line));
        }
        let _ = writeln!(shown, "\nWhat `serpentry why {}` says:", text::line(&self.app));
        match &self.incident {
            Some(incident) => {
                for line in paragraph(incident, Style::of_stdout()).lines() {
                    let _ = writeln!(shown, "  {line}");
                }
            }
            None => shown.push_str("  nothing about this\n"),
        }
        let _ = writeln!(shown, "\n{}.", self.verdict());
        if let Some(precision) = &self.precision {
            let said = |wanted| {
                let parts = precision.parts();
                let some: Vec<_> =
                    parts.iter().filter(|(_, it)| *it == Some(wanted)).map(|(name, _)| *name).collect();
                some.join(", ")
            };
            let missing = said(false);
            let _ = write!(shown, "It says: {}", said(true));
            let _ = match missing.as_str() {
                "" => writeln!(shown, "."),
                missing => writeln!(shown, "; it does not say: {missing}."),
            };
        }
        if let Some(seconds) = self.serving_again_seconds {
            let _ = writeln!(shown, "All workers serve, {seconds:.1} s after the drill began.");
        }
        shown
    }
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Explained => "explained",
            Outcome::Missing => "missing",
            Outcome::Prevented => "prevented",
            Outcome::NotDone => "not done",
        }
    }
}

/// Each once.
fn distinct<'a>(incidents: impl Iterator<Item = &'a Incident>) -> impl Iterator<Item = &'a Incident> {
    let mut seen = Vec::new();
    incidents.filter(move |incident| {
        let is_new = !seen.contains(&&incident.id);
        if is_new {
            seen.push(&incident.id);
        }
        is_new
    })
}

fn visit_line(visit: &Visit) -> String {
    let (method, path) = (&visit.method, text::line(&visit.path));
    let what = match (visit.status, &visit.incident) {
        (Some(status), Some(incident)) => {
            format!(
                "{status}, Serpentry-Incident: {}, {}",
                text::line(incident),
                text::line(visit.content_type.as_deref().unwrap_or(""))
            )
        }
        (Some(status), None) => status.to_string(),
        (None, _) => text::line(visit.error.as_deref().unwrap_or("no answer")),
    };
    format!("{method} {path}: {what}, after {}", time(visit.seconds))
}

fn tenancy(tenancy: Tenancy) -> &'static str {
    match tenancy {
        Tenancy::Shared => "shared",
        Tenancy::Isolated => "isolated",
    }
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.2} s") }
}

/// Of many drills: one line each.
pub(super) fn table(all: &[Drilled]) -> String {
    let width = all.iter().map(|it| it.fault.name.len()).max().unwrap_or(0);
    let line =
        |it: &Drilled| format!("{:width$}  {:8}  {}\n", it.fault.name, tenancy(it.tenancy), it.verdict());
    let explained = all.iter().filter(|it| it.is_good()).count();
    all.iter().map(line).collect::<String>() + &format!("\n{explained} of {} as they should be\n", all.len())
}
