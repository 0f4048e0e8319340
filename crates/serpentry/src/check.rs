//! `serpentry check`: all that is wrong with a configuration, or what it comes to.

use std::io::Write as _;
use std::process::ExitCode;

use config::{App, Diagnostics, Plan};

use crate::cli::CheckArguments;
use crate::exit;
use crate::load::{self, Loaded, Report, counted};

pub(crate) fn run(arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    if arguments.schema {
        print(&config::schema::text());
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = load::load(&arguments.file, &std::collections::BTreeMap::new());
    let diagnostics = match &loaded {
        Ok(loaded) => &loaded.warnings,
        Err(Report(all)) => all,
    };
    if arguments.json {
        print(&format!("{:#}\n", diagnostics.to_json()));
    } else {
        // Whoever closed our standard error does not want to read it.
        let _ = std::io::stderr().lock().write_all(diagnostics.render(load::colour()).as_bytes());
    }
    let file = arguments.file.display();
    match &loaded {
        Ok(loaded) if arguments.print => print(&config::print(&loaded.plan, &loaded.origins)),
        Ok(loaded) if !arguments.json => print(&summary(&file.to_string(), loaded)),
        Ok(_) => {}
        Err(_) => {
            if !arguments.json {
                let _ = writeln!(std::io::stderr(), "{file}: {}", problems(diagnostics));
            }
            return Ok(exit::CONFIGURATION.into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each application, and one for all.
fn summary(file: &str, loaded: &Loaded) -> String {
    let plan = &loaded.plan;
    let width = plan.apps.iter().map(|app| app.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for app in &plan.apps {
        let python =
            loaded.interpreters.get(&app.name).map_or(String::new(), |found| format!("3.{}", found.minor));
        text.push_str(&format!("{:width$}  {}\n", app.name, line(plan, app, &python)));
    }
    let routes = plan.apps.iter().map(|app| app.routes.len()).sum();
    let (apps, routes) = (counted(plan.apps.len(), "application"), counted(routes, "route"));
    text.push_str(&format!("{file}: {apps}, {routes}, {}\n", problems(&loaded.warnings)));
    text
}

fn line(plan: &Plan, app: &App, python: &str) -> String {
    /// More routes than that make no line that anybody reads.
    const ROUTES: usize = 4;
    let workers = match (app.workers.min, app.workers.max) {
        (min, max) if min == max => counted(max as usize, "worker"),
        (min, max) => format!("{min} to {max} workers"),
    };
    let mut routes: Vec<String> = app.routes.iter().take(ROUTES).map(ToString::to_string).collect();
    if app.routes.len() > ROUTES {
        routes.push(format!("and {} more", app.routes.len() - ROUTES));
    }
    if plan.host.default_app.as_ref() == Some(&app.name) {
        routes.push("everything else".to_owned());
    }
    format!("{} ({}, {workers}, Python {python}): {}", app.app, app.tenancy, routes.join(", "))
}

fn problems(diagnostics: &Diagnostics) -> String {
    match diagnostics.counts() {
        (0, 0) => "no problems".to_owned(),
        (errors, 0) => counted(errors, "error"),
        (0, warnings) => counted(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
    }
}

/// To standard output. Whoever closed it does not want to read it.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
