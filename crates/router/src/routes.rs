//! Which application a request is for: by host, by path prefix, or both. Pure: names and numbers in, a number out.
//!
//! Hosts are tried from the most special to the most general: the exact name, wildcards from the longest to the
//! shortest, then routes for any host. The first of them with a prefix that fits the path (the longest one, see
//! [`crate::prefix`]) decides; what fits nothing goes to the default application, if there is one.
//!
//! Names are compared without case, port and the dot of the root (RFC 9110 section 4.2.3, RFC 3986 section 3.2.2), IPv6
//! addresses in whatever form they are written.
//!
//! A path that is below a prefix and leaves it again by dot segments ("/shop/../admin") is for nobody: neither by its
//! prefix, since the application would see a path outside its own, nor by what remains when the dots are resolved, since
//! whoever checked the request before us may have looked at the prefix. It is refused.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::event::App;
use crate::prefix::{self, Prefixes};

/// Longest host name (RFC 1035 section 2.3.4); longer ones are nobody's.
const NAME_LIMIT: usize = 255;

/// Hosts of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    Any,
    /// "example.com", "192.0.2.1", "[2001:db8::1]".
    Exact(String),
    /// The names below this one, any number of labels, without itself: "example.com" for "*.example.com".
    Wildcard(String),
}

/// An application, and what it answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub host: HostPattern,
    /// Empty, or "/shop": that path and all below it, decoded.
    pub prefix: String,
    pub app: App,
}

/// All routes of the host.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Box<str>, Prefixes<Mount>>,
    wildcard: HashMap<Box<str>, Prefixes<Mount>>,
    any: Prefixes<Mount>,
    default_app: Option<App>,
}

#[derive(Debug)]
struct Mount {
    app: App,
    /// `None` for the empty prefix.
    prefix: Option<Arc<str>>,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) app: App,
    /// What the application is mounted at, if anything.
    pub(crate) prefix: Option<Arc<str>>,
    /// Bytes of the path, as it was sent, that the prefix takes.
    pub(crate) used: usize,
}

/// Why it goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    UnknownHost,
    /// The host is known, the path is not.
    NoRoute,
    /// Dot segments lead out of the prefix.
    Leaves,
}

impl RouteTable {
    /// `default_app` gets what no route fits. The first of two equal routes stays.
    #[must_use]
    pub fn new(routes: impl IntoIterator<Item = Route>, default_app: Option<App>) -> Self {
        let mut table = RouteTable { default_app, ..RouteTable::default() };
        for Route { host, prefix, app } in routes {
            let prefix = prefix.trim_end_matches('/');
            let mut space = [0; NAME_LIMIT];
            let mut key = |name: &str| canonical(name, &mut space).map(Box::<str>::from);
            let prefixes = match &host {
                HostPattern::Any => &mut table.any,
                HostPattern::Exact(name) => match key(name) {
                    Some(key) => table.exact.entry(key).or_default(),
                    None => continue,
                },
                HostPattern::Wildcard(name) => match key(name) {
                    Some(key) => table.wildcard.entry(key).or_default(),
                    None => continue,
                },
            };
            let mounted = (!prefix.is_empty()).then(|| Arc::from(prefix));
            prefixes.add(prefix, Mount { app, prefix: mounted });
        }
        table
    }

    /// Everything goes to one application.
    #[must_use]
    pub fn single(app: App) -> Self {
        RouteTable::new([Route { host: HostPattern::Any, prefix: String::new(), app }], None)
    }

    /// The host of a request matters.
    pub(crate) fn needs_host(&self) -> bool {
        !self.exact.is_empty() || !self.wildcard.is_empty()
    }

