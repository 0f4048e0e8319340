//! Names for what goes wrong: a visitor who is refused is told a name, and under that name the operator finds the reason.
//!
//! The router names a kind of trouble (an application and a reason) when it first answers it, keeps the name until none has
//! been seen for [`QUIET`], and reports it: the first one at once, further ones counted, once a second. The incident book
//! of the host takes the name over. So a refusal costs a look at a short list and an addition, however many there are, and
//! the name that a visitor reads is in the book a moment later.
//!
//! A worker's death is different: only the host learns how the process ended, so that it gives the name
//! ([`crate::Command::Explain`]), and those who are to be answered 502 wait for it, but no longer than [`PATIENCE`].

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use incident::{Code, Id, Name, Request};

use crate::app::App;
use crate::core::Core;
use crate::deadline::Limits;
use crate::event::{self, Event, Trouble};
use crate::snapshot::Reason;

/// A kind of trouble that was not seen for so long gets a new name the next time.
pub const QUIET: Duration = Duration::from_secs(300);

/// How long a request whose worker died waits for the host to say how it died: the exit of a process is known within
/// milliseconds, or within most of a second if it was large and the machine has too much to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Requests that are described in one report.
pub(crate) const SAMPLES: usize = 4;

/// The kinds of trouble of one application, or of none. At most one entry per reason.
#[derive(Debug, Default)]
pub(crate) struct Troubles(RefCell<Vec<Open>>);

#[derive(Debug)]
struct Open {
    reason: Reason,
    id: Id,
    /// Uptime in seconds.
    seen: u64,
    /// Since the last report.
    count: u64,
    figures: Figures,
    detail: String,
    requests: Vec<Request>,
}

/// What was measured against which limit, in the unit of the limit: a number, seconds or bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    pub limit: Option<f64>,
    pub used: Option<f64>,
    /// Slots in use, and of all workers.
    pub busy: usize,
    pub slots: usize,
    /// Requests in the queue.
    pub waiting: usize,
}

impl Troubles {
    /// It happened (again). `None`: nothing that has a name.
    pub(crate) fn note(
        &self,
        core: &Core,
        app: Option<event::App>,
        reason: Reason,
        figures: impl FnOnce() -> Figures,
        request: impl FnOnce() -> Option<Request>,
    ) -> Option<Name> {
        let (code, _) = reason.incident()?;
        let uptime = core.clock.uptime();
        let mut list = self.0.borrow_mut();
        if let Some(open) = list.iter_mut().find(|open| open.reason == reason && !open.is_over(uptime)) {
            open.seen = uptime;
            open.count += 1;
            if open.requests.len() < SAMPLES {
                open.figures = figures();
                open.requests.extend(request());
            }
            return Some(Name { code, id: open.id });
        }
        list.retain(|open| !open.is_over(uptime));
        let id = core.draw_incident(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let mut open = Open {
            reason,
            id,
            seen: uptime,
            count: 1,
            figures: figures(),
            detail: String::new(),
            requests: request().into_iter().collect(),
        };
        core.report(open.report(app, 0));
        list.push(open);
        Some(Name { code, id })
    }

    /// What was wrong, for the kind of trouble that was noted last.
    pub(crate) fn specify(&self, core: &Core, app: event::App, reason: Reason, detail: &str) {
        let mut list = self.0.borrow_mut();
        if let Some(open) = list.iter_mut().find(|open| open.reason == reason) {
            let is_new = open.detail.is_empty();
            detail.clone_into(&mut open.detail);
            if is_new {
                core.report(open.report(Some(app), 0));
            }
        }
    }

    /// Report what was seen since the last time. `finished`: requests that ended meanwhile.
    pub(crate) fn flush(&self, core: &Core, app: Option<event::App>, finished: u64) {
        for open in self.0.borrow_mut().iter_mut().filter(|open| open.count > 0) {
            core.report(open.report(app, finished));
        }
    }
}

impl Open {
    fn is_over(&self, uptime: u64) -> bool {
        uptime.saturating_sub(self.seen) >= QUIET.as_secs()
    }

