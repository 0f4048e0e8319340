//! The judge, second part: what must hold after every step, whatever led there.

use std::time::Duration;

use supervisor::{AppState, Cause, Status, WorkerState};

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
        self.endings_agree(status)?;
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
        if self.beginning || status.state == AppState::Stopped {
            return Err(format!("a start was ignored at {now:?}: {status:?}"));
        }
        if self.started {
            self.wanted.after_step(now, status)?;
            self.first_ready_is_said()?;
        }
        self.outgrown_are_drained()?;
        self.generations_are_consistent(status)?;
        self.surge_is_bounded()?;
        self.nothing_is_missing(now)
    }

    /// The faults are over, and requests have asked for `needed` workers for long enough.
    pub(crate) fn must_have_recovered(
        &mut self,
        now: Duration,
        status: &Status,
        needed: usize,
    ) -> Result<(), String> {
        if self.stopping {
            return Ok(());
        }
        let least = needed.min(self.wanted.max());
        self.all_wanted_serve(now, status, AppState::Serving)?;
        if self.wanted.target < least {
            return Err(format!("not recovered at {now:?}: {needed} are needed, {status:?}"));
        }
        self.report.recovered += 1;
        Ok(())
    }

    /// Nobody has asked for anything for long enough.
    pub(crate) fn must_rest(&mut self, now: Duration, status: &Status) -> Result<(), String> {
        if self.stopping {
            return Ok(());
        }
        let state = if self.wanted.min() == 0 { AppState::Asleep } else { AppState::Serving };
        self.all_wanted_serve(now, status, state)?;
        if self.wanted.target > self.wanted.min() {
            return Err(format!("does not rest at {now:?}: {status:?}"));
        }
        self.report.rested += 1;
        Ok(())
    }

    fn all_wanted_serve(&self, now: Duration, status: &Status, state: AppState) -> Result<(), String> {
        let serves = |seen: &Seen| seen.admitted && !seen.is_leaving() && seen.generation == self.active;
        let (serving, target) = (self.count(serves), self.wanted.target);
        if serving != target || self.workers.len() != target || status.state != state {
            return Err(format!("not recovered at {now:?}: {serving} of {target} serve, {status:?}"));
        }
        Ok(())
    }

    fn first_ready_is_said(&self) -> Result<(), String> {
        let serves = |seen: &Seen| seen.admitted && !seen.is_leaving() && seen.generation == self.active;
        if !self.first_ready && self.count(serves) >= self.wanted.min() {
            return Err("FirstReady was not said".to_owned());
        }
        Ok(())
    }

    /// Where there is no room for a replacement, one worker at a time has to go while all others serve.
    fn outgrown_are_drained(&self) -> Result<(), String> {
        let current = |seen: &Seen| seen.generation == self.active;
        let stays = |seen: &Seen| current(seen) && seen.keeps_its_place() && !seen.is_leaving();
        let goes = |seen: &Seen| current(seen) && seen.keeps_its_place() && seen.is_leaving();
        let serving = self.count(|seen| current(seen) && seen.admitted && !seen.is_leaving());
        if self.count(stays) > 0 && self.count(goes) == 0 && serving >= self.wanted.target {
            return Err(format!("an outgrown worker stays: {:?}", self.workers));
        }
        Ok(())
    }

    /// Deadlines of starts are not compared: for a worker without a pid, no action tells why it is to be killed.
    fn endings_agree(&self, status: &Status) -> Result<(), String> {
        for ((cause, count), mine) in status.endings.iter().zip(self.endings) {
            if count != mine && cause != Cause::StartTimeout {
                return Err(format!("{count} endings by {cause:?} are counted, {mine} there were"));
            }
        }
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
        if self.spawned_now > 0 && there > self.wanted.target + self.settings.surge {
            return Err(format!("too many workers: {there} for a target of {}", self.wanted.target));
        }
        Ok(())
    }

    /// Unless there is a pause, whatever is missing was started in this very step.
    fn nothing_is_missing(&mut self, now: Duration) -> Result<(), String> {
        let current = |seen: &Seen| seen.generation == self.active && !seen.is_leaving();
        let starting = self.count(|seen| current(seen) && !seen.ready);
        let may_start = now >= self.pause_until && (self.untroubled || starting == 0);
        if self.started && self.is_short() && may_start {
            return Err(format!(
                "not replaced at once: {} of {} at {now:?}: {:?}",
                self.placed(),
                self.wanted.target,
                self.workers
            ));
        }
        self.report.replaced_at_once += u64::from(self.lost_a_worker && self.spawned_now > 0);
        Ok(())
    }

    fn expect_given_up(&self) -> Result<(), String> {
        if self.gave_up { Ok(()) } else { Err("stopping although nobody asked for it".to_owned()) }
    }
}
