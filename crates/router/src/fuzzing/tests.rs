//! Replays the seeds of the fuzz targets, so that what fuzzing found once is checked in every run.

use std::path::Path;

use super::{forwarded, http_chunked, http_head, worker_protocol};

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        eprintln!("replaying {}", path.display());
        check(&std::fs::read(&path).unwrap());
        seeds += 1;
    }
    assert!(seeds > 0, "{} is empty", folder.display());
}

#[test]
fn seeds_of_http_head() {
    replay("http_head", http_head);
}

#[test]
fn seeds_of_http_chunked() {
    replay("http_chunked", http_chunked);
}

#[test]
fn seeds_of_forwarded() {
    replay("forwarded", forwarded);
}

#[test]
fn seeds_of_worker_protocol() {
    replay("worker_protocol", worker_protocol);
}
