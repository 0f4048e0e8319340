//! The access log: one line per request, formatted on the router's thread, written by a thread of its own. The ring
//! between them is bounded; when the disk cannot keep up, lines are dropped and counted, and requests go on.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::http::date::{Civil, MONTHS, unix_now};

/// Lines that may wait for the writer.
const RING: usize = 8 * 1024;

/// Shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// NCSA common log format.
    Common,
    /// Common, and referer and user agent.
    Combined,
    /// One JSON object with timings, the application and the worker.
    Json,
}

/// Where the lines go.
#[derive(Debug, Clone)]
pub enum LogTarget {
    Stdout,
    File(PathBuf),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogTarget::Stdout => f.write_str("standard output"),
            LogTarget::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What is logged about a request. Texts come from the client and are escaped here.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) client: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: u8,
    pub(crate) referer: Vec<u8>,
    pub(crate) user_agent: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    /// Empty when the request was for none.
    pub(crate) app: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) worker: u64,
    /// From the request's arrival to the end of its answer.
    pub(crate) total: Duration,
    /// Of which waiting for a worker.
    pub(crate) queued: Duration,
}

enum Message {
    Line(String),
    Reopen,
}

#[derive(Debug)]
pub struct AccessLog {
    format: LogFormat,
    ring: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    /// "[23/Nov/2026:08:00:00 +0000]" and the second it is for.
    stamp: Cell<(u64, Civil)>,
}

impl AccessLog {
    /// Open the target and start the writer thread, which ends when the log is dropped.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(target: LogTarget, format: LogFormat) -> io::Result<Self> {
        let output = Output::open(&target)?;
        let (ring, lines) = sync_channel(RING);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer { target, output, lines, dropped: Arc::clone(&dropped) };
        std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run())?;
        Ok(AccessLog { format, ring, dropped, stamp: Cell::new((0, Civil::from_unix(0))) })
    }

    pub(crate) fn reopen(&self) {
        // Full: the writer is stuck, and a later rotation will be noticed.
        let _ = self.ring.try_send(Message::Reopen);
    }

    pub(crate) fn record(&self, entry: &Entry, outcome: &Outcome<'_>) {
        let line = self.format(entry, outcome);
        if let Err(TrySendError::Full(_)) = self.ring.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn format(&self, entry: &Entry, outcome: &Outcome<'_>) -> String {
        let now = unix_now();
        let (mut second, mut civil) = self.stamp.get();
        if second != now.as_secs() {
            (second, civil) = (now.as_secs(), Civil::from_unix(now.as_secs()));
            self.stamp.set((second, civil));
        }
        let mut line = String::with_capacity(256);
        match self.format {
            LogFormat::Common | LogFormat::Combined => {
                let Civil { year, month, day, hour, minute, second, .. } = civil;
                let month = MONTHS[month - 1];
                line.push_str(if entry.client.is_empty() { "-" } else { &entry.client });
                // A String as writer cannot fail; the same holds below.
                let _ =
                    write!(line, " - - [{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000] \"");
                push_escaped(&mut line, entry.method.as_bytes());
                line.push(' ');
                push_escaped(&mut line, entry.target.as_bytes());
                let _ =
                    write!(line, " HTTP/{}.{}\" {} ", entry.version / 10, entry.version % 10, outcome.status);
                match outcome.bytes {
                    0 => line.push('-'),
                    bytes => drop(write!(line, "{bytes}")),
                }
                if self.format == LogFormat::Combined {
                    for text in [&entry.referer, &entry.user_agent] {
                        line.push_str(" \"");
                        push_escaped(&mut line, if text.is_empty() { b"-" } else { text });
                        line.push('"');
                    }
                }
            }
            LogFormat::Json => {
                let _ = write!(line, "{{\"time\":{}.{:03}", now.as_secs(), now.subsec_millis());
                for (key, text) in [
                    ("app", outcome.app.as_bytes()),
                    ("client", entry.client.as_bytes()),
                    ("method", entry.method.as_bytes()),
                    ("target", entry.target.as_bytes()),
                    ("referer", &entry.referer),
                    ("user_agent", &entry.user_agent),
                    ("request_id", outcome.request_id.as_bytes()),
                ] {
                    let _ = write!(line, ",\"{key}\":\"");
                    push_json(&mut line, text);
                    line.push('"');
                }
                let Outcome { status, bytes, worker, .. } = outcome;
                let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
                let (total, queued) = (milliseconds(outcome.total), milliseconds(outcome.queued));
                let _ = write!(
                    line,
                    ",\"version\":\"{}.{}\",\"status\":{status},\"bytes\":{bytes},\"worker\":{worker},\
                     \"total_ms\":{total:.3},\"queue_ms\":{queued:.3}}}",
                    entry.version / 10,
                    entry.version % 10,
                );
            }
        }
        line.push('\n');
        line
    }
}

