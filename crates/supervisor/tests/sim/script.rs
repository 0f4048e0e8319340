//! What is planned for one history: its settings, and when faults end, requests come and go, and it is stopped.

use std::time::Duration;

use supervisor::{Event, Settings};

use crate::random::Random;
use crate::world::{Code, Due, World};

/// No more workers are configured or scaled to.
pub(crate) const MOST: u64 = 8;

/// The shortest and the longest `idle`, here and in `Event::SetLimits`.
const IDLE_MILLIS: (u64, u64) = (500, 20_000);

pub(crate) fn settings(random: &mut Random) -> Settings {
    let (min_workers, max_workers, idle) = limits(random);
    Settings {
        min_workers,
        max_workers,
        idle,
        surge: usize::try_from(random.between(1, 2)).unwrap(),
        start_timeout: random.millis(2_000, 10_000),
        graceful_timeout: random.millis(1_000, 8_000),
        hang_grace: random.millis(200, 2_000),
        max_requests: random.chance(50).then_some(100),
        max_requests_jitter: random.between(0, 20),
        backoff_max: Duration::from_secs(random.between(4, 60)),
        give_up_on_first_boot_failure: random.chance(30),
        ..Settings::default()
    }
}

/// A fixed number of workers, an elastic one, or one that may be none; all in order.
pub(crate) fn limits(random: &mut Random) -> (usize, usize, Duration) {
    let (min, max) = match random.between(0, 2) {
        0 => {
            let workers = random.between(1, MOST);
            (workers, workers)
        }
        1 => (0, random.between(1, MOST)),
        _ => {
            let min = random.between(1, 4);
            (min, random.between(min, MOST))
        }
    };
    let (shortest, longest) = IDLE_MILLIS;
    (usize::try_from(min).unwrap(), usize::try_from(max).unwrap(), random.millis(shortest, longest))
}

impl World {
    /// Start, some minutes of faults, recovery, rest, stop; and whether it is stopped in the midst of the faults, and
    /// started again.
    pub(crate) fn write_script(&mut self) {
        let start = self.now;
        self.code[0] = if self.random.chance(10) { Code::DoesNotBoot } else { Code::Good };
        self.at(start, Due::Tell(Event::Start));
        let heal = start + self.random.millis(20_000, 200_000);
        self.at(start + Duration::from_millis(1), Due::Fault);
        self.at(heal, Due::Heal);
        if self.random.chance(25) {
            let stop = start + self.random.millis(0, 60_000);
            self.write_stop(stop);
            if self.random.chance(60) {
                self.at(stop, Due::StartAgain);
            }
        }
        let settings = &self.settings;
        // Failures already under way, one full pause, then boots of at most a second each and drains of workers that
        // outgrew their memory, one by one.
        let bound = settings.start_timeout * 2
            + settings.backoff_max
            + settings.graceful_timeout
            + settings.kill_repeat * 3
            + Duration::from_secs(60);
        let end = self.write_recovery(heal, bound);
        self.write_stop(end);
        if self.random.chance(20) {
            let again = end + Duration::from_secs(40);
            self.at(again, Due::StartAgain);
            let end = self.write_recovery(again, Duration::from_secs(60));
            self.write_stop(end);
        }
    }

    /// Requests come, must be served within `bound`, go, and the workers above the minimum must follow.
    fn write_recovery(&mut self, from: Duration, bound: Duration) -> Duration {
        let needed = usize::try_from(self.random.between(1, MOST + 1)).unwrap();
        self.at(from, Due::Need(needed));
        self.at(from + bound, Due::MustHaveRecovered);
        self.at(from + bound, Due::Need(0));
        let idle = Duration::from_millis(IDLE_MILLIS.1);
        // One worker a second leaves, each within its timeout.
        let rest = from + bound + idle + Duration::from_secs(15) + self.settings.graceful_timeout;
        self.at(rest, Due::MustRest);
        rest + Duration::from_secs(1)
    }

    fn write_stop(&mut self, at: Duration) {
        let how = if self.random.chance(70) { Event::Stop } else { Event::StopNow };
        self.at(at, Due::Tell(how));
        if self.random.chance(30) {
            let later = at + self.random.millis(0, 3_000);
            self.at(later, Due::Tell(Event::StopNow));
        }
    }
}