    /// `host`: as it was sent, with port; may be empty. `path`: as it was sent, without query.
    pub(crate) fn find(&self, host: &str, path: &str) -> Result<Found, Miss> {
        let mut known = !self.any.is_empty();
        let mut mount = None;
        if self.needs_host() {
            let mut space = [0; NAME_LIMIT];
            if let Some(name) = canonical(host, &mut space) {
                for prefixes in self.for_host(name) {
                    known = true;
                    mount = prefixes.longest(path);
                    if mount.is_some() {
                        break;
                    }
                }
            }
        }
        match mount.or_else(|| self.any.longest(path)) {
            Some((_, used)) if used > 0 && prefix::leaves(&path[used..]) => Err(Miss::Leaves),
            Some((mount, used)) => Ok(Found { app: mount.app, prefix: mount.prefix.clone(), used }),
            None => {
                let miss = if known { Miss::NoRoute } else { Miss::UnknownHost };
                self.default_app.map(|app| Found { app, prefix: None, used: 0 }).ok_or(miss)
            }
        }
    }

    /// The routes for a name, the most special first.
    fn for_host<'t: 'n, 'n>(&'t self, name: &'n str) -> impl Iterator<Item = &'t Prefixes<Mount>> + 'n {
        let dots = if self.wildcard.is_empty() || name.starts_with('[') { "" } else { name };
        let parents = dots.match_indices('.').map(|(at, _)| &name[at + 1..]);
        self.exact.get(name).into_iter().chain(parents.filter_map(|parent| self.wildcard.get(parent)))
    }
}

