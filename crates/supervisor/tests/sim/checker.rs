//! The judge, first part: is each action lawful? It follows events and actions in its own simple books, and the
//! error it returns says which invariant broke.
//!
//! Of the supervisor it uses only what a driver sees. `Status` is checked against the books; it is believed in one
//! point, that a worker without a pid is to be killed as soon as it has one (no action can show that).

use std::collections::BTreeMap;
use std::time::Duration;

use supervisor::{
    Action, Cause, DrainReason, Event, ExitStatus, KillReason, Notice, ScaleReason, Settings, WorkerId,
};

use crate::books::{Report, Retiring, Seen};
use crate::wanted::{Facts, Wanted};

pub(crate) struct Checker {
    pub(crate) settings: Settings,
    pub(crate) workers: BTreeMap<WorkerId, Seen>,
    pub(crate) newest: WorkerId,
    pub(crate) started: bool,
    pub(crate) wanted: Wanted,
    /// A start came that must begin a new life.
    pub(crate) beginning: bool,
    pub(crate) active: u64,
    pub(crate) stopping: bool,
    pub(crate) stop_now: bool,
    pub(crate) gave_up: bool,
    pub(crate) ever_admitted: bool,
    pub(crate) first_ready: bool,
    pub(crate) stopped: bool,
    pub(crate) start_failed_at: Option<Duration>,
    pub(crate) pause_until: Duration,
    /// No start failed and nothing paused since this generation became active.
    pub(crate) untroubled: bool,
    /// A pause was made, and no worker of the active generation was ready since.
    pub(crate) unproven: bool,
    pub(crate) lost_a_worker: bool,
    pub(crate) spawned_now: usize,
    /// By `Cause`, in its order.
    pub(crate) endings: [u64; Cause::ALL.len()],
    pub(crate) report: Report,
}

