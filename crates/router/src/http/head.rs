//! One request head: parse it, refuse what is malformed or ambiguous, and decide how its body is framed.

use std::mem::MaybeUninit;

use super::target::{self, Target};

/// Most header fields in one request; gunicorn's and nginx's habit is 100.
pub(crate) const FIELD_LIMIT: usize = 100;

/// Longest method name. The longest registered one has 17 letters (UPDATEREDIRECTREF).
const METHOD_LIMIT: usize = 24;

/// Why a request is refused before it reaches any application. The connection is closed after the answer, since the
/// two sides no longer agree on where the next message begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reject {
    #[error("these bytes are not HTTP (TLS on a plain port?)")]
    NotHttp,
    #[error("a line ends without carriage return")]
    BareLineFeed,
    #[error("the request line or a header field is malformed")]
    Malformed,
    #[error("the request line is longer than 16 KiB")]
    RequestLineTooLong,
    #[error("the header fields are larger than the limit")]
    HeadTooLarge,
    #[error("there are more than 100 header fields")]
    TooManyFields,
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    #[error("the method is unknown or absurd")]
    Method,
    #[error("HTTP/1.1 needs exactly one valid Host field")]
    Host,
    #[error("Content-Length is repeated or not a plain number")]
    ContentLength,
    #[error("Transfer-Encoding and Content-Length exclude each other")]
    LengthAndEncoding,
    #[error("Transfer-Encoding must be a single \"chunked\", on HTTP/1.1")]
    TransferEncoding,
    #[error("this transfer coding is not implemented")]
    UnknownEncoding,
    #[error("Expect holds something other than \"100-continue\"")]
    Expectation,
    #[error("a chunk of the body is malformed")]
    Chunk,
}

impl Reject {
    /// HTTP status of the answer.
    pub(crate) fn status(self) -> u16 {
        match self {
            Reject::RequestLineTooLong => 414,
            Reject::HeadTooLarge | Reject::TooManyFields => 431,
            Reject::Version => 505,
            Reject::UnknownEncoding => 501,
            Reject::Expectation => 417,
            _ => 400,
        }
    }
}

/// How the body of a request is framed (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// A checked request head. Everything borrows from the connection's buffer.
#[derive(Debug)]
pub(crate) struct Head<'h, 'b> {
    pub(crate) method: &'b str,
    /// 10 or 11.
    pub(crate) version: u8,
    pub(crate) target: Target<'b>,
    /// All fields as they were sent.
    pub(crate) fields: &'h [httparse::Header<'b>],
    pub(crate) framing: Framing,
    pub(crate) expect_continue: bool,
    /// The client wants the connection kept after this exchange.
    pub(crate) keep_alive: bool,
    pub(crate) websocket: Websocket<'b>,
}

/// Whether a request is a WebSocket opening handshake (RFC 6455 section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Websocket<'b> {
    No,
    /// The value is Sec-WebSocket-Key.
    Key(&'b [u8]),
    /// It wants to be one: an application that speaks WebSocket cannot take it, any other may ignore the wish.
    BadKey,
    BadVersion,
}

/// Space for the fields of one head; lives on the caller's stack.
pub(crate) type FieldSpace<'b> = [MaybeUninit<httparse::Header<'b>>; FIELD_LIMIT];

/// A fresh [`FieldSpace`].
pub(crate) fn field_space<'b>() -> FieldSpace<'b> {
    [const { MaybeUninit::uninit() }; FIELD_LIMIT]
}

/// What the fields said about the message, gathered in one pass.
#[derive(Default)]
struct Seen<'b> {
    hosts: usize,
    host: Option<&'b [u8]>,
    content_length: Option<&'b [u8]>,
    transfer_encoding: Option<&'b [u8]>,
    repeated_length: bool,
    repeated_encoding: bool,
    expect: Option<&'b [u8]>,
    repeated_expect: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade_websocket: bool,
    websocket_version: Option<&'b [u8]>,
    repeated_websocket: bool,
    websocket_key: Option<&'b [u8]>,
}