/// A host in the one form in which hosts are compared; `None` when it is too long to be one.
fn canonical<'s>(host: &str, space: &'s mut [u8; NAME_LIMIT]) -> Option<&'s str> {
    let address = host.parse().ok().or_else(|| host.strip_prefix('[')?.split_once(']')?.0.parse().ok());
    if let Some(address) = address {
        let address: Ipv6Addr = address;
        let text = format!("[{address}]");
        space[..text.len()].copy_from_slice(text.as_bytes());
        return std::str::from_utf8(&space[..text.len()]).ok();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
    let space = space.get_mut(..name.len())?;
    space.copy_from_slice(name);
    space.make_ascii_lowercase();
    std::str::from_utf8(space).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// "*.b.c/p" and the like; the application is the position in the list.
    fn table(routes: &[&str], default_app: Option<App>) -> RouteTable {
        let parse = |(app, route): (usize, &&str)| {
            let (host, prefix) = route.split_at(route.find('/').unwrap_or(route.len()));
            let host = match (host, host.strip_prefix("*.")) {
                ("", _) => HostPattern::Any,
                (_, Some(parent)) => HostPattern::Wildcard(parent.to_owned()),
                _ => HostPattern::Exact(host.to_owned()),
            };
            Route { host, prefix: prefix.to_owned(), app: app as App }
        };
        RouteTable::new(routes.iter().enumerate().map(parse), default_app)
    }

    #[track_caller]
    fn check(table: &RouteTable, host: &str, path: &str, expect: Result<App, Miss>) {
        assert_eq!(table.find(host, path).map(|found| found.app), expect, "{host} {path}");
    }

    #[test]
    fn special_hosts_come_first() {
        let table = table(&["a.example.com", "*.example.com", "*.b.example.com", "/", "example.com"], None);
        for (host, app) in [
            ("a.example.com", 0),
            ("x.example.com", 1),
            ("x.y.example.com", 1),
            ("b.example.com", 1),
            ("x.b.example.com", 2),
            ("x.a.example.com", 1),
            ("example.com", 4),
            ("example.org", 3),
            ("xexample.com", 3),
            ("", 3),
        ] {
            check(&table, host, "/x", Ok(app));
        }
    }

    #[test]
    fn names_are_compared_in_one_form() {
        let table = table(&["Example.COM.", "[2001:DB8:0::1]", "192.0.2.1", "*.Wild.example"], None);
        for (host, app) in [
            ("example.com", 0),
            ("EXAMPLE.com:8000", 0),
            ("example.com.", 0),
            ("example.com.:80", 0),
            ("example.com:", 0),
            ("[2001:db8::1]", 1),
            ("[2001:db8:0:0::1]:8000", 1),
            ("192.0.2.1:80", 2),
            ("a.wild.EXAMPLE.:1", 3),
        ] {
            check(&table, host, "/", Ok(app));
        }
        let long = format!("{}.wild.example", "a".repeat(NAME_LIMIT));
        for host in
            ["example.com..", "example.com:x", "[2001:db8::2]", "wild.example", ".wild.exampl", "", &long]
        {
            check(&table, host, "/", Err(Miss::UnknownHost));
        }
    }

    #[test]
    fn prefixes_are_below_hosts() {
        let table =
            table(&["example.com/shop", "example.com/shop/admin", "*.com/shop", "/shop", "/feed"], None);
        check(&table, "example.com", "/shop/x", Ok(0));
        check(&table, "example.com", "/shop/admin/x", Ok(1));
        check(&table, "a.com", "/shop/admin", Ok(2));
        check(&table, "example.org", "/shop", Ok(3));
        // A host that has nothing for the path leaves it to the more general ones.
        check(&table, "example.com", "/feed", Ok(4));
        check(&table, "example.com", "/", Err(Miss::NoRoute));
        check(&table, "example.org", "/", Err(Miss::NoRoute));
    }

    #[test]
    fn what_fits_nothing_goes_to_the_default() {
        let routes = &["example.com/shop"];
        let without = table(routes, None);
        check(&without, "example.com", "/", Err(Miss::NoRoute));
        check(&without, "example.org", "/shop", Err(Miss::UnknownHost));
        let with = table(routes, Some(7));
        check(&with, "example.com", "/", Ok(7));
        check(&with, "example.org", "/shop", Ok(7));
        check(&with, "example.com", "/shop", Ok(0));
        let found = with.find("example.com", "/other").unwrap();
        assert_eq!((found.prefix, found.used), (None, 0), "the default is mounted at the root");
    }

    #[test]
    fn a_path_that_leaves_its_prefix_is_for_nobody() {
        let table = table(&["/", "/shop", "/admin"], Some(2));
        for path in
            ["/shop/../admin", "/shop/..", "/shop/%2e%2e/admin", "/shop/x/../../admin", "/shop/..%2fadmin"]
        {
            check(&table, "a", path, Err(Miss::Leaves));
        }
        check(&table, "a", "/shop/x/../y", Ok(1));
        check(&table, "a", "/shop%2F..%2Fadmin", Ok(0));
        check(&table, "a", "/../admin", Ok(0));
        check(&table, "a", "/x/../admin", Ok(0));
    }

    #[test]
    fn says_what_the_prefix_takes() {
        let table = table(&["/shop"], None);
        let found = table.find("a", "/%73hop/x").unwrap();
        assert_eq!((found.prefix.as_deref(), found.used), (Some("/shop"), "/%73hop".len()));
        let single = RouteTable::single(3);
        assert_eq!(single.find("a", "*"), Ok(Found { app: 3, prefix: None, used: 0 }));
    }

    proptest! {
        /// The definition, read off a list: the best of all routes that fit.
        #[test]
        fn agrees_with_trying_every_route(
            host in "(a|b|A)(\\.(a|b|c)){0,3}(:80|\\.)?", path in "(/(a|b|%61|\\.\\.)){1,3}/?",
            routes in proptest::sample::subsequence(
                vec!["a.b", "a.b/a", "b.c/a/b", "*.b", "*.a.b/b", "*.c", "*.b.c/a", "/a", "/b/a", "b.a.b"], 0..10),
        ) {
            let name = host.split(':').next().unwrap().trim_end_matches('.').to_ascii_lowercase();
            let segments = |path: &str| path.split('/').map(|s| s.replace("%61", "a")).collect::<Vec<_>>();
            let rank = |route: &str| {
                let (host, prefix) = route.split_at(route.find('/').unwrap_or(route.len()));
                let special = match host.strip_prefix('*') {
                    Some(parent) => name.ends_with(parent).then_some(parent.len())?,
                    None if host.is_empty() => 0,
                    None => (host == name).then_some(usize::MAX)?,
                };
                segments(&path).starts_with(&segments(prefix)).then_some((special, prefix.len()))
            };
            let best = routes.iter().enumerate().filter_map(|(app, route)| Some((rank(route)?, app as App))).max();
            match table(&routes, None).find(&host, &path) {
                Ok(found) => prop_assert_eq!(Some(found.app), best.map(|best| best.1)),
                Err(Miss::Leaves) => prop_assert!(best.is_some() && path.contains("..")),
                Err(_) => prop_assert_eq!(best, None),
            }
        }
    }
}
