//! What the commands of the laboratory have in common: measuring on a thread of its own, and an early end by signal.

mod progress;
pub(crate) mod subject;

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, anyhow};
use lab::experiment::{Effort, Options, Progress};
use lab::journal::{self, JournalError};
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

/// What every session needs; an interpreter for the laboratory's own applications is to be added where one was named.
///
/// # Errors
/// This program's own path is not known.
pub(crate) fn options(seed: u64, effort: Effort, interrupt: &Arc<AtomicBool>) -> anyhow::Result<Options> {
    Ok(Options {
        program: std::env::current_exe().context("cannot find this program")?,
        journal: journal::directory(),
        scratch: std::env::temp_dir(),
        python: None,
        seed,
        effort,
        interrupt: Arc::clone(interrupt),
    })
}

/// What repeats this run, for a shell.
pub(crate) fn command() -> String {
    let words = std::env::args_os().skip(1).map(|word| shell_word(&word.to_string_lossy()));
    std::iter::once("serpentry".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// See that these can be written, before anything is measured; what is in them stays until there is something else. `-` is
/// standard output.
///
/// # Errors
/// One cannot.
pub(crate) fn check_writable<'a>(paths: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    for path in paths.into_iter().filter(|path| *path != Path::new("-")) {
        let opened = File::options().create(true).append(true).open(path);
        opened.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        let same = |word: &str| assert_eq!(shell_word(word), word);
        same("--rate=50");
        same("/shop/item/3");
        assert_eq!(shell_word("/a?b=1&c=$x"), "'/a?b=1&c=$x'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn a_file_that_can_be_written_keeps_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let (old, fresh) = (folder.path().join("old"), folder.path().join("fresh"));
        std::fs::write(&old, "from before").unwrap();
        check_writable([old.as_path(), fresh.as_path(), Path::new("-")]).unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "from before");
        assert!(fresh.exists());
        let error = check_writable([folder.path().join("no/such").as_path()]).unwrap_err();
        assert!(error.to_string().starts_with("cannot write"), "{error}");
    }
}