impl Checker {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            wanted: Wanted::new(&settings),
            beginning: false,
            settings,
            workers: BTreeMap::new(),
            newest: WorkerId(0),
            started: false,
            active: 0,
            stopping: false,
            stop_now: false,
            gave_up: false,
            ever_admitted: false,
            first_ready: false,
            stopped: false,
            start_failed_at: None,
            pause_until: Duration::ZERO,
            untroubled: true,
            unproven: false,
            lost_a_worker: false,
            spawned_now: 0,
            endings: [0; Cause::ALL.len()],
            report: Report::default(),
        }
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping
    }

    pub(crate) fn event(&mut self, now: Duration, event: &Event) -> Result<(), String> {
        // A deadline at this very instant is still in time.
        let before = now - Duration::from_nanos(1);
        self.nothing_overdue(before)?;
        if self.started && !self.stopping {
            self.wanted.nobody_is_idle(before)?;
        }
        self.lost_a_worker = false;
        self.spawned_now = 0;
        let running = self.started && !self.stopping;
        self.wanted.event(now, event, running);
        match event {
            Event::Start => self.start(now),
            Event::Stop => self.stopping = true,
            Event::StopNow => (self.stopping, self.stop_now) = (true, true),
            Event::Demand if running => self.wanted.demand(now, self.all_there()),
            Event::Spawned { worker, .. } => self.on(*worker, |seen| seen.has_pid = true),
            Event::Ready { worker } => {
                let active = self.active;
                let seen = self.workers.get(worker);
                self.unproven &= seen.is_none_or(|seen| seen.is_leaving() || seen.generation != active);
                self.on(*worker, |seen| seen.ready |= !seen.is_leaving());
            }
            Event::QuotaReached { worker } => self.on(*worker, |seen| seen.retire(Retiring::Quota)),
            Event::Outgrown { worker, room: true } => {
                self.on(*worker, |seen| seen.retire(Retiring::OutgrownWithRoom));
            }
            Event::Outgrown { worker, room: false } => {
                self.on(*worker, |seen| seen.retire(Retiring::OutgrownWithoutRoom));
            }
            Event::Hung { worker } => {
                self.note_loss(now, *worker, Cause::Hung);
                self.on(*worker, |seen| seen.hung = seen.hung.or(Some(now)));
            }
            Event::BootFailed { worker, .. } => {
                self.note_loss(now, *worker, Cause::BootFailed);
                self.on(*worker, |seen| seen.boot_failed = true);
            }
            Event::Misbehaved { worker, .. } => {
                self.note_loss(now, *worker, Cause::Misbehaved);
                self.on(*worker, |seen| seen.misbehaved = true);
            }
            Event::SpawnFailed { worker, .. } => {
                self.note_loss(now, *worker, Cause::BootFailed);
                self.workers.remove(worker);
            }
            Event::Exited { worker, status } => {
                let cause = match status {
                    _ if self.workers.get(worker).is_some_and(|seen| !seen.ready) => Cause::BootFailed,
                    ExitStatus::Signal(_) => Cause::Crashed,
                    ExitStatus::Code(_) => Cause::Exited,
                };
                self.note_loss(now, *worker, cause);
                self.workers.remove(worker);
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn action(&mut self, now: Duration, action: &Action) -> Result<(), String> {
        if self.stopped {
            return Err(format!("{action:?} after Stopped"));
        }
        match action {
            Action::Spawn { worker, generation, max_requests } => {
                self.spawn(now, *worker, *generation, *max_requests)
            }
            Action::Activate { generation } => self.activate(now, *generation),
            Action::Admit { worker } => self.admit(*worker),
            Action::Drain { worker, why } => self.drain(now, *worker, *why),
            Action::Kill { worker, why } => self.kill(now, *worker, *why),
            Action::Notice(notice) => self.notice(now, notice),
            Action::FirstReady => {
                let serving = self.count(|seen| seen.admitted && !seen.is_leaving());
                let again = std::mem::replace(&mut self.first_ready, true);
                let min = self.wanted.min();
                if again || serving < min {
                    return Err(format!("FirstReady with {serving} of {min} (again: {again})"));
                }
                Ok(())
            }
            Action::Stopped { failed } => {
                self.stopped = true;
                if !self.stopping || !self.workers.is_empty() || failed.is_some() != self.gave_up {
                    return Err(format!(
                        "{action:?} while {:?} remain, gave up: {}",
                        self.workers, self.gave_up
                    ));
                }
                Ok(())
            }
        }
    }

    pub(crate) fn at_the_end(&mut self) -> Result<Report, String> {
        if !self.stopped {
            return Err("the world stands still and Stopped was not said".to_owned());
        }
        Ok(std::mem::take(&mut self.report))
    }

    fn on(&mut self, worker: WorkerId, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.workers.get_mut(&worker) {
            change(seen);
        }
    }

    pub(crate) fn count(&self, matches: impl Fn(&Seen) -> bool) -> usize {
        self.workers.values().filter(|seen| matches(seen)).count()
    }

    /// No spawn takes the number of processes above this.
    pub(crate) fn bound(&self) -> usize {
        3 * self.wanted.peak + 2 * self.settings.surge
    }

    /// Workers that count towards the target.
    pub(crate) fn placed(&self) -> usize {
        self.count(|seen| seen.generation == self.active && seen.is_placed())
    }

    /// Every wanted worker is ready, and none of them is being exchanged.
    fn all_there(&self) -> bool {
        let ready = |seen: &Seen| seen.admitted && !seen.is_leaving() && seen.retiring.is_none();
        self.count(|seen| seen.generation == self.active && ready(seen)) >= self.wanted.target
    }

    /// Workers are missing, and only a pause can be the reason that they are not started.
    pub(crate) fn is_short(&self) -> bool {
        let replaceable = |seen: &Seen| {
            seen.generation == self.active
                && !seen.is_leaving()
                && seen.retiring.is_some()
                && !seen.keeps_its_place()
        };
        let (placed, target) = (self.placed(), self.wanted.target);
        placed < target
            && placed + self.count(replaceable) < target + self.settings.surge
            && self.workers.len() < self.bound()
    }

    fn start(&mut self, now: Duration) {
        if !self.started || self.stopped {
            (self.started, self.beginning) = (true, true);
            (self.stopping, self.stop_now, self.gave_up, self.stopped) = (false, false, false, false);
            (self.ever_admitted, self.first_ready) = (false, false);
            self.wanted.start(now);
            self.report.restarts += u64::from(self.active > 0);
        } else if !self.stopping && now < self.pause_until && self.is_short() {
            self.wanted.demand(now, false);
            self.start_failed_at = None;
            self.pause_until = Duration::ZERO;
            self.report.retries += 1;
        }
    }

    /// An event says that this worker is lost. Called before the books change.
    fn note_loss(&mut self, now: Duration, worker: WorkerId, cause: Cause) {
        let Some(seen) = self.workers.get(&worker) else {
            return;
        };
        if self.stopping || seen.is_leaving() {
            return;
        }
        let (current, ready) = (seen.generation == self.active, seen.ready);
        self.ended(cause);
        if current && ready {
            self.lost_a_worker = true;
        } else if current {
            self.note_failed_start(now);
        }
    }

    fn ended(&mut self, cause: Cause) {
        self.endings[cause as usize] += 1;
    }

    pub(crate) fn note_failed_start(&mut self, now: Duration) {
        self.start_failed_at = Some(now);
        self.untroubled = false;
        if self.settings.give_up_on_first_boot_failure && !self.ever_admitted && !self.first_ready {
            (self.stopping, self.gave_up) = (true, true);
            self.report.gave_up += 1;
        }
    }

    fn spawn(
        &mut self,
        now: Duration,
        id: WorkerId,
        generation: u64,
        quota: Option<u64>,
    ) -> Result<(), String> {
        self.report.spawns += 1;
        if id <= self.newest || self.stopping || !self.started || generation < self.active {
            return Err(format!("spawn of {id:?}, generation {generation}, makes no sense"));
        }
        let least = self.settings.max_requests;
        let most = least.map(|most| most + self.settings.max_requests_jitter);
        if quota < least || quota > most {
            return Err(format!("quota {quota:?} is not within {least:?} and {most:?}"));
        }
        if generation == self.active {
            let min = self.settings.backoff_min;
            if self.start_failed_at.is_some_and(|at| now < at + min) || now < self.pause_until {
                return Err(format!(
                    "spawn at {now:?} within the pause to {:?} after the failed start at {:?}",
                    self.pause_until, self.start_failed_at
                ));
            }
            let awaited = self.wanted.is_asked(now) || self.placed() < self.wanted.min();
            if self.unproven && !awaited && !self.wanted.reloading {
                return Err(format!("spawn at {now:?} after a pause, and nobody waits"));
            }
            self.spawned_now += 1;
        }
        self.newest = id;
        self.workers.insert(id, Seen { generation, asked: now, ..Seen::default() });
        if generation == self.active && self.placed() > self.wanted.target {
            return Err(format!("spawn of {id:?} without room for it: {:?}", self.workers));
        }
        if self.workers.len() > self.bound() {
            return Err(format!("too many processes: {} above {}", self.workers.len(), self.bound()));
        }
        Ok(())
    }

    fn activate(&mut self, now: Duration, generation: u64) -> Result<(), String> {
        let ready = self.count(|seen| seen.generation == generation && seen.ready && !seen.is_leaving());
        let first = std::mem::replace(&mut self.beginning, false);
        if generation <= self.active || (!first && ready < self.wanted.target) || self.stopping {
            return Err(format!(
                "generation {generation} activated before its workers were ready ({ready}) at {now:?}"
            ));
        }
        self.active = generation;
        self.start_failed_at = None;
        self.pause_until = Duration::ZERO;
        (self.untroubled, self.unproven) = (true, false);
        Ok(())
    }

    fn admit(&mut self, worker: WorkerId) -> Result<(), String> {
        let active = self.active;
        let seen = self.workers.get_mut(&worker).ok_or_else(|| format!("admit of dead worker {worker:?}"))?;
        if !seen.ready || seen.admitted || seen.is_leaving() || seen.generation != active {
            return Err(format!("{worker:?} admitted before it was ready, or in vain: {seen:?}"));
        }
        seen.admitted = true;
        self.ever_admitted = true;
        Ok(())
    }

    fn drain(&mut self, now: Duration, worker: WorkerId, why: DrainReason) -> Result<(), String> {
        let seen = self.workers.get(&worker).ok_or_else(|| format!("drain of dead worker {worker:?}"))?;
        if !seen.admitted || seen.is_leaving() {
            return Err(format!("drain of {worker:?} makes no sense: {seen:?}"));
        }
        let current = |other: &Seen| other.generation == self.active && !other.is_leaving();
        let fresh = self.count(|other| current(other) && other.retiring.is_none());
        let serving = self.count(|other| current(other) && other.admitted);
        let target = self.wanted.target;
        let making_room = self
            .count(|other| other.generation == self.active && other.is_leaving() && other.keeps_its_place());
        let justified = match why {
            DrainReason::Quota => seen.retiring == Some(Retiring::Quota) && serving > target,
            DrainReason::Outgrown if serving > target => {
                seen.keeps_its_place() || seen.retiring == Some(Retiring::OutgrownWithRoom)
            }
            DrainReason::Outgrown => seen.keeps_its_place() && serving == target && making_room == 0,
            DrainReason::Hung => seen.hung.is_some(),
            DrainReason::Reload => seen.generation < self.active,
            DrainReason::ScaleDown => fresh > target,
            DrainReason::Stop => self.stopping,
        };
        if !justified {
            return Err(format!("{worker:?} drained without reason ({why:?}): {seen:?}"));
        }
        self.report.quota_drains += u64::from(why == DrainReason::Quota);
        self.report.hung_drains += u64::from(why == DrainReason::Hung);
        self.report.outgrown_drains += u64::from(why == DrainReason::Outgrown && serving > target);
        self.report.room_drains += u64::from(why == DrainReason::Outgrown && serving == target);
        match why {
            DrainReason::Quota => self.ended(Cause::Quota),
            DrainReason::Outgrown => self.ended(Cause::Outgrown),
            _ => {}
        }
        self.on(worker, |seen| seen.drained = Some(now));
        Ok(())
    }

    fn kill(&mut self, now: Duration, worker: WorkerId, why: KillReason) -> Result<(), String> {
        let settings = &self.settings;
        let seen = self.workers.get(&worker).ok_or_else(|| format!("kill of dead worker {worker:?}"))?;
        let passed = |since: Option<Duration>, limit| since.is_some_and(|since| now >= since + limit);
        let drain_passed = passed(seen.drained, settings.graceful_timeout);
        let justified = seen.has_pid
            && match why {
                _ if seen.killed.is_some() => passed(seen.killed, settings.kill_repeat),
                // Decided while it had no pid; much may have changed since.
                _ if seen.condemned => !seen.admitted,
                KillReason::StartTimeout => !seen.ready && passed(Some(seen.asked), settings.start_timeout),
                KillReason::BootFailed => seen.boot_failed && !seen.ready,
                KillReason::Misbehaved => seen.misbehaved,
                KillReason::GracefulTimeout => drain_passed,
                KillReason::HangGrace => passed(seen.hung, settings.hang_grace) || drain_passed,
                KillReason::ReloadAbandoned => !seen.admitted && seen.generation > self.active,
                KillReason::Outdated => !seen.admitted && seen.generation < self.active,
                KillReason::ScaleDown => !seen.admitted,
                KillReason::Stop => self.stopping && (self.stop_now || !seen.admitted),
                KillReason::GaveUp => settings.give_up_on_first_boot_failure && !self.ever_admitted,
            };
        if !justified {
            return Err(format!("{worker:?} killed without reason ({why:?}): {seen:?}"));
        }
        let deadline =
            matches!(why, KillReason::StartTimeout | KillReason::GracefulTimeout | KillReason::HangGrace);
        self.report.deadline_kills += u64::from(deadline);
        self.report.repeated_kills += u64::from(seen.killed.is_some());
        let overdue = matches!(why, KillReason::GracefulTimeout | KillReason::HangGrace);
        let first = seen.killed.is_none();
        if why == KillReason::StartTimeout
            && seen.generation == self.active
            && seen.killed.is_none()
            && !seen.condemned
        {
            self.note_failed_start(now);
        }
        self.on(worker, |seen| seen.killed = Some(now));
        if overdue && first {
            self.ended(Cause::Overdue);
        }
        Ok(())
    }

    fn notice(&mut self, now: Duration, notice: &Notice) -> Result<(), String> {
        match notice {
            Notice::BackOff { until, delay, .. } => {
                self.report.pauses += 1;
                (self.untroubled, self.unproven) = (false, true);
                self.pause_until = *until;
                let within = *delay >= self.settings.backoff_min && *delay <= self.settings.backoff_max;
                if !within || now + *delay != *until {
                    return Err(format!("pause out of bounds at {now:?}: {notice:?}"));
                }
            }
            Notice::ReloadStarted { .. } => self.wanted.reloading = true,
            Notice::ReloadDone { .. } => {
                self.wanted.reloading = false;
                self.report.reloads_done += 1;
            }
            Notice::ReloadFailed { .. } => {
                self.wanted.reloading = false;
                self.report.reloads_failed += 1;
            }
            Notice::Scaled { from, to, why } => {
                let after_pause = !self.untroubled && now >= self.pause_until;
                let facts = Facts { placed: self.placed(), after_pause };
                self.wanted.scaled(now, (*from, *to, *why), facts)?;
                self.report.grown += u64::from(*why == ScaleReason::Demand);
                self.report.shrunk += u64::from(*why == ScaleReason::Idle);
                self.report.not_awaited += u64::from(*why == ScaleReason::NotAwaited);
                self.report.slept += u64::from(*why == ScaleReason::Idle && *to == 0);
            }
            _ => {}
        }
        Ok(())
    }
}
