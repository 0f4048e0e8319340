//! One request at a time, by hand: where what happens to a connection is the question.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of an answer.
const MAX_ANSWER: u64 = 1 << 20;

/// Begin a request and leave it to the caller when to go.
pub(super) fn begin(address: SocketAddr, authority: &str, target: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // In one write: `write!` would send each piece of it on its own, and a server that answers the first and closes resets
    // the connection.
    let head = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

/// The status of what comes, when all of it has come; None when the connection ended before it.
pub(super) fn finish(mut stream: TcpStream) -> Option<u16> {
    let mut answer = Vec::new();
    let read = (&mut stream).take(MAX_ANSWER).read_to_end(&mut answer);
    let status = status(&answer);
    read.ok().and(status)
}

fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        assert_eq!(status(b"HTTP/1.1 504 Gateway Timeout\r\n"), Some(504));
        assert_eq!(status(b""), None);
        assert_eq!(status(b"HTTP/1.1 5x4 "), None);
    }
}
