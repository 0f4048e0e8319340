//! From what the file says to what it means: every setting from the application, else `[defaults]`, else the environment, else
//! what is built in; and where each came from.
//!
//! Goes on after mistakes, with the built-in value in place of the wrong one, so that the rest can be looked at too. Such a
//! plan is never given to anybody.

mod app;
mod host;
pub(crate) mod layers;
mod routes;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Environment;
use crate::document::Document;
use crate::origin::Origins;
use crate::plan::Plan;
use crate::read::Reader;
use crate::source::Source;

pub(crate) fn resolve(
    document: &Document,
    environment: &Environment,
    source: &Arc<Source>,
    reader: &mut Reader<'_>,
) -> (Plan, Origins) {
    let mut apps = Vec::with_capacity(document.apps.len());
    let mut app_places = HashMap::with_capacity(document.apps.len());
    for raw in &document.apps {
        let (app, places) = app::resolve(raw, &document.defaults, environment, reader);
        app_places.insert(app.name.clone(), places);
        apps.push(app);
    }
    let (host, host_places) = host::resolve(document, &apps, environment, reader);
    let plan = Plan { host, apps };
    let origins = Origins { source: Arc::clone(source), host: host_places, apps: app_places };
    routes::check(&plan, &origins, document, reader);
    (plan, origins)
}

/// A path of the file in full. Symbolic links and ".." are left to the operating system.
fn absolute(directory: &Path, path: &str) -> PathBuf {
    directory.join(path).components().collect()
}
