//! Results for the user or the next program, on standard output.

use std::io::{self, Write as _};

use anyhow::Context as _;

/// Whoever read our output has seen enough and left: no failure, and nobody is there to be told.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(crate) struct Closed;

/// Print it all now.
///
/// # Errors
/// [`Closed`], or what write(2) says.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        result => result.context("cannot write to standard output"),
    }
}
