//! How bursty arrivals were, measured and not quoted: the squared coefficient of variation of the gaps, and the index of
//! dispersion of the counts in windows of one second. Both are 1 for a Poisson process and 0 for even spacing.

/// Complete seconds without which the counts say nothing about their variance.
const FEWEST_WINDOWS: f64 = 10.0;
const WINDOW: u64 = 1_000_000_000;

/// Sums over ascending arrival times, in nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Dispersion {
    count: u64,
    last: u64,
    gaps: Moments,
    windows: Moments,
    window_ends: u64,
    in_window: u64,
}

#[derive(Debug, Clone, Default)]
struct Moments {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn push(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    /// Mean and (population) variance; NaN when there is nothing.
    fn of(&self) -> (f64, f64) {
        let mean = self.sum / self.count;
        (mean, (self.squares / self.count - mean * mean).max(0.0))
    }
}

impl Dispersion {
    pub fn push(&mut self, time: u64) {
        if self.count == 0 {
            // Windows begin with the first arrival, wherever that is.
            self.window_ends = time.saturating_add(WINDOW);
        } else {
            self.gaps.push(time.saturating_sub(self.last) as f64 / 1e9);
        }
        while time >= self.window_ends {
            self.windows.push(self.in_window as f64);
            self.in_window = 0;
            // A pause longer than centuries ends the windows.
            let Some(next) = self.window_ends.checked_add(WINDOW) else { break };
            self.window_ends = next;
        }
        self.in_window += 1;
        self.count += 1;
        self.last = time;
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Variance of the gaps over their squared mean; NaN below two arrivals.
    #[must_use]
    pub fn gaps_cv2(&self) -> f64 {
        let (mean, variance) = self.gaps.of();
        variance / (mean * mean)
    }

    /// Variance over mean of the counts in complete seconds; NaN when there are fewer than ten.
    #[must_use]
    pub fn index_of_dispersion(&self) -> f64 {
        let (mean, variance) = self.windows.of();
        if self.windows.count < FEWEST_WINDOWS { f64::NAN } else { variance / mean }
    }
}
