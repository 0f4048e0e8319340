//! The fake world: processes that boot, serve and die, and requests that keep them busy.
//!
//! What is planned for them is in `script.rs`, what goes wrong in `faults.rs`. The world carries out the supervisor's actions with random delays and reports what happened, always keeping the driver's
//! side of the contract (one answer per spawn, one exit per process), also while the application's side is broken.

use std::collections::BTreeMap;
use std::time::Duration;

use supervisor::{Action, AppState, Event, ExitStatus, Settings, WorkerId};

use crate::books::Report;
use crate::checker::Checker;
use crate::random::Random;
use crate::sabotage::{Sabotage, Subject};
use crate::script;

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) random: Random,
    due: BTreeMap<(Duration, u64), Due>,
    scheduled: u64,
    pub(crate) processes: BTreeMap<WorkerId, Process>,
    pub(crate) code: Vec<Code>,
    pub(crate) faulty: bool,
    pub(crate) fork_broken_until: Duration,
    pub(crate) settings: Settings,
    pub(crate) subject: Subject,
    pub(crate) checker: Checker,
    /// Requests that would keep so many workers busy, and whether `Due::Traffic` is due.
    pub(crate) needed: usize,
    traffic: bool,
    history: Option<Vec<String>>,
    print: bool,
}

/// What a generation's code is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Good,
    DoesNotBoot,
    DiesSoon,
}

