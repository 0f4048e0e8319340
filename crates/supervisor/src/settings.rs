//! What may be configured, with the defaults.
//!
//! Values are taken as they are, except that [`Settings::checked`] raises zeros which would make no sense (for the numbers
//! of workers `elastic.rs` does, because these change).

use std::time::Duration;

/// An operator's number of workers ends here (or at `max_workers`, if that is more): a slip of the finger must not fill the
/// machine with processes.
pub const MOST_WORKERS: usize = 256;

/// Settings of one application's supervisor. All durations are wall-clock time as the driver measures it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// There are never fewer workers wanted. 0: none is started before the first request.
    pub min_workers: usize,
    /// Requests that wait raise the number of workers up to this; at least `min_workers`, at least 1.
    pub max_workers: usize,
    /// A worker above `min_workers` leaves when it was not needed for so long; at least 2 s.
    pub idle: Duration,
    /// How many replacements of retiring workers may run beside the wanted number; at least 1.
    pub surge: usize,
    /// From `Action::Spawn` to `Event::Ready`.
    pub start_timeout: Duration,
    /// From `Action::Drain` to `Event::Exited`.
    pub graceful_timeout: Duration,
    /// The same for a worker that hung: its healthy requests get this long, at most `graceful_timeout`.
    pub hang_grace: Duration,
    /// `SIGKILL` is sent again this long after the last one while the process is not reaped.
    pub kill_repeat: Duration,
    /// Requests per worker before it is replaced.
    pub max_requests: Option<u64>,
    /// Up to this many are added at random, so that workers are not all replaced together.
    pub max_requests_jitter: u64,
    /// First pause before a failed start is tried again.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
    /// A worker that served this long is not part of a crash loop.
    pub stable_after: Duration,
    /// So many deaths in a row before `stable_after` are replaced without a pause.
    pub forgiven_fast_deaths: u32,
    /// End the application when its first start fails (`serve`) instead of trying again (a host of many).
    pub give_up_on_first_boot_failure: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min_workers: 1,
            max_workers: 1,
            idle: Duration::from_secs(300),
            surge: 1,
            start_timeout: Duration::from_secs(60),
            graceful_timeout: Duration::from_secs(30),
            hang_grace: Duration::from_secs(2),
            kill_repeat: Duration::from_secs(5),
            max_requests: None,
            max_requests_jitter: 0,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(180),
            stable_after: Duration::from_secs(1),
            forgiven_fast_deaths: 20,
            give_up_on_first_boot_failure: false,
        }
    }
}

impl Settings {
    /// The same with every bound that other code relies on: no zero counts, no empty intervals, ordered limits.
    pub(crate) fn checked(mut self) -> Self {
        let tick = Duration::from_millis(1);
        self.surge = self.surge.max(1);
        // A deadline must lie after the step that sets it, or the driver would spin.
        for timeout in
            [&mut self.start_timeout, &mut self.graceful_timeout, &mut self.hang_grace, &mut self.kill_repeat]
        {
            *timeout = (*timeout).max(tick);
        }
        // A hung worker gets no more time than a healthy one.
        self.hang_grace = self.hang_grace.min(self.graceful_timeout);
        self.backoff_min = self.backoff_min.max(tick);
        self.backoff_max = self.backoff_max.max(self.backoff_min);
        self
    }
}
