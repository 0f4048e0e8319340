//! The incident book: which incidents are open, and what happened lately.
//!
//! Pure and bounded: time is a parameter, and however much is detected, memory is limited by [`Bounds`]. When there is no
//! room for another open incident, the one that was seen least recently is closed early; nothing is ever refused.
//!
//! ```text
//!  Detection --same application, code and cause is open--> it grows
//!            --else--> it opens     (under the name that visitors were told, if they were)
//!  an open one --not seen for `quiet`--> it closes
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::code::{Cause, Code};
use crate::detection::{Detail, Detection, Facts, Request, WorkerRef};
use crate::id::{Id, Ids, Lane, Name};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// An incident that was not seen for so long closes.
    pub quiet: Duration,
    /// Open incidents, and of one application.
    pub open: usize,
    pub open_per_app: usize,
    /// Closed ones that are still in memory.
    pub closed: usize,
    /// Events that can still be asked for.
    pub events: usize,
    /// Requests shown with an incident.
    pub requests: usize,
    /// Further names of an incident, see [`Incident::also`].
    pub names: usize,
}

impl Default for Bounds {
    /// With the largest texts, about 5 MB. 5 minutes of quiet as in LVE-stats.
    fn default() -> Self {
        Bounds {
            quiet: Duration::from_secs(300),
            open: 256,
            open_per_app: 24,
            closed: 256,
            events: 1024,
            requests: 8,
            names: 8,
        }
    }
}

/// Now, twice: by a clock that never goes back, and since 1970 for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub steady: Duration,
    pub unix: Duration,
}

/// One thing that went wrong, however often.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    pub code: Code,
    pub id: Id,
    /// Other names that visitors were told for it. The latest ones, see [`Bounds::names`].
    pub also: Vec<Id>,
    pub cause: &'static str,
    pub app: Option<String>,
    /// Of the latest detection that names one.
    pub worker: Option<WorkerRef>,
    /// Since 1970.
    pub opened: Duration,
    pub last: Duration,
    pub closed: Option<Duration>,
    pub count: u64,
    pub facts: Facts,
    /// The first ones.
    pub requests: Vec<Request>,
    seen: Duration,
    /// It changed since [`Book::changes`] was called, and since an event said so.
    changed: bool,
    untold: bool,
}

/// What became of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    pub name: Name,
    /// It is the first of its kind.
    pub opened: bool,
}

/// One line of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Ascending, also over restarts.
    pub number: u64,
    pub kind: EventKind,
    /// As it was then.
    pub incident: Incident,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Opened,
    /// It was seen again, or more is known about it. At most one for each call of [`Book::tick`].
    Grew,
    Closed,
}

impl EventKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Opened => "opened",
            EventKind::Grew => "grew",
            EventKind::Closed => "closed",
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Book {
    bounds: Bounds,
    ids: Ids,
    /// Oldest first.
    open: Vec<Incident>,
    closed: VecDeque<Incident>,
    /// Closed ones that [`Book::changes`] has not told.
    leaving: Vec<Incident>,
    events: VecDeque<Event>,
    next_event: u64,
    /// Incidents opened so far, by application and code. An application that is forgotten takes its own along.
    counts: BTreeMap<(Option<String>, Code), u64>,
}

impl Incident {
    #[must_use]
    pub fn name(&self) -> Name {
        Name { code: self.code, id: self.id }
    }

    #[must_use]
    pub fn cause(&self) -> &'static Cause {
        self.code.entry().cause(self.cause)
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    fn is_called(&self, id: Id) -> bool {
        self.id == id || self.also.contains(&id)
    }

    fn is_about(&self, detection: &Detection) -> bool {
        self.code == detection.code && self.cause == detection.cause && self.app == detection.app
    }

    fn absorb(&mut self, bounds: &Bounds, detail: Detail) {
        self.facts.absorb(self.code, detail.facts);
        let room = bounds.requests.saturating_sub(self.requests.len());
        self.requests.extend(detail.requests.into_iter().take(room).map(Request::cut));
        (self.changed, self.untold) = (true, true);
    }
}

impl Book {
    /// A book that was opened at this time since 1970.
    #[must_use]
    pub fn new(bounds: Bounds, unix: Duration) -> Self {
        Book {
            bounds,
            ids: Ids::new(Lane::Host),
            open: Vec::new(),
            closed: VecDeque::new(),
            leaving: Vec::new(),
            events: VecDeque::new(),
            next_event: u64::try_from(unix.as_millis()).unwrap_or(0) + 1,
            counts: BTreeMap::new(),
        }
    }

    /// Book a detection.
    pub fn record(&mut self, now: Moment, detection: Detection) -> Recorded {
        let detail = Detail { facts: detection.facts.clone(), requests: detection.requests.clone() };
        if let Some(known) = self.open.iter_mut().find(|incident| incident.is_about(&detection)) {
            known.count = known.count.saturating_add(detection.count);
            (known.seen, known.last) = (now.steady, now.unix);
            known.worker = detection.worker.or(known.worker);
            if let Some(id) = detection.id.filter(|id| !known.is_called(*id)) {
                known.also.truncate(self.bounds.names.saturating_sub(1));
                known.also.insert(0, id);
            }
            known.absorb(&self.bounds, detail);
            return Recorded { name: known.name(), opened: false };
        }
        self.make_room(now, &detection.app);
        let mut incident = Incident {
            code: detection.code,
            id: detection.id.unwrap_or_else(|| self.ids.draw(now.unix)),
            also: Vec::new(),
            cause: detection.cause,
            app: detection.app,
            worker: detection.worker,
            opened: now.unix,
            last: now.unix,
            closed: None,
            count: detection.count,
            facts: Facts::default(),
            requests: Vec::new(),
            seen: now.steady,
            changed: true,
            untold: false,
        };
        incident.absorb(&self.bounds, detail);
        incident.untold = false;
        let name = incident.name();
        *self.counts.entry((incident.app.clone(), incident.code)).or_default() += 1;
        self.tell(EventKind::Opened, &incident);
        self.open.push(incident);
        Recorded { name, opened: true }
    }

