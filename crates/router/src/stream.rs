//! A client's connection: TCP or a Unix socket.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::net::{TcpStream, UnixStream};

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The two ends of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    /// `None` for a Unix socket.
    pub(crate) client: Option<SocketAddr>,
    /// Host and port, or the path of the Unix socket and 0.
    pub(crate) server: (std::rc::Rc<str>, u16),
}

macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self {
            Stream::Tcp($stream) => $body,
            Stream::Unix($stream) => $body,
        }
    };
}

impl Stream {
    pub(crate) async fn readable(&self) -> io::Result<()> {
        each!(self, stream => stream.readable().await)
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        each!(self, stream => stream.writable().await)
    }

    pub(crate) fn poll_readable(&self, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read_ready(ctx))
    }

    pub(crate) fn poll_writable(&self, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_write_ready(ctx))
    }

    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_read(buffer))
    }

    pub(crate) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        each!(self, stream => stream.try_read_buf(buffer))
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_write(bytes))
    }

    /// Tell the client that nothing more will be written.
    pub(crate) fn shutdown_write(&self) {
        // It fails when the client is gone already, which is as good.
        let _ = each!(self, stream => rustix::net::shutdown(stream, rustix::net::Shutdown::Write));
    }

    /// Make closing the socket reset the connection, so that a client cannot take a cut response for a whole one.
    pub(crate) fn reset_on_close(&self) {
        if let Stream::Tcp(stream) = self {
            // On failure the client sees an ordinary close before the end of the body, which it must detect as well.
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO));
        }
    }
}
