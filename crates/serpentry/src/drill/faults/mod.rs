//! The faults: what each is called, which incident it must become, what proves that, and how it is made to happen.

mod app;
mod cpu;
mod disk;
mod memory;
mod network;

use std::time::Duration;

use incident::Code;
use serpentry::control::{Concurrency, Tenancy};

use super::stage::{Onset, Stage};

/// Makes it happen, and says from when the time counts.
pub(super) type Inject = fn(&mut Stage) -> anyhow::Result<Onset>;

/// Which of the test applications of `serpentry drill --serve` has the limits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// Threads.
    Shop,
    /// An event loop.
    Feed,
    /// A fraction of a core, a slow line, a slow disk.
    Batch,
}

/// What the incident must say for it to be explained, of what `lab.md` C5 counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    pub(super) worker: bool,
    pub(super) limit: bool,
    pub(super) requests: bool,
    pub(super) growth: bool,
    pub(super) answer: bool,
}

pub(super) struct Fault {
    pub(super) name: &'static str,
    /// One line.
    pub(super) about: &'static str,
    pub(super) code: Code,
    /// What may rightly be recorded beside it, of the same application.
    pub(super) also: &'static [Code],
    pub(super) proof: Proof,
    pub(super) home: Home,
    /// `None`: any.
    pub(super) concurrency: Option<Concurrency>,
    /// From when the time until the incident counts, in words.
    pub(super) counted_from: &'static str,
    /// How long the incident is waited for.
    pub(super) patience: Duration,
    pub(super) inject: Inject,
    /// For any application: from outside, without its help.
    pub(super) outside: Option<Inject>,
    /// Where it cannot happen, and why.
    pub(super) prevented: Option<(Tenancy, &'static str)>,
}

/// The eleven of `lab.md` C12 first.
pub(super) static ALL: &[&Fault] = &[
    &memory::OOM,
    &cpu::STARVED,
    &cpu::THROTTLED,
    &cpu::BLOCKED,
    &cpu::GIL,
    &disk::FSYNC,
    &app::HUNG,
    &network::CONNECTIONS,
    &app::SEGV,
    &disk::FULL,
    &app::UPSTREAM,
    &app::EXIT,
    &app::KILL,
    &app::CRASH_LOOP,
    &app::BOOT,
    &app::BROKEN,
    &app::SHORT,
    &app::EXCEPTION,
    &app::DEADLINE,
    &app::STOPPED,
    &memory::POOL,
    &memory::NEAR,
    &memory::LEAK,
    &memory::CACHE,
    &cpu::HEAVY,
    &disk::THROTTLED,
    &disk::FLOOD,
    &network::QUEUE,
    &network::WAITED,
    &network::OVERSIZE,
    &network::SLOW,
    &network::LEFT,
    &network::BANDWIDTH,
    &app::PROCESSES,
    &app::FILES,
];

pub(super) fn find(name: &str) -> Option<&'static Fault> {
    ALL.iter().copied().find(|fault| fault.name == name)
}

/// What most of them have in common.
const USUAL: Fault = Fault {
    name: "",
    about: "",
    code: Code::H99,
    also: &[],
    proof: Proof { worker: false, limit: false, requests: false, growth: false, answer: false },
    home: Home::Shop,
    concurrency: None,
    counted_from: "the first request",
    patience: Duration::from_secs(10),
    inject: |_| anyhow::bail!("there is nothing to do"),
    outside: None,
    prevented: None,
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own_and_a_code() {
        let mut names = HashSet::new();
        for fault in ALL {
            assert!(names.insert(fault.name), "{} twice", fault.name);
            assert!(!fault.about.is_empty() && !fault.about.ends_with('.'), "{}", fault.name);
            assert_ne!(fault.code, Code::H99, "{}", fault.name);
            assert!(find(fault.name).is_some_and(|found| std::ptr::eq(found, *fault)));
        }
    }

    #[test]
    fn what_is_asked_of_an_incident_is_in_the_catalogue() {
        for fault in ALL {
            let entry = fault.code.entry();
            if fault.proof.limit {
                assert!(entry.evidence.iter().any(|it| it.key.starts_with("limit")), "{}", fault.name);
            }
            if fault.proof.growth {
                assert!(entry.evidence("growth_bytes").is_some(), "{}", fault.name);
            }
            if fault.proof.answer {
                assert!(entry.status.is_some(), "{}", fault.name);
            }
        }
    }
}
