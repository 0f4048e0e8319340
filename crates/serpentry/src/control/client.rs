//! The caller's half: one blocking HTTP call per connection, each with one time limit for all of it.
//!
//! HTTP/1.0 on purpose: the answer is not chunked and ends with the connection, so that a complete client fits here.
//! The host is not trusted more than it must be: sizes are bounded, and nothing of an answer is executed or followed.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use serde::de::DeserializeOwned;

use super::incidents::{Events, Incident, Incidents};
use super::problem::Problem;
use super::routes::Routes;
use super::types::{AppStatus, Changed, Looked, Move, Reloaded, Scale, Status, Stopping, Tenancy};
use crate::state;

/// Largest answer: the status of about 50,000 applications.
const ANSWER: usize = 64 * 1024 * 1024;

/// Most header fields of an answer.
const FIELDS: usize = 32;

/// Calls that only look; a little more than the server's own limit, whose answer says more.
const LOOK: Duration = Duration::from_secs(6);

/// Calls that may wait for an application to boot; as above.
const CHANGE: Duration = Duration::from_secs(125);

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no host is running here ({}): start it with serpentry host", .0.display())]
    NotRunning(PathBuf),
    #[error("the host in {} is not ours: {reason}; run this as the user who started it", .directory.display())]
    Denied { directory: PathBuf, reason: String },
    #[error("the host{} did not answer within {} s", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), limit.as_secs())]
    Silent { pid: Option<u32>, limit: Duration },
    /// The host said no.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    #[error("the host's answer cannot be understood ({0}); is it of another version?")]
    Strange(String),
    #[error("cannot talk to the host in {}", .directory.display())]
    Failed { directory: PathBuf, source: io::Error },
}

/// A host, by its state directory.
#[derive(Debug, Clone)]
pub struct Client {
    directory: PathBuf,
}

/// What came back.
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Client {
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Client { directory: directory.to_owned() }
    }

    /// # Errors
    /// See [`ClientError`]; so for all calls.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.call("GET", "/v1/status", None, LOOK)
    }

    /// The state of one application.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn app(&self, app: &str) -> Result<AppStatus, ClientError> {
        self.call("GET", &format!("/v1/apps/{}", segment(app)), None, LOOK)
    }

    /// What the requests of one application take, by route.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn routes(&self, app: &str, samples: bool) -> Result<Routes, ClientError> {
        self.call("GET", &format!("/v1/apps/{}/routes?samples={samples}", segment(app)), None, LOOK)
    }

    /// Newest first, at most so many.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn incidents(&self, app: Option<&str>, limit: u32) -> Result<Incidents, ClientError> {
        let app = app.map(|app| format!("&app={}", segment(app))).unwrap_or_default();
        self.call("GET", &format!("/v1/incidents?limit={limit}{app}"), None, LOOK)
    }

    /// By any of its names.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn incident(&self, name: &str) -> Result<Incident, ClientError> {
        self.call("GET", &format!("/v1/incidents/{}", segment(name)), None, LOOK)
    }

    /// Those after that number, oldest first; without a number, all that are still known.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn events(&self, app: Option<&str>, after: Option<u64>) -> Result<Events, ClientError> {
        let app = app.map(|app| format!("app={}&", segment(app))).unwrap_or_default();
        let after = after.map(|after| format!("after={after}")).unwrap_or_default();
        self.call("GET", &format!("/v1/events?{app}{after}"), None, LOOK)
    }

    /// Where the threads of its workers are.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stacks(&self, app: &str) -> Result<Looked, ClientError> {
        self.call("GET", &format!("/v1/apps/{}/stacks", segment(app)), None, LOOK)
    }

    /// Which lines allocate memory, traced for so many seconds.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn memory(&self, app: &str, seconds: u16) -> Result<Looked, ClientError> {
        self.call("POST", &format!("/v1/apps/{}/memory?seconds={seconds}", segment(app)), None, CHANGE)
    }

    /// # Errors
    /// See [`ClientError`].
    pub fn reload(&self) -> Result<Reloaded, ClientError> {
        self.call("POST", "/v1/reload", None, CHANGE)
    }

    /// # Errors
    /// See [`ClientError`].
    pub fn scale(&self, app: &str, workers: u32) -> Result<Changed, ClientError> {
        let body = serde_json::to_string(&Scale { workers }).unwrap_or_default();
        self.call("POST", &format!("/v1/apps/{}/scale", segment(app)), Some(&body), LOOK)
    }

    /// # Errors
    /// See [`ClientError`].
    pub fn stop(&self, app: &str) -> Result<Changed, ClientError> {
        self.call("POST", &format!("/v1/apps/{}/stop", segment(app)), None, LOOK)
    }

    /// # Errors
    /// See [`ClientError`].
    pub fn start(&self, app: &str) -> Result<Changed, ClientError> {
        self.call("POST", &format!("/v1/apps/{}/start", segment(app)), None, CHANGE)
    }

    /// # Errors
    /// See [`ClientError`].
    pub fn restart(&self, app: &str) -> Result<Changed, ClientError> {
        self.call("POST", &format!("/v1/apps/{}/restart", segment(app)), None, CHANGE)
    }

    /// # Errors
    /// See [`ClientError`].
    pub fn relocate(&self, app: &str, tenancy: Tenancy) -> Result<Changed, ClientError> {
        let body = serde_json::to_string(&Move { tenancy }).unwrap_or_default();
        self.call("POST", &format!("/v1/apps/{}/move", segment(app)), Some(&body), CHANGE)
    }

    /// # Errors
    /// See [`ClientError`].
    pub fn stop_host(&self) -> Result<Stopping, ClientError> {
        self.call("POST", "/v1/stop", None, LOOK)
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let answer = self.exchange(method, path, body, limit)?;
        let strange = |error: serde_json::Error| ClientError::Strange(error.to_string());
        if (200..300).contains(&answer.status) {
            serde_json::from_slice(&answer.body).map_err(strange)
        } else {
            Err(ClientError::Refused(Box::new(serde_json::from_slice(&answer.body).map_err(strange)?)))
        }
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
        limit: Duration,
    ) -> Result<Answer, ClientError> {
        let deadline = Instant::now() + limit;
        let failed = |error: io::Error| self.error(error, limit);
        let mut stream = state::connect(&self.directory, limit).map_err(failed)?;
        let peer = self.check_peer(&stream)?;
        let body = body.unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        let req = format!("{method} {path} HTTP/1.0\r\n{kind}Content-Length: {length}\r\n\r\n{body}");
        stream.set_write_timeout(Some(limit)).map_err(failed)?;
        // A host that refuses us closes the connection at once; the reading says so.
        match stream.write_all(req.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => {}
        }
        match read(&mut stream, deadline) {
            Ok(bytes) if !bytes.is_empty() => parse(&bytes),
            // A reset is what closing with an unread request looks like.
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(failed(error)),
            _ => Err(self.closed(peer)),
        }
    }

    /// Whoever listens there must be one of ours, before it is told anything; their user.
    fn check_peer(&self, stream: &UnixStream) -> Result<u32, ClientError> {
        let own = rustix::process::geteuid().as_raw();
        let peer = socket_peercred(stream).map_err(|error| self.error(error.into(), LOOK))?.uid.as_raw();
        if peer == own || peer == 0 || own == 0 {
            return Ok(peer);
        }
        let reason = format!("user {peer} listens there, this is user {own}");
        Err(ClientError::Denied { directory: self.directory.clone(), reason })
    }

    /// The connection was closed without an answer: by a host that does not serve us, or that ended meanwhile.
    fn closed(&self, peer: u32) -> ClientError {
        let directory = self.directory.clone();
        let own = rustix::process::geteuid().as_raw();
        // Another user's lock cannot be read, so that this comes first.
        if own != 0 && peer != own {
            let reason = format!("it belongs to user {peer}, this is user {own}");
            ClientError::Denied { directory, reason }
        } else if state::owner(&directory).is_none() {
            ClientError::NotRunning(directory)
        } else {
            let source = io::Error::other("it closed the connection without an answer; is it stopping?");
            ClientError::Failed { directory, source }
        }
    }

    fn error(&self, source: io::Error, limit: Duration) -> ClientError {
        let directory = self.directory.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                ClientError::NotRunning(directory)
            }
            io::ErrorKind::PermissionDenied => ClientError::Denied { directory, reason: source.to_string() },
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Silent { pid: state::owner(&self.directory), limit }
            }
            _ => ClientError::Failed { directory, source },
        }
    }
}

