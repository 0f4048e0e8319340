//! `serpentry claims`: put what is commonly said about hosting to the test; and `serpentry lab`, what belongs to the
//! laboratory itself. What is tested, and how, is the business of `lab`; here are the command line, progress and results.

mod show;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use lab::claims::{self, AgainstItself, Claim, Outcome};
use lab::experiment::{Effort, Options, SessionError};
use lab::journal;

use crate::exit::{FAILED, Usage};
use crate::laboratory::{self, denied};
use crate::output::print;
use crate::say;
use serpentry::stamp;

#[derive(Debug, Args)]
pub(crate) struct ClaimsArguments {
    /// Which to test, for example C1 C2; without any, the list is shown
    #[arg(value_name = "CLAIM")]
    claims: Vec<String>,

    /// Test all of them
    #[arg(long, conflicts_with = "claims")]
    all: bool,

    /// Compare an application with itself so many times instead: how often is that conclusive?
    #[arg(long, value_name = "N", conflicts_with_all = ["claims", "all"], value_parser = clap::value_parser!(u16).range(1..=100))]
    aa: Option<u16>,

    /// Write everything that was measured and concluded to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a report with plots to this file, for a browser
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    /// Of arrivals and of the order of blocks
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How much is measured
    #[arg(long, value_enum, default_value_t = EffortName::Normal)]
    effort: EffortName,

    /// The applications' interpreter [default: python3]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EffortName {
    /// To see that everything works; decides nothing.
    Quick,
    /// About a minute for a claim.
    Normal,
    /// Two to three times as long, for noisy machines.
    Thorough,
}

#[derive(Debug, Args)]
pub(crate) struct LabArguments {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Put back what a laboratory left on this machine that was killed.
    Restore,
    /// What a neighbour's worker starts.
    #[command(hide = true)]
    Neighbour { socket: PathBuf, name: String },
}

pub(crate) fn laboratory(arguments: &LabArguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        LabCommand::Restore => {
            let done = journal::restore(&journal::directory()).map_err(denied)?;
            let text = if done.is_empty() { "nothing was left\n".to_owned() } else { done.join("\n") + "\n" };
            print(&text)?;
        }
        LabCommand::Neighbour { socket, name } => {
            lab::neighbour::serve(socket, name).with_context(|| format!("the neighbour {name}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run(arguments: &ClaimsArguments) -> anyhow::Result<ExitCode> {
    let chosen = if let Some(comparisons) = arguments.aa {
        // Measuring has a thread of its own, and this process only this one run.
        let itself: &'static dyn Claim = Box::leak(Box::new(AgainstItself(comparisons.into())));
        vec![itself]
    } else if arguments.all {
        claims::all()
    } else {
        claims::named(&arguments.claims).map_err(|unknown| {
            let known: Vec<&str> = claims::all().iter().map(|claim| claim.id()).collect();
            Usage(format!("there is no claim {unknown}: {}", known.join(", ")))
        })?
    };
    if chosen.is_empty() {
        print(&show::list(&claims::all()))?;
        return Ok(ExitCode::SUCCESS);
    }
    laboratory::check_writable(
        [&arguments.report, &arguments.json].into_iter().flatten().map(PathBuf::as_path),
    )?;
    let started = stamp::now();
    let interrupt = Arc::new(AtomicBool::new(false));
    let effort = match arguments.effort {
        EffortName::Quick => Effort::QUICK,
        EffortName::Normal => Effort::NORMAL,
        EffortName::Thorough => Effort::THOROUGH,
    };
    let python = arguments.python.clone();
    let options = Options { python, ..laboratory::options(arguments.seed, effort, &interrupt)? };
    let result =
        laboratory::attend("claims", &interrupt, move |progress| claims::run(&chosen, options, progress))?;
    let mut outcome = match result {
        Ok(outcome) => outcome,
        Err(SessionError::Journal(error)) => return Err(denied(error)),
        Err(error) => return Err(error.into()),
    };
    outcome.document.method.command = Some(laboratory::command());
    outcome.document.started = started;
    report(arguments, &outcome)
}

fn report(arguments: &ClaimsArguments, outcome: &Outcome) -> anyhow::Result<ExitCode> {
    if let Some(path) = &arguments.report {
        fs::write(path, lab::report::html(&outcome.document)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    match arguments.json.as_deref() {
        Some(path) if path == Path::new("-") => print(&(outcome.document.write()? + "\n"))?,
        path => {
            if let Some(path) = path {
                fs::write(path, outcome.document.write()? + "\n")
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            print(&show::text(&outcome.document))?;
        }
    }
    for trouble in &outcome.trouble {
        say::error(format_args!("{trouble}"));
    }
    Ok(if outcome.trouble.is_empty() { ExitCode::SUCCESS } else { FAILED.into() })
}
