//! The threads that may wait: one for the disk, one for standard error. Neither is waited for by anybody.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::book::{Book, Job};
use super::files::Store;

/// At most one warning in this time about logs that cannot be written, whatever their number.
const WARNING_EVERY: Duration = Duration::from_secs(60);

/// Bytes that a pipe or a terminal takes in one piece (`PIPE_BUF`), so that lines of others do not end up inside ours.
const ATOMIC: usize = 4096;

/// Write every batch, until there are no more.
pub(super) fn write_files(book: &Book, mut store: impl Store) {
    let mut warned: Option<Instant> = None;
    while let Some(job) = book.next_job() {
        let batch = match job {
            Job::Write(batch) => batch,
            Job::Close(app) => {
                store.close(&app);
                continue;
            }
        };
        let written = match store.append(&batch.app, &batch.text, batch.rotation) {
            Ok(()) => batch.text.len(),
            Err(failed) => {
                if warned.is_none_or(|at| at.elapsed() >= WARNING_EVERY) {
                    warned = Some(Instant::now());
                    book.warn(&format!(
                        "{failed}: log lines of {} are dropped and counted until it can be written",
                        batch.app
                    ));
                }
                failed.written
            }
        };
        book.wrote(&batch, written);
    }
    book.writer_ended();
}

/// Show what is to be shown, until there is no more. Past the lock of the standard library: who holds that would keep
/// everybody else who has something to say waiting as well.
pub(super) fn write_echo(book: &Book, mut stderr: File) {
    while let Some(text) = book.next_echo() {
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(whole_lines(rest));
            // Whoever closed our standard error does not want to read it.
            if stderr.write_all(piece).is_err() {
                break;
            }
            rest = later;
        }
    }
    book.echo_ended();
}

/// The length of the first lines of `text` that can be written in one piece, or of its first line.
fn whole_lines(text: &[u8]) -> usize {
    let newline = |byte: &u8| *byte == b'\n';
    let fits = text[..text.len().min(ATOMIC)].iter().rposition(newline);
    fits.or_else(|| text.iter().position(newline)).map_or(text.len(), |end| end + 1)
}
