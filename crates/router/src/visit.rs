//! A request's stay with an application: where it is mounted, which limits hold for it, and that it counts until it is
//! over.

use std::rc::Rc;
use std::sync::Arc;

use crate::answer::Problem;
use crate::app::App;
use crate::core::Core;
use crate::deadline::Limits;
use crate::exchange::Exchange;
use crate::prefix::{self, Prefixes};
use crate::routes::{Found, Miss};
use crate::settings::{RouteOverride, Settings};
use crate::snapshot::Reason;

/// The limits of an application, with the exceptions for its parts.
#[derive(Debug)]
pub(crate) struct Overrides {
    own: Limits,
    parts: Option<Box<Prefixes<Limits>>>,
}

impl Overrides {
    pub(crate) fn new(settings: &Settings) -> Self {
        let own = Limits {
            request_timeout: settings.request_timeout,
            first_byte_timeout: settings.first_byte_timeout,
            body_size: settings.body_size,
        };
        let mut parts = Prefixes::default();
        for part in &settings.overrides {
            let RouteOverride { prefix, request_timeout, first_byte_timeout, body_size } = part;
            let limits = Limits {
                request_timeout: request_timeout.unwrap_or(own.request_timeout),
                first_byte_timeout: first_byte_timeout.unwrap_or(own.first_byte_timeout),
                body_size: body_size.unwrap_or(own.body_size),
            };
            parts.add(prefix, limits);
        }
        Overrides { own, parts: (!parts.is_empty()).then(|| Box::new(parts)) }
    }

    /// For a path (as it was sent) after the prefix of its route. One that leaves a part by dot segments is not in it.
    pub(crate) fn limits(&self, path: &str) -> Limits {
        let Some((limits, used)) = self.parts.as_ref().and_then(|parts| parts.longest(path)) else {
            return self.own;
        };
        if used > 0 && prefix::leaves(&path[used..]) { self.own } else { *limits }
    }
}

/// A request between its routing and its end.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) app: Rc<App>,
    /// The prefix of its route, and the bytes that this takes of the path as it was sent.
    pub(crate) prefix: Option<Arc<str>>,
    pub(crate) used: usize,
    pub(crate) limits: Limits,
}

impl Visit {
    /// Find the application of a request. `last`: that of the request before it on its connection.
    pub(crate) fn route(
        core: &Core,
        host: &str,
        path: &str,
        last: Option<&Rc<App>>,
    ) -> Result<Visit, Problem> {
        let Found { app: id, prefix, used } = core.routes().find(host, path).map_err(|miss| match miss {
            Miss::UnknownHost => Problem::UNKNOWN_HOST,
            Miss::NoRoute => Problem::NO_ROUTE,
            Miss::Leaves => Problem::LEAVES_ROUTE,
        })?;
        let app = last.filter(|app| app.id == id).cloned().or_else(|| core.app(id));
        let app = app.filter(|app| !app.is_removed()).ok_or(Problem::NO_ROUTE)?;
        let limits = app.overrides().limits(&path[used..]);
        app.enter();
        Ok(Visit { app, prefix, used, limits })
    }
}

impl Visit {
    /// The client did not wait for the answer.
    pub(crate) fn client_left(&self, exchange: &Exchange) {
        let (app, reason) = (&self.app, Reason::ClientLeft);
        let figures = || app.figures(reason, &self.limits);
        app.troubles.note(&app.core, Some(app.id), reason, figures, || Some(exchange.request("left")));
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.app.leave();
    }
}

/// A connection's place with the application of its latest request.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) app: Rc<App>,
}

impl Seat {
    /// `None`: the application has as many connections as it may have.
    pub(crate) fn take(app: &Rc<App>) -> Option<Seat> {
        let taken = app.connections.get();
        let free = taken < app.settings().connections;
        free.then(|| {
            app.connections.set(taken + 1);
            Seat { app: Rc::clone(app) }
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.app.connections.set(self.app.connections.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn parts_have_limits_of_their_own() {
        let seconds = Duration::from_secs;
        let part = |prefix: &str| RouteOverride { prefix: prefix.to_owned(), ..RouteOverride::default() };
        let settings = Settings {
            request_timeout: Some(seconds(30)),
            body_size: 10,
            overrides: vec![
                RouteOverride { request_timeout: Some(None), ..part("/stream") },
                RouteOverride {
                    body_size: Some(99),
                    first_byte_timeout: Some(Some(seconds(1))),
                    ..part("/stream/up")
                },
            ],
            ..crate::fuzzing::settings()
        };
        let own = Limits { request_timeout: Some(seconds(30)), first_byte_timeout: None, body_size: 10 };
        let overrides = Overrides::new(&settings);
        for path in ["/", "/streams", "/stream/..", "/stream/%2e%2e/x", "*", "/stream/up/../.."] {
            assert_eq!(overrides.limits(path), own, "{path}");
        }
        for path in ["/stream", "/%73tream/x", "/stream/x/.."] {
            assert_eq!(overrides.limits(path), Limits { request_timeout: None, ..own }, "{path}");
        }
        let up = Limits { body_size: 99, first_byte_timeout: Some(seconds(1)), ..own };
        assert_eq!(overrides.limits("/stream/up/x"), up, "the longest part wins, whole");
    }
}
