//! What must hold for any bytes a server sends or a log has. For the fuzzer and for the tests that replay its findings.

use crate::load::access_log;
use crate::load::response::{Progress, ResponseError, ResponseReader};
use crate::load::target::Url;

/// Read an answer in pieces of a size; what came of it, and the length of its content.
pub fn read(bytes: &[u8], head_request: bool, pieces: usize) -> (Result<Progress, ResponseError>, u64) {
    let mut reader = ResponseReader::default();
    reader.reset(head_request);
    for piece in bytes.chunks(pieces.max(1)) {
        match reader.feed(piece) {
            Ok(Progress::Partial) => {}
            result => return (result, reader.content()),
        }
    }
    (reader.end(), reader.content())
}

/// The first byte says how the rest is cut. However that is, the answer has the same status or error and the same content.
///
/// # Panics
/// When that is not so.
pub fn response(bytes: &[u8]) {
    let Some((&cut, answer)) = bytes.split_first() else { return };
    let head_request = cut >= 128;
    // What follows a complete answer is seen only when it comes with it: whether the connection lasts may differ.
    let status = |result: Result<Progress, ResponseError>| {
        result.map(|progress| match progress {
            Progress::Complete { status, .. } => status,
            Progress::Partial => 0,
        })
    };
    let whole = read(answer, head_request, usize::MAX);
    let pieces = read(answer, head_request, usize::from(cut % 128));
    assert_eq!((status(whole.0), whole.1), (status(pieces.0), pieces.1));
    assert!(whole.1 <= answer.len() as u64, "more content than bytes");
}

/// A line is a request that can be planned, or none; and it may be a URL.
///
/// # Panics
/// When that is not so.
pub fn text(bytes: &[u8]) {
    if let Some(logged) = access_log::parse(bytes) {
        assert!(logged.time.is_finite() && !logged.method.is_empty() && !logged.target.is_empty());
    }
    if let Ok(url) = std::str::from_utf8(bytes).map_or(Err(()), |text| Url::parse(text).map_err(drop)) {
        assert!(url.target.starts_with('/') && !url.authority.is_empty(), "{url:?}");
    }
}

#[cfg(test)]
mod tests {
    /// Seeds and findings.
    #[test]
    fn the_corpus_holds() {
        for (folder, check) in [("load_response", super::response as fn(&[u8])), ("load_text", super::text)] {
            let folder =
                std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(folder);
            let files: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
            assert!(files.len() >= 4, "the corpus is not there");
            for entry in files {
                check(&std::fs::read(entry.unwrap().path()).unwrap());
            }
        }
    }
}
