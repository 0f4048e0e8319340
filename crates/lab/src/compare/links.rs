//! Links of a page that lead to the same application. Pages are the application's: anything may be in them.

use std::collections::BTreeSet;

/// Of one page.
const MOST: usize = 200;
const LONGEST: usize = 512;

/// Words in a path that say that following it changes something, whatever HTTP says of GET.
const CHANGING: [&str; 16] = [
    "logout",
    "signout",
    "sign-out",
    "log-out",
    "delete",
    "remove",
    "unsubscribe",
    "destroy",
    "cancel",
    "confirm",
    "reset",
    "activate",
    "disable",
    "purge",
    "flush",
    "shutdown",
];

/// Paths and queries that a page refers to, relative ones resolved, without those of other sites.
pub(super) fn of_page(html: &[u8], at: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let text = String::from_utf8_lossy(html);
    for name in ["href", "src"] {
        for (index, _) in text.match_indices(name) {
            if found.len() >= MOST {
                return found;
            }
            let rest = text[index + name.len()..].trim_start();
            let Some(rest) = rest.strip_prefix('=') else { continue };
            let rest = rest.trim_start();
            let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
            let start = usize::from(quote.is_some());
            let ends = |c: char| match quote {
                Some(quote) => c == quote,
                None => c.is_whitespace() || c == '>',
            };
            // What has no end within the longest reference is none; looking further would be quadratic.
            let end = rest[start..].char_indices().take(LONGEST + 1).find(|(_, c)| ends(*c));
            let value = end.map(|(length, _)| &rest[start..start + length]);
            found.extend(value.and_then(|value| resolve(value, at)));
        }
    }
    found
}

/// The target that a reference at some path means, if it is one of the same application.
pub(super) fn resolve(reference: &str, at: &str) -> Option<String> {
    let reference = reference.trim().replace("&amp;", "&");
    let reference = reference.split('#').next().unwrap_or_default();
    if reference.is_empty() || reference.len() > LONGEST || reference.starts_with("//") {
        return None;
    }
    let before_path = reference.split(['/', '?']).next().unwrap_or_default();
    if before_path.contains(':') {
        return None;
    }
    let path_at = at.split('?').next().unwrap_or("/");
    let joined = match reference.chars().next() {
        Some('/') => reference.to_owned(),
        Some('?') => format!("{path_at}{reference}"),
        _ => format!("{}/{reference}", path_at.rsplit_once('/').map_or("", |(directory, _)| directory)),
    };
    let (path, query) =
        joined.split_once('?').map_or((joined.as_str(), None), |(path, query)| (path, Some(query)));
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut target = format!("/{}", segments.join("/"));
    if let Some(query) = query {
        target = format!("{target}?{query}");
    }
    is_target(&target).then_some(target)
}

/// What may stand in a request line as it is.
pub(super) fn is_target(target: &str) -> bool {
    target.starts_with('/') && target.len() <= LONGEST && target.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The word in it that says that it changes something, if there is one.
pub(super) fn changes(target: &str) -> Option<&'static str> {
    let lower = target.to_ascii_lowercase();
    let mut words = lower.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.find_map(|word| CHANGING.into_iter().find(|changing| *changing == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_the_same_application_are_found() {
        let html = br#"<a href="/shop/?page=2&amp;x=1#top">x</a> <a href='item/3'>y</a> <img src=/logo.png>
            <a href="https://elsewhere.example/">z</a> <a href="//elsewhere.example/">z</a> <a href="mailto:a@b">m</a>
            <a href="javascript:alert(1)">j</a> <a href="../up">u</a> <a href="?only=query">q</a> <a href="/a b">s</a>"#;
        let found: Vec<String> = of_page(html, "/list/all?x").into_iter().collect();
        assert_eq!(found, ["/list/all?only=query", "/list/item/3", "/logo.png", "/shop/?page=2&x=1", "/up"]);
    }

    #[test]
    fn nothing_leaves_the_root_or_the_request_line() {
        assert_eq!(resolve("../../../etc", "/a").as_deref(), Some("/etc"));
        for wrong in ["/a\r\nX: y", "/\u{e4}", "", "#top", "data:text/html,x"] {
            assert_eq!(resolve(wrong, "/"), None, "{wrong:?}");
        }
        let endless = "href=".repeat(10_000);
        assert!(of_page(endless.as_bytes(), "/").len() <= MOST);
    }

    #[test]
    fn what_changes_something_is_known_by_its_name() {
        assert_eq!(changes("/accounts/Logout/"), Some("logout"));
        assert_eq!(changes("/item/3/delete?sure=1"), Some("delete"));
        assert_eq!(changes("/undeleted/presets"), None);
    }
}
