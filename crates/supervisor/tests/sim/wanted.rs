//! The judge, third part: is the number of wanted workers lawful?
//!
//! Its books are plainer than the supervisor's: for each number of workers, when so many were needed for the last time.

use std::time::Duration;

use supervisor::{Event, ScaleReason, Settings, Status};

/// More than the simulated world ever wants.
const LEVELS: usize = 32;

/// A demand younger than this means that somebody waits.
const WAITING: Duration = Duration::from_secs(1);

/// The target does not shrink sooner after its last change.
const SHRINK_STEP: Duration = Duration::from_secs(1);

/// A shorter idle time counts as this one.
const LEAST_IDLE: Duration = Duration::from_secs(2);

pub(crate) struct Wanted {
    pub(crate) target: usize,
    pub(crate) peak: usize,
    pub(crate) reloading: bool,
    configured: (usize, usize, Duration),
    pinned: Option<usize>,
    changed: Duration,
    asked: Option<Duration>,
    needed: [Duration; LEVELS],
    /// What the operator's event of this step must lead to.
    expected: Option<(usize, usize)>,
    /// A demand came in this step that must be met.
    demanded: bool,
}

/// What the judge of the workers knows when the target changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// The workers that count towards the target.
    pub(crate) placed: usize,
    /// A pause was made, and is over.
    pub(crate) after_pause: bool,
}

fn ordered(min: usize, max: usize, idle: Duration) -> (usize, usize, Duration) {
    (min, max.max(min).max(1), idle.max(LEAST_IDLE))
}

impl Wanted {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            target: settings.min_workers,
            peak: settings.min_workers,
            reloading: false,
            configured: ordered(settings.min_workers, settings.max_workers, settings.idle),
            pinned: None,
            changed: Duration::ZERO,
            asked: None,
            needed: [Duration::ZERO; LEVELS],
            expected: None,
            demanded: false,
        }
    }

    pub(crate) fn min(&self) -> usize {
        self.pinned.unwrap_or(self.configured.0)
    }

    pub(crate) fn max(&self) -> usize {
        self.pinned.unwrap_or(self.configured.1)
    }

    pub(crate) fn is_asked(&self, now: Duration) -> bool {
        self.asked.is_some_and(|at| now < at + WAITING)
    }

    pub(crate) fn start(&mut self, now: Duration) {
        self.reloading = false;
        self.change(now, self.min());
    }

    /// Somebody waits. `all_there`: every wanted worker is ready.
    pub(crate) fn demand(&mut self, now: Duration, all_there: bool) {
        self.asked = Some(now);
        self.need(now, self.target);
        self.demanded = all_there && self.target < self.max();
    }

    pub(crate) fn event(&mut self, now: Duration, event: &Event, running: bool) {
        let from = self.target;
        match event {
            Event::Load { busy_workers, waiting } if running => {
                let all = if *waiting > 0 { self.target } else { 0 };
                self.need(now, all.max(*busy_workers));
            }
            Event::Scale(delta) => {
                let delta = isize::try_from(*delta).unwrap();
                self.pin(now, self.target.saturating_add_signed(delta));
            }
            Event::SetTarget(target) => self.pin(now, *target),
            Event::SetLimits { min, max, idle } => {
                self.configured = ordered(*min, *max, *idle);
                self.pinned = None;
                self.change(now, self.target.clamp(self.min(), self.max()));
                self.need(now, self.target);
            }
            _ => {}
        }
        self.expected = (running && from != self.target).then_some((from, self.target));
    }

    /// The supervisor says that the target changes.
    pub(crate) fn scaled(
        &mut self,
        now: Duration,
        (from, to, why): (usize, usize, ScaleReason),
        facts: Facts,
    ) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("scaled from {from} to {to} {what}: {why:?}, {facts:?}"));
        if matches!(why, ScaleReason::Operator | ScaleReason::Limits) {
            return if self.expected.take() == Some((from, to)) {
                Ok(())
            } else {
                wrong("against the order")
            };
        }
        if from != self.target || to < self.min() || to > self.max() {
            return wrong("beyond the limits");
        }
        match why {
            ScaleReason::Demand if self.demanded && to == from + 1 => self.demanded = false,
            ScaleReason::Idle if to + 1 == from && self.is_idle(now) => {}
            ScaleReason::NotAwaited
                if to == facts.placed.max(self.min())
                    && facts.after_pause
                    && !self.reloading
                    && !self.is_asked(now) => {}
            _ => return wrong("without reason"),
        }
        self.change(now, to);
        if why == ScaleReason::Demand {
            self.need(now, to);
        }
        Ok(())
    }

    pub(crate) fn after_step(&self, now: Duration, status: &Status) -> Result<(), String> {
        let mine = (self.min(), self.target, self.max());
        let theirs = (status.min, status.target, status.max);
        if mine != theirs || self.target < self.min() || self.target > self.max() {
            return Err(format!("target out of bounds: {theirs:?}, should be {mine:?}"));
        }
        if let Some(change) = self.expected {
            return Err(format!("the change {change:?} was not said"));
        }
        if self.demanded {
            return Err(format!("a demand was ignored at {now:?} with a target of {mine:?}"));
        }
        self.nobody_is_idle(now)
    }

    pub(crate) fn nobody_is_idle(&self, now: Duration) -> Result<(), String> {
        if self.is_idle(now) {
            let (target, changed) = (self.target, self.changed);
            return Err(format!("an idle worker is kept at {now:?}: {target} are wanted since {changed:?}"));
        }
        Ok(())
    }

    /// There is one worker too many.
    fn is_idle(&self, now: Duration) -> bool {
        self.target > self.min()
            && !self.reloading
            && now >= self.needed[self.target] + self.configured.2
            && now >= self.changed + SHRINK_STEP
    }

    fn pin(&mut self, now: Duration, wanted: usize) {
        self.pinned = Some(wanted.max(1));
        self.change(now, wanted.max(1));
    }

    fn change(&mut self, now: Duration, target: usize) {
        if target != self.target {
            self.changed = now;
            self.target = target;
            self.peak = self.peak.max(target);
        }
    }

    fn need(&mut self, now: Duration, workers: usize) {
        self.needed[..=workers.min(LEVELS - 1)].fill(now);
    }
}
