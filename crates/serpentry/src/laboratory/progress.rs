//! How it goes, on standard error: one line that is written over on a terminal, a line for each part elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use lab::experiment::Progress;

/// Columns of the picture at most.
const WIDTH: usize = 100;

pub(super) struct Lines {
    terminal: bool,
    begun: Instant,
    part: String,
}

impl Default for Lines {
    fn default() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Lines { terminal, begun: Instant::now(), part: String::new() }
    }
}

impl Lines {
    fn write(&self, text: &str) {
        // Nobody depends on it.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

impl Progress for Lines {
    fn part(&mut self, title: &str) {
        self.part = title.split(':').next().unwrap_or(title).to_owned();
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        self.write(&format!("{clear}{:>5.0} s  {title}\n", self.begun.elapsed().as_secs_f64()));
    }

    fn step(&mut self, done: usize, of: usize, what: &str) {
        if self.terminal {
            let text =
                format!("{:>5.0} s  {} {done}/{of} {what}", self.begun.elapsed().as_secs_f64(), self.part);
            let text: String = text.chars().take(WIDTH).collect();
            self.write(&format!("\r\x1b[K{text}"));
        }
    }

    fn note(&mut self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        self.write(&format!("{clear}serpentry: {text}\n"));
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if self.terminal {
            self.write("\r\x1b[K");
        }
    }
}
