//! What workers see inside of themselves: their event loop blocked, durable writes, stacks and allocations on demand.
//!
//! A worker may lie about all of it. Texts are cut, a worker that says too much is not heard, and what was not asked for is
//! no answer. Whose worker it is the host knows from the link.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::event::Worker;

/// Most observations of one worker that are passed on in [`PERIOD`]; the rest is dropped. An honest one sends fewer.
const MOST: u32 = 16;

const PERIOD: Duration = Duration::from_secs(1);

/// Most bytes of a name or a place.
const LINE: usize = 512;

/// Most bytes of a stack or a list.
const BLOCK: usize = 16 * 1024;

/// Most questions that one worker is asked at a time.
const QUESTIONS: usize = 8;

/// See [`wire::Blocked`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    pub worker: Worker,
    pub episode: u64,
    pub over: bool,
    pub milliseconds: u32,
    pub waited: u32,
    pub native: bool,
    pub place: String,
    pub call: String,
    pub inner: String,
    pub stack: String,
}

/// See [`wire::Durable`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    pub worker: Worker,
    pub event_loop: bool,
    pub count: u32,
    pub microseconds: u32,
    pub percent: u8,
    pub place: String,
    pub call: String,
    pub stack: String,
}

impl Blocked {
    pub(crate) fn of(worker: Worker, said: &wire::Blocked<'_>) -> Box<Self> {
        Box::new(Blocked {
            worker,
            episode: said.episode,
            over: said.over,
            milliseconds: said.milliseconds,
            waited: said.waited,
            native: said.native,
            place: cut(said.place, LINE),
            call: cut(said.call, LINE),
            inner: cut(said.inner, LINE),
            stack: cut(said.stack, BLOCK),
        })
    }
}

impl Durable {
    pub(crate) fn of(worker: Worker, said: &wire::Durable<'_>) -> Box<Self> {
        Box::new(Durable {
            worker,
            event_loop: said.event_loop,
            count: said.count,
            microseconds: said.microseconds,
            percent: said.percent.min(100),
            place: cut(said.place, LINE),
            call: cut(said.call, LINE),
            stack: cut(said.stack, BLOCK),
        })
    }
}

/// What one worker may still say.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    period: Cell<Option<Instant>>,
    heard: Cell<u32>,
    /// Questions without an answer, oldest first.
    asked: RefCell<Vec<u64>>,
}

impl Hearing {
    /// True if one more observation is passed on.
    pub(crate) fn hears(&self, now: Instant) -> bool {
        if self.period.get().is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            self.period.set(Some(now));
            self.heard.set(0);
        }
        self.heard.set(self.heard.get().saturating_add(1));
        self.heard.get() <= MOST
    }

    /// False if the worker owes too many answers.
    pub(crate) fn ask(&self, id: u64) -> bool {
        let mut asked = self.asked.borrow_mut();
        let room = asked.len() < QUESTIONS;
        if room {
            asked.push(id);
        }
        room
    }

    /// The text of an answer that was asked for, once.
    pub(crate) fn answered(&self, id: u64, text: &str) -> Option<String> {
        let mut asked = self.asked.borrow_mut();
        let position = asked.iter().position(|known| *known == id)?;
        asked.remove(position);
        Some(cut(text, BLOCK))
    }
}

/// The beginning of a text; it is escaped where it is shown.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_says_too_much_is_not_heard_for_the_rest_of_the_period() {
        let (hearing, start) = (Hearing::default(), Instant::now());
        let heard = |at| (0..100).filter(|_| hearing.hears(at)).count();
        assert_eq!(heard(start), 16);
        assert_eq!(heard(start + PERIOD / 2), 0);
        assert_eq!(heard(start + PERIOD), 16);
    }

    #[test]
    fn only_what_was_asked_for_is_an_answer_and_only_once() {
        let hearing = Hearing::default();
        assert_eq!(hearing.answered(1, "not asked"), None);
        assert!((0..8).all(|id| hearing.ask(id)));
        assert!(!hearing.ask(8), "questions are bounded");
        assert_eq!(hearing.answered(1, &"ä".repeat(BLOCK)).map(|text| text.len()), Some(BLOCK));
        assert_eq!(hearing.answered(1, "again"), None);
        assert!(hearing.ask(9));
    }
}
