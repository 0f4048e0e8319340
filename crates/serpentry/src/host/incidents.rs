//! From what the host is told to incidents, and from there to whoever wants to know: log, operator, history, hooks.
//!
//! Everything that is detected anywhere in the host goes through [`Host::record`]: a detection is a value, and whoever
//! measures something hands one over. It books and announces; it decides nothing about workers. Nothing in it waits.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use incident::{Book, Bounds, Code, Detail, Detection, Incident, Moment, Name, Recorded};
use router::{Finding, Found, Reason, Trouble};
use supervisor::{Cause, Notice};
use tokio::sync::{mpsc, oneshot};

use super::endings::{Death, exit, reference};
use super::suspects::Suspects;
use super::{Host, Number};
use crate::defects;
use crate::history::{self, News as History, SetAside};
use crate::say::Level;
use serpentry::control::{self, Answer, OpenIncident, Refusal};

/// How often the book is looked through.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Clients that leave are an incident when there are at least so many in a second, and at least this share (in percent) of
/// all requests that ended then: single ones leave all the time.
const LEFT: u64 = 10;
const LEFT_SHARE: u64 = 20;

/// Incidents that wait for room on the way to the history; then the oldest are given up.
const UNSENT: usize = 512;

/// How long a caller waits for the history; what is in memory is answered in any case.
const HISTORY: Duration = Duration::from_secs(2);

/// From this many pauses in a row it is a loop.
const LOOP: u32 = 2;

pub(super) struct Incidents {
    pub(super) book: Book,
    /// Workers of which something is known about their end, and not all of it.
    pub(super) deaths: HashMap<Number, Death>,
    /// Dropped log lines that were booked.
    dropped: HashMap<String, u64>,
    history: Option<history::History>,
    pub(super) history_news: mpsc::Receiver<History>,
    /// The latest event that was told.
    told: u64,
    /// By worker, bytes that it grows by with each request, as far as that is known.
    pub(super) growth: HashMap<Number, f64>,
    /// By application.
    pub(super) suspects: HashMap<String, Suspects>,
    /// For the history, which had no room for them.
    unsent: Vec<control::Incident>,
}

impl Incidents {
    pub(super) fn new(history: Option<(history::History, mpsc::Receiver<History>)>) -> Self {
        let book = Book::new(Bounds { quiet: router::QUIET, ..Bounds::default() }, unix());
        let (history, history_news) = match history {
            Some((history, news)) => (Some(history), news),
            // Nobody will say anything.
            None => (None, mpsc::channel(1).1),
        };
        let (deaths, dropped, told) = (HashMap::new(), HashMap::new(), book.latest());
        let (growth, suspects, unsent) = (HashMap::new(), HashMap::new(), Vec::new());
        Incidents { told, book, deaths, dropped, growth, suspects, history, history_news, unsent }
    }

    /// What is open, for the status of an application.
    pub(super) fn of_app(&self, name: &str) -> Vec<OpenIncident> {
        let open = self.book.open().iter().filter(|incident| incident.app.as_deref() == Some(name));
        open.map(OpenIncident::from).collect()
    }

    /// Incidents opened so far, by code.
    pub(super) fn counts(&self, app: Option<&str>) -> Vec<(String, u64)> {
        let of_app = self.book.counts().filter(|(whose, ..)| *whose == app);
        of_app.map(|(_, code, count)| (code.to_string(), count)).collect()
    }
}

/// The answer of the history, if there is one in time.
async fn answered<T>(asked: Option<oneshot::Receiver<T>>) -> Option<T> {
    tokio::time::timeout(HISTORY, asked?).await.ok()?.ok()
}

fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Host {
    pub(super) fn moment(&self) -> Moment {
        Moment { steady: self.origin.elapsed(), unix: unix() }
    }

    /// Book a detection; the first of its kind is announced.
    pub(super) fn record(&mut self, detection: Detection) -> Recorded {
        let now = self.moment();
        let recorded = self.incidents.book.record(now, detection);
        if recorded.opened
            && let Some(incident) = self.incidents.book.find(recorded.name.id)
        {
            let level = match incident.code.entry().severity {
                incident::Severity::Notice => Level::Info,
                _ => Level::Warning,
            };
            let text = line(incident);
            match incident.app.as_ref().and_then(|name| self.names.get(name)).copied() {
                Some(app) => self.tell_about(app, level, &text),
                None => crate::say::at(level, format_args!("{text}")),
            }
        }
        recorded
    }

    /// Every second.
    pub(super) fn look_through_incidents(&mut self) {
        self.forget_partly_known();
        self.count_dropped_lines();
        for reason in defects::take() {
            self.record(Detection::new(Code::H99, "defect", None).text("reason", reason));
        }
        let now = self.moment();
        self.incidents.book.tick(now);
        self.write_history();
        self.tell_hooks();
    }

    /// Tell whoever wants to know what opened and closed; more than notices.
    fn tell_hooks(&mut self) {
        let Incidents { book, told, .. } = &mut self.incidents;
        let Some(hooks) = &self.options.hooks else { return };
        for event in book.events_after(std::mem::replace(told, book.latest())) {
            let serious = event.incident.code.entry().severity > incident::Severity::Notice;
            if serious && event.kind != incident::EventKind::Grew {
                hooks.tell(Box::new(control::IncidentEvent::from(event)));
            }
        }
    }

    fn count_dropped_lines(&mut self) {
        let Some(logs) = &self.options.logs else { return };
        let dropped = |name: &String| (name.clone(), logs.dropped(name));
        let now: Vec<_> = self.names.keys().map(dropped).filter(|(_, lines)| *lines > 0).collect();
        for (name, lines) in now {
            let before = self.incidents.dropped.insert(name.clone(), lines).unwrap_or(0);
            if lines > before {
                let more = lines - before;
                let detection =
                    Detection::new(Code::D30, "backlog", Some(&name)).number("dropped", more as f64);
                self.record(detection);
            }
        }
    }

    /// An application is gone.
    pub(super) fn forget_incidents(&mut self, name: &str) {
        let now = self.moment();
        self.incidents.book.forget(now, name);
        self.incidents.suspects.remove(name);
        self.incidents.dropped.remove(name);
    }

    // ---- the history ----

    /// Hand over what changed. What finds no room is tried again the next time.
    pub(super) fn write_history(&mut self) {
        let changed = self.incidents.book.changes();
        let Some(history) = &self.incidents.history else { return };
        let unsent = &mut self.incidents.unsent;
        unsent.extend(changed.iter().map(control::Incident::from));
        let waiting = std::mem::take(unsent);
        unsent.extend(waiting.into_iter().filter_map(|incident| history.put(incident)));
        let surplus = unsent.len().saturating_sub(UNSENT);
        unsent.drain(..surplus);
    }

    pub(super) fn on_history(&mut self, news: History) {
        let Some(file) = self.incidents.history.as_ref().map(|history| history.file.display().to_string())
        else {
            return;
        };
        let detection = match news {
            History::Failed(reason) => Detection::new(Code::H10, "write", None).text("reason", reason),
            History::SetAside(SetAside { reason, moved_to }) => Detection::new(Code::H10, "set_aside", None)
                .text("reason", reason)
                .text("moved_to", moved_to.display().to_string()),
        };
        self.record(detection.text("file", file));
    }

    // ---- what the operator asks ----

    /// An application that was removed may still have incidents.
    fn knows(&self, app: Option<&str>) -> Result<(), Refusal> {
        let Some(app) = app else { return Ok(()) };
        let known = self.names.contains_key(app) || !self.incidents.book.incidents(Some(app)).is_empty();
        if known { Ok(()) } else { Err(Refusal::NoSuchApp(app.to_owned())) }
    }

    /// What is in memory, and, once the history has answered, what is there.
    pub(super) fn tell_incidents(&self, app: Option<&str>, limit: usize, reply: Answer<control::Incidents>) {
        let known = self.knows(app);
        let found = self.incidents.book.incidents(app);
        let mut incidents: Vec<_> = found.into_iter().map(control::Incident::from).collect();
        let past = self.incidents.history.as_ref().map(|history| history.list(app.map(str::to_owned), limit));
        tokio::task::spawn_local(async move {
            let past = answered(past).await.unwrap_or_default();
            // The book knows better about those that it still has.
            let new: HashSet<_> = incidents.iter().map(|incident| incident.id.clone()).collect();
            incidents.extend(past.into_iter().filter(|incident| !new.contains(&incident.id)));
            incidents.sort_by(|a, b| (&b.last_at, &b.id).cmp(&(&a.last_at, &a.id)));
            incidents.truncate(limit);
            let answer = if incidents.is_empty() { known } else { Ok(()) };
            // Whoever asked may have gone; so for all answers.
            let _ = reply.send(answer.map(|()| control::Incidents { incidents }));
        });
    }

    pub(super) fn tell_incident(&self, name: Name, reply: Answer<control::Incident>) {
        if let Some(found) = self.incidents.book.find(name.id) {
            return drop(reply.send(Ok(control::Incident::from(found))));
        }
        let past = self.incidents.history.as_ref().map(|history| history.find(name.id));
        tokio::task::spawn_local(async move {
            let found = answered(past).await.flatten();
            let _ = reply.send(found.ok_or_else(|| Refusal::NoSuchIncident(name.to_string())));
        });
    }

    pub(super) fn tell_events(&self, app: Option<&str>, after: Option<u64>, reply: Answer<control::Events>) {
        let answer = self.knows(app).map(|()| {
            let book = &self.incidents.book;
            let found = book.events_after(after.unwrap_or(0));
            let found = found.filter(|event| app.is_none() || event.incident.app.as_deref() == app);
            let events = found.map(control::IncidentEvent::from).collect();
            control::Events { latest: book.latest(), events }
        });
        let _ = reply.send(answer);
    }

    // ---- what the router tells ----

    pub(super) fn on_trouble(&mut self, trouble: Trouble) {
        let Trouble { app, reason, id, count, finished, figures, detail, requests } = trouble;
        let Some((code, cause)) = reason.incident() else { return };
        let few = count < LEFT || finished == 0 || count * 100 < finished * LEFT_SHARE;
        if reason == Reason::ClientLeft && few {
            return;
        }
        let cause = if reason == Reason::Connections && app.is_none() { "host" } else { cause };
        let name = app.map(|app| self.apps.get(&app).map(|app| app.name().to_owned()));
        // An application that is gone meanwhile has no incidents any more.
        let Some(name) = name.map_or(Some(None), |name| name.map(Some)) else { return };
        let limit = match code {
            Code::A11 | Code::N12 | Code::N20 | Code::N21 => "limit_seconds",
            Code::N22 => "limit_bytes",
            _ => "limit",
        };
        let mut detection = Detection::new(code, cause, name.as_deref())
            .number(limit, figures.limit)
            .number("used", figures.used)
            .number("waiting", figures.waiting as f64)
            .number("finished", Some(finished as f64).filter(|_| reason == Reason::ClientLeft))
            .text("fault", detail);
        if figures.slots > 0 {
            detection = detection.number("busy", figures.busy as f64).number("slots", figures.slots as f64);
        }
        detection.id = Some(id);
        detection.count = count;
        detection.requests = requests;
        if count == 0 {
            let Detection { facts, requests, .. } = detection;
            self.incidents.book.amend(id, Detail { facts, requests });
            return;
        }
        self.record(detection);
    }

    /// What the figures of requests show.
    pub(super) fn on_found(&mut self, found: Found) {
        let Found { app, finding } = found;
        // An application that is gone meanwhile has no incidents any more.
        let Some(name) = self.apps.get(&app).map(|app| app.name().to_owned()) else { return };
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let detection = match finding {
            Finding::CpuHeavy { route, count, cpu, share, requests } => Detection {
                count,
                requests,
                ..Detection::new(Code::C20, "thread_clock", Some(&name))
                    .text("route", route)
                    .number("cpu_ms", ms(cpu))
                    .number("cpu_percent", share * 100.0)
            },
            Finding::GilHeld { worker, route, held, delayed, requests } => Detection {
                worker: self.whose(worker).map(|(app, worker)| {
                    let process = app.processes.get(&worker);
                    reference(worker, process.map(|process| process.handle.pid()))
                }),
                requests,
                ..Detection::new(Code::C22, "residual", Some(&name))
                    .text("route", route)
                    .number("held_ms", ms(held))
                    .number("delayed", delayed as f64)
            },
        };
        self.record(detection);
    }

    /// The stack of a request that passed its deadline. The incident was opened when the request was answered.
    pub(super) fn on_stuck(&mut self, number: Number, request: &str, stack: &str) {
        let Some((app, _)) = self.numbers.get(&number).copied() else { return };
        let text = format!("request {request} passed its deadline while it was here:\n{stack}");
        self.tell_about(app, Level::Warning, text.trim_end());
        let name = self.apps.get(&app).map(|app| app.name().to_owned());
        let open = self.incidents.book.open().iter().rev();
        let mut of_app = open.filter(|it| it.code == Code::N20 && it.app == name && it.cause != "hung");
        if let Some(id) = of_app.next().map(|incident| incident.id) {
            let mut detail = Detail::default();
            detail.facts.text("stack", format!("request {request}\n{stack}"));
            self.incidents.book.amend(id, detail);
        }
    }

    // ---- what the supervisor says ----

    /// What the supervisor says, as far as it is more than one worker's end. To be called after the application has noted the
    /// failure with its traceback.
    pub(super) fn notice_incident(&mut self, id: router::App, notice: &Notice) {
        let Some(app) = self.apps.get(&id) else { return };
        let name = app.name().to_owned();
        match notice {
            Notice::Lost { worker, cause, reason, served, .. } => {
                let number = self
                    .numbers
                    .iter()
                    .find(|(_, whose)| **whose == (id, *worker))
                    .map(|(number, _)| *number);
                if let Some(death) = number.and_then(|number| self.death(number)) {
                    death.lost = Some((*cause, reason.clone(), *served));
                }
            }
            Notice::BootFailed { worker, pid, generation, cause, reason } => {
                let traceback = app.last_failure.as_ref().map(|(_, failure)| failure.traceback.clone());
                let traceback = traceback.unwrap_or_default();
                let timeout = app.spec.supervisor.start_timeout.as_secs_f64();
                let number = self
                    .numbers
                    .iter()
                    .find(|(_, whose)| **whose == (id, *worker))
                    .map(|(number, _)| *number);
                let status = number.and_then(|number| self.incidents.deaths.get(&number)?.status);
                let mut detection = match (cause, status) {
                    (Cause::StartTimeout, _) => {
                        Detection::new(Code::A11, "worker", Some(&name)).number("limit_seconds", timeout)
                    }
                    _ if !traceback.is_empty() => Detection::new(Code::A10, "application", Some(&name)),
                    (_, Some(status)) => exit(Detection::new(Code::A10, "ended", Some(&name)), status),
                    _ => Detection::new(Code::A10, "start", Some(&name)),
                };
                detection = detection
                    .number("generation", *generation as f64)
                    .text("reason", supervisor::without_not_started(reason))
                    .text("traceback", traceback);
                detection.worker = Some(reference(*worker, *pid));
                self.record(detection);
            }
            Notice::BackOff { delay, round, .. } if *round >= LOOP => {
                let reason = app.last_failure.as_ref().map_or("", |(_, failure)| failure.reason.as_str());
                let detection = Detection::new(Code::A22, "backed_off", Some(&name))
                    .number("round", f64::from(*round))
                    .number("delay_seconds", delay.as_secs_f64())
                    .text("reason", reason);
                self.record(detection);
            }
            _ => {}
        }
    }
}

/// For the log, after what the log says about it anyway: a failed boot has had its reason and its traceback there.
fn line(incident: &Incident) -> String {
    let (name, code) = (incident.name(), incident.code);
    if matches!(code, Code::A10 | Code::A22) {
        return format!("incident {name}: {} (serpentry explain {code})", code.entry().title);
    }
    format!("incident {name}: {}; to do: {}", incident::sentence(incident), incident::remedy(incident))
}
