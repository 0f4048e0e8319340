//! Where requests go: `http://HOST[:PORT][/TARGET]`, or a Unix socket as `unix:SOCKET[:/TARGET]`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

/// How long one of several addresses of a name is tried.
const TRY: Duration = Duration::from_secs(1);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A place that accepts connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Endpoint {
    /// Whether load sent there stays on this machine's loopback.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Endpoint::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Endpoint::Unix(_) => true,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A URL, not yet looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub place: Place,
    /// For the Host field.
    pub authority: String,
    /// Path and query, at least "/".
    pub target: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Name { host: String, port: u16 },
    Unix(PathBuf),
}

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("{0:?} is not http://HOST[:PORT]/PATH or unix:SOCKET[:/PATH]")]
    Form(String),
    #[error("{0:?}: TLS is not spoken; use the plain address of the server behind it")]
    Tls(String),
    #[error("cannot find {host}: {source}")]
    Unknown { host: String, source: io::Error },
}

impl Url {
    /// # Errors
    /// It is not of the two forms.
    pub fn parse(text: &str) -> Result<Url, TargetError> {
        let form = || TargetError::Form(text.to_owned());
        if text.starts_with("https://") {
            return Err(TargetError::Tls(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("unix:").or_else(|| text.strip_prefix("http://unix:")) {
            let (path, target) = match rest.split_once(":/") {
                Some((path, target)) => (path, format!("/{target}")),
                None => (rest, "/".to_owned()),
            };
            if path.is_empty() || path.contains('\0') {
                return Err(form());
            }
            let (place, authority) = (Place::Unix(path.into()), "localhost".to_owned());
            return Ok(Url { place, authority, target: without_fragment(&target).to_owned() });
        }
        let rest = text.strip_prefix("http://").ok_or_else(form)?;
        let rest = without_fragment(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let (host, port) = host_and_port(authority).ok_or_else(form)?;
        Ok(Url { place: Place::Name { host, port }, authority: authority.to_owned(), target })
    }

    /// Look the name up; of several addresses the first that accepts a connection, or else the first.
    ///
    /// # Errors
    /// The name is unknown.
    pub fn endpoint(&self) -> Result<Endpoint, TargetError> {
        let (host, port) = match &self.place {
            Place::Unix(path) => return Ok(Endpoint::Unix(path.clone())),
            Place::Name { host, port } => (host.as_str(), *port),
        };
        let unknown = |source| TargetError::Unknown { host: host.to_owned(), source };
        let found: Vec<SocketAddr> =
            (host, port).to_socket_addrs().map_err(unknown)?.take(MAX_ADDRESSES).collect();
        let first = *found.first().ok_or_else(|| unknown(io::ErrorKind::NotFound.into()))?;
        // Only this machine is asked: another one gets no connection before the user insists.
        let answers = |address: &&SocketAddr| {
            Endpoint::Tcp(**address).is_local() && TcpStream::connect_timeout(address, TRY).is_ok()
        };
        let address =
            if found.len() > 1 { found.iter().find(answers).copied().unwrap_or(first) } else { first };
        Ok(Endpoint::Tcp(address))
    }
}

fn without_fragment(text: &str) -> &str {
    text.split_once('#').map_or(text, |(before, _)| before)
}

fn host_and_port(authority: &str) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None => 80,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|&port| port > 0)?
        }
        Some(_) => return None,
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    (!host.is_empty() && host.bytes().all(allowed)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        for (text, host, port, target) in [
            ("http://127.0.0.1:8000/a?b#c", "127.0.0.1", 8000, "/a?b"),
            ("http://localhost", "localhost", 80, "/"),
            ("http://[::1]:81?x=1", "::1", 81, "/?x=1"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.place, Place::Name { host: host.into(), port });
            assert_eq!(url.target, target);
        }
        for (text, path, target) in [
            ("unix:/run/shop.sock", "/run/shop.sock", "/"),
            ("unix:run/shop.sock:/cart?x=:/", "run/shop.sock", "/cart?x=:/"),
            ("http://unix:/run/shop.sock:/", "/run/shop.sock", "/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.place, url.target.as_str()), (Place::Unix(path.into()), target));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "localhost:8000",
            "ftp://x",
            "http://",
            "http://:80",
            "http://a:b",
            "http://a:0",
            "http://a:70000",
            "http://a b/",
            "http://u@h/",
            "http://[::1",
            "http://[::1]80",
            "unix:",
            "http://a:+80",
        ] {
            assert!(matches!(Url::parse(text), Err(TargetError::Form(_))), "{text}");
        }
        assert!(matches!(Url::parse("https://localhost"), Err(TargetError::Tls(_))));
    }

    #[test]
    fn only_the_loopback_is_local() {
        for (address, local) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("192.0.2.1:1", false),
            ("0.0.0.0:1", false),
            ("[::ffff:192.0.2.1]:1", false),
        ] {
            assert_eq!(Endpoint::Tcp(address.parse().unwrap()).is_local(), local, "{address}");
        }
    }
}
