//! This host's own branch in every hierarchy, and the groups in it.
//!
//! ```text
//!  base                      the group this process was started in
//!    serpentry-NAME          locked (flock) as long as this host lives
//!      host                  this process
//!      shared                the pool of the shared applications
//!        shop                one of them
//!      isolated
//!        billing
//! ```
//!
//! With version 2, and other processes in the base, the nearest group above takes its place that has none.
//!
//! What a killed host left behind under the same name is killed and removed when the next one starts. A living one is
//! recognised by its lock, which the kernel drops when a process ends, however it ends.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

use super::control::{core, disable, enable, enabled, is_namespace_root, is_root, not_enabled, place};
use super::cpuset::Pinned;
use super::group::{Group, wait_removed};
use super::hierarchy::{Controller, Hierarchies, Hierarchy, Version, available};
use super::limits::Refusal;
use super::{cpuset, file, freezer};
use crate::machine::Roots;

/// How long what a dead host left behind may take to die.
const TAKEOVER: Duration = Duration::from_secs(10);

/// How long the last process may take to leave when a tree is removed.
const LEAVING: Duration = Duration::from_secs(5);

/// After so long it is looked for processes that have joined meanwhile.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a lock may be held before its holder counts as alive. A killed host's lock can outlive it for a moment: in a process
/// that it had just forked and that has not come to exec, where the lock ends. And one that is being removed can be locked too.
const LOCKING: Duration = Duration::from_secs(2);

/// Between two attempts at that.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("{0:?} cannot be the name of a cgroup: use letters, digits, `-` and `_`")]
    Name(String),
    #[error("another host with the same state directory is running: it holds {}", .0.display())]
    InUse(PathBuf),
    #[error("{0}")]
    Stuck(#[from] freezer::Survivors),
    #[error("cannot {what} {}: {error}", .path.display())]
    Io { what: &'static str, path: PathBuf, error: io::Error },
}

impl TreeError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| TreeError::Io { what, path, error }
    }
}

/// What could not be had, and so what no group of the tree will enforce.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    pub controller: Controller,
    pub refusal: Refusal,
}

/// Our branch in one hierarchy.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) version: Version,
    /// Those that groups in this branch have.
    pub(super) controllers: Vec<Controller>,
    base: PathBuf,
    /// Where this process was before.
    origin: PathBuf,
    pub(super) dir: PathBuf,
    /// Version 2: controllers that somebody else wants for the children of `base`.
    kept: Vec<Controller>,
}

/// What a tree and its groups share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) branches: Vec<Branch>,
    pub(super) missing: Vec<Missing>,
    pub(super) roots: Roots,
    pinned: Mutex<Pinned>,
}

impl Shared {
    /// Groups with cores of their own; all others follow their parents.
    pub(super) fn pinned(&self) -> MutexGuard<'_, Pinned> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group and all below it are gone.
    pub(super) fn forget(&self, path: &str) {
        let below = |group: &str| {
            group.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.pinned().retain(|group, _| !below(group));
    }
}

/// This host's groups. Dropping it leaves them as they are: the next host of the same name clears them away.
#[derive(Debug)]
pub struct Tree {
    shared: Arc<Shared>,
    /// On the directories of the branches, as long as the tree lives. Groups that outlive it do not hold them.
    _locks: Vec<OwnedFd>,
}

impl Tree {
    /// The group of the host itself.
    pub const HOST: &str = "host";

    /// Make this host's branch in every hierarchy where that is possible and move this process into its `host` group.
    /// `name` is that of the host's state: the same after a restart, another for another host. Where a hierarchy cannot
    /// be used, [`Tree::missing`] says why.
    ///
    /// # Errors
    /// When another host of this name is running, or processes of a dead one cannot be killed.
    pub fn create(hierarchies: &Hierarchies, name: &str) -> Result<Self, TreeError> {
        if !valid(name) {
            return Err(TreeError::Name(name.to_owned()));
        }
        let own = format!("serpentry-{name}");
        let mut missing = Vec::new();
        let (mut branches, mut locks) = (Vec::new(), Vec::new());
        for hierarchy in &hierarchies.list {
            let base = place(hierarchy, outside(&hierarchy.base, &own));
            match branch(hierarchy, &base, &own)? {
                Ok((branch, lock)) => {
                    branches.push(branch);
                    locks.push(lock);
                }
                Err(refusal) => missing.extend(lost(&hierarchy.controllers, &refusal)),
            }
        }
        clear(&branches)?;
        branches.retain_mut(|branch| match settle(branch) {
            Ok(without) => {
                missing.extend(without);
                true
            }
            Err(error) => {
                missing.extend(lost(&branch.controllers, &unsettled(&error)));
                let _ = wait_removed(&branch.dir, Instant::now());
                false
            }
        });
        let known = |controller: &Controller| {
            missing.iter().any(|lost| lost.controller == *controller)
                || branches.iter().any(|branch| {
                    branch.controllers.contains(controller)
                        || branch.version == Version::V2 && core(*controller)
                })
        };
        let absent: Vec<Controller> = Controller::ALL.into_iter().filter(|it| !known(it)).collect();
        missing.extend(
            absent.into_iter().map(|controller| Missing { controller, refusal: not_there(controller) }),
        );
        Ok(Tree {
            _locks: locks,
            shared: Arc::new(Shared {
                branches,
                missing,
                roots: hierarchies.roots.clone(),
                pinned: Mutex::default(),
            }),
        })
    }

