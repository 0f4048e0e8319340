//! One laboratory: what it holds, and its way from the journal to the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;

use super::groups::Groups;
use super::spin::Spin;
use super::stage::Stage;
use super::{Arm, Effort, SessionError};
use crate::Random;
use crate::document::{Document, Kind};
use crate::host::{AppPlan, Host, HostError, HostPlan};
use crate::journal::{self, Change, Journal};
use crate::neighbour::{self, Hub};
use crate::probe;

/// What a session is made from.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program that hosts, and whose hidden command neighbours are.
    pub program: PathBuf,
    /// Where laboratories meet ([`journal::directory`]).
    pub journal: PathBuf,
    /// Below it, a directory for this session is made, and removed.
    pub scratch: PathBuf,
    /// The applications' interpreter; none for the program's own choice.
    pub python: Option<PathBuf>,
    pub seed: u64,
    pub effort: Effort,
    /// Set from outside to end early.
    pub interrupt: Arc<AtomicBool>,
}

/// Who is told how it goes.
pub trait Progress {
    /// A new part begins.
    fn part(&mut self, title: &str);
    /// Somewhere within it: so many of so many blocks.
    fn step(&mut self, done: usize, of: usize, what: &str);
    /// Something worth knowing.
    fn note(&mut self, text: &str);
}

/// Where everything ran, in the kernel's own words (`Cpus_allowed_list`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Placement {
    pub generator: String,
    pub host: String,
    pub app: String,
    pub neighbours: String,
}

/// A laboratory that runs.
pub struct Session<'a> {
    pub options: Options,
    /// For whatever is drawn; its order is the session's.
    pub random: Random,
    /// What is known by now. Claims add their answers.
    pub document: Document,
    pub progress: &'a mut dyn Progress,
    pub(super) groups: Groups,
    pub(super) hub: Hub,
    pub(super) stage: Option<Stage>,
    pub(super) spin: Spin,
    pub(super) begun: Instant,
    journal: Journal,
    directory: PathBuf,
    hosts: usize,
}

impl<'a> Session<'a> {
    /// Hold the machine, and make a directory with the applications in it.
    ///
    /// # Errors
    /// Another laboratory runs, what it left cannot be put back, or there is no room.
    pub fn open(options: Options, kind: Kind, progress: &'a mut dyn Progress) -> Result<Self, SessionError> {
        let (mut journal, left) = Journal::open(&options.journal)?;
        for sentence in &left {
            progress.note(&format!("an earlier laboratory did not end properly: {sentence}"));
        }
        let name = format!("{}{}", journal::PREFIX, std::process::id());
        let directory = options.scratch.join(name);
        journal.note(Change::Directory(directory.clone()))?;
        let make = |path: &Path| {
            fs::create_dir(path).map_err(SessionError::io(format!("make the directory {}", path.display())))
        };
        make(&directory)?;
        for name in ["apps", "neighbours"] {
            make(&directory.join(name))?;
        }
        probe::write(&directory.join("apps")).map_err(SessionError::io("write the applications"))?;
        neighbour::write(&directory.join("neighbours")).map_err(SessionError::io("write the neighbour"))?;
        let hub = Hub::listen(&directory.join("neighbours.sock"))?;
        let mut document = Document::new(kind, "");
        document.seed = options.seed;
        let mut session = Session {
            random: Random::stream(options.seed, 3),
            document,
            progress,
            groups: Groups::find(),
            hub,
            stage: None,
            spin: Spin::new(),
            begun: Instant::now(),
            journal,
            directory,
            hosts: 0,
            options,
        };
        session.describe_machine();
        Ok(session)
    }

    /// An application with the probe's routes: [`probe::WSGI`] or [`probe::ASGI`].
    #[must_use]
    pub fn probe(&self, app: &str) -> AppPlan {
        self.with_python(AppPlan::new(app, &self.directory.join("apps")))
    }

    /// A neighbour.
    #[must_use]
    pub fn neighbour(&self, name: &str) -> AppPlan {
        let socket = self.directory.join("neighbours.sock");
        self.with_python(neighbour::plan(
            name,
            &self.directory.join("neighbours"),
            &self.options.program,
            &socket,
        ))
    }

    fn with_python(&self, plan: AppPlan) -> AppPlan {
        match &self.options.python {
            Some(python) => plan.set("python", python.to_string_lossy()),
            None => plan,
        }
    }

    /// Start a host, after the one before has ended.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(&mut self, plan: HostPlan) -> Result<(), SessionError> {
        self.stop()?;
        self.check()?;
        let directory = self.directory.join(format!("host-{}", self.hosts));
        self.hosts += 1;
        fs::create_dir(&directory).map_err(SessionError::io("make a directory for the host"))?;
        let program = self.options.program.clone();
        self.stage = Some(Stage::open(&program, plan, &directory, &self.groups, &mut self.journal)?);
        Ok(())
    }

    /// End the host.
    ///
    /// # Errors
    /// It did not end by itself.
    pub fn stop(&mut self) -> Result<(), SessionError> {
        match self.stage.take() {
            Some(stage) => stage.close(&mut self.journal),
            None => Ok(()),
        }
    }

    /// Do something with another effort, and go on with the one before, whatever came of it.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn with_effort<T, E>(
        &mut self,
        effort: Effort,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let usual = std::mem::replace(&mut self.options.effort, effort);
        let result = work(self);
        self.options.effort = usual;
        result
    }

    /// The host that runs.
    ///
    /// # Errors
    /// None does.
    pub fn host(&mut self) -> Result<&mut Host, SessionError> {
        Ok(&mut self.stage()?.host)
    }

    pub(super) fn stage(&mut self) -> Result<&mut Stage, SessionError> {
        self.stage.as_mut().ok_or_else(|| HostError::Unknown("(no host runs)".to_owned()).into())
    }

    /// Put an application into an arm; true when its workers are new and cold.
    ///
    /// # Errors
    /// The machine does not have what the arm needs, or the host refuses.
    pub fn enter(&mut self, app: &str, arm: Arm) -> Result<bool, SessionError> {
        let Some(stage) = self.stage.as_mut() else {
            return Err(HostError::Unknown("(no host runs)".to_owned()).into());
        };
        stage.enter(app, arm, &self.groups, &mut self.journal)
    }

    /// Change something of the machine, noted: it is put back when the session ends.
    ///
    /// # Errors
    /// It cannot be noted, read or written.
    pub fn write_kernel(&mut self, path: &Path, text: &str) -> Result<(), SessionError> {
        let shown = path.display();
        let before = fs::read_to_string(path).map_err(SessionError::io(format!("read {shown}")))?;
        self.journal.note(Change::Written { path: path.to_owned(), before })?;
        fs::write(path, text).map_err(SessionError::io(format!("write {shown}")))
    }

    /// Where claims may keep files of their own.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// # Errors
    /// Somebody wants the session to end.
    pub fn check(&self) -> Result<(), SessionError> {
        if self.options.interrupt.load(Ordering::Relaxed) { Err(SessionError::Interrupted) } else { Ok(()) }
    }

    /// Put everything back; what is known stays.
    ///
    /// # Errors
    /// Something is not as it was; the journal says what.
    pub fn close(mut self) -> (Document, Result<(), SessionError>) {
        let stopped = self.stop();
        self.finish_document();
        let Session { journal, document, .. } = self;
        let closed = journal.close();
        (document, stopped.and(closed.map_err(SessionError::from)))
    }
}
