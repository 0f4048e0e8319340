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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fake::{Fake, written};
    use crate::cgroup::hierarchy::Version;

    #[test]
    fn both_versions_have_the_same_file() {
        for version in [Version::V1, Version::V2] {
            let fake = Fake::new(version, &[("pids.max", "max\n")]);
            let mut outcomes = Vec::new();
            apply(&fake.place(), &Limits { processes: Some(32), ..Limits::default() }, &mut outcomes);
            assert_eq!(written(&outcomes[0]), ["pids.max=32"]);
            apply(&fake.place(), &Limits::default(), &mut outcomes);
            assert_eq!((outcomes.len(), fake.text("pids.max").as_str()), (1, "max"));
        }
    }

    #[test]
    fn without_the_controller_only_what_is_asked_for_is_told() {
        let why = Refusal { why: "it is not there".to_owned(), errno: None, remedy: "get it".to_owned() };
        let mut outcomes = Vec::new();
        apply(&Err(why.clone()), &Limits::default(), &mut outcomes);
        assert_eq!(outcomes, []);
        apply(&Err(why.clone()), &Limits { processes: Some(1), ..Limits::default() }, &mut outcomes);
        assert_eq!(outcomes[0].refusal, Some(why));
    }
}
