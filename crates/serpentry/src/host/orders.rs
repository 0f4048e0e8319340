//! What the operator asks over the control socket.
//!
//! The loop never waits for an answer here: whatever takes time ends in a task of its own that holds the reply.

use std::rc::Rc;
use std::time::Duration;

use router::Command;
use supervisor::Event;
use wire::Look;

use super::app::{End, Outcome, Wish};
use super::{Host, report};
use crate::say;
use serpentry::control::{Answer, Changed, Refusal, Request, Routes, Stopping};

/// How long an answer waits for what applications use.
const USAGE_TIME: Duration = Duration::from_millis(500);

impl Host {
    pub(super) async fn obey(&mut self, request: Request) {
        // A reply that cannot be sent has nobody waiting for it.
        match request {
            Request::Status { reply } => self.report(reply, report::status).await,
            Request::Metrics { reply } => self.report(reply, report::metrics).await,
            Request::Routes { app, reply } => self.tell_routes(app, reply).await,
            Request::Incidents { app, limit, reply } => self.tell_incidents(app.as_deref(), limit, reply),
            Request::Incident { name, reply } => self.tell_incident(name, reply),
            Request::Events { app, after, reply } => self.tell_events(app.as_deref(), after, reply),
            Request::Stacks { app, reply } => self.look(&app, Look::Stacks, reply).await,
            Request::Memory { app, seconds, reply } => {
                self.look(&app, Look::Memory { seconds }, reply).await;
            }
            Request::Reload { reply } => {
                if self.stopping {
                    let _ = reply.send(Err(Refusal::Stopping));
                } else {
                    self.notify.reloading();
                    self.load(Some(reply));
                }
            }
            Request::Scale { app, workers, reply } => self.scale(&app, workers, reply).await,
            Request::Stop { app, reply } => self.stop_app(&app, reply).await,
            Request::Start { app, reply } => self.start_app(&app, reply).await,
            Request::Restart { app, reply } => self.restart_app(&app, reply).await,
            Request::Move { app, tenancy, reply } => self.move_app(&app, tenancy, reply),
            Request::StopHost { reply } => {
                let graceful_timeout_seconds = self.options.graceful_timeout.as_secs_f64();
                let _ = reply.send(Ok(Stopping { pid: std::process::id(), graceful_timeout_seconds }));
                say::info(format_args!("told to stop over the control socket"));
                self.stop().await;
            }
        }
    }

