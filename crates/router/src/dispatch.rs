//! Which worker gets the next request: pure functions over numbers.

use std::time::Duration;

/// Time that requests may be expected to wait inside a busy worker because they were handed over early. It is what
/// batching may cost a request; a socket wake-up costs a tenth of it.
const AHEAD: Duration = Duration::from_micros(300);

/// The same when many are waiting, and waiting longer than that in any case.
const LONGEST_AHEAD: Duration = Duration::from_micros(800);

/// Requests that take longer are never handed over early.
const WORTHWHILE: Duration = Duration::from_millis(2);

/// Most requests handed over early, however fast they are.
const MOST_AHEAD: usize = 32;

/// How fast the estimate of the service time moves, per observation.
const STEP: f64 = 1.05;

/// A busy worker that has been silent for longer is not handed anything early.
const SILENT: Duration = Duration::from_millis(1);

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) serving: bool,
    pub(crate) load: usize,
    pub(crate) slots: usize,
    /// Since its last sign of life, or since it got work after being idle.
    pub(crate) silent: Duration,
}

/// Running estimate of the time one request occupies a slot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ServiceTime {
    nanos: Option<f64>,
}

impl ServiceTime {
    /// `done` requests were finished in `busy` time by a worker with `slots` slots.
    pub(crate) fn learn(&mut self, busy: Duration, done: usize, slots: usize) {
        if done == 0 {
            return;
        }
        let sample = busy.as_secs_f64() * 1e9 * slots.min(done).max(1) as f64 / done as f64;
        // A step of fixed ratio up or down follows the median: neither a slow request now and then nor the router's own
        // pauses mislead it. What waits behind a slow request is given back (`App::tick`), so a wrong guess costs little.
        self.nanos = Some(match self.nanos {
            Some(nanos) if sample < nanos => nanos / STEP,
            Some(nanos) => nanos * STEP,
            None => sample,
        });
    }

    /// How many requests to hand to a busy worker ahead of time, when so many are `waiting`.
    ///
    /// One, if it is fast enough, so that it need not wait for the next while its answer travels. More for faster ones:
    /// [`AHEAD`] worth of work, or a quarter of what the line is worth anyway, up to [`LONGEST_AHEAD`].
    pub(crate) fn ahead(self, waiting: usize) -> usize {
        let Some(nanos) = self.nanos.filter(|nanos| *nanos < WORTHWHILE.as_nanos() as f64) else { return 0 };
        let line = waiting as f64 * nanos / 4.0;
        let time = line.clamp(AHEAD.as_nanos() as f64, LONGEST_AHEAD.as_nanos() as f64);
        ((time / nanos.max(1.0)) as usize).clamp(1, MOST_AHEAD)
    }

    /// How long a worker may be silent before it is strange that it does not answer: a few times a usual request.
    pub(crate) fn patience(self, least: Duration) -> Duration {
        self.nanos.map_or(least, |nanos| Duration::from_nanos((3.0 * nanos) as u64).max(least))
    }
}

/// The index of the worker to use: a free slot first, of the least loaded worker; then, for fast applications, a place
/// in the shortest line inside a worker.
pub(crate) fn choose(
    candidates: impl Iterator<Item = Candidate>,
    service: ServiceTime,
    waiting: usize,
) -> Option<usize> {
    let ahead = service.ahead(waiting);
    let silent = service.patience(SILENT);
    candidates
        .enumerate()
        .filter(|(_, candidate)| candidate.serving)
        .filter(|(_, candidate)| {
            let free = candidate.load < candidate.slots;
            free || (candidate.load < candidate.slots + ahead && candidate.silent < silent)
        })
        .min_by_key(|(_, candidate)| (candidate.load >= candidate.slots, candidate.load))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(load: usize, slots: usize) -> Candidate {
        Candidate { serving: true, load, slots, silent: Duration::ZERO }
    }

    fn service(micros: u64) -> ServiceTime {
        let mut service = ServiceTime::default();
        service.learn(Duration::from_micros(micros), 1, 1);
        service
    }

    #[test]
    fn prefers_a_free_slot_of_the_least_loaded_worker() {
        let pick = |workers: &[Candidate]| choose(workers.iter().copied(), service(10), 0);
        assert_eq!(pick(&[worker(1, 1), worker(0, 1), worker(0, 1)]), Some(1));
        assert_eq!(pick(&[worker(5, 8), worker(3, 8)]), Some(1));
        assert_eq!(pick(&[Candidate { serving: false, ..worker(0, 1) }, worker(3, 8)]), Some(1));
        assert_eq!(pick(&[worker(7, 8), worker(1, 1)]), Some(0), "a free slot beats a shorter line");
        assert_eq!(pick(&[]), None);
    }

    #[test]
    fn hands_over_early_only_to_fast_workers() {
        let one_busy = |service| choose([worker(1, 1)].into_iter(), service, 0);
        assert_eq!(one_busy(service(10)), Some(0));
        assert_eq!(one_busy(service(1_000)), Some(0), "one, to bridge the way there and back");
        assert_eq!(one_busy(service(5_000)), None, "slow requests wait in the common queue");
        assert_eq!(one_busy(ServiceTime::default()), None, "nothing is known yet");
        let silent = Candidate { silent: SILENT, ..worker(1, 1) };
        assert_eq!(choose([silent].into_iter(), service(10), 0), None, "it has just turned slow");
        assert_eq!(choose([worker(33, 1)].into_iter(), service(1), 1000), None, "bounded");
    }

    #[test]
    fn hands_over_more_when_many_wait() {
        assert_eq!(service(200).ahead(0), 1);
        assert_eq!(service(200).ahead(60), 4);
        assert_eq!(service(1_000).ahead(60), 1);
        assert_eq!(service(10).ahead(60), 30);
    }

    #[test]
    fn follows_the_median() {
        let mut estimate = service(10_000);
        estimate.learn(Duration::from_micros(10), 1, 1);
        assert_eq!(estimate.ahead(0), 0, "one fast request proves nothing");
        for round in 0..300 {
            let micros = if round % 10 == 0 { 100_000 } else { 10 };
            estimate.learn(Duration::from_micros(micros), 1, 1);
        }
        assert!(estimate.ahead(0) > 10, "one slow request in ten does not matter");
        for _ in 0..200 {
            estimate.learn(Duration::from_millis(5), 1, 1);
        }
        assert_eq!(estimate.ahead(0), 0);
    }
}
