//! The scope of a request (ASGI "HTTP & WebSocket", "Connection Scope").

use std::sync::Mutex;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use wire::{HeaderList, Name, RequestHead};

use crate::link::lock;
use crate::strings::{HeaderNames, LastString, method, scheme};

/// Version of the HTTP and WebSocket message format that is implemented.
const SPEC_VERSION: &str = "2.5";

/// What the copied scope of an HTTP request has already.
const USUAL_METHOD: &str = "GET";
const USUAL_SCHEME: &str = "http";

/// Makes scopes.
pub(crate) struct ScopeMaker {
    names: HeaderNames,
    /// Scopes of an ordinary request; copied, then what differs is replaced.
    http: Py<PyDict>,
    websocket: Py<PyDict>,
    websocket_extensions: Py<PyDict>,
    state: Py<PyDict>,
    server: LastAddress,
    client_host: LastString,
}

impl ScopeMaker {
    /// `state` is what the application left in its lifespan; every request gets a shallow copy.
    ///
    /// # Errors
    /// When Python does.
    pub(crate) fn new(py: Python<'_>, state: Bound<'_, PyDict>) -> PyResult<Self> {
        let http = base(py, "http", USUAL_SCHEME)?;
        http.set_item(intern!(py, "method"), method(py, USUAL_METHOD))?;
        let websocket_extensions = PyDict::new(py);
        websocket_extensions.set_item("websocket.http.response", PyDict::new(py))?;
        Ok(ScopeMaker {
            names: HeaderNames::new(py),
            http: http.unbind(),
            websocket: base(py, "websocket", "ws")?.unbind(),
            websocket_extensions: websocket_extensions.unbind(),
            state: state.unbind(),
            server: LastAddress::default(),
            client_host: LastString::default(),
        })
    }

    /// The scope of one HTTP request or WebSocket.
    pub(crate) fn make<'py>(
        &self,
        py: Python<'py>,
        head: &RequestHead<'_>,
        headers: HeaderList<'_>,
        websocket: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let scope = if websocket { self.websocket.bind(py).copy()? } else { self.http.bind(py).copy()? };
        scope.set_item(intern!(py, "path"), path(py, head))?;
        scope.set_item(intern!(py, "raw_path"), PyBytes::new(py, head.raw_path))?;
        scope.set_item(intern!(py, "headers"), self.headers(py, headers)?)?;
        let client = match head.client_host {
            "" => None,
            host => Some(address(py, self.client_host.get(py, host), head.client_port)?),
        };
        scope.set_item(intern!(py, "client"), client)?;
        scope.set_item(intern!(py, "server"), self.server.get(py, head.server_host, head.server_port)?)?;
        scope.set_item(intern!(py, "state"), self.state.bind(py).copy()?)?;
        if !head.query.is_empty() {
            scope.set_item(intern!(py, "query_string"), PyBytes::new(py, head.query))?;
        }
        if !head.root_path.is_empty() {
            scope.set_item(intern!(py, "root_path"), PyString::new(py, head.root_path))?;
        }
        if head.version == 10 {
            scope.set_item(intern!(py, "http_version"), intern!(py, "1.0"))?;
        }
        if websocket {
            let scheme = if head.scheme == "https" { intern!(py, "wss") } else { intern!(py, "ws") };
            scope.set_item(intern!(py, "scheme"), scheme)?;
            scope.set_item(intern!(py, "subprotocols"), subprotocols(py, headers)?)?;
            scope.set_item(intern!(py, "extensions"), self.websocket_extensions.bind(py).copy()?)?;
        } else {
            if head.method != USUAL_METHOD {
                scope.set_item(intern!(py, "method"), method(py, head.method))?;
            }
            if head.scheme != USUAL_SCHEME {
                scope.set_item(intern!(py, "scheme"), scheme(py, head.scheme))?;
            }
        }
        Ok(scope)
    }

    fn headers<'py>(&self, py: Python<'py>, headers: HeaderList<'_>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for header in headers.iter() {
            let name = match header.name {
                Name::Known(index) => self.names.scope[index as usize].bind(py).clone(),
                Name::Other(name) => PyBytes::new(py, name),
            };
            list.append((name, PyBytes::new(py, header.value)))?;
        }
        Ok(list)
    }
}

/// A scope with every key in its place.
fn base<'py>(py: Python<'py>, kind: &str, scheme: &str) -> PyResult<Bound<'py, PyDict>> {
    let versions = PyDict::new(py);
    versions.set_item("version", "3.0")?;
    versions.set_item("spec_version", SPEC_VERSION)?;
    let scope = PyDict::new(py);
    scope.set_item(intern!(py, "type"), PyString::intern(py, kind))?;
    scope.set_item(intern!(py, "asgi"), versions)?;
    scope.set_item(intern!(py, "http_version"), "1.1")?;
    scope.set_item(intern!(py, "scheme"), PyString::intern(py, scheme))?;
    scope.set_item(intern!(py, "root_path"), "")?;
    scope.set_item(intern!(py, "query_string"), PyBytes::new(py, b""))?;
    for key in ["path", "raw_path", "headers", "client", "server", "state"] {
        scope.set_item(PyString::intern(py, key), py.None())?;
    }
    Ok(scope)
}

/// Percent-decoded path with the root path (since version 2.4). Bytes that are not UTF-8 are replaced, as a
/// `str` has no place for them; raw_path has them.
fn path<'py>(py: Python<'py>, head: &RequestHead<'_>) -> Bound<'py, PyString> {
    let path = String::from_utf8_lossy(head.path);
    if head.root_path.is_empty() {
        PyString::new(py, &path)
    } else {
        PyString::new(py, &[head.root_path, &path].concat())
    }
}

/// (host, port); (path, None) for a Unix socket.
fn address<'py>(py: Python<'py>, host: Bound<'py, PyString>, port: u16) -> PyResult<Bound<'py, PyTuple>> {
    (host, Some(port).filter(|port| *port != 0)).into_pyobject(py)
}

/// The address of the server, which is usually the same as the last time.
#[derive(Default)]
struct LastAddress(Mutex<Option<Address>>);

struct Address {
    host: String,
    port: u16,
    pair: Py<PyTuple>,
}

impl LastAddress {
    /// `None` if it is not known.
    fn get<'py>(&self, py: Python<'py>, host: &str, port: u16) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if host.is_empty() {
            return Ok(None);
        }
        if let Some(known) = &*lock(&self.0)
            && known.host == host
            && known.port == port
        {
            return Ok(Some(known.pair.bind(py).clone()));
        }
        let pair = address(py, PyString::new(py, host), port)?;
        *lock(&self.0) = Some(Address { host: host.to_owned(), port, pair: pair.clone().unbind() });
        Ok(Some(pair))
    }
}

fn subprotocols<'py>(py: Python<'py>, headers: HeaderList<'_>) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for header in headers.iter().filter(|header| header.name.as_bytes() == b"sec-websocket-protocol") {
        for name in
            String::from_utf8_lossy(header.value).split(',').map(str::trim).filter(|name| !name.is_empty())
        {
            list.append(name)?;
        }
    }
    Ok(list)
}