    /// The controllers that are not at hand, and why.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.shared.missing
    }

    /// The group at `path`, such as `shared/shop`; made if it is not there, its parents too.
    ///
    /// # Errors
    /// When the path is not one of names, or the kernel refuses.
    pub fn group(&self, path: &str) -> Result<Group, TreeError> {
        if !path.split('/').all(valid) {
            return Err(TreeError::Name(path.to_owned()));
        }
        for branch in &self.shared.branches {
            let mut dir = branch.dir.clone();
            for part in path.split('/') {
                if branch.version == Version::V2 {
                    // They were given to the branch, so they can be given on, unless processes are in the way.
                    if let Some((_, error)) = enable(&dir, &branch.controllers).into_iter().next() {
                        return Err(TreeError::io("give controllers to groups below", &dir)(error));
                    }
                }
                dir.push(directory(part));
                make(&dir, branch)?;
            }
        }
        Ok(Group::new(Arc::clone(&self.shared), path.to_owned()))
    }

    /// The group around all others: its share and its ceiling are those of the whole host, against the rest of the machine.
    /// No process joins it.
    #[must_use]
    pub fn whole(&self) -> Group {
        Group::new(Arc::clone(&self.shared), String::new())
    }

    /// The group that this process is in.
    #[must_use]
    pub fn host(&self) -> Group {
        Group::new(Arc::clone(&self.shared), Self::HOST.to_owned())
    }

    /// Kill what is left in it, move this process back to where it was and remove all groups. Blocks for up to 15 s if
    /// processes do not die.
    ///
    /// # Errors
    /// When something cannot be removed; the next host of this name will try again.
    pub fn remove(self) -> Result<(), TreeError> {
        clear(&self.shared.branches)?;
        for branch in &self.shared.branches {
            if branch.version == Version::V2 {
                disable(&branch.dir, &branch.controllers);
                let ours = branch.controllers.iter().copied().filter(|it| !branch.kept.contains(it));
                disable(&branch.base, &ours.collect::<Vec<_>>());
            }
            let host = branch.dir.join(Self::HOST);
            for pid in file::processes(&host).unwrap_or_default() {
                match file::write(&branch.origin.join("cgroup.procs"), &pid.to_string()) {
                    Err(error) if error.raw_os_error() != Some(ESRCH) => {
                        return Err(TreeError::io("move the host back to", &branch.origin)(error));
                    }
                    _ => {}
                }
            }
            remove_below(&branch.dir)?;
        }
        Ok(())
    }
}

const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();

/// What may be part of a path: what configuration allows as names, and nothing that climbs.
fn valid(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.len() <= 128 && name.bytes().all(plain)
}

/// Names that are files in every directory of version 1 get an underscore in front, as systemd does it.
pub(super) fn directory(name: &str) -> String {
    match name {
        "tasks" | "notify_on_release" | "release_agent" => format!("_{name}"),
        name => name.to_owned(),
    }
}

/// The group to build below: ours, or if a host of the same name started us, the one that it was in.
fn outside(base: &Path, own: &str) -> PathBuf {
    let before: PathBuf =
        base.components().take_while(|part| *part != Component::Normal(own.as_ref())).collect();
    before
}

/// Make and lock our directory in one hierarchy; the inner error is why it cannot be used.
fn branch(
    hierarchy: &Hierarchy,
    base: &Path,
    own: &str,
) -> Result<Result<(Branch, OwnedFd), Refusal>, TreeError> {
    if let Some(obstacle) = &hierarchy.obstacle {
        return Ok(Err(obstacle.clone()));
    }
    let dir = base.join(own);
    let deadline = Instant::now() + LOCKING;
    let lock = loop {
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Ok(Err(file::not_made(&dir, &error)));
            }
            _ => {}
        }
        match lock(&dir) {
            Some(lock) => break lock,
            None if Instant::now() >= deadline => return Err(TreeError::InUse(dir)),
            None => std::thread::sleep(PAUSE),
        }
    };
    let branch = Branch {
        version: hierarchy.version,
        controllers: match hierarchy.version {
            Version::V1 => hierarchy.controllers.clone(),
            // A host before us may have been in a group of its own here.
            Version::V2 => available(base),
        },
        base: base.to_path_buf(),
        origin: if hierarchy.base.starts_with(&dir) { base } else { &hierarchy.base }.to_path_buf(),
        dir,
        kept: Vec::new(),
    };
    Ok(Ok((branch, lock)))
}

