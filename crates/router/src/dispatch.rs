//! Which worker gets the next request: pure functions over numbers.

use std::time::Duration;

/// Time that requests may be expected to wait inside a busy worker because they were handed over early. It is what
/// batching may cost a request; a socket wake-up costs a tenth of it.
const AHEAD: Duration = Duration::from_micros(300);

/// The same when many are waiting, and waiting longer than that in any case.
const LONGEST_AHEAD: Duration = Duration::from_micros(1600);

/// Requests that take longer are never handed over early.
const WORTHWHILE: Duration = Duration::from_millis(2);

/// Most requests handed over early, however fast they are.
const MOST_AHEAD: usize = 64;

/// Nanoseconds that a request is taken to need at least: workers tell whole microseconds.
const QUICKEST: f64 = 1000.0;

/// How fast the estimate of the service time moves, per observation.
const STEP: f32 = 1.05;

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
    /// It runs one that is run again: nothing is to wait behind that, see [`choose`].
    pub(crate) reruns: bool,
}

/// What a worker has finished since it was last heard of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Finished {
    pub(crate) requests: usize,
    /// Those of them for which it said how long it was with them, and how long in all.
    pub(crate) told: usize,
    pub(crate) wall: Duration,
}

impl Finished {
    /// One more; `wall`: the time that the worker was with it, as far as that is believed.
    pub(crate) fn count(&mut self, wall: Option<Duration>) {
        self.requests += 1;
        self.told += usize::from(wall.is_some());
        self.wall += wall.unwrap_or_default();
    }

    /// The time that one of them occupied one of `slots`, in nanoseconds, as seen from here: with the way and the router's own
    /// work, if the worker was `busy` for so long with all of them.
    fn seen(&self, busy: Duration, slots: usize) -> f64 {
        nanos(busy) * slots.min(self.requests).max(1) as f64 / self.requests as f64
    }

    /// The same as the worker told, if it did for all of them.
    fn told(&self) -> Option<f64> {
        (self.told == self.requests).then(|| (nanos(self.wall) / self.requests as f64).max(QUICKEST))
    }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// Running estimate of a time in nanoseconds. A step of fixed ratio up or down follows the median: neither a slow request now
/// and then nor the router's own pauses mislead it. What waits behind a slow request is given back (`App::tick`), so a wrong
/// guess costs little. Seven digits are enough, and there may be thousands of applications.
#[derive(Debug, Clone, Copy, Default)]
struct Median(Option<f32>);

impl Median {
    fn follow(&mut self, sample: f64) {
        let sample = sample as f32;
        self.0 = Some(match self.0 {
            Some(nanos) if sample < nanos => nanos / STEP,
            Some(nanos) => nanos * STEP,
            None => sample,
        });
    }

    fn nanos(self) -> Option<f64> {
        self.0.map(f64::from)
    }
}

/// Running estimates of the time one request occupies a slot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ServiceTime {
    /// As seen from here: what silence is measured by.
    seen: Median,
    /// The worker's own part of it, as far as that is known: what is worth handing over ahead.
    own: Median,
}

impl ServiceTime {
    /// A worker with `slots` slots was `busy` for so long with what it `finished`, at least one request.
    pub(crate) fn learn(&mut self, busy: Duration, finished: &Finished, slots: usize) {
        let seen = finished.seen(busy, slots);
        self.seen.follow(seen);
        self.own.follow(finished.told().map_or(seen, |told| told.min(seen)));
    }

    /// How many requests to hand to a busy worker ahead of time, when so many are `waiting` for each worker.
    ///
    /// One, if it is fast enough, so that it need not wait for the next while its answer travels. More for faster ones:
    /// [`AHEAD`] worth of work, or a quarter of what the line is worth anyway, up to [`LONGEST_AHEAD`].
    fn ahead(self, waiting: f64) -> usize {
        let Some(nanos) = self.own.nanos().filter(|nanos| *nanos < WORTHWHILE.as_nanos() as f64) else {
            return 0;
        };
        let line = waiting * nanos / 4.0;
        let time = line.clamp(AHEAD.as_nanos() as f64, LONGEST_AHEAD.as_nanos() as f64);
        ((time / nanos) as usize).clamp(1, MOST_AHEAD)
    }

    /// How long a worker may be silent before it is strange that it does not answer: a few times a usual request.
    pub(crate) fn patience(self, least: Duration) -> Duration {
        self.seen.nanos().map_or(least, |nanos| Duration::from_nanos((3.0 * nanos) as u64).max(least))
    }
}

