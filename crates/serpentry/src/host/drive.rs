//! Carries out what an application's supervisor decides.

use router::Command;
use supervisor::{Action, Event, Notice, ScaleReason, WorkerId, WorkerState};

use super::app::{End, Process, Wish};
use super::{Host, Reminder, notify};
use crate::process::{self, Started};
use crate::say::Level;

impl Host {
    /// Let the supervisor decide, and carry it out. Spawning answers at once, which may lead to further actions.
    pub(super) async fn step(&mut self, id: router::App, event: Event) {
        if let (Event::Stop | Event::StopNow, Some(app)) = (&event, self.apps.get(&id)) {
            app.stop_preloading();
        }
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let elapsed = self.origin.elapsed();
            let Some(app) = self.apps.get_mut(&id) else { return };
            let actions = app.supervisor.step(elapsed, event);
            // In reverse, because `events` is a stack.
            let mut answers = Vec::new();
            for action in actions {
                answers.extend(self.carry_out(id, action).await);
            }
            events.extend(answers.into_iter().rev());
        }
        self.plan_next_step(id);
    }

    fn plan_next_step(&mut self, id: router::App) {
        if let Some(at) = self.due.remove(&id) {
            self.deadlines.remove(&(at, id));
        }
        if let Some(at) = self.apps.get(&id).and_then(|app| app.supervisor.next_deadline()) {
            self.due.insert(id, at);
            self.deadlines.insert((at, id));
        }
    }

    async fn carry_out(&mut self, id: router::App, action: Action) -> Option<Event> {
        match action {
            Action::Spawn { worker, generation, max_requests } => {
                return self.spawn(id, worker, generation, max_requests).await;
            }
            Action::Admit { worker } => {
                if let Some(worker) = self.number(id, worker) {
                    self.tell(Command::Admit { worker }).await;
                }
            }
            Action::Drain { worker, why } => {
                self.tell_about(id, Level::Debug, &format!("worker {worker} is drained: {why}"));
                if let Some(worker) = self.number(id, worker) {
                    self.tell(Command::Drain { worker }).await;
                }
            }
            Action::Kill { worker, why } => {
                if let Some(process) = self.apps.get(&id).and_then(|app| app.processes.get(&worker)) {
                    let (pid, number) = (process.handle.pid(), process.number);
                    process.handle.kill();
                    self.process_killed(number, why);
                    self.tell_about(
                        id,
                        Level::Debug,
                        &format!("worker {worker} (pid {pid}) is killed: {why}"),
                    );
                }
            }
            Action::Notice(notice) => self.announce(id, &notice),
            Action::Activate { generation } => {
                let changed = self.apps.get_mut(&id).is_some_and(|app| app.generation_serves(generation));
                if changed {
                    self.settle(id).await;
                }
            }
            Action::FirstReady => self.first_ready(id),
            Action::Stopped { failed } => self.stopped(id, failed).await,
        }
        None
    }

    /// The answer comes later, as a [`process::Fate`].
    async fn spawn(
        &mut self,
        id: router::App,
        worker: WorkerId,
        generation: u64,
        quota: Option<u64>,
    ) -> Option<Event> {
        let app = self.apps.get_mut(&id)?;
        self.last_number += 1;
        let number = self.last_number;
        self.numbers.insert(number, (id, worker));
        app.quotas.extend(quota.map(|quota| (worker, quota)));
        let spec = app.spec_of(generation);
        match process::start(&spec.template, number, generation, &self.fates.0) {
            // The answer comes later.
            Ok(()) => None,
            Err(error) => {
                self.numbers.remove(&number);
                Some(Event::SpawnFailed { worker, error: format!("{error:#}") })
            }
        }
    }

    pub(super) async fn started(
        &mut self,
        id: router::App,
        worker: WorkerId,
        number: super::Number,
        started: Started,
    ) -> Event {
        let Started { process, asked, data, control } = started;
        let pid = process.pid();
        if let Some(app) = self.apps.get_mut(&id) {
            let quota = app.quotas.remove(&worker);
            app.processes.insert(
                worker,
                Process { handle: process, asked, boot: None, number, link_closed: false, ended: None },
            );
            self.tell(Command::Attach { app: id, worker: number, data, control, quota }).await;
        }
        self.tell_about(id, Level::Debug, &format!("worker {worker} is process {pid}"));
        Event::Spawned { worker, pid }
    }

    fn number(&self, id: router::App, worker: WorkerId) -> Option<super::Number> {
        Some(self.apps.get(&id)?.processes.get(&worker)?.number)
    }

    fn announce(&mut self, id: router::App, notice: &Notice) {
        if let Some(app) = self.apps.get_mut(&id) {
            app.noticed(notice);
        }
        let level = match notice {
            Notice::BootFailed { .. }
            | Notice::Lost { .. }
            | Notice::ReloadFailed { .. }
            | Notice::StillAlive { .. } => Level::Warning,
            // An application that follows its requests does this all day.
            Notice::Scaled { why: ScaleReason::Demand | ScaleReason::Idle, .. } => Level::Debug,
            _ => Level::Info,
        };
        self.tell_about(id, level, &notice.to_string());
        self.notice_incident(id, notice);
        if matches!(notice, Notice::BootFailed { .. }) {
            self.first_outcome(id);
        }
    }

    fn first_ready(&mut self, id: router::App) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let status = app.supervisor.status();
        let pids: Vec<String> = status
            .workers
            .iter()
            .filter(|worker| worker.generation == status.generation && worker.state == WorkerState::Ready)
            .filter_map(|worker| worker.pid)
            .map(|pid| pid.to_string())
            .collect();
        let kind = app.kind.as_ref().map(|kind| match kind.concurrency {
            "threads" => format!("{}, {} threads", kind.interface.as_str(), kind.slots),
            concurrency => format!("{}, {concurrency}", kind.interface.as_str()),
        });
        app.fulfil(Wish::Started, &Ok(()));
        let text = if pids.is_empty() {
            "ready: the first request will start it".to_owned()
        } else {
            let (workers, pid) = if pids.len() == 1 { ("worker", "pid") } else { ("workers", "pids") };
            format!(
                "ready: {} {workers}, {} ({pid} {})",
                pids.len(),
                kind.unwrap_or_default(),
                pids.join(" ")
            )
        };
        self.tell_about(id, Level::Info, &text);
        self.first_outcome(id);
    }

    /// The service manager hears "ready" when every application has been ready or has failed for the first time.
    fn first_outcome(&mut self, id: router::App) {
        self.notify.settled(id);
        if let notify::State::Ready = self.notify.state() {
            let apps = self.apps.len();
            self.notify.ready(&format!("{apps} applications"));
        }
    }

    async fn stopped(&mut self, id: router::App, failed: Option<String>) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let end = app.end;
        match failed {
            Some(reason) => {
                self.failed = true;
                let reason = supervisor::without_not_started(&reason);
                let text = format!("the application did not start: {reason}");
                self.tell_about(id, Level::Error, &text);
            }
            None => {
                app.leave_places();
                app.fulfil(Wish::Stopped, &Ok(()));
                if end != End::None && !self.stopping {
                    self.tell_about(id, Level::Info, "stopped");
                }
            }
        }
        if end == End::Remove {
            self.forget(id);
        }
    }

    /// Start to end an application: no new requests; its workers stop when those that there are have been answered.
    pub(super) async fn end_app(&mut self, id: router::App, end: End) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        app.end = end;
        let patience = app.spec.supervisor.graceful_timeout;
        let command = match end {
            End::Remove => Command::RemoveApp { app: id },
            _ => Command::SetOpen { app: id, open: false },
        };
        self.tell(command).await;
        self.remind(patience, Reminder::EndApp(id));
    }

    /// Its requests are done, or have had their time.
    pub(super) async fn end_app_now(&mut self, id: router::App) {
        if self.apps.get(&id).is_some_and(|app| app.end != End::None) {
            self.step(id, Event::Stop).await;
        }
    }

    fn forget(&mut self, id: router::App) {
        let Some(app) = self.apps.remove(&id) else { return };
        self.forget_incidents(app.name());
        if self.names.get(app.name()) == Some(&id) {
            self.names.remove(app.name());
            if let Some(logs) = &self.options.logs {
                logs.forget(app.name());
            }
        }
        self.notify.settled(id);
    }
}
