//! The supervisor under test, honest or sabotaged in one way.
//!
//! A sabotage stands for a bug: a forgotten deadline, a lost event, a wrong bound. It changes what goes in or comes out,
//! so the supervisor itself needs no test-only code.

use std::time::Duration;

use supervisor::{
    Action, AppState, DrainReason, Event, ExitStatus, KillReason, Settings, Status, Supervisor, WorkerId,
};

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
    DeafToDemand,
    GrowsTooFar,
    ShrinksTooEarly,
    NeverShrinks,
    IgnoresLimits,
    IgnoresTheOperator,
    DemandEndsPauses,
    TriesForNobody,
    IgnoresStarts,
    DoesNotTryAgain,
    IgnoresRoom,
    MakesRoomInVain,
    MakesAllRoomAtOnce,
    ForgetsOutgrown,
    ForgetsFirstReady,
    MistakesExits,
}

pub(crate) struct Subject {
    inner: Supervisor,
    sabotage: Sabotage,
    steps: u64,
    seen: Vec<WorkerId>,
}

impl Sabotage {
    pub(crate) const ALL: [Self; 29] = [
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
        Self::DeafToDemand,
        Self::GrowsTooFar,
        Self::ShrinksTooEarly,
        Self::NeverShrinks,
        Self::IgnoresLimits,
        Self::IgnoresTheOperator,
        Self::DemandEndsPauses,
        Self::TriesForNobody,
        Self::IgnoresStarts,
        Self::DoesNotTryAgain,
        Self::IgnoresRoom,
        Self::MakesRoomInVain,
        Self::MakesAllRoomAtOnce,
        Self::ForgetsOutgrown,
        Self::ForgetsFirstReady,
        Self::MistakesExits,
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
            Self::DeafToDemand => "a demand was ignored",
            Self::GrowsTooFar | Self::IgnoresLimits | Self::IgnoresTheOperator => "target out of bounds",
            Self::ShrinksTooEarly => "without reason: Idle",
            Self::NeverShrinks => "an idle worker is kept",
            Self::DemandEndsPauses => "within the pause",
            Self::TriesForNobody => "nobody waits",
            Self::IgnoresStarts => "a start was ignored",
            Self::DoesNotTryAgain => "not replaced at once",
            Self::IgnoresRoom => "without room",
            Self::MakesRoomInVain | Self::MakesAllRoomAtOnce => "without reason (Outgrown)",
            Self::ForgetsOutgrown => "an outgrown worker stays",
            Self::ForgetsFirstReady => "FirstReady was not said",
            Self::MistakesExits => "endings by",
        }
    }
}

impl Subject {
    pub(crate) fn new(mut settings: Settings, seed: u64, sabotage: Sabotage) -> Self {
        match sabotage {
            Sabotage::PausesTooShort => settings.backoff_min /= 10,
            Sabotage::StartsTooMany => settings.surge += 5,
            Sabotage::LateKills => settings.graceful_timeout *= 2,
            Sabotage::GrowsTooFar => settings.max_workers += 1,
            Sabotage::ShrinksTooEarly => settings.idle /= 2,
            Sabotage::NeverShrinks => settings.idle *= 100,
            _ => {}
        }
        Self { inner: Supervisor::new(settings, seed), sabotage, steps: 0, seen: Vec::new() }
    }

    pub(crate) fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        self.steps += 1;
        let reload = event == Event::Reload;
        let outgrown = match event {
            Event::Outgrown { worker, room: false } => Some(worker),
            _ => None,
        };
        let mut actions: Vec<Action> =
            self.falsify(now, event).into_iter().flat_map(|event| self.inner.step(now, event)).collect();
        self.distort(&mut actions, reload, outgrown);
        actions
    }

    /// What the supervisor is told instead of `event`.
    fn falsify(&self, now: Duration, event: Event) -> Vec<Event> {
        let stopped = self.inner.status().state == AppState::Stopped;
        let ignored = match (&event, self.sabotage) {
            (Event::Ready { worker }, Sabotage::DeafToReady)
            | (Event::Exited { worker, .. }, Sabotage::DeafToDeaths) => worker.0 % 4 == 0,
            (Event::Demand, Sabotage::DeafToDemand)
            | (Event::SetLimits { .. }, Sabotage::IgnoresLimits)
            | (Event::Scale(_) | Event::SetTarget(_), Sabotage::IgnoresTheOperator)
            | (Event::Outgrown { .. }, Sabotage::ForgetsOutgrown) => true,
            (Event::Start, Sabotage::IgnoresStarts) => stopped,
            (Event::Start, Sabotage::DoesNotTryAgain) => self.steps > 1 && !stopped,
            _ => false,
        };
        let pause_ends = || self.inner.status().next_attempt.is_some_and(|at| at <= now);
        match (event, self.sabotage) {
            _ if ignored => vec![Event::Tick],
            (Event::Demand, Sabotage::DemandEndsPauses) => vec![Event::Demand, Event::Start],
            (Event::Tick, Sabotage::TriesForNobody) if pause_ends() => vec![Event::Demand],
            (Event::Outgrown { worker, .. }, Sabotage::IgnoresRoom) => {
                vec![Event::Outgrown { worker, room: true }]
            }
            (Event::Outgrown { worker, .. }, Sabotage::MakesRoomInVain) => {
                vec![Event::Outgrown { worker, room: false }]
            }
            (Event::Exited { worker, .. }, Sabotage::MistakesExits) => {
                vec![Event::Exited { worker, status: ExitStatus::Signal(9) }]
            }
            (event, _) => vec![event],
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        if self.sabotage == Sabotage::NeverTicks { None } else { self.inner.next_deadline() }
    }

    pub(crate) fn status(&self) -> Status {
        self.inner.status()
    }

    fn distort(&mut self, actions: &mut Vec<Action>, reload: bool, outgrown: Option<WorkerId>) {
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
            (Sabotage::ForgetsFirstReady, _) => actions.retain(|action| *action != Action::FirstReady),
            (Sabotage::MakesAllRoomAtOnce, _) => {
                let why = DrainReason::Outgrown;
                let missing = outgrown.map(|worker| Action::Drain { worker, why });
                actions.extend(missing.filter(|drain| !actions.contains(drain)));
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
