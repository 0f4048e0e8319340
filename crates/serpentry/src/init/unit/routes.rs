//! Listeners and routes of NGINX Unit: which requests each application gets.
//!
//! Unit tries steps in order and matches on anything; here the host decides, then the longest prefix. Steps that say no more
//! than a host and the beginning of a path are carried over, others become notes. Another difference is said at each route:
//! here the prefix is taken off the path that the application sees.

use serde_json::Value as Json;

use super::super::address;
use super::super::draft::Draft;
use super::{Known, no_counterpart, shown};

/// How deep `pass` may lead from routes to routes: deeper ones go in a circle.
const DEPTH: usize = 8;

/// Steps looked at altogether.
const STEPS: usize = 10_000;

/// What leads to an application so far.
#[derive(Debug, Clone)]
struct Way {
    /// "" for any.
    host: String,
    /// "" for any.
    prefix: String,
}

pub(super) fn carry_over(json: &Json, name: &str, draft: &mut Draft, known: &mut [Known]) {
    let mut walk = Walk { json, name, draft, known, steps: 0 };
    for (address, listener) in json["listeners"].as_object().into_iter().flatten() {
        walk.listener(address, listener);
        let any = Way { host: String::new(), prefix: String::new() };
        walk.pass(listener["pass"].as_str().unwrap_or_default(), &any, address, 0);
    }
    tell_apart(name, draft, known);
}

/// No route may lead to two applications.
fn tell_apart(name: &str, draft: &mut Draft, known: &mut [Known]) {
    let mut taken: Vec<String> = Vec::new();
    for known in &mut *known {
        let mut routes = std::mem::take(&mut known.app.routes);
        routes.retain(|(route, _)| {
            let free = !taken.contains(route);
            if free {
                taken.push(route.clone());
            } else {
                draft.host.note(format!(
                    "{name}: {}: the route {route} is another application's already; Unit told them apart by address or \
                     by a condition",
                    known.path
                ));
            }
            free
        });
        known.app.routes = routes;
    }
    if let [known] = known {
        // All requests, as without a word.
        known.app.routes.retain(|(route, _)| route != "*");
    }
}

struct Walk<'a> {
    json: &'a Json,
    name: &'a str,
    draft: &'a mut Draft,
    known: &'a mut [Known],
    steps: usize,
}

