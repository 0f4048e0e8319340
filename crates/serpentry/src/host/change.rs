//! A new plan: what differs from what runs, and how it is applied without losing a request.
//!
//! The file is read and checked on another thread; with one error in it, nothing is changed. Then, application by application:
//! one that is new starts, one that is gone drains, one whose workers would be started differently boots a new generation
//! beside the old, and everything else takes effect in place. Routes follow each application: a request goes to what serves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use router::{Command, HostPattern, Route, RouteTable};
use tokio::sync::oneshot;

use super::Host;
use super::app::{End, HostedApp, Outcome, Wish};
use super::spec::{self, Spec};
use crate::extension::Extension;
use crate::load::{self, Loaded, Report};
use crate::logs::{Logs, Rotation};
use crate::process::Output;
use crate::say;
use crate::tenancy::{Grounds, Keeper, Pool, Shortage};
use serpentry::control::{Answer, Mistake, NotReloaded, Refusal, Reloaded};

/// Where a host's applications come from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) listen: Vec<String>,
    pub(crate) extension: Extension,
    /// The file whose meaning runs.
    pub(crate) applied: load::Read,
    /// Applications that run with another tenancy than it says.
    pub(crate) moved: BTreeMap<String, config::Move>,
}

/// Who asked for a reload; nobody, when it was a signal or the file itself.
type Reply = Option<Answer<Reloaded>>;

/// Reloads that wait for the one that is being read.
#[derive(Debug, Default)]
pub(crate) struct Changing {
    reading: bool,
    queue: Vec<Reply>,
}

/// A file that was read, and who asked for it.
#[derive(Debug)]
pub(crate) struct Read {
    result: Result<Loaded, String>,
    replies: Vec<Reply>,
}

/// What else can have been worked out on another thread.
#[derive(Debug)]
pub(crate) enum Worked {
    /// The file was read again.
    File(Box<Read>),
    Move(Box<super::moving::Moved>),
    /// Whether the end of a worker by SIGKILL was for want of memory.
    Shortage {
        number: super::Number,
        shortage: Option<Shortage>,
    },
    /// What is wrong with applications, from looking at what they use.
    Seen(super::watch::Seen),
}

impl Source {
    /// Read the file and look at the machine. Takes its time: not for the host's own thread.
    fn read(&self) -> Result<Loaded, Report> {
        load::load(&self.file, &self.moved)
    }

    /// What to run for each application.
    pub(crate) fn specs(&self, loaded: &Loaded, logs: &Logs, keeper: &Keeper) -> Vec<Spec> {
        keeper.set_grounds(self.grounds(&loaded.plan));
        let specs = loaded.plan.apps.iter().filter_map(|app| {
            let interpreter = loaded.interpreters.get(&app.name)?.clone();
            let output = Output::Captured(logs.app(&app.name));
            let lines = Arc::new(loaded.origins.lines(&app.name));
            Some(spec::of_app(app, interpreter, &self.extension, output, keeper, lines))
        });
        specs.collect()
    }
}

impl Source {
    /// Whose the paths are that isolated applications must not see.
    fn grounds(&self, plan: &config::Plan) -> Grounds {
        Grounds {
            state: self.state.clone(),
            file: self.file.clone(),
            apps: plan.apps.iter().map(|app| (app.name.clone(), app.directory.clone())).collect(),
        }
    }
}

impl Host {
    /// The first applications, which the router knows already: [`first`].
    pub(super) async fn begin(&mut self, specs: Vec<Rc<Spec>>) {
        for spec in specs {
            self.insert(spec);
        }
        self.notify.expect(self.ids());
        // In the order of the file; their workers start side by side.
        for id in self.ids() {
            self.step(id, supervisor::Event::Start).await;
        }
        if self.apps.is_empty() {
            self.notify.ready("no applications");
        }
    }

    fn insert(&mut self, spec: Rc<Spec>) -> router::App {
        self.last_app += 1;
        let id = self.last_app;
        self.names.insert(spec.name.clone(), id);
        self.apps.insert(id, HostedApp::new(id, spec, self.options.seed));
        id
    }

    async fn add(&mut self, spec: Rc<Spec>) -> router::App {
        let (name, settings) = (spec.name.clone(), Box::new(spec.router.clone()));
        let id = self.insert(spec);
        self.tell(Command::SetApp { app: id, name, settings }).await;
        id
    }

    /// Tell the router where requests go. The newest application comes first where two want the same for a moment.
    async fn route(&mut self) {
        let living = self.apps.values().rev().filter(|app| app.end != End::Remove);
        let routes = living.flat_map(|app| app.spec.app.routes.iter().map(|route| route_to(app.id, route)));
        let default = self.options.default_app.as_ref().and_then(|name| self.names.get(name)).copied();
        let table = RouteTable::new(routes, default);
        self.tell(Command::SetRoutes(table)).await;
    }

