//! Path prefixes: which of many a request's path is below, decided on whole segments.
//!
//! A path is split at the slashes that were sent as slashes, and each segment is percent-decoded by itself. So
//! `/%73hop/x` is below "/shop" (RFC 3986 section 6.2.2.2: the same URI), and `/shop%2Fx` is not: an encoded slash is
//! data (section 2.2), and its one segment "shop/x" is not the segment "shop". Nothing is normalised: what is below a
//! prefix and would leave it again by dot segments is found by [`leaves`].

use std::collections::HashMap;

use crate::http::target::percent_decode;

/// Values by prefix. The empty prefix fits every path.
#[derive(Debug)]
pub(crate) struct Prefixes<T> {
    all: Option<T>,
    below: HashMap<Box<[u8]>, T>,
    /// Most segments of a prefix: no path needs to be looked at any further.
    depth: usize,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Prefixes { all: None, below: HashMap::new(), depth: 0 }
    }
}

impl<T> Prefixes<T> {
    /// Add a prefix: decoded, empty or beginning with a slash; slashes at its end do not count. The first of equals
    /// stays.
    pub(crate) fn add(&mut self, prefix: &str, value: T) {
        let prefix = prefix.trim_end_matches('/');
        if prefix.is_empty() {
            self.all.get_or_insert(value);
            return;
        }
        self.depth = self.depth.max(prefix.matches('/').count());
        self.below.entry(prefix.as_bytes().into()).or_insert(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_none() && self.below.is_empty()
    }

    /// The value of the longest prefix that `path` (as it was sent) is below, and how many bytes of `path` the prefix
    /// takes.
    pub(crate) fn longest(&self, path: &str) -> Option<(&T, usize)> {
        let mut best = self.all.as_ref().map(|value| (value, 0));
        if self.below.is_empty() || !path.starts_with('/') {
            return best;
        }
        // What was looked at so far, decoded, once that differs from what was sent.
        let mut decoded: Option<Vec<u8>> = None;
        let mut start = 0;
        for _ in 0..self.depth {
            let end = path[start + 1..].find('/').map_or(path.len(), |length| start + 1 + length);
            let segment = &path[start..end];
            if decoded.is_some() || segment.contains('%') {
                let plain = percent_decode(segment);
                if plain[1..].contains(&b'/') {
                    break;
                }
                decoded.get_or_insert_with(|| path.as_bytes()[..start].to_vec()).extend_from_slice(&plain);
            }
            let key = decoded.as_deref().unwrap_or(&path.as_bytes()[..end]);
            if let Some(value) = self.below.get(key) {
                best = Some((value, end));
            }
            if end == path.len() {
                break;
            }
            start = end;
        }
        best
    }
}

/// True when `path` (as it was sent, what follows a prefix) climbs above its own beginning for anybody who resolves its
/// dot segments (RFC 3986 section 5.2.4) after decoding it, whether or not empty segments count for them.
pub(crate) fn leaves(path: &str) -> bool {
    if !path.contains("..") && !path.contains('%') {
        return false;
    }
    let mut depth = 0_usize;
    for segment in percent_decode(path).split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixes(list: &[&'static str]) -> Prefixes<&'static str> {
        let mut prefixes = Prefixes::default();
        for prefix in list {
            prefixes.add(prefix, *prefix);
        }
        prefixes
    }

    #[track_caller]
    fn check(list: &[&'static str], path: &str, expect: Option<(&str, &str)>) {
        let prefixes = prefixes(list);
        let found = prefixes.longest(path).map(|(value, used)| (*value, &path[used..]));
        assert_eq!(found, expect, "{path}");
    }

    #[test]
    fn the_longest_prefix_wins() {
        let list = &["", "/shop", "/shop/admin", "/a/b/c"];
        check(list, "/", Some(("", "/")));
        check(list, "/shop", Some(("/shop", "")));
        check(list, "/shop/", Some(("/shop", "/")));
        check(list, "/shop/x/admin", Some(("/shop", "/x/admin")));
        check(list, "/shop/admin/x", Some(("/shop/admin", "/x")));
        check(list, "/a/b", Some(("", "/a/b")));
        check(list, "/a/b/c/d", Some(("/a/b/c", "/d")));
        check(&["/shop"], "/", None);
        check(&["/shop"], "*", None);
        check(&[""], "*", Some(("", "*")));
    }

    #[test]
    fn prefixes_end_where_segments_end() {
        let list = &["/shop"];
        for path in ["/shopping", "/Shop", "/sho", "//shop", "/./shop", "/x/../shop", "/shop;x", "shop", ""] {
            check(list, path, None);
        }
        check(list, "/shop//x", Some(("/shop", "//x")));
        check(&["/shop/"], "/shop", Some(("/shop/", "")));
    }

    #[test]
    fn decodes_segments_but_not_slashes() {
        let list = &["/shop", "/shop/b c", "/caf\u{e9}"];
        check(list, "/%73h%6Fp/%78", Some(("/shop", "/%78")));
        check(list, "/shop/b%20c/d", Some(("/shop/b c", "/d")));
        check(list, "/caf%c3%a9/x", Some(("/caf\u{e9}", "/x")));
        check(list, "/shop%2Fx", None);
        check(list, "/shop%2fb%20c", None);
        check(list, "/shop/b%20c%2Fd", Some(("/shop", "/b%20c%2Fd")));
        check(list, "%2Fshop", None);
        check(list, "/%2Fshop", None);
        check(list, "/shop%00", None);
        check(list, "/%2573hop", None);
        check(list, "/%zzshop", None);
    }

    #[test]
    fn the_first_of_equal_prefixes_stays() {
        let mut prefixes = Prefixes::default();
        prefixes.add("/a", 1);
        prefixes.add("/a/", 2);
        prefixes.add("", 3);
        prefixes.add("/", 4);
        assert_eq!(prefixes.longest("/a"), Some((&1, 2)));
        assert_eq!(prefixes.longest("/b"), Some((&3, 0)));
    }

    #[test]
    fn finds_paths_that_leave() {
        for path in [
            "/..",
            "/../x",
            "/a/../..",
            "/./..",
            "//..",
            "/%2e%2E",
            "/.%2e/x",
            "/%2e./x",
            "/a%2f..%2f..",
            "/..%2fx",
            "/a/..//..",
            "..",
        ] {
            assert!(leaves(path), "{path}");
        }
        for path in
            ["", "/", "/a/..", "/a/b/../..", "/...", "/..a", "/a..", "/%2e", "/a/%2e%2e", "/%252e%252e"]
        {
            assert!(!leaves(path), "{path}");
        }
    }

    /// What the encoded path means, slowly: its segments, decoded one by one.
    fn segments(path: &str) -> Vec<Vec<u8>> {
        path.split('/').map(|segment| percent_decode(segment).into_owned()).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_comparing_segments(path in "(/|a|b|%61|%2F|%2e|\\.|\\.\\.|/a/b){0,8}") {
            let list = ["/a", "/a/b", "/b", "/a/a/a"];
            let of_path = segments(&path);
            let fits = |prefix: &&&str| of_path.starts_with(&segments(prefix));
            let expect = list.iter().filter(fits).max_by_key(|prefix| prefix.len());
            let found = prefixes(&list).longest(&path).map(|(value, used)| (*value, path[used..].to_owned()));
            prop_assert_eq!(found.as_ref().map(|found| found.0), expect.copied());
            if let Some((prefix, rest)) = found {
                prop_assert!(rest.is_empty() || rest.starts_with('/'));
                prop_assert_eq!([prefix.as_bytes(), &percent_decode(&rest)].concat(), &*percent_decode(&path));
            }
        }

        /// Whoever resolves the dots of a path that stays, with or without empty segments, stays below the prefix.
        #[test]
        fn what_stays_is_below_for_everybody(path in "/(/|/\\.\\.|/\\.|/a|%2f|%2e|b|\\.){0,10}") {
            prop_assume!(!leaves(&path));
            let decoded = percent_decode(&path).into_owned();
            for collapse in [false, true] {
                let mut stack = vec![&b"prefix"[..]];
                for segment in decoded.split(|byte| *byte == b'/').skip(1) {
                    match segment {
                        b"." => {}
                        b"" if collapse => {}
                        b".." => drop(stack.pop()),
                        other => stack.push(other),
                    }
                    prop_assert!(!stack.is_empty(), "{path} left with collapse {collapse}");
                }
            }
        }
    }
}
