//! One hosted application: what it is to be, what it is, and who waits for the one to become the other.
//!
//! The supervisor decides; this holds the facts that its decisions are carried out with, and turns its notices into
//! outcomes for whoever asked for the change. It does no I/O.

use std::collections::HashMap;
use std::rc::Rc;

use supervisor::{AppState, Notice, Supervisor, WorkerId};
use tokio::sync::oneshot;

use super::spec::Spec;
use crate::family::Handle;

/// What became of a change: `Err` is a sentence, followed by the application's own traceback if there is one.
pub(crate) type Outcome = Result<(), Failure>;

/// Why an application did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// Python's, or empty.
    pub(crate) traceback: String,
}

/// The number of a worker towards the router: unique over all applications.
pub(crate) type Number = router::Worker;

#[derive(Debug)]
pub(crate) struct HostedApp {
    pub(crate) id: router::App,
    /// What serves, or is being started for the first time.
    pub(crate) spec: Rc<Spec>,
    /// What a reload is starting beside it.
    pub(crate) next: Option<Rc<Spec>>,
    /// The reload is a move to another tenancy.
    pub(crate) moving: Option<config::Move>,
    /// The specification of every generation that may still start workers.
    generations: HashMap<u64, Rc<Spec>>,
    pub(crate) supervisor: Supervisor,
    pub(crate) processes: HashMap<WorkerId, Process>,
    /// Of workers that were asked for and are not there yet.
    pub(crate) quotas: HashMap<WorkerId, u64>,
    /// "wsgi, sync": what it turned out to be.
    pub(crate) kind: Option<Kind>,
    pub(crate) last_failure: Option<(std::time::SystemTime, Failure)>,
    /// The latest reload did not work; what served before serves on.
    pub(crate) reload_failed: bool,
    /// The last traceback that a worker sent, until the notice that it belongs to.
    traceback: String,
    pub(crate) end: End,
    waiting: Vec<Waiting>,
}

/// What the application turned out to be, from its first worker's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) interface: wire::Interface,
    /// "sync", "threads" or "async".
    pub(crate) concurrency: &'static str,
    /// Requests at a time in one worker.
    pub(crate) slots: u32,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) handle: Handle,
    /// When it was asked for.
    pub(crate) asked: std::time::Instant,
    /// From then until it took requests.
    pub(crate) boot: Option<std::time::Duration>,
    pub(crate) number: Number,
    pub(crate) link_closed: bool,
    /// It is gone and reaped, and what it said last may still have to be read.
    pub(crate) ended: Option<supervisor::ExitStatus>,
}

/// How an application comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It does not.
    None,
    /// No requests are taken; when those there are done, its workers stop. It can be started again.
    Stop,
    /// The same, and then it is forgotten.
    Remove,
}

/// Somebody who waits for a wish to be fulfilled.
#[derive(Debug)]
struct Waiting {
    wish: Wish,
    /// The reload that is to do it, once it has begun: one that is superseded must not answer for the next.
    generation: Option<u64>,
    reply: oneshot::Sender<Outcome>,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// All wanted workers are ready, after a start.
    Started,
    /// A new generation serves.
    Reloaded,
    /// No process is left.
    Stopped,
}

