//! `serpentry drill`: a fault is made to happen in a test application of the running host, and shown is what the visitor
//! gets, what the log says and what `serpentry why` says, with the time between.
//!
//! ```text
//!  faults/   which faults there are, what each must become, how it is made to happen
//!  stage     one application of a running host, and the visitors that run beside the fault
//!  visitor   one request and what came back
//!  conduct   one drill: inject, watch the incidents, ask everybody
//!  drilled   what came of it: JSON, text, and how precise the explanation is
//!  ground    a host of test applications of its own, that ends with us
//! ```
//!
//! It talks to the host as everybody does: visitors' requests, signals to workers, the control interface. It knows nothing of
//! the host's insides, so that what it measures is what an operator sees. Applications that are not the test application of
//! `app/serpentry_drill.py` are left alone unless `--yes` is said, and then only hurt from outside.

mod conduct;
mod drilled;
mod faults;
mod ground;
mod stage;
mod visitor;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use serpentry::control::Tenancy;

use crate::commands::HostArguments;
use crate::exit::{FAILED, Usage};
use crate::output::print;
use crate::{say, units};
use drilled::Drilled;
use faults::Fault;
use ground::Ground;

/// The test application.
const SOURCE: &str = include_str!("app/serpentry_drill.py");

#[derive(Debug, Args)]
pub(crate) struct DrillArguments {
    /// The application of the running host
    #[arg(requires = "fault")]
    app: Option<String>,

    /// What shall happen to it; without anything, all faults are listed
    fault: Option<String>,

    /// Also do it to an application that is not a test application. Its visitors will notice
    #[arg(long, requires = "app")]
    yes: bool,

    /// What visitors ask for, of an application that is not a test application
    #[arg(long, value_name = "PATH", default_value = "/", requires = "yes")]
    path: String,

    /// Do all faults (or those of --only), each to test applications on a host of their own
    #[arg(long, conflicts_with_all = ["app", "serve", "source"])]
    all: bool,

    /// With --all: only this fault; may be repeated
    #[arg(long, value_name = "FAULT", requires = "all")]
    only: Vec<String>,

    /// With --all: in one tenancy only
    #[arg(long, value_parser = ["shared", "isolated"], requires = "all")]
    tenancy: Option<String>,

    /// With --all: so many times each
    #[arg(long, value_name = "N", default_value_t = 1, requires = "all", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,

    /// Host the test applications, on loopback, with a state directory of their own that is removed at the end
    #[arg(long, conflicts_with_all = ["app", "source"])]
    serve: bool,

    /// With --serve: how long
    #[arg(long = "for", value_name = "TIME", default_value = "30m", value_parser = units::duration, requires = "serve")]
    duration: Duration,

    /// With --serve: the tenancy of the test applications
    #[arg(long, value_parser = ["shared", "isolated"], default_value = "shared", requires = "serve")]
    serve_tenancy: String,

    /// With --all and --serve: the interpreter of the test applications
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,

    /// Print the source of the test application, for a configuration of your own
    #[arg(long, conflicts_with = "app")]
    source: bool,

    /// Print JSON: one object, with --all one per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    host: HostArguments,
}

pub(crate) fn run(arguments: &DrillArguments) -> anyhow::Result<ExitCode> {
    if arguments.source {
        print(SOURCE)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.serve {
        return ground::serve(tenancy(&arguments.serve_tenancy), &arguments.python, arguments.duration);
    }
    if arguments.all {
        return all(arguments);
    }
    match (&arguments.app, &arguments.fault) {
        (Some(app), Some(fault)) => one(arguments, app, known(fault)?),
        _ => list(arguments.json),
    }
}

fn tenancy(name: &str) -> Tenancy {
    if name == "isolated" { Tenancy::Isolated } else { Tenancy::Shared }
}

fn known(name: &str) -> anyhow::Result<&'static Fault> {
    faults::find(name).ok_or_else(|| Usage(format!("no fault {name:?}: `serpentry drill` lists them")).into())
}

fn list(as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        let all = faults::ALL.iter().map(|fault| {
            let also: Vec<_> = fault.also.iter().map(|code| code.as_str()).collect();
            json!({
                "fault": fault.name, "code": fault.code.as_str(), "also": also, "about": fault.about,
                "home": fault.home.app(), "outside": fault.outside.is_some(),
            })
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&all.collect::<Vec<_>>())?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = faults::ALL.iter().map(|fault| fault.name.len()).max().unwrap_or(0);
    let line = |fault: &&Fault| {
        let mark = if fault.outside.is_some() { "*" } else { " " };
        format!("{:width$} {mark} {}  {}\n", fault.name, fault.code, fault.about)
    };
    let lines: String = faults::ALL.iter().map(line).collect();
    print(&format!(
        "{lines}\n* also with --yes, from outside, to an application that is not a test application\n\n\
         serpentry drill --all          all of them, on a host of their own\n\
         serpentry drill --serve        host the test applications shop, feed, batch and neighbour, to try single ones\n\
         serpentry drill APP FAULT      one, to an application of the running host\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn one(arguments: &DrillArguments, app: &str, fault: &'static Fault) -> anyhow::Result<ExitCode> {
    let client = arguments.host.client();
    let status = match client.status() {
        Ok(status) => status,
        Err(error) => return crate::commands::fail(error),
    };
    let stage = stage::Stage::enter(client, &status.host, &status.apps, app, &arguments.path)?;
    let state = PathBuf::from(&status.host.state_directory);
    let drilled = conduct::conduct(stage, fault, &state, arguments.yes)?;
    print(&if arguments.json { format!("{}\n", drilled.json()?) } else { drilled.text() })?;
    Ok(if drilled.is_good() { ExitCode::SUCCESS } else { FAILED.into() })
}

/// Every fault in both tenancies, each on a host that knows nothing of the others.
fn all(arguments: &DrillArguments) -> anyhow::Result<ExitCode> {
    let chosen = match arguments.only.as_slice() {
        [] => faults::ALL.to_vec(),
        names => names.iter().map(|name| known(name)).collect::<Result<_, _>>()?,
    };
    let tenancies = match arguments.tenancy.as_deref() {
        Some(name) => vec![tenancy(name)],
        None => vec![Tenancy::Shared, Tenancy::Isolated],
    };
    let mut done = Vec::new();
    for _ in 0..arguments.repeat {
        for fault in &chosen {
            for tenancy in &tenancies {
                let drilled = on_own_ground(fault, *tenancy, &arguments.python)
                    .unwrap_or_else(|error| Drilled::not_done(fault, *tenancy, format!("{error:#}")));
                say::info(format_args!("{}", drilled.line()));
                if arguments.json {
                    print(&format!("{}\n", drilled.json_line()?))?;
                }
                done.push(drilled);
            }
        }
    }
    if !arguments.json {
        print(&drilled::table(&done))?;
    }
    Ok(if done.iter().all(Drilled::is_good) { ExitCode::SUCCESS } else { FAILED.into() })
}

fn on_own_ground(
    fault: &'static Fault,
    tenancy: Tenancy,
    python: &std::path::Path,
) -> anyhow::Result<Drilled> {
    let ground = Ground::start(tenancy, Some(fault.home), python)?;
    let client = ground.client();
    let status = ground.status()?;
    let stage = stage::Stage::enter(client, &status.host, &status.apps, fault.home.app(), "/")?;
    let drilled = conduct::conduct(stage, fault, &ground.state(), false);
    ground.end();
    drilled
}
