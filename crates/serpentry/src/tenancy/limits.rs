//! An application's limits, given to its control group; and what of them is not enforced here.

use std::path::PathBuf;

use jail::cgroup::{Constraint, Group, Outcome};

use super::ledger::Share;
use super::wants::{Unmet, Wants};

/// Set the limits of an application's group; what is not enforced of them, or only in part.
pub(super) fn limit(group: &Group, wants: &Wants, share: Option<&Share>, disks: Vec<PathBuf>) -> Vec<Unmet> {
    let mut limits = wants.cgroup_limits(share, disks);
    let mut outcomes = group.apply(&limits);
    let refused = |outcomes: &[Outcome], constraint| {
        outcomes.iter().any(|outcome: &Outcome| outcome.constraint == constraint && !outcome.enforced())
    };
    if refused(&outcomes, Constraint::Cores) {
        // Without cores of its own it gets at least the time of so many.
        limits.cpu = wants.limits.cpu;
        limits.cores = None;
        let cores: Vec<Outcome> =
            outcomes.into_iter().filter(|it| it.constraint == Constraint::Cores).collect();
        outcomes = group.apply(&limits);
        outcomes.extend(cores);
    }
    outcomes.iter().filter(|outcome| is_asked_for(outcome.constraint, wants)).filter_map(unmet).collect()
}

/// Weights that are as everybody's need no enforcing, and a guarantee is more than what was asked for.
fn is_asked_for(constraint: Constraint, wants: &Wants) -> bool {
    match constraint {
        Constraint::CpuWeight => !wants.is_isolated() && wants.limits.cpu_weight != 100,
        Constraint::MemoryGuarantee | Constraint::DiskWeight => false,
        _ => true,
    }
}

fn unmet(outcome: &Outcome) -> Option<Unmet> {
    let (why, remedy) = match (&outcome.refusal, &outcome.caveat) {
        (Some(refusal), _) => (refusal.why.clone(), refusal.remedy.clone()),
        (None, Some(caveat)) => (caveat.clone(), String::new()),
        (None, None) => return None,
    };
    let constraint = outcome.constraint.name().to_owned();
    Some(Unmet { constraint, why, remedy, partly: outcome.enforced() })
}

pub(super) fn why(outcome: &Outcome) -> String {
    outcome.refusal.as_ref().map_or_else(String::new, |refusal| refusal.why.clone())
}

/// Everything that only control groups could enforce.
pub(super) fn without_groups(wants: &Wants, why: &str) -> Vec<Unmet> {
    let limits = &wants.limits;
    let asked = [
        ("cpu", limits.cpu.is_some()),
        ("memory", limits.memory.is_some()),
        ("disk_read", limits.disk_read.is_some()),
        ("disk_write", limits.disk_write.is_some()),
        ("processes", true),
    ];
    let missing = |(constraint, _): &(&str, bool)| Unmet {
        constraint: (*constraint).to_owned(),
        why: why.to_owned(),
        remedy: "see `serpentry doctor`".to_owned(),
        partly: false,
    };
    asked.iter().filter(|(_, asked)| *asked).map(missing).collect()
}
