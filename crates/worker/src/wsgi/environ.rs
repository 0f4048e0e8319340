//! The environ of a request: PEP 3333 "environ Variables" and RFC 3875 section 4.1.
//!
//! What never changes is in a base dictionary that is copied for each request. Header names with an
//! underscore are dropped, because they would be indistinguishable from the same name with a hyphen, and so
//! is `Proxy`, which many libraries take for a setting (CVE-2016-5385).

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use wire::{HeaderList, Name, RequestHead};

use crate::strings::{HeaderNames, LastString, environ_key, latin1, method, scheme};

/// Keys whose value belongs to the request; it is an empty string where nothing sets it.
const PER_REQUEST: [&str; 13] = [
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "REQUEST_URI",
    "RAW_URI",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.url_scheme",
    "serpentry.request_id",
];

/// Makes environs.
pub(crate) struct EnvironMaker {
    base: Py<PyDict>,
    names: HeaderNames,
    server_name: LastString,
    client_host: LastString,
}

impl EnvironMaker {
    /// `multithread`: more than one thread of this process runs the application. `no_input`: `wsgi.input` of
    /// requests without a body.
    ///
    /// # Errors
    /// When Python does.
    pub(crate) fn new(
        py: Python<'_>,
        file_wrapper: &Bound<'_, PyAny>,
        no_input: &Bound<'_, PyAny>,
        multithread: bool,
    ) -> PyResult<Self> {
        let base = PyDict::new(py);
        // The keys that every request sets have their place too: replacing a value is cheaper than adding a
        // key.
        for key in PER_REQUEST {
            base.set_item(PyString::intern(py, key), "")?;
        }
        base.set_item("wsgi.version", (1, 0))?;
        base.set_item("wsgi.errors", py.import("sys")?.getattr("stderr")?)?;
        base.set_item("wsgi.multithread", multithread)?;
        base.set_item("wsgi.multiprocess", true)?;
        base.set_item("wsgi.run_once", false)?;
        base.set_item("wsgi.input_terminated", true)?;
        base.set_item("wsgi.input", no_input)?;
        base.set_item("wsgi.file_wrapper", file_wrapper)?;
        base.set_item("SERVER_PROTOCOL", "HTTP/1.1")?;
        // Makes the table grow once for all copies, so that adding the headers does not.
        base.set_item("spare", "")?;
        base.del_item("spare")?;
        Ok(EnvironMaker {
            base: base.unbind(),
            names: HeaderNames::new(py),
            server_name: LastString::default(),
            client_host: LastString::default(),
        })
    }

