//! The kernel's tables of mounts, groups and figures, whoever named what is in them: read without a panic, and no group is
//! ever looked for outside the mount that shows it.

#![no_main]

use std::path::Component;

use jail::cgroup::{list, parse_pressure};
use jail::machine::mounts::{below, memberships, mounts};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = (list(text), parse_pressure(text));
    let (mounts, memberships) = (mounts(text), memberships(text));
    for mount in &mounts {
        for membership in &memberships {
            if let Some(found) = below(&mount.root, &membership.path) {
                assert!(found.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
});
