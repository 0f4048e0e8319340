//! From the configuration of an application to what the kernel is asked for. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Egress, Enforcement, Rate, Tenancy};
use jail::cgroup;
use serde::Serialize;

use super::ledger::{Share, Wish};

/// Against the pool and each other, whoever has a share of its own comes first: it is bounded by its limits.
const ISOLATED_WEIGHT: u32 = 10_000;

/// Bytes in each private directory such as /tmp; less where the application's memory is less than twice that.
const TEMPORARY: u64 = 256 << 20;

/// Bytes of a core file: none. It would have the memory of all visitors in it, and its size counts for no limit. With 0 the
/// machine's own handler of cores would still be started, with 1 it is not (core(5)).
const CORE_SIZE: u64 = 1;

/// Everything about an application that decides about its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wants {
    pub(crate) app: String,
    pub(crate) tenancy: Tenancy,
    /// By name or number.
    pub(crate) user: Option<String>,
    /// Rather not at all than with a limit that is not enforced.
    pub(crate) strict: bool,
    pub(crate) limits: config::Limits,
    pub(crate) directory: PathBuf,
    /// Where in the configuration file its values are, by key.
    pub(crate) lines: Arc<BTreeMap<String, String>>,
    /// What it must be able to read besides its directory: the interpreter's installation, our extension.
    pub(crate) visible: Vec<PathBuf>,
}

/// A limit that is not enforced, or only in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Unmet {
    /// As in `serpentry doctor`.
    pub(crate) constraint: String,
    pub(crate) why: String,
    /// Empty if nothing would help.
    pub(crate) remedy: String,
    /// It is enforced, but not all that one would expect of it.
    pub(crate) partly: bool,
}

impl Wants {
    pub(crate) fn new(
        app: &config::App,
        visible: Vec<PathBuf>,
        lines: Arc<BTreeMap<String, String>>,
    ) -> Self {
        Wants {
            app: app.name.clone(),
            tenancy: app.tenancy,
            user: app.user.clone(),
            strict: app.enforce == Enforcement::Strict,
            limits: app.limits.clone(),
            directory: app.directory.clone(),
            lines,
            visible,
        }
    }

    /// A sentence about one of its values, with the place of that in the file.
    pub(crate) fn located(&self, key: Option<&str>, text: String) -> String {
        match key.and_then(|key| Some((key, self.lines.get(key)?))) {
            Some((key, place)) => format!("{text} (`{key}`, {place})"),
            None => text,
        }
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.tenancy == Tenancy::Isolated
    }

    /// A worker of the one can be started in the place of the other, once its limits are adjusted.
    pub(crate) fn is_same_place(&self, other: &Wants) -> bool {
        let fixed = |wants: &Wants| {
            let limits = &wants.limits;
            // Of an isolated application, what it holds is admitted anew.
            let held = wants.is_isolated().then_some((limits.cpu, limits.memory));
            (wants.tenancy, limits.open_files, limits.disk_space, limits.egress, held)
        };
        fixed(self) == fixed(other)
            && self.user == other.user
            && self.strict == other.strict
            && self.directory == other.directory
            && self.visible == other.visible
    }

    /// Path of its control group in the host's tree.
    pub(crate) fn group(&self) -> String {
        let parent = if self.is_isolated() { "isolated" } else { "shared" };
        format!("{parent}/{}", self.app)
    }

    pub(crate) fn wish(&self) -> Wish {
        Wish { cores: self.limits.cpu, memory: self.limits.memory }
    }

    /// What its control group is given. `share`: what it was admitted with, if it is isolated.
    pub(crate) fn cgroup_limits(&self, share: Option<&Share>, disks: Vec<PathBuf>) -> cgroup::Limits {
        let limits = &self.limits;
        let pinned = share.map(|share| share.cores.clone()).filter(|cores| !cores.is_empty());
        let rate = |rate: Option<Rate>| {
            rate.map(|rate| match rate {
                Rate::Bytes(bytes) => cgroup::Rate::Bytes(bytes),
                Rate::Operations(count) => cgroup::Rate::Operations(count),
            })
        };
        cgroup::Limits {
            // Cores of its own are all the limit there is: a quota on top would only add its stalls.
            cpu: limits.cpu.filter(|_| pinned.is_none()),
            cpu_weight: Some(if self.is_isolated() { ISOLATED_WEIGHT } else { limits.cpu_weight }),
            cores: pinned,
            memory: limits.memory,
            memory_guarantee: limits.memory.filter(|_| self.is_isolated()),
            disk_read: rate(limits.disk_read),
            disk_write: rate(limits.disk_write),
            disk_weight: None,
            disks,
            processes: Some(limits.processes.into()),
        }
    }

    /// What each of its processes is given.
    pub(crate) fn process_limits(&self) -> Vec<jail::Limit> {
        let mut limits = vec![jail::Limit {
            resource: jail::Resource::OpenFiles,
            most: Some(self.limits.open_files.into()),
        }];
        if self.is_isolated() {
            limits.push(jail::Limit { resource: jail::Resource::CoreSize, most: Some(CORE_SIZE) });
        }
        limits
    }

