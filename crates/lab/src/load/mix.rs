//! What is sent: requests, complete as bytes before the run begins, and in which order.

use std::sync::Arc;

use crate::Random;

/// Requests of a mix, at most: a class has 16 bits in a record.
pub const MAX_REQUESTS: usize = 1 << 16;
/// Longest target, in bytes.
pub const MAX_TARGET: usize = 16 * 1024;
/// Largest body, in bytes.
pub const MAX_BODY: usize = 64 << 20;

/// One request, ready to be sent any number of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) bytes: Box<[u8]>,
    pub(super) is_head: bool,
    /// May be sent again when a kept connection turns out to be closed (RFC 9110, section 9.2.2).
    pub(super) idempotent: bool,
    name: String,
}

/// Why a request cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("{0:?} is not a method")]
    Method(String),
    #[error("CONNECT begins something else than a request")]
    Connect,
    #[error("{0:?} is not a target: it must begin with / and have no spaces, and {MAX_TARGET} bytes at most")]
    Target(String),
    #[error("{0:?} is not a header field: it must look like NAME: VALUE")]
    Field(String),
    #[error("the field {0} is set by the generator itself: it decides where an answer ends")]
    Reserved(String),
    #[error("a body of {0} bytes: at most {MAX_BODY} are supported")]
    Body(usize),
    #[error("a mix needs 1 to {MAX_REQUESTS} requests, and weights above 0")]
    Mix,
}

/// Fields that say where a message ends or what becomes of the connection.
const RESERVED: [&str; 6] = ["content-length", "transfer-encoding", "connection", "upgrade", "expect", "te"];
/// Methods of RFC 9110, section 9.2.2.
const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];

/// Whether a method changes nothing on the server (RFC 9110, section 9.2.1).
#[must_use]
pub fn is_safe(method: &str) -> bool {
    ["GET", "HEAD", "OPTIONS"].contains(&method)
}

impl Request {
    /// `fields` are NAME and VALUE; a Host among them replaces `authority`.
    ///
    /// # Errors
    /// Something that would not be one well-formed request.
    pub fn new(
        method: &str,
        authority: &str,
        target: &str,
        fields: &[(String, String)],
        body: &[u8],
    ) -> Result<Request, RequestError> {
        if method.is_empty() || method.len() > 32 || !method.bytes().all(is_token) {
            return Err(RequestError::Method(method.to_owned()));
        }
        if method == "CONNECT" {
            return Err(RequestError::Connect);
        }
        let whole_server = target == "*" && method == "OPTIONS";
        let graphic = target.bytes().all(|byte| byte.is_ascii_graphic());
        if !(whole_server || target.starts_with('/')) || !graphic || target.len() > MAX_TARGET {
            return Err(RequestError::Target(target.chars().take(100).collect()));
        }
        if body.len() > MAX_BODY {
            return Err(RequestError::Body(body.len()));
        }
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        let given = |name: &str| fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(name));
        if !given("host") {
            head += &format!("Host: {authority}\r\n");
        }
        if !given("user-agent") {
            head += "User-Agent: serpentry-load\r\n";
        }
        for (name, value) in fields {
            check_field(name, value)?;
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || ["POST", "PUT", "PATCH"].contains(&method) {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        Ok(Request {
            bytes: [head.as_bytes(), body].concat().into(),
            is_head: method == "HEAD",
            idempotent: IDEMPOTENT.contains(&method),
            name: format!("{method} {target}"),
        })
    }

    /// Method and target.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn check_field(name: &str, value: &str) -> Result<(), RequestError> {
    if name.is_empty()
        || !name.bytes().all(is_token)
        || value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
    {
        return Err(RequestError::Field(format!("{name}: {value}")));
    }
    if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(RequestError::Reserved(name.to_owned()));
    }
    Ok(())
}

/// Requests and how they are chosen.
#[derive(Debug, Clone)]
pub struct Mix {
    requests: Arc<[Request]>,
    choice: Choice,
}

#[derive(Debug, Clone)]
enum Choice {
    /// At random; sums of the weights up to each request.
    Weighted(Arc<[f64]>),
    /// One after the other, as in a log; from the beginning when it is through.
    InOrder(Arc<[u16]>),
}

