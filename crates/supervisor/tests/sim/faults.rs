//! What goes wrong while faults are on: processes that die and hang, code that does not boot, and an operator and a
//! configuration that change their minds.

use supervisor::{AppState, Event, ExitStatus, WorkerId};

use crate::script::{self, MOST};
use crate::world::{Code, Due, World};

impl World {
    pub(crate) fn go_wrong(&mut self) -> Result<(), String> {
        if !self.faulty || self.subject.status().state == AppState::Stopped {
            return Ok(());
        }
        self.after(20, 4_000, Due::Fault);
        match self.random.between(0, 99) {
            0..45 => self.break_a_process(),
            45..60 => self.retire_workers(),
            60..70 => self.reload(),
            70..76 => {
                let delta = i32::try_from(self.random.between(0, 6)).unwrap() - 3;
                self.tell(Event::Scale(delta))
            }
            76..78 => {
                let target = usize::try_from(self.random.between(0, MOST + 4)).unwrap();
                self.tell(Event::SetTarget(target))
            }
            78..84 => {
                let (min, max, idle) = script::limits(&mut self.random);
                // A minimum above the maximum counts.
                let (min, max) = if self.random.chance(10) { (max, min) } else { (min, max) };
                self.tell(Event::SetLimits { min, max, idle })
            }
            84..92 => {
                let needed = if self.random.chance(50) { 0 } else { self.random.between(1, MOST + 1) };
                self.need(usize::try_from(needed).unwrap());
                Ok(())
            }
            92..95 => {
                self.fork_broken_until = self.now + self.random.millis(100, 10_000);
                Ok(())
            }
            95..97 => self.tell(Event::Start),
            _ => self.nonsense(),
        }
    }

    fn break_a_process(&mut self) -> Result<(), String> {
        let alive: Vec<WorkerId> = self.with(|process| process.pid.is_some());
        match self.random.between(0, 49) {
            0..25 => {
                let how = if self.random.chance(70) { ExitStatus::Signal(9) } else { ExitStatus::Code(1) };
                if let Some(worker) = self.random.pick(&alive) {
                    return self.happen(Due::Exit(worker, how));
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
            _ => {
                if let Some(worker) = self.random.pick(&alive) {
                    return self.tell(Event::Misbehaved { worker, reason: "bad frame".to_owned() });
                }
            }
        }
        Ok(())
    }

    /// Workers that started together reach their quota, or outgrow their memory, together.
    fn retire_workers(&mut self) -> Result<(), String> {
        let serving: Vec<WorkerId> = self.with(|p| p.ready && p.admitted && !p.draining && !p.stuck);
        let many = if self.random.chance(30) { serving.len() } else { 1 };
        let room = match self.random.between(0, 2) {
            0 => None,
            1 => Some(true),
            _ => Some(false),
        };
        let mut chosen = serving;
        while chosen.len() > many {
            let last = u64::try_from(chosen.len()).unwrap() - 1;
            chosen.remove(usize::try_from(self.random.between(0, last)).unwrap());
        }
        for worker in chosen {
            self.tell(match room {
                None => Event::QuotaReached { worker },
                Some(room) => Event::Outgrown { worker, room },
            })?;
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
            _ => Event::Outgrown { worker: id, room: false },
        };
        self.tell(event)
    }
}
