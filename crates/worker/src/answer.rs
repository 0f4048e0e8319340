//! One response on its way to the router, whatever the interface of the application.
//!
//! Keeps the order head, pieces, end; stays within the router's credit; compares the bytes with the stated
//! `Content-Length`; sees to it that DONE is said exactly once. It does not wait: [`Answer::put`] says how
//! much it took.

use std::time::Instant;

use wire::{FromWorker, MAX_CHUNK, Spent, flag};

use crate::head::Head;
use crate::link::Link;
use crate::measure::{self, Total};
use crate::outbox::Place;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) link: &'static Link,
    pub(crate) id: u64,
    /// Set by the application and not sent yet.
    head: Option<Head>,
    head_sent: bool,
    ended: bool,
    done: bool,
    head_request: bool,
    /// The answer to HEAD, 204 and 304 have no body whatever the application produces.
    bodiless: bool,
    /// Body bytes still allowed by the application's own Content-Length.
    expected: Option<u64>,
    /// The application produced more than it had stated.
    pub(crate) excess: bool,
    /// Body bytes that may be sent before the router gives more credit.
    pub(crate) credit: u64,
    /// The last frame that can carry DONE.
    place: Option<Place>,
    /// For a task that an event loop runs in steps: since when, and what it took in those that are over.
    pub(crate) steps: Option<(Instant, Total)>,
}

impl Answer {
    /// `head_request`: the method is HEAD. `window`: initial credit in bytes.
    pub(crate) fn new(link: &'static Link, id: u64, head_request: bool, window: u32) -> Self {
        Answer {
            link,
            id,
            head: None,
            head_sent: false,
            ended: false,
            done: false,
            head_request,
            bodiless: head_request,
            expected: None,
            excess: false,
            credit: u64::from(window),
            place: None,
            steps: None,
        }
    }

    /// The application has named status and headers (they may not have been sent).
    pub(crate) fn has_head(&self) -> bool {
        self.head_sent || self.head.is_some()
    }

    pub(crate) fn head_sent(&self) -> bool {
        self.head_sent
    }

    /// The whole response has been handed over.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Set or replace the head, which must not have been sent.
    pub(crate) fn set_head(&mut self, head: Head) {
        self.bodiless = self.head_request || head.status == 204 || head.status == 304;
        self.expected = if self.bodiless { None } else { head.content_length };
        self.head = Some(head);
    }

    /// The part of `data` that belongs to the response: nothing for HEAD, not more than the stated length.
    /// Call it once for each piece of the application, before [`Answer::put`].
    pub(crate) fn admit<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        if self.bodiless {
            return &[];
        }
        let Some(expected) = &mut self.expected else {
            return data;
        };
        let taken = usize::try_from(*expected).map_or(data.len(), |most| data.len().min(most));
        *expected -= taken as u64;
        self.excess |= taken < data.len();
        &data[..taken]
    }

    /// Hand over as much of `data` as the credit allows, with the head if it has not been sent. Returns the
    /// number of bytes taken. `end` takes effect when all of `data` is taken.
    pub(crate) fn put(&mut self, data: &[u8], end: bool) -> usize {
        let mut taken = 0;
        loop {
            let rest = &data[taken..];
            let allowed = rest.len().min(MAX_CHUNK).min(usize::try_from(self.credit).unwrap_or(usize::MAX));
            if allowed == 0 && !rest.is_empty() && self.head_sent {
                return taken;
            }
            let last = end && allowed == rest.len();
            self.put_frame(&rest[..allowed], last);
            self.credit -= allowed as u64;
            taken += allowed;
            if taken == data.len() {
                return taken;
            }
        }
    }

    fn put_frame(&mut self, data: &[u8], end: bool) {
        if self.head_sent && data.is_empty() && !end {
            return;
        }
        let id = self.id;
        let spent = if end || self.head.is_some() { self.spent() } else { None };
        let head = self.head.take();
        let place = self.link.outbox().push_with(spent, |out| match head {
            Some(head) => head.encode(out, id, data, if end { flag::END } else { 0 }),
            None => FromWorker::Body { id, data, end, done: false }.encode(out),
        });
        self.head_sent = true;
        self.ended = end;
        self.place = Some(place);
    }

    /// True when `more` further bytes would not reach the stated length, so the end must not be marked.
    pub(crate) fn falls_short(&self, more: usize) -> bool {
        self.expected.is_some_and(|expected| expected > more as u64)
    }

    /// Accept a WebSocket. Its frames follow the head, so the head cannot carry DONE.
    pub(crate) fn accept(&mut self, head: Head) {
        self.set_head(head);
        self.put(&[], false);
        self.place = None;
    }

    /// True when `more` bytes reach the stated length.
    pub(crate) fn completes(&self, more: usize) -> bool {
        self.expected.is_some_and(|expected| expected <= more as u64)
    }

    /// The application is finished with the request: say DONE, on the last frame if that has not left.
    pub(crate) fn finish(&mut self) {
        if self.done {
            return;
        }
        self.done = true;
        let id = self.id;
        let spent = self.spent();
        let mut outbox = self.link.outbox();
        if !self.place.is_some_and(|place| outbox.mark_done(place, spent)) {
            outbox.push_with(spent, |out| FromWorker::Done { id }.encode(out));
        }
    }

    /// The application failed: say so, unless the response was already complete, and say DONE.
    pub(crate) fn fail(&mut self, reason: &str) {
        if self.done || self.ended {
            return self.finish();
        }
        self.done = true;
        self.ended = true;
        let mut end = reason.len().min(Self::LONGEST_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let failed = FromWorker::Failed { id: self.id, reason: &reason[..end], done: true };
        let spent = self.spent();
        self.link.outbox().push_with(spent, |out| failed.encode(out));
    }

    /// An event loop ran another step of its task.
    pub(crate) fn add_step(&mut self, step: Total) {
        if let Some((_, total)) = &mut self.steps {
            *total = total.and(step);
        }
    }

    /// What the request has taken until now, as far as this thread knows.
    fn spent(&self) -> Option<Spent> {
        match self.steps {
            None => measure::spent(self.id),
            Some((since, before)) => Some(measure::spent_in_steps(self.id, before, since)),
        }
    }

    const LONGEST_REASON: usize = 1000;
}
