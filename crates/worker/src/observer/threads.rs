//! Looks at the threads of a WSGI worker while they run requests.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::durable::Disk;
use super::looker::{Found, Looker};
use super::pulse::Pulse;
use super::serving::{self, Mark};
use crate::link::Link;

const TICK: Duration = Duration::from_millis(20);

/// Most threads that are looked at in a tick; the others have their turn in the next ones.
const AT_A_TIME: usize = 4;

/// After so long without a request, it sleeps until there is one.
const REST: Duration = Duration::from_secs(1);

/// See the module documentation.
pub(super) struct ThreadsWatch {
    pub(super) link: &'static Link,
    pub(super) pulse: &'static Pulse,
    pub(super) looker: Looker,
}

impl ThreadsWatch {
    /// Watch for the life of the process.
    pub(super) fn run(self) -> ! {
        self.pulse.observed_here();
        let mut active = Instant::now();
        let mut disk = Disk::new(self.link, false, active);
        let mut beat = self.pulse.now();
        let mut turn = 0;
        let mut places = Places::default();
        loop {
            std::thread::sleep(TICK);
            let now = Instant::now();
            let running: Vec<_> = serving::all().into_iter().filter(|mark| mark.is_running()).collect();
            if !running.is_empty() || self.pulse.now() != beat {
                (active, beat) = (now, self.pulse.now());
            } else if now.duration_since(active) >= REST {
                disk.conclude(now);
                self.pulse.sleep();
                active = Instant::now();
                disk = Disk::new(self.link, false, active);
                continue;
            }
            for _ in 0..running.len().min(AT_A_TIME) {
                turn += 1;
                places.look(&mut disk, running[turn % running.len()], &self.looker);
            }
            disk.decide(now);
        }
    }
}

/// Asks where threads are that wait for the disk, one question at a time.
#[derive(Default)]
pub(super) struct Places {
    asked: Option<Receiver<Option<Found>>>,
}

impl Places {
    pub(super) fn look(&mut self, disk: &mut Disk, mark: &Mark, looker: &Looker) {
        if let Some(found) = self.asked.as_ref().and_then(|asked| asked.try_recv().ok()) {
            self.asked = None;
            if let Some(found) = found {
                disk.found(found);
            }
        }
        if disk.look(mark) && self.asked.is_none() {
            self.asked = looker.place(mark.thread);
        }
    }
}
