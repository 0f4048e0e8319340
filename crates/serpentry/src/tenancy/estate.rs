//! What this host holds of the machine: its control groups, the data of applications, users without a name.
//!
//! Everything here may block; only the keeper's thread calls it.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use jail::cgroup::{self, Group, Hierarchies, Tree, Usage};
use jail::machine::Roots;
use jail::network::{self, Bandwidth, Connection, Networks};

use super::data::Data;
use super::ledger::{Ledger, Machine, Share};
use super::limits::{limit, why, without_groups};
use super::register::{Entry, Register, SharedPool};
use super::remains::clear_dead;
use super::shortage::{Seen, Shortage, blame};
use super::users::identity;
use super::wants::{Unmet, Wants};
use crate::say;

/// What the names of hosts without a state directory begin with; their pid follows.
pub(crate) const UNNAMED: &str = "serve-";

/// How long what is left in a group may take to die, and the group to become empty.
const PATIENCE: Duration = Duration::from_secs(5);

/// Control groups of all shared and of all isolated applications.
const SHARED: &str = "shared";
const ISOLATED: &str = "isolated";

/// Against the applications, the host always comes first: it must be able to answer, inspect and stop. It needs little.
const HOST_WEIGHT: u32 = 10_000;

/// Isolated applications come before the pool: each is bounded by its own limits. Those with cores of their own meet
/// nobody there anyway.
const ISOLATED_WEIGHT: u32 = 10_000;

/// The pool against whatever else the machine runs: as one ordinary group.
const SHARED_WEIGHT: u32 = 100;

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Tells this host's groups from another's: the same after a restart.
    pub(crate) name: String,
    /// Where the data of applications is. `None`: they get none.
    pub(crate) state: Option<PathBuf>,
    pub(crate) machine: (Vec<u32>, u64),
    pub(crate) pool: Pool,
}

/// The ceiling of the shared applications together. `None`: what the isolated ones leave.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Pool {
    pub(crate) cpu: Option<f64>,
    pub(crate) memory: Option<u64>,
}

/// Names a place that was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token(u64);

/// What a worker needs to know of its place.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) token: Token,
    pub(super) cgroups: Vec<PathBuf>,
    pub(super) limits: Vec<jail::Limit>,
    pub(super) identity: Option<jail::Identity>,
    pub(super) confinement: Option<jail::Confinement>,
    pub(super) environment: Vec<(String, String)>,
    /// Its writable directory.
    pub(super) data: Option<PathBuf>,
    /// A room is to be made for it.
    pub(super) has_room: bool,
    /// What the room's /etc/resolv.conf shall be, if not the host's.
    pub(super) resolv_conf: Option<String>,
    pub(super) unmet: Vec<Unmet>,
}

/// Why a place cannot be had.
#[derive(Debug)]
pub(super) struct Denied {
    /// A sentence.
    pub(super) reason: String,
    /// The key of the configuration that asks for what cannot be had.
    pub(super) key: Option<&'static str>,
    /// Another application is about to give back what it holds: it is worth asking again.
    pub(super) soon: bool,
}

impl From<String> for Denied {
    fn from(reason: String) -> Self {
        Denied { reason, key: None, soon: false }
    }
}

/// For `map_err`.
fn about(key: &'static str) -> impl FnOnce(String) -> Denied {
    move |reason| Denied { reason, key: Some(key), soon: false }
}

/// A place that somebody holds.
#[derive(Debug)]
struct Held {
    app: String,
    /// Of its group; several places of one application can be in the same.
    path: String,
    group: Option<Group>,
    disks: Vec<PathBuf>,
    identity: Option<jail::Identity>,
    /// Its counters of memory when nothing was wrong.
    memory: Seen,
    /// Its network with a way out.
    connection: Option<Connection>,
    /// Its data is in a volume, which is to be closed.
    in_volume: bool,
}

pub(super) struct Estate {
    settings: Settings,
    /// `None`: no control groups at all, and why.
    tree: Result<Tree, String>,
    ledger: Ledger,
    /// `None`: this host has no state directory.
    data: Option<Data>,
    /// Made when the first application wants a network of its own with a way out.
    networks: Option<Networks>,
    held: BTreeMap<Token, Held>,
    /// What of it others may look at.
    register: Register,
    /// The pool's counters of memory when nothing was wrong.
    pool_seen: Seen,
    last: u64,
    /// Applications whose missing limits were told: once is enough.
    told: BTreeMap<String, Vec<Unmet>>,
}

