use proptest::prelude::*;

use super::*;
use crate::fuzzing::read;

fn complete(status: u16, reusable: bool) -> Result<Progress, ResponseError> {
    Ok(Progress::Complete { status, reusable })
}

#[test]
fn every_framing_however_it_is_cut() {
    let cases: [(&[u8], Result<Progress, ResponseError>, u64); 17] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", complete(200, true), 5),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", complete(200, true), 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", complete(200, false), 2),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", complete(200, false), 2),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\nhi", complete(200, true), 2),
        (b"HTTP/1.1 204 No Content\r\n\r\n", complete(204, true), 0),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", complete(304, true), 0),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", complete(200, false), 13),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", complete(404, true), 0),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
            complete(200, true),
            15,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n1\r\nx\r\n0\r\nTrailer: y\r\n\r\n",
            complete(200, true),
            1,
        ),
        (b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", complete(200, true), 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Err(ResponseError::Truncated), 4),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", Err(ResponseError::Truncated), 3),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n", Err(ResponseError::Chunk), 5),
        (b"HTTP/1.1 200", Err(ResponseError::Truncated), 0),
        (b"", Err(ResponseError::Truncated), 0),
    ];
    for (bytes, result, content) in cases {
        for pieces in 1..=bytes.len().max(1) {
            let (got, length) = read(bytes, false, pieces);
            assert_eq!((got, length), (result, content), "{} by {pieces}", bytes.escape_ascii());
        }
    }
}

#[test]
fn an_answer_to_head_has_no_content() {
    let (result, _) = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, 99);
    assert_eq!(result, complete(200, true));
}

#[test]
fn contradictions_and_garbage_are_refused() {
    let cases: [(&[u8], ResponseError); 10] = [
        (b"SSH-2.0-OpenSSH\r\n\r\n", ResponseError::Head),
        (b"HTTP/2 200\r\n\r\n", ResponseError::Head),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", ResponseError::Length),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", ResponseError::Length),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", ResponseError::Length),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            ResponseError::Length,
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", ResponseError::Interim),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", ResponseError::Chunk),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", ResponseError::Chunk),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", ResponseError::Chunk),
    ];
    for (bytes, error) in cases {
        assert_eq!(read(bytes, false, 7).0, Err(error), "{}", bytes.escape_ascii());
    }
    assert_eq!(read(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(9), false, 99).0, Err(ResponseError::Interim));
}

#[test]
fn surplus_bytes_end_the_connection() {
    let (result, content) = read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi there", false, 99);
    assert_eq!((result, content), (complete(200, false), 2));
}

#[test]
fn what_never_ends_is_bounded() {
    let endless_head = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"X: y\r\n".repeat(MAX_HEAD / 5)].concat();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless_extension = [chunked.as_slice(), b"1;", &vec![b'x'; MAX_HEAD]].concat();
    let endless_trailer = [chunked.as_slice(), b"0\r\n", &b"X: y\r\n".repeat(MAX_HEAD / 5)].concat();
    let many_fields =
        [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"X: y\r\n".repeat(MAX_FIELDS + 1), b"\r\n"].concat();
    for (bytes, error) in [
        (endless_head, ResponseError::HeadTooLong),
        (endless_extension, ResponseError::Chunk),
        (endless_trailer, ResponseError::Chunk),
        (many_fields, ResponseError::Head),
    ] {
        for pieces in [1, 100, usize::MAX] {
            assert_eq!(read(&bytes, false, pieces).0, Err(error));
        }
    }
}

proptest! {
    /// Any bytes, in any pieces: the same result, and no panic.
    #[test]
    fn pieces_do_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..300), pieces in 1_usize..40) {
        prop_assert_eq!(read(&bytes, false, pieces), read(&bytes, false, usize::MAX));
    }

    /// The same for bytes that look like answers.
    #[test]
    fn pieces_of_near_answers_do_not_matter(
        parts in prop::collection::vec(prop::sample::select(vec![
            "HTTP/1.1 200 OK\r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.1 100 C\r\n", "HTTP/1.1 304 N\r\n", "Content-Length: 3\r\n",
            "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "\r\n", "\n", "3\r\n", "0\r\n", "abc", "abc\r\n", "F;e\r\n",
        ]), 0..12),
        pieces in 1_usize..20,
        head in any::<bool>(),
    ) {
        let bytes = parts.concat().into_bytes();
        let whole = read(&bytes, head, usize::MAX);
        let cut = read(&bytes, head, pieces);
        // What follows a complete answer is seen only when it comes with it.
        let status = |result: Result<Progress, ResponseError>| result.map(|progress| match progress {
            Progress::Complete { status, .. } => status,
            Progress::Partial => 0,
        });
        prop_assert_eq!((status(whole.0), whole.1), (status(cut.0), cut.1));
    }

    /// Whatever a correct server sends is read completely.
    #[test]
    fn chunks_of_any_size_add_up(sizes in prop::collection::vec(1_usize..5_000, 0..20), pieces in 1_usize..6_000) {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for size in &sizes {
            bytes.extend_from_slice(format!("{size:x}\r\n").as_bytes());
            bytes.resize(bytes.len() + size, b'x');
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let total: usize = sizes.iter().sum();
        prop_assert_eq!(read(&bytes, false, pieces), (complete(200, true), total as u64));
    }
}