/// `None` if somebody holds it, or has removed the directory.
fn lock(dir: &Path) -> Option<OwnedFd> {
    let lock = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    // Whoever held it before may have removed it in between: then the lock is on nothing.
    let (locked, there) = (rustix::fs::fstat(&lock).ok()?, std::fs::metadata(dir).ok()?);
    (there.ino() == locked.st_ino && there.dev() == locked.st_dev).then_some(lock)
}

/// Kill and remove the applications' groups. Not `host`: a dead host is not in it, and whatever came along into it (the other
/// processes of a container) is not ours to kill.
///
/// All hierarchies are killed in at once: a process that is stopped in one of them dies of no signal sent for another.
fn clear(branches: &[Branch]) -> Result<(), TreeError> {
    let until = Instant::now() + LEAVING;
    loop {
        let tenants: Vec<(Version, PathBuf)> = branches
            .iter()
            .flat_map(|branch| file::children(&branch.dir).into_iter().map(|dir| (branch.version, dir)))
            .filter(|(_, dir)| !dir.ends_with(Tree::HOST))
            .collect();
        freezer::kill(&tenants, Instant::now() + TAKEOVER)?;
        let removed = tenants.iter().try_for_each(|(_, dir)| {
            wait_removed(dir, Instant::now() + AGAIN).map_err(|error| (error, dir.clone()))
        });
        match removed {
            Ok(()) => return Ok(()),
            // A process of a host that was killed may have been on its way in: it is killed in the next round.
            Err((error, _)) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {}
            Err((error, dir)) => return Err(TreeError::io("remove", &dir)(error)),
        }
    }
}

fn remove_below(dir: &Path) -> Result<(), TreeError> {
    wait_removed(dir, Instant::now() + LEAVING).map_err(TreeError::io("remove", dir))
}

/// Move into `host` and have the controllers in the branch; those that are not to be had are returned and left out.
fn settle(branch: &mut Branch) -> Result<Vec<Missing>, TreeError> {
    if branch.controllers.contains(&Controller::Cpuset) && branch.version == Version::V1 {
        cpuset::inherit(&branch.dir).map_err(TreeError::io("give processors to", &branch.dir))?;
    }
    let host = branch.dir.join(Tree::HOST);
    make(&host, branch)?;
    let enter = |pid: &str| file::write(&host.join("cgroup.procs"), pid);
    enter("0").map_err(TreeError::io("move into", &host))?;
    if branch.version == Version::V1 {
        return Ok(Vec::new());
    }
    // In a container that is a namespace of its own, all else that runs there comes along: controllers can only be given
    // to groups whose parent has no processes. Elsewhere other processes are not ours to move.
    if is_namespace_root(&branch.base) {
        for pid in file::processes(&branch.base).unwrap_or_default() {
            let _ = enter(&pid.to_string());
        }
    }
    // Those of groups beside ours, and of the root, where no process is in the way. All others are our predecessor's.
    let beside = file::children(&branch.base).iter().any(|dir| *dir != branch.dir);
    if beside || is_root(&branch.base) {
        branch.kept = enabled(&branch.base);
    }
    let mut lost: Vec<(Controller, Refusal)> = Vec::new();
    for dir in [&branch.base, &branch.dir] {
        for (controller, error) in enable(dir, &branch.controllers) {
            if lost.iter().all(|(known, _)| *known != controller) {
                lost.push((controller, not_enabled(controller, dir, &error)));
            }
        }
    }
    branch.controllers.retain(|controller| lost.iter().all(|(known, _)| known != controller));
    Ok(lost.into_iter().map(|(controller, refusal)| Missing { controller, refusal }).collect())
}

fn make(dir: &Path, branch: &Branch) -> Result<(), TreeError> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(TreeError::io("create", dir)(error));
        }
        _ => {}
    }
    if branch.version == Version::V1 && branch.controllers.contains(&Controller::Cpuset) {
        cpuset::inherit(dir).map_err(TreeError::io("give processors to", dir))?;
    }
    Ok(())
}

fn lost(controllers: &[Controller], refusal: &Refusal) -> Vec<Missing> {
    controllers
        .iter()
        .map(|controller| Missing { controller: *controller, refusal: refusal.clone() })
        .collect()
}

pub(super) fn not_there(controller: Controller) -> Refusal {
    let (v1, v2) = (controller.name(Version::V1), controller.name(Version::V2));
    Refusal {
        why: format!("no mounted cgroup hierarchy gives our group the controller {v2:?}"),
        errno: None,
        remedy: format!(
            "delegate it (`Delegate=yes` in the service); without systemd: `echo +{v2} > cgroup.subtree_control` in the groups above, or for version 1 `mount -t cgroup -o {v1} cgroup /sys/fs/cgroup/{v1}`"
        ),
    }
}

/// Our directory is there, but we cannot use it.
fn unsettled(error: &TreeError) -> Refusal {
    let errno = match error {
        TreeError::Io { error, .. } => error.raw_os_error(),
        _ => None,
    };
    Refusal { why: error.to_string(), errno, remedy: file::NO_PERMISSION.to_owned() }
}