impl Estate {
    /// Take hold of the machine, and of what a dead host of the same name left.
    pub(super) fn take(settings: Settings) -> Self {
        let tree = Hierarchies::find(&Roots::default())
            .map_err(|error| format!("cannot read the mounted file systems: {error}"))
            .and_then(|found| {
                clear_dead(&found, &settings.name);
                Tree::create(&found, &settings.name).map_err(|error| error.to_string())
            });
        if let Err(why) = &tree {
            say::warning(format_args!(
                "no control groups, so no limits of processor, memory and processes: {why}"
            ));
        }
        let (cores, memory) = settings.machine.clone();
        let mut estate = Estate {
            ledger: Ledger::new(Machine { cores, memory }),
            data: settings.state.clone().map(Data::new),
            networks: None,
            settings,
            tree,
            held: BTreeMap::new(),
            register: Register::default(),
            pool_seen: Seen::default(),
            last: 0,
            told: BTreeMap::new(),
        };
        if let Ok(tree) = &estate.tree {
            let weight = cgroup::Limits { cpu_weight: Some(HOST_WEIGHT), ..cgroup::Limits::default() };
            let _ = tree.host().apply(&weight);
        }
        estate.balance();
        // The group may be an old one; and a limit may be met before the first refresh.
        estate.settle_pool();
        estate
    }

    /// # Errors
    /// Why the place cannot be had.
    pub(super) fn prepare(&mut self, wants: &Wants) -> Result<Prepared, Denied> {
        self.last += 1;
        let token = Token(self.last);
        let path = wants.group();
        let share = self.admit(wants)?;
        // From here on it must be given back, also when something below fails.
        self.held.insert(
            token,
            Held {
                app: wants.app.clone(),
                path,
                group: None,
                disks: Vec::new(),
                identity: None,
                connection: None,
                memory: Seen::default(),
                in_volume: false,
            },
        );
        let prepared = self.furnish(token, wants, share.as_ref());
        if prepared.is_err() {
            self.release(token);
        }
        prepared
    }

    fn admit(&mut self, wants: &Wants) -> Result<Option<Share>, Denied> {
        if !wants.is_isolated() {
            return Ok(None);
        }
        let share = self.ledger.claim(&wants.app, wants.wish()).map_err(|refusal| Denied {
            reason: refusal.to_string(),
            key: Some(refusal.key()),
            soon: self.somebody_leaves(),
        })?;
        self.balance();
        Ok(Some(share))
    }

    /// An application has moved away from where it is isolated, and its last workers there are about to end.
    fn somebody_leaves(&self) -> bool {
        let isolated = |held: &Held| held.path.starts_with(ISOLATED);
        let moved = |(token, old): (&Token, &Held)| {
            isolated(old)
                && self.held.iter().any(|(later, new)| later > token && new.app == old.app && !isolated(new))
        };
        self.held.iter().any(moved)
    }

    fn furnish(&mut self, token: Token, wants: &Wants, share: Option<&Share>) -> Result<Prepared, Denied> {
        let mut unmet = Vec::new();
        let identity = identity(wants, self.data.as_ref(), &mut unmet).map_err(about("user"))?;
        let mut environment = Vec::new();
        let mut disks = vec![wants.directory.clone()];
        let alone = self.held.iter().all(|(other, held)| *other == token || held.app != wants.app);
        let data = match &mut self.data {
            Some(data) => Some(
                data.open(wants, identity.as_ref(), alone, &mut unmet).map_err(about("limits.disk_space"))?,
            ),
            None => None,
        };
        if let Some(held) = self.held.get_mut(&token) {
            held.identity.clone_from(&identity);
            held.in_volume = data.as_ref().is_some_and(|data| data.in_volume);
        }
        let data = data.map(|data| data.path);
        if let Some(data) = &data {
            let shown = data.to_string_lossy().into_owned();
            environment.push(("SERPENTRY_DATA".to_owned(), shown.clone()));
            if identity.is_some() {
                // The host's home is not its own.
                environment.push(("HOME".to_owned(), shown));
            }
            disks.push(data.clone());
        }
        let mut cgroups = Vec::new();
        match &self.tree {
            Ok(tree) => {
                let group = tree.group(&wants.group()).map_err(|error| error.to_string())?;
                unmet.extend(limit(&group, wants, share, disks.clone()));
                cgroups = group.entries();
                if let Some(held) = self.held.get_mut(&token) {
                    let entry = Entry {
                        app: wants.app.clone(),
                        group: group.clone(),
                        limits: wants.limits.clone(),
                        volume: data.clone().filter(|_| held.in_volume),
                    };
                    self.register.put(token, entry);
                    if let Some(memory) = group.memory() {
                        held.memory = Seen::new(&memory);
                        held.memory.settle(&memory, || group.forget_peak());
                    }
                    (held.group, held.disks) = (Some(group), disks);
                }
            }
            Err(why) => unmet.extend(without_groups(wants, why)),
        }
        if wants.strict
            && let Some(first) = unmet.iter().find(|it| !it.partly)
        {
            let reason = format!(
                "enforce = \"strict\", and `{}` is not enforced here: {}; {}",
                first.constraint, first.why, first.remedy
            );
            return Err(about("enforce")(reason));
        }
        let resolv_conf = self.resolvers(wants).map_err(about("limits.egress"))?;
        self.tell(wants, &unmet);
        Ok(Prepared {
            token,
            cgroups,
            limits: wants.process_limits(),
            identity,
            confinement: wants.confinement(data.as_deref()),
            environment,
            data,
            has_room: wants.is_isolated(),
            resolv_conf,
            unmet,
        })
    }