/// The index of the worker to use: a free slot first, of the least loaded worker; then, for fast applications, a place
/// in the shortest line inside a worker.
///
/// A request that is run again (`rerun`) may be the one that ended its worker. It only gets a free slot, and nothing is handed
/// over ahead behind it: what waits there would end with the worker, and has been run again itself.
pub(crate) fn choose(
    candidates: impl Iterator<Item = Candidate> + Clone,
    service: ServiceTime,
    waiting: usize,
    rerun: bool,
) -> Option<usize> {
    let workers = candidates.clone().filter(|candidate| candidate.serving).count();
    let ahead = service.ahead(waiting as f64 / workers.max(1) as f64);
    let silent = service.patience(SILENT);
    candidates
        .enumerate()
        .filter(|(_, candidate)| candidate.serving)
        .filter(|(_, candidate)| {
            let free = candidate.load < candidate.slots;
            let line = candidate.load < candidate.slots + ahead && candidate.silent < silent;
            free || (line && !rerun && !candidate.reruns)
        })
        .min_by_key(|(_, candidate)| (candidate.load >= candidate.slots, candidate.load))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(load: usize, slots: usize) -> Candidate {
        Candidate { serving: true, load, slots, silent: Duration::ZERO, reruns: false }
    }

    fn untold(requests: usize) -> Finished {
        Finished { requests, ..Finished::default() }
    }

    fn service(micros: u64) -> ServiceTime {
        let mut service = ServiceTime::default();
        service.learn(Duration::from_micros(micros), &untold(1), 1);
        service
    }

    #[test]
    fn prefers_a_free_slot_of_the_least_loaded_worker() {
        let pick = |workers: &[Candidate]| choose(workers.iter().copied(), service(10), 0, false);
        assert_eq!(pick(&[worker(1, 1), worker(0, 1), worker(0, 1)]), Some(1));
        assert_eq!(pick(&[worker(5, 8), worker(3, 8)]), Some(1));
        assert_eq!(pick(&[Candidate { serving: false, ..worker(0, 1) }, worker(3, 8)]), Some(1));
        assert_eq!(pick(&[worker(7, 8), worker(1, 1)]), Some(0), "a free slot beats a shorter line");
        assert_eq!(pick(&[]), None);
    }

    #[test]
    fn hands_over_early_only_to_fast_workers() {
        let one_busy = |service| choose([worker(1, 1)].into_iter(), service, 0, false);
        assert_eq!(one_busy(service(10)), Some(0));
        assert_eq!(one_busy(service(1_000)), Some(0), "one, to bridge the way there and back");
        assert_eq!(one_busy(service(5_000)), None, "slow requests wait in the common queue");
        assert_eq!(one_busy(ServiceTime::default()), None, "nothing is known yet");
        let silent = Candidate { silent: SILENT, ..worker(1, 1) };
        assert_eq!(choose([silent].into_iter(), service(10), 0, false), None, "it has just turned slow");
        assert_eq!(choose([worker(65, 1)].into_iter(), service(1), 1000, false), None, "bounded");
    }

    #[test]
    fn what_runs_again_runs_alone() {
        let pick = |worker, rerun| choose([worker].into_iter(), service(10), 0, rerun);
        assert_eq!(pick(worker(0, 1), true), Some(0));
        assert_eq!(pick(worker(1, 1), true), None, "not behind others");
        assert_eq!(pick(Candidate { reruns: true, ..worker(1, 1) }, false), None, "nor others behind it");
        assert_eq!(
            pick(Candidate { reruns: true, ..worker(1, 2) }, true),
            Some(0),
            "beside others, in slots"
        );
    }

    #[test]
    fn hands_over_more_when_many_wait() {
        assert_eq!(service(200).ahead(0.0), 1);
        assert_eq!(service(200).ahead(60.0), 8);
        assert_eq!(service(1_000).ahead(60.0), 1);
        assert_eq!(service(10).ahead(60.0), 30);
        // Each of two workers gets its part of the line only.
        let two = |load| choose([worker(load, 1), worker(load, 1)].into_iter(), service(200), 20, false);
        assert_eq!((two(2), two(3)), (Some(0), None));
    }

    #[test]
    fn believes_the_worker_where_it_was_faster_than_it_looked() {
        let told = |micros: u64| Finished { requests: 4, told: 4, wall: Duration::from_micros(4 * micros) };
        let ahead = |finished: Finished| {
            let mut service = ServiceTime::default();
            service.learn(Duration::from_micros(400), &finished, 1);
            service.ahead(0.0)
        };
        assert_eq!(ahead(untold(4)), 3, "100 us each, the way included");
        assert_eq!(ahead(told(10)), 30);
        assert_eq!(ahead(told(200)), 3, "never slower than was seen");
        assert_eq!(ahead(Finished { told: 3, ..told(10) }), 3, "not of all of them is known");
        assert_eq!(ahead(told(0)), MOST_AHEAD);
        let mut service = ServiceTime::default();
        service.learn(Duration::from_millis(4), &told(10), 1);
        assert_eq!(service.patience(Duration::ZERO), Duration::from_millis(3), "it answers in batches");
    }

    #[test]
    fn follows_the_median() {
        let mut estimate = service(10_000);
        estimate.learn(Duration::from_micros(10), &untold(1), 1);
        assert_eq!(estimate.ahead(0.0), 0, "one fast request proves nothing");
        for round in 0..300 {
            let micros = if round % 10 == 0 { 100_000 } else { 10 };
            estimate.learn(Duration::from_micros(micros), &untold(1), 1);
        }
        assert!(estimate.ahead(0.0) > 10, "one slow request in ten does not matter");
        for _ in 0..200 {
            estimate.learn(Duration::from_millis(5), &untold(1), 1);
        }
        assert_eq!(estimate.ahead(0.0), 0);
    }
}
