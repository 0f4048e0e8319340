//! A visitor: one request on one connection, as any client sends it, and what came back.
//!
//! Blocking, with one time limit for all of it, and bounded in what it keeps of an answer. Not for load: `serpentry load` is.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use serpentry::control::{AppStatus, HostStatus};

/// Most of a body that is kept.
const BODY: usize = 2000;

/// Most of a head.
const HEAD: usize = 64 * 1024;

const FIELDS: usize = 64;

/// Where an application is visited.
#[derive(Debug, Clone)]
pub(super) struct Door {
    address: Address,
    host: String,
    prefix: String,
}

#[derive(Debug, Clone)]
enum Address {
    Tcp(SocketAddr),
    Unix(String),
}

/// An open connection.
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What a visitor asked and what came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Visit {
    pub(super) method: String,
    /// With the prefix of the application.
    pub(super) path: String,
    /// Null: there was no answer, and `error` says why.
    pub(super) status: Option<u16>,
    /// `Serpentry-Incident`.
    pub(super) incident: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) retry_after: Option<String>,
    /// Its beginning.
    pub(super) body: String,
    pub(super) error: Option<String>,
    pub(super) seconds: f64,
}

impl Door {
    /// By the first listener and the first route.
    pub(super) fn of(host: &HostStatus, app: &AppStatus) -> anyhow::Result<Door> {
        let listener = host.listeners.first().context("the host listens nowhere")?;
        let address = match listener.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.to_owned()),
            None => Address::Tcp(reachable(listener)?),
        };
        let route = app.routes.first().map_or("*", String::as_str);
        let (host, prefix) = match route.split_once('/') {
            Some((host, prefix)) => (host, format!("/{}", prefix.trim_end_matches('/'))),
            None => (route, String::new()),
        };
        let host = match host {
            "" | "*" => "localhost".to_owned(),
            host => host.replace("*.", "drill."),
        };
        Ok(Door { address, host, prefix: if prefix == "/" { String::new() } else { prefix } })
    }

    pub(super) fn connect(&self, patience: Duration) -> io::Result<Connection> {
        let connection = match &self.address {
            Address::Tcp(address) => Connection::Tcp(TcpStream::connect_timeout(address, patience)?),
            Address::Unix(path) => Connection::Unix(UnixStream::connect(path)?),
        };
        connection.limit(patience)?;
        Ok(connection)
    }

    /// As it is seen from outside.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The bytes of a request whose body has `length` bytes; the body is not in it.
    pub(super) fn head(&self, method: &str, path: &str, length: usize, more: &str) -> String {
        let (path, host) = (self.path(path), &self.host);
        let length = if length == 0 && method == "GET" {
            String::new()
        } else {
            format!("Content-Length: {length}\r\n")
        };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/problem+json\r\n{length}{more}\r\n"
        )
    }

    /// One request from beginning to end.
    pub(super) fn visit(&self, method: &str, path: &str, body: &[u8], patience: Duration) -> Visit {
        let head = self.head(method, path, body.len(), "Connection: close\r\n");
        let began = Instant::now();
        let visit = self.asked(method, path);
        let exchange = || {
            let mut connection = self.connect(patience)?;
            // Whoever refuses a body does not read it to its end.
            let sent = connection.write_all(&[head.as_bytes(), body].concat());
            match connection.answer(began + patience) {
                Err(_) if sent.is_err() => {
                    Err(sent.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
                }
                answer => answer,
            }
        };
        visit.ended(began, exchange())
    }

    pub(super) fn asked(&self, method: &str, path: &str) -> Visit {
        Visit { method: method.to_owned(), path: self.path(path), ..Visit::default() }
    }
}

/// `http://0.0.0.0:8000` is reached at 127.0.0.1.
fn reachable(listener: &str) -> anyhow::Result<SocketAddr> {
    let text = listener.trim_start_matches("http://");
    let mut found = text.to_socket_addrs().with_context(|| format!("{listener} is no address"))?;
    let mut address = found.next().ok_or_else(|| anyhow!("{listener} is no address"))?;
    if address.port() == 0 {
        bail!("{listener} is no address");
    }
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv6() { "::1" } else { "127.0.0.1" };
        address.set_ip(loopback.parse().context("loopback")?);
    }
    Ok(address)
}

