//! The supervisor under test, honest or sabotaged in one way.
//!
//! A sabotage stands for a bug: a forgotten deadline, a lost event, a wrong bound. It changes what goes in or comes out,
//! so the supervisor itself needs no test-only code.

use std::time::Duration;

use supervisor::{Action, DrainReason, Event, KillReason, Settings, Status, Supervisor, WorkerId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    NeverTicks,
    LosesSpawns,
    DrainsForNothing,
    PausesTooShort,
    StartsTooMany,
    LateKills,
    StopsTwice,
    DeafToReady,
    DeafToDeaths,
    ActivatesEarly,
    AdmitsEarly,
    KillsTheDead,
    DrainsOldTooEarly,
}

pub(crate) struct Subject {
    inner: Supervisor,
    sabotage: Sabotage,
    steps: u64,
    seen: Vec<WorkerId>,
}

impl Sabotage {
    pub(crate) const ALL: [Self; 13] = [
        Self::NeverTicks,
        Self::LosesSpawns,
        Self::DrainsForNothing,
        Self::PausesTooShort,
        Self::StartsTooMany,
        Self::LateKills,
        Self::StopsTwice,
        Self::DeafToReady,
        Self::DeafToDeaths,
        Self::ActivatesEarly,
        Self::AdmitsEarly,
        Self::KillsTheDead,
        Self::DrainsOldTooEarly,
    ];

    /// Part of what the checker must say: a canary caught for another reason would prove nothing.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::None => "",
            Self::NeverTicks | Self::LateKills => "overdue",
            Self::LosesSpawns | Self::DeafToDeaths => "status disagrees",
            Self::DrainsForNothing | Self::DrainsOldTooEarly => "drained without reason",
            Self::PausesTooShort => "pause",
            Self::StartsTooMany => "too many",
            Self::StopsTwice => "after Stopped",
            Self::DeafToReady => "ready worker was not admitted",
            Self::ActivatesEarly => "activated before",
            Self::AdmitsEarly => "admitted before",
            Self::KillsTheDead => "dead worker",
        }
    }
}

impl Subject {
    pub(crate) fn new(mut settings: Settings, seed: u64, sabotage: Sabotage) -> Self {
        match sabotage {
            Sabotage::PausesTooShort => settings.backoff_min /= 10,
            Sabotage::StartsTooMany => settings.surge += 5,
            Sabotage::LateKills => settings.graceful_timeout *= 2,
            _ => {}
        }
        Self { inner: Supervisor::new(settings, seed), sabotage, steps: 0, seen: Vec::new() }
    }

    pub(crate) fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        self.steps += 1;
        let deaf = match &event {
            Event::Ready { worker } => self.sabotage == Sabotage::DeafToReady && worker.0 % 4 == 0,
            Event::Exited { worker, .. } => self.sabotage == Sabotage::DeafToDeaths && worker.0 % 4 == 0,
            _ => false,
        };
        let reload = event == Event::Reload;
        let mut actions = self.inner.step(now, if deaf { Event::Tick } else { event });
        self.distort(&mut actions, reload);
        actions
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        if self.sabotage == Sabotage::NeverTicks { None } else { self.inner.next_deadline() }
    }

    pub(crate) fn status(&self) -> Status {
        self.inner.status()
    }

    fn distort(&mut self, actions: &mut Vec<Action>, reload: bool) {
        let spawned = actions.iter().find_map(|action| match action {
            Action::Spawn { worker, .. } => Some(*worker),
            _ => None,
        });
        self.seen.extend(spawned);
        let some_worker =
            self.seen.get(usize::try_from(self.steps).unwrap() % self.seen.len().max(1)).copied();
        let often = self.steps.is_multiple_of(10);
        let generation = self.inner.status().generation;
        match (self.sabotage, some_worker) {
            (Sabotage::LosesSpawns, _) => {
                actions.retain(|action| !matches!(action, Action::Spawn { worker, .. } if worker.0 % 5 == 0));
            }
            (Sabotage::DrainsForNothing, _) => {
                let admitted = actions.iter().find_map(|action| match action {
                    Action::Admit { worker } => Some(*worker),
                    _ => None,
                });
                let why = DrainReason::ScaleDown;
                actions.extend(admitted.map(|worker| Action::Drain { worker, why }));
            }
            (Sabotage::StopsTwice, _) => {
                let stopped = actions.iter().find(|action| matches!(action, Action::Stopped { .. })).cloned();
                actions.extend(stopped);
            }
            (Sabotage::ActivatesEarly, _) if reload => {
                actions.push(Action::Activate { generation: generation + 1 });
            }
            (Sabotage::AdmitsEarly, _) => actions.extend(spawned.map(|worker| Action::Admit { worker })),
            (Sabotage::KillsTheDead, Some(worker)) if often => {
                actions.push(Action::Kill { worker, why: KillReason::Stop });
            }
            (Sabotage::DrainsOldTooEarly, _) if reload => {
                let old = self
                    .inner
                    .status()
                    .workers
                    .into_iter()
                    .find(|w| w.generation == generation && w.state == supervisor::WorkerState::Ready);
                actions.extend(old.map(|w| Action::Drain { worker: w.id, why: DrainReason::Reload }));
            }
            _ => {}
        }
    }
}
