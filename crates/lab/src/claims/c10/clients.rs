//! Clients that give up and try again. Requests become due at planned times whatever the server does; each is worked on by a
//! thread of its own, of which there is a bounded number. Unlike the load generator, which never sends a request twice.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Random;

/// Requests that are worked on at a time. One that is due beyond that is not answered in time, and counted so.
const CLIENTS: usize = 256;
/// Answers that matter here are short.
const MAX_ANSWER: usize = 64 * 1024;
/// First attempts that a budget always allows to be tried again, so that a quiet client may try at all.
const BUDGET_FLOOR: u32 = 3;

/// Who asks for what, how often, and how patiently.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) address: SocketAddr,
    pub(super) authority: String,
    pub(super) target: String,
    /// Requests per second, independent of each other.
    pub(super) rate: f64,
    /// Whole seconds.
    pub(super) seconds: usize,
    /// For one attempt.
    pub(super) patience: Duration,
    /// After the first attempt.
    pub(super) retries: u32,
    /// Share of requests so far that may be tried again, by all clients together.
    pub(super) budget: Option<f64>,
    pub(super) seed: u64,
}

/// Counts by second: of requests, the one in which they became due; of attempts, the one in which they began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) due: Vec<u32>,
    pub(super) good: Vec<u32>,
    pub(super) attempts: Vec<u32>,
}

struct Shared {
    clients: Clients,
    start: Instant,
    due: Vec<AtomicU32>,
    good: Vec<AtomicU32>,
    attempts: Vec<AtomicU32>,
    asked: AtomicU32,
    retried: AtomicU32,
    busy: AtomicUsize,
}

impl Clients {
    /// Run all of it, on this thread and others; returns when the last attempt has ended. `stop` is asked now and then.
    #[must_use]
    pub(super) fn run(self, stop: &dyn Fn() -> bool) -> Counts {
        let counters = || (0..self.seconds).map(|_| AtomicU32::new(0)).collect();
        let mut random = Random::stream(self.seed, 10);
        let shared = Arc::new(Shared {
            start: Instant::now(),
            due: counters(),
            good: counters(),
            attempts: counters(),
            asked: AtomicU32::new(0),
            retried: AtomicU32::new(0),
            busy: AtomicUsize::new(0),
            clients: self,
        });
        let (give, take) = sync_channel::<usize>(CLIENTS);
        let take = Arc::new(Mutex::new(take));
        let threads: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (shared, take) = (Arc::clone(&shared), Arc::clone(&take));
                thread::spawn(move || shared.work(&take))
            })
            .collect();
        let mut at = 0.0;
        while !stop() {
            at += random.exponential() / shared.clients.rate;
            if at >= shared.clients.seconds as f64 {
                break;
            }
            thread::sleep(Duration::from_secs_f64(at).saturating_sub(shared.start.elapsed()));
            let second = at as usize;
            shared.due[second].fetch_add(1, Ordering::Relaxed);
            shared.asked.fetch_add(1, Ordering::Relaxed);
            if shared.busy.load(Ordering::Relaxed) < CLIENTS {
                shared.busy.fetch_add(1, Ordering::Relaxed);
                // There is room: fewer than CLIENTS are taken or waiting.
                let _ = give.try_send(second);
            }
        }
        drop(give);
        for thread in threads {
            let _ = thread.join();
        }
        let read = |counts: &[AtomicU32]| counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Counts { due: read(&shared.due), good: read(&shared.good), attempts: read(&shared.attempts) }
    }
}

impl Shared {
    fn work(&self, take: &Mutex<Receiver<usize>>) {
        loop {
            let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(second) = next else { return };
            if self.ask() {
                self.good[second].fetch_add(1, Ordering::Relaxed);
            }
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether one of the attempts was answered in time.
    fn ask(&self) -> bool {
        for attempt in 0..=self.clients.retries {
            if attempt > 0 && !self.may_retry() {
                return false;
            }
            let begun = Instant::now();
            let second = self.start.elapsed().as_secs() as usize;
            if let Some(count) = self.attempts.get(second) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            if matches!(self.attempt(begun + self.clients.patience), Ok(true)) {
                return true;
            }
            // One that was refused at once is not tried again at once either: that would be a busy loop.
            thread::sleep((begun + self.clients.patience).saturating_duration_since(Instant::now()));
        }
        false
    }

    fn may_retry(&self) -> bool {
        let Some(budget) = self.clients.budget else { return true };
        let allowed = (budget * f64::from(self.asked.load(Ordering::Relaxed))) as u32 + BUDGET_FLOOR;
        self.retried
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < allowed).then_some(used + 1))
            .is_ok()
    }

    /// One connection, one request. When time is up the connection is closed, and with it the request is over for the
    /// client: whether the server notices is what is measured.
    fn attempt(&self, deadline: Instant) -> io::Result<bool> {
        let left = || match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
            left => Ok(left),
        };
        let Clients { address, authority, target, .. } = &self.clients;
        let mut stream = TcpStream::connect_timeout(address, left()?)?;
        stream.set_write_timeout(Some(left()?))?;
        // In one piece: a server that answers after the first of several would close with the others unread.
        let request = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            stream.set_read_timeout(Some(left()?))?;
            match stream.read(&mut buffer)? {
                0 => return Ok(answer.starts_with(b"HTTP/1.1 200 ")),
                count => answer.extend_from_slice(&buffer[..count]),
            }
            if answer.len() > MAX_ANSWER {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server on a thread that answers so many requests well and lets all others wait.
    fn server(answers: u32) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut held = Vec::new();
            for (number, stream) in (0..).zip(listener.incoming()) {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                if number < answers {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                } else {
                    held.push(stream);
                }
            }
        });
        address
    }

    fn run(address: SocketAddr, milliseconds: u64, budget: Option<f64>) -> (u32, u32, u32) {
        let clients = Clients {
            address,
            authority: "a".into(),
            target: "/".into(),
            rate: 60.0,
            seconds: 1,
            patience: Duration::from_millis(milliseconds),
            retries: 2,
            budget,
            seed: 1,
        };
        let counts = clients.run(&|| false);
        (counts.due.iter().sum(), counts.good.iter().sum(), counts.attempts.iter().sum())
    }

    #[test]
    fn what_is_not_answered_is_tried_again_within_the_budget() {
        let (due, good, attempts) = run(server(u32::MAX), 10_000, None);
        // Attempts after the last second are made and not counted.
        assert!(
            due > 30 && good == due && attempts <= due && 10 * (due - attempts) <= due,
            "{due} {good} {attempts}"
        );
        let (due, good, attempts) = run(server(0), 100, None);
        assert!(good == 0 && attempts > due + due / 2 && attempts <= 3 * due, "{due} {good} {attempts}");
        let (due, good, attempts) = run(server(0), 100, Some(0.1));
        assert!(good == 0 && attempts <= due + due / 10 + BUDGET_FLOOR, "{due} {good} {attempts}");
        assert!(attempts > due);
    }

    #[test]
    fn nothing_there_is_no_busy_loop() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (due, good, attempts) = run(address, 100, None);
        assert!(good == 0 && attempts <= 3 * due);
    }
}