impl HostedApp {
    pub(crate) fn new(id: router::App, spec: Rc<Spec>, seed: u64) -> Self {
        HostedApp {
            id,
            supervisor: Supervisor::new(spec.supervisor.clone(), seed ^ u64::from(id)),
            spec,
            next: None,
            moving: None,
            generations: HashMap::new(),
            processes: HashMap::new(),
            quotas: HashMap::new(),
            kind: None,
            last_failure: None,
            reload_failed: false,
            traceback: String::new(),
            end: End::None,
            waiting: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The specification that a worker of this generation is started with.
    pub(crate) fn spec_of(&self, generation: u64) -> Rc<Spec> {
        Rc::clone(self.generations.get(&generation).unwrap_or(&self.spec))
    }

    /// The specifications that a worker can be started with.
    pub(crate) fn specs(&self) -> impl Iterator<Item = &Rc<Spec>> {
        self.generations.values().chain([&self.spec]).chain(&self.next)
    }

    /// A reload began: workers of `generation` are started with what is to come.
    pub(crate) fn generation_begun(&mut self, generation: u64) {
        let spec = self.next.as_ref().unwrap_or(&self.spec);
        self.generations.insert(generation, Rc::clone(spec));
    }

    /// This generation serves from now on; older ones start no more workers. True if its specification is a new one.
    pub(crate) fn generation_serves(&mut self, generation: u64) -> bool {
        let spec = self.spec_of(generation);
        for preload in self.specs().filter_map(|spec| spec.template.preload.as_ref()) {
            preload.retire_before(generation);
        }
        self.generations.retain(|number, _| *number >= generation);
        self.generations.insert(generation, Rc::clone(&spec));
        let changed = !Rc::ptr_eq(&spec, &self.spec);
        if self.next.as_ref().is_some_and(|next| Rc::ptr_eq(next, &spec)) {
            self.next = None;
        }
        self.spec = spec;
        changed
    }

    /// A change that needs no new workers: `spec` replaces what serves.
    pub(crate) fn adjust(&mut self, spec: Rc<Spec>) {
        for generation in self.generations.values_mut() {
            if Rc::ptr_eq(generation, &self.spec) {
                *generation = Rc::clone(&spec);
            }
        }
        self.spec = spec;
    }

    /// A worker could not boot, and said so in Python's words.
    pub(crate) fn heard_traceback(&mut self, traceback: &str) {
        traceback.trim_end().clone_into(&mut self.traceback);
    }

    // ---- who waits ----

    /// Answer `reply` when the wish is fulfilled, or cannot be.
    pub(crate) fn wait(&mut self, wish: Wish, reply: oneshot::Sender<Outcome>) {
        self.waiting.push(Waiting { wish, generation: None, reply });
    }

    pub(crate) fn fulfil(&mut self, wish: Wish, outcome: &Outcome) {
        self.answer(outcome, |waiting| waiting.wish == wish);
    }

    fn answer(&mut self, outcome: &Outcome, whom: impl FnMut(&mut Waiting) -> bool) {
        for waiting in self.waiting.extract_if(.., whom) {
            // Whoever asked may have gone.
            let _ = waiting.reply.send(outcome.clone());
        }
    }

    /// A reload began, for those who asked for one until now.
    fn reload_begun(&mut self, generation: u64) {
        for waiting in self.waiting.iter_mut().filter(|it| it.wish == Wish::Reloaded) {
            waiting.generation.get_or_insert(generation);
        }
    }

    fn reload_ended(&mut self, generation: u64, outcome: &Outcome) {
        self.answer(outcome, |waiting| waiting.generation == Some(generation));
    }

    /// Draw the consequences of a notice for those who wait.
    pub(crate) fn noticed(&mut self, notice: &Notice) {
        match notice {
            Notice::BootFailed { reason, generation, .. } => {
                let failure = self.failed(reason);
                if *generation == self.supervisor.status().generation {
                    self.fulfil(Wish::Started, &Err(failure));
                }
            }
            Notice::Lost { reason, .. } => drop(self.failed(reason)),
            Notice::ReloadStarted { generation, .. } => {
                self.generation_begun(*generation);
                self.reload_begun(*generation);
            }
            Notice::ReloadDone { generation } => {
                self.reload_failed = false;
                self.reload_ended(*generation, &Ok(()));
            }
            Notice::ReloadFailed { generation, .. } => {
                self.forget_generation(*generation);
                self.next = None;
                self.moving = None;
                self.reload_failed = true;
                let failure = self.last_failure.clone().map(|(_, failure)| failure);
                let failure = failure.unwrap_or_else(|| Failure::new("the reload failed"));
                self.reload_ended(*generation, &Err(failure));
            }
            Notice::ReloadSuperseded { generation } => {
                self.forget_generation(*generation);
                let failure = Failure::new("another reload came before this one was done");
                self.reload_ended(*generation, &Err(failure));
            }
            _ => {}
        }
    }

    fn forget_generation(&mut self, generation: u64) {
        let spec = self.generations.remove(&generation);
        if let Some(preload) = spec.as_ref().and_then(|spec| spec.template.preload.as_ref()) {
            preload.retire(generation);
        }
    }

    /// No worker is started any more, and those that wait for a template need not wait for it.
    pub(crate) fn stop_preloading(&self) {
        for preload in self.specs().filter_map(|spec| spec.template.preload.as_ref()) {
            preload.stop();
        }
    }

    /// What it holds of the machine is not needed any more.
    pub(crate) fn leave_places(&self) {
        for spec in self.specs() {
            spec.template.tenant.leave();
        }
    }

    fn failed(&mut self, reason: &str) -> Failure {
        let failure = Failure { reason: reason.to_owned(), traceback: std::mem::take(&mut self.traceback) };
        self.last_failure = Some((std::time::SystemTime::now(), failure.clone()));
        failure
    }

    /// It serves, or sleeps until a request comes.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.supervisor.status().state, AppState::Serving | AppState::Degraded | AppState::Asleep)
    }

    /// No process is left, and none will be started.
    pub(crate) fn is_gone(&self) -> bool {
        self.supervisor.status().state == AppState::Stopped
    }
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Failure { reason: reason.into(), traceback: String::new() }
    }
}
