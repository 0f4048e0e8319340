//! The judge, second part: what must hold after every step, whatever led there.

use std::time::Duration;

use supervisor::{AppState, Status, WorkerState};

use crate::books::Seen;
use crate::checker::Checker;

impl Checker {
    pub(crate) fn after_step(
        &mut self,
        now: Duration,
        status: &Status,
        deadline: Option<Duration>,
    ) -> Result<(), String> {
        if deadline.is_some_and(|at| at <= now) {
            return Err(format!("next deadline {deadline:?} is not after {now:?}"));
        }
        if !status.workers.iter().map(|worker| worker.id).eq(self.workers.keys().copied()) {
            return Err(format!("status disagrees with the processes: {status:?}, {:?}", self.workers));
        }
        self.learn_condemned(now, status);
        if status.state == AppState::Stopping && !self.stopping {
            self.expect_given_up()?;
        }
        if self.stopping {
            return if self.workers.is_empty() && !self.stopped {
                Err("nothing is left and Stopped was not said".to_owned())
            } else {
                self.nothing_overdue(now)
            };
        }
        self.nothing_overdue(now)?;
        self.generations_are_consistent(status)?;
        self.surge_is_bounded()?;
        self.nothing_is_missing(now)
    }

    pub(crate) fn must_have_recovered(&mut self, now: Duration, status: &Status) -> Result<(), String> {
        if self.stopping {
            return Ok(());
        }
        let serving =
            self.count(|seen| seen.admitted && !seen.is_leaving() && seen.generation == self.active);
        if serving != self.target || self.workers.len() != self.target || status.state != AppState::Serving {
            return Err(format!("not recovered at {now:?}: {serving} of {} serve, {status:?}", self.target));
        }
        self.report.recovered += 1;
        Ok(())
    }

    fn learn_condemned(&mut self, now: Duration, status: &Status) {
        for worker in status.workers.iter().filter(|worker| worker.state == WorkerState::Dying) {
            let Some(seen) = self.workers.get_mut(&worker.id) else {
                continue;
            };
            if seen.has_pid || seen.condemned {
                continue;
            }
            seen.condemned = true;
            let timed_out = now >= seen.asked + self.settings.start_timeout;
            if timed_out && seen.generation == self.active && !self.stopping {
                self.note_failed_start(now);
            }
        }
    }

    pub(crate) fn nothing_overdue(&self, now: Duration) -> Result<(), String> {
        for (worker, seen) in self.workers.iter().filter(|(_, seen)| seen.killed.is_none() && !seen.condemned)
        {
            let booting_too_long = !seen.ready && now >= seen.asked + self.settings.start_timeout;
            let drained = |at: Duration| now >= at + self.settings.graceful_timeout;
            let hung = |at: Duration| now >= at + self.settings.hang_grace;
            if booting_too_long || seen.drained.is_some_and(drained) || seen.hung.is_some_and(hung) {
                return Err(format!("{worker:?} is overdue at {now:?}: {seen:?}"));
            }
        }
        Ok(())
    }

    fn generations_are_consistent(&self, status: &Status) -> Result<(), String> {
        for (worker, seen) in self.workers.iter().filter(|(_, seen)| !seen.is_leaving()) {
            let expected = seen.generation == self.active || Some(seen.generation) == status.reloading;
            if !expected || seen.generation < self.active {
                return Err(format!("{worker:?} is of no living generation: {seen:?}"));
            }
            if seen.generation == self.active && seen.ready && !seen.admitted {
                return Err(format!("a ready worker was not admitted: {worker:?} {seen:?}"));
            }
        }
        Ok(())
    }

    /// Starting a worker never takes the active generation above its target plus the surge.
    fn surge_is_bounded(&self) -> Result<(), String> {
        let there = self.count(|seen| seen.generation == self.active && !seen.is_leaving());
        if self.spawned_now > 0 && there > self.target + self.settings.surge {
            return Err(format!("too many workers: {there} for a target of {}", self.target));
        }
        Ok(())
    }

    /// Unless there is a pause, whatever is missing was started in this very step.
    fn nothing_is_missing(&mut self, now: Duration) -> Result<(), String> {
        let current = |seen: &Seen| seen.generation == self.active && !seen.is_leaving();
        let fresh = self.count(|seen| current(seen) && !seen.quota);
        let all = self.count(current);
        let starting = self.count(|seen| current(seen) && !seen.ready);
        let short = fresh < self.target
            && all < self.target + self.settings.surge
            && self.workers.len() < self.bound();
        let may_start = now >= self.pause_until && (self.untroubled || starting == 0);
        if self.started && short && may_start {
            return Err(format!(
                "not replaced at once: {fresh} of {} at {now:?}: {:?}",
                self.target, self.workers
            ));
        }
        self.report.replaced_at_once += u64::from(self.lost_a_worker && self.spawned_now > 0);
        Ok(())
    }

    fn expect_given_up(&self) -> Result<(), String> {
        if self.gave_up { Ok(()) } else { Err("stopping although nobody asked for it".to_owned()) }
    }
}
