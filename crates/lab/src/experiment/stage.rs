//! A host on which arms are entered and left, with everything that this changes noted in the journal.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::arm::Arm;
use super::groups::{self, Groups};
use super::{SessionError, sample};
use crate::host::{AppStatus, Host, HostError, HostPlan};
use crate::journal::{Change, Journal, Ticket, World as _, started};

/// The group of all tenants in the unmanaged arm.
const UNMANAGED: &str = "lab-unmanaged";
/// One core in periods of 100 ms, in an order in which each is allowed: files of version 1 and of version 2.
const QUOTA_1: [(&str, &str); 3] =
    [("cpu.cfs_burst_us", "0"), ("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "100000")];
const QUOTA_2: [(&str, &str); 2] = [("cpu.max.burst", "0"), ("cpu.max", "100000 100000")];
/// After the quota: it must not be larger than that.
const BURST_1: (&str, &str) = ("cpu.cfs_burst_us", "100000");
const BURST_2: (&str, &str) = ("cpu.max.burst", "100000");
/// New processes can appear while others are moved.
const ROUNDS: usize = 5;

/// A host that runs, and the arm it is in.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) host: Host,
    /// As it was opened; arms are made from it.
    base: HostPlan,
    entered: Option<(String, Arm)>,
    tickets: Vec<Ticket>,
    unmanaged: Option<Unmanaged>,
    /// Files of control groups that were written for the arm.
    written: Vec<Ticket>,
}

#[derive(Debug)]
struct Unmanaged {
    /// Of the group, and of each process in it with the group it came from.
    group: Ticket,
    moved: Vec<(Ticket, u32, PathBuf)>,
}

impl Stage {
    pub(super) fn open(
        program: &Path,
        plan: HostPlan,
        directory: &Path,
        groups: &Groups,
        journal: &mut Journal,
    ) -> Result<Stage, SessionError> {
        let host = Host::start(program, plan.clone(), directory)?;
        let start = started(host.pid()).unwrap_or(0);
        let process = Change::Process { pid: host.pid(), started: start, what: "the host".to_owned() };
        let mut tickets = vec![journal.note(process)?];
        let branches = groups.all_of(host.pid());
        let branches: Vec<PathBuf> = branches
            .iter()
            .filter_map(|own| Some(own.parent()?.to_owned()))
            .filter(|branch| is_host(branch))
            .collect();
        tickets.push(journal.note(Change::Tree(branches))?);
        Ok(Stage { host, base: plan, entered: None, tickets, unmanaged: None, written: Vec::new() })
    }

    /// Put an application into an arm; true when its workers are new.
    pub(super) fn enter(
        &mut self,
        app: &str,
        arm: Arm,
        groups: &Groups,
        journal: &mut Journal,
    ) -> Result<bool, SessionError> {
        if self.entered.as_ref().is_some_and(|(entered, in_arm)| entered == app && *in_arm == arm) {
            return Ok(false);
        }
        self.leave(journal)?;
        let before = self.host.workers(app)?;
        let plan = arm.within(&self.base, app);
        if *self.host.plan() != plan {
            self.host.apply(plan).map_err(|error| match error {
                // It may need what only a shared application sees: files of others, more users than its own.
                HostError::App { app: failed, why } if arm == Arm::Pinned && failed == app => {
                    SessionError::Missing(format!("{}: it does not start so: {why}", arm.title()))
                }
                other => other.into(),
            })?;
        }
        self.entered = Some((app.to_owned(), arm));
        let status = self.host.app(app)?;
        check(&status, arm, groups)?;
        match arm {
            Arm::Unmanaged => self.mix(groups, journal)?,
            Arm::Quota | Arm::QuotaBurst => self.plain_quota(app, arm, groups, journal)?,
            Arm::FairShare | Arm::OwnQuota | Arm::Pinned => {}
        }
        Ok(before != self.host.workers(app)?)
    }

    /// All tenants' processes into one group.
    fn mix(&mut self, groups: &Groups, journal: &mut Journal) -> Result<(), SessionError> {
        let homes = self.homes(groups)?;
        let pool = homes.values().next().and_then(|home| home.parent()).map(Path::to_owned);
        let pool = pool.ok_or_else(|| SessionError::Missing("no tenant has a control group".to_owned()))?;
        let path = pool.join(UNMANAGED);
        let ticket = journal.note(Change::Group(path.clone()))?;
        match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(SessionError::io(format!("make the control group {}", path.display()))(error));
            }
            _ => {}
        }
        let unmanaged = self.unmanaged.insert(Unmanaged { group: ticket, moved: Vec::new() });
        for _ in 0..ROUNDS {
            let mut found = false;
            for home in homes.values() {
                for pid in groups::members(home) {
                    found = true;
                    let Some(started) = started(pid) else { continue };
                    let ticket = journal.note(Change::Moved { pid, started, from: home.clone() })?;
                    unmanaged.moved.push((ticket, pid, home.clone()));
                    crate::journal::Machine
                        .enter(pid, &path)
                        .map_err(SessionError::io(format!("move process {pid} to {}", path.display())))?;
                }
            }
            if !found {
                return Ok(());
            }
        }
        Err(SessionError::Other("tenants start processes faster than these can be moved".to_owned()))
    }

    /// The program sets a quota in short periods with burst; what is known as one has neither, or burst alone.
    fn plain_quota(
        &mut self,
        app: &str,
        arm: Arm,
        groups: &Groups,
        journal: &mut Journal,
    ) -> Result<(), SessionError> {
        let pid = self.host.workers(app)?.first().copied().unwrap_or(0);
        let group =
            groups.of(pid, "cpu").ok_or_else(|| SessionError::Missing("a quota of processors".to_owned()))?;
        let (quota, burst) =
            if groups.version("cpu") == Some(1) { (&QUOTA_1[..], BURST_1) } else { (&QUOTA_2[..], BURST_2) };
        let burst = (arm == Arm::QuotaBurst).then_some(burst);
        for (name, value) in quota.iter().copied().chain(burst) {
            let path = group.join(name);
            let failed = || SessionError::io(format!("write {}", path.display()));
            let before = match fs::read_to_string(&path) {
                // Kernels before 5.14 have no burst.
                Err(error) if error.kind() == ErrorKind::NotFound && name.contains("burst") => continue,
                read => read.map_err(failed())?,
            };
            self.written.push(journal.note(Change::Written { path: path.clone(), before })?);
            fs::write(&path, value).map_err(failed())?;
        }
        Ok(())
    }

    /// The groups of all tenants' workers, by application.
    fn homes(&self, groups: &Groups) -> Result<BTreeMap<String, PathBuf>, SessionError> {
        let status = self.host.status()?;
        let home = |app: &AppStatus| {
            let pid = app.workers.first()?.pid?;
            Some((app.name.clone(), groups.of(pid, "cpu")?))
        };
        Ok(status.apps.iter().filter_map(home).collect())
    }

    /// Whether every process is where the arm put it.
    pub(super) fn is_in_place(&self) -> bool {
        let Some(unmanaged) = &self.unmanaged else { return true };
        unmanaged.moved.iter().all(|(_, _, home)| groups::members(home).is_empty())
    }

    fn leave(&mut self, journal: &mut Journal) -> Result<(), SessionError> {
        self.entered = None;
        // The other way round, because no value may contradict another at any time.
        while let Some(ticket) = self.written.pop() {
            journal.undo(ticket)?;
        }
        let Some(unmanaged) = self.unmanaged.take() else { return Ok(()) };
        for (ticket, _, _) in unmanaged.moved {
            journal.undo(ticket)?;
        }
        Ok(journal.undo(unmanaged.group)?)
    }

    /// Where the counters of an application are.
    pub(super) fn places(&self, app: &str, groups: &Groups) -> Result<sample::Places, SessionError> {
        Ok(sample::Places::of(groups, self.host.pid(), &self.host.workers(app)?))
    }

    pub(super) fn close(mut self, journal: &mut Journal) -> Result<(), SessionError> {
        self.leave(journal)?;
        let Stage { host, tickets, .. } = self;
        let result = host.stop();
        // It has removed its groups itself; what it could not remove is looked for.
        for ticket in tickets.into_iter().rev() {
            journal.undo(ticket)?;
        }
        Ok(result?)
    }
}

/// Branches of hosts, not the directory that all groups of the machine are in.
fn is_host(branch: &Path) -> bool {
    branch.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("serpentry-"))
}

/// Whether this machine does what the arm says.
fn check(app: &AppStatus, arm: Arm, groups: &Groups) -> Result<(), SessionError> {
    let missing = |why: String| SessionError::Missing(format!("{}: {why}", arm.title()));
    if groups.version("cpu").is_none() {
        return Err(missing("there are no control groups of processors".to_owned()));
    }
    match app.unenforced.iter().find(|it| arm.needs().contains(&it.constraint.as_str())) {
        Some(it) => Err(missing(format!("`{}` is not enforced: {}", it.constraint, it.why))),
        None => Ok(()),
    }
}
