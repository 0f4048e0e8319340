//! The control interface's client: one HTTP/1.1 exchange on a Unix socket for each call, within a deadline.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest answer: thousands of applications with all their workers.
const MAX_ANSWER: u64 = 32 << 20;
const MAX_FIELDS: usize = 64;

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{call}: the host does not answer on {socket}: {source}")]
    System { call: String, socket: PathBuf, source: io::Error },
    #[error("{call}: the host refused ({status}): {detail}")]
    Refused { call: String, status: u16, detail: String },
    #[error("{call}: the host's answer makes no sense: {why}")]
    Nonsense { call: String, why: String },
}

/// Where a host is asked.
#[derive(Debug, Clone)]
pub struct Control {
    socket: PathBuf,
}

impl Control {
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Control { socket }
    }

    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// # Errors
    /// No answer in time, one that is not a success, or one that is not what was expected.
    pub fn get<T: DeserializeOwned>(&self, path: &str, patience: Duration) -> Result<T, CallError> {
        self.call("GET", path, None, patience)
    }

    /// # Errors
    /// As [`Control::get`].
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<T, CallError> {
        self.call("POST", path, body, patience)
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<T, CallError> {
        let call = || format!("{method} {path}");
        let answer = self.exchange(method, path, body, patience).map_err(|source| CallError::System {
            call: call(),
            socket: self.socket.clone(),
            source,
        })?;
        let (status, content) =
            split(&answer).map_err(|why| CallError::Nonsense { call: call(), why: why.to_owned() })?;
        if !(200..300).contains(&status) {
            let detail = serde_json::from_slice::<Value>(content)
                .ok()
                .and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()))
                .unwrap_or_else(|| String::from_utf8_lossy(content).chars().take(500).collect());
            return Err(CallError::Refused { call: call(), status, detail });
        }
        serde_json::from_slice(content)
            .map_err(|error| CallError::Nonsense { call: call(), why: error.to_string() })
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_write_timeout(Some(patience))?;
        let content = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: host\r\nConnection: close\r\n");
        if body.is_some() {
            request += "Content-Type: application/json\r\n";
        }
        request += &format!("Content-Length: {}\r\n\r\n{content}", content.len());
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(answer),
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A read that ran into its time limit says so in this way.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
            if answer.len() as u64 > MAX_ANSWER {
                return Err(io::Error::other("an answer without end"));
            }
        }
    }
}

/// Status and content of a complete answer. The connection was closed after it, so that its length needs no trust, but a
/// length that is announced must be there.
fn split(answer: &[u8]) -> Result<(u16, &[u8]), &'static str> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let start = match head.parse(answer) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => return Err("it ended within the head"),
        Err(_) => return Err("it is not HTTP"),
    };
    let content = &answer[start..];
    for field in head.headers.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("it is chunked");
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(field.value).ok().and_then(|value| value.trim().parse().ok());
            if length != Some(content.len()) {
                return Err("it is shorter or longer than it says");
            }
        }
    }
    head.code.map(|status| (status, content)).ok_or("it has no status")
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn only_complete_answers_count() {
        assert_eq!(split(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), Ok((200, &b"hi"[..])));
        for wrong in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-",
            b"",
            b"nonsense\r\n\r\n",
        ] {
            assert!(split(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }
}