#[derive(Debug, Clone)]
pub(crate) enum Due {
    SpawnAnswer(WorkerId),
    BootEnds(WorkerId, Boot),
    RequestsDone(WorkerId),
    Exit(WorkerId, ExitStatus),
    Fault,
    Heal,
    /// From now on requests keep so many workers busy.
    Need(usize),
    Traffic,
    MustHaveRecovered,
    MustRest,
    StartAgain,
    Tell(Event),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Boot {
    Ready,
    Fails,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) generation: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) ready: bool,
    pub(crate) admitted: bool,
    pub(crate) draining: bool,
    /// Holds no request any more.
    pub(crate) idle: bool,
    pub(crate) stuck: bool,
    survives_kills: u32,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Sabotage) -> Self {
        let mut random = Random::new(seed);
        let settings = script::settings(&mut random);
        let mut world = Self {
            now: Duration::from_secs(1_000),
            due: BTreeMap::new(),
            scheduled: 0,
            processes: BTreeMap::new(),
            code: vec![Code::Good],
            faulty: true,
            fork_broken_until: Duration::ZERO,
            subject: Subject::new(settings.clone(), seed, sabotage),
            checker: Checker::new(settings.clone()),
            settings,
            random,
            needed: 0,
            traffic: false,
            history: None,
            print: false,
        };
        world.write_script();
        world
    }

    /// Print every event and action.
    pub(crate) fn trace(&mut self) {
        self.print = true;
    }

    /// Keep every event and action.
    pub(crate) fn record(&mut self) {
        self.history = Some(Vec::new());
    }

    pub(crate) fn into_history(self) -> Vec<String> {
        self.history.unwrap_or_default()
    }

    /// Live until the script is over and every process is gone; the first broken invariant is the error.
    pub(crate) fn run(&mut self) -> Result<Report, String> {
        loop {
            let next = self.due.first_key_value().map(|((at, _), _)| *at);
            match (next, self.subject.next_deadline()) {
                (None, None) => break,
                (next, Some(deadline)) if next.is_none_or(|at| deadline <= at) => {
                    self.now = self.now.max(deadline);
                    self.tell(Event::Tick)?;
                }
                _ => {
                    let Some(((at, _), due)) = self.due.pop_first() else {
                        break;
                    };
                    self.now = at;
                    self.happen(due)?;
                }
            }
            if self.now > Duration::from_secs(4_000) {
                return Err(format!("not stopped at {:?}: {:?}", self.now, self.subject.status()));
            }
        }
        self.checker.at_the_end()
    }

    pub(crate) fn at(&mut self, at: Duration, due: Due) {
        self.scheduled += 1;
        self.due.insert((at, self.scheduled), due);
    }

    pub(crate) fn after(&mut self, low: u64, high: u64, due: Due) {
        let at = self.now + self.random.millis(low, high);
        self.at(at, due);
    }

    /// True `percent` times in a hundred while faults are on.
    fn fault(&mut self, percent: u64) -> bool {
        self.faulty && self.random.chance(percent)
    }

    pub(crate) fn tell(&mut self, event: Event) -> Result<(), String> {
        self.log(|| format!("<- {event:?}"));
        self.checker.event(self.now, &event)?;
        let actions = self.subject.step(self.now, event);
        for action in actions {
            self.log(|| format!("   -> {action:?}"));
            self.checker.action(self.now, &action)?;
            self.carry_out(&action);
        }
        self.checker.after_step(self.now, &self.subject.status(), self.subject.next_deadline())
    }

    fn log(&mut self, line: impl Fn() -> String) {
        if self.print {
            eprintln!("{:>10.3} {}", self.now.as_secs_f64(), line());
        }
        if let Some(history) = &mut self.history {
            history.push(format!("{:?} {}", self.now, line()));
        }
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Spawn { worker, generation, .. } => {
                let process = Process {
                    generation: *generation,
                    pid: None,
                    ready: false,
                    admitted: false,
                    draining: false,
                    idle: false,
                    stuck: false,
                    survives_kills: u32::from(self.fault(3)),
                };
                self.processes.insert(*worker, process);
                let slow = if self.fault(2) { 12_000 } else { 30 };
                self.after(1, slow, Due::SpawnAnswer(*worker));
            }
            Action::Admit { worker } => {
                if let Some(process) = self.processes.get_mut(worker) {
                    process.admitted = true;
                }
            }
            Action::Drain { worker, .. } => {
                let never = self.fault(10);
                if let Some(process) = self.processes.get_mut(worker) {
                    process.draining = true;
                    if !process.stuck && !never {
                        self.after(0, 900, Due::RequestsDone(*worker));
                    }
                }
            }
            Action::Kill { worker, .. } => {
                if let Some(process) = self.processes.get_mut(worker) {
                    if process.survives_kills > 0 {
                        process.survives_kills -= 1;
                    } else {
                        self.after(0, 20, Due::Exit(*worker, ExitStatus::Signal(9)));
                    }
                }
            }
            Action::Activate { .. } | Action::Notice(_) | Action::FirstReady | Action::Stopped { .. } => {}
        }
    }

    pub(crate) fn happen(&mut self, due: Due) -> Result<(), String> {
        match due {
            Due::SpawnAnswer(worker) => self.answer_spawn(worker),
            Due::BootEnds(worker, boot) => self.end_boot(worker, boot),
            Due::RequestsDone(worker) => {
                // Its requests may have hung meanwhile.
                let Some(process) = self.processes.get_mut(&worker).filter(|process| !process.stuck) else {
                    return Ok(());
                };
                process.idle = true;
                if !self.fault(5) {
                    self.after(1, 100, Due::Exit(worker, ExitStatus::Code(0)));
                }
                self.tell(Event::Drained { worker })
            }
            Due::Exit(worker, status) => match self.processes.remove(&worker) {
                Some(_) => self.tell(Event::Exited { worker, status }),
                None => Ok(()),
            },
            Due::Fault => self.go_wrong(),
            Due::Heal => {
                self.faulty = false;
                self.fork_broken_until = Duration::ZERO;
                self.code.fill(Code::Good);
                Ok(())
            }
            Due::Need(workers) => {
                self.need(workers);
                Ok(())
            }
            Due::Traffic => self.pass_requests(),
            Due::MustHaveRecovered => {
                self.checker.must_have_recovered(self.now, &self.subject.status(), self.needed)
            }
            Due::MustRest => self.checker.must_rest(self.now, &self.subject.status()),
            Due::StartAgain => self.start_again(),
            Due::Tell(event) => self.tell(event),
        }
    }

    pub(crate) fn need(&mut self, workers: usize) {
        self.needed = workers;
        if workers > 0 && !std::mem::replace(&mut self.traffic, true) {
            self.after(0, 50, Due::Traffic);
        }
    }

    /// What the router reports, less often than the real one but often enough to count as without a break.
    fn pass_requests(&mut self) -> Result<(), String> {
        let serving = self.with(|p| p.admitted && !p.draining && !p.stuck).len();
        let waiting = self.needed.saturating_sub(serving);
        if waiting > 0 {
            self.after(500, 900, Due::Traffic);
        } else if self.needed > 0 {
            self.after(800, 1_200, Due::Traffic);
        } else {
            self.traffic = false;
        }
        if waiting > 0 {
            self.tell(Event::Demand)?;
        }
        if waiting > 0 && self.random.chance(70) {
            return Ok(());
        }
        self.tell(Event::Load { busy_workers: self.needed.min(serving), waiting })
    }

    /// An operator starts the application again as soon as it is stopped.
    fn start_again(&mut self) -> Result<(), String> {
        if self.subject.status().state != AppState::Stopped {
            self.after(500, 1_500, Due::StartAgain);
            return Ok(());
        }
        let code = if self.fault(20) { Code::DoesNotBoot } else { Code::Good };
        self.code.push(code);
        self.after(1, 1_000, Due::Fault);
        self.tell(Event::Start)
    }

    fn answer_spawn(&mut self, worker: WorkerId) -> Result<(), String> {
        if self.now < self.fork_broken_until || self.fault(2) {
            self.processes.remove(&worker);
            return self.tell(Event::SpawnFailed { worker, error: "fork: EAGAIN".to_owned() });
        }
        let pid = u32::try_from(worker.0).unwrap() + 100;
        let Some(process) = self.processes.get_mut(&worker) else {
            return Ok(());
        };
        process.pid = Some(pid);
        let code = self.code[usize::try_from(process.generation).unwrap() - 1];
        match self.random.between(0, 99) {
            0..3 if self.faulty => {}
            3..6 if self.faulty => self.after(1, 500, Due::Exit(worker, ExitStatus::Code(3))),
            6..10 if self.faulty => self.after(3_000, 15_000, Due::BootEnds(worker, Boot::Ready)),
            10..13 if self.faulty => self.after(50, 800, Due::BootEnds(worker, Boot::Fails)),
            _ if code == Code::DoesNotBoot => self.after(50, 800, Due::BootEnds(worker, Boot::Fails)),
            _ => self.after(50, 800, Due::BootEnds(worker, Boot::Ready)),
        }
        self.tell(Event::Spawned { worker, pid })
    }

    fn end_boot(&mut self, worker: WorkerId, boot: Boot) -> Result<(), String> {
        let Some(process) = self.processes.get_mut(&worker) else {
            return Ok(());
        };
        if matches!(boot, Boot::Fails) {
            return self.tell(Event::BootFailed { worker, reason: "ImportError".to_owned() });
        }
        process.ready = true;
        if self.code[usize::try_from(process.generation).unwrap() - 1] == Code::DiesSoon {
            self.after(0, 700, Due::Exit(worker, ExitStatus::Signal(11)));
        }
        self.tell(Event::Ready { worker })
    }

    pub(crate) fn with(&self, matches: impl Fn(&Process) -> bool) -> Vec<WorkerId> {
        self.processes.iter().filter(|(_, process)| matches(process)).map(|(worker, _)| *worker).collect()
    }
}
