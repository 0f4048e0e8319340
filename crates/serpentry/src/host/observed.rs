//! What workers see inside of themselves, made incidents; and what they are asked to look at.
//!
//! A worker may lie about all of it. It can only speak of itself: whose it is comes from the link, not from its words.

use std::collections::HashMap;

use incident::{Code, Detail, Detection, Facts, Id};
use router::{Blocked, Durable};

use super::endings::reference;
use super::{Host, Number};

#[derive(Debug, Default)]
pub(super) struct Observed {
    /// For each worker the episode that it told last, and the incident that came of it.
    episodes: HashMap<Number, (u64, Id)>,
}

impl Host {
    /// A detection about this worker, with its application and process.
    fn detected(&self, number: Number, code: Code, cause: &'static str) -> Option<Detection> {
        let (app, worker) = self.numbers.get(&number).copied()?;
        let app = self.apps.get(&app)?;
        let pid = app.processes.get(&worker).map(|process| process.handle.pid());
        let mut detection = Detection::new(code, cause, Some(app.name()));
        detection.worker = Some(reference(worker, pid));
        Some(detection)
    }

    /// Told when it is noticed, again when more is known, and at its end.
    pub(super) fn on_blocked(&mut self, said: &Blocked) {
        let mut facts = Facts::default();
        facts.number("blocked_ms", f64::from(said.milliseconds));
        facts.number("waited", f64::from(said.waited));
        facts.text("place", &said.place);
        facts.text("call", &said.call);
        facts.text("inner", &said.inner);
        facts.text("stack", &said.stack);
        let known = self.observed.episodes.get(&said.worker).filter(|(episode, _)| *episode == said.episode);
        if let Some((_, id)) = known.copied() {
            self.incidents.book.amend(id, Detail { facts, requests: Vec::new() });
            return;
        }
        let cause = if said.native { "native" } else { "heartbeat" };
        let Some(mut detection) = self.detected(said.worker, Code::C21, cause) else { return };
        if said.over {
            // Its beginning was not heard.
            return;
        }
        detection.facts = facts;
        let recorded = self.record(detection);
        let Host { observed, numbers, .. } = self;
        observed.episodes.retain(|number, _| numbers.contains_key(number));
        observed.episodes.insert(said.worker, (said.episode, recorded.name.id));
    }

    pub(super) fn on_durable(&mut self, said: &Durable) {
        let cause = if said.event_loop { "event_loop" } else { "stack" };
        let Some(detection) = self.detected(said.worker, Code::D11, cause) else { return };
        let milliseconds = f64::from(said.microseconds) / 1e3;
        let mut detection = detection
            .number("fsync_ms", Some(milliseconds).filter(|it| *it > 0.0))
            .number("share_percent", f64::from(said.percent))
            .text("place", &said.place)
            .text("call", &said.call)
            .text("stack", &said.stack);
        detection.count = u64::from(said.count.max(1));
        self.record(detection);
    }
}
