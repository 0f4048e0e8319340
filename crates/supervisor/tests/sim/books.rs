//! The judge's books: what events and actions have said of each worker, and counts of what happened.

use std::time::Duration;

/// What happened, to prove that the simulator exercises what it claims to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) spawns: u64,
    pub(crate) reloads_done: u64,
    pub(crate) reloads_failed: u64,
    pub(crate) pauses: u64,
    pub(crate) quota_drains: u64,
    pub(crate) hung_drains: u64,
    pub(crate) deadline_kills: u64,
    pub(crate) repeated_kills: u64,
    pub(crate) replaced_at_once: u64,
    pub(crate) recovered: u64,
    pub(crate) gave_up: u64,
}

/// One worker, from the spawn to the exit.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) generation: u64,
    pub(crate) asked: Duration,
    pub(crate) has_pid: bool,
    pub(crate) ready: bool,
    pub(crate) admitted: bool,
    pub(crate) quota: bool,
    pub(crate) hung: Option<Duration>,
    pub(crate) boot_failed: bool,
    pub(crate) misbehaved: bool,
    pub(crate) drained: Option<Duration>,
    pub(crate) killed: Option<Duration>,
    pub(crate) condemned: bool,
}

impl Report {
    pub(crate) fn add(&mut self, other: &Self) {
        self.spawns += other.spawns;
        self.reloads_done += other.reloads_done;
        self.reloads_failed += other.reloads_failed;
        self.pauses += other.pauses;
        self.quota_drains += other.quota_drains;
        self.hung_drains += other.hung_drains;
        self.deadline_kills += other.deadline_kills;
        self.repeated_kills += other.repeated_kills;
        self.replaced_at_once += other.replaced_at_once;
        self.recovered += other.recovered;
        self.gave_up += other.gave_up;
    }
}

impl Seen {
    /// Was told to go, or will be.
    pub(crate) fn is_leaving(&self) -> bool {
        self.drained.is_some() || self.killed.is_some() || self.condemned
    }
}
