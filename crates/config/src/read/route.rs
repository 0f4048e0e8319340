//! Routes: `host`, `host/prefix`, `*.host`, `/prefix`, `*`.

use std::net::{Ipv4Addr, Ipv6Addr};

use toml::Spanned;
use toml::de::DeValue;

use super::{Reader, example, wrong_type};
use crate::diagnostic::Draft;
use crate::plan::{HostPattern, Route};
use crate::source::Span;
use crate::table::Setting;
use crate::value::Value;

/// Most routes of one application.
const MOST_ROUTES: usize = 1_000;

/// Longest host name: RFC 1035, section 2.3.4.
const LONGEST_HOST: usize = 253;

/// Longest path prefix.
const LONGEST_PREFIX: usize = 1_024;

pub(super) fn list(
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let DeValue::Array(items) = value.get_ref() else {
        if let DeValue::String(text) = value.get_ref() {
            let draft = Draft::error(value.span(), "`routes` must be a list");
            reader.report(draft.hint(format!("in brackets: routes = [\"{text}\"]")));
            return None;
        }
        return wrong_type(setting, value, "a list of routes", reader);
    };
    if let Some(first) = items.get(MOST_ROUTES) {
        let message = format!("an application has at most {MOST_ROUTES} routes; here are {}", items.len());
        let hint = "join some with a wildcard such as *.example.com";
        reader.report(Draft::error(first.span(), message).hint(hint));
        return None;
    }
    let mut found: Vec<(Route, Span)> = Vec::new();
    let mut seen = std::collections::HashMap::new();
    let mut complete = true;
    for item in items.iter() {
        let route = match item.get_ref() {
            DeValue::String(text) => route(text).map_err(|why| format!("`{text}` is not a route: {why}")),
            _ => Err("a route is a text".to_owned()),
        };
        match route {
            Ok(route) => match seen.get(&route) {
                Some(first) => {
                    let draft = Draft::warning(item.span(), "this route is in the list twice");
                    reader.report(draft.related(Span::clone(first), "here first").hint("remove one of them"));
                }
                None => {
                    seen.insert(route.clone(), item.span());
                    found.push((route, item.span()));
                }
            },
            Err(message) => {
                reader.report(Draft::error(item.span(), message).hint(example(setting)));
                complete = false;
            }
        }
    }
    complete.then_some(Value::Routes(found))
}

/// Read one route.
fn route(text: &str) -> Result<Route, String> {
    if text.contains("://") {
        return Err("it is a URL; leave the scheme out".to_owned());
    }
    let (host, path) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    if text.is_empty() {
        return Err("it is empty; for everything write \"*\"".to_owned());
    }
    Ok(Route { host: host_pattern(host)?, prefix: prefix(path)? })
}

fn host_pattern(text: &str) -> Result<HostPattern, String> {
    if text.is_empty() || text == "*" {
        return Ok(HostPattern::Any);
    }
    let host = text.trim_end_matches('.').to_ascii_lowercase();
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr =
            address.parse().map_err(|_| "in brackets belongs an IPv6 address".to_owned())?;
        return Ok(HostPattern::Exact(format!("[{address}]")));
    }
    if host.contains(':') {
        return Err("a route has no port".to_owned());
    }
    match host.strip_prefix("*.") {
        Some(below) => host_name(below).map(|()| HostPattern::Wildcard(below.to_owned())),
        None if host.contains('*') => {
            Err("a wildcard stands at the beginning only, as in *.example.com".to_owned())
        }
        None => host_name(&host).map(|()| HostPattern::Exact(host)),
    }
}

fn host_name(host: &str) -> Result<(), String> {
    if !host.is_ascii() {
        return Err("write the name as it is sent: in ASCII, with xn--".to_owned());
    }
    if host.len() > LONGEST_HOST {
        return Err(format!("a host name has at most {LONGEST_HOST} characters"));
    }
    let label = |label: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let right = if numeric { host.parse::<Ipv4Addr>().is_ok() } else { host.split('.').all(label) };
    if right { Ok(()) } else { Err(format!("`{host}` is not a host name")) }
}

/// A path prefix without the slash at its end; empty for all paths.
pub(crate) fn prefix(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    if !path.starts_with('/') {
        return Err("a path begins with a slash".to_owned());
    }
    if path.len() > LONGEST_PREFIX {
        return Err(format!("a prefix has at most {LONGEST_PREFIX} characters"));
    }
    if path.contains(['?', '#', '*']) {
        return Err("a prefix has no ?, # or *; what follows it is matched anyway".to_owned());
    }
    if path.contains('%') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a prefix has plain ASCII characters only, no escapes".to_owned());
    }
    if path[1..].split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("a prefix has no empty, `.` or `..` segments".to_owned());
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match route(text) {
            Ok(route) => route.to_string(),
            Err(why) => format!("error: {why}"),
        }
    }

    #[test]
    fn routes_are_read_and_shown() {
        for (text, expected) in [
            ("*", "*"),
            ("/", "*"),
            ("*/shop", "/shop"),
            ("/shop/", "/shop"),
            ("Example.COM.", "example.com"),
            ("example.com/a/b", "example.com/a/b"),
            ("*.example.com", "*.example.com"),
            ("*.example.com/x", "*.example.com/x"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]/x", "[::1]/x"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
            assert_eq!(shown(expected), expected, "what is shown reads the same");
        }
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for bad in [
            "",
            "http://a",
            "a:80",
            "a.*.b",
            "a*",
            "*.",
            "*.*.a",
            "-a.b",
            "a..b",
            "1.2.3",
            "[::1",
            "[x]",
            "b\u{fc}.de",
            "a b",
            "/a//b",
            "/a/../b",
            "/a?x",
            "/a%20",
            "/a/*",
            "/\u{fc}",
        ] {
            assert!(route(bad).is_err(), "{bad}: {:?}", route(bad));
        }
    }
}
