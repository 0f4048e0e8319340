//! What is between those who have lines and those who write them: a bounded buffer per application, and the count of what
//! did not fit.
//!
//! Nobody who puts lines in ever waits for anybody who takes them out: the lock is held only to copy memory. A buffer that
//! is full drops what comes until it is taken; since it is taken whole, the record that says how many lines were dropped
//! stands where they are missing. It does not know of pipes or files.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::line::{LONGEST_RECORD, Records, Stream};

/// Bytes that may wait for the disk, per application; as many again may be on their way to it.
pub(super) const BUFFER: usize = 1024 * 1024;

/// Bytes that may wait, of all applications together.
const ALL_BUFFERS: usize = 32 * 1024 * 1024;

/// What an application may always use of them, however much the others have.
const OWN_SHARE: usize = 2 * LONGEST_RECORD;

/// Bytes that may wait for standard error.
pub(super) const ECHO_BUFFER: usize = 256 * 1024;

/// The same with what the host itself says, which no application may displace.
const ECHO_BUFFER_HOST: usize = 2 * ECHO_BUFFER;

/// A log that could not be written is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// When a log's file is replaced by a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Bytes of a file.
    pub(crate) size: u64,
    /// Old files that are kept.
    pub(crate) files: u32,
}

/// What waits, of all applications.
#[derive(Debug)]
pub(super) struct Book {
    state: Mutex<State>,
    /// Something for the writer.
    to_write: Condvar,
    /// Something for standard error.
    to_echo: Condvar,
    /// A thread has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    apps: HashMap<Arc<str>, Entry>,
    /// Applications whose buffer is to be written, each at most once.
    ready: VecDeque<Arc<str>>,
    /// Those whose log could not be written, and since when. Their lines or their counts are still owed.
    retry: VecDeque<(Instant, Arc<str>)>,
    /// Sum of all buffers.
    buffered: usize,
    rotation: Rotation,
    /// Logs to be closed.
    forgotten: Vec<Arc<str>>,
    echo: Echo,
    /// No more lines will come from pipes.
    stopping: bool,
    writer_ended: bool,
    echo_ended: bool,
}

/// One application.
#[derive(Debug, Default)]
struct Entry {
    text: Vec<u8>,
    /// Lines dropped before those in `text`, which the log does not mention yet: it could not be written.
    missing_before: u64,
    /// The same after those in `text`: it was full.
    missing_after: u64,
    /// Lines dropped since the beginning.
    dropped: u64,
    /// In `ready` or `retry`, or being written.
    queued: bool,
    /// Pipes that are read for it.
    pipes: usize,
    /// Remove it once nothing is left.
    forget: bool,
}

#[derive(Debug)]
struct Echo {
    /// Whether what applications write is shown at all.
    apps: bool,
    text: Vec<u8>,
    unsaid: u64,
}

/// One application's waiting lines.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) app: Arc<str>,
    /// Whole records.
    pub(super) text: Vec<u8>,
    pub(super) rotation: Rotation,
    /// If not 0, the first record says that so many lines are missing before.
    missing_before: u64,
    /// If not 0, the last record says that so many lines are missing after.
    missing_after: u64,
}

/// What the writer has to do next.
#[derive(Debug)]
pub(super) enum Job {
    Write(Batch),
    Close(Arc<str>),
}

impl Book {
    pub(super) fn new(rotation: Rotation, echo: bool) -> Self {
        let state = State {
            apps: HashMap::new(),
            ready: VecDeque::new(),
            retry: VecDeque::new(),
            buffered: 0,
            rotation,
            forgotten: Vec::new(),
            echo: Echo { apps: echo, text: Vec::new(), unsaid: 0 },
            stopping: false,
            writer_ended: false,
            echo_ended: false,
        };
        Book {
            state: Mutex::new(state),
            to_write: Condvar::new(),
            to_echo: Condvar::new(),
            ended: Condvar::new(),
        }
    }

    /// A thread that panicked left whole lines behind, whatever it was doing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- those who have lines ----

