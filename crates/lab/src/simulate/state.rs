//! Requests that are somewhere in the system, and the two lines through them: who waits in the host's queue, and whose time
//! runs out when.

use std::collections::VecDeque;

/// No request.
pub(super) const NONE: u32 = u32::MAX;

/// Requests that may be in the system at a time, attempts that nobody waits for included; what comes beyond is not sent.
/// The load generator has such a bound too.
pub(super) const MOST_REQUESTS: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    /// At its client, which pauses before the next attempt.
    Paused,
    Queued,
    /// In a worker: running or ready to run.
    Inside,
    /// In a worker, waiting for a time.
    Waiting,
    /// In a worker, waiting for the disk.
    Writing,
}

/// One attempt of one client.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// When the first attempt was sent.
    pub(super) planned: f64,
    /// When this one came to the host.
    pub(super) sent: f64,
    /// Processor time of each part between two waits, and what is left of this one.
    pub(super) part: f64,
    pub(super) left: f64,
    /// Of each wait.
    pub(super) wait: f64,
    pub(super) waits: u16,
    pub(super) fsyncs: u16,
    pub(super) class: u16,
    pub(super) sample: u16,
    pub(super) lane: u16,
    pub(super) attempt: u8,
    pub(super) place: Place,
    /// Nobody waits for the answer any more.
    pub(super) left_alone: bool,
    pub(super) replayed: bool,
    pub(super) next: u32,
    pub(super) epoch: u32,
}

/// Bit of an epoch that tells a request's second run from its first.
const REPLAYED: u32 = 1 << 31;

impl Request {
    /// What a timer of this run carries.
    #[inline]
    pub(super) fn run(&self) -> u32 {
        if self.replayed { self.epoch | REPLAYED } else { self.epoch }
    }
}

/// All of them, by number. Numbers are used again, with another epoch.
#[derive(Debug)]
pub(super) struct Requests {
    slab: Vec<Request>,
    free: Vec<u32>,
    pub(super) live: usize,
}

impl Requests {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Requests { slab: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), live: 0 }
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> &Request {
        &self.slab[id as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> &mut Request {
        &mut self.slab[id as usize]
    }

    /// None when there are too many.
    #[inline]
    pub(super) fn add(&mut self, now: f64, planned: f64, class: u16, sample: u16) -> Option<u32> {
        let request = Request {
            planned,
            sent: now,
            part: 0.0,
            left: 0.0,
            wait: 0.0,
            waits: 0,
            fsyncs: 0,
            class,
            sample,
            lane: 0,
            attempt: 0,
            place: Place::Nowhere,
            left_alone: false,
            replayed: false,
            next: NONE,
            epoch: 0,
        };
        let id = match self.free.pop() {
            Some(id) => {
                let place = &mut self.slab[id as usize];
                *place = Request { epoch: place.epoch, ..request };
                id
            }
            None if self.slab.len() < MOST_REQUESTS => {
                self.slab.push(request);
                (self.slab.len() - 1) as u32
            }
            None => return None,
        };
        self.live += 1;
        Some(id)
    }

    #[inline]
    pub(super) fn remove(&mut self, id: u32) {
        let request = &mut self.slab[id as usize];
        request.place = Place::Nowhere;
        request.epoch = (request.epoch + 1) & !REPLAYED;
        self.free.push(id);
        self.live -= 1;
    }

    pub(super) fn ids(&self) -> std::ops::Range<u32> {
        0..self.slab.len() as u32
    }

    #[inline]
    pub(super) fn is_current(&self, id: u32, epoch: u32) -> bool {
        let request = self.get(id);
        request.epoch == epoch && request.place != Place::Nowhere
    }
}

/// Those who wait for a slot, those whose client left among them until they are met.
#[derive(Debug)]
pub(super) struct Line {
    entries: VecDeque<(u32, u32)>,
    /// That still wait.
    pub(super) length: usize,
    /// When it was last empty.
    pub(super) empty_at: f64,
}

impl Line {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Line { entries: VecDeque::with_capacity(capacity), length: 0, empty_at: 0.0 }
    }

    #[inline]
    pub(super) fn push(&mut self, requests: &mut Requests, id: u32, in_front: bool) {
        if self.entries.len() >= 2 * self.length + 64 {
            self.entries.retain(|&(id, epoch)| waits(requests, id, epoch));
        }
        let request = requests.get_mut(id);
        request.place = Place::Queued;
        let entry = (id, request.epoch);
        if in_front {
            self.entries.push_front(entry);
        } else {
            self.entries.push_back(entry);
        }
        self.length += 1;
    }

    #[inline]
    pub(super) fn pop(&mut self, requests: &Requests, last: bool) -> Option<u32> {
        while self.length > 0 {
            let (id, epoch) = if last { self.entries.pop_back() } else { self.entries.pop_front() }?;
            if waits(requests, id, epoch) {
                self.length -= 1;
                return Some(id);
            }
        }
        self.entries.clear();
        None
    }

    /// The one that has waited longest.
    #[inline]
    pub(super) fn first(&mut self, requests: &Requests) -> Option<u32> {
        while let Some(&(id, epoch)) = self.entries.front() {
            if waits(requests, id, epoch) {
                return Some(id);
            }
            self.entries.pop_front();
        }
        None
    }
}

fn waits(requests: &Requests, id: u32, epoch: u32) -> bool {
    let request = requests.get(id);
    request.epoch == epoch && request.place == Place::Queued
}

/// Times that run out in the order in which they were set, because all are the same length.
#[derive(Debug)]
pub(super) struct Deadlines {
    length: Option<f64>,
    entries: VecDeque<(f64, u32, u32)>,
}

impl Deadlines {
    pub(super) fn new(length: Option<f64>, capacity: usize) -> Self {
        Deadlines { length, entries: VecDeque::with_capacity(capacity) }
    }

    #[inline]
    pub(super) fn next(&self) -> f64 {
        self.entries.front().map_or(f64::INFINITY, |entry| entry.0)
    }

    #[inline]
    pub(super) fn set(&mut self, requests: &Requests, now: f64, id: u32) {
        let Some(length) = self.length else { return };
        // Those in front that are done are forgotten here, so that the line is as long as what is under way.
        while let Some(&(_, id, epoch)) = self.entries.front() {
            if requests.is_current(id, epoch) {
                break;
            }
            self.entries.pop_front();
        }
        self.entries.push_back((now + length, id, requests.get(id).epoch));
    }

    /// The one whose time is up, unless it is over anyway.
    pub(super) fn take(&mut self, requests: &Requests) -> Option<u32> {
        let (_, id, epoch) = self.entries.pop_front()?;
        requests.is_current(id, epoch).then_some(id)
    }
}