    /// What its processes give up for good: nothing if it is shared.
    pub(crate) fn confinement(&self, data: Option<&Path>) -> Option<jail::Confinement> {
        if !self.is_isolated() {
            return None;
        }
        let data = data.map(Path::to_owned);
        Some(jail::Confinement::strict(["/run".into()].into_iter().chain(data), false))
    }

    /// What it sees of the file system. `others` belongs to its neighbours and the host.
    pub(crate) fn view(
        &self,
        identity: Option<&jail::Identity>,
        data: Option<&Path>,
        others: &[PathBuf],
        resolv_conf: Option<String>,
    ) -> jail::View {
        let homes = ["/root", "/home", "/media", "/mnt"].map(PathBuf::from);
        let mut visible = self.visible.clone();
        visible.push(self.directory.clone());
        // Directories of others that its user may not pass are passed by hiding what else is in them.
        let barriers = visible.iter().filter_map(|path| jail::identity::barrier(path, identity?).ok()?);
        jail::View {
            hidden: homes.into_iter().chain(others.iter().cloned()).chain(barriers).collect(),
            visible: visible.clone(),
            writable: data.map(Path::to_owned).into_iter().collect(),
            temporary: self.limits.memory.map_or(TEMPORARY, |memory| (memory / 2).min(TEMPORARY)),
            resolv_conf,
        }
    }

    /// Whether its own network leads outside.
    pub(crate) fn has_way_out(&self) -> bool {
        self.is_isolated() && self.limits.egress == Egress::Nat
    }

    /// Whether it has a network of its own.
    pub(crate) fn has_network(&self) -> bool {
        self.is_isolated() && self.limits.egress != Egress::Host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(tenancy: &str, limits: &str) -> Wants {
        let text =
            format!("[apps.shop]\napp = \"x:y\"\ntenancy = \"{tenancy}\"\n[apps.shop.limits]\n{limits}\n");
        let environment = config::Environment { directory: "/srv".into(), ..config::Environment::default() };
        let plan = config::load(text.as_bytes(), "serpentry.toml", &environment).unwrap().plan;
        Wants::new(&plan.apps[0], Vec::new(), Arc::default())
    }

    #[test]
    fn a_sentence_names_the_line_that_asked() {
        let wants = Wants {
            lines: Arc::new([("limits.cpu".to_owned(), "serpentry.toml:7".to_owned())].into()),
            ..wants("isolated", "cpu = 9")
        };
        let said = |key| wants.located(key, "it cannot be".to_owned());
        assert_eq!(said(Some("limits.cpu")), "it cannot be (`limits.cpu`, serpentry.toml:7)");
        assert_eq!(said(Some("limits.memory")), "it cannot be", "a default is in no line");
        assert_eq!(said(None), "it cannot be");
    }

    #[test]
    fn a_shared_application_has_a_weight_and_what_is_set() {
        let limits =
            wants("shared", "cpu_weight = 300\ndisk_write = \"2MiB/s\"").cgroup_limits(None, Vec::new());
        assert_eq!((limits.cpu, limits.cpu_weight, limits.cores), (None, Some(300), None));
        assert_eq!((limits.memory, limits.memory_guarantee, limits.processes), (None, None, Some(256)));
        assert_eq!(limits.disk_write, Some(cgroup::Rate::Bytes(2 << 20)));
    }

    #[test]
    fn whole_cores_are_pinned_and_fractions_are_a_quota() {
        let machine = super::super::ledger::Machine { cores: vec![0, 1, 2], memory: 8 << 30 };
        let mut ledger = super::super::ledger::Ledger::new(machine);
        let whole = wants("isolated", "");
        let share = ledger.claim("shop", whole.wish()).unwrap();
        let limits = whole.cgroup_limits(Some(&share), Vec::new());
        assert_eq!((limits.cpu, limits.cores), (None, Some(vec![2])));
        assert_eq!((limits.memory, limits.memory_guarantee), (Some(512 << 20), Some(512 << 20)));
        let part = wants("isolated", "cpu = 0.5");
        let share = ledger.claim("blog", part.wish()).unwrap();
        let limits = part.cgroup_limits(Some(&share), Vec::new());
        assert_eq!((limits.cpu, limits.cores), (Some(0.5), None));
    }

    #[test]
    fn what_can_be_changed_in_place() {
        let shared = wants("shared", "");
        for other in
            ["cpu = 0.5", "memory = \"64MiB\"", "processes = 10", "cpu_weight = 7", "disk_read = \"1MiB/s\""]
        {
            assert!(shared.is_same_place(&wants("shared", other)), "{other}");
        }
        for other in ["open_files = 100", "egress = \"none\"", "disk_space = \"64MiB\""] {
            assert!(!shared.is_same_place(&wants("shared", other)), "{other}");
        }
        let isolated = wants("isolated", "");
        assert!(!isolated.is_same_place(&shared));
        assert!(!isolated.is_same_place(&wants("isolated", "memory = \"64MiB\"")));
        assert!(isolated.is_same_place(&wants("isolated", "processes = 10")));
    }
}
