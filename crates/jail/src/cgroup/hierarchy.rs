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
        controllers = available(&base);
    }
    Some(Hierarchy { version, controllers, mount: mount.point.clone(), obstacle: obstacle(&base), base })
}

/// Version 2: the controllers that a group has, and can give to those below it.
pub(super) fn available(dir: &Path) -> Vec<Controller> {
    let names = file::read(&dir.join("cgroup.controllers")).unwrap_or_default();
    names.split_whitespace().filter_map(|name| Controller::named(name, Version::V2)).collect()
}

/// The directory of our group below a mount, if it is visible there.
fn own_group(mount: &Mount, membership: &Membership) -> Option<PathBuf> {
    let by_name = below(&mount.root, &membership.path)
        // Joining nothing would leave a slash at the end.
        .map(|path| mount.point.join(path).components().collect::<PathBuf>());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Machines as directories: mount points are below a temporary one.
    struct Machine {
        dir: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            Machine { dir: tempfile::tempdir().unwrap() }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        /// A cgroup directory with these files.
        fn group(&self, path: &str, files: &[(&str, &str)]) {
            fs::create_dir_all(self.path(path)).unwrap();
            for (name, text) in files {
                fs::write(self.path(path).join(name), text).unwrap();
            }
        }

        /// Mounts as (root, point, options, kind, filesystem options).
        fn find(&self, mounts: &[(&str, &str, &str, &str, &str)], membership: &str) -> Hierarchies {
            let line = |(root, point, options, kind, filesystem): &(&str, &str, &str, &str, &str)| {
                let point = crate::machine::mounts::escape(&self.path(point));
                format!("1 2 0:1 {root} {} {options} - {kind} {kind} {filesystem}\n", point.to_string_lossy())
            };
            self.group("proc/self", &[("cgroup", membership)]);
            fs::write(self.path("proc/self/mountinfo"), mounts.iter().map(line).collect::<String>()).unwrap();
            Hierarchies::find(&Roots { proc: self.path("proc"), sys: self.path("sys") }).unwrap()
        }
    }

    #[test]
    fn version_1_with_controllers_mounted_together() {
        let machine = Machine::new();
        machine.group("cg/cpu,cpuacct/a", &[]);
        machine.group("cg/memory/a", &[]);
        let found = machine.find(
            &[
                ("/", "cg/cpu,cpuacct", "rw", "cgroup", "rw,cpu,cpuacct"),
                ("/", "cg/memory", "rw", "cgroup", "rw,memory"),
                ("/", "cg/systemd", "rw", "cgroup", "rw,name=systemd"),
            ],
            "3:memory:/a\n2:cpuacct,cpu:/a\n1:name=systemd:/a\n",
        );
        assert_eq!(found.list.len(), 2);
        let cpu = found.with(Controller::Cpu).unwrap();
        assert_eq!(cpu, found.with(Controller::Cpuacct).unwrap());
        assert_eq!((cpu.version, cpu.base.clone()), (Version::V1, machine.path("cg/cpu,cpuacct/a")));
        assert_eq!(cpu.title(), "cpuacct,cpu (v1)");
        assert_eq!((found.with(Controller::Io), found.unified()), (None, None));
    }

    #[test]
    fn version_2_has_the_controllers_that_its_group_has() {
        let machine = Machine::new();
        machine.group("cg", &[("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma\n")]);
        machine.group("cg/user.slice", &[("cgroup.controllers", "memory pids\n")]);
        let found = machine.find(&[("/", "cg", "rw", "cgroup2", "rw,nsdelegate")], "0::/user.slice\n");
        let unified = found.unified().unwrap();
        assert_eq!(unified.controllers, [Controller::Memory, Controller::Pids]);
        assert_eq!((unified.base.clone(), unified.obstacle.clone()), (machine.path("cg/user.slice"), None));
        assert_eq!(found.with(Controller::Cpu), None);
    }

    #[test]
    fn hybrid_is_decided_for_each_controller() {
        let machine = Machine::new();
        machine.group("cg/memory", &[]);
        machine.group("cg/unified", &[("cgroup.controllers", "cpu pids\n")]);
        let found = machine.find(
            &[("/", "cg/memory", "rw", "cgroup", "rw,memory"), ("/", "cg/unified", "rw", "cgroup2", "rw")],
            "4:memory:/\n0::/\n",
        );
        let version = |controller| found.with(controller).map(|hierarchy| hierarchy.version);
        assert_eq!(version(Controller::Memory), Some(Version::V1));
        assert_eq!(version(Controller::Cpu), Some(Version::V2));
        assert_eq!(version(Controller::Cpuset), None);
        // The mount point itself, without a slash at the end.
        assert_eq!(found.unified().unwrap().base.as_os_str(), machine.path("cg/unified").as_os_str());
    }

    #[test]
    fn in_a_container_the_mount_point_is_our_group() {
        let machine = Machine::new();
        machine.group("cg/memory", &[]);
        // A blank in the name, as the kernel writes it.
        machine.group("c g/pids", &[]);
        let found = machine.find(
            &[
                ("/docker/abc", "cg/memory", "rw", "cgroup", "rw,memory"),
                ("/docker/abc", "c g/pids", "rw", "cgroup", "rw,pids"),
            ],
            "4:memory:/docker/abc\n5:pids:/docker/abc\n",
        );
        assert_eq!(found.with(Controller::Memory).unwrap().base, machine.path("cg/memory"));
        assert_eq!(found.with(Controller::Pids).unwrap().base, machine.path("c g/pids"));
    }

    #[test]
    fn a_mount_that_does_not_show_our_group_is_used_only_if_it_says_that_we_are_in_it() {
        let machine = Machine::new();
        let own = std::process::id().to_string();
        machine.group("ours", &[("cgroup.procs", &format!("1\n{own}\n")), ("cgroup.controllers", "pids\n")]);
        machine.group("theirs", &[("cgroup.procs", "1\n"), ("cgroup.controllers", "pids\n")]);
        let find = |point| machine.find(&[("/../..", point, "rw", "cgroup2", "rw")], "0::/\n");
        assert_eq!(find("ours").unified().unwrap().base, machine.path("ours"));
        assert_eq!(find("theirs").unified(), None);
    }

    #[test]
    fn of_several_mounts_a_writable_one_is_used() {
        let machine = Machine::new();
        for place in ["a", "b"] {
            machine.group(place, &[("cgroup.controllers", "pids\n")]);
        }
        let mounts = [("/", "a", "ro", "cgroup2", "rw"), ("/", "b", "rw", "cgroup2", "rw")];
        assert_eq!(machine.find(&mounts, "0::/\n").unified().unwrap().mount, machine.path("b"));
    }

    #[test]
    fn without_proc_it_is_an_error_and_without_cgroups_not() {
        let machine = Machine::new();
        assert_eq!(machine.find(&[], "0::/\n").list, []);
        let error =
            Hierarchies::find(&Roots { proc: machine.path("none"), sys: machine.path("sys") }).unwrap_err();
        assert!(error.to_string().contains("none/self/mountinfo"), "{error}");
    }
}
