//! What every part of one router thread shares.

use std::cell::{Cell, Ref, RefCell};
use std::time::Instant;

use crate::access_log::AccessLog;
use crate::http::date::{Civil, unix_now};
use crate::watchdog::Watchdogs;

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) clock: Clock,
    pub(crate) watchdogs: Watchdogs,
    pub(crate) access_log: Option<AccessLog>,
    /// No new connections; finish what is under way and close.
    pub(crate) stopping: Cell<bool>,
    /// Open client connections, without those that are being refused.
    pub(crate) connections: Cell<usize>,
    /// Connections over the limit that are being told so.
    pub(crate) refusals: Cell<usize>,
    next_id: Cell<u64>,
    random: Cell<u64>,
}

impl Core {
    pub(crate) fn new(access_log: Option<AccessLog>, seed: u64) -> Self {
        Core {
            clock: Clock::new(),
            watchdogs: Watchdogs::default(),
            access_log,
            stopping: Cell::new(false),
            connections: Cell::new(0),
            refusals: Cell::new(0),
            next_id: Cell::new(1),
            random: Cell::new(seed),
        }
    }

    /// Ids of requests on the wire: never used twice.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// A request id for people: 16 hexadecimal digits, unguessable enough to tell requests apart (splitmix64).
    pub(crate) fn request_id(&self) -> Box<str> {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        (0..16)
            .rev()
            .map(|nibble| char::from(DIGITS[(mixed >> (4 * nibble)) as usize & 15]))
            .collect::<String>()
            .into()
    }

    /// The router's sweep: see [`crate::watchdog::SWEEP`].
    pub(crate) fn sweep(&self, now: Instant) {
        self.clock.update();
        self.watchdogs.sweep(now, self.stopping.get());
    }
}

/// The text of the Date field, renewed by the sweep instead of formatted for every response.
#[derive(Debug)]
pub(crate) struct Clock {
    second: Cell<u64>,
    http_date: RefCell<String>,
}

impl Clock {
    fn new() -> Self {
        let clock = Clock { second: Cell::new(u64::MAX), http_date: RefCell::default() };
        clock.update();
        clock
    }

    fn update(&self) {
        let second = unix_now().as_secs();
        if self.second.replace(second) != second {
            *self.http_date.borrow_mut() = Civil::from_unix(second).http_date();
        }
    }

    pub(crate) fn http_date(&self) -> Ref<'_, str> {
        Ref::map(self.http_date.borrow(), String::as_str)
    }
}
