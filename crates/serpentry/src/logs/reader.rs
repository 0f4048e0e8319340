//! The thread that reads what applications write, from all pipes of all workers, and never waits for anything else: an
//! application whose pipe is full would wait in its `print`.
//!
//! It puts lines into the [`Book`] and knows nothing of files.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use super::book::Book;
use super::line::{Records, Splitter, Stream};

/// Pipes that are looked at per turn, and bytes that are read of each: fair, and many lines at a time.
const EVENTS: usize = 64;
const CHUNK: usize = 64 * 1024;

/// After a process has exited, others that it started may hold its pipes. They are read for so much longer.
const AFTER_EXIT: Duration = Duration::from_secs(1);

/// What is read at most, of each pipe, when time is over: as much as the largest pipe holds.
const LAST_CHUNKS: usize = 4;

/// At the end of the program, pipes that are still open are read for no longer than this.
const AT_THE_END: Duration = Duration::from_millis(500);

/// The number under which the wake-up call is registered; pipes count from 0.
const WAKE: u64 = u64::MAX;

/// A process whose output is read, as its starter knows it. Numbers are never used twice.
pub(super) type CaptureId = u64;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Order {
    Read { id: CaptureId, app: Arc<str>, pid: u32, stdout: OwnedFd, stderr: OwnedFd },
    Exited { id: CaptureId },
    Stop,
}

/// The way to tell it. Bounded by the number of processes: two orders for each.
#[derive(Debug)]
pub(super) struct Inbox {
    orders: Mutex<Vec<Order>>,
    wake: OwnedFd,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Inbox { orders: Mutex::default(), wake })
    }

    pub(super) fn tell(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        // It fails only when the counter is full, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn take(&self) -> Vec<Order> {
        let mut count = [0; 8];
        // Nothing to read: nobody called.
        let _ = rustix::io::read(&self.wake, &mut count);
        std::mem::take(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One stream of one process.
#[derive(Debug)]
struct Pipe {
    capture: CaptureId,
    app: Arc<str>,
    pid: u32,
    stream: Stream,
    fd: OwnedFd,
    splitter: Splitter,
}

#[derive(Debug)]
pub(super) struct Reader {
    epoll: OwnedFd,
    inbox: Arc<Inbox>,
    book: Arc<Book>,
    pipes: HashMap<u64, Pipe>,
    next_pipe: u64,
    /// Processes that have exited, in the order in which their time is over.
    exited: Vec<(Instant, CaptureId)>,
    buffer: Vec<u8>,
    stopping: bool,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Bytes,
    /// For now.
    Nothing,
    End,
}

impl Reader {
    pub(super) fn new(inbox: Arc<Inbox>, book: Arc<Book>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &inbox.wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Reader {
            epoll,
            inbox,
            book,
            pipes: HashMap::new(),
            next_pipe: 0,
            exited: Vec::new(),
            buffer: vec![0; CHUNK],
            stopping: false,
        })
    }

    /// Until it is told to stop.
    pub(super) fn run(mut self) {
        while !self.stopping {
            self.turn();
        }
        let deadline = Instant::now() + AT_THE_END;
        let mut open: Vec<u64> = self.pipes.keys().copied().collect();
        // What is in the pipes now is still wanted; who goes on writing is not waited for.
        while !open.is_empty() && Instant::now() < deadline {
            open.retain(|key| self.read(*key) == Got::Bytes);
        }
        for key in self.pipes.keys().copied().collect::<Vec<_>>() {
            self.close(key);
        }
    }

    /// Wait for something, and deal with it.
    fn turn(&mut self) {
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let ready: Vec<u64> = match epoll::wait(&self.epoll, &mut events, self.patience().as_ref()) {
            Ok((ready, _)) => ready.iter().map(|event| event.data.u64()).collect(),
            // Interrupted; nothing else can be wrong with it.
            Err(_) => Vec::new(),
        };
        for key in ready {
            if key != WAKE && self.read(key) == Got::End {
                self.close(key);
            }
        }
        for order in self.inbox.take() {
            self.obey(order);
        }
        let now = Instant::now();
        let over = self.exited.partition_point(|(deadline, _)| *deadline <= now);
        for (_, capture) in self.exited.drain(..over).collect::<Vec<_>>() {
            self.give_up(capture);
        }
    }

    fn patience(&self) -> Option<Timespec> {
        let (deadline, _) = self.exited.first()?;
        Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Read { id, app, pid, stdout, stderr } => {
                self.open(id, &app, pid, Stream::Out, stdout);
                self.open(id, &app, pid, Stream::Err, stderr);
            }
            Order::Exited { id } => {
                if self.pipes.values().any(|pipe| pipe.capture == id) {
                    self.exited.push((Instant::now() + AFTER_EXIT, id));
                }
            }
            Order::Stop => self.stopping = true,
        }
    }

    fn open(&mut self, capture: CaptureId, app: &Arc<str>, pid: u32, stream: Stream, fd: OwnedFd) {
        let key = self.next_pipe;
        self.next_pipe += 1;
        match epoll::add(&self.epoll, &fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN) {
            Ok(()) => {
                self.book.opened(app);
                let splitter = Splitter::default();
                let pipe = Pipe { capture, app: Arc::clone(app), pid, stream, fd, splitter };
                self.pipes.insert(key, pipe);
            }
            Err(error) => {
                let name = stream.as_str();
                self.book.note(app, &format!("std{name} of process {pid} cannot be read: {error}"));
            }
        }
    }

    /// Read once.
    fn read(&mut self, key: u64) -> Got {
        let Some(pipe) = self.pipes.get_mut(&key) else { return Got::Nothing };
        let count = match rustix::io::read(&pipe.fd, &mut self.buffer) {
            Ok(count) if count > 0 => count,
            Err(Errno::AGAIN | Errno::INTR) => return Got::Nothing,
            Ok(_) | Err(_) => return Got::End,
        };
        let mut records = Records::new(pipe.stream, pipe.pid);
        pipe.splitter.feed(&self.buffer[..count], |line, complete| records.push(line, complete));
        self.book.push(&pipe.app, &records);
        Got::Bytes
    }

    /// The end of a pipe, and of the line that was begun.
    fn close(&mut self, key: u64) {
        let Some(mut pipe) = self.pipes.remove(&key) else { return };
        let mut records = Records::new(pipe.stream, pipe.pid);
        pipe.splitter.finish(|line, complete| records.push(line, complete));
        self.book.push(&pipe.app, &records);
        // Closing it would take it out as well, were it not for a process that is just being forked.
        let _ = epoll::delete(&self.epoll, pipe.fd.as_fd());
        self.book.closed(&pipe.app);
    }

    /// A process is gone and somebody still holds its pipes: what is in them is taken, and that is all.
    fn give_up(&mut self, capture: CaptureId) {
        let of_it = |(key, pipe): (&u64, &Pipe)| (pipe.capture == capture).then_some(*key);
        for key in self.pipes.iter().filter_map(of_it).collect::<Vec<_>>() {
            for _ in 0..LAST_CHUNKS {
                if self.read(key) != Got::Bytes {
                    break;
                }
            }
            self.close(key);
        }
    }
}
