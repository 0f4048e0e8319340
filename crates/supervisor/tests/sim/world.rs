//! The fake world: processes that boot, serve, misbehave and die, and an operator who reloads and scales at random.
//!
//! It carries out the supervisor's actions with random delays and reports what happened, always keeping the driver's
//! side of the contract (one answer per spawn, one exit per process), also while the application's side is broken.

use std::collections::BTreeMap;
use std::time::Duration;

use supervisor::{Action, AppState, Event, ExitStatus, Settings, WorkerId};

use crate::books::Report;
use crate::checker::Checker;
use crate::random::Random;
use crate::sabotage::{Sabotage, Subject};

pub(crate) struct World {
    now: Duration,
    random: Random,
    due: BTreeMap<(Duration, u64), Due>,
    scheduled: u64,
    processes: BTreeMap<WorkerId, Process>,
    code: Vec<Code>,
    faulty: bool,
    fork_broken_until: Duration,
    settings: Settings,
    subject: Subject,
    checker: Checker,
    history: Option<Vec<String>>,
    print: bool,
}

/// What a generation's code is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Good,
    DoesNotBoot,
    DiesSoon,
}

#[derive(Debug, Clone)]
enum Due {
    SpawnAnswer(WorkerId),
    BootEnds(WorkerId, Boot),
    RequestsDone(WorkerId),
    Exit(WorkerId, ExitStatus),
    Fault,
    Heal,
    MustHaveRecovered,
    Tell(Event),
}

#[derive(Debug, Clone, Copy)]
enum Boot {
    Ready,
    Fails,
}

