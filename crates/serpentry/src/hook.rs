//! Tells somebody about incidents: runs a program with the incident on its standard input, or posts it to a URL.
//!
//! One thread, one call at a time, each with a time limit; a bounded queue before it, and a limit of how many calls there
//! are in a minute, so that a bad night does not become a storm of messages. What is not sent is counted and told with the
//! next call. Nobody waits for it. It is not a mailer and knows no TLS: a program does that better.
//!
//! What is sent is one line of `serpentry events --json`, with `suppressed` beside it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use config::Hook;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;
use serde_json::Value;
use serpentry::control::IncidentEvent;

use crate::say;

/// Calls that wait.
const QUEUE: usize = 32;

/// Calls at once, and then one in this time.
const BURST: u32 = 10;
const EVERY: Duration = Duration::from_secs(6);

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Longest line of an answer's head that is read: only its status counts.
const STATUS_LINE: u64 = 1024;

/// Where incidents are told.
#[derive(Debug)]
pub(crate) struct Hooks {
    calls: SyncSender<Box<IncidentEvent>>,
    target: Arc<Mutex<Option<Hook>>>,
    /// Since the last call.
    suppressed: Arc<AtomicU64>,
}

impl Hooks {
    /// # Errors
    /// When there is no thread left.
    pub(crate) fn start(target: Option<Hook>) -> io::Result<Self> {
        let (calls, received) = sync_channel(QUEUE);
        let (target, suppressed) = (Arc::new(Mutex::new(target)), Arc::new(AtomicU64::new(0)));
        let worker = Worker {
            target: Arc::clone(&target),
            suppressed: Arc::clone(&suppressed),
            bucket: Bucket { left: BURST, filled: Instant::now() },
            failing: false,
        };
        thread::Builder::new().name("hooks".into()).spawn(move || worker.run(&received))?;
        Ok(Hooks { calls, target, suppressed })
    }

    /// From the next call on.
    pub(crate) fn reconfigure(&self, target: Option<Hook>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    pub(crate) fn tell(&self, event: Box<IncidentEvent>) {
        if let Err(TrySendError::Full(_)) = self.calls.try_send(event) {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Worker {
    target: Arc<Mutex<Option<Hook>>>,
    suppressed: Arc<AtomicU64>,
    bucket: Bucket,
    /// The last call did not work, and that was said.
    failing: bool,
}

/// A token bucket.
struct Bucket {
    left: u32,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let periods = now.saturating_duration_since(self.filled).as_secs_f64() / EVERY.as_secs_f64();
        let whole = periods as u32;
        self.filled += EVERY * whole;
        self.left = self.left.saturating_add(whole).min(BURST);
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

impl Worker {
    fn run(mut self, calls: &Receiver<Box<IncidentEvent>>) {
        while let Ok(event) = calls.recv() {
            let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Some(target) = target else { continue };
            if !self.bucket.take(Instant::now()) {
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
            let Ok(Value::Object(mut body)) = serde_json::to_value(&event) else { continue };
            body.insert("suppressed".to_owned(), suppressed.into());
            let body = Value::Object(body).to_string() + "\n";
            let result = match &target {
                Hook::Program(path) => run_program(Command::new(path), &body),
                Hook::Url { address, host, path } => post(address, host, path, &body),
            };
            match result {
                Ok(()) => self.failing = false,
                Err(error) if !std::mem::replace(&mut self.failing, true) => {
                    say::warning(format_args!("on_incident ({target}): {error}"));
                }
                Err(_) => {}
            }
        }
    }
}

/// Run it, with the body on its standard input; what it says on standard error is seen with ours.
fn run_program(mut command: Command, body: &str) -> io::Result<()> {
    let until = Instant::now() + LIMIT;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A body that does not fit into the pipe would wait for a program that does not read: it is written elsewhere.
        let body = body.to_owned();
        thread::Builder::new()
            .name("hook-input".into())
            .spawn(move || drop(input.write_all(body.as_bytes())))?;
    }
    if !ends(&child, until)? {
        jail::kill_group(child.id());
        // It cannot refuse.
        let _ = child.wait();
        return Err(io::Error::other(format!("it did not end within {} s and was killed", LIMIT.as_secs())));
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!("it ended with {status}"))),
        // With `preload`, whoever reaps adopted processes may have been faster; that it ended is all that matters.
        Err(_) => Ok(()),
    }
}

/// Wait for its end; false when it does not come in time.
fn ends(child: &Child, until: Instant) -> io::Result<bool> {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return Ok(false) };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(true) };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Post it (HTTP/1.1, one connection); any status of 200 to 299 is right.
fn post(address: &str, host: &str, path: &str, body: &str) -> io::Result<()> {
    let until = Instant::now() + LIMIT;
    let mut last = io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        let left = until.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))) {
            Ok(stream) => return converse(stream, until, host, path, body),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn converse(mut stream: TcpStream, until: Instant, host: &str, path: &str, body: &str) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_write_timeout(Some(left))?;
    stream.set_read_timeout(Some(left))?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nUser-Agent: serpentry\r\n\
         Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut line = String::new();
    BufReader::new(stream.take(STATUS_LINE)).read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    match status {
        Some(200..=299) => Ok(()),
        Some(status) => Err(io::Error::other(format!("it answered {status}"))),
        None => Err(io::Error::other("its answer is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_becomes_a_few_calls() {
        let start = Instant::now();
        let mut bucket = Bucket { left: BURST, filled: start };
        let taken = |bucket: &mut Bucket, seconds| {
            (0..100).filter(|_| bucket.take(start + Duration::from_secs(seconds))).count()
        };
        assert_eq!(taken(&mut bucket, 0), 10);
        assert_eq!(taken(&mut bucket, 5), 0);
        assert_eq!(taken(&mut bucket, 6), 1);
        assert_eq!(taken(&mut bucket, 35), 4);
        assert_eq!(taken(&mut bucket, 3600), 10, "an hour of quiet saves no more than a burst");
    }

    #[test]
    fn a_program_need_not_read_and_one_that_fails_is_named() {
        let large = "x".repeat(1 << 20);
        assert!(run_program(Command::new("cat"), &large).is_ok());
        assert!(run_program(Command::new("true"), &large).is_ok(), "it need not read");
        let failed = run_program(Command::new("false"), "").unwrap_err().to_string();
        assert!(failed.contains("exit status: 1"), "{failed}");
        assert!(run_program(Command::new("/no/such/program"), "").is_err());
    }
}
