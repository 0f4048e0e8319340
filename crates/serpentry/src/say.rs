//! Lines for the operator, on standard error. The request path never logs here.

use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};

use clap::ValueEnum;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

pub(crate) fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

pub(crate) fn error(text: fmt::Arguments<'_>) {
    line(Level::Error, "error: ", text);
}

pub(crate) fn warning(text: fmt::Arguments<'_>) {
    line(Level::Warning, "warning: ", text);
}

pub(crate) fn info(text: fmt::Arguments<'_>) {
    line(Level::Info, "", text);
}

pub(crate) fn debug(text: fmt::Arguments<'_>) {
    line(Level::Debug, "debug: ", text);
}

/// At a level that the caller has worked out.
pub(crate) fn at(level: Level, text: fmt::Arguments<'_>) {
    match level {
        Level::Error => error(text),
        Level::Warning => warning(text),
        Level::Info => info(text),
        Level::Debug => debug(text),
    }
}

fn line(level: Level, mark: &str, text: fmt::Arguments<'_>) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let text = format!("serpentry: {mark}{text}\n");
    // Whoever closed our standard error does not want to read it.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
