//! Which route was inside each time a worker crashed: when it is one and the same, it is named.
//!
//! Only a hint, and one that must not point at bystanders: with two routes that were there each time, none is named.

use std::collections::BTreeSet;

use incident::Request;

/// Routes that are remembered. With more of them inside, nothing can be told apart.
const MOST: usize = 16;

/// Of one application.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Crashes in a row with something in common.
    crashes: u32,
    /// What was inside of all of them.
    routes: BTreeSet<String>,
}

impl Suspects {
    /// A worker crashed with these requests inside. Returns the only route that was inside of this one and of those before, and
    /// of how many.
    pub(super) fn crashed(&mut self, inside: &[Request]) -> Option<(&str, u32)> {
        let now: BTreeSet<String> =
            inside.iter().map(|it| router::route_name(&it.method, &it.path)).take(MOST).collect();
        let common: BTreeSet<String> = self.routes.intersection(&now).cloned().collect();
        if common.is_empty() {
            *self = Suspects { crashes: 1, routes: now };
            return None;
        }
        *self = Suspects { crashes: self.crashes.saturating_add(1), routes: common };
        let only = self.routes.first().filter(|_| self.routes.len() == 1)?;
        Some((only, self.crashes))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn inside(paths: &[&str]) -> Vec<Request> {
        let request = |path: &&str| Request {
            id: String::new(),
            method: "GET".to_owned(),
            path: (*path).to_owned(),
            age: Duration::ZERO,
            outcome: "answered 502",
        };
        paths.iter().map(request).collect()
    }

    #[test]
    fn the_route_that_is_there_each_time_is_named() {
        let mut suspects = Suspects::default();
        assert_eq!(suspects.crashed(&inside(&["/", "/crash/1"])), None, "once proves nothing");
        assert_eq!(suspects.crashed(&inside(&["/crash/2", "/other"])), Some(("GET /crash/{}", 2)));
        assert_eq!(suspects.crashed(&inside(&["/crash/3"])), Some(("GET /crash/{}", 3)));
    }

    #[test]
    fn bystanders_are_not_named() {
        let mut suspects = Suspects::default();
        assert_eq!(suspects.crashed(&inside(&["/", "/crash"])), None);
        assert_eq!(suspects.crashed(&inside(&["/", "/crash"])), None, "either of the two");
        assert_eq!(suspects.crashed(&inside(&[])), None, "nothing was inside");
        assert_eq!(suspects.crashed(&inside(&["/"])), None, "it begins anew");
        assert_eq!(suspects.crashed(&inside(&["/"])), Some(("GET /", 2)));
    }
}
