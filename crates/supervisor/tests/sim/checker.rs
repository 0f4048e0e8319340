//! The judge, first part: is each action lawful? It follows events and actions in its own simple books, and the
//! error it returns says which invariant broke.
//!
//! Of the supervisor it uses only what a driver sees. `Status` is checked against the books; it is believed in one
//! point, that a worker without a pid is to be killed as soon as it has one (no action can show that).

use std::collections::BTreeMap;
use std::time::Duration;

use supervisor::{Action, DrainReason, Event, KillReason, Notice, Settings, WorkerId};

use crate::books::{Report, Seen};

pub(crate) struct Checker {
    pub(crate) settings: Settings,
    pub(crate) workers: BTreeMap<WorkerId, Seen>,
    pub(crate) newest: WorkerId,
    pub(crate) started: bool,
    pub(crate) target: usize,
    pub(crate) peak: usize,
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
    pub(crate) lost_a_worker: bool,
    pub(crate) spawned_now: usize,
    pub(crate) report: Report,
}

impl Checker {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            target: settings.workers,
            peak: settings.workers,
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
            lost_a_worker: false,
            spawned_now: 0,
            report: Report::default(),
        }
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping
    }

    pub(crate) fn event(&mut self, now: Duration, event: &Event) -> Result<(), String> {
        // A deadline at this very instant is still in time.
        self.nothing_overdue(now - Duration::from_nanos(1))?;
        self.lost_a_worker = false;
        self.spawned_now = 0;
        match event {
            Event::Start => self.started = true,
            Event::Stop => self.stopping = true,
            Event::StopNow => (self.stopping, self.stop_now) = (true, true),
            Event::Scale(delta) => {
                let delta = isize::try_from(*delta).unwrap();
                self.set_target(self.target.saturating_add_signed(delta));
            }
            Event::SetTarget(target) => self.set_target(*target),
            Event::Spawned { worker, .. } => self.on(*worker, |seen| seen.has_pid = true),
            Event::Ready { worker } => self.on(*worker, |seen| seen.ready |= !seen.is_leaving()),
            Event::QuotaReached { worker } => self.on(*worker, |seen| seen.quota = true),
            Event::Hung { worker } => {
                self.note_loss(now, *worker);
                self.on(*worker, |seen| seen.hung = seen.hung.or(Some(now)));
            }
            Event::BootFailed { worker, .. } => {
                self.note_loss(now, *worker);
                self.on(*worker, |seen| seen.boot_failed = true);
            }
            Event::Misbehaved { worker, .. } => {
                self.note_loss(now, *worker);
                self.on(*worker, |seen| seen.misbehaved = true);
            }
            Event::SpawnFailed { worker, .. } | Event::Exited { worker, .. } => {
                self.note_loss(now, *worker);
                self.workers.remove(worker);
            }
            Event::Drained { .. } | Event::Reload | Event::Tick => {}
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
            Action::Activate { generation } => self.activate(*generation),
            Action::Admit { worker } => self.admit(*worker),
            Action::Drain { worker, why } => self.drain(now, *worker, *why),
            Action::Kill { worker, why } => self.kill(now, *worker, *why),
            Action::Notice(notice) => self.notice(now, notice),
            Action::FirstReady => {
                let serving = self.count(|seen| seen.admitted && !seen.is_leaving());
                let again = std::mem::replace(&mut self.first_ready, true);
                if again || serving < self.target {
                    return Err(format!("FirstReady with {serving} of {} (again: {again})", self.target));
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
        self.report.gave_up = u64::from(self.gave_up);
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
        3 * self.peak + 2 * self.settings.surge
    }

    fn set_target(&mut self, wanted: usize) {
        if !self.stopping {
            self.target = wanted.clamp(1, self.settings.max_workers);
            self.peak = self.peak.max(self.target);
        }
    }

    /// An event says that this worker is lost. Called before the books change.
    fn note_loss(&mut self, now: Duration, worker: WorkerId) {
        let Some(seen) = self.workers.get(&worker) else {
            return;
        };
        if self.stopping || seen.is_leaving() || seen.generation != self.active {
            return;
        }
        if seen.ready {
            self.lost_a_worker = true;
        } else {
            self.note_failed_start(now);
        }
    }

    pub(crate) fn note_failed_start(&mut self, now: Duration) {
        self.start_failed_at = Some(now);
        self.untroubled = false;
        if self.settings.give_up_on_first_boot_failure && !self.ever_admitted {
            (self.stopping, self.gave_up) = (true, true);
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
            self.spawned_now += 1;
        }
        self.newest = id;
        self.workers.insert(id, Seen { generation, asked: now, ..Seen::default() });
        if self.workers.len() > self.bound() {
            return Err(format!("too many processes: {} above {}", self.workers.len(), self.bound()));
        }
        Ok(())
    }

    fn activate(&mut self, generation: u64) -> Result<(), String> {
        let ready = self.count(|seen| seen.generation == generation && seen.ready && !seen.is_leaving());
        let first = self.active == 0 && generation == 1;
        if generation <= self.active || (!first && ready < self.target) || self.stopping {
            return Err(format!("generation {generation} activated before its workers were ready ({ready})"));
        }
        self.active = generation;
        self.start_failed_at = None;
        self.pause_until = Duration::ZERO;
        self.untroubled = true;
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
        let fresh = self.count(|other| current(other) && !other.quota);
        let serving = self.count(|other| current(other) && other.admitted);
        let justified = match why {
            DrainReason::Quota => seen.quota && serving > self.target,
            DrainReason::Hung => seen.hung.is_some(),
            DrainReason::Reload => seen.generation < self.active,
            DrainReason::ScaleDown => fresh > self.target,
            DrainReason::Stop => self.stopping,
        };
        if !justified {
            return Err(format!("{worker:?} drained without reason ({why:?}): {seen:?}"));
        }
        self.report.quota_drains += u64::from(why == DrainReason::Quota);
        self.report.hung_drains += u64::from(why == DrainReason::Hung);
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
        if why == KillReason::StartTimeout
            && seen.generation == self.active
            && seen.killed.is_none()
            && !seen.condemned
        {
            self.note_failed_start(now);
        }
        self.on(worker, |seen| seen.killed = Some(now));
        Ok(())
    }

    fn notice(&mut self, now: Duration, notice: &Notice) -> Result<(), String> {
        match notice {
            Notice::BackOff { until, delay, .. } => {
                self.report.pauses += 1;
                self.untroubled = false;
                self.pause_until = *until;
                let within = *delay >= self.settings.backoff_min && *delay <= self.settings.backoff_max;
                if !within || now + *delay != *until {
                    return Err(format!("pause out of bounds at {now:?}: {notice:?}"));
                }
            }
            Notice::ReloadDone { .. } => self.report.reloads_done += 1,
            Notice::ReloadFailed { .. } => self.report.reloads_failed += 1,
            _ => {}
        }
        Ok(())
    }
}
