//! Which application is meant, and a copy of it for the laboratory: an application of a configuration file, or `module:app`.

use std::path::{Path, PathBuf};

use config::{App, EventLoop, Interface, Lifespan};
use lab::compare::Subject;
use lab::host::AppPlan;
use serde_json::{Map, Value};

use crate::exit::Usage;
use crate::interpreter;
use crate::load;

/// An application, and where it is configured.
pub(crate) struct Found {
    pub(crate) subject: Subject,
    pub(crate) file: Option<PathBuf>,
    /// The state directory, where results are kept.
    pub(crate) state: PathBuf,
}

/// # Errors
/// There is no such application, or what it needs is not there.
pub(crate) fn find(name: &str, file: &Path, chdir: &Path, python: Option<&Path>) -> anyhow::Result<Found> {
    if name.contains(':') {
        let state = std::path::absolute(chdir)?.join(".serpentry");
        return Ok(Found { subject: of_module(name, chdir, python)?, file: None, state });
    }
    let loaded = load::load(file, &std::collections::BTreeMap::new())?;
    let Some(app) = loaded.plan.app(name) else {
        let known: Vec<&str> = loaded.plan.apps.iter().map(|app| app.name.as_str()).collect();
        let text = format!(
            "{} has no application {name}: it has {}; an application without a file is given as module:attribute",
            file.display(),
            known.join(", ")
        );
        return Err(Usage(text).into());
    };
    let python = loaded.interpreters.get(name).map(|found| found.path.clone());
    let state = loaded.plan.host.state.clone();
    Ok(Found { subject: of_app(app, python.as_deref()), file: Some(file.to_owned()), state })
}

fn of_app(app: &App, python: Option<&Path>) -> Subject {
    let mut plan = AppPlan::new(&app.app, &app.directory);
    let mut set = |key: &str, value: Value| {
        plan.keys.insert(key.to_owned(), value);
    };
    if let Some(python) = python {
        set("python", python.to_string_lossy().into());
    }
    if let Some(user) = &app.user {
        set("user", user.as_str().into());
    }
    if app.factory {
        set("factory", true.into());
    }
    match app.interface {
        Interface::Auto => {}
        Interface::Wsgi => set("interface", "wsgi".into()),
        Interface::Asgi => set("interface", "asgi".into()),
    }
    match app.lifespan {
        Lifespan::Auto => {}
        Lifespan::On => set("lifespan", "on".into()),
        Lifespan::Off => set("lifespan", "off".into()),
    }
    match app.event_loop {
        EventLoop::Auto => {}
        EventLoop::Asyncio => set("loop", "asyncio".into()),
        EventLoop::Uvloop => set("loop", "uvloop".into()),
    }
    if !app.env.is_empty() {
        let env: Map<String, Value> =
            app.env.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        set("env", Value::Object(env));
    }
    let plan = plan.limit("processes", app.limits.processes).limit("open_files", app.limits.open_files);
    Subject {
        name: app.name.clone(),
        plan,
        factory: app.factory,
        watched: vec![app.directory.clone()],
        memory_limit: app.limits.memory,
    }
}

fn of_module(app: &str, chdir: &Path, python: Option<&Path>) -> anyhow::Result<Subject> {
    let directory = std::path::absolute(chdir)?;
    let python = interpreter::find(python, &directory)?;
    let factory = app.ends_with("()");
    let spec = app.trim_end_matches("()");
    let mut plan = AppPlan::new(spec, &directory).set("python", python.path.to_string_lossy());
    if factory {
        plan = plan.set("factory", true);
    }
    Ok(Subject { name: app.to_owned(), plan, factory, watched: vec![directory], memory_limit: None })
}