    /// The specification of an application has become what serves.
    pub(super) async fn settle(&mut self, id: router::App) {
        let Some(app) = self.apps.get(&id) else { return };
        let spec = Rc::clone(&app.spec);
        let settings = Box::new(spec.router.clone());
        self.tell(Command::SetApp { app: id, name: spec.name.clone(), settings }).await;
        self.route().await;
        self.settle_move(id);
    }

    // ---- reload ----

    /// Read the file again, on another thread.
    pub(super) fn load(&mut self, reply: Reply) {
        self.changing.queue.push(reply);
        if self.changing.reading {
            return;
        }
        let Some(source) = self.options.source.clone() else { return };
        self.changing.reading = true;
        let replies = std::mem::take(&mut self.changing.queue);
        let done = self.changed.0.clone();
        tokio::task::spawn_local(async move {
            let result = match tokio::task::spawn_blocking(move || source.read()).await {
                Ok(result) => result.map_err(|report| report.to_string()),
                Err(error) => Err(format!("reading the file ended in a defect of serpentry: {error}")),
            };
            // The receiver is gone only when the program ends.
            let _ = done.send(Worked::File(Box::new(Read { result, replies }))).await;
        });
    }

    pub(super) async fn read(&mut self, read: Read) {
        self.changing.reading = false;
        match read.result {
            Err(diagnostics) => self.refuse(&diagnostics, read.replies),
            Ok(loaded) => match self.change_host(&loaded.plan).await {
                Err(problem) => self.refuse(&problem, read.replies),
                Ok(()) => {
                    self.applied(&loaded);
                    self.change_apps(&loaded, read.replies).await;
                }
            },
        }
        // Those who asked while the file was read may mean a newer one.
        if let Some(reply) = self.changing.queue.pop() {
            self.load(reply);
        }
    }

    fn refuse(&mut self, diagnostics: &str, replies: Vec<Reply>) {
        say::error(format_args!(
            "the configuration was not reloaded, nothing has changed:\n{}",
            diagnostics.trim_end()
        ));
        for reply in replies.into_iter().flatten() {
            // Whoever asked may have gone; the same below.
            let _ = reply.send(Err(Refusal::Invalid(diagnostics.trim_end().to_owned())));
        }
        self.notify.reloaded("reload refused: the configuration has errors");
    }

    /// What belongs to no application. Most of it can be changed in place.
    async fn change_host(&mut self, plan: &config::Plan) -> Result<(), String> {
        let Some(source) = &self.options.source else { return Ok(()) };
        if plan.host.state != source.state {
            return Err("host.state cannot change while the host runs: stop it and start it again".to_owned());
        }
        if plan.host.listen != source.listen {
            return Err(
                "host.listen cannot change while the host runs: stop it and start it again".to_owned()
            );
        }
        let settings = spec::of_host(plan).map_err(|error| error.to_string())?;
        self.tell(Command::SetHost(Box::new(settings))).await;
        self.options.default_app.clone_from(&plan.host.default_app);
        self.options.graceful_timeout = plan.host.graceful_timeout;
        self.options.keeper.set_pool(Pool { cpu: plan.host.pool_cpu, memory: plan.host.pool_memory });
        if let Some(logs) = &self.options.logs {
            logs.reconfigure(Rotation { size: plan.host.log_size, files: plan.host.log_files });
        }
        if let Some(hooks) = &self.options.hooks {
            hooks.reconfigure(plan.host.on_incident.clone());
        }
        Ok(())
    }

    /// Remember the file whose meaning runs from now on. A move ends when the file says something else about it.
    fn applied(&mut self, loaded: &Loaded) {
        let Some(source) = &mut self.options.source else { return };
        source.applied = loaded.read.clone();
        source.moved.retain(|name, moved| loaded.plan.app(name).is_some_and(|app| app.tenancy == moved.to));
    }

