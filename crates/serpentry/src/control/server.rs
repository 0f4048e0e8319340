//! The control server: connections on the Unix socket, each bounded in number, size and time.
//!
//! It has a thread and a runtime of its own, so that a caller can keep neither the router nor the driver busy. Who may
//! call is decided by the kernel twice: the socket's mode (0600) and the credentials of the peer (`SO_PEERCRED`, see
//! unix(7)): the host's own user and the superuser.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::api;
use super::request::Request;

/// Open connections; further callers wait in the socket's backlog.
const CONNECTIONS: usize = 32;

/// How long a request head may take, and how long a connection may be idle.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// Largest request head.
const HEADER_SIZE: usize = 16 * 1024;

/// No connection lives longer: it bounds callers who do not read their answer. Above the longest call (120 s).
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// When the host ends, how long answers under way may take to reach their callers.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long not to accept after an accept failed, for example because no descriptor was left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running server. Dropping it ends the thread, after the answers under way or [`FAREWELL`].
#[derive(Debug)]
pub struct Server {
    end: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so by itself.
            let _ = thread.join();
        }
    }
}

/// Serve calls from `listener` (see [`crate::state::State::bind`]) until the result is dropped.
///
/// # Errors
/// No thread, or no event queue, can be had.
pub fn start(listener: StdListener, requests: mpsc::Sender<Request>) -> io::Result<Server> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = runtime.enter();
        UnixListener::from_std(listener)?
    };
    let (end, ended) = watch::channel(());
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || runtime.block_on(serve(listener, requests, ended)))?;
    Ok(Server { end: Some(end), thread: Some(thread) })
}

async fn serve(listener: UnixListener, requests: mpsc::Sender<Request>, mut ended: watch::Receiver<()>) {
    let service = TowerToHyperService::new(api::router(requests));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let calls_end = ended.clone();
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) if is_allowed(&stream) => stream,
                Ok(_) => continue,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let call = connection(stream, service.clone(), calls_end.clone());
            tokio::spawn(async move {
                call.await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        // Nothing is ever sent: an error means that the sender is gone.
        _ = ended.changed() => {}
    }
    let most = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(FAREWELL, places.acquire_many(most)).await;
}

/// The host's own user and the superuser.
fn is_allowed(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

/// One connection, to its end. What goes wrong on it concerns nobody but the caller, who knows.
async fn connection(
    stream: UnixStream,
    service: TowerToHyperService<axum::Router>,
    mut ended: watch::Receiver<()>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let whole = async {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = ended.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    };
    let _ = tokio::time::timeout(CONNECTION_TIME, whole).await;
}
