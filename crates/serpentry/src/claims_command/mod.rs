//! `serpentry claims`: put what is commonly said about hosting to the test; and `serpentry lab`, what belongs to the
//! laboratory itself. What is tested, and how, is the business of `lab`; here are the command line, progress and results.

mod progress;
mod show;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use lab::claims::{self, AgainstItself, Claim, Outcome};
use lab::experiment::{Effort, Options, SessionError};
use lab::journal::{self, JournalError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::exit::{Denied, FAILED, Usage};
use crate::output::print;
use crate::say;

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

fn denied(error: JournalError) -> anyhow::Error {
    match error {
        JournalError::Foreign { .. } => Denied(error.to_string()).into(),
        error => error.into(),
    }
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
    // Before anything is measured: it would be a pity afterwards.
    for path in arguments.json.iter().chain(&arguments.report).filter(|path| path.as_path() != Path::new("-"))
    {
        let writable = fs::OpenOptions::new().append(true).create(true).open(path);
        writable.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let interrupt = Arc::new(AtomicBool::new(false));
    let options = Options {
        program: std::env::current_exe().context("cannot find this program")?,
        journal: journal::directory(),
        scratch: std::env::temp_dir(),
        python: arguments.python.clone(),
        seed: arguments.seed,
        effort: match arguments.effort {
            EffortName::Quick => Effort::QUICK,
            EffortName::Normal => Effort::NORMAL,
            EffortName::Thorough => Effort::THOROUGH,
        },
        interrupt: Arc::clone(&interrupt),
    };
    let mut outcome = attend(chosen, options, &interrupt)?;
    outcome.document.method.command = Some(command(arguments));
    report(arguments, &outcome)
}

/// Measure on a thread that lives as long as everything that it starts, and let a signal end it early.
fn attend(
    chosen: Vec<&'static dyn Claim>,
    options: Options,
    interrupt: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let (finished, finish) = oneshot::channel();
    let measure = move || {
        let result = claims::run(&chosen, options, &mut progress::Lines::default());
        // Whoever waited has gone only if it failed, and then says so.
        let _ = finished.send(result);
    };
    let measuring =
        thread::Builder::new().name("claims".into()).spawn(measure).context("cannot start measuring")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("cannot wait for signals")?.block_on(follow(finish, interrupt));
    interrupt.store(true, Ordering::Relaxed);
    measuring
        .join()
        .map_err(|_| anyhow!("measuring panicked; `serpentry lab restore` puts the machine back"))?;
    match result? {
        Ok(outcome) => Ok(outcome),
        Err(SessionError::Journal(error)) => Err(denied(error)),
        Err(error) => Err(error.into()),
    }
}

async fn follow(
    mut finish: oneshot::Receiver<Result<Outcome, SessionError>>,
    interrupt: &AtomicBool,
) -> anyhow::Result<Result<Outcome, SessionError>> {
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for a signal")?;
    loop {
        tokio::select! {
            result = &mut finish => return result.context("measuring ended without a result"),
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        if !interrupt.swap(true, Ordering::Relaxed) {
            say::info(format_args!("ending: what is measured is kept, the machine is put back"));
        }
    }
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

/// What repeats the run.
fn command(arguments: &ClaimsArguments) -> String {
    let effort = arguments.effort.to_possible_value().map(|value| value.get_name().to_owned());
    let what = match (arguments.aa, arguments.all) {
        (Some(comparisons), _) => format!("--aa {comparisons}"),
        (None, true) => "--all".to_owned(),
        (None, false) => arguments.claims.join(" "),
    };
    format!("serpentry claims {what} --seed {} --effort {}", arguments.seed, effort.unwrap_or_default())
}
