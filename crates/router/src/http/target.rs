//! The request target (RFC 9112 section 3.2) and the Host it belongs to.

use super::head::Reject;

/// A request target taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'b> {
    /// Path as sent, percent-encoded, at least "/" (or "*" for OPTIONS).
    pub(crate) path: &'b str,
    /// Query without the question mark, empty when there is none.
    pub(crate) query: &'b str,
    /// The host asked for: of an absolute target if there is one (RFC 9112 section 3.2.2), else the Host field.
    pub(crate) host: &'b str,
}

pub(crate) fn parse<'b>(
    method: &str,
    target: &'b str,
    host_field: Option<&'b [u8]>,
) -> Result<Target<'b>, Reject> {
    if method == "CONNECT" {
        return Err(Reject::Method);
    }
    if target.contains('#') {
        return Err(Reject::Malformed);
    }
    let field = check_host(host_field.unwrap_or_default())?;
    let (host, rest) = if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        (field, target)
    } else if let Some(rest) = strip_scheme(target) {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let host = check_host(&rest.as_bytes()[..end])?;
        if host.is_empty() {
            return Err(Reject::Host);
        }
        (host, &rest[end..])
    } else {
        return Err(Reject::Malformed);
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok(Target { path: if path.is_empty() { "/" } else { path }, query, host })
}

fn strip_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")).then_some(rest)
}

/// Host = uri-host [ ":" port ] (RFC 9110 section 7.2): registered name, IPv4 or bracketed IPv6, nothing else.
pub(crate) fn check_host(value: &[u8]) -> Result<&str, Reject> {
    let valid =
        value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte));
    match std::str::from_utf8(value) {
        Ok(text) if valid => Ok(text),
        _ => Err(Reject::Host),
    }
}

/// Decode %XX; anything else, and a broken escape, stays as it is (as WSGI and ASGI servers do).
pub(crate) fn percent_decode(path: &str) -> std::borrow::Cow<'_, [u8]> {
    let bytes = path.as_bytes();
    let Some(first) = memchr::memchr(b'%', bytes) else {
        return bytes.into();
    };
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = tail.split_first_chunk::<2>().and_then(|(&[high, low], after)| {
            let value = char::from(high).to_digit(16)? * 16 + char::from(low).to_digit(16)?;
            Some((u8::try_from(value).ok()?, after))
        });
        rest = match escape {
            Some((value, after)) if byte == b'%' => {
                decoded.push(value);
                after
            }
            _ => {
                decoded.push(byte);
                tail
            }
        };
    }
    decoded.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One escape or byte at a time, by the letter of RFC 3986 section 2.1.
    fn decode_slowly(path: &[u8]) -> Vec<u8> {
        let hex = |byte: u8| b"0123456789abcdef".iter().position(|digit| *digit == byte.to_ascii_lowercase());
        match path {
            [] => Vec::new(),
            [b'%', high, low, rest @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap() * 16 + hex(*low).unwrap();
                [vec![u8::try_from(value).unwrap()], decode_slowly(rest)].concat()
            }
            [byte, rest @ ..] => [vec![*byte], decode_slowly(rest)].concat(),
        }
    }

    proptest! {
        #[test]
        fn decodes_like_the_slow_decoder(path in "([a-z/]|%|%[0-9a-fA-Fg]|%[0-9a-fA-F]{2}|\\PC){0,12}") {
            prop_assert_eq!(&*percent_decode(&path), decode_slowly(path.as_bytes()));
        }

        #[test]
        fn decodes_what_was_encoded(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let encoded: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(&*percent_decode(&encoded), &bytes[..]);
            let lower = encoded.to_lowercase();
            prop_assert_eq!(&*percent_decode(&lower), &bytes[..]);
        }

        #[test]
        fn any_target_is_taken_apart_or_refused(
            method in "GET|OPTIONS|CONNECT", target in "(/|\\*|https?://|HTTP://|#|\\?|@|[a-z.:]|%00|\\PC){0,8}",
            host in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8)),
        ) {
            let Ok(parts) = parse(&method, &target, host.as_deref()) else { return Ok(()) };
            prop_assert!(method != "CONNECT" && !target.contains('#'));
            prop_assert!(parts.path.starts_with('/') || (target == "*" && method == "OPTIONS"));
            prop_assert!(!parts.path.contains('?') && target.ends_with(parts.query));
            prop_assert!(parts.path == "/" || target.contains(parts.path));
            // The host is where the target says, else where the field says, and never has a user or a path in it.
            prop_assert!(!parts.host.contains(['@', '/', '?', '#', ' ']));
            let absolute = !target.starts_with('/') && target != "*";
            let field = host.as_deref().unwrap_or_default();
            let right_place = if absolute { target.contains(parts.host) } else { parts.host.as_bytes() == field };
            prop_assert!(right_place, "{parts:?}");
        }
    }

    #[test]
    fn takes_targets_apart() {
        let host = Some(&b"h:80"[..]);
        let target = |path, query, host| Ok(Target { path, query, host });
        assert_eq!(parse("GET", "/a?b=c?d", host), target("/a", "b=c?d", "h:80"));
        assert_eq!(parse("GET", "http://x.org:81/a?b", host), target("/a", "b", "x.org:81"));
        assert_eq!(parse("GET", "HTTPS://x.org?b", host), target("/", "b", "x.org"));
        assert_eq!(parse("OPTIONS", "*", host), target("*", "", "h:80"));
        assert_eq!(parse("GET", "http:///a", host), Err(Reject::Host));
        assert_eq!(parse("GET", "ftp://x/a", host), Err(Reject::Malformed));
        assert_eq!(parse("GET", "http://u@x/a", host), Err(Reject::Host));
    }

    #[test]
    fn decodes_percent_escapes() {
        for (encoded, decoded) in [
            ("/a", &b"/a"[..]),
            ("/%41%2f", b"/A/"),
            ("/%c3%A9", b"/\xc3\xa9"),
            ("/%4", b"/%4"),
            ("%%41%zz", b"%A%zz"),
        ] {
            assert_eq!(&*percent_decode(encoded), decoded);
        }
    }
}