    /// The environ of one request; `input` is its body if it has one.
    pub(crate) fn make<'py>(
        &self,
        py: Python<'py>,
        head: &RequestHead<'_>,
        headers: HeaderList<'_>,
        input: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let environ = self.base.bind(py).copy()?;
        environ.set_item(intern!(py, "REQUEST_METHOD"), method(py, head.method))?;
        environ.set_item(intern!(py, "PATH_INFO"), latin1(py, head.path))?;
        if !head.root_path.is_empty() {
            environ.set_item(intern!(py, "SCRIPT_NAME"), latin1(py, head.root_path.as_bytes()))?;
        }
        if !head.query.is_empty() {
            environ.set_item(intern!(py, "QUERY_STRING"), latin1(py, head.query))?;
        }
        let uri = request_uri(py, head);
        environ.set_item(intern!(py, "REQUEST_URI"), &uri)?;
        environ.set_item(intern!(py, "RAW_URI"), uri)?;
        if head.version == 10 {
            environ.set_item(intern!(py, "SERVER_PROTOCOL"), intern!(py, "HTTP/1.0"))?;
        }
        environ.set_item(intern!(py, "REMOTE_ADDR"), self.client_host.get(py, head.client_host))?;
        environ.set_item(intern!(py, "REMOTE_PORT"), number(py, head.client_port))?;
        environ.set_item(intern!(py, "wsgi.url_scheme"), scheme(py, head.scheme))?;
        if let Some(input) = input {
            environ.set_item(intern!(py, "wsgi.input"), input)?;
        }
        environ.set_item(intern!(py, "serpentry.request_id"), PyString::new(py, head.request_id))?;
        self.set_server(py, &environ, head, headers)?;
        self.set_headers(py, &environ, headers)?;
        if let Some(length) = head.content_length
            && !environ.contains(intern!(py, "CONTENT_LENGTH"))?
        {
            environ.set_item(intern!(py, "CONTENT_LENGTH"), length.to_string())?;
        }
        Ok(environ)
    }

    /// SERVER_NAME and SERVER_PORT must never be empty, so a Unix socket takes them from the Host field.
    fn set_server<'py>(
        &self,
        py: Python<'py>,
        environ: &Bound<'py, PyDict>,
        head: &RequestHead<'_>,
        headers: HeaderList<'_>,
    ) -> PyResult<()> {
        let default_port = if head.scheme == "https" { 443 } else { 80 };
        let (name, port) = if head.server_port != 0 {
            (head.server_host, head.server_port)
        } else {
            let host = headers.iter().find(|header| header.name.as_bytes() == b"host");
            let host = host.and_then(|header| std::str::from_utf8(header.value).ok()).unwrap_or_default();
            match host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?))) {
                Some(pair) => pair,
                None => (host, default_port),
            }
        };
        let name = if name.is_empty() { "localhost" } else { name };
        environ.set_item(intern!(py, "SERVER_NAME"), self.server_name.get(py, name))?;
        environ.set_item(intern!(py, "SERVER_PORT"), number(py, port))
    }

    fn set_headers<'py>(
        &self,
        py: Python<'py>,
        environ: &Bound<'py, PyDict>,
        headers: HeaderList<'_>,
    ) -> PyResult<()> {
        let mut seen = 0_u64;
        for header in headers.iter() {
            let value = latin1(py, header.value);
            match header.name {
                Name::Known(index) => {
                    let key = self.names.environ[index as usize].bind(py);
                    let bit = 1_u64 << index;
                    if seen & bit != 0 {
                        join(environ, key, header.name.as_bytes(), &value)?;
                    } else {
                        seen |= bit;
                        environ.set_item(key, value)?;
                    }
                }
                Name::Other(name) if name.contains(&b'_') || name == b"proxy" => {}
                Name::Other(name) => {
                    let key = PyString::new(py, &environ_key(name));
                    join(environ, &key, name, &value)?;
                }
            }
        }
        Ok(())
    }
}

/// A known header must have its own bit in `set_headers`.
const _: () = assert!(wire::KNOWN_HEADERS.len() <= 64);

/// Set a field, or append to the one that is there (RFC 9110 section 5.2; cookies as in RFC 6265 section
/// 5.4).
fn join<'py>(
    environ: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
    name: &[u8],
    value: &Bound<'py, PyString>,
) -> PyResult<()> {
    match environ.get_item(key)? {
        // A repeated Content-Length or Content-Type has no joined form; the router refuses different lengths.
        Some(_) if matches!(name, b"content-length" | b"content-type") => Ok(()),
        Some(old) => {
            let separator = if name == b"cookie" { "; " } else { "," };
            environ.set_item(key, old.add(separator)?.add(value)?)
        }
        None => environ.set_item(key, value),
    }
}

fn request_uri<'py>(py: Python<'py>, head: &RequestHead<'_>) -> Bound<'py, PyString> {
    if head.query.is_empty() {
        return latin1(py, head.raw_path);
    }
    latin1(py, &[head.raw_path, b"?", head.query].concat())
}

/// A port in decimal.
fn number(py: Python<'_>, port: u16) -> Bound<'_, PyString> {
    let mut digits = [0_u8; 5];
    let mut start = digits.len();
    let mut rest = port;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return latin1(py, &digits[start..]);
        }
    }
}