/// Everything until the other end closes. What has come by the deadline counts: on a busy machine it is often the caller
/// who is late, not the host.
fn read(stream: &mut UnixStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            stream.set_nonblocking(true)?;
        } else {
            stream.set_read_timeout(Some(left))?;
        }
        match stream.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(count) if bytes.len() + count > ANSWER => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too large"));
            }
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Answer, ClientError> {
    let strange = |text: &str| ClientError::Strange(text.to_owned());
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let status = head.parse(bytes).map_err(|error| strange(&error.to_string()))?;
    let httparse::Status::Complete(length) = status else { return Err(strange("its head is not complete")) };
    let body = &bytes[length..];
    let field = |name: &str| head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    if field("transfer-encoding").is_some() {
        return Err(strange("it is chunked"));
    }
    if let Some(promised) = field("content-length") {
        let promised = std::str::from_utf8(promised.value).ok().and_then(|text| text.parse().ok());
        if promised != Some(body.len()) {
            return Err(strange("it is cut short"));
        }
    }
    Ok(Answer { status: head.code.unwrap_or(0), body: body.to_owned() })
}

/// A name as one segment of a path: everything but unreserved characters (RFC 3986, section 2.3) is escaped.
fn segment(name: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte) {
            escaped.push(byte.into());
        } else {
            // Writing into a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(segment("shop-2_a"), "shop-2_a");
        assert_eq!(segment("a/b c\r\nü"), "a%2Fb%20c%0D%0A%C3%BC");
    }

    #[test]
    fn an_answer_that_has_come_is_read_however_late_it_is_looked_at() {
        let over = Instant::now();
        let (mut here, mut there) = UnixStream::pair().unwrap();
        there.write_all(b"HTTP/1.0 200 OK\r\n").unwrap();
        assert_eq!(read(&mut here, over).unwrap_err().kind(), io::ErrorKind::WouldBlock, "it is not whole");
        let (mut here, mut there) = UnixStream::pair().unwrap();
        there.write_all(&[b'x'; 100_000]).unwrap();
        drop(there);
        assert_eq!(read(&mut here, over).unwrap().len(), 100_000);
    }

    #[test]
    fn answers_are_whole_or_refused() {
        let answer = parse(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{}"[..]));
        for bad in [
            &b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n{}"[..],
            b"HTTP/1.0 200 OK\r\ncontent-length: x\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            b"HTTP/1.0 200",
            b"garbage\r\n\r\n",
        ] {
            assert!(matches!(parse(bad), Err(ClientError::Strange(_))), "{bad:?}");
        }
    }
}