impl Mix {
    /// Requests drawn at random, each as often as its weight says.
    ///
    /// # Errors
    /// None or too many, or a weight is not above 0.
    pub fn weighted(requests: Vec<(Request, f64)>) -> Result<Mix, RequestError> {
        let allowed = (1..=MAX_REQUESTS).contains(&requests.len());
        if !allowed || requests.iter().any(|(_, weight)| !(*weight > 0.0 && weight.is_finite())) {
            return Err(RequestError::Mix);
        }
        let mut sum = 0.0;
        let sums = requests.iter().map(|(_, weight)| {
            sum += weight;
            sum
        });
        let sums = sums.collect();
        let requests = requests.into_iter().map(|(request, _)| request).collect();
        Ok(Mix { requests, choice: Choice::Weighted(sums) })
    }

    /// Requests in a given order of their positions.
    ///
    /// # Errors
    /// None or too many, or a position without a request.
    pub fn in_order(requests: Vec<Request>, order: Vec<u16>) -> Result<Mix, RequestError> {
        let allowed = (1..=MAX_REQUESTS).contains(&requests.len()) && !order.is_empty();
        if !allowed || order.iter().any(|&position| usize::from(position) >= requests.len()) {
            return Err(RequestError::Mix);
        }
        Ok(Mix { requests: requests.into(), choice: Choice::InOrder(order.into()) })
    }

    /// One request only.
    #[must_use]
    pub fn single(request: Request) -> Mix {
        Mix { requests: [request].into(), choice: Choice::InOrder([0].into()) }
    }

    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Position of the request for the arrival `index`, from the run's own stream of random numbers.
    pub(super) fn choose(&self, index: u64, random: &mut Random) -> u16 {
        match &self.choice {
            Choice::InOrder(order) => order[(index % order.len() as u64) as usize],
            Choice::Weighted(sums) => {
                let point = random.unit() * sums.last().copied().unwrap_or_default();
                let position = sums.partition_point(|&sum| sum <= point).min(sums.len() - 1);
                position as u16
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Request {
        Request::new("GET", "h", target, &[], b"").unwrap()
    }

    #[test]
    fn requests_are_well_formed() {
        let fields = [("X-A".to_owned(), "b c".to_owned())];
        let request = Request::new("POST", "localhost:1", "/a?b", &fields, b"hi").unwrap();
        assert_eq!(
            request.bytes.escape_ascii().to_string(),
            "POST /a?b HTTP/1.1\\r\\nHost: localhost:1\\r\\nUser-Agent: serpentry-load\\r\\nX-A: b c\\r\\n\
             Content-Length: 2\\r\\n\\r\\nhi"
        );
        assert!(!request.idempotent && !request.is_head && get("/").idempotent);
        let host = [("host".to_owned(), "shop".to_owned())];
        let request = Request::new("GET", "localhost", "/", &host, b"").unwrap();
        assert_eq!(request.bytes.escape_ascii().to_string().matches("ost: ").count(), 1);
    }

    #[test]
    fn nothing_can_be_smuggled_in() {
        let new = |method: &str, target: &str, name: &str, value: &str| {
            Request::new(method, "h", target, &[(name.to_owned(), value.to_owned())], b"")
        };
        assert!(matches!(new("G T", "/", "A", "b"), Err(RequestError::Method(_))));
        assert!(matches!(new("CONNECT", "/", "A", "b"), Err(RequestError::Connect)));
        for target in ["", "a", "/a b", "/a\r\nX: y", "*", "/\u{e4}"] {
            assert!(matches!(new("GET", target, "A", "b"), Err(RequestError::Target(_))), "{target}");
        }
        assert!(matches!(new("GET", "/", "A", "b\r\nC: d"), Err(RequestError::Field(_))));
        assert!(matches!(new("GET", "/", "A b", "c"), Err(RequestError::Field(_))));
        assert!(matches!(new("GET", "/", "Content-length", "5"), Err(RequestError::Reserved(_))));
        assert!(new("OPTIONS", "*", "A", "b").is_ok());
    }

    #[test]
    fn weights_and_order_are_kept() {
        let mix = Mix::weighted(vec![(get("/a"), 1.0), (get("/b"), 3.0)]).unwrap();
        let mut random = Random::new(1);
        let second = (0..10_000).filter(|&i| mix.choose(i, &mut random) == 1).count();
        assert!((7_200..7_800).contains(&second), "{second}");
        let mix = Mix::in_order(vec![get("/a"), get("/b")], vec![1, 1, 0]).unwrap();
        let order: Vec<u16> = (0..5).map(|i| mix.choose(i, &mut random)).collect();
        assert_eq!(order, [1, 1, 0, 1, 1]);
        assert!(Mix::weighted(vec![]).is_err() && Mix::weighted(vec![(get("/"), 0.0)]).is_err());
        assert!(Mix::in_order(vec![get("/")], vec![1]).is_err());
    }
}