/// Printable ASCII as it is, everything else (and quotes, and backslashes) as \xHH: nobody can forge a line or send
/// escapes to a terminal.
fn push_escaped(line: &mut String, text: &[u8]) {
    for &byte in text {
        if (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\' {
            line.push(char::from(byte));
        } else {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
}

/// JSON string content; bytes that are not UTF-8 become U+FFFD.
fn push_json(line: &mut String, text: &[u8]) {
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            c if c.is_control() => drop(write!(line, "\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
}

enum Output {
    Stdout(io::Stdout),
    File(File),
}

impl Output {
    fn open(target: &LogTarget) -> io::Result<Self> {
        match target {
            LogTarget::Stdout => Ok(Output::Stdout(io::stdout())),
            LogTarget::File(path) => {
                OpenOptions::new().create(true).append(true).open(path).map(Output::File)
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Output::Stdout(stdout) => stdout.write_all(bytes).and_then(|()| stdout.flush()),
            Output::File(file) => file.write_all(bytes),
        }
    }
}

struct Writer {
    target: LogTarget,
    output: Output,
    lines: Receiver<Message>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self) {
        let mut batch = String::new();
        while let Ok(message) = self.lines.recv() {
            let mut reopen = false;
            for message in std::iter::once(message).chain(self.lines.try_iter().take(RING)) {
                match message {
                    Message::Line(line) => batch.push_str(&line),
                    Message::Reopen => reopen = true,
                }
            }
            // A log that cannot be written (disk full) loses lines like a ring that is full.
            if self.output.write_all(batch.as_bytes()).is_err() {
                self.dropped.fetch_add(batch.lines().count() as u64, Ordering::Relaxed);
            }
            batch.clear();
            if reopen {
                match Output::open(&self.target) {
                    Ok(output) => self.output = output,
                    Err(error) => {
                        let target = &self.target;
                        eprintln!(
                            "serpentry: access log: cannot reopen {target}, the old file is still used: {error}"
                        );
                    }
                }
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                eprintln!(
                    "serpentry: access log: {dropped} lines dropped, the log's disk is too slow or full"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(format: LogFormat) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let log = AccessLog::open(LogTarget::File(path.clone()), format).unwrap();
        let entry = Entry {
            client: "1.2.3.4".into(),
            method: "GET".into(),
            target: "/a\"b\u{1b}[31m".into(),
            version: 11,
            referer: Vec::new(),
            user_agent: b"curl\n1.2.3.4 forged".to_vec(),
        };
        let outcome = Outcome {
            app: "shop",
            request_id: "r1",
            status: 200,
            bytes: 12,
            worker: 3,
            total: Duration::from_micros(1500),
            queued: Duration::from_micros(250),
        };
        let text = log.format(&entry, &outcome);
        log.record(&entry, &outcome);
        drop(log);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while std::fs::read_to_string(&path).unwrap().is_empty() {
            assert!(std::time::Instant::now() < deadline, "the writer thread never wrote");
            std::thread::yield_now();
        }
        text
    }

    #[test]
    fn escapes_what_clients_send() {
        let combined = lines(LogFormat::Combined);
        let tail = combined.split_once("] ").unwrap().1;
        assert_eq!(tail, "\"GET /a\\x22b\\x1b[31m HTTP/1.1\" 200 12 \"-\" \"curl\\x0a1.2.3.4 forged\"\n");
        assert!(lines(LogFormat::Common).ends_with("HTTP/1.1\" 200 12\n"));
        let json = lines(LogFormat::Json);
        assert!(
            json.contains(
                r#""target":"/a\"b\u001b[31m","referer":"","user_agent":"curl\u000a1.2.3.4 forged""#
            ),
            "{json}"
        );
        assert!(json.contains("\"app\":\"shop\",\"client\":\"1.2.3.4\""), "{json}");
        assert!(json.ends_with(",\"worker\":3,\"total_ms\":1.500,\"queue_ms\":0.250}\n"), "{json}");
    }
}
