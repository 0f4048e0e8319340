//! Another tenancy for an application while it serves.
//!
//! The file whose meaning runs is resolved again with the other tenancy, so that the defaults which depend on it follow; the
//! result is applied like any change of the file: a new generation boots over there and takes over when it is ready. If it is
//! not admitted or does not start, what served before serves on.

use config::Move;
use serpentry::control::{Answer, Changed, Refusal, Tenancy};

use super::Host;
use super::change::{Change, Worked};
use super::spec;
use crate::load::Report;

/// What a file means with one more application moved.
#[derive(Debug)]
pub(crate) struct Moved {
    app: String,
    to: config::Tenancy,
    plan: Result<config::Plan, Report>,
    reply: Answer<Changed>,
}

impl Host {
    /// Work out what the application is with the other tenancy; [`Host::moved`] follows.
    pub(super) fn move_app(&mut self, name: &str, tenancy: Tenancy, reply: Answer<Changed>) {
        let to = match tenancy {
            Tenancy::Shared => config::Tenancy::Shared,
            Tenancy::Isolated => config::Tenancy::Isolated,
        };
        let id = match self.find(name) {
            Ok(id) => id,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let Some(source) = &self.options.source else {
            let text = "this host has no configuration file: start it with --tenancy".to_owned();
            return drop(reply.send(Err(Refusal::Invalid(text))));
        };
        let app = self.apps.get(&id);
        if app.is_some_and(|app| app.next.is_some()) {
            let text = format!("{name} is being changed: try again when that is done");
            return drop(reply.send(Err(Refusal::Busy(text))));
        }
        let Some(now) = app.map(|app| app.spec.app.tenancy).filter(|now| *now != to) else {
            return drop(reply.send(self.changed(id)));
        };
        let (read, mut moved) = (source.applied.clone(), source.moved.clone());
        match moved.get(name) {
            // Back to what the file says.
            Some(before) if before.from == to => drop(moved.remove(name)),
            Some(_) => {}
            None => drop(moved.insert(name.to_owned(), Move { from: now, to })),
        }
        let (app, done) = (name.to_owned(), self.changed.0.clone());
        tokio::task::spawn_local(async move {
            // It cannot fail but by a panic, which is told by the dropped reply.
            let Ok(plan) = tokio::task::spawn_blocking(move || read.with_moves(&moved)).await else { return };
            // The receiver is gone only when the program ends.
            let _ = done.send(Worked::Move(Box::new(Moved { app, to, plan, reply }))).await;
        });
    }

    pub(super) async fn moved(&mut self, Moved { app: name, to, plan, reply }: Moved) {
        let plan = match plan {
            Ok(plan) => plan,
            Err(report) => return drop(reply.send(Err(Refusal::Invalid(report.to_string())))),
        };
        let id = match self.find(&name) {
            Ok(id) => id,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let (Some(app), Some(plan)) = (self.apps.get(&id), plan.app(&name)) else { return };
        let (template, from) = (app.spec.template.clone(), app.spec.app.tenancy);
        let (keeper, lines) = (&self.options.keeper, template.tenant.wants().lines.clone());
        let spec =
            spec::of_app(plan, template.interpreter, &template.extension, template.output, keeper, lines);
        if let Some(app) = self.apps.get_mut(&id) {
            app.moving = Some(Move { from, to });
        }
        match self.change(id, spec).await {
            Change::Nothing | Change::InPlace => drop(reply.send(self.changed(id))),
            Change::Generation(outcome) => self.answer_later(id, Some(outcome), reply),
        }
    }

    /// An application serves where it was moved to: a reload of the same file leaves it there.
    pub(super) fn settle_move(&mut self, id: router::App) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let Some(moving) = app.moving.take().filter(|moving| moving.to == app.spec.app.tenancy) else {
            return;
        };
        let name = app.name().to_owned();
        let Some(source) = &mut self.options.source else { return };
        match source.moved.get(&name) {
            // Back to what the file says.
            Some(before) if before.from == moving.to => drop(source.moved.remove(&name)),
            Some(_) => {}
            None => drop(source.moved.insert(name, moving)),
        }
    }
}