    /// Where an application with a way out of its own asks for names.
    fn resolvers(&mut self, wants: &Wants) -> Result<Option<String>, String> {
        if !wants.has_way_out() {
            return Ok(None);
        }
        let resolvers = self.networks()?.resolvers().map_err(|error| error.to_string())?;
        for note in &resolvers.notes {
            say::warning(format_args!("{}: {note}", wants.app));
        }
        Ok(Some(resolvers.text))
    }

    fn networks(&mut self) -> Result<&Networks, String> {
        if self.networks.is_none() {
            let settings = network::Settings::new(&self.settings.name);
            let made = Networks::new(settings).map_err(|error| format!("egress = \"nat\": {error}"))?;
            self.networks = Some(made);
        }
        self.networks.as_ref().ok_or_else(|| "egress = \"nat\": no networks".to_owned())
    }

    /// Give a place whose room is made its way out. `namespace`: the room's network.
    ///
    /// # Errors
    /// Why that is not possible.
    pub(super) fn connect(&mut self, token: Token, wants: &Wants, namespace: &OwnedFd) -> Result<(), String> {
        let bandwidth = Bandwidth { to_app: wants.limits.bandwidth_in, from_app: wants.limits.bandwidth_out };
        let made = self.networks()?.connect(&wants.app, namespace, bandwidth);
        let connection = made.map_err(|error| format!("egress = \"nat\": {error}"))?;
        match self.held.get_mut(&token) {
            Some(held) => held.connection = Some(connection),
            None => self.disconnect(&wants.app, &connection),
        }
        Ok(())
    }

    fn disconnect(&self, app: &str, connection: &Connection) {
        let Some(Err(error)) = self.networks.as_ref().map(|networks| networks.disconnect(connection)) else {
            return;
        };
        say::warning(format_args!("{app}: its network is not taken away: {error}"));
    }

    /// Other limits for a place.
    pub(super) fn adjust(&mut self, token: Token, wants: &Wants) {
        let Some(held) = self.held.get(&token) else { return };
        let share = if wants.is_isolated() { self.ledger.claim(&wants.app, wants.wish()).ok() } else { None };
        let Some(group) = &held.group else { return };
        let unmet = limit(group, wants, share.as_ref(), held.disks.clone());
        self.register.adjust(token, &wants.limits);
        self.tell(wants, &unmet);
    }

    pub(super) fn register(&self) -> Register {
        self.register.clone()
    }

    pub(super) fn release(&mut self, token: Token) {
        let Some(held) = self.held.remove(&token) else { return };
        self.register.remove(token);
        self.close_data(&held);
        if let Some(connection) = &held.connection {
            self.disconnect(&held.app, connection);
        }
        if self.held.values().any(|other| other.path == held.path) {
            return;
        }
        if let Some(Err(error)) = held.group.as_ref().map(end) {
            say::warning(format_args!("{}: its control group is not removed: {error}", held.app));
        }
        if held.path.starts_with(ISOLATED) {
            self.ledger.release(&held.app);
            self.balance();
        }
    }

    /// Its workers are gone. What they wrote as another user belongs to those that stay.
    fn close_data(&mut self, held: &Held) {
        let Some(data) = &mut self.data else { return };
        let others = self.held.values().filter(|other| other.app == held.app);
        if let Some(identity) = others.filter_map(|other| other.identity.as_ref()).next_back()
            && held.identity.as_ref() != Some(identity)
        {
            data.disown(&held.app);
            data.own(&held.app, identity);
        }
        if held.in_volume {
            data.close(&held.app);
        }
    }

    pub(super) fn set_pool(&mut self, pool: Pool) {
        self.settings.pool = pool;
        self.balance();
        self.settle_pool();
    }

