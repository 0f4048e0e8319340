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
    pub(crate) grown: u64,
    pub(crate) shrunk: u64,
    pub(crate) not_awaited: u64,
    pub(crate) outgrown_drains: u64,
    pub(crate) room_drains: u64,
    pub(crate) restarts: u64,
    pub(crate) retries: u64,
    pub(crate) rested: u64,
    pub(crate) slept: u64,
}

/// Why a worker that serves is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retiring {
    Quota,
    OutgrownWithRoom,
    OutgrownWithoutRoom,
}

/// One worker, from the spawn to the exit.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) generation: u64,
    pub(crate) asked: Duration,
    pub(crate) has_pid: bool,
    pub(crate) ready: bool,
    pub(crate) admitted: bool,
    pub(crate) retiring: Option<Retiring>,
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
        self.grown += other.grown;
        self.shrunk += other.shrunk;
        self.not_awaited += other.not_awaited;
        self.outgrown_drains += other.outgrown_drains;
        self.room_drains += other.room_drains;
        self.restarts += other.restarts;
        self.retries += other.retries;
        self.rested += other.rested;
        self.slept += other.slept;
    }
}

impl Seen {
    /// Nothing may be started in its place while its process is there.
    pub(crate) fn keeps_its_place(&self) -> bool {
        self.retiring == Some(Retiring::OutgrownWithoutRoom)
    }

    /// Counts towards the target.
    pub(crate) fn is_placed(&self) -> bool {
        self.keeps_its_place() || (!self.is_leaving() && self.retiring.is_none())
    }

    /// The first reason counts.
    pub(crate) fn retire(&mut self, why: Retiring) {
        if self.admitted && !self.is_leaving() && self.retiring.is_none() {
            self.retiring = Some(why);
        }
    }

    /// Was told to go, or will be.
    pub(crate) fn is_leaving(&self) -> bool {
        self.drained.is_some() || self.killed.is_some() || self.condemned
    }
}