    /// Collect what this side knows, then let a task add the router's figures.
    async fn report<T: 'static>(
        &mut self,
        reply: Answer<T>,
        make: fn(report::Facts, &router::Snapshot, &report::Usages) -> T,
    ) {
        let facts = report::Facts::collect(self);
        let (sender, snapshot) = tokio::sync::oneshot::channel();
        self.tell(Command::Snapshot { reply: sender }).await;
        let usage = self.options.keeper.usage();
        tokio::task::spawn_local(async move {
            // The keeper may be busy with what takes its time: then the answer goes without.
            let usage =
                tokio::time::timeout(USAGE_TIME, usage).await.ok().and_then(Result::ok).unwrap_or_default();
            let answer =
                snapshot.await.map(|snapshot| make(facts, &snapshot, &usage)).map_err(|_| Refusal::Stopping);
            let _ = reply.send(answer);
        });
    }

    /// What was measured of an application's requests.
    async fn tell_routes(&mut self, name: String, reply: Answer<Routes>) {
        let Some(id) = self.names.get(&name).copied() else {
            return drop(reply.send(Err(Refusal::NoSuchApp(name))));
        };
        let (sender, found) = tokio::sync::oneshot::channel();
        self.tell(Command::Routes { app: id, reply: sender }).await;
        tokio::task::spawn_local(async move {
            let answer = match found.await {
                Ok(Some(found)) => Ok(report::routes(name, &found)),
                Ok(None) => Err(Refusal::NoSuchApp(name)),
                Err(_) => Err(Refusal::Stopping),
            };
            let _ = reply.send(answer);
        });
    }

    /// The application of that name, if it can be changed now.
    pub(super) fn find(&self, name: &str) -> Result<router::App, Refusal> {
        if self.stopping {
            return Err(Refusal::Stopping);
        }
        self.names.get(name).copied().ok_or_else(|| Refusal::NoSuchApp(name.to_owned()))
    }

    pub(super) fn changed(&self, id: router::App) -> Result<Changed, Refusal> {
        let app = self.apps.get(&id).ok_or(Refusal::Stopping)?;
        let status = app.supervisor.status();
        Ok(Changed {
            app: app.name().to_owned(),
            tenancy: report::tenancy(app.spec.app.tenancy),
            state: report::state(app, &status),
            generation: status.generation,
            target: report::count(status.target),
        })
    }

    async fn scale(&mut self, name: &str, workers: u32, reply: Answer<Changed>) {
        let answer = match self.find(name) {
            Err(refusal) => Err(refusal),
            Ok(id) if self.apps.get(&id).is_some_and(|app| app.end != End::None) => {
                Err(Refusal::Invalid(format!("{name} is stopped: start it first")))
            }
            Ok(id) => {
                self.step(id, Event::SetTarget(workers as usize)).await;
                self.changed(id)
            }
        };
        let _ = reply.send(answer);
    }

    async fn stop_app(&mut self, name: &str, reply: Answer<Changed>) {
        let answer = match self.find(name) {
            Err(refusal) => Err(refusal),
            Ok(id) => {
                if self.apps.get(&id).is_some_and(|app| app.end == End::None) {
                    self.end_app(id, End::Stop).await;
                }
                self.changed(id)
            }
        };
        let _ = reply.send(answer);
    }

    async fn start_app(&mut self, name: &str, reply: Answer<Changed>) {
        let id = match self.find(name) {
            Ok(id) => id,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let Some(app) = self.apps.get_mut(&id) else { return };
        let ends = app.end == End::Stop;
        if ends && !app.is_gone() {
            let text = format!("{name} is still stopping: try again when its requests are done");
            return drop(reply.send(Err(Refusal::Busy(text))));
        }
        app.end = End::None;
        let outcome = self.promise(id, Wish::Started);
        self.tell(Command::SetOpen { app: id, open: true }).await;
        self.step(id, Event::Start).await;
        // One that serves already was not started: there is nothing to wait for.
        if let Some(app) = self.apps.get_mut(&id).filter(|app| app.is_up()) {
            app.fulfil(Wish::Started, &Ok(()));
        }
        self.answer_later(id, outcome, reply);
    }

    async fn restart_app(&mut self, name: &str, reply: Answer<Changed>) {
        let id = match self.find(name) {
            Ok(id) => id,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        if self.apps.get(&id).is_some_and(|app| app.end != End::None) {
            return self.start_app(name, reply).await;
        }
        let outcome = self.promise(id, Wish::Reloaded);
        self.step(id, Event::Reload).await;
        self.answer_later(id, outcome, reply);
    }

    /// Answer when the outcome is known, with the application as it is then.
    pub(super) fn answer_later(
        &self,
        id: router::App,
        outcome: Option<tokio::sync::oneshot::Receiver<Outcome>>,
        reply: Answer<Changed>,
    ) {
        let orders = self.orders();
        let name = self.apps.get(&id).map(|app| Rc::clone(&app.spec)).map(|spec| spec.name.clone());
        tokio::task::spawn_local(async move {
            let (Some(outcome), Some(name)) = (outcome, name) else {
                return drop(reply.send(Err(Refusal::Stopping)));
            };
            match outcome.await {
                Ok(Err(failure)) => {
                    let traceback = Some(failure.traceback).filter(|text| !text.is_empty());
                    let _ = reply.send(Err(Refusal::Failed { text: failure.reason, traceback }));
                }
                // It was removed meanwhile, or the host ends.
                Err(_) => drop(reply.send(Err(Refusal::NoSuchApp(name)))),
                Ok(Ok(())) => {
                    let (sender, status) = tokio::sync::oneshot::channel();
                    let _ = orders.send(Request::Status { reply: sender }).await;
                    let answer = match status.await {
                        Ok(Ok(status)) => {
                            status.apps.into_iter().find(|app| app.name == name).map(|app| Changed {
                                app: app.name,
                                tenancy: app.tenancy,
                                state: app.state,
                                generation: app.generation,
                                target: app.target,
                            })
                        }
                        _ => None,
                    };
                    let _ = reply.send(answer.ok_or(Refusal::Stopping));
                }
            }
        });
    }
}
