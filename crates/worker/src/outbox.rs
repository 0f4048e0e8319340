//! Frames for the router that wait to be sent.
//!
//! Responses are collected and go out in one write per batch. A frame that has not left yet can still get the
//! DONE flag, which saves a frame per request. The outbox only collects; [`crate::link::Link::flush`] writes.

use std::time::{Duration, Instant};

use wire::{FromWorker, Spent, flag};

/// Where an encoded frame lies, as long as it has not been taken for sending and DONE may be put on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    epoch: u64,
    start: usize,
}

/// Whole frames that nobody has begun to write.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// Places of an older epoch are gone or closed.
    epoch: u64,
    /// When the oldest of the bytes was put here.
    since: Option<Instant>,
}

impl Outbox {
    /// Beyond this many bytes waiting costs more than a write.
    const FULL: usize = 64 * 1024;
    /// A finished answer waits at most this long for others to share its write: a write that wakes the router on another
    /// core costs 8 to 14 us (measured), and the router believes a worker to be slow that says nothing for 1 ms.
    const LONGEST_WAIT: Duration = Duration::from_micros(600);

    /// Append the one frame that `encode` writes.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Place {
        if self.since.is_none() {
            self.since = Some(Instant::now());
        }
        let start = self.bytes.len();
        encode(&mut self.bytes);
        Place { epoch: self.epoch, start }
    }

    /// The same with what its request has taken so far.
    pub(crate) fn push_with(&mut self, spent: Option<Spent>, encode: impl FnOnce(&mut Vec<u8>)) -> Place {
        self.push(|out| {
            let start = out.len();
            encode(out);
            if let Some(spent) = spent {
                spent.attach(out, start);
            }
        })
    }

    /// Append credit for `bytes` of the body of request `id`. No frame of a request may follow the one with
    /// DONE, so no frame before this one can carry that flag any more.
    pub(crate) fn push_credit(&mut self, id: u64, bytes: u32) {
        self.push(|out| FromWorker::Credit { id, bytes }.encode(out));
        self.epoch += 1;
    }

    /// Put DONE, and the final figures, on the last frame of a request, if it can still carry it; says whether it could.
    pub(crate) fn mark_done(&mut self, place: Place, spent: Option<Spent>) -> bool {
        let possible = place.epoch == self.epoch;
        if possible {
            wire::set_flag(&mut self.bytes, place.start, flag::DONE);
            if let Some(spent) = spent {
                spent.replace(&mut self.bytes, place.start);
            }
        }
        possible
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// True when the bytes should be written before the next request, which is expected to take as long as `previous` did,
    /// although more requests are at hand.
    pub(crate) fn is_due(&self, previous: Duration) -> bool {
        let late = |since: Instant| since.elapsed() + previous > Self::LONGEST_WAIT;
        self.bytes.len() > Self::FULL || self.since.is_some_and(late)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() > Self::FULL
    }

    /// Exchange the collected bytes for an empty buffer.
    pub(crate) fn take(&mut self, empty: &mut Vec<u8>) {
        debug_assert!(empty.is_empty());
        std::mem::swap(&mut self.bytes, empty);
        self.epoch += 1;
        self.since = None;
    }
}
