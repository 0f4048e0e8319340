//! Listening sockets: bound before anything else happens, so that a port in use is known at once and requests that
//! come while the application boots wait instead of being refused.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Notify;

use crate::connection;
use crate::core::Core;
use crate::stream::{Ends, Stream};

/// Connections the kernel keeps while we are busy; gunicorn's and uvicorn's habit.
const BACKLOG: i32 = 2048;

/// Pause after the process ran out of file descriptors, before accepting is tried again.
const NO_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(50);

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    /// A path of our own is removed when the router stops; a socket that was passed to us has none.
    Unix(UnixListener, Option<PathBuf>),
}

impl Listener {
    /// Bind `host:port`; names are resolved, all-interfaces and port 0 are as usual.
    ///
    /// # Errors
    /// When the address does not resolve or cannot be bound.
    pub fn tcp(address: &str) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "it resolves to no address");
        for address in address.to_socket_addrs()? {
            match bind_tcp(address) {
                Ok(listener) => return Ok(Listener::Tcp(listener)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Bind a Unix socket. A stale socket file is replaced, a live one and any other file are not.
    ///
    /// # Errors
    /// When something else lives at the path or it cannot be bound.
    pub fn unix(path: &Path) -> io::Result<Self> {
        if let Ok(metadata) = path.symlink_metadata() {
            if !metadata.file_type().is_socket() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "there is a file that is not a socket",
                ));
            }
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
            }
            std::fs::remove_file(path)?;
        }
        Ok(Listener::Unix(UnixListener::bind(path)?, Some(path.to_owned())))
    }

    /// Where it listens, for people: "http://127.0.0.1:8000" or "unix:/run/app.sock".
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http://{address}"),
                Err(_) => "http://unknown".to_owned(),
            },
            Listener::Unix(listener, path) => {
                let bound = listener.local_addr().ok().and_then(|it| it.as_pathname().map(Path::to_owned));
                let path = path.clone().or(bound);
                path.map_or_else(|| "unix socket".to_owned(), |path| format!("unix:{}", path.display()))
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accept connections until `stop` is notified; then the socket is closed.
pub(crate) async fn accept_loop(core: Rc<Core>, listener: Listener, stop: Rc<Notify>) -> io::Result<()> {
    match listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            while !core.stopping.get() {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.notified() => break,
                };
                let Some((stream, client)) = accepted_or_pause(accepted).await else {
                    continue;
                };
                // Responses are written whole; waiting for more only adds latency. A client gone already says nothing.
                let _ = stream.set_nodelay(true);
                let Ok(local) = stream.local_addr() else { continue };
                let server = (local.ip().to_canonical().to_string().into(), local.port());
                start(&core, Stream::Tcp(stream), Ends { client: Some(client.into()), server });
            }
        }
        Listener::Unix(listener, path) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let name = path.as_deref().unwrap_or(Path::new("unix")).to_string_lossy();
            let server: (Rc<str>, u16) = (name.into(), 0);
            while !core.stopping.get() {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.notified() => break,
                };
                let Some((stream, _)) = accepted_or_pause(accepted).await else {
                    continue;
                };
                start(&core, Stream::Unix(stream), Ends { client: None, server: server.clone() });
            }
            if let Some(path) = path {
                // Somebody else may have removed it.
                let _ = std::fs::remove_file(&path);
            }
        }
    }
    Ok(())
}

fn start(core: &Rc<Core>, stream: Stream, ends: Ends) {
    tokio::task::spawn_local(connection::serve(Rc::clone(core), stream, ends));
}

/// accept(2) fails for reasons of one connection (go on) or for want of descriptors (wait, or spin).
async fn accepted_or_pause<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
            if matches!(
                code,
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOBUFS)
            ) {
                tokio::time::sleep(NO_DESCRIPTORS_PAUSE).await;
            }
            None
        }
    }
}
