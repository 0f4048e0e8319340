//! Python strings that are made once: header names in the forms of both interfaces, and common methods.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use wire::KNOWN_HEADERS;

/// Ready-made names of the headers in [`KNOWN_HEADERS`], by index.
pub(crate) struct HeaderNames {
    /// Environ keys: `HTTP_HOST`, `CONTENT_TYPE`.
    pub(crate) environ: Vec<Py<PyString>>,
    /// Names in a scope: `b"host"`.
    pub(crate) scope: Vec<Py<PyBytes>>,
}

impl HeaderNames {
    pub(crate) fn new(py: Python<'_>) -> Self {
        HeaderNames {
            environ: KNOWN_HEADERS
                .iter()
                .map(|name| PyString::intern(py, &environ_key(name.as_bytes())).unbind())
                .collect(),
            scope: KNOWN_HEADERS.iter().map(|name| PyBytes::new(py, name.as_bytes()).unbind()).collect(),
        }
    }
}

/// The environ key of a header (RFC 3875 section 4.1.18): `x-thing` gives `HTTP_X_THING`.
pub(crate) fn environ_key(name: &[u8]) -> String {
    let prefix = if matches!(name, b"content-type" | b"content-length") { "" } else { "HTTP_" };
    let mut key = String::with_capacity(prefix.len() + name.len());
    key.push_str(prefix);
    key.extend(name.iter().map(
        |byte| {
            if *byte == b'-' { '_' } else { char::from(byte.to_ascii_uppercase()) }
        },
    ));
    key
}

/// A `str` whose code points are the bytes: the form PEP 3333 wants.
pub(crate) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => PyString::new(py, text),
        _ => PyString::new(py, &bytes.iter().copied().map(char::from).collect::<String>()),
    }
}

/// The method as a Python string, ready-made for the common ones.
pub(crate) fn method<'py>(py: Python<'py>, name: &str) -> Bound<'py, PyString> {
    match name {
        "GET" => pyo3::intern!(py, "GET").clone(),
        "POST" => pyo3::intern!(py, "POST").clone(),
        "HEAD" => pyo3::intern!(py, "HEAD").clone(),
        "PUT" => pyo3::intern!(py, "PUT").clone(),
        "DELETE" => pyo3::intern!(py, "DELETE").clone(),
        "OPTIONS" => pyo3::intern!(py, "OPTIONS").clone(),
        "PATCH" => pyo3::intern!(py, "PATCH").clone(),
        _ => PyString::new(py, name),
    }
}

/// The scheme as a Python string.
pub(crate) fn scheme<'py>(py: Python<'py>, name: &str) -> Bound<'py, PyString> {
    match name {
        "http" => pyo3::intern!(py, "http").clone(),
        "https" => pyo3::intern!(py, "https").clone(),
        _ => PyString::new(py, name),
    }
}

/// A string that is usually the same as the last time, such as the address of the server.
#[derive(Default)]
pub(crate) struct LastString(std::sync::Mutex<Option<(String, Py<PyString>)>>);

impl LastString {
    pub(crate) fn get<'py>(&self, py: Python<'py>, text: &str) -> Bound<'py, PyString> {
        let mut last = crate::link::lock(&self.0);
        if let Some((known, string)) = &*last
            && known == text
        {
            return string.bind(py).clone();
        }
        let string = PyString::new(py, text);
        *last = Some((text.to_owned(), string.clone().unbind()));
        string
    }
}
