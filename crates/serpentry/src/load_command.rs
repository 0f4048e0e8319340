//! `serpentry load`: send requests at planned times, follow them, and show what came of it. What is measured, and how, is
//! the business of `lab::load`; here are the command line, the progress line and the end.

mod arguments;
mod figures;
mod plan;
mod show;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use lab::load::{self, LoadError, LoadPlan, Record, Recorder, Summary, Tally, Watch};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::exit::{FAILED, Usage};
use crate::output::print;
use crate::say;

pub(crate) use arguments::LoadArguments;
use figures::Figures;

/// Between two pictures of the progress line.
const PICTURE: Duration = Duration::from_millis(250);

pub(crate) fn run(arguments: &LoadArguments) -> anyhow::Result<ExitCode> {
    raise_descriptor_limit();
    let plan = plan::make(arguments)?;
    let (tally, summary) = match attend(&plan, arguments.warm_up)? {
        Ok(result) => result,
        Err(error @ LoadError::System { .. }) => return Err(error.into()),
        // It was not begun.
        Err(error) => return Err(Usage(error.to_string()).into()),
    };
    if arguments.realtime && !summary.realtime {
        say::warning(format_args!(
            "--realtime was refused: it needs root or CAP_SYS_NICE; the generator ran as any other"
        ));
    }
    let figures = Figures::of(arguments, &plan, &tally, &summary);
    print(&if arguments.json { show::json(&figures)? } else { show::text(&figures, &tally) })?;
    match &figures.because {
        None => Ok(ExitCode::SUCCESS),
        Some(sentence) => {
            say::error(format_args!("{sentence}"));
            Ok(FAILED.into())
        }
    }
}

/// Each connection takes one.
fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where it is not possible, the plan's check says what is missing.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Leaves out what was planned before the warm-up was over.
struct AfterWarmUp {
    tally: Tally,
    from: u64,
}

impl Recorder for AfterWarmUp {
    fn record(&mut self, record: &Record) {
        if record.planned >= self.from {
            self.tally.record(record);
        }
    }
}

/// Let the generator run on a thread of its own, show its progress, and stop it on Ctrl-C.
fn attend(plan: &LoadPlan, warm_up: Duration) -> anyhow::Result<Result<(Tally, Summary), LoadError>> {
    let watch = Arc::new(Watch::default());
    let (finished, finish) = oneshot::channel();
    let generator = {
        let (plan, watch) = (plan.clone(), Arc::clone(&watch));
        let generate = move || {
            let from = u64::try_from(warm_up.as_nanos()).unwrap_or(u64::MAX);
            let mut recorder = AfterWarmUp { tally: Tally::default(), from };
            let result = load::run(&plan, &mut recorder, &watch).map(|summary| (recorder.tally, summary));
            // Whoever waited has gone only if it failed, and then says so.
            let _ = finished.send(result);
        };
        std::thread::Builder::new()
            .name("load".into())
            .spawn(generate)
            .context("cannot start the generator")?
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot follow the generator")?;
    let result = runtime.block_on(follow(plan, &watch, finish));
    watch.stop();
    generator.join().map_err(|_| anyhow!("the generator panicked"))?;
    result
}

async fn follow(
    plan: &LoadPlan,
    watch: &Watch,
    mut finish: oneshot::Receiver<Result<(Tally, Summary), LoadError>>,
) -> anyhow::Result<Result<(Tally, Summary), LoadError>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for a signal")?;
    let terminal = io::stderr().is_terminal();
    let start = Instant::now();
    let mut pictures = tokio::time::interval(PICTURE);
    let result = loop {
        tokio::select! {
            result = &mut finish => break result.context("the generator ended without a result"),
            _ = interrupt.recv() => watch.stop(),
            _ = terminate.recv() => watch.stop(),
            _ = pictures.tick(), if terminal => {
                let picture = show::progress(start.elapsed(), plan.stop.duration, watch.moment());
                // Nobody depends on it.
                let _ = write!(io::stderr(), "\r\x1b[K{picture}");
            }
        }
    };
    if terminal {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    result
}