impl Walk<'_> {
    fn note(&mut self, text: &str) {
        self.draft.host.note(format!("{}: {text}", self.name));
    }

    fn listener(&mut self, address: &str, listener: &Json) {
        let bound =
            if address.starts_with("unix:") { Some(address.to_owned()) } else { address::tcp(address) };
        match bound {
            Some(bound) => self.draft.host.add("listen", bound, &format!("{}: listeners", self.name)),
            None => self.note(&format!("listener {address}: the address was not understood")),
        }
        for (key, value) in listener.as_object().into_iter().flatten() {
            match key.as_str() {
                "pass" => {}
                "tls" => self.note(&format!("listener {address}: tls: {}", super::super::servers::TLS)),
                "forwarded" | "client_ip" => self.proxies(address, value),
                _ => self.note(&format!("listener {address}: {key}: {}", no_counterpart(value))),
            }
        }
    }

    /// Whose `X-Forwarded-*` fields are believed.
    fn proxies(&mut self, address: &str, value: &Json) {
        let sources = match &value["source"] {
            Json::String(source) => vec![source.clone()],
            Json::Array(sources) => sources.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let list = sources.join(",");
        if !list.is_empty() && router::TrustedProxies::parse(&list).is_ok() {
            let remark = format!("{}: listener {address}", self.name);
            self.draft.host.set("forwarded_allow_ips", super::super::draft::Value::Text(list), remark);
        } else {
            self.note(&format!(
                "listener {address}: the sources {} were not understood",
                shown(&value["source"])
            ));
        }
    }

    /// Follow `pass` to applications.
    fn pass(&mut self, pass: &str, way: &Way, place: &str, depth: usize) {
        let mut parts = pass.splitn(2, '/');
        let (kind, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match kind {
            _ if depth > DEPTH => self.note(&format!("{place}: pass {pass}: it leads in a circle")),
            "applications" => match self.known.iter_mut().find(|known| known.path == rest) {
                Some(known) => {
                    let route = route(way, &known.prefix);
                    if !known.app.routes.iter().any(|(other, _)| *other == route.0) {
                        known.app.routes.push(route);
                    }
                }
                None => self.note(&format!("{place}: pass {pass}: there is no such Python application")),
            },
            "routes" => {
                let routes = &self.json["routes"];
                let steps = if rest.is_empty() { routes } else { &routes[rest] };
                match steps.as_array() {
                    Some(steps) => self.steps(steps, way, pass, depth),
                    None => self.note(&format!("{place}: pass {pass}: there are no such routes")),
                }
            }
            _ => self.note(&format!("{place}: pass {pass:?}: it leads to no Python application")),
        }
    }

    fn steps(&mut self, steps: &[Json], way: &Way, routes: &str, depth: usize) {
        for (number, step) in steps.iter().enumerate() {
            self.steps += 1;
            if self.steps > STEPS {
                return self.note(&format!("only the first {STEPS} steps of the routes were looked at"));
            }
            let place = format!("{routes} step {}", number + 1);
            let Some(ways) = self.ways(&step["match"], way, &place) else { continue };
            let mut action = &step["action"];
            // What is not a file goes on to the fallback.
            while action.is_object() && action["pass"].is_null() {
                for (key, value) in
                    action.as_object().into_iter().flatten().filter(|(key, _)| *key != "fallback")
                {
                    self.note(&format!("{place}: {key}: {}", no_counterpart(value)));
                }
                action = &action["fallback"];
            }
            if let Some(pass) = action["pass"].as_str() {
                for way in &ways {
                    self.pass(pass, way, &place, depth + 1);
                }
            }
        }
    }

    /// The hosts and prefixes that a step matches, or `None` if it says more than that.
    fn ways(&mut self, matched: &Json, way: &Way, place: &str) -> Option<Vec<Way>> {
        let other = matched
            .as_object()
            .into_iter()
            .flatten()
            .find(|(key, _)| !["host", "uri"].contains(&key.as_str()));
        if let Some((key, value)) = other {
            self.note(&format!(
                "{place}: match {key}: {}; the whole step was left out",
                no_counterpart(value)
            ));
            return None;
        }
        let hosts = self.patterns(&matched["host"], &way.host, place, host)?;
        let prefixes = self.patterns(&matched["uri"], &way.prefix, place, prefix)?;
        let pairs = hosts.iter().flat_map(|host| {
            prefixes.iter().map(|prefix| Way { host: host.clone(), prefix: prefix.clone() })
        });
        Some(pairs.collect())
    }

    /// Patterns that can be said here; those that cannot become notes. Without any pattern what is known `already` stays.
    fn patterns(
        &mut self,
        value: &Json,
        already: &str,
        place: &str,
        simple: fn(&str) -> Option<String>,
    ) -> Option<Vec<String>> {
        let patterns: Vec<&str> = match value {
            Json::Null => return Some(vec![already.to_owned()]),
            Json::String(pattern) => vec![pattern],
            Json::Array(patterns) => patterns.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        };
        let mut found = Vec::new();
        for pattern in patterns {
            match simple(pattern) {
                Some(text) if already.is_empty() || already == text => found.push(text),
                Some(text) if text.is_empty() => found.push(already.to_owned()),
                Some(_) => self.note(&format!("{place}: {pattern}: {already} was asked for before")),
                None => self.note(&format!(
                    "{place}: {pattern}: only whole hosts, *.host and beginnings of paths can be said"
                )),
            }
        }
        (!found.is_empty()).then_some(found)
    }
}

/// `example.com`, `*.example.com`, or "" for any.
fn host(pattern: &str) -> Option<String> {
    if pattern == "*" {
        return Some(String::new());
    }
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    (name.chars().all(legal) && name.split('.').all(label) && name.len() <= 253)
        .then(|| pattern.to_ascii_lowercase())
}

/// "/shop" of `/shop`, `/shop/`, `/shop/*` and `/shop*`, or "" for any.
fn prefix(pattern: &str) -> Option<String> {
    let text = pattern.strip_suffix('*').unwrap_or(pattern).trim_end_matches('/');
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
    let segments = text.split('/').skip(1).all(|segment| !matches!(segment, "" | "." | ".."));
    let whole = text.is_empty() || (text.starts_with('/') && segments);
    (whole && text.chars().all(legal)).then(|| text.to_owned())
}

/// A route of ours with what must be said about it.
fn route(way: &Way, prefix: &str) -> (String, String) {
    let route = match (way.host.as_str(), way.prefix.as_str()) {
        ("", "") => "*".to_owned(),
        (host, path) => format!("{host}{path}"),
    };
    let remark = if way.prefix == prefix || way.prefix.is_empty() && prefix.is_empty() {
        String::new()
    } else if way.prefix.is_empty() {
        format!("Unit had prefix {prefix}: write {}{prefix} to have the same", way.host)
    } else {
        format!("the application sees the path without {}, in Unit it saw the whole path", way.prefix)
    };
    (route, remark)
}

#[cfg(test)]
mod tests {
    use super::super::super::vet;
    use super::super::read;
    use super::*;

    /// The routes of each application, and the notes.
    fn routed(rest: &str) -> (Vec<Vec<(String, String)>>, Vec<String>) {
        let apps = r#""applications": {"a": {"type": "python", "module": "a"},
            "b": {"type": "python", "module": "b", "prefix": "/b"}}"#;
        let mut draft = read(&format!("{{{apps}, {rest}}}"), "u").unwrap();
        vet::draft(&mut draft);
        (draft.apps.iter().map(|app| app.routes.clone()).collect(), draft.host.notes)
    }

    fn plain(routes: &[(String, String)]) -> Vec<&str> {
        routes.iter().map(|(route, _)| route.as_str()).collect()
    }

    #[test]
    fn hosts_and_beginnings_of_paths_become_routes() {
        let (routes, notes) = routed(
            r#""listeners": {"*:80": {"pass": "routes/main"}}, "routes": {"main": [
                {"match": {"host": ["x.org", "*.x.org"], "uri": "/b/*"}, "action": {"pass": "applications/b"}},
                {"match": {"uri": ["/static/*"]}, "action": {"share": "/www$uri", "fallback": {"pass": "applications/a"}}},
                {"match": {"host": "y.org"}, "action": {"pass": "routes/inner"}},
                {"action": {"return": 404}}],
                "inner": [{"match": {"uri": "/b*"}, "action": {"pass": "applications/b"}}, {"action": {"pass": "applications/a"}}]}"#,
        );
        assert_eq!(plain(&routes[0]), ["/static", "y.org"]);
        assert_eq!(plain(&routes[1]), ["x.org/b", "*.x.org/b", "y.org/b"]);
        assert_eq!(routes[1][0].1, "");
        assert_eq!(
            routes[0][0].1,
            "the application sees the path without /static, in Unit it saw the whole path"
        );
        assert_eq!(
            notes,
            [
                "u: routes/main step 2: share: there is no counterpart here for \"/www$uri\"",
                "u: routes/main step 4: return: there is no counterpart here for 404",
            ]
        );
    }

    #[test]
    fn what_cannot_be_said_is_noted_and_every_application_has_a_route() {
        let (routes, notes) = routed(
            r#""listeners": {"*:80": {"pass": "routes", "tls": {}, "forwarded": {"client_ip": "X-Forwarded-For", "source": "10.0.0.0/8"}},
                "*:81": {"pass": "upstreams/x"}, "nonsense:x": {"pass": "applications/none"}}, "routes": [
                {"match": {"method": "POST"}, "action": {"pass": "applications/b"}},
                {"match": {"uri": "~^/x"}, "action": {"pass": "applications/b"}},
                {"match": {"host": "!x.org"}, "action": {"pass": "applications/b"}},
                {"action": {"pass": "applications/a"}}]"#,
        );
        assert_eq!(plain(&routes[0]), ["*"]);
        assert_eq!(plain(&routes[1]), ["b.localhost"]);
        let notes = notes.join("\n");
        for part in
            ["tls", "match method", "~^/x", "!x.org", "upstreams/x", "nonsense:x", "applications/none"]
        {
            assert!(notes.contains(part), "{part} in {notes}");
        }
    }

    #[test]
    fn two_applications_on_two_addresses_are_told_apart() {
        let (routes, notes) = routed(
            r#""listeners": {"*:80": {"pass": "applications/a"}, "*:81": {"pass": "applications/b"}}"#,
        );
        assert_eq!((plain(&routes[0]), plain(&routes[1])), (vec!["*"], vec!["b.localhost"]));
        assert!(notes[0].contains("by address"), "{notes:?}");
    }

    #[test]
    fn circles_end() {
        let (_, notes) = routed(
            r#""listeners": {"*:80": {"pass": "routes/a"}}, "routes": {"a": [{"action": {"pass": "routes/b"}}],
                "b": [{"action": {"pass": "routes/a"}}]}"#,
        );
        assert!(notes.iter().any(|note| note.contains("in a circle")), "{notes:?}");
    }

    #[test]
    fn patterns_are_simple_or_refused() {
        for (pattern, expected) in [("*", ""), ("X.org", "x.org"), ("*.x.org", "*.x.org")] {
            assert_eq!(host(pattern).as_deref(), Some(expected));
        }
        for bad in ["x.*", "!x.org", "~x", "", "x..org", "a b", "x.org:80", "-x.org"] {
            assert_eq!(host(bad), None, "{bad}");
        }
        for (pattern, expected) in
            [("*", ""), ("/", ""), ("/*", ""), ("/a", "/a"), ("/a/*", "/a"), ("/a*", "/a"), ("/a/b/", "/a/b")]
        {
            assert_eq!(prefix(pattern).as_deref(), Some(expected), "{pattern}");
        }
        for bad in ["a", "/a*b", "*.php", "!/a", "~x", "/a//b", "/a/../b", "/a?b"] {
            assert_eq!(prefix(bad), None, "{bad}");
        }
    }
}
