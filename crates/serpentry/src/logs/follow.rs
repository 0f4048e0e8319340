//! Several logs as one: merged by time, up to now and then as they grow.
//!
//! It decides the order and the form of what is shown; it does not wait and does not know where it goes.

use serpentry::stamp;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::path::Path;

use super::history::{self, Cursor};
use super::line::Record;

/// How lines are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are in the file.
    Plain,
    /// The same after the application's name, in a column of this width.
    Named(usize),
    /// One object per line.
    Json,
}

/// Some applications' logs.
#[derive(Debug)]
pub(super) struct Merged {
    cursors: Vec<Cursor>,
    form: Form,
}

impl Merged {
    /// Open the logs of these applications. Shows nothing yet.
    ///
    /// The second value is how many lines to leave out, so that `lines` in all are shown.
    pub(super) fn open(
        directory: &Path,
        apps: &[String],
        lines: Option<usize>,
        form: Form,
    ) -> io::Result<(Self, usize)> {
        let mut cursors = Vec::with_capacity(apps.len());
        let mut found = 0;
        for app in apps {
            let (cursor, count) = Cursor::open(directory, app, lines)?;
            cursors.push(cursor);
            found += count;
        }
        let extra = lines.map_or(0, |lines| found.saturating_sub(lines));
        Ok((Merged { cursors, form }, extra))
    }

    /// Show every line that there is by now, in the order of their times but for the first `skip`.
    pub(super) fn show(&mut self, mut skip: usize, output: &mut impl Write) -> io::Result<()> {
        let mut heap = BinaryHeap::new();
        for index in 0..self.cursors.len() {
            self.push_next(&mut heap, index, "")?;
        }
        while let Some(Reverse((at, index, line))) = heap.pop() {
            if skip > 0 {
                skip -= 1;
            } else {
                self.write(output, &self.cursors[index].app, &line)?;
            }
            self.push_next(&mut heap, index, &at)?;
        }
        output.flush()
    }

    /// A line that does not say when it was written stands after the one before it.
    fn push_next(
        &mut self,
        heap: &mut BinaryHeap<Reverse<(String, usize, String)>>,
        index: usize,
        before: &str,
    ) -> io::Result<()> {
        if let Some(line) = self.cursors[index].next_line()? {
            let at = if Record::parse(&line).is_some() { &line[..stamp::LENGTH] } else { before };
            heap.push(Reverse((at.to_owned(), index, line)));
        }
        Ok(())
    }

    fn write(&self, output: &mut impl Write, app: &str, line: &str) -> io::Result<()> {
        match self.form {
            Form::Plain => writeln!(output, "{line}"),
            Form::Named(width) => writeln!(output, "{app:width$} {line}"),
            Form::Json => {
                let object = match Record::parse(line) {
                    Some(Record { at, stream, pid, continued, text }) => {
                        let stream = stream.as_str();
                        let mut object = serde_json::json!(
                            { "at": at, "app": app, "stream": stream, "pid": pid, "text": text }
                        );
                        if continued {
                            object["continued"] = true.into();
                        }
                        object
                    }
                    // Somebody else wrote it.
                    None => {
                        serde_json::json!({ "at": null, "app": app, "stream": null, "pid": null, "text": line })
                    }
                };
                writeln!(output, "{object}")
            }
        }
    }

    /// Look for files that were begun since the last time. Returns the applications of which some were missed.
    pub(super) fn look_for_newer(&mut self) -> io::Result<Vec<String>> {
        let mut missed = Vec::new();
        for cursor in &mut self.cursors {
            if cursor.look_for_newer()? {
                missed.push(cursor.app.clone());
            }
        }
        Ok(missed)
    }

    /// Take in applications that have begun to write since the last time, from their first line on.
    pub(super) fn look_for_applications(&mut self, directory: &Path) -> io::Result<()> {
        for app in history::applications(directory)? {
            if self.cursors.iter().all(|cursor| cursor.app != app) {
                self.cursors.push(Cursor::open(directory, &app, None)?.0);
            }
        }
        Ok(())
    }
}