/// Parse a complete head (as found by [`super::scan::HeadScanner`]).
pub(crate) fn parse<'h, 'b>(bytes: &'b [u8], space: &'h mut FieldSpace<'b>) -> Result<Head<'h, 'b>, Reject> {
    let mut request = httparse::Request::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, space);
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(Reject::Malformed),
        Err(httparse::Error::Version) => return Err(version_or_malformed(bytes)),
        Err(httparse::Error::TooManyHeaders) => return Err(Reject::TooManyFields),
        Err(_) => return Err(Reject::Malformed),
    }
    let method = request.method.ok_or(Reject::Malformed)?;
    if method.len() > METHOD_LIMIT {
        return Err(Reject::Method);
    }
    let version = 10 + request.version.ok_or(Reject::Malformed)?;
    let fields: &'h [httparse::Header<'b>] = request.headers;
    let seen = gather(fields)?;
    let target = target::parse(method, request.path.ok_or(Reject::Malformed)?, seen.host)?;

    if (version == 11 && seen.hosts != 1) || seen.hosts > 1 {
        return Err(Reject::Host);
    }
    let framing = framing(version, &seen)?;
    let expect_continue = match seen.expect {
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") && !seen.repeated_expect => version == 11,
        Some(_) => return Err(Reject::Expectation),
        None => false,
    };
    let keep_alive = !seen.close && (version == 11 || seen.keep_alive);
    let handshake = version == 11 && method == "GET" && framing == Framing::None;
    let websocket = if handshake && seen.connection_upgrade && seen.upgrade_websocket {
        websocket(&seen)
    } else {
        Websocket::No
    };
    Ok(Head { method, version, target, fields, framing, expect_continue, keep_alive, websocket })
}

fn websocket<'b>(seen: &Seen<'b>) -> Websocket<'b> {
    if seen.websocket_version != Some(b"13") {
        return Websocket::BadVersion;
    }
    if seen.repeated_websocket {
        return Websocket::BadKey;
    }
    // 16 bytes in base64.
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match seen.websocket_key {
        Some(key) if key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64) => {
            Websocket::Key(key)
        }
        _ => Websocket::BadKey,
    }
}

/// httparse reports a version problem for "HTTP/2.0" as well as for "FOO": only the former deserves 505.
fn version_or_malformed(bytes: &[u8]) -> Reject {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    match (words.nth(2).unwrap_or_default(), words.next()) {
        ([b'H', b'T', b'T', b'P', b'/', major, b'.', minor], None)
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Reject::Version
        }
        _ => Reject::Malformed,
    }
}

fn gather<'b>(fields: &[httparse::Header<'b>]) -> Result<Seen<'b>, Reject> {
    let mut seen = Seen::default();
    for field in fields {
        let value = field.value;
        if value.iter().any(|byte| *byte == 0x7f || (*byte < 0x20 && *byte != b'\t')) {
            return Err(Reject::Malformed);
        }
        let name = field.name;
        // Only names of these lengths can matter here; the test keeps the common fields out of the chain below.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                seen.hosts += 1;
                seen.host = Some(value);
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                seen.repeated_expect |= seen.expect.replace(value).is_some();
            }
            7 if name.eq_ignore_ascii_case("upgrade") => {
                seen.upgrade_websocket |= list_has(value, b"websocket");
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                seen.close |= list_has(value, b"close");
                seen.keep_alive |= list_has(value, b"keep-alive");
                seen.connection_upgrade |= list_has(value, b"upgrade");
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                seen.repeated_length |= seen.content_length.replace(value).is_some();
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                seen.repeated_encoding |= seen.transfer_encoding.replace(value).is_some();
            }
            17 if name.eq_ignore_ascii_case("sec-websocket-key") => {
                seen.repeated_websocket |= seen.websocket_key.replace(value).is_some();
            }
            21 if name.eq_ignore_ascii_case("sec-websocket-version") => {
                seen.repeated_websocket |= seen.websocket_version.replace(value).is_some();
            }
            _ => {}
        }
    }
    Ok(seen)
}

/// True when a comma-separated field value (RFC 9110 section 5.6.1) has `token` among its elements.
fn list_has(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|element| element.trim_ascii().eq_ignore_ascii_case(token))
}

