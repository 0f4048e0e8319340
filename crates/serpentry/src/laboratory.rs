//! What the commands of the laboratory have in common: measuring on a thread of its own, and an early end by signal.

mod progress;

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, anyhow};
use lab::experiment::Progress;
use lab::journal::JournalError;
use lab::report::Style;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::exit::Denied;
use crate::say;

/// How results are shown: https://no-color.org.
pub(crate) fn style() -> Style {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    Style { colour: std::io::stdout().is_terminal() && !refused && !dumb }
}

pub(crate) fn denied(error: JournalError) -> anyhow::Error {
    match error {
        JournalError::Foreign { .. } => Denied(error.to_string()).into(),
        error => error.into(),
    }
}

/// Measure on a thread that lives as long as everything that it starts, and let a signal end it early.
pub(crate) fn attend<T: Send + 'static>(
    name: &str,
    interrupt: &AtomicBool,
    measure: impl FnOnce(&mut dyn Progress) -> T + Send + 'static,
) -> anyhow::Result<T> {
    let (finished, finish) = oneshot::channel();
    let body = move || {
        let result = measure(&mut progress::Lines::default());
        // Whoever waited has gone only if it failed, and then says so.
        let _ = finished.send(result);
    };
    let measuring = thread::Builder::new().name(name.into()).spawn(body).context("cannot start measuring")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("cannot wait for signals")?.block_on(follow(finish, interrupt));
    interrupt.store(true, Ordering::Relaxed);
    measuring
        .join()
        .map_err(|_| anyhow!("measuring panicked; `serpentry lab restore` puts the machine back"))?;
    result
}

async fn follow<T>(mut finish: oneshot::Receiver<T>, interrupt: &AtomicBool) -> anyhow::Result<T> {
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
