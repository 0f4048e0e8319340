//! Control groups of other processes: where they are, and what their files say. Both versions, decided for each controller.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest value that is kept.
const LONGEST: usize = 200;

/// Files that say what an arm is, for each controller: names of version 1, then of version 2.
const TELLING: [(&str, &[&str], &[&str]); 3] = [
    (
        "cpu",
        &["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us"],
        &["cpu.weight", "cpu.max"],
    ),
    ("cpuset", &["cpuset.cpus"], &["cpuset.cpus.effective"]),
    ("memory", &["memory.limit_in_bytes"], &["memory.max"]),
];

/// One hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// What of the hierarchy is mounted there: not all of it in a container.
    root: PathBuf,
}

/// What is mounted, by controller; that of version 2 as "".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groups {
    version_1: BTreeMap<String, Hierarchy>,
    version_2: Option<Hierarchy>,
    /// Controllers that version 2 has here. Processor time is counted in any case.
    controllers_2: Vec<String>,
}

/// Of version 2 without any controller.
const ALWAYS: [&str; 2] = ["", "cpuacct"];

impl Groups {
    #[must_use]
    pub fn find() -> Groups {
        let mut groups = Groups::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
        let mount = groups.version_2.as_ref().map(|hierarchy| &hierarchy.mount);
        let list = mount.and_then(|mount| read(mount, "cgroup.controllers")).unwrap_or_default();
        groups.controllers_2 = list.split_whitespace().map(str::to_owned).collect();
        groups
    }

    /// proc_pid_mountinfo(5).
    fn parse(text: &str) -> Groups {
        let mut groups = Groups::default();
        for line in text.lines() {
            let Some((mount, system)) = line.split_once(" - ") else { continue };
            let mount: Vec<&str> = mount.split(' ').collect();
            let system: Vec<&str> = system.split(' ').collect();
            let (Some(root), Some(point), Some(kind)) = (mount.get(3), mount.get(4), system.first()) else {
                continue;
            };
            let hierarchy = Hierarchy { mount: point.into(), root: root.into() };
            match *kind {
                "cgroup2" => groups.version_2 = Some(hierarchy),
                "cgroup" => {
                    for option in system.get(2).into_iter().flat_map(|options| options.split(',')) {
                        groups.version_1.insert(option.to_owned(), hierarchy.clone());
                    }
                }
                _ => {}
            }
        }
        groups
    }

    /// 1 or 2; None where there is no such controller.
    #[must_use]
    pub fn version(&self, controller: &str) -> Option<u8> {
        if self.version_1.contains_key(controller) {
            return Some(1);
        }
        let counted =
            ALWAYS.contains(&controller) || self.controllers_2.iter().any(|name| name == controller);
        (self.version_2.is_some() && counted).then_some(2)
    }

    /// Directory of the group that a process is in, of the hierarchy that has this controller; "" for version 2.
    #[must_use]
    pub fn of(&self, pid: u32, controller: &str) -> Option<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        self.locate(&text, controller)
    }

    fn locate(&self, memberships: &str, controller: &str) -> Option<PathBuf> {
        let first = self.version_1.get(controller);
        let hierarchy = first.or(self.version_2.as_ref())?;
        let path = memberships.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let here = match first {
                Some(_) => controllers.split(',').any(|name| name == controller),
                None => controllers.is_empty(),
            };
            here.then_some(path)
        })?;
        let below = Path::new(path)
            .strip_prefix(&hierarchy.root)
            .or_else(|_| Path::new(path).strip_prefix("/"))
            .ok()?;
        Some(hierarchy.mount.join(below))
    }

    /// All directories that a process is in.
    #[must_use]
    pub fn all_of(&self, pid: u32) -> Vec<PathBuf> {
        let controllers = self.version_1.keys().map(String::as_str).chain([""]);
        let mut found: Vec<PathBuf> = controllers.filter_map(|controller| self.of(pid, controller)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What the groups of a process say about its limits, file by file, exactly as the kernel says it.
    #[must_use]
    pub fn telling(&self, pid: u32) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for (controller, first, second) in TELLING {
            let Some(directory) = self.of(pid, controller) else { continue };
            let names = if self.version(controller) == Some(1) { first } else { second };
            for name in names {
                if let Some(text) = read(&directory, name) {
                    values.insert((*name).to_owned(), text);
                }
            }
        }
        values
    }
}

/// A short file.
#[must_use]
pub fn read(directory: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(directory.join(name)).ok()?;
    Some(text.trim().chars().take(LONGEST).collect())
}

/// A number in a file of `key value` lines, or of one number when `key` is empty.
#[must_use]
pub fn number(directory: &Path, name: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(directory.join(name)).ok()?;
    if key.is_empty() {
        return text.trim().parse().ok();
    }
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Processes in a group, without those in groups below it.
#[must_use]
pub fn members(directory: &Path) -> Vec<u32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "30 20 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                          31 20 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                          32 20 8:1 / / rw - ext4 /dev/vda rw\n";

    #[test]
    fn each_controller_is_where_it_is() {
        let groups = Groups { controllers_2: vec!["memory".to_owned()], ..Groups::parse(MOUNTS) };
        let versions = ["cpu", "memory", "cpuset", "cpuacct"].map(|controller| groups.version(controller));
        assert_eq!(versions, [Some(1), Some(2), None, Some(1)]);
        let memberships = "3:cpuset:/x\n2:cpu,cpuacct:/host/a\n0::/b:c\n";
        let at = |controller| groups.locate(memberships, controller).map(|path| path.display().to_string());
        assert_eq!(at("cpuacct").as_deref(), Some("/sys/fs/cgroup/cpu/host/a"));
        assert_eq!(at("memory").as_deref(), Some("/sys/fs/cgroup/unified/b:c"));
        let container = Groups::parse("30 20 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup rw");
        let inside = container.locate("0::/docker/1/a\n", "cpu");
        assert_eq!(inside, Some("/sys/fs/cgroup/a".into()));
        assert_eq!(Groups::default().version("cpu"), None);
        assert_eq!(Groups::default().locate(memberships, "cpu"), None);
    }
}
