//! Whatever an application gives, a strict client can read what goes out, and it reads one response.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fuzzing::read_response;

const HOST: HostFields<'_> =
    HostFields { date: "Thu, 01 Jan 1970 00:00:00 GMT", request_id: "id", server_timing: None };

/// What an application answers: the head, then the pieces of its body.
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    reason: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    pieces: Vec<Vec<u8>>,
    /// The worker says "end" with the last piece.
    ended: bool,
}

prop_compose! {
    fn any_answer()(
        status in prop_oneof![6 => select(&[200_u16, 204, 205, 206, 304, 404, 500, 999][..]), 1 => any::<u16>()],
        reason in prop_oneof![3 => Just(Vec::new()), 1 => vec(any::<u8>(), 0..10)],
        fields in vec(any_field(), 0..5),
        pieces in vec(vec(any::<u8>(), 0..20), 1..5),
        matching in any::<bool>(),
        ended in prop::bool::weighted(0.8),
    ) -> Answer {
        let mut answer = Answer { status, reason, fields, pieces, ended };
        if matching {
            let length = answer.pieces.iter().map(Vec::len).sum::<usize>().to_string();
            answer.fields.push((b"Content-Length".to_vec(), length.into_bytes()));
        }
        answer
    }
}

fn any_field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let sound = ("[a-zA-Z0-9-]{1,10}", "[ -~\t]{0,20}");
    let sound = sound.prop_map(|(name, value)| (name.into_bytes(), value.into_bytes()));
    let known = select(
        &[
            ("Content-Length", "5"),
            ("content-length", " 5 "),
            ("Content-Length", "x"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("Connection", "keep-alive"),
            ("Keep-Alive", "5"),
            ("Upgrade", "h2c"),
            ("Date", "now"),
            ("Server", "mine"),
            ("X-Request-ID", "other"),
            ("TE", "trailers"),
            ("Trailer", "X"),
            ("Empty", ""),
            ("Split", "a\r\nContent-Length: 9"),
            ("Split\r\nX", "a"),
            ("Name ", "a"),
            ("", "a"),
            ("Nul", "\0"),
        ][..],
    );
    let known = known.prop_map(|(name, value)| (name.into(), value.into()));
    prop_oneof![3 => sound, 4 => known, 1 => (vec(any::<u8>(), 0..6), vec(any::<u8>(), 0..6))]
}

/// Encode all of it. The bytes, and the first fault with the number of pieces before it.
fn encode(encoder: &mut ResponseEncoder, answer: &Answer) -> (Vec<u8>, Result<(), (usize, AppFault)>) {
    let mut out = Vec::new();
    let last = answer.pieces.len() - 1;
    let headers = answer.fields.iter().map(|(name, value)| (&name[..], &value[..]));
    let first = (&answer.pieces[0][..], last == 0 && answer.ended);
    if let Err(fault) = encoder.head(&mut out, (answer.status, &answer.reason), headers, first, HOST) {
        return (out, Err((0, fault)));
    }
    for (index, piece) in answer.pieces.iter().enumerate().skip(1) {
        if let Err(fault) = encoder.body(&mut out, piece, index == last && answer.ended) {
            return (out, Err((index, fault)));
        }
    }
    (out, Ok(()))
}

