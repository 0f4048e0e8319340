//! Heads that are almost right: what is accepted must be what two other readers see, what is ambiguous is refused.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::fuzzing::http_head;
use crate::http::scan::HeadScanner;

/// Pieces of which heads are made, sound ones and those that smuggling is made of.
const LINES: &[&str] = &[
    "Host: a",
    "Host: [::1]:80",
    "Host:",
    "Content-Length: 5",
    "content-length: 005",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length:\t7 ",
    "Content-Length : 5",
    "Content-Length: 18446744073709551616",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding: gzip, chunked",
    "transfer-encoding:CHUNKED\t",
    "Transfer-Encoding",
    " folded",
    "\tfolded",
    "Connection: close, TE",
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Expect: 100-continue",
    "X: y\0z",
    "X: \u{e9}\u{7f}",
    "X:",
    ": y",
    "X Y: z",
    "X: a\rb",
];

const FIRST: &[&str] = &[
    "GET / HTTP/1.1",
    "POST /a%20b?c=d?e HTTP/1.1",
    "POST http://x.org HTTP/1.1",
    "GET HTTPS://x.org?q HTTP/1.0",
    "OPTIONS * HTTP/1.1",
    "GET /? HTTP/1.0",
    "GET  / HTTP/1.1",
    "GET /a b HTTP/1.1",
    "GET /\t HTTP/1.1",
    "GET /\u{e9} HTTP/1.1",
    "GET /#a HTTP/1.1",
    "GET / HTTP/1.2",
    "GET / http/1.1",
    "g\"t / HTTP/1.1",
    "GET /",
];

fn near_head() -> impl Strategy<Value = Vec<u8>> {
    let ends = select(&["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n"][..]);
    let lines = vec((select(LINES), ends.clone()), 0..8);
    (select(FIRST), ends, lines, vec(any::<u8>(), 0..4)).prop_map(|(first, end, lines, after)| {
        let mut head = format!("{first}{end}");
        for (line, end) in lines {
            head.push_str(line);
            head.push_str(end);
        }
        head.push_str("\r\n");
        [head.into_bytes(), after].concat()
    })
}

/// A head that is accepted, as lines.
fn sound_lines() -> impl Strategy<Value = Vec<String>> {
    let name = "X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}";
    let length = select(&["", "Content-Length: 12", "Transfer-Encoding: chunked"][..]);
    let fields = vec((name, "[ -~]{0,20}").prop_map(|(name, value)| format!("{name}: {value}")), 0..5);
    let connection = vec(select(&["close", "Keep-Alive, x", "TE", "upgrade"][..]), 0..3);
    (fields, connection, length, any::<Index>(), any::<Index>()).prop_map(
        |(mut fields, connection, length, at, host_at)| {
            fields.extend(connection.iter().map(|value| format!("Connection: {value}")));
            if !length.is_empty() {
                fields.insert(at.index(fields.len() + 1), length.to_owned());
            }
            fields.insert(host_at.index(fields.len() + 1), "Host: a".to_owned());
            fields.insert(0, "POST /path HTTP/1.1".to_owned());
            fields
        },
    )
}

fn accepts(head: &[u8]) -> bool {
    let mut space = field_space();
    match HeadScanner::default().find_end(head, 1 << 16) {
        Ok(Some(length)) => parse(&head[..length], &mut space).is_ok(),
        _ => false,
    }
}

proptest! {
    #[test]
    fn other_readers_agree(head in near_head()) {
        http_head(&head);
    }

    #[test]
    fn other_readers_agree_about_damaged_heads(lines in sound_lines(), at in any::<Index>(), byte in any::<u8>()) {
        let mut head = (lines.join("\r\n") + "\r\n\r\n").into_bytes();
        prop_assert!(accepts(&head), "{}", head.escape_ascii());
        http_head(&head);
        let at = at.index(head.len());
        head[at] = byte;
        http_head(&head);
        head.remove(at);
        http_head(&head);
    }

    #[test]
    fn any_bytes_are_handled(bytes in vec(any::<u8>(), 0..200)) {
        http_head(&bytes);
        let mut space = field_space();
        let _ = parse(&bytes, &mut space);
    }

    #[test]
    fn one_ambiguity_is_enough_to_be_refused(lines in sound_lines(), at in any::<Index>(), flaw in select(&[
        "Host: a", "Host: b", "Content-Length: 12\r\nContent-Length: 12", "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 12\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity", "Transfer-Encoding: chunked, chunked", "Content-Length: 1 2", "Content-Length: 0x1",
        "Content-Length:", "Transfer-Encoding:", "X: a\r\n folded", "X : a", "X: a\0b", "X: a\x01", "X: a\x7f", "no colon", ":",
        "X: a\nY: b", "X: a\rY: b", "Content-Length\t: 12",
    ][..])) {
        let mut lines = lines;
        let at = 1 + at.index(lines.len());
        lines.insert(at, flaw.to_owned());
        let head = lines.join("\r\n") + "\r\n\r\n";
        prop_assert!(!accepts(head.as_bytes()), "{}", head.escape_debug());
    }

    #[test]
    fn a_second_length_is_refused_wherever_it_stands(lines in sound_lines(), at in any::<Index>(), again in any::<bool>()) {
        let mut lines = lines;
        let framed = lines.iter().any(|line| line.starts_with("Content-Length") || line.starts_with("Transfer-Encoding"));
        let second = if again { "content-length: 12" } else { "TRANSFER-ENCODING: chunked" };
        lines.insert(1 + at.index(lines.len()), second.to_owned());
        let head = lines.join("\r\n") + "\r\n\r\n";
        prop_assert_eq!(accepts(head.as_bytes()), !framed, "{}", head.escape_debug());
    }

    #[test]
    fn one_line_end_without_carriage_return_is_refused(lines in sound_lines(), at in any::<Index>()) {
        let bare = at.index(lines.len() + 1);
        let mut head = String::new();
        for (index, line) in lines.iter().map(String::as_str).chain([""]).enumerate() {
            head.push_str(line);
            head.push_str(if index == bare { "\n" } else { "\r\n" });
        }
        let found = HeadScanner::default().find_end(head.as_bytes(), 1 << 16);
        prop_assert_eq!(found, Err(Reject::BareLineFeed));
    }

    #[test]
    fn a_missing_host_is_refused(lines in sound_lines()) {
        let lines: Vec<_> = lines.into_iter().filter(|line| !line.starts_with("Host")).collect();
        let head = lines.join("\r\n") + "\r\n\r\n";
        let mut space = field_space();
        prop_assert_eq!(parse(head.as_bytes(), &mut space).map(|head| head.framing), Err(Reject::Host));
    }
}
