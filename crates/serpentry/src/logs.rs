//! What applications write, and where it goes.
//!
//! ```text
//!  worker --stdout, stderr: pipes--> reader --> book --> writer --> STATE/logs/APP.log
//!                                    (thread)    |      (thread)
//!  host, about an application: note -------------+----> echo -----> standard error
//!                                                       (thread)
//! ```
//!
//! An application never waits for a log, and neither does the host: pipes are read at once, what waits for the disk is
//! bounded, what does not fit is dropped and counted, and the count is written where the lines are missing. `serpentry logs`
//! reads the files, whether a host is running or not.
//!
//! This is not the access log (`router`), and not what the host says about itself (`say`).

mod book;
pub(crate) mod command;
mod files;
mod follow;
mod history;
mod line;
mod reader;
mod since;
mod writer;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use book::Book;
use files::{Files, Store};
use reader::{Inbox, Order, Reader};

pub(crate) use book::Rotation;
pub(crate) use since::{now, since};

/// Bytes that a process can be ahead of the reader, where the kernel allows it. The default is 64 KiB.
const PIPE_SIZE: usize = 256 * 1024;

/// Processes whose pipes are enlarged, so that they stay far below what a user without privileges may have in all pipes
/// (`/proc/sys/fs/pipe-user-pages-soft`, 64 MiB): beyond that, new pipes would be very small.
const ENLARGED: usize = 64;

/// How long the end of the program waits for the disk, and for standard error.
const DISK_AT_THE_END: Duration = Duration::from_secs(5);
const ECHO_AT_THE_END: Duration = Duration::from_secs(1);

/// Where the logs of a host are and how large they may become.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `STATE/logs`; created when needed, mode 0750.
    pub(crate) directory: PathBuf,
    pub(crate) rotation: Rotation,
    /// Whether what applications write is also shown on standard error, as `APP | text`.
    pub(crate) echo: bool,
}

/// The logs of a running host. When dropped, everything that has come is written, unless the disk hangs.
#[derive(Debug)]
pub(crate) struct Logs {
    shared: Arc<Shared>,
    reader: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    book: Arc<Book>,
    inbox: Arc<Inbox>,
    next_capture: AtomicU64,
    /// Processes that are captured now.
    captured: AtomicUsize,
}

impl Logs {
    /// Start the threads.
    ///
    /// # Errors
    /// When there are no descriptors or threads left. A folder that cannot be written is not an error: the lines are then
    /// dropped and counted, with a warning.
    pub(crate) fn start(settings: &Settings) -> io::Result<Self> {
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        Logs::start_with(settings, Files::new(settings.directory.clone()), File::from(stderr))
    }

    fn start_with(settings: &Settings, store: impl Store + 'static, stderr: File) -> io::Result<Self> {
        let book = Arc::new(Book::new(settings.rotation, settings.echo));
        let inbox = Arc::new(Inbox::new()?);
        let reader = Reader::new(Arc::clone(&inbox), Arc::clone(&book))?;
        let reader = thread::Builder::new().name("logs".into()).spawn(move || reader.run())?;
        let next_capture = AtomicU64::new(0);
        let shared = Shared { book: Arc::clone(&book), inbox, next_capture, captured: AtomicUsize::new(0) };
        // From here on its drop ends what was started.
        let logs = Logs { shared: Arc::new(shared), reader: Some(reader) };
        let of_writer = Arc::clone(&book);
        thread::Builder::new()
            .name("logs-disk".into())
            .spawn(move || writer::write_files(&of_writer, store))?;
        thread::Builder::new().name("logs-echo".into()).spawn(move || writer::write_echo(&book, stderr))?;
        Ok(logs)
    }

    /// The log of an application, whose name is also the file's: the configuration has checked it.
    pub(crate) fn app(&self, name: &str) -> AppLog {
        AppLog { name: name.into(), shared: Arc::clone(&self.shared) }
    }

    /// What the host has to say about an application, in one line or more: to its log, as stream `host`, and to the host's
    /// standard error.
    pub(crate) fn note(&self, app: &str, text: &str) {
        self.shared.book.note(&app.into(), text);
    }

    /// For lines that come from now on.
    pub(crate) fn reconfigure(&self, rotation: Rotation) {
        self.shared.book.reconfigure(rotation);
    }

    /// Lines of an application that were dropped since the host was started.
    pub(crate) fn dropped(&self, app: &str) -> u64 {
        self.shared.book.dropped(app)
    }

    /// An application was removed: when its last process is gone and its last line written, its file is closed.
    pub(crate) fn forget(&self, app: &str) {
        self.shared.book.forget(app);
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.shared.inbox.tell(Order::Stop);
        if let Some(reader) = self.reader.take() {
            // It waits for nobody, and its own end is bounded.
            let _ = reader.join();
        }
        self.shared.book.stop();
        // Threads that hang in the kernel end with the program.
        self.shared.book.wait_for_end(DISK_AT_THE_END, ECHO_AT_THE_END);
    }
}

/// One application's log, for those who start its processes.
#[derive(Debug, Clone)]
pub(crate) struct AppLog {
    name: Arc<str>,
    shared: Arc<Shared>,
}

impl AppLog {
    /// Pipes for a process that is about to be started.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn capture(&self) -> io::Result<Capture> {
        let large = self.shared.captured.fetch_add(1, Ordering::Relaxed) < ENLARGED;
        let id = self.shared.next_capture.fetch_add(1, Ordering::Relaxed);
        // First of all, since it counts down when one of the next fails.
        let captured = Captured { id, shared: Arc::clone(&self.shared) };
        let (read_stdout, stdout) = pipe(large)?;
        let (read_stderr, stderr) = pipe(large)?;
        let source =
            Source { app: Arc::clone(&self.name), captured, stdout: read_stdout, stderr: read_stderr };
        Ok(Capture { stdout, stderr, source })
    }
}

/// A pipe whose reading end does not block, while the writing end, as its users expect, does.
fn pipe(large: bool) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let flags = rustix::fs::fcntl_getfl(&read)?;
    rustix::fs::fcntl_setfl(&read, flags | rustix::fs::OFlags::NONBLOCK)?;
    if large {
        // Not allowed: the usual size does as well.
        let _ = fcntl_setpipe_size(&read, PIPE_SIZE);
    }
    Ok((read, write))
}

/// The ends to give to a process as its standard output and standard error, and to close here once it is started.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) source: Source,
}

/// Our ends. Nothing is read before the process has a number; dropped instead, the pipes are closed.
#[derive(Debug)]
pub(crate) struct Source {
    app: Arc<str>,
    captured: Captured,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Source {
    /// The process runs: read what it writes. Keep the result for as long as it does.
    pub(crate) fn begin(self, pid: u32) -> Captured {
        let Source { app, captured, stdout, stderr } = self;
        captured.shared.inbox.tell(Order::Read { id: captured.id, app, pid, stdout, stderr });
        captured
    }
}

/// A process whose output is read. Drop it when the process has exited: then what it wrote is read to the end, but who holds
/// its pipes after it has no more than a second.
#[derive(Debug)]
pub(crate) struct Captured {
    id: reader::CaptureId,
    shared: Arc<Shared>,
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.shared.captured.fetch_sub(1, Ordering::Relaxed);
        self.shared.inbox.tell(Order::Exited { id: self.id });
    }
}

#[cfg(test)]
#[path = "logs/tests/capture.rs"]
mod tests;
