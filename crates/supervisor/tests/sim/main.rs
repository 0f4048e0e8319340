//! The simulator: a fake operating system, router and operator around the real state machine, in virtual time.
//!
//! Each seed is one history of an application: settings, requests that come and go, slow and failing boots, crashes, hangs,
//! quotas, outgrown memory, reloads to good and bad code, scaling, other limits, stops and starts, fork failures, processes
//! that survive `SIGKILL`, nonsense events. Then the faults end, the application must recover and serve what is asked,
//! must rest when nothing is asked, and is stopped. `checker.rs`, `standing.rs` and `wanted.rs` judge every action without
//! looking inside the supervisor.
//! `SERPENTRY_SIM_SEED=n` replays one seed and prints its history; `SERPENTRY_SIM_SEEDS=n` changes how many are run.
//!
//! The canaries prove that the judge can say no: each kind of sabotage must be caught.

#![expect(clippy::unwrap_used, reason = "the whole binary is a test")]

mod books;
mod checker;
mod faults;
mod random;
mod sabotage;
mod script;
mod standing;
mod wanted;
mod world;

use books::Report;
use sabotage::Sabotage;
use world::World;

const SEEDS: u64 = 750;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("the variable holds a whole number"))
}

#[test]
fn every_seed_keeps_the_invariants() {
    if let Some(seed) = number("SERPENTRY_SIM_SEED") {
        let mut world = World::new(seed, Sabotage::None);
        world.trace();
        let report = world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        eprintln!("seed {seed} holds: {report:?}");
        return;
    }
    let mut total = Report::default();
    let seeds = number("SERPENTRY_SIM_SEEDS").unwrap_or(SEEDS);
    for seed in 0..seeds {
        match World::new(seed, Sabotage::None).run() {
            Ok(report) => total.add(&report),
            Err(violation) => panic!("{violation}\nreplay with SERPENTRY_SIM_SEED={seed}"),
        }
    }
    eprintln!("{seeds} seeds hold: {total:?}");
    // A simulator in which nothing happens proves nothing.
    let least = seeds / 10;
    assert!(total.spawns > 20 * seeds, "{total:?}");
    for (what, count) in [
        ("reloads done", total.reloads_done),
        ("reloads failed", total.reloads_failed),
        ("pauses", total.pauses),
        ("quota drains", total.quota_drains),
        ("hung drains", total.hung_drains),
        ("deadline kills", total.deadline_kills),
        ("repeated kills", total.repeated_kills),
        ("replaced at once", total.replaced_at_once),
        ("recovered", total.recovered),
        ("gave up", 10 * total.gave_up),
        ("grown", total.grown),
        ("shrunk", total.shrunk),
        ("fell asleep", total.slept),
        ("not awaited", total.not_awaited),
        ("outgrown with room", total.outgrown_drains),
        ("outgrown without room", total.room_drains),
        ("started again", total.restarts),
        ("tried at once", total.retries),
        ("rested", total.rested),
    ] {
        assert!(count > least, "{what} happened {count} times only: {total:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let mut lines = 0;
    for seed in 0..20 {
        let history = || {
            let mut world = World::new(seed, Sabotage::None);
            world.record();
            world.run().unwrap();
            world.into_history()
        };
        let first = history();
        lines += first.len();
        assert_eq!(first, history());
    }
    assert!(lines > 2_000, "{lines} lines");
}

#[test]
fn canary_every_sabotage_is_caught() {
    for sabotage in Sabotage::ALL {
        // Which invariant breaks first depends on the seed; a sabotage caught only for other reasons proves nothing.
        let expected = sabotage.expected();
        let violations = (0..300).filter_map(|seed| Some((seed, World::new(seed, sabotage).run().err()?)));
        let caught = violations.into_iter().find(|(_, violation)| violation.contains(expected));
        let (seed, violation) = caught.unwrap_or_else(|| panic!("{sabotage:?}: no seed says {expected:?}"));
        eprintln!("{sabotage:?}: caught by seed {seed}: {violation}");
    }
}
