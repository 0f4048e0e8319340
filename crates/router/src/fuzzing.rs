//! What the fuzz targets of `fuzz/` run, and the property tests with it: plain functions over any bytes.
//!
//! Each one panics when a parser breaks a promise, not only when the parser itself panics. The module exists in tests
//! and with the feature `fuzzing` only; no program depends on it.

mod strict;
mod worker;

use std::net::IpAddr;

pub use worker::worker_protocol;

use crate::forwarded::{TrustedProxies, origin};
use crate::http::chunked::{ChunkedDecoder, Piece};
use crate::http::head::{Framing, Head, Reject, Websocket, field_space, parse};
use crate::http::scan::HeadScanner;
use crate::http::target::check_host;

pub(crate) use strict::read_response;
#[cfg(test)]
pub(crate) use worker::{host_settings, settings};

/// Largest head in these checks, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;

/// Find and parse a request head; panic unless what is accepted is what `httparse` alone and the strict reader of
/// this module see, with one unambiguous length, however the bytes are cut.
pub fn http_head(bytes: &[u8]) {
    let end = HeadScanner::default().find_end(bytes, HEAD_LIMIT);
    for cut in [1, bytes.len() / 3, bytes.len().saturating_sub(1)] {
        let mut scanner = HeadScanner::default();
        let early = scanner.find_end(&bytes[..cut.min(bytes.len())], HEAD_LIMIT);
        let cut_end = if early == Ok(None) { scanner.find_end(bytes, HEAD_LIMIT) } else { early };
        assert_eq!(cut_end, end, "cut at {cut}");
    }
    let Ok(Some(length)) = end else { return };
    let head = &bytes[..length];
    let mut space = field_space();
    if let Ok(accepted) = parse(head, &mut space) {
        agrees_with_httparse(head, &accepted);
        agrees_with_strict_reader(head, &accepted);
    }
}

fn agrees_with_httparse(head: &[u8], accepted: &Head<'_, '_>) {
    let mut space = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut space);
    assert_eq!(request.parse(head), Ok(httparse::Status::Complete(head.len())));
    assert_eq!(request.method, Some(accepted.method));
    assert_eq!(request.version.map(|minor| minor + 10), Some(accepted.version));
    assert_eq!(request.headers, accepted.fields);
    check_target(request.path.unwrap_or_default(), accepted);
}

fn check_target(sent: &str, accepted: &Head<'_, '_>) {
    let target = accepted.target;
    assert!(target.path.starts_with('/') || (target.path == "*" && accepted.method == "OPTIONS"));
    assert!(!sent.contains('#') && !target.path.contains('?'));
    let rest = match (target.query.is_empty(), target.path) {
        (true, path) => path.to_owned(),
        (false, path) => format!("{path}?{}", target.query),
    };
    // An absolute target may lack the path, and any may have an empty query.
    let sent = sent.strip_suffix('?').filter(|sent| !sent.contains('?')).unwrap_or(sent);
    let bare = rest.strip_prefix('/').unwrap_or(&rest);
    assert!(sent.ends_with(&rest) || sent.ends_with(bare), "{sent} became {target:?}");
    assert!(check_host(target.host.as_bytes()).is_ok());
}

fn agrees_with_strict_reader(head: &[u8], accepted: &Head<'_, '_>) {
    let seen = strict::read_head(head).expect("whatever is accepted follows the grammar to the letter");
    let (method, _, version) = seen.request_line();
    assert_eq!((method, version), (accepted.method.as_bytes(), accepted.version));
    let fields: Vec<_> = accepted.fields.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
    assert_eq!(seen.fields, fields);
    let hosts = seen.all("host").len();
    assert!(hosts == 1 || (hosts == 0 && version == 10));
    let (lengths, encodings) = (seen.all("content-length"), seen.all("transfer-encoding"));
    let framing = match (&lengths[..], &encodings[..]) {
        ([], []) => Framing::None,
        ([length], []) => match strict::digits(length).expect("a plain number") {
            0 => Framing::None,
            length => Framing::Length(length),
        },
        ([], [coding]) if version == 11 => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"), "no other coding is known");
            Framing::Chunked
        }
        ambiguous => panic!("accepted although its length is ambiguous: {ambiguous:?}"),
    };
    assert_eq!(accepted.framing, framing);
    let expects = seen.all("expect");
    assert_eq!(accepted.expect_continue, version == 11 && !expects.is_empty());
    assert!(expects.len() <= 1 && expects.iter().all(|value| value.eq_ignore_ascii_case(b"100-continue")));
    let close = seen.list("connection", "close");
    let keep = version == 11 || seen.list("connection", "keep-alive");
    assert_eq!(accepted.keep_alive, keep && !close);
    if accepted.websocket != Websocket::No {
        assert!(accepted.method == "GET" && framing == Framing::None);
        assert!(seen.list("connection", "upgrade") && seen.list("upgrade", "websocket"));
    }
}

/// Decode a chunked body; panic when the result depends on how its bytes are cut (the first byte says how), or is
/// more than what was sent.
pub fn http_chunked(bytes: &[u8]) {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let whole = decode_chunks(bytes, bytes.len());
    assert_eq!(decode_chunks(bytes, usize::from(step)), whole);
    if let Ok(Some((body, rest))) = whole {
        assert!(body.len() + rest + b"0\r\n\r\n".len() <= bytes.len());
        let mut strict = bytes;
        assert_eq!(strict::read_chunks(&mut strict), Some(body), "the strict reader sees another body");
        assert_eq!(strict.len(), rest, "the strict reader sees another end");
    }
}

/// The body and the number of bytes after its end; `None` while it is incomplete.
fn decode_chunks(input: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, Reject> {
    let mut decoder = ChunkedDecoder::new();
    let mut body = Vec::new();
    let mut after = input.len();
    for piece in input.chunks(step.max(1)) {
        after -= piece.len();
        let mut rest = piece;
        loop {
            match decoder.decode(&mut rest)? {
                Piece::Data(data) => body.extend_from_slice(data),
                Piece::NeedMore => break,
                Piece::End => return Ok(Some((body, after + rest.len()))),
            }
        }
    }
    Ok(None)
}

/// Read up to four lines as `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded`; panic unless the client that comes
/// out is an address and the host is one that a request may name.
pub fn forwarded(bytes: &[u8]) {
    let names = ["X-Forwarded-For", "x-forwarded-proto", "X-FORWARDED-HOST", "Forwarded"];
    let fields: Vec<_> = names
        .iter()
        .zip(bytes.split(|byte| *byte == b'\n'))
        .map(|(name, value)| httparse::Header { name, value })
        .collect();
    for list in ["*", "127.0.0.1,10.0.0.0/8,::1", ""] {
        let trusted = TrustedProxies::parse(list).expect("a valid list");
        let origin = origin(&fields, &trusted);
        assert!(origin.client.is_none_or(|client| client.parse::<IpAddr>().is_ok()));
        assert!(origin.host.is_none_or(|host| !host.is_empty() && check_host(host.as_bytes()).is_ok()));
    }
    let _ = TrustedProxies::parse(&String::from_utf8_lossy(bytes));
}

#[cfg(test)]
mod tests;