    async fn change_apps(&mut self, loaded: &Loaded, replies: Vec<Reply>) {
        let (Some(source), Some(logs)) = (&self.options.source, &self.options.logs) else { return };
        let specs = source.specs(loaded, logs, &self.options.keeper);
        let mut changes = Reloaded { warnings: warnings(loaded), ..Reloaded::default() };
        let mut waiting = Vec::new();
        let gone: Vec<_> = self
            .apps
            .values()
            .filter(|app| app.end != End::Remove && !specs.iter().any(|spec| spec.name == app.name()))
            .map(|app| (app.id, app.name().to_owned()))
            .collect();
        for (id, name) in gone {
            self.names.remove(&name);
            changes.removed.push(name);
            self.end_app(id, End::Remove).await;
        }
        let mut started = Vec::new();
        for spec in specs {
            let name = spec.name.clone();
            match self.names.get(&name).copied() {
                None => {
                    let id = self.add(Rc::new(spec)).await;
                    started.push(id);
                    waiting.push((name.clone(), self.promise(id, Wish::Started)));
                    changes.added.push(name);
                }
                Some(id) => match self.change(id, spec).await {
                    Change::Nothing => changes.unchanged.push(name),
                    Change::InPlace => changes.changed.push(name),
                    Change::Generation(outcome) => {
                        waiting.push((name.clone(), Some(outcome)));
                        changes.changed.push(name);
                    }
                },
            }
        }
        self.route().await;
        for id in started {
            self.step(id, supervisor::Event::Start).await;
        }
        if changes.added.len() + changes.changed.len() + changes.removed.len() > 0 {
            self.generation += 1;
        }
        say::info(format_args!(
            "configuration reloaded: {} added, {} changed, {} removed, {} unchanged",
            changes.added.len(),
            changes.changed.len(),
            changes.removed.len(),
            changes.unchanged.len()
        ));
        let notify = self.notify.clone();
        tokio::task::spawn_local(async move {
            for (name, outcome) in waiting {
                let Some(outcome) = outcome else { continue };
                // It ends unanswered when the application was removed meanwhile.
                if let Ok(Err(failure)) = outcome.await {
                    // Each is in exactly one list.
                    for list in [&mut changes.added, &mut changes.changed] {
                        list.retain(|other| *other != name);
                    }
                    changes.failed.push(NotReloaded { app: name, error: failure.into() });
                }
            }
            notify.reloaded("reloaded");
            for reply in replies.into_iter().flatten() {
                let _ = reply.send(Ok(changes.clone()));
            }
        });
    }

    pub(super) fn promise(&mut self, id: router::App, wish: Wish) -> Option<oneshot::Receiver<Outcome>> {
        let (reply, outcome) = oneshot::channel();
        self.apps.get_mut(&id)?.wait(wish, reply);
        Some(outcome)
    }

    pub(super) async fn change(&mut self, id: router::App, mut spec: Spec) -> Change {
        let Some(app) = self.apps.get_mut(&id) else { return Change::Nothing };
        let latest = app.next.as_ref().unwrap_or(&app.spec);
        if latest.is_same(&spec) {
            return Change::Nothing;
        }
        spec.keep_place_of(latest);
        let same_workers = latest.has_same_workers(&spec);
        let limits_changed = latest.supervisor != spec.supervisor;
        let spec = Rc::new(spec);
        if limits_changed {
            app.supervisor.set_times(&spec.supervisor);
            let supervisor::Settings { min_workers: min, max_workers: max, idle, .. } = spec.supervisor;
            self.step(id, supervisor::Event::SetLimits { min, max, idle }).await;
        }
        let Some(app) = self.apps.get_mut(&id) else { return Change::Nothing };
        // One that is stopped uses it when it is started again.
        if (same_workers && app.next.is_none()) || app.end == End::Stop {
            app.adjust(spec);
            self.settle(id).await;
            return Change::InPlace;
        }
        app.next = Some(spec);
        let outcome = self.promise(id, Wish::Reloaded);
        self.step(id, supervisor::Event::Reload).await;
        outcome.map_or(Change::Nothing, Change::Generation)
    }
}

/// The router's view of the applications that a host begins with: they have the numbers from 1 on.
pub(crate) fn first(
    specs: &[Rc<Spec>],
    default: Option<&str>,
) -> (Vec<(router::App, String, router::Settings)>, RouteTable) {
    let numbered = || (1..).zip(specs);
    let apps = numbered().map(|(id, spec)| (id, spec.name.clone(), spec.router.clone())).collect();
    let routes =
        numbered().flat_map(|(id, spec)| spec.app.routes.iter().map(move |route| route_to(id, route)));
    let default = numbered().find(|(_, spec)| Some(spec.name.as_str()) == default).map(|(id, _)| id);
    (apps, RouteTable::new(routes, default))
}

/// What a new specification of one application leads to.
pub(super) enum Change {
    Nothing,
    /// It is in effect.
    InPlace,
    /// New workers are being started; the outcome comes later.
    Generation(oneshot::Receiver<Outcome>),
}

impl From<super::app::Failure> for Mistake {
    fn from(failure: super::app::Failure) -> Self {
        let traceback = Some(failure.traceback).filter(|text| !text.is_empty());
        Mistake { text: failure.reason, traceback }
    }
}

/// One sentence each.
fn warnings(loaded: &Loaded) -> Vec<String> {
    let line = |it: &config::Diagnostic| {
        it.location.as_ref().map_or(String::new(), |at| format!("line {}: ", at.line))
    };
    loaded.warnings.shown().iter().map(|it| format!("{}{}", line(it), it.message)).collect()
}

fn route_to(app: router::App, route: &config::Route) -> Route {
    let host = match &route.host {
        config::HostPattern::Any => HostPattern::Any,
        config::HostPattern::Exact(name) => HostPattern::Exact(name.clone()),
        config::HostPattern::Wildcard(name) => HostPattern::Wildcard(name.clone()),
    };
    Route { host, prefix: route.prefix.clone(), app }
}
