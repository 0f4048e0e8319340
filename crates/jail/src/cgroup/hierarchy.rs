//! The cgroup hierarchies of this machine, and where in each of them this process is.
//!
//! The version is decided for each controller: many machines have some controllers on version 1 and a version 2 hierarchy
//! beside them. Nothing is created here; see [`super::Tree`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::file::{self, NO_PERMISSION, READ_ONLY};
use super::limits::Refusal;
use crate::machine::Roots;
use crate::machine::mounts::{Membership, Mount, below, memberships, mounts};

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    V1,
    V2,
}

/// What we use of the kernel's controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    Cpu,
    /// In version 2 a part of every group.
    Cpuacct,
    Cpuset,
    Memory,
    /// `blkio` in version 1.
    Io,
    Pids,
    /// In version 2 a part of every group.
    Freezer,
}

impl Controller {
    pub const ALL: [Controller; 7] = [
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Memory,
        Controller::Io,
        Controller::Pids,
        Controller::Freezer,
    ];

    /// The kernel's name for it.
    #[must_use]
    pub fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Controller::Cpu, _) => "cpu",
            (Controller::Cpuacct, _) => "cpuacct",
            (Controller::Cpuset, _) => "cpuset",
            (Controller::Memory, _) => "memory",
            (Controller::Io, Version::V1) => "blkio",
            (Controller::Io, Version::V2) => "io",
            (Controller::Pids, _) => "pids",
            (Controller::Freezer, _) => "freezer",
        }
    }

    fn named(name: &str, version: Version) -> Option<Self> {
        let core = |controller: &Controller| matches!(controller, Controller::Cpuacct | Controller::Freezer);
        Controller::ALL
            .into_iter()
            .filter(|controller| version == Version::V1 || !core(controller))
            .find(|controller| controller.name(version) == name)
    }
}

/// One hierarchy as it is mounted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    pub version: Version,
    /// Those that our group in it has.
    pub controllers: Vec<Controller>,
    pub mount: PathBuf,
    /// The directory of the group that this process is in.
    pub base: PathBuf,
    /// Why no groups can be made below `base`.
    pub obstacle: Option<Refusal>,
}

impl Hierarchy {
    /// Such as `cpu,cpuacct (v1)`.
    #[must_use]
    pub fn title(&self) -> String {
        let names: Vec<&str> =
            self.controllers.iter().map(|controller| controller.name(self.version)).collect();
        match (self.version, names.is_empty()) {
            (Version::V1, _) => format!("{} (v1)", names.join(",")),
            (Version::V2, true) => "v2 without controllers".to_owned(),
            (Version::V2, false) => format!("{} (v2)", names.join(",")),
        }
    }
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hierarchies {
    /// Where they were looked for.
    pub roots: Roots,
    pub list: Vec<Hierarchy>,
}

impl Hierarchies {
    /// Look at this process and its mounts.
    ///
    /// # Errors
    /// When `/proc` cannot be read. No hierarchies at all is not an error.
    pub fn find(roots: &Roots) -> io::Result<Self> {
        let read = |name: &str| {
            let file = roots.proc.join("self").join(name);
            let bytes = fs::read(&file).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot read {}: {error}", file.display()))
            })?;
            // What is not UTF-8 is no hierarchy of ours.
            io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (mounts, memberships) = (mounts(&read("mountinfo")?), memberships(&read("cgroup")?));
        let list = memberships.iter().filter_map(|membership| hierarchy(&mounts, membership)).collect();
        Ok(Hierarchies { roots: roots.clone(), list })
    }

    /// The hierarchy that has this controller.
    #[must_use]
    pub fn with(&self, controller: Controller) -> Option<&Hierarchy> {
        self.list.iter().find(|hierarchy| hierarchy.controllers.contains(&controller))
    }

    /// Version 2, with or without controllers.
    #[must_use]
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.list.iter().find(|hierarchy| hierarchy.version == Version::V2)
    }
}

fn hierarchy(mounts: &[Mount], membership: &Membership) -> Option<Hierarchy> {
    let version = if membership.hierarchy == 0 { Version::V2 } else { Version::V1 };
    let wanted = |names: &[String]| -> Vec<Controller> {
        names.iter().filter_map(|name| Controller::named(name, version)).collect()
    };
    let mut controllers = wanted(&membership.controllers);
    if version == Version::V1 && controllers.is_empty() {
        return None;
    }
    let of_it = |mount: &&Mount| match version {
        Version::V2 => mount.kind == "cgroup2",
        Version::V1 => {
            mount.kind == "cgroup"
                && membership.controllers.iter().all(|name| mount.filesystem_options.contains(name))
        }
    };
    // The same hierarchy may be mounted several times; a writable mount that shows our own group is the best.
    let seen = mounts.iter().filter(of_it).filter_map(|mount| Some((mount, own_group(mount, membership)?)));
    let (mount, base) = seen.min_by_key(|(mount, _)| mount.read_only())?;
    if version == Version::V2 {
        let names = file::read(&base.join("cgroup.controllers")).unwrap_or_default();
        let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        controllers = wanted(&names);
    }
    Some(Hierarchy { version, controllers, mount: mount.point.clone(), obstacle: obstacle(&base), base })
}

/// The directory of our group below a mount, if it is visible there.
fn own_group(mount: &Mount, membership: &Membership) -> Option<PathBuf> {
    let by_name = below(&mount.root, &membership.path).map(|path| mount.point.join(path));
    // Without its name being known it can still be what is mounted: if it says that we are in it.
    let itself = || file::processes(&mount.point).is_ok_and(|pids| pids.contains(&std::process::id()));
    by_name.filter(|dir| dir.is_dir()).or_else(|| itself().then(|| mount.point.clone()))
}

/// Why a directory takes no new groups, as far as can be told without trying.
fn obstacle(base: &Path) -> Option<Refusal> {
    let error = access(base, Access::WRITE_OK | Access::EXEC_OK).err()?;
    let remedy = if error == rustix::io::Errno::ROFS { READ_ONLY } else { NO_PERMISSION };
    Some(Refusal {
        why: format!("no groups can be made in {}: {}", base.display(), io::Error::from(error)),
        errno: Some(error.raw_os_error()),
        remedy: remedy.to_owned(),
    })
}
