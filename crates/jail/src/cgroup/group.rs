//! One group: the same path in every hierarchy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::list;
use super::freezer::{self, Survivors};
use super::hierarchy::{Controller, Version};
use super::limits::{Constraint, Limits, Outcome, Refusal};
use super::oom::OomWatch;
use super::tree::{Branch, Shared, directory};
use super::usage::{self, Usage};
use super::{cpu, cpuset, io, memory, pids};

/// Between two attempts at removing a directory whose last process is on its way out.
const PAUSE: Duration = Duration::from_millis(2);

/// A group of a [`super::Tree`]. Cheap to clone; it does not keep the directories alive.
#[derive(Debug, Clone)]
pub struct Group {
    shared: Arc<Shared>,
    path: String,
}

/// Where a controller's files of one group are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) version: Version,
    pub(super) dir: PathBuf,
}

impl Group {
    pub(super) fn new(shared: Arc<Shared>, path: String) -> Self {
        Group { shared, path }
    }

    /// Its path in the tree, such as `shared/shop`; empty for the whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is a part of that one.
    #[must_use]
    pub fn is_in(&self, other: &Group) -> bool {
        self.path.strip_prefix(&other.path).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Set all limits to these: what is `None` has no limit of its own afterwards. An outcome for each constraint that is
    /// asked for, and for each that could not be taken back.
    #[must_use]
    pub fn apply(&self, limits: &Limits) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        cpu::apply(&self.place(Controller::Cpu), limits, &mut outcomes);
        self.apply_cores(limits, &mut outcomes);
        self.apply_memory(limits, &mut outcomes);
        let memory_on_v2 = self.place(Controller::Memory).is_ok_and(|place| place.version == Version::V2);
        let roots = &self.shared.roots;
        io::apply(&self.place(Controller::Io), limits, roots, memory_on_v2, &mut outcomes);
        pids::apply(&self.place(Controller::Pids), limits, &mut outcomes);
        outcomes
    }

    fn apply_cores(&self, limits: &Limits, outcomes: &mut Vec<Outcome>) {
        let mut pinned = self.shared.pinned();
        cpuset::apply(&self.place(Controller::Cpuset), limits, &self.path, &mut pinned, outcomes);
    }

    fn apply_memory(&self, limits: &Limits, outcomes: &mut Vec<Outcome>) {
        let place = self.place(Controller::Memory);
        let tree = self.branch(Controller::Memory).map(|branch| branch.dir.clone()).unwrap_or_default();
        memory::apply(&place, limits, &tree, outcomes);
    }

    /// The files into which a process writes `0` to join the group in every hierarchy.
    #[must_use]
    pub fn entries(&self) -> Vec<PathBuf> {
        self.dirs().into_iter().map(|(_, dir)| dir.join("cgroup.procs")).collect()
    }

    /// What it uses now and what happened to it.
    #[must_use]
    pub fn usage(&self) -> Usage {
        usage::read(|controller| self.place(controller).ok(), self.unified().as_deref())
    }

    /// Of that, memory alone: to be asked often.
    #[must_use]
    pub fn memory(&self) -> Option<super::MemoryUsage> {
        usage::memory(&self.place(Controller::Memory).ok()?)
    }

    /// Of memory, bytes used now: one file, to be read very often.
    #[must_use]
    pub fn memory_used(&self) -> Option<u64> {
        usage::memory_used(&self.place(Controller::Memory).ok()?)
    }

    /// Of those, bytes of the page cache. Takes the kernel some time.
    #[must_use]
    pub fn reclaimable(&self) -> Option<u64> {
        usage::reclaimable(&self.place(Controller::Memory).ok()?)
    }

    #[must_use]
    pub fn cpu(&self) -> Option<super::CpuUsage> {
        let place = |controller| self.place(controller).ok();
        usage::cpu(place(Controller::Cpu), place(Controller::Cpuacct), self.unified().as_deref())
    }

    #[must_use]
    pub fn pids(&self) -> Option<super::PidsUsage> {
        usage::pids(&self.place(Controller::Pids).ok()?.dir)
    }

    /// Forks that failed: one file, to be read very often.
    #[must_use]
    pub fn forks_refused(&self) -> Option<u64> {
        usage::refused(&self.place(Controller::Pids).ok()?.dir)
    }

    #[must_use]
    pub fn io(&self) -> Option<super::IoUsage> {
        usage::io(&self.place(Controller::Io).ok()?)
    }

    #[must_use]
    pub fn pressures(&self) -> super::Pressures {
        self.unified().map(|dir| super::Pressures::read(&dir)).unwrap_or_default()
    }

    /// From now on the peak is that from now on. `false` where the kernel cannot do that (version 2).
    #[must_use]
    pub fn forget_peak(&self) -> bool {
        match self.place(Controller::Memory) {
            Ok(Place { version: Version::V1, dir }) => {
                super::file::write(&dir.join("memory.max_usage_in_bytes"), "0").is_ok()
            }
            _ => false,
        }
    }

    /// The processors it may use now; empty if there is no telling.
    #[must_use]
    pub fn cores(&self) -> Vec<u32> {
        let Ok(Place { version, dir }) = self.place(Controller::Cpuset) else { return Vec::new() };
        let name = match version {
            Version::V1 => "cpuset.effective_cpus",
            Version::V2 => "cpuset.cpus.effective",
        };
        list(&super::file::read(&dir.join(name)).unwrap_or_default())
    }