    fn report(&mut self, app: Option<event::App>, finished: u64) -> Event {
        Event::Trouble(Box::new(Trouble {
            app,
            reason: self.reason,
            id: self.id,
            count: std::mem::take(&mut self.count),
            finished,
            figures: self.figures,
            detail: self.detail.clone(),
            requests: std::mem::take(&mut self.requests),
        }))
    }
}

impl App {
    /// The figures that belong to a reason. `limits`: those of the request.
    pub(crate) fn figures(&self, reason: Reason, limits: &Limits) -> Figures {
        let settings = self.settings();
        let seconds = |limit: Duration| Some(limit.as_secs_f64());
        let waiting = self.queue.borrow().len();
        let (limit, used) = match reason {
            Reason::Connections => (Some(settings.connections as f64), Some(self.connections.get() as f64)),
            Reason::QueueFull => (Some(settings.queue as f64), Some(waiting as f64)),
            Reason::QueueTimeout => (seconds(settings.queue_timeout), None),
            Reason::StartTimeout => (seconds(settings.start_patience), None),
            Reason::Deadline => (limits.request_timeout.and_then(seconds), None),
            Reason::FirstByte => (limits.first_byte_timeout.and_then(seconds), None),
            Reason::SlowBody => (seconds(settings.body_timeout), None),
            Reason::BodyTooLarge => (Some(limits.body_size as f64), None),
            Reason::HeadTooLarge => (Some(settings.header_size as f64), None),
            _ => (None, None),
        };
        let slots = self.links.borrow().iter().map(|link| link.slots.get()).sum();
        Figures { limit, used, busy: self.busy.now(), slots, waiting }
    }
}

impl Core {
    /// The same for trouble that concerns no application.
    fn figures(&self, reason: Reason) -> Figures {
        let host = self.host();
        let (limit, used) = match reason {
            Reason::Connections => (Some(host.connections as f64), Some(self.connections.get() as f64)),
            Reason::SlowHead => (Some(host.header_timeout.as_secs_f64()), None),
            Reason::HeadTooLarge => (Some(host.header_size as f64), None),
            _ => (None, None),
        };
        Figures { limit, used, ..Figures::default() }
    }

    /// A request, or a connection, was refused before it concerned any application.
    pub(crate) fn note_trouble(&self, reason: Reason) -> Option<Name> {
        self.troubles.note(self, None, reason, || self.figures(reason), || None)
    }
}

impl Reason {
    /// The incident that it is, and which variant; `None`: it is so, or the client's request was never valid.
    #[must_use]
    pub fn incident(self) -> Option<(Code, &'static str)> {
        Some(match self {
            Reason::AppFailed => (Code::A31, "exception"),
            Reason::BrokenResponse => (Code::A30, "response"),
            Reason::WorkerDied | Reason::RetryDenied => (Code::A20, "unexplained"),
            Reason::Connections => (Code::N10, "app"),
            Reason::QueueFull => (Code::N11, "limit"),
            Reason::QueueTimeout => (Code::N12, "limit"),
            Reason::StartTimeout => (Code::A11, "visitor"),
            Reason::Deadline => (Code::N20, "request_timeout"),
            Reason::FirstByte => (Code::N20, "first_byte_timeout"),
            Reason::SlowHead => (Code::N21, "head"),
            Reason::SlowBody => (Code::N21, "body"),
            Reason::BodyTooLarge => (Code::N22, "body"),
            Reason::HeadTooLarge => (Code::N22, "head"),
            Reason::ClientLeft => (Code::N23, "before_answer"),
            Reason::Storage => (Code::D20, "request_body"),
            Reason::Stopped | Reason::Malformed | Reason::UnknownHost | Reason::NoRoute => return None,
        })
    }
}