#[derive(Debug)]
struct Process {
    generation: u64,
    pid: Option<u32>,
    ready: bool,
    admitted: bool,
    draining: bool,
    /// Holds no request any more.
    idle: bool,
    stuck: bool,
    survives_kills: u32,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Sabotage) -> Self {
        let mut random = Random::new(seed);
        let settings = Settings {
            workers: usize::try_from(random.between(1, 6)).unwrap(),
            max_workers: 8,
            surge: usize::try_from(random.between(1, 2)).unwrap(),
            start_timeout: random.millis(2_000, 10_000),
            graceful_timeout: random.millis(1_000, 8_000),
            hang_grace: random.millis(200, 2_000),
            max_requests: random.chance(50).then_some(100),
            max_requests_jitter: random.between(0, 20),
            backoff_max: Duration::from_secs(random.between(4, 180)),
            give_up_on_first_boot_failure: random.chance(30),
            ..Settings::default()
        };
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

    /// Start, some minutes of faults, recovery, stop: when, and whether it is stopped in the midst of the faults.
    fn write_script(&mut self) {
        let start = self.now;
        self.code[0] = if self.random.chance(10) { Code::DoesNotBoot } else { Code::Good };
        self.at(start, Due::Tell(Event::Start));
        let heal = start + self.random.millis(20_000, 200_000);
        let settings = &self.settings;
        // Failures already under way, one full pause, then boots of at most a second each, one by one.
        let bound = settings.start_timeout * 2
            + settings.backoff_max
            + settings.graceful_timeout
            + settings.kill_repeat * 3
            + Duration::from_secs(20);
        self.at(start + Duration::from_millis(1), Due::Fault);
        self.at(heal, Due::Heal);
        self.at(heal + bound, Due::MustHaveRecovered);
        let stop = if self.random.chance(25) {
            start + self.random.millis(0, 60_000)
        } else {
            heal + bound + Duration::from_secs(1)
        };
        let how = if self.random.chance(70) { Event::Stop } else { Event::StopNow };
        self.at(stop, Due::Tell(how));
        if self.random.chance(30) {
            let later = stop + self.random.millis(0, 3_000);
            self.at(later, Due::Tell(Event::StopNow));
        }
    }

    fn at(&mut self, at: Duration, due: Due) {
        self.scheduled += 1;
        self.due.insert((at, self.scheduled), due);
    }

    fn after(&mut self, low: u64, high: u64, due: Due) {
        let at = self.now + self.random.millis(low, high);
        self.at(at, due);
    }

    /// True `percent` times in a hundred while faults are on.
    fn fault(&mut self, percent: u64) -> bool {
        self.faulty && self.random.chance(percent)
    }

    fn tell(&mut self, event: Event) -> Result<(), String> {
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

    fn happen(&mut self, due: Due) -> Result<(), String> {
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
            Due::MustHaveRecovered => self.checker.must_have_recovered(self.now, &self.subject.status()),
            Due::Tell(event) => self.tell(event),
        }
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

    fn go_wrong(&mut self) -> Result<(), String> {
        if !self.faulty || self.subject.status().state == AppState::Stopped {
            return Ok(());
        }
        self.after(20, 4_000, Due::Fault);
        let alive: Vec<WorkerId> = self.with(|process| process.pid.is_some());
        let serving: Vec<WorkerId> = self.with(|p| p.ready && p.admitted && !p.draining && !p.stuck);
        match self.random.between(0, 99) {
            0..25 => {
                if let Some(worker) = self.random.pick(&alive) {
                    return self.happen(Due::Exit(worker, ExitStatus::Signal(9)));
                }
            }
            25..30 => {
                for worker in alive {
                    self.after(0, 5, Due::Exit(worker, ExitStatus::Signal(9)));
                }
            }
            30..42 => {
                let busy: Vec<WorkerId> =
                    self.with(|process| process.admitted && !process.stuck && !process.idle);
                if let Some(worker) = self.random.pick(&busy) {
                    self.processes.entry(worker).and_modify(|process| process.stuck = true);
                    return self.tell(Event::Hung { worker });
                }
            }
            42..50 => {
                if let Some(worker) = self.random.pick(&alive) {
                    return self.tell(Event::Misbehaved { worker, reason: "bad frame".to_owned() });
                }
            }
            50..65 => {
                // Workers that started together reach their quota together.
                let many = if self.random.chance(30) { serving.len() } else { 1 };
                for worker in serving.into_iter().take(many) {
                    self.tell(Event::QuotaReached { worker })?;
                }
            }
            65..77 => return self.reload(),
            77..85 => {
                let delta = i32::try_from(self.random.between(0, 6)).unwrap() - 3;
                return self.tell(Event::Scale(delta));
            }
            85..88 => {
                let target = usize::try_from(self.random.between(0, 12)).unwrap();
                return self.tell(Event::SetTarget(target));
            }
            88..92 => self.fork_broken_until = self.now + self.random.millis(100, 10_000),
            _ => return self.nonsense(),
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<(), String> {
        let code = match self.random.between(0, 9) {
            0..6 => Code::Good,
            6..9 => Code::DoesNotBoot,
            _ => Code::DiesSoon,
        };
        // The supervisor numbers generations 1, 2, 3... and takes no reload once it is stopping.
        if !self.checker.stopping() {
            self.code.push(code);
        }
        self.tell(Event::Reload)
    }

    /// An event that makes no sense, about a worker that is gone or was never there.
    fn nonsense(&mut self) -> Result<(), String> {
        let newest = self.processes.last_key_value().map_or(0, |(worker, _)| worker.0);
        let mut id = WorkerId(self.random.between(0, newest + 3));
        while self.processes.contains_key(&id) {
            id = WorkerId(id.0 + 10_000);
        }
        let event = match self.random.between(0, 8) {
            0 => Event::Ready { worker: id },
            1 => Event::Drained { worker: id },
            2 => Event::QuotaReached { worker: id },
            3 => Event::Hung { worker: id },
            4 => Event::Exited { worker: id, status: ExitStatus::Code(0) },
            5 => Event::Spawned { worker: id, pid: 1 },
            6 => Event::SpawnFailed { worker: id, error: String::new() },
            7 => Event::BootFailed { worker: id, reason: String::new() },
            _ => Event::Start,
        };
        self.tell(event)
    }

    fn with(&self, matches: impl Fn(&Process) -> bool) -> Vec<WorkerId> {
        self.processes.iter().filter(|(_, process)| matches(process)).map(|(worker, _)| *worker).collect()
    }
}
