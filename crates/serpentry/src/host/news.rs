//! What the router tells, passed on to the supervisors of the applications concerned.

use supervisor::WorkerId;

use super::{EXIT_GRACE, Host, Number, Reminder, app, machine};
use crate::say;

impl Host {
    pub(super) async fn on_news(&mut self, event: router::Event) {
        use router::Event as From;
        use supervisor::Event as To;
        let (number, event): (Number, fn(WorkerId) -> To) = match event {
            From::Demand { app } => return self.demanded(app).await,
            From::Load { app, busy_peak, slots, waiting } => {
                let busy_workers = busy_peak.div_ceil(slots.max(1));
                return self.step(app, To::Load { busy_workers, waiting }).await;
            }
            From::AppGone { app } | From::AppIdle { app } => return self.end_app_now(app).await,
            From::Idle => {
                for app in self.ids() {
                    self.step(app, To::Stop).await;
                }
                return;
            }
            From::Notice { worker, text } => {
                let Some((app, _)) = self.numbers.get(&worker).copied() else { return };
                return self.tell_about(app, say::Level::Warning, text.trim_end());
            }
            From::Hello { worker, interface, slots, runtime } => {
                return self.said_hello(worker, interface, slots, &runtime);
            }
            From::Closed { worker, replayed, failed, requests } => {
                self.link_closed(worker, replayed, failed);
                self.gone_if_ended(worker).await;
                return self.requests_left(worker, (replayed, failed), requests).await;
            }
            From::Trouble(trouble) => return self.on_trouble(*trouble),
            From::Found(found) => return self.on_found(*found),
            From::Stuck { worker, request, stack } => return self.on_stuck(worker, &request, &stack),
            From::Blocked(said) => return self.on_blocked(&said),
            From::Durable(said) => return self.on_durable(&said),
            From::Seen { worker, id, done, text } => return self.on_seen(worker, id, done, text),
            From::BootFailed { worker, message, traceback } => {
                let Some((app, worker)) = self.whose(worker) else { return };
                let id = app.id;
                self.heard_traceback(id, &traceback);
                return self.step(id, To::BootFailed { worker, reason: message }).await;
            }
            From::Misbehaved { worker, reason } => {
                let Some((app, worker)) = self.numbers.get(&worker).copied() else { return };
                return self.step(app, To::Misbehaved { worker, reason }).await;
            }
            From::Ready { worker } => {
                self.said_ready(worker);
                (worker, |worker| To::Ready { worker })
            }
            From::QuotaReached { worker } => (worker, |worker| To::QuotaReached { worker }),
            From::Hung { worker } => (worker, |worker| To::Hung { worker }),
            From::Drained { worker } => (worker, |worker| To::Drained { worker }),
        };
        if let Some((app, worker)) = self.numbers.get(&number).copied() {
            self.step(app, event(worker)).await;
        }
    }

    pub(super) fn heard_traceback(&mut self, id: router::App, traceback: &str) {
        if let Some(app) = self.apps.get_mut(&id).filter(|_| !traceback.is_empty()) {
            app.heard_traceback(traceback);
            let text = format!("the application's traceback:\n{}", traceback.trim_end());
            self.tell_about(id, say::Level::Error, &text);
        }
    }

    fn said_hello(&mut self, number: Number, interface: wire::Interface, slots: u32, runtime: &str) {
        let Some((app, worker)) = self.whose(number) else { return };
        let concurrency = match (interface, slots) {
            (wire::Interface::Asgi, _) => "async",
            (wire::Interface::Wsgi, 1) => "sync",
            (wire::Interface::Wsgi, _) => "threads",
        };
        app.kind = Some(app::Kind { interface, concurrency, slots });
        let (id, interface) = (app.id, interface.as_str());
        let text =
            format!("worker {worker} has imported the application ({interface}, {concurrency}, {runtime})");
        self.tell_about(id, say::Level::Debug, &text);
    }

    fn said_ready(&mut self, number: Number) {
        let Some((app, worker)) = self.whose(number) else { return };
        let Some(process) = app.processes.get_mut(&worker) else { return };
        let took = process.boot.insert(process.asked.elapsed()).as_secs_f64() * 1e3;
        let id = app.id;
        self.tell_about(
            id,
            say::Level::Debug,
            &format!("worker {worker} is ready, {took:.1} ms after it was wanted"),
        );
    }

    fn link_closed(&mut self, number: Number, replayed: usize, failed: usize) {
        let Some((app, worker)) = self.whose(number) else { return };
        let id = app.id;
        let alive = app.processes.get_mut(&worker).map(|process| process.link_closed = true).is_some();
        if alive {
            self.remind(EXIT_GRACE, Reminder::StillThere(number));
        }
        if replayed + failed > 0 {
            let text = format!(
                "worker {worker} went away: {replayed} requests that it had begun were run again, {failed} answered 502"
            );
            self.tell_about(id, say::Level::Warning, &text);
        }
    }

    /// Requests wait and no slot is free. Another worker needs memory, and may not push the others out of it.
    async fn demanded(&mut self, id: router::App) {
        let Some(app) = self.apps.get(&id) else { return };
        let largest =
            app.processes.values().filter_map(|process| machine::resident(process.handle.pid())).max();
        // With no worker to judge by, the first one is started in any case: without it nothing is answered.
        if largest.is_none_or(machine::has_room_for) {
            self.step(id, supervisor::Event::Demand).await;
        }
    }
}