    /// Lines that an application wrote.
    pub(super) fn push(&self, app: &Arc<str>, records: &Records) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.put(app, records);
        if state.echo.apps {
            for (_, text) in records.iter() {
                state.echo.put(ECHO_BUFFER, &[app.as_bytes(), b" | ", text]);
            }
        }
        self.wake(&guard);
    }

    /// What the host says about an application: one line or more, to its log and to standard error.
    pub(super) fn note(&self, app: &Arc<str>, text: &str) {
        let mut records = Records::new(Stream::Host, std::process::id());
        for line in text.lines() {
            records.push(line.as_bytes(), true);
        }
        let mut guard = self.state();
        let state = &mut *guard;
        state.put(app, &records);
        for (_, text) in records.iter() {
            state.echo.put(ECHO_BUFFER_HOST, &[b"serpentry: ", app.as_bytes(), b": ", text]);
        }
        self.wake(&guard);
    }

    /// What the logs have to say about themselves, to standard error.
    pub(super) fn warn(&self, text: &str) {
        let mut state = self.state();
        state.echo.put(ECHO_BUFFER_HOST, &[b"serpentry: warning: ", text.as_bytes(), b"\n"]);
        self.wake(&state);
    }

    fn wake(&self, state: &State) {
        if !state.ready.is_empty() || !state.forgotten.is_empty() {
            self.to_write.notify_one();
        }
        if state.echo.waits() {
            self.to_echo.notify_one();
        }
    }

    // ---- those who have applications ----

    pub(super) fn reconfigure(&self, rotation: Rotation) {
        self.state().rotation = rotation;
    }

    /// Lines of an application that were dropped since the beginning.
    pub(super) fn dropped(&self, app: &str) -> u64 {
        self.state().apps.get(app).map_or(0, |entry| entry.dropped)
    }

    /// A pipe of this application is read from now on.
    pub(super) fn opened(&self, app: &Arc<str>) {
        let mut state = self.state();
        let entry = state.apps.entry(Arc::clone(app)).or_default();
        entry.pipes += 1;
        entry.forget = false;
    }

    /// It is not any more.
    pub(super) fn closed(&self, app: &Arc<str>) {
        let mut state = self.state();
        if let Some(entry) = state.apps.get_mut(app) {
            entry.pipes = entry.pipes.saturating_sub(1);
        }
        state.settle(app);
        self.wake(&state);
    }

    /// The application is gone: once its last line is written, its file is closed and its counts are lost.
    pub(super) fn forget(&self, app: &str) {
        let mut state = self.state();
        let Some(app) = state.apps.get_key_value(app).map(|(app, _)| Arc::clone(app)) else { return };
        if let Some(entry) = state.apps.get_mut(&app) {
            entry.forget = true;
        }
        state.settle(&app);
        self.wake(&state);
    }

    /// Pipes of an application that are read.
    #[cfg(test)]
    pub(super) fn pipes(&self, app: &str) -> usize {
        self.state().apps.get(app).map_or(0, |entry| entry.pipes)
    }

    /// Applications that something is known of.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.state().apps.len()
    }

    // ---- the writer ----

    /// Wait for the next thing to do. `None` when everything is written and nothing more can come.
    pub(super) fn next_job(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if let Some(app) = state.forgotten.pop() {
                return Some(Job::Close(app));
            }
            let now = Instant::now();
            let last = state.stopping;
            while let Some((_, app)) = state.retry.pop_front_if(|(since, _)| last || now >= *since + RETRY) {
                state.ready.push_back(app);
            }
            if let Some(app) = state.ready.pop_front() {
                let batch = state.take(app);
                return Some(Job::Write(batch));
            }
            if state.stopping {
                return None;
            }
            let patience = match state.retry.front() {
                Some((since, _)) => (*since + RETRY).saturating_duration_since(now),
                None => Duration::from_secs(3600),
            };
            state = self.to_write.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What became of a batch: its first `written` bytes are in the log.
    pub(super) fn wrote(&self, batch: &Batch, written: usize) {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(entry) = state.apps.get_mut(&batch.app) else { return };
        let rest = &batch.text[written..];
        if rest.is_empty() {
            entry.queued = false;
            state.settle(&batch.app);
        } else {
            // Without the records that are not the application's.
            let first_unsaid = batch.missing_before > 0 && written == 0;
            let last_unsaid = batch.missing_after > 0;
            let lost = count_lines(rest) - u64::from(first_unsaid) - u64::from(last_unsaid);
            entry.dropped += lost;
            let unsaid = if first_unsaid { batch.missing_before } else { 0 };
            entry.missing_before += unsaid + lost + batch.missing_after;
            // At the end every log has its last chance once.
            if !state.stopping {
                state.retry.push_back((Instant::now(), Arc::clone(&batch.app)));
            }
        }
        self.wake(&guard);
    }

    // ---- standard error ----

    /// Wait for text for standard error. `None` when there will be no more.
    pub(super) fn next_echo(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        loop {
            if state.echo.waits() {
                return Some(state.echo.take());
            }
            // The writer may have something to say to its end.
            if state.stopping && state.writer_ended {
                return None;
            }
            state = self.to_echo.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    // ---- the end ----

    /// No more lines will come from pipes: write what is there and end.
    pub(super) fn stop(&self) {
        self.state().stopping = true;
        self.to_write.notify_all();
        self.to_echo.notify_all();
    }

    pub(super) fn writer_ended(&self) {
        self.state().writer_ended = true;
        self.to_echo.notify_all();
        self.ended.notify_all();
    }

    pub(super) fn echo_ended(&self) {
        self.state().echo_ended = true;
        self.ended.notify_all();
    }

    /// Wait for the writer and for standard error, each no longer than it may take; whether they have ended.
    pub(super) fn wait_for_end(&self, disk: Duration, echo: Duration) -> bool {
        let busy = |state: &mut State| !state.writer_ended;
        let (state, _) =
            self.ended.wait_timeout_while(self.state(), disk, busy).unwrap_or_else(PoisonError::into_inner);
        let busy = |state: &mut State| state.writer_ended && !state.echo_ended;
        let (state, _) =
            self.ended.wait_timeout_while(state, echo, busy).unwrap_or_else(PoisonError::into_inner);
        state.writer_ended && state.echo_ended
    }
}

impl State {
    /// Into the application's buffer, as far as they fit.
    fn put(&mut self, app: &Arc<str>, records: &Records) {
        if !self.apps.contains_key(app) {
            self.apps.insert(Arc::clone(app), Entry::default());
        }
        let Some(entry) = self.apps.get_mut(app) else { return };
        for (record, _) in records.iter() {
            let size = entry.text.len() + record.len();
            let fits = size <= OWN_SHARE || (size <= BUFFER && self.buffered + record.len() <= ALL_BUFFERS);
            // Once one is dropped, so are all until the buffer is taken: what is missing is in one place.
            if fits && entry.missing_after == 0 {
                entry.text.extend_from_slice(record);
                self.buffered += record.len();
            } else {
                entry.missing_after += 1;
                entry.dropped += 1;
            }
        }
        self.settle(app);
    }

    fn take(&mut self, app: Arc<str>) -> Batch {
        let rotation = self.rotation;
        let mut batch = Batch { app, text: Vec::new(), rotation, missing_before: 0, missing_after: 0 };
        let Some(entry) = self.apps.get_mut(&batch.app) else { return batch };
        batch.missing_before = std::mem::take(&mut entry.missing_before);
        batch.missing_after = std::mem::take(&mut entry.missing_after);
        let text = std::mem::take(&mut entry.text);
        self.buffered -= text.len();
        batch.text = match batch.missing_before {
            0 => text,
            missing => [notice(missing), text].concat(),
        };
        if batch.missing_after > 0 {
            batch.text.extend(notice(batch.missing_after));
        }
        batch
    }

    /// After something changed: queue what is to be written, or remove an application that is over.
    fn settle(&mut self, app: &Arc<str>) {
        let Some(entry) = self.apps.get_mut(app) else { return };
        if entry.queued {
            return;
        }
        if !entry.text.is_empty() || entry.missing_before + entry.missing_after > 0 {
            entry.queued = true;
            self.ready.push_back(Arc::clone(app));
        } else if entry.forget && entry.pipes == 0 {
            self.apps.remove(app);
            self.forgotten.push(Arc::clone(app));
        }
    }
}

impl Echo {
    fn put(&mut self, limit: usize, parts: &[&[u8]]) {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        if self.text.len() + size > limit {
            self.unsaid += 1;
        } else {
            parts.iter().for_each(|part| self.text.extend_from_slice(part));
        }
    }

    fn waits(&self) -> bool {
        !self.text.is_empty() || self.unsaid > 0
    }

    fn take(&mut self) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.text);
        let unsaid = std::mem::take(&mut self.unsaid);
        if unsaid > 0 {
            let said = format!("serpentry: {} not shown here, they are in the logs\n", lines(unsaid));
            text.extend_from_slice(said.as_bytes());
        }
        text
    }
}

/// The record that stands for lines that are missing.
fn notice(missing: u64) -> Vec<u8> {
    let mut record = Records::new(Stream::Host, std::process::id());
    record.push(format!("serpentry: {} dropped", lines(missing)).as_bytes(), true);
    record.iter().flat_map(|(record, _)| record).copied().collect()
}

/// "1 line", "1,234 lines"
fn lines(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + if count == 1 { " line" } else { " lines" }
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
#[path = "tests/book.rs"]
mod tests;
