//! What the operator may want: start, reload, scale, other limits, stop.
//!
//! As in `supervisor.rs`, this only records what is wanted and what follows at once; `plan.rs` starts the workers.

use std::time::Duration;

use crate::action::{Action, DrainReason, KillReason, Notice, ScaleReason};
use crate::elastic::Elastic;
use crate::supervisor::{Phase, Supervisor};

impl Supervisor {
    /// Begin with a new generation, or, while running, try now what waits for the end of a pause.
    pub(crate) fn start(&mut self, now: Duration) {
        match self.phase {
            Phase::Idle | Phase::Stopped => {
                self.phase = Phase::Running;
                (self.up, self.announced, self.first_boot_over) = (false, false, false);
                self.backoff.reset();
                self.elastic.start(now);
                self.last_generation += 1;
                self.active = self.last_generation;
                self.actions.push(Action::Activate { generation: self.active });
            }
            Phase::Running if self.next_attempt().is_some() => {
                // The operator waits for it like a request, so the attempt is made although none does.
                self.elastic.demand(now, false);
                self.backoff.try_again();
            }
            Phase::Running | Phase::Stopping => {}
        }
    }

    pub(crate) fn reload(&mut self, now: Duration) {
        if self.phase != Phase::Running {
            return;
        }
        if let Some(generation) = self.candidate {
            self.actions.push(Action::Notice(Notice::ReloadSuperseded { generation }));
            self.abandon_candidate(now);
        }
        self.last_generation += 1;
        self.candidate = Some(self.last_generation);
        let notice =
            Notice::ReloadStarted { generation: self.last_generation, workers: self.elastic.target() };
        self.actions.push(Action::Notice(notice));
    }

    pub(crate) fn abandon_candidate(&mut self, now: Duration) {
        let Some(generation) = self.candidate.take() else {
            return;
        };
        for (id, _) in self.ids(|worker| worker.generation == generation) {
            self.kill(now, id, KillReason::ReloadAbandoned);
        }
    }

    /// Change what is wanted, and say so if that changes the number of wanted workers of an application that runs.
    pub(crate) fn retarget(&mut self, why: ScaleReason, change: impl FnOnce(&mut Elastic)) {
        let from = self.elastic.target();
        change(&mut self.elastic);
        let to = self.elastic.target();
        self.peak = self.peak.max(to);
        if to != from && self.phase == Phase::Running {
            self.actions.push(Action::Notice(Notice::Scaled { from, to, why }));
        }
    }

    pub(crate) fn stop(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Stopping | Phase::Stopped) {
            return;
        }
        self.phase = Phase::Stopping;
        self.candidate = None;
        for (id, admitted) in self.ids(|_| true) {
            if admitted {
                self.drain(now, id, DrainReason::Stop);
            } else {
                self.kill(now, id, KillReason::Stop);
            }
        }
    }

    pub(crate) fn stop_now(&mut self, now: Duration, why: KillReason) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.phase = Phase::Stopping;
        self.candidate = None;
        for (id, _) in self.ids(|_| true) {
            self.kill(now, id, why);
        }
    }

    pub(crate) fn finish(&mut self) {
        self.phase = Phase::Stopped;
        self.actions.push(Action::Stopped { failed: self.failed.take() });
    }
}