    /// The processes in it and below it; those of a PID namespace that we do not see are 0.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.dirs().iter().flat_map(|(_, dir)| freezer::inhabitants(dir)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kill everything in it and below it, and wait for it to be gone. Never this process. Blocks for up to `patience`.
    ///
    /// # Errors
    /// When something is still there after `patience`.
    pub fn kill(&self, patience: Duration) -> Result<(), Survivors> {
        freezer::kill(&self.dirs(), Instant::now() + patience)
    }

    /// Stop all its processes, wherever they are. Blocks for up to `patience`.
    ///
    /// # Errors
    /// `Unsupported` without a freezer, `TimedOut` when they have not stopped (they will, unless thawed).
    pub fn freeze(&self, patience: Duration) -> std::io::Result<()> {
        let Place { version, dir } = self.freezer()?;
        freezer::freeze(version, &dir, true, Instant::now() + patience)
    }

    /// Let them run again.
    ///
    /// # Errors
    /// As with [`Group::freeze`].
    pub fn thaw(&self, patience: Duration) -> std::io::Result<()> {
        let Place { version, dir } = self.freezer()?;
        freezer::freeze(version, &dir, false, Instant::now() + patience)
    }

    /// Remove it and all below it from every hierarchy. Blocks for up to `patience` until the last process has left; zero
    /// is one attempt. What is gone already is fine.
    ///
    /// # Errors
    /// `ResourceBusy` when processes are still in it.
    pub fn remove(&self, patience: Duration) -> std::io::Result<()> {
        let deadline = Instant::now() + patience;
        for (_, dir) in self.dirs() {
            wait_removed(&dir, deadline)?;
        }
        self.shared.forget(&self.path);
        Ok(())
    }

    /// To be told when it runs out of memory. Make one for each group that has a limit, after it was made.
    ///
    /// # Errors
    /// `Unsupported` without the memory controller; or when the kernel refuses.
    pub fn oom_watch(&self) -> std::io::Result<OomWatch> {
        let place = self.place(Controller::Memory);
        let place = place.map_err(|refusal| std::io::Error::new(std::io::ErrorKind::Unsupported, refusal))?;
        OomWatch::new(&place)
    }

    fn freezer(&self) -> std::io::Result<Place> {
        if let Some(dir) = self.unified().filter(|dir| dir.join("cgroup.freeze").exists()) {
            return Ok(Place { version: Version::V2, dir });
        }
        self.place(Controller::Freezer)
            .map_err(|refusal| std::io::Error::new(std::io::ErrorKind::Unsupported, refusal))
    }

    fn unified(&self) -> Option<PathBuf> {
        let branch = self.shared.branches.iter().find(|branch| branch.version == Version::V2)?;
        Some(self.dir(branch))
    }

    fn dirs(&self) -> Vec<(Version, PathBuf)> {
        self.shared.branches.iter().map(|branch| (branch.version, self.dir(branch))).collect()
    }

    fn dir(&self, branch: &Branch) -> PathBuf {
        let parts = self.path.split('/').filter(|part| !part.is_empty()).map(directory);
        parts.fold(branch.dir.clone(), |dir, part| dir.join(part))
    }

    fn place(&self, controller: Controller) -> Result<Place, Refusal> {
        match self.branch(controller) {
            Some(branch) => Ok(Place { version: branch.version, dir: self.dir(branch) }),
            None => Err(self.why_not(controller)),
        }
    }

    fn branch(&self, controller: Controller) -> Option<&Branch> {
        self.shared.branches.iter().find(|branch| branch.controllers.contains(&controller))
    }

    fn why_not(&self, controller: Controller) -> Refusal {
        let known = self.shared.missing.iter().find(|missing| missing.controller == controller);
        known.map_or_else(|| super::tree::not_there(controller), |missing| missing.refusal.clone())
    }
}

/// Remove a directory and all below it, waiting for processes that are about to leave.
pub(super) fn wait_removed(dir: &Path, deadline: Instant) -> std::io::Result<()> {
    for child in super::file::children(dir) {
        wait_removed(&child, deadline)?;
    }
    loop {
        match std::fs::remove_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// Report on one constraint of one controller: `work` writes, given the place. Nothing is said of a constraint that is not
/// asked for, unless it was set before and cannot be taken back.
pub(super) fn report(
    outcomes: &mut Vec<Outcome>,
    constraint: Constraint,
    wanted: bool,
    place: &Result<Place, Refusal>,
    work: impl FnOnce(&mut super::file::Writer<'_>, Version) -> Result<Option<String>, Refusal>,
) {
    let place = match place {
        Ok(place) => place,
        Err(refusal) => {
            if wanted {
                let refusal = Some(refusal.clone());
                outcomes.push(Outcome { constraint, written: Vec::new(), caveat: None, refusal });
            }
            return;
        }
    };
    let mut writer = super::file::Writer::new(&place.dir);
    let (caveat, refusal) = match work(&mut writer, place.version) {
        Ok(caveat) => (caveat, None),
        Err(refusal) => (None, Some(refusal)),
    };
    if wanted || refusal.is_some() {
        outcomes.push(Outcome { constraint, written: writer.written, caveat, refusal });
    }
}
