//! `serpentry logs`: shows what applications wrote, whether a host is running or not.
//!
//! It reads files and nothing else; it never asks the host.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::follow::{Form, Merged};
use super::history;

/// How often followed logs are looked at. Asking costs a microsecond per log, and works on every file system.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often new applications are looked for.
const LOOK_FOR_APPLICATIONS_EVERY: Duration = Duration::from_secs(1);

/// Names in an error message.
const NAMES_SAID: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// Applications; several are merged by time [default: all]
    #[arg(value_name = "APP")]
    apps: Vec<String>,

    /// Go on showing lines as they are written, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// Begin with the last N lines of all that is shown, or with "all"
    #[arg(short = 'n', long, value_name = "N", default_value = "100", value_parser = line_count)]
    lines: Lines,

    /// One JSON object per line: at, app, stream (out, err or host), pid, text
    #[arg(long)]
    json: bool,

    /// The host's state directory [default: $SERPENTRY_STATE, what ./serpentry.toml says, $STATE_DIRECTORY, .serpentry]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// How far back.
#[derive(Debug, Clone, Copy)]
struct Lines(Option<usize>);

fn line_count(text: &str) -> Result<Lines, String> {
    match text {
        "all" => Ok(Lines(None)),
        number => {
            number.parse().map(|count| Lines(Some(count))).map_err(|_| "use a number, or all".to_owned())
        }
    }
}

/// The exit status: 0 also when it is interrupted, or when whoever reads it has seen enough.
pub(crate) fn run(arguments: &LogsArguments) -> anyhow::Result<ExitCode> {
    match show(arguments) {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn show(arguments: &LogsArguments) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let directory = serpentry::state::find(arguments.state.as_deref(), crate::load::state_here).join("logs");
    let apps = choose(&directory, &arguments.apps)?;
    // Following everything, there may be more of them later.
    let several = apps.len() > 1 || (arguments.apps.is_empty() && arguments.follow);
    let form = match several {
        _ if arguments.json => Form::Json,
        true => Form::Named(apps.iter().map(String::len).max().unwrap_or_default()),
        false => Form::Plain,
    };
    let (mut merged, extra) = Merged::open(&directory, &apps, arguments.lines.0, form)
        .with_context(|| format!("cannot read the logs in {}", directory.display()))?;
    // Written in large pieces, unlike the standard library's own, which writes line by line.
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut output = BufWriter::with_capacity(64 * 1024, stdout);
    if !arguments.follow {
        return Ok(merged.show(extra, &mut output)?);
    }
    let everything = arguments.apps.is_empty().then_some(&directory);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    runtime.block_on(follow(&mut merged, extra, everything, &mut output))
}

/// Show lines until a signal comes, or until nobody reads them. `everything` is the folder in which new applications count.
async fn follow(
    merged: &mut Merged,
    extra: usize,
    everything: Option<&PathBuf>,
    output: &mut BufWriter<File>,
) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let mut looked = Instant::now();
    merged.show(extra, output)?;
    while !is_closed(output.get_ref()) {
        tokio::select! {
            biased;
            _ = interrupted.recv() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        for app in merged.look_for_newer()? {
            crate::say::warning(format_args!(
                "lines of {app} are missing here: its files were rotated away before they could be read"
            ));
        }
        if let Some(directory) = everything.filter(|_| looked.elapsed() >= LOOK_FOR_APPLICATIONS_EVERY) {
            looked = Instant::now();
            merged.look_for_applications(directory)?;
        }
        merged.show(0, output)?;
    }
    Ok(())
}

/// Nobody reads any more; without looking we would notice only with the next line.
fn is_closed(output: &File) -> bool {
    let mut fds = [PollFd::new(output, PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(count) if count > 0)
        && fds[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}

/// The applications asked for, or all.
fn choose(directory: &Path, asked: &[String]) -> anyhow::Result<Vec<String>> {
    let existing = match history::applications(directory) {
        Ok(existing) => existing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!(
                "there are no logs in {}: name the host's state directory with --state",
                directory.display()
            )
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read the logs in {}", directory.display()));
        }
    };
    if asked.is_empty() {
        return Ok(existing);
    }
    let mut chosen: Vec<String> = Vec::new();
    for app in asked {
        if !existing.contains(app) {
            let first: Vec<&str> = existing.iter().take(NAMES_SAID).map(String::as_str).collect();
            let those = match existing.len() - first.len() {
                0 if first.is_empty() => "there are none yet".to_owned(),
                0 => format!("there are {}", first.join(", ")),
                more => format!("there are {} and {more} more", first.join(", ")),
            };
            bail!("there is no log of {app:?} in {}: {those}", directory.display());
        }
        if !chosen.contains(app) {
            chosen.push(app.clone());
        }
    }
    Ok(chosen)
}

/// Every log is a file or more; a thousand of them are more than most shells allow without asking.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Not allowed: then opening says what is missing.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
