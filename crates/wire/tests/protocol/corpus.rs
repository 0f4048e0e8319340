//! Replays the seeds of the fuzz targets, so that what fuzzing found once is checked in every run.

use std::path::Path;

use crate::messages::{Way, decode, feed};

fn replay(target: &str, ways: &[Way]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a seed").path();
        let bytes = std::fs::read(&path).expect("a seed");
        let mut accepted = 0;
        for way in ways {
            let _ = feed(&bytes, &[7, 64], |frame| accepted += usize::from(decode(*way, frame).is_ok()));
        }
        let valid = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("valid"));
        assert!(!valid || accepted > 0, "{}: nothing in it is accepted any more", path.display());
        seeds += 1;
    }
    assert!(seeds > 0, "{} is empty", folder.display());
}

#[test]
fn seeds_of_the_fuzz_targets() {
    replay("wire_to_worker", &[Way::Down]);
    replay("wire_from_worker", &[Way::Up]);
    replay("wire_control", &[Way::ControlDown, Way::ControlUp]);
}
