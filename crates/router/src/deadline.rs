//! The deadlines of one request, as functions of moments. It reads no clock.
//!
//! ```text
//!  arrived ---- no worker serves yet ----> warm ---- waits ----> handed over ---- runs ----> first byte ----> last byte
//!     |<------- start_patience ---------->|
//!                                         |<- queue_timeout -->|<- first_byte_timeout ->|
//!                                         |<------------------- request_timeout ------------------------------>|
//! ```

use std::time::{Duration, Instant};

use crate::answer::Problem;
use crate::settings::Settings;

/// The limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) body_size: u64,
}

/// From when the waiting of a request counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    /// For the request as a whole.
    began: Instant,
    /// For its place in the queue.
    queued: Instant,
    /// No worker has served since it came: neither counts yet.
    cold: bool,
}

impl Wait {
    pub(crate) fn new(arrived: Instant) -> Self {
        Wait { began: arrived, queued: arrived, cold: false }
    }

    /// It enters the queue; `warm`: a worker serves.
    #[must_use]
    pub(crate) fn entered(self, warm: bool) -> Self {
        Wait { cold: !warm, ..self }
    }

    /// A worker serves from now on: what a request that came before waits for from here is a slot.
    #[must_use]
    pub(crate) fn warmed_up(self, now: Instant) -> Self {
        if self.cold { Wait::new(now) } else { self }
    }

    /// It is in the queue again.
    #[must_use]
    pub(crate) fn again(self, now: Instant) -> Self {
        Wait { queued: now, ..self }
    }

    /// Why it must not wait in the queue any longer, if so.
    pub(crate) fn too_long(self, now: Instant, limits: &Limits, settings: &Settings) -> Option<Problem> {
        if self.cold {
            return over(self.queued, now, settings.start_patience).then_some(Problem::NOT_STARTED);
        }
        if limits.request_timeout.is_some_and(|limit| over(self.began, now, limit)) {
            return Some(Problem::DEADLINE);
        }
        over(self.queued, now, settings.queue_timeout).then_some(Problem::QUEUED_TOO_LONG)
    }

    /// Which deadline passed while a worker had it. `answer_due`: from when the application could answer and has not
    /// begun to.
    pub(crate) fn overdue(
        self,
        now: Instant,
        limits: &Limits,
        answer_due: Option<Instant>,
    ) -> Option<Problem> {
        if limits.request_timeout.is_some_and(|limit| over(self.began, now, limit)) {
            return Some(Problem::DEADLINE);
        }
        let late =
            answer_due.zip(limits.first_byte_timeout).is_some_and(|(due, limit)| over(due, now, limit));
        late.then_some(Problem::FIRST_BYTE)
    }
}

fn over(since: Instant, now: Instant, limit: Duration) -> bool {
    now.saturating_duration_since(since) >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> Settings {
        Settings { queue_timeout: 10 * SECOND, start_patience: 60 * SECOND, ..crate::fuzzing::settings() }
    }

    const LIMITS: Limits =
        Limits { request_timeout: Some(Duration::from_secs(30)), first_byte_timeout: None, body_size: 0 };

    #[test]
    fn a_slot_is_waited_for_until_the_queue_timeout() {
        let start = Instant::now();
        let wait = Wait::new(start).entered(true).warmed_up(start + 5 * SECOND);
        assert_eq!(wait.too_long(start + 9 * SECOND, &LIMITS, &settings()), None);
        assert_eq!(wait.too_long(start + 10 * SECOND, &LIMITS, &settings()), Some(Problem::QUEUED_TOO_LONG));
        assert_eq!(wait.too_long(start + 30 * SECOND, &LIMITS, &settings()), Some(Problem::DEADLINE));
    }

    #[test]
    fn a_cold_start_comes_before_all_other_deadlines() {
        let start = Instant::now();
        let cold = Wait::new(start).entered(false);
        assert_eq!(cold.too_long(start + 59 * SECOND, &LIMITS, &settings()), None);
        assert_eq!(cold.too_long(start + 60 * SECOND, &LIMITS, &settings()), Some(Problem::NOT_STARTED));
        let warm = cold.warmed_up(start + 50 * SECOND);
        assert_eq!(warm.too_long(start + 59 * SECOND, &LIMITS, &settings()), None);
        assert_eq!(warm.too_long(start + 60 * SECOND, &LIMITS, &settings()), Some(Problem::QUEUED_TOO_LONG));
        assert_eq!(warm.overdue(start + 79 * SECOND, &LIMITS, None), None);
        assert_eq!(warm.overdue(start + 80 * SECOND, &LIMITS, None), Some(Problem::DEADLINE));
    }

    #[test]
    fn running_again_renews_the_place_and_not_the_request() {
        let start = Instant::now();
        let again = Wait::new(start).entered(true).again(start + 15 * SECOND);
        assert_eq!(again.too_long(start + 24 * SECOND, &LIMITS, &settings()), None);
        assert_eq!(again.too_long(start + 25 * SECOND, &LIMITS, &settings()), Some(Problem::QUEUED_TOO_LONG));
        assert_eq!(again.overdue(start + 30 * SECOND, &LIMITS, None), Some(Problem::DEADLINE));
    }

    #[test]
    fn the_first_byte_is_due_from_when_it_could_come() {
        let start = Instant::now();
        let limits = Limits { first_byte_timeout: Some(2 * SECOND), ..LIMITS };
        let wait = Wait::new(start).entered(true);
        let due = Some(start + 5 * SECOND);
        assert_eq!(wait.overdue(start + 6 * SECOND, &limits, due), None);
        assert_eq!(wait.overdue(start + 7 * SECOND, &limits, due), Some(Problem::FIRST_BYTE));
        assert_eq!(wait.overdue(start + 7 * SECOND, &limits, None), None, "it has begun");
        assert_eq!(wait.overdue(start + 30 * SECOND, &limits, due), Some(Problem::DEADLINE));
    }
}
