//! One page of the application, with its content: what the load generator throws away is what a survey reads.
//!
//! HTTP/1.0, so that the answer ends with the connection; the server is our own host on loopback.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Content beyond this is not read: links are in the first part of a page.
const MAX_CONTENT: usize = 512 * 1024;
const MAX_FIELDS: usize = 128;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Page {
    pub(super) status: u16,
    /// Lower case, without parameters.
    pub(super) kind: String,
    /// Of a redirect.
    pub(super) location: Option<String>,
    pub(super) content: Vec<u8>,
    pub(super) elapsed: Duration,
}

/// GET a target of an application by its Host field.
///
/// # Errors
/// No answer in time, or none that is HTTP.
pub(super) fn get(
    address: SocketAddr,
    authority: &str,
    target: &str,
    patience: Duration,
) -> io::Result<Page> {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_write_timeout(Some(patience))?;
    let head =
        format!("GET {target} HTTP/1.0\r\nHost: {authority}\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while answer.len() < MAX_CONTENT {
        let left = patience.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
    parse(&answer, start.elapsed()).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

fn parse(answer: &[u8], elapsed: Duration) -> Option<Page> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(start) = head.parse(answer).ok()? else { return None };
    let field = |name: &str| {
        let found = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(|value| value.trim().to_owned())
    };
    let kind = field("content-type").unwrap_or_default();
    Some(Page {
        status: head.code?,
        kind: kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
        location: field("location"),
        content: answer[start..].to_vec(),
        elapsed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = b"HTTP/1.1 302 Found\r\nContent-Type: Text/HTML; charset=x\r\nLocation: /a\r\n\r\n<p>";
        let page = parse(answer, Duration::ZERO).unwrap();
        assert_eq!((page.status, page.kind.as_str()), (302, "text/html"));
        assert_eq!((page.location.as_deref(), page.content.as_slice()), (Some("/a"), &b"<p>"[..]));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nA: b", Duration::ZERO), None);
        assert_eq!(parse(b"nonsense\r\n\r\n", Duration::ZERO), None);
    }
}
