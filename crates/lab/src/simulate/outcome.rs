//! What came of a run.

use hdrhistogram::Histogram;

/// Why a client got no answer in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It waited as long as it would.
    TimedOut,
    /// The host's queue was full.
    Refused,
    /// It waited too long in the host's queue.
    WaitedTooLong,
    /// The host's deadline for the whole request.
    Deadline,
    /// Its worker died, twice.
    WorkerDied,
    /// More requests under way than are simulated.
    NotSent,
}

impl Failure {
    pub const COUNT: usize = Failure::NotSent as usize + 1;
    pub const ALL: [Failure; Failure::COUNT] = [
        Failure::TimedOut,
        Failure::Refused,
        Failure::WaitedTooLong,
        Failure::Deadline,
        Failure::WorkerDied,
        Failure::NotSent,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Failure::TimedOut => "timed out",
            Failure::Refused => "refused",
            Failure::WaitedTooLong => "waited too long",
            Failure::Deadline => "deadline",
            Failure::WorkerDied => "worker died",
            Failure::NotSent => "not sent",
        }
    }
}

/// Seconds of one window of [`Outcome::windows`].
pub const WINDOW: f64 = 0.1;
/// Windows that are kept; later ones are counted in the last.
const MOST_WINDOWS: usize = 36_000;

/// What came of a run. Requests of the warm-up are not in it, except in `windows` and `events`.
#[derive(Debug, Clone)]
pub struct Outcome {
    latency: Histogram<u64>,
    /// Latencies added up, in seconds.
    pub(super) sum: f64,
    /// Requests that had to wait for a slot, and for how long altogether, in seconds; attempts are counted one by one.
    pub queued: u64,
    pub queued_seconds: f64,
    /// Requests that clients meant to send, and those that were answered in the end.
    pub planned: u64,
    pub answered: u64,
    pub failed: [u64; Failure::COUNT],
    /// What clients sent, retries included.
    pub attempts: u64,
    pub retries: u64,
    /// Core seconds of the application, and seconds in which its quota stopped it.
    pub cpu_seconds: f64,
    pub throttled_seconds: f64,
    pub throttled_periods: f64,
    /// Slots in use, as an integral over the time.
    pub slot_seconds: f64,
    pub slots: usize,
    /// Workers that were killed.
    pub killed: u64,
    pub most_bytes: u64,
    /// Simulated time in which requests were counted.
    pub seconds: f64,
    /// Simulated time from the beginning to the end of the last request.
    pub elapsed: f64,
    /// Things that happened, each of them handled once.
    pub events: u64,
    /// Answers in time, by when they came, and attempts, by when they were sent.
    pub windows: Vec<(u32, u32)>,
    /// The run was cut off because it would not end.
    pub cut_off: bool,
}

impl Outcome {
    pub(super) fn new(windows: usize) -> Self {
        // Three digits from a microsecond to a day cannot fail.
        let latency = Histogram::new_with_bounds(1, 86_400 * 1_000_000, 3)
            .unwrap_or_else(|_| unreachable!("constant bounds are valid"));
        Outcome {
            latency,
            sum: 0.0,
            queued: 0,
            queued_seconds: 0.0,
            planned: 0,
            answered: 0,
            failed: [0; Failure::COUNT],
            attempts: 0,
            retries: 0,
            cpu_seconds: 0.0,
            throttled_seconds: 0.0,
            throttled_periods: 0.0,
            slot_seconds: 0.0,
            slots: 0,
            killed: 0,
            most_bytes: 0,
            seconds: 0.0,
            elapsed: 0.0,
            events: 0,
            windows: vec![(0, 0); windows.clamp(1, MOST_WINDOWS)],
            cut_off: false,
        }
    }

    #[inline]
    pub(super) fn record(&mut self, latency: f64) {
        self.answered += 1;
        self.sum += latency;
        self.latency.saturating_record((latency * 1e6).round() as u64);
    }

    #[inline]
    pub(super) fn window(&mut self, time: f64) -> &mut (u32, u32) {
        let last = self.windows.len() - 1;
        &mut self.windows[((time * (1.0 / WINDOW)) as usize).min(last)]
    }

    /// Seconds within which the share `q` of all planned requests was answered; infinite when more than the rest failed.
    #[must_use]
    pub fn latency(&self, q: f64) -> f64 {
        let needed = (q * self.planned as f64).ceil().max(1.0);
        if self.planned == 0 || needed > self.answered as f64 {
            return f64::INFINITY;
        }
        self.latency.value_at_quantile((needed / self.answered as f64).min(1.0)) as f64 / 1e6
    }

    /// Of those that were answered.
    #[must_use]
    pub fn mean_latency(&self) -> f64 {
        self.sum / self.answered as f64
    }

    /// Answers per second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.answered as f64 / self.seconds
    }

    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Share of the slots' time that was used.
    #[must_use]
    pub fn slots_used(&self) -> f64 {
        self.slot_seconds / (self.slots as f64 * self.elapsed)
    }

    /// Cores that were used on average.
    #[must_use]
    pub fn cores_used(&self) -> f64 {
        self.cpu_seconds / self.elapsed
    }

    /// Answers and attempts per second between two times.
    #[must_use]
    pub fn rates_between(&self, from: f64, to: f64) -> (f64, f64) {
        let index = |time: f64| ((time / WINDOW).round() as usize).min(self.windows.len());
        let windows = &self.windows[index(from)..index(to).max(index(from))];
        let seconds = windows.len() as f64 * WINDOW;
        let (good, sent) = windows.iter().fold((0_u64, 0_u64), |(good, sent), window| {
            (good + u64::from(window.0), sent + u64::from(window.1))
        });
        (good as f64 / seconds, sent as f64 / seconds)
    }
}
