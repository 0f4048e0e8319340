//! How many processes and threads a group has: `pids.max`, the same file in both versions. The next `fork` or `clone` fails
//! with EAGAIN, and `pids.events` counts that.

use super::group::{Place, report};
use super::limits::{Constraint, Limits, Outcome, Refusal};

pub(super) fn apply(place: &Result<Place, Refusal>, limits: &Limits, outcomes: &mut Vec<Outcome>) {
    report(outcomes, Constraint::Processes, limits.processes.is_some(), place, |writer, _| {
        match limits.processes {
            Some(most) => writer.write("pids.max", &most.to_string()),
            None => writer.reset("pids.max", "max"),
        }
        .map(|()| None)
    });
}
