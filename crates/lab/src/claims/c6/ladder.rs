//! C6, exploratory: where a log line goes decides what a neighbour's storage does to it. From the same file system, over the
//! neighbour held back and a file system of one's own, to a pipe (research: lab.md C6, isolation ladder).

use super::{APP, STORM, STORM_MIB, State, condition, ratio};
use crate::experiment::{Condition, Noise, Part, Purpose, Session, SessionError};
use crate::host::HostPlan;
use crate::neighbour::Work;
use crate::probe;
use crate::statistics::verdict::range;

/// An application with a volume of its own.
const VOLUME: &str = "volume";
const VOLUME_SIZE: &str = "64MiB";
/// A storm that is held back by a limit on what it writes. It writes back 64 MiB at once and cannot be stopped meanwhile: what
/// holds it lets that pass within the time in which a neighbour must answer.
const HELD: &str = "storm-held";
const HELD_AT: &str = "24MiB/s";

struct Rung {
    title: &'static str,
    app: &'static str,
    target: &'static str,
    storm: &'static str,
}

const RUNGS: [Rung; 4] = [
    Rung { title: "on the same file system", app: APP, target: "/log?ms=20&fsync=1&to=1", storm: STORM },
    Rung {
        title: "on the same file system, the neighbour held at 24 MiB/s",
        app: APP,
        target: "/log?ms=20&fsync=1&to=1",
        storm: HELD,
    },
    Rung { title: "on a volume of its own", app: VOLUME, target: "/log?ms=20&fsync=1&to=1", storm: STORM },
    Rung { title: "into a pipe to the host", app: APP, target: "/log?ms=20&to=2", storm: STORM },
];

/// p95 without the storm and beside it, of each block that counts; in seconds.
#[derive(Debug, Default, Clone)]
struct Climbed {
    quiet: Vec<f64>,
    storm: Vec<f64>,
}

fn plan(session: &Session<'_>) -> HostPlan {
    let app = session.probe(probe::ASGI).set("workers", 1);
    HostPlan::default()
        .with(APP, app.clone())
        .with(VOLUME, app.limit("disk_space", VOLUME_SIZE))
        .with(STORM, session.neighbour(STORM))
        .with(HELD, session.neighbour(HELD).limit("disk_write", HELD_AT))
}

fn of(rung: &Rung, state: State) -> Condition {
    let mut condition = condition(rung.target, State::Quiet);
    condition.name = format!("C6 {}", rung.title);
    rung.app.clone_into(&mut condition.app);
    if state == State::Disk {
        let work = Work::Storm { mib: STORM_MIB };
        let part = Part::Work { tenant: rung.storm.to_owned(), work, duty: 1.0 };
        condition.noise = Noise { name: "fsync storm".to_owned(), parts: vec![part] };
    }
    condition
}

/// Every rung, without and beside the storm, a few times; one sentence.
pub(super) fn climb(session: &mut Session<'_>) -> Result<String, SessionError> {
    match session.start(plan(session)) {
        Err(error @ (SessionError::Missing(_) | SessionError::Host(_))) => {
            return Ok(format!("where the line goes was not varied: {error}"));
        }
        started => started?,
    }
    let mut climbed = vec![Climbed::default(); RUNGS.len()];
    for _ in 0..session.options.effort.control {
        for (rung, found) in RUNGS.iter().zip(&mut climbed) {
            for state in [State::Quiet, State::Disk] {
                let seed = session.random.next_u64();
                let block = match session.sound_block(&of(rung, state), seed, &Purpose::series("C6-ladder")) {
                    // What the claim itself found stands without this.
                    Err(error @ SessionError::Hub(_)) => {
                        return Ok(format!("{}; not varied further: {error}", sentence(&climbed)));
                    }
                    block => block?,
                };
                if block.is_valid() {
                    let side = if state == State::Quiet { &mut found.quiet } else { &mut found.storm };
                    side.push(block.quantile(0.95));
                }
            }
        }
    }
    Ok(sentence(&climbed))
}

fn sentence(climbed: &[Climbed]) -> String {
    let rungs = RUNGS.iter().zip(climbed).map(|(rung, found)| {
        let (quiet, storm) = (range(&found.quiet).0, range(&found.storm).0);
        if (storm / quiet).is_nan() {
            return format!("{} not known (no block counts)", rung.title);
        }
        if storm.is_infinite() {
            return format!("{} more than 1 request in 20 failed", rung.title);
        }
        format!("{} {} ms ({} times)", rung.title, ratio(storm * 1e3), ratio(storm / quiet))
    });
    format!(
        "exploratory: p95 beside the storm, and over that without it, by where the line goes: {}",
        rungs.collect::<Vec<_>>().join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_told_apart_and_what_is_not_known_is_said() {
        let found = |quiet: &[f64], storm: &[f64]| Climbed { quiet: quiet.to_vec(), storm: storm.to_vec() };
        let said = sentence(&[
            found(&[0.02, 0.03, 0.02], &[0.2, 0.2, 0.4]),
            found(&[0.02], &[0.06]),
            found(&[0.02], &[]),
            found(&[0.02], &[f64::INFINITY]),
        ]);
        assert!(said.contains(": on the same file system 200 ms (10 times); "), "{said}");
        assert!(said.contains("held at 24 MiB/s 60 ms (3.00 times)"), "{said}");
        assert!(said.contains("on a volume of its own not known"), "{said}");
        assert!(said.contains("pipe to the host more than 1 request in 20 failed"), "{said}");
        let held = of(&RUNGS[1], State::Disk);
        assert_eq!((held.app.as_str(), held.noise.parts.len()), (APP, 1));
        assert!(of(&RUNGS[2], State::Quiet).noise.parts.is_empty());
    }
}
