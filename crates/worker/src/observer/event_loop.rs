//! Notices that an event loop does not go on, and tells what is in its way.
//!
//! ```text
//!  beats come ---------------------------------------------> nothing to do
//!  none for a tick, and it is not inside of our code ------> wake it: if it is free, that is a beat
//!  still none after SUSPICION -----------------------------> have the looker find out which step it is in
//!  after THRESHOLD, and it is in one and the same step ----> tell Blocked
//!  the interpreter's lock cannot be had for HELD ----------> tell Blocked, native: what the kernel knows of the thread
//!  a beat -------------------------------------------------> tell that it is over, and how long it was
//! ```
//!
//! Many short steps are many beats, or many different steps: not a blocked loop. Nor is one that was ready to run and got no
//! processor, or a machine that stood still as a whole.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use wire::{Blocked, ControlFromWorker};

use super::durable::Disk;
use super::looker::{Found, Looker, Sight};
use super::native::{Doing, NativeThread, Schedule};
use super::pulse::{Beat, Pulse};
use super::serving::Mark;
use super::threads::Places;
use crate::link::Link;

/// How often the pulse is looked at while there is something to do, and while nothing happens to what is inside.
const TICK: Duration = Duration::from_millis(20);
const CALM_TICK: Duration = Duration::from_millis(100);

/// Without a beat for so long, the interpreter is asked.
const SUSPICION: Duration = Duration::from_millis(60);

/// A step that takes longer is told.
const THRESHOLD: Duration = Duration::from_millis(100);

/// Whoever keeps the interpreter's lock for longer is native code: Python gives it away every few milliseconds.
const HELD: Duration = Duration::from_millis(100);

/// After so long without anything happening, the observer sleeps until something does.
const REST: Duration = Duration::from_secs(1);

/// At most so many are told in [`BUSY_PERIOD`]; the others are left out.
const MOST: u32 = 2;
const BUSY_PERIOD: Duration = Duration::from_secs(1);

/// See the module documentation.
pub(super) struct LoopWatch {
    pub(super) link: &'static Link,
    pub(super) pulse: &'static Pulse,
    /// The loop's thread.
    pub(super) mark: &'static Mark,
    pub(super) looker: Looker,
    pub(super) episodes: u64,
    /// Since when how many were told.
    pub(super) told: (Instant, u32),
}

/// A time without a beat.
struct Silence {
    beat: Beat,
    /// No later than this the loop was stuck, if it is.
    since: Instant,
    not_before: Option<Instant>,
    woken: bool,
    /// What the scheduler had given the thread when it was first looked at, and lately.
    schedule: Option<(Schedule, Schedule)>,
    /// The thread was last seen to run, or not to want to.
    seen_running: Instant,
    asked: Option<Asked>,
    /// The looker remembers a step.
    looked: bool,
    /// What was told: the number, and how many requests wait.
    told: Option<(u64, u32)>,
    /// Told without knowing where.
    blind: bool,
    /// Most requests that were inside.
    waited: u32,
}

/// A question to the looker.
struct Asked {
    at: Instant,
    /// For how long the loop's thread had run then.
    ran: Duration,
    answer: Receiver<Sight>,
}

impl Silence {
    /// For how long the loop's thread was ready and had no processor.
    fn starved(&mut self, native: &NativeThread, now: Instant) -> Duration {
        let Some(schedule) = native.schedule() else { return Duration::ZERO };
        let (first, latest) = *self.schedule.get_or_insert((schedule, schedule));
        if schedule != latest || !native.is_ready() {
            self.seen_running = now;
        }
        self.schedule = Some((first, schedule));
        // The kernel counts the wait that is not over only when it is.
        schedule.waited.saturating_sub(first.waited) + now.duration_since(self.seen_running)
    }

    fn ran(&self) -> Duration {
        self.schedule.map_or(Duration::ZERO, |(_, latest)| latest.ran)
    }
}

impl LoopWatch {
    /// Watch for the life of the process.
    pub(super) fn run(mut self) -> ! {
        self.pulse.observed_here();
        let mut silence = self.silence(Instant::now());
        let mut active = Instant::now();
        let mut last = Instant::now();
        let mut calm = false;
        let mut disk = Disk::new(self.link, true, last);
        let mut places = Places::default();
        loop {
            std::thread::sleep(if calm { CALM_TICK } else { TICK });
            let now = Instant::now();
            places.look(&mut disk, self.mark, &self.looker);
            disk.decide(now);
            let beat = self.pulse.now();
            let late = now.duration_since(std::mem::replace(&mut last, now)) > THRESHOLD + CALM_TICK;
            if beat.count != silence.beat.count {
                if beat.own != silence.beat.own {
                    active = now;
                }
                calm = silence.woken && beat.own == silence.beat.own;
                self.over(&mut silence, now);
                silence = self.silence(now);
                continue;
            }
            if late && silence.told.is_none() {
                // We stood still ourselves: nothing is known of that time.
                silence = Silence { looked: silence.looked, ..self.silence(now) };
                silence.not_before = Some(now);
                continue;
            }
            let inside = self.pulse.inside_since();
            if let Some(since) = inside.filter(|_| !silence.woken) {
                silence.since = silence.not_before.map_or(since, |bound| bound.max(since));
            } else if !silence.woken {
                if now.duration_since(active) >= REST && self.link.inbox().mail.is_empty() {
                    disk.conclude(now);
                    self.pulse.sleep();
                    (active, last) = (Instant::now(), Instant::now());
                    silence = self.silence(active);
                    disk = Disk::new(self.link, true, active);
                    continue;
                }
                (silence.since, silence.woken) = (now, true);
                self.link.wake_up();
            }
            calm = false;
            self.examine(&mut silence, now);
        }
    }

