//! Lines the worker itself writes to standard error. What the application's requests log goes through
//! `sys.stderr`.

use std::io::Write;

/// Write one line; a closed standard error is nobody's problem here.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "serpentry worker: {text}");
}
