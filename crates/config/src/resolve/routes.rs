//! What routes mean together: nobody without any, and no two applications on the same one.

use std::collections::HashMap;

use crate::diagnostic::Draft;
use crate::document::Document;
use crate::origin::Origins;
use crate::plan::{Plan, Route};
use crate::read::Reader;
use crate::source::Span;

pub(super) fn check(plan: &Plan, origins: &Origins, document: &Document, reader: &mut Reader<'_>) {
    let mut taken: HashMap<&Route, (&str, &Span)> = HashMap::new();
    for (app, raw) in plan.apps.iter().zip(&document.apps) {
        let Some(places) = origins.apps.get(&app.name) else { continue };
        for (route, span) in app.routes.iter().zip(&places.items) {
            match taken.get(route) {
                Some((other, first)) => {
                    let draft = Draft::error(
                        span.clone(),
                        format!("`{route}` belongs to the application `{other}` already"),
                    );
                    let draft = draft.related((*first).clone(), format!("the route of `{other}`"));
                    reader.report(draft.hint("give one of them another host or a longer prefix"));
                }
                None => {
                    taken.insert(route, (&app.name, span));
                }
            }
        }
        // A wrong list of routes is a mistake of its own.
        let said = raw.layer.entries.get("routes").is_some_and(|entry| entry.value.is_none());
        let misspelt = raw.layer.misspelt.contains(&"routes");
        // Nor is it known who the default is, if that is wrong.
        let unclear = document.host.misspelt.contains(&"default_app")
            || document.host.entries.get("default_app").is_some_and(|entry| entry.value.is_none());
        let default = unclear || plan.host.default_app.as_ref() == Some(&app.name);
        if app.routes.is_empty() && !said && !misspelt && !default && document.names.len() > 1 {
            let span = raw.layer.entries.get("routes").map_or(&raw.span, |entry| &entry.span);
            let draft = Draft::error(
                span.clone(),
                format!("the application `{}` has no routes", app.name.escape_debug()),
            );
            reader.report_missing(draft.hint(format!(
                "for example: routes = [\"{0}.example.com\"], or [host] default_app = \"{0}\"",
                app.name.escape_debug()
            )));
        }
    }
}