    fn silence(&self, now: Instant) -> Silence {
        Silence {
            beat: self.pulse.now(),
            since: now,
            not_before: None,
            woken: false,
            schedule: None,
            seen_running: now,
            asked: None,
            looked: false,
            told: None,
            blind: false,
            waited: 0,
        }
    }

    /// There is no beat.
    fn examine(&mut self, silence: &mut Silence, now: Instant) {
        let starved = silence.starved(&self.mark.native, now);
        let stuck = now.duration_since(silence.since).saturating_sub(starved);
        if stuck < SUSPICION {
            return;
        }
        silence.waited = silence.waited.max(self.others());
        if silence.told.is_some() && !silence.blind {
            return;
        }
        let Some(asked) = silence.asked.take() else {
            let answer = self.looker.look(self.mark.thread, silence.beat.count);
            silence.looked |= answer.is_some();
            silence.asked = answer.map(|answer| Asked { at: now, ran: silence.ran(), answer });
            return;
        };
        match asked.answer.try_recv() {
            // The first look only remembers the step.
            Ok(Sight::Moved) | Err(TryRecvError::Disconnected) => {}
            Ok(Sight::Same(found)) if stuck >= THRESHOLD => self.tell(silence, now, Some(&found)),
            // Ask again, later.
            Ok(Sight::Same(_)) => {}
            Err(TryRecvError::Empty) => {
                let held = now.duration_since(asked.at).saturating_sub(starved) >= HELD;
                // Without a processor nobody keeps the lock; then it is the looker that waits for one.
                let computed = silence.ran().saturating_sub(asked.ran);
                let keeps = 2 * computed >= HELD || !self.mark.native.is_ready();
                silence.asked = Some(asked);
                if held && keeps && silence.told.is_none() {
                    self.tell(silence, now, None);
                }
            }
        }
    }

    /// Requests inside of the worker, but for one.
    fn others(&self) -> u32 {
        // The loop does not read what came for it.
        let mut inbox = self.link.inbox();
        let _ = self.link.receive(&mut inbox);
        u32::try_from(inbox.mail.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    fn tell(&mut self, silence: &mut Silence, now: Instant, found: Option<&Found>) {
        if now.duration_since(self.told.0) >= BUSY_PERIOD {
            self.told = (now, 0);
        }
        if silence.told.is_none() {
            if self.told.1 >= MOST {
                return;
            }
            self.told.1 += 1;
            self.episodes += 1;
        }
        let before = silence.told.map_or(0, |(_, waited)| waited);
        let doing = self.mark.native.doing();
        silence.told = Some((self.episodes, silence.waited.max(before)));
        silence.blind = found.is_none();
        self.send(silence, now, found, silence.waited.saturating_sub(before), Some(doing));
    }

    /// The loop goes on.
    fn over(&self, silence: &mut Silence, now: Instant) {
        if silence.looked {
            // What comes next is another step, also where its frame is the same.
            self.looker.forget();
        }
        let Some((_, waited)) = silence.told else { return };
        // Whoever kept the lock has let go of it now, and the looker may have been the first to get it.
        let answer = silence.asked.take().map(|asked| asked.answer.recv_timeout(TICK));
        let found = match answer {
            Some(Ok(Sight::Same(found))) if silence.blind => Some(found),
            _ => None,
        };
        let more = silence.waited.saturating_sub(waited);
        self.send(silence, now, found.as_ref(), more, None);
    }

    fn send(
        &self,
        silence: &Silence,
        now: Instant,
        found: Option<&Found>,
        waited: u32,
        doing: Option<Doing>,
    ) {
        let Some((episode, _)) = silence.told else { return };
        let text = |get: fn(&Found) -> &String| found.map_or("", |found| get(found).as_str());
        let native = doing.map(Doing::text).unwrap_or_default();
        let inner = match text(|found| &found.inner) {
            "" => native,
            place if native.is_empty() => place.to_owned(),
            place => format!("{place}, {native}"),
        };
        let milliseconds = u32::try_from(now.duration_since(silence.since).as_millis()).unwrap_or(u32::MAX);
        self.link.tell(&ControlFromWorker::Blocked(Blocked {
            episode,
            over: doing.is_none(),
            milliseconds,
            waited,
            native: silence.blind,
            place: super::cut(text(|found| &found.place), super::LINE),
            call: super::cut(text(|found| &found.call), super::LINE),
            inner: super::cut(&inner, super::LINE),
            stack: super::cut(text(|found| &found.stack), super::BLOCK),
        }));
    }
}
