//! Clients that servers do not like: those that hold connections, read slowly, or leave.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};

const PATIENCE: Duration = Duration::from_secs(10);
/// Asked of the kernel for a slow reader's receive buffer, in bytes.
pub(super) const RECEIVE_BUFFER: usize = 32 * 1024;
/// A slow reader takes this much at a time.
const SIP: usize = 8 * 1024;
/// Longest head of an answer.
const HEAD: usize = 16 * 1024;

/// Connections that are open until dropped: every other one is idle, the rest have begun a request.
pub(super) fn hold(address: SocketAddr, authority: &str, count: u32) -> io::Result<Vec<TcpStream>> {
    (0..count)
        .map(|number| {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            if number % 2 == 1 {
                let begun = format!("GET / HTTP/1.1\r\nHost: {authority}\r\nX-Slow: ");
                stream.write_all(begun.as_bytes())?;
            }
            Ok(stream)
        })
        .collect()
}

/// Connections that have had one answer and stay open; refused ones are not among them.
pub(super) fn crowd(address: SocketAddr, authority: &str, count: u32) -> Vec<TcpStream> {
    let patience = Some(Duration::from_secs(1));
    let request = format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let one = |_| -> io::Result<Option<TcpStream>> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(patience)?;
        stream.write_all(request.as_bytes())?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok((&start == b"HTTP/1.1 200").then_some(stream))
    };
    (0..count).filter_map(|number| one(number).ok().flatten()).collect()
}

/// A reader at a steady pace.
pub(super) struct SlowReader {
    thread: JoinHandle<io::Result<u64>>,
    begun: Receiver<Instant>,
}

impl SlowReader {
    /// `rate` in bytes per second.
    pub(super) fn start(
        address: SocketAddr,
        authority: &str,
        target: &str,
        rate: f64,
    ) -> io::Result<SlowReader> {
        // The kernel settles the window when the connection is made, so the buffer comes first.
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_recv_buffer_size(&fd, RECEIVE_BUFFER)?;
        connect(&fd, &address)?;
        let mut stream = TcpStream::from(fd);
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let (tell, begun) = sync_channel(1);
        let thread = thread::spawn(move || {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
                if head.len() > HEAD {
                    return Err(io::Error::other("an answer without end of its head"));
                }
            }
            let start = Instant::now();
            let _ = tell.try_send(start);
            let (mut total, mut buffer) = (0_u64, [0; SIP]);
            loop {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(total);
                }
                total += count as u64;
                sleep(Duration::from_secs_f64(total as f64 / rate).saturating_sub(start.elapsed()));
            }
        });
        Ok(SlowReader { thread, begun })
    }

    /// When the answer began.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.begun.recv_timeout(PATIENCE).ok()
    }

    /// Bytes of content, when all of it is read.
    pub(super) fn finish(self) -> io::Result<u64> {
        self.thread.join().map_err(|_| io::Error::other("the reader panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_slow_reader_keeps_its_pace() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            // What is left unread when the connection closes would reset it.
            let (mut request, mut piece) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut piece).unwrap();
                assert!(count > 0, "the request ends");
                request.extend_from_slice(&piece[..count]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n").unwrap();
            stream.write_all(&[0; 65_536]).unwrap();
        });
        let reader = SlowReader::start(address, "a", "/", 200_000.0).unwrap();
        let begun = reader.begun().unwrap();
        assert_eq!(reader.finish().unwrap(), 65_536);
        let seconds = begun.elapsed().as_secs_f64();
        assert!((0.3..1.0).contains(&seconds), "{seconds}");
        server.join().unwrap();
    }
}