    /// The pool gets what isolated applications leave.
    fn balance(&self) {
        let Ok(tree) = &self.tree else { return };
        let pool = &self.settings.pool;
        let memory = self.ledger.common_memory();
        let memory = pool.memory.map_or(memory, |most| most.min(memory));
        let limits = cgroup::Limits {
            cpu: pool.cpu,
            cpu_weight: Some(SHARED_WEIGHT),
            cores: Some(self.ledger.common_cores()),
            memory: Some(memory),
            ..cgroup::Limits::default()
        };
        let weight = cgroup::Limits { cpu_weight: Some(ISOLATED_WEIGHT), ..cgroup::Limits::default() };
        if let Some(group) = self.pool() {
            self.register.set_pool(SharedPool { group, memory });
        }
        for (path, limits) in [(SHARED, limits), (ISOLATED, weight)] {
            match tree.group(path) {
                Ok(group) => {
                    for outcome in group.apply(&limits).iter().filter(|outcome| !outcome.enforced()) {
                        say::debug(format_args!("the group {path}: {}", why(outcome)));
                    }
                }
                Err(error) => say::warning(format_args!("the group {path} cannot be made: {error}")),
            }
        }
    }

    pub(super) fn usage(&self) -> HashMap<String, Usage> {
        // Ascending, so that the latest place of each application wins.
        self.held.values().filter_map(|held| Some((held.app.clone(), held.group.as_ref()?.usage()))).collect()
    }

    /// See that all is as it was left. Others may have changed the rules between applications and the network (`nft flush
    /// ruleset`); and limits of memory are met without harm, which later must not be taken for a cause.
    pub(super) fn refresh(&mut self) {
        let mut calm = true;
        for held in self.held.values_mut() {
            if let Some((group, memory)) =
                held.group.as_ref().and_then(|group| Some((group, group.memory()?)))
            {
                calm &= held.memory.settle(&memory, || group.forget_peak());
            }
        }
        // A kill that nobody was told about yet may have been for the pool's limit, and v1 counts it below only.
        if calm {
            self.settle_pool();
        }
        if let Some(Err(error)) = self.networks.as_ref().map(Networks::refresh) {
            say::warning(format_args!("the rules of applications' networks are not in force: {error}"));
        }
    }

    fn settle_pool(&mut self) {
        let pool = self.pool();
        if let Some((pool, memory)) = pool.and_then(|pool| pool.memory().map(|memory| (pool, memory))) {
            self.pool_seen.settle(&memory, || pool.forget_peak());
        }
    }

    fn pool(&self) -> Option<Group> {
        self.tree.as_ref().ok()?.group(SHARED).ok()
    }

    /// A process of the application was ended by SIGKILL: whether that was for want of memory, and whose limit it was.
    pub(super) fn shortage(&mut self, app: &str) -> Option<Shortage> {
        let pool = self.pool().and_then(|pool| pool.memory());
        let most = |held: &Held| Some((held.app.clone(), held.group.as_ref()?.memory()?.current));
        let others = self.held.values().filter(|held| held.path.starts_with(SHARED) && held.app != app);
        let culprit = others.filter_map(most).max_by_key(|(_, bytes)| *bytes);
        let pool_seen = self.pool_seen;
        for held in self.held.values_mut().rev().filter(|held| held.app == app) {
            let Some(memory) = held.group.as_ref().and_then(Group::memory) else { continue };
            if held.memory.claim(&memory) {
                let pool = pool.as_ref().filter(|_| held.path.starts_with(SHARED));
                return blame((&memory, held.memory), pool.map(|pool| (pool, pool_seen)), culprit);
            }
        }
        None
    }

    /// Give everything back, at the end.
    pub(super) fn sweep(&mut self) {
        self.held.clear();
        self.register.clear();
        let tree = std::mem::replace(&mut self.tree, Err("the host is stopping".to_owned()));
        if let Ok(tree) = tree
            && let Err(error) = tree.remove()
        {
            say::warning(format_args!("control groups are left, the next start removes them: {error}"));
        }
        if let Some(data) = &mut self.data {
            data.close_all();
        }
        if let Some(Err(error)) = self.networks.take().map(Networks::close) {
            say::warning(format_args!(
                "networks of applications are left, the next start removes them: {error}"
            ));
        }
    }

    /// Say once what is not enforced, or only in part.
    fn tell(&mut self, wants: &Wants, unmet: &[Unmet]) {
        let before = self.told.insert(wants.app.clone(), unmet.to_vec()).unwrap_or_default();
        for it in unmet.iter().filter(|it| !before.contains(it)) {
            let remedy = if it.remedy.is_empty() { String::new() } else { format!("; {}", it.remedy) };
            let how = if it.partly { "is enforced here only in part" } else { "is not enforced here" };
            say::info(format_args!("{}: `{}` {how}: {}{remedy}", wants.app, it.constraint, it.why));
        }
    }
}

/// Kill what is left in a group and remove it.
fn end(group: &Group) -> Result<(), String> {
    group.kill(PATIENCE).map_err(|error| error.to_string())?;
    group.remove(PATIENCE).map_err(|error| error.to_string())
}