impl Connection {
    fn limit(&self, patience: Duration) -> io::Result<()> {
        let patience = Some(patience.max(Duration::from_millis(1)));
        match self {
            Connection::Tcp(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
            Connection::Unix(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
        }
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => stream.write_all(bytes),
            Connection::Unix(stream) => stream.write_all(bytes),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(buffer),
            Connection::Unix(stream) => stream.read(buffer),
        }
    }

    /// The visitor vanishes: with a reset, as of a machine that is switched off and on. One that closes properly may be one that
    /// has said all and still reads.
    pub(super) fn leave(self) {
        if let Connection::Tcp(stream) = self {
            // Then it is closed properly.
            let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
        }
    }

    /// One answer: its head and the beginning of its body, read to its end.
    pub(super) fn answer(&mut self, deadline: Instant) -> io::Result<Visit> {
        let mut kept = Vec::new();
        let mut piece = [0; 16 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.limit(left)?;
            let count = match self.read(&mut piece) {
                Ok(count) => count,
                // An answer that arrived is an answer, however the connection ends.
                Err(_) if parsed(&kept).is_some() => 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let room = (HEAD + BODY).saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..count.min(room)]);
            if let Some((visit, length, body)) = parsed(&kept)
                && (count == 0 || length.is_some_and(|length| body >= length))
            {
                return Ok(visit);
            }
            if count == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection was closed without an answer",
                ));
            }
        }
    }
}

/// The answer, how long its body is to be, and how much of that is there.
fn parsed(bytes: &[u8]) -> Option<(Visit, Option<usize>, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = head.parse(bytes) else { return None };
    let body = &bytes[length..];
    let field = |name: &str| {
        let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(field.value).into_owned())
    };
    let visit = Visit {
        status: head.code,
        incident: field("serpentry-incident"),
        content_type: field("content-type"),
        retry_after: field("retry-after"),
        body: String::from_utf8_lossy(&body[..body.len().min(BODY)]).into_owned(),
        ..Visit::default()
    };
    Some((visit, field("content-length").and_then(|length| length.parse().ok()), body.len()))
}

impl Visit {
    /// With what came of it.
    pub(super) fn ended(self, began: Instant, answer: io::Result<Visit>) -> Visit {
        let seconds = began.elapsed().as_secs_f64();
        let Visit { method, path, .. } = self;
        match answer {
            Ok(answer) => Visit { method, path, seconds, ..answer },
            Err(error) => {
                let text = match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
                    _ => error.to_string(),
                };
                Visit { method, path, seconds, error: Some(text), ..Visit::default() }
            }
        }
    }

    /// Told by the host why, in a form that programs can read.
    pub(super) fn is_explained(&self) -> bool {
        let json =
            self.content_type.as_deref().is_some_and(|kind| kind.starts_with("application/problem+json"));
        self.status.is_some_and(|status| status >= 400) && self.incident.is_some() && json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nSerpentry-Incident: N11-36NPJZM01\r\n\
                       Content-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}";
        let (visit, length, body) = parsed(answer).unwrap();
        assert_eq!((visit.status, length, body), (Some(503), Some(2), 2));
        assert!(visit.is_explained());
        assert!(parsed(&answer[..40]).is_none());
        let (visit, ..) = parsed(b"HTTP/1.1 503 Busy\r\n\r\n").unwrap();
        assert!(!visit.is_explained(), "a bare status explains nothing");
    }

    #[test]
    fn addresses_that_stand_for_all_are_reached_at_loopback() {
        assert_eq!(reachable("http://0.0.0.0:8000").unwrap().to_string(), "127.0.0.1:8000");
        assert_eq!(reachable("http://[::]:8000").unwrap().to_string(), "[::1]:8000");
        assert!(reachable("http://nowhere").is_err());
    }
}
