//! One connection and the request on it: bytes out, bytes in, and what the kernel says to both. Decides nothing about what
//! comes next; that is the engine's.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use super::response::{Progress, ResponseError, ResponseReader};
use super::{Endpoint, Outcome};

/// Reads per event at most: an endless answer must not keep the others waiting.
const READS: usize = 16;

/// A request under way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Exchange {
    pub(super) planned: u64,
    pub(super) begun: u64,
    pub(super) sent: u64,
    pub(super) first: u64,
    pub(super) class: u16,
    /// Bytes of the request that the kernel has taken.
    pub(super) written: usize,
    /// On its second connection: the first one had been closed by the server.
    pub(super) again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A Unix socket's queue is full, which nobody tells the end of: to be tried again.
    Stalled,
    Connecting,
    Sending,
    Receiving,
    Idle,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) phase: Phase,
    pub(super) exchange: Exchange,
    /// It has carried a request before.
    pub(super) reused: bool,
    /// What epoll was told.
    pub(super) waits_to_write: bool,
    reader: ResponseReader,
}

/// What to do next with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for the kernel.
    Wait,
    Complete {
        status: u16,
        reusable: bool,
    },
    /// The server closed a kept connection before it can have seen the request.
    Stale,
    Failed(Outcome),
    /// No connection came about, and why.
    Refused(Errno),
}

impl Connection {
    /// Begin to connect.
    pub(super) fn open(endpoint: &Endpoint, exchange: Exchange, is_head: bool) -> Result<Connection, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, result) = match endpoint {
            Endpoint::Tcp(address) => {
                let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
                sockopt::set_tcp_nodelay(&socket, true)?;
                let result = net::connect(&socket, address);
                (socket, result)
            }
            Endpoint::Unix(path) => {
                let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                let result = net::connect(&socket, &SocketAddrUnix::new(path.as_path())?);
                (socket, result)
            }
        };
        let phase = match result {
            Ok(()) => Phase::Sending,
            Err(Errno::INPROGRESS) => Phase::Connecting,
            Err(Errno::AGAIN) => Phase::Stalled,
            Err(error) => return Err(error),
        };
        let mut reader = ResponseReader::default();
        reader.reset(is_head);
        Ok(Connection { socket, phase, exchange, reused: false, waits_to_write: false, reader })
    }

    /// Put the next request on an idle connection.
    pub(super) fn assign(&mut self, exchange: Exchange, is_head: bool) {
        self.exchange = exchange;
        self.reader.reset(is_head);
        self.phase = Phase::Sending;
        self.reused = true;
    }

    /// Whether connecting has come to an end, and how.
    pub(super) fn connected(&mut self) -> Step {
        match sockopt::socket_error(&self.socket) {
            Ok(Ok(())) => {
                self.phase = Phase::Sending;
                Step::Wait
            }
            Ok(Err(error)) | Err(error) => Step::Refused(error),
        }
    }

    /// Send as much as the kernel takes.
    pub(super) fn send(&mut self, request: &[u8], now: impl Fn() -> u64) -> Step {
        while self.exchange.written < request.len() {
            let rest = &request[self.exchange.written..];
            match net::send(self.socket.as_fd(), rest, SendFlags::NOSIGNAL) {
                Ok(taken) => {
                    if self.exchange.sent == 0 {
                        self.exchange.sent = now();
                    }
                    self.exchange.written += taken;
                }
                Err(Errno::AGAIN) => return Step::Wait,
                Err(Errno::INTR) => {}
                // It may have answered before it closed.
                Err(_) => {
                    self.phase = Phase::Receiving;
                    return match self.receive(&mut [0; 16 * 1024], request.len(), now) {
                        Step::Wait => self.ended(Err(ResponseError::Truncated)),
                        step => step,
                    };
                }
            }
        }
        self.phase = Phase::Receiving;
        Step::Wait
    }

    /// Read what is there. `length` is that of the request: one that is answered before it was sent completely spoils the
    /// connection for the next.
    pub(super) fn receive(&mut self, buffer: &mut [u8], length: usize, now: impl Fn() -> u64) -> Step {
        for _ in 0..READS {
            let (taken, _) = match net::recv(self.socket.as_fd(), &mut *buffer, RecvFlags::empty()) {
                Ok(taken) => taken,
                Err(Errno::AGAIN) => return Step::Wait,
                Err(Errno::INTR) => continue,
                Err(_) => return self.ended(Err(ResponseError::Truncated)),
            };
            if taken == 0 {
                let end = self.reader.end();
                return self.ended(end);
            }
            if self.exchange.first == 0 {
                self.exchange.first = now();
            }
            match self.reader.feed(&buffer[..taken]) {
                Ok(Progress::Partial) if taken < buffer.len() => return Step::Wait,
                Ok(Progress::Partial) => {}
                Ok(Progress::Complete { status, reusable }) => {
                    return Step::Complete { status, reusable: reusable && self.exchange.written == length };
                }
                Err(_) => return Step::Failed(Outcome::Malformed),
            }
        }
        Step::Wait
    }

    fn ended(&self, end: Result<Progress, ResponseError>) -> Step {
        match end {
            Ok(Progress::Complete { status, .. }) => Step::Complete { status, reusable: false },
            _ if self.reused && self.exchange.first == 0 && !self.exchange.again => Step::Stale,
            _ => Step::Failed(Outcome::Disconnected),
        }
    }

    /// Content of the answer so far, in bytes.
    pub(super) fn content(&self) -> u64 {
        self.reader.content()
    }
}
