//! Replays the seeds of the fuzz targets, so that what fuzzing found once is checked in every run.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// A sound body with one byte changed, removed or repeated: refused, or read alike by both readers.
    #[test]
    fn damaged_chunks_are_refused_or_read_alike(
        chunks in vec("[a-z0;\r\n]{1,9}", 0..4), extension in "(;[a-z]{0,3})?", at in any::<Index>(),
        byte in prop_oneof![prop::sample::select(&b" \t\r\n0;:\0"[..]), any::<u8>()], step in 1..9_u8,
    ) {
        let mut body = vec![step];
        for chunk in &chunks {
            body.extend(format!("{:X}{extension}\r\n{chunk}\r\n", chunk.len()).bytes());
        }
        body.extend(b"0\r\nA: b\r\n\r\nGET /");
        http_chunked(&body);
        let at = 1 + at.index(body.len() - 1);
        let mut changed = body.clone();
        changed[at] = byte;
        http_chunked(&changed);
        changed.remove(at);
        http_chunked(&changed);
        body.insert(at, byte);
        http_chunked(&body);
    }
}
