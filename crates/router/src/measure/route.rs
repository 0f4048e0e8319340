//! What counts as one route: method and path, without what names a single thing. Nothing is known here of how an
//! application routes; hostile paths give short, bounded text.

/// Bytes of a route's path; what is longer ends in "...".
pub(crate) const LONGEST: usize = 120;

/// Longer segments of a path are values rather than names.
const LONGEST_NAME: usize = 40;

/// Hexadecimal segments from this length are identifiers (half a UUID).
const SHORTEST_HEX: usize = 16;

/// The methods that have routes of their own.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// One of the usual methods, or "(other)".
pub(crate) fn method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("(other)")
}

/// Method and path as one name: `GET /items/{}`.
#[must_use]
pub fn route_name(by: &str, path: &str) -> String {
    let mut shown = String::new();
    normalize(path, &mut shown);
    format!("{} {shown}", method(by))
}

/// Replace numeric, UUID and long hexadecimal segments by `{}`. `path`: as it was sent, without the query.
pub(crate) fn normalize(path: &str, into: &mut String) {
    into.clear();
    let mut rest = path;
    while let Some(segment) = rest.strip_prefix('/') {
        let (segment, more) = segment.split_at(segment.find('/').unwrap_or(segment.len()));
        let shown = if is_value(segment.as_bytes()) { "{}" } else { segment };
        if into.len() + 1 + shown.len() > LONGEST {
            into.push_str("...");
            return;
        }
        into.push('/');
        into.push_str(shown);
        rest = more;
    }
    if into.is_empty() {
        // "*" of OPTIONS, or what else a client may send.
        into.push('*');
    }
}

fn is_value(segment: &[u8]) -> bool {
    let digits = || segment.iter().all(u8::is_ascii_digit);
    let hex = || segment.len() >= SHORTEST_HEX && segment.iter().all(u8::is_ascii_hexdigit);
    !segment.is_empty() && (segment.len() > LONGEST_NAME || digits() || hex() || is_uuid(segment))
}

/// RFC 9562: 8-4-4-4-12 hexadecimal digits.
fn is_uuid(segment: &[u8]) -> bool {
    segment.len() == 36
        && segment.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> String {
        let mut text = String::from("left over");
        normalize(path, &mut text);
        text
    }

    #[test]
    fn values_in_a_path_are_left_out() {
        for (path, expect) in [
            ("/", "/"),
            ("/users/42", "/users/{}"),
            ("/users/42/", "/users/{}/"),
            ("/users/4a", "/users/4a"),
            ("/v2/items", "/v2/items"),
            ("/x/123e4567-e89b-12d3-a456-426614174000/y", "/x/{}/y"),
            ("/x/123e4567-e89b-12d3-a456-42661417400g", "/x/123e4567-e89b-12d3-a456-42661417400g"),
            ("/blob/0123456789abcdef", "/blob/{}"),
            ("/blob/0123456789abcde", "/blob/0123456789abcde"),
            ("/a//b", "/a//b"),
            ("*", "*"),
            ("", "*"),
        ] {
            assert_eq!(route(path), expect, "{path}");
        }
        assert_eq!(route(&format!("/q/{}", "z".repeat(41))), "/q/{}");
    }

    #[test]
    fn text_is_bounded_whatever_is_asked_for() {
        for path in ["/abc".repeat(1000), "/".repeat(5000), format!("/{}", "\u{e4}/".repeat(3000))] {
            let text = route(&path);
            assert!(text.len() <= LONGEST + 3 && text.ends_with("..."), "{text}");
        }
        assert_eq!((method("GET"), method("BREW")), ("GET", "(other)"));
    }
}
