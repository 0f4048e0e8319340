//! As much of an HTTP client as these tests need: one request per connection, the answer read to its end.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Longer than anything these tests wait for.
const DEADLINE: Duration = Duration::from_secs(20);

/// A request that was sent and whose answer was not read yet.
#[derive(Debug)]
pub(crate) struct Pending(TcpStream);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Send a request without a body to `address` (`127.0.0.1:PORT`).
pub(crate) fn send(address: &str, method: &str, path: &str) -> Pending {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let host = "Host: it\r\nUser-Agent: it \"quoted\"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    write!(stream, "{method} {path} HTTP/1.1\r\n{host}").unwrap();
    Pending(stream)
}

/// Send a GET request and read the answer.
pub(crate) fn get(address: &str, path: &str) -> Answer {
    send(address, "GET", path).answer()
}

impl Pending {
    /// Head and body as they came.
    pub(crate) fn text(mut self) -> String {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The answer; status 0 when the connection ended without one.
    pub(crate) fn answer(self) -> Answer {
        let text = self.text();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.unwrap_or(0), body: body.to_owned() }
    }
}

/// A place where an application waits until the test lets it go on: it connects and waits for the end of the stream.
#[derive(Debug)]
pub(crate) struct Gate(TcpListener);

impl Gate {
    pub(crate) fn new() -> Self {
        Gate(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// For `--env`.
    pub(crate) fn variable(&self) -> String {
        format!("GATE={}", self.0.local_addr().unwrap().port())
    }

    /// The connection of somebody who has said that he waits; dropping it lets him go on.
    pub(crate) fn waiting(&self) -> TcpStream {
        self.0.accept().unwrap().0
    }
}

/// Send these bytes, which must ask for the end of the connection.
pub(crate) fn send_raw(address: &str, bytes: &[u8]) -> Pending {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(bytes).unwrap();
    Pending(stream)
}