    /// More is known about an open incident. False if it is not open (any more).
    pub fn amend(&mut self, id: Id, detail: Detail) -> bool {
        let found = self.open.iter_mut().find(|incident| incident.is_called(id));
        let Some(incident) = found else { return false };
        incident.absorb(&self.bounds, detail);
        true
    }

    /// Close what was quiet for long enough, and tell what grew. To be called about every second.
    pub fn tick(&mut self, now: Moment) {
        let quiet = self.bounds.quiet;
        let due = |incident: &mut Incident| now.steady.saturating_sub(incident.seen) >= quiet;
        for incident in self.open.extract_if(.., due).collect::<Vec<_>>() {
            self.close(now, incident);
        }
        let grown = |it: &mut Incident| std::mem::take(&mut it.untold).then(|| it.clone());
        for incident in self.open.iter_mut().filter_map(grown).collect::<Vec<_>>() {
            self.tell(EventKind::Grew, &incident);
        }
    }

    /// An application is gone: its incidents are over, and its counts go with it.
    pub fn forget(&mut self, now: Moment, app: &str) {
        for incident in self.open.extract_if(.., |it| it.app.as_deref() == Some(app)).collect::<Vec<_>>() {
            self.close(now, incident);
        }
        self.counts.retain(|(whose, _), _| whose.as_deref() != Some(app));
    }

    /// Every incident that changed since the last call, as it is now: for the history. At most [`Bounds::open`] and
    /// [`Bounds::closed`] together.
    pub fn changes(&mut self) -> Vec<Incident> {
        let mut changes = std::mem::take(&mut self.leaving);
        let changed = |it: &mut Incident| std::mem::take(&mut it.changed).then(|| it.clone());
        changes.extend(self.open.iter_mut().filter_map(changed));
        changes
    }

    // ---- looking ----

    /// Newest first: open ones, and closed ones that are still here. `app`: only of this one.
    pub fn incidents(&self, app: Option<&str>) -> Vec<&Incident> {
        let all = self.open.iter().chain(&self.closed);
        let mut found: Vec<_> = all.filter(|it| app.is_none() || it.app.as_deref() == app).collect();
        found.sort_by_key(|incident| std::cmp::Reverse((incident.last, incident.id)));
        found
    }

    /// Open ones, oldest first.
    pub fn open(&self) -> &[Incident] {
        &self.open
    }

    /// By any of its names.
    #[must_use]
    pub fn find(&self, id: Id) -> Option<&Incident> {
        self.open.iter().chain(&self.closed).find(|incident| incident.is_called(id))
    }

    /// Events after that number, oldest first.
    pub fn events_after(&self, number: u64) -> impl Iterator<Item = &Event> {
        let skipped = self.events.partition_point(|event| event.number <= number);
        self.events.iter().skip(skipped)
    }

    /// The number of the latest event.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.next_event - 1
    }

    /// How many incidents were opened, by application and code.
    pub fn counts(&self) -> impl Iterator<Item = (Option<&str>, Code, u64)> {
        self.counts.iter().map(|((app, code), count)| (app.as_deref(), *code, *count))
    }

    // ---- inside ----

    fn make_room(&mut self, now: Moment, app: &Option<String>) {
        let of_app = self.open.iter().filter(|incident| incident.app == *app).count();
        let full = of_app >= self.bounds.open_per_app || self.open.len() >= self.bounds.open;
        if !full {
            return;
        }
        // A tenant that fills its own share loses its own; only a full book takes from anyone.
        let only = (of_app >= self.bounds.open_per_app).then_some(app);
        let candidates = self.open.iter().enumerate().filter(|(_, it)| only.is_none_or(|app| it.app == *app));
        if let Some((index, _)) = candidates.min_by_key(|(_, incident)| incident.seen) {
            let incident = self.open.remove(index);
            self.close(now, incident);
        }
    }

    fn close(&mut self, now: Moment, mut incident: Incident) {
        incident.closed = Some(now.unix);
        (incident.changed, incident.untold) = (false, false);
        self.tell(EventKind::Closed, &incident);
        if self.leaving.len() >= self.bounds.closed {
            self.leaving.remove(0);
        }
        self.leaving.push(incident.clone());
        if self.closed.len() >= self.bounds.closed {
            self.closed.pop_front();
        }
        self.closed.push_back(incident);
    }

    fn tell(&mut self, kind: EventKind, incident: &Incident) {
        if self.events.len() >= self.bounds.events {
            self.events.pop_front();
        }
        // Long texts are in the incident itself; a stream of them would only repeat them.
        let mut incident = incident.clone();
        incident.facts.drop_blocks(incident.code);
        self.events.push_back(Event { number: self.next_event, kind, incident });
        self.next_event += 1;
    }
}
