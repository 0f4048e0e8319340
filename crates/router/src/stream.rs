//! A client's connection: TCP or a Unix socket.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustix::net::sockopt;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Most bytes taken by one read.
pub(crate) const READ_SIZE: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The two ends of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    /// `None` for a Unix socket.
    pub(crate) client: Option<Peer>,
    /// Host and port, or the path of the Unix socket and 0.
    pub(crate) server: (std::rc::Rc<str>, u16),
}

/// Who is at the other end of a TCP connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Its IP address as people and applications read it, written once and not for every request.
    pub(crate) text: Box<str>,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Peer { address, text: address.ip().to_canonical().to_string().into() }
    }
}

/// What the buffers of a connection's socket were set to.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// Bytes that were asked for.
    pub(crate) asked: usize,
    /// Send and receive buffer before that, as the kernel counts them.
    system: (usize, usize),
}

/// The receiving half of a connection: what has been read and not yet used.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) stream: Stream,
    pub(crate) buffer: BytesMut,
    /// The client has sent its last byte.
    pub(crate) closed: bool,
}

impl Incoming {
    pub(crate) fn new(stream: Stream) -> Self {
        Incoming { stream, buffer: BytesMut::new(), closed: false }
    }

    /// Wait for bytes, or the end, and take them.
    pub(crate) fn read(&mut self) -> impl Future<Output = io::Result<()>> {
        poll_fn(|ctx| self.poll_read(ctx))
    }

    /// Reads through the stack, so that a connection's buffer is only as large as what it holds, and that of an idle one
    /// is empty. Through `poll_read`, because that knows after a short read that there is no more: one system call less.
    pub(crate) fn poll_read(&mut self, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::<u8>::uninit(); READ_SIZE];
        let mut space = ReadBuf::uninit(&mut space);
        std::task::ready!(self.stream.poll_read(ctx, &mut space))?;
        self.closed |= space.filled().is_empty();
        self.buffer.extend_from_slice(space.filled());
        Poll::Ready(Ok(()))
    }
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
    pub(crate) async fn writable(&self) -> io::Result<()> {
        each!(self, stream => stream.writable().await)
    }

    fn poll_read(&mut self, ctx: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(ctx, space))
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

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_write(bytes))
    }

    /// Ask for send and receive buffers of `size` bytes each; `None`: those that it came with.
    ///
    /// The kernel cuts the size to `net.core.wmem_max` and `net.core.rmem_max`, doubles it, because its own bookkeeping
    /// comes out of the same space, and raises it to about 4.5 KiB for sending and 2.3 KiB for receiving (socket(7),
    /// `SO_SNDBUF`, `SO_RCVBUF`). From then on TCP no longer tunes the buffers itself, not even when they are set back
    /// to the size that they came with. A Unix socket has no receive buffer of its own: its client's send buffer counts.
    pub(crate) fn set_buffers(
        &self,
        size: Option<usize>,
        current: &mut Option<Box<Buffers>>,
    ) -> io::Result<()> {
        let system = match current {
            Some(buffers) => buffers.system,
            None => self.buffers()?,
        };
        let (send, receive) = size.map_or((system.0 / 2, system.1 / 2), |size| (size, size));
        each!(self, stream => {
            sockopt::set_socket_send_buffer_size(stream, send)?;
            sockopt::set_socket_recv_buffer_size(stream, receive)?;
        });
        *current = size.map(|asked| Box::new(Buffers { asked, system }));
        Ok(())
    }

    /// Sizes of the send and the receive buffer as the kernel counts them: twice what was asked for.
    fn buffers(&self) -> io::Result<(usize, usize)> {
        each!(self, stream => {
            Ok((sockopt::socket_send_buffer_size(stream)?, sockopt::socket_recv_buffer_size(stream)?))
        })
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
            let _ = sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO));
        }
    }
}