/// Every field of the response is the application's or one that the host adds.
fn assert_no_injected_fields(fields: &[(&[u8], &[u8])], answer: &Answer) {
    let hosts: [&[u8]; 6] =
        [b"date", b"server", b"x-request-id", b"connection", b"content-length", b"transfer-encoding"];
    for (name, value) in fields {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let trim = |bytes: &[u8]| {
            let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
            let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
            bytes[start..end].to_vec()
        };
        let given = answer.fields.iter().any(|field| field.0 == *name && trim(&field.1) == *value);
        assert!(given || hosts.contains(name), "{} was injected", name.escape_ascii());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_strict_client_reads_exactly_one_response(
        answer in any_answer(), old in any::<bool>(), head in any::<bool>(), keep_alive in any::<bool>(),
    ) {
        let version = if old { 10 } else { 11 };
        let mut encoder = ResponseEncoder::new(Exchange { version, head, keep_alive });
        let (out, result) = encode(&mut encoder, &answer);
        if let Err((0, _)) = result {
            prop_assert!(out.is_empty() && !encoder.has_begun(), "another answer is still possible");
            return Ok(());
        }
        prop_assert!(encoder.has_begun());
        prop_assert_eq!(encoder.is_finished(), result.is_ok() && answer.ended);
        let mut space = [httparse::EMPTY_HEADER; 32];
        prop_assert!(httparse::Response::new(&mut space).parse(&out).is_ok_and(|parsed| parsed.is_complete()));

        let mut rest = &out[..];
        let Some(response) = read_response(&mut rest, head) else {
            prop_assert!(!encoder.is_finished(), "finished, but a client waits for more");
            return Ok(());
        };
        prop_assert!(rest.is_empty(), "bytes after the response: {}", rest.escape_ascii());
        prop_assert_eq!(response.status, answer.status);
        assert_no_injected_fields(&response.lines.fields, &answer);
        let (close, keep) = (response.lines.list("connection", "close"), response.lines.list("connection", "keep-alive"));
        prop_assert!(!old || response.lines.all("transfer-encoding").is_empty(), "HTTP/1.0 knows no chunks");
        if encoder.keeps_alive() {
            prop_assert!(!response.until_close && !close && (keep || !old), "client and server disagree");
        }
        if response.until_close || (encoder.is_finished() && !encoder.keeps_alive()) {
            prop_assert!(close || old, "the client is not told that the connection closes");
        }
        let sent = answer.pieces.concat();
        let bodiless = head || matches!(answer.status, 204 | 205 | 304);
        if bodiless {
            prop_assert!(response.body.is_empty());
        } else if encoder.is_finished() {
            prop_assert_eq!(response.body, sent);
        } else {
            // Complete for the client although the worker said something else: only more than the stated length.
            prop_assert!(sent.starts_with(&response.body));
            let complete = matches!(result, Err((_, AppFault::TooLong(_)))) || response.until_close;
            prop_assert!(complete || !response.lines.all("content-length").is_empty());
        }
    }

    #[test]
    fn too_few_or_too_many_bytes_never_look_like_success(answer in any_answer(), stated in 0..100_u64) {
        let mut answer = Answer { status: 200, ended: true, ..answer };
        answer.fields = vec![(b"Content-Length".to_vec(), stated.to_string().into_bytes())];
        let sent = answer.pieces.iter().map(Vec::len).sum::<usize>() as u64;
        let mut encoder = ResponseEncoder::new(Exchange { version: 11, head: false, keep_alive: true });
        let (out, result) = encode(&mut encoder, &answer);
        prop_assert_eq!(encoder.keeps_alive(), sent == stated);
        match result {
            Ok(()) => prop_assert_eq!(sent, stated),
            Err((_, AppFault::TooShort(length))) => {
                prop_assert!(length == stated && sent < stated);
                prop_assert!(read_response(&mut &out[..], false).is_none(), "the client must notice");
            }
            Err((_, AppFault::TooLong(length))) => prop_assert!(length == stated && sent > stated),
            Err((_, other)) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn lengths_are_plain_numbers(text in "[ \t]?[0-9+.x-]{0,20}[ \t]?") {
        let trimmed = text.trim_matches([' ', '\t']);
        let plain = !trimmed.is_empty() && trimmed.len() <= 18 && trimmed.bytes().all(|byte| byte.is_ascii_digit());
        let expect = plain.then(|| trimmed.parse().unwrap());
        prop_assert_eq!(parse_length(text.as_bytes()), expect);
    }
}