fn framing(version: u8, seen: &Seen<'_>) -> Result<Framing, Reject> {
    match (seen.content_length, seen.transfer_encoding) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(Reject::LengthAndEncoding),
        (Some(value), None) => {
            // RFC 9110 section 8.6 lets equal repeats pass; refusing all repeats leaves nothing to disagree about.
            if seen.repeated_length
                || value.is_empty()
                || value.len() > 18
                || !value.iter().all(u8::is_ascii_digit)
            {
                return Err(Reject::ContentLength);
            }
            let length = value.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            Ok(if length == 0 { Framing::None } else { Framing::Length(length) })
        }
        (None, Some(value)) => {
            if version != 11 || seen.repeated_encoding {
                return Err(Reject::TransferEncoding);
            }
            if value.eq_ignore_ascii_case(b"chunked") {
                return Ok(Framing::Chunked);
            }
            Err(if list_has(value, b"chunked") && !value.to_ascii_lowercase().ends_with(b"chunked") {
                Reject::TransferEncoding
            } else {
                Reject::UnknownEncoding
            })
        }
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, expect: Result<Framing, Reject>) {
        let text = head.replace('\n', "\r\n") + "\r\n\r\n";
        let mut space = field_space();
        let got = parse(text.as_bytes(), &mut space).map(|head| head.framing);
        assert_eq!(got, expect, "{head}");
    }

    #[test]
    fn frames_bodies() {
        check("GET / HTTP/1.1\nHost: a", Ok(Framing::None));
        check("POST / HTTP/1.1\nHost: a\nContent-Length: 0", Ok(Framing::None));
        check("POST / HTTP/1.1\nHost: a\nContent-Length: 42", Ok(Framing::Length(42)));
        check("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: Chunked", Ok(Framing::Chunked));
    }

    #[test]
    fn refuses_ambiguous_lengths() {
        let post = "POST / HTTP/1.1\nHost: a\n";
        for (fields, expect) in [
            ("Content-Length: 5\nTransfer-Encoding: chunked", Reject::LengthAndEncoding),
            ("Transfer-Encoding: chunked\nContent-Length: 5", Reject::LengthAndEncoding),
            ("Content-Length: 5\nContent-Length: 6", Reject::ContentLength),
            ("Content-Length: 5\nContent-Length: 5", Reject::ContentLength),
            ("Content-Length: 5, 5", Reject::ContentLength),
            ("Content-Length: +5", Reject::ContentLength),
            ("Content-Length: -5", Reject::ContentLength),
            ("Content-Length: 0x5", Reject::ContentLength),
            ("Content-Length: 99999999999999999999", Reject::ContentLength),
            ("Content-Length:", Reject::ContentLength),
            ("Transfer-Encoding: chunked, identity", Reject::TransferEncoding),
            ("Transfer-Encoding: chunked\nTransfer-Encoding: chunked", Reject::TransferEncoding),
            ("Transfer-Encoding: gzip, chunked", Reject::UnknownEncoding),
            ("Transfer-Encoding: xchunked", Reject::UnknownEncoding),
            ("Transfer-Encoding : chunked", Reject::Malformed),
            ("X: a\n folded", Reject::Malformed),
            ("X: a\0b", Reject::Malformed),
            ("X: a\x01b", Reject::Malformed),
            ("no colon", Reject::Malformed),
            ("Expect: a miracle", Reject::Expectation),
            ("Expect: a miracle\nExpect: 100-continue", Reject::Expectation),
            ("Expect: 100-continue\nExpect: 100-continue", Reject::Expectation),
        ] {
            check(&format!("{post}{fields}"), Err(expect));
        }
        check("POST / HTTP/1.0\nTransfer-Encoding: chunked", Err(Reject::TransferEncoding));
    }

    #[test]
    fn refuses_other_malformed_heads() {
        for (head, expect) in [
            ("GET / HTTP/1.1", Reject::Host),
            ("GET / HTTP/1.1\nHost: a\nHost: a", Reject::Host),
            ("GET / HTTP/1.1\nHost: a/b", Reject::Host),
            ("GET / HTTP/1.1\nHost: a b", Reject::Host),
            ("GET / HTTP/1.1\nHost: user@a", Reject::Host),
            ("GET / HTTP/2.0\nHost: a", Reject::Version),
            ("GET / HTTP/1.2\nHost: a", Reject::Version),
            ("GET / FOO\nHost: a", Reject::Malformed),
            ("GET /\nHost: a", Reject::Malformed),
            ("GET / /b HTTP/1.1\nHost: a", Reject::Malformed),
            ("G(T / HTTP/1.1\nHost: a", Reject::Malformed),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1\nHost: a", Reject::Method),
            ("CONNECT a:443 HTTP/1.1\nHost: a", Reject::Method),
            ("GET /#top HTTP/1.1\nHost: a", Reject::Malformed),
            ("GET * HTTP/1.1\nHost: a", Reject::Malformed),
            ("GET a HTTP/1.1\nHost: a", Reject::Malformed),
        ] {
            check(head, Err(expect));
        }
        let many = "X: y\n".repeat(FIELD_LIMIT);
        check(&format!("GET / HTTP/1.1\nHost: a\n{}", many.trim_end()), Err(Reject::TooManyFields));
    }

    #[test]
    fn decides_keep_alive() {
        for (head, expect) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            let mut space = field_space();
            assert_eq!(parse(head.as_bytes(), &mut space).unwrap().keep_alive, expect, "{head}");
        }
    }

    #[test]
    fn recognises_websocket_handshakes() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let full = format!(
            "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        for (from, to, expect) in [
            ("", "", Websocket::Key(key.as_bytes())),
            ("Upgrade: websocket\r\n", "", Websocket::No),
            ("GET", "PUT", Websocket::No),
            ("Version: 13", "Version: 8", Websocket::BadVersion),
            ("Sec-WebSocket-Version: 13\r\n", "", Websocket::BadVersion),
            (key, "short", Websocket::BadKey),
            (
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13",
                Websocket::BadKey,
            ),
            (key, "dGhlIHNhbXBsZSBub25jZQ!!", Websocket::BadKey),
        ] {
            let changed = full.replacen(from, to, 1);
            let mut space = field_space();
            assert_eq!(parse(changed.as_bytes(), &mut space).unwrap().websocket, expect, "{changed}");
        }
    }
}
