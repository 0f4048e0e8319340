//! An accepted WebSocket: frames on the client's side (by tungstenite), whole messages on the worker's.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use wire::ToWorker;

use crate::connection::{Connection, Gone};
use crate::exchange::{Exchange, Step};
use crate::http::response::{is_field_value, is_token};
use crate::stream::Stream;
use crate::watchdog::Expired;

/// A client that has been silent for this long is sent a ping; after the same time without any answer it is gone.
const PING_AFTER: Duration = Duration::from_secs(20);

/// Incomplete messages of all clients together shall not need much more than this: with many clients, each may send only
/// smaller messages, but always of the second size.
const MESSAGE_MEMORY: usize = 512 * 1024 * 1024;
const SMALLEST_MESSAGE_LIMIT: usize = 1024 * 1024;

/// How long the closing handshake may take.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2).
pub(crate) fn accept_key(key: &[u8]) -> String {
    derive_accept_key(key)
}

enum Event {
    FromApp(Step),
    FromClient(Option<Result<Message, tungstenite::Error>>),
}

/// Complete the opening handshake and carry messages until either side closes. Always ends the connection.
pub(crate) async fn run(
    connection: &mut Connection,
    exchange: &Rc<Exchange>,
    accept: &str,
    fields: &[(Vec<u8>, Vec<u8>)],
) -> Gone {
    let Some(head) = opening(accept, fields) else { return Gone };
    if connection.write_all(&head).await.is_err() {
        return Gone;
    }
    let early = connection.incoming.buffer.split().to_vec();
    let share = MESSAGE_MEMORY / connection.core.connections.get().max(1);
    let limit = Some(share.max(SMALLEST_MESSAGE_LIMIT).min(connection.message_size()));
    let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
    let io = Io(&connection.incoming.stream);
    let mut socket = WebSocketStream::from_partially_read(io, early, Role::Server, Some(config)).await;
    let mut session =
        Session { connection, exchange, assembled: Vec::new(), credit: i64::from(wire::REQUEST_WINDOW) };
    let close = session.carry(&mut socket).await;
    let goodbye = async {
        // The client may be gone already; there is nobody else to tell.
        let _ = socket.close(close).await;
        while let Some(Ok(_)) = poll_fn(|ctx| Pin::new(&mut socket).poll_next(ctx)).await {}
    };
    let _ = connection.watchdog.guard(CLOSE_TIME, goodbye).await;
    Gone
}

/// The 101 response; `None` when the application's fields are not valid.
fn opening(accept: &str, fields: &[(Vec<u8>, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut head =
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n".to_vec();
    for (name, value) in [(&b"sec-websocket-accept"[..], accept.as_bytes())]
        .into_iter()
        .chain(fields.iter().map(|(name, value)| (&name[..], &value[..])))
    {
        if !is_token(name) || !is_field_value(value) {
            return None;
        }
        head.extend_from_slice(name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    Some(head)
}

struct Session<'a> {
    connection: &'a Connection,
    exchange: &'a Rc<Exchange>,
    /// Pieces of the application's current message.
    assembled: Vec<u8>,
    /// Bytes the worker still takes.
    credit: i64,
}

impl Session<'_> {
    /// Carry messages until the end; the close frame to send, if the client has not sent one.
    async fn carry(&mut self, socket: &mut WebSocketStream<Io<'_>>) -> Option<CloseFrame> {
        let mut pinged = false;
        loop {
            if self.connection.core.stopping.get() {
                self.tell_app(1012, "the server is stopping");
                return Some(frame(1012, "the server is stopping"));
            }
            let take_client = self.credit > 0;
            let next = poll_fn(|ctx| self.poll(ctx, socket, take_client));
            let event = match self.connection.watchdog.guard_idle(PING_AFTER, next).await {
                Ok(event) => event,
                // The top of the loop closes it.
                Err(Expired) if self.connection.core.stopping.get() => continue,
                Err(Expired) if pinged && take_client => {
                    self.tell_app(1006, "");
                    return Some(frame(1011, "no answer to a ping"));
                }
                Err(Expired) => {
                    // While the application takes nothing, the client is not listened to, its pong included.
                    pinged = take_client;
                    self.send(socket, Message::Ping(Bytes::new())).await.ok()?;
                    continue;
                }
            };
            match event {
                Event::FromClient(message) => {
                    pinged = false;
                    if let Some(close) = self.handle_client(message, socket).await {
                        return close;
                    }
                }
                Event::FromApp(Step::Message { data, text, end }) => {
                    self.exchange.grant_message(data.len());
                    self.assembled.extend_from_slice(&data);
                    if self.assembled.len() > self.connection.message_size() {
                        return Some(frame(1011, "message too large"));
                    }
                    self.connection.count_out(data.len());
                    if end {
                        let message = self.message(text)?;
                        self.send(socket, message).await.ok()?;
                    }
                }
                Event::FromApp(Step::FeedBody { credit, .. }) => self.credit += i64::from(credit),
                Event::FromApp(Step::Closed { code, reason }) => return Some(frame(code, &reason)),
                Event::FromApp(Step::GoingAway) => {
                    self.tell_app(1012, "the application is being removed");
                    return Some(frame(1012, "the application is being removed"));
                }
                Event::FromApp(Step::Cut | Step::Accepted { .. } | Step::Write { .. }) => {
                    return Some(frame(1011, ""));
                }
            }
        }
    }

    fn poll(
        &self,
        ctx: &mut Context<'_>,
        socket: &mut WebSocketStream<Io<'_>>,
        take_client: bool,
    ) -> Poll<Event> {
        if let Poll::Ready(step) = self.exchange.poll_step(ctx) {
            return Poll::Ready(Event::FromApp(step));
        }
        if take_client {
            return Pin::new(socket).poll_next(ctx).map(Event::FromClient);
        }
        Poll::Pending
    }

    /// The application's message, now complete. Text that is not UTF-8 (a lying worker) ends the connection.
    fn message(&mut self, text: bool) -> Option<Message> {
        let bytes = Bytes::from(std::mem::take(&mut self.assembled));
        if text { Utf8Bytes::try_from(bytes).ok().map(Message::Text) } else { Some(Message::Binary(bytes)) }
    }

    /// `Some` when the client's side is closed: with the close frame to send, if one is due.
    async fn handle_client(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
        socket: &mut WebSocketStream<Io<'_>>,
    ) -> Option<Option<CloseFrame>> {
        match message {
            Some(Ok(Message::Text(text))) => self.pass_on(text.as_bytes(), true),
            Some(Ok(Message::Binary(data))) => self.pass_on(&data, false),
            // tungstenite has queued the pong.
            Some(Ok(Message::Ping(_))) => {
                let limit = self.connection.body_timeout();
                if !matches!(self.connection.watchdog.guard(limit, socket.flush()).await, Ok(Ok(()))) {
                    return Some(None);
                }
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(close))) => {
                let (code, reason) = close.map_or((1005, String::new()), |close| {
                    (close.code.into(), close.reason.as_str().to_owned())
                });
                self.tell_app(code, &reason);
                return Some(None);
            }
            Some(Err(error)) => {
                self.tell_app(1006, "");
                return Some(violation(&error));
            }
            None => {
                self.tell_app(1006, "");
                return Some(None);
            }
        }
        None
    }

    fn pass_on(&mut self, data: &[u8], text: bool) {
        let Some(link) = self.exchange.link() else { return };
        self.connection.count_in(data.len());
        let id = self.exchange.id;
        let mut pieces = data.chunks(wire::MAX_CHUNK).peekable();
        if pieces.peek().is_none() {
            self.credit -= i64::from(wire::message_cost(0));
            link.send(&ToWorker::Message { id, data: b"", text, end: true });
        }
        while let Some(data) = pieces.next() {
            self.credit -= i64::from(wire::message_cost(data.len()));
            link.send(&ToWorker::Message { id, data, text, end: pieces.peek().is_none() });
        }
    }

    fn tell_app(&self, code: u16, reason: &str) {
        if let Some(link) = self.exchange.link() {
            link.send(&ToWorker::Close { id: self.exchange.id, code, reason });
        }
    }

    async fn send(&self, socket: &mut WebSocketStream<Io<'_>>, message: Message) -> Result<(), Gone> {
        let limit = self.connection.body_timeout();
        let closed = |_| Gone;
        let mut message = Some(message);
        let send = async {
            poll_fn(|ctx| Pin::new(&mut *socket).poll_ready(ctx)).await?;
            if let Some(message) = message.take() {
                Pin::new(&mut *socket).start_send(message)?;
            }
            poll_fn(|ctx| Pin::new(&mut *socket).poll_flush(ctx)).await
        };
        self.connection.watchdog.guard(limit, send).await?.map_err(closed)
    }
}

/// The close frame for what a client did wrong (RFC 6455 section 7.4.1); none when it is merely gone.
fn violation(error: &tungstenite::Error) -> Option<CloseFrame> {
    match error {
        tungstenite::Error::Capacity(_) => Some(frame(1009, "message too large")),
        tungstenite::Error::Utf8(_) => Some(frame(1007, "text that is not UTF-8")),
        tungstenite::Error::Protocol(_) => Some(frame(1002, "protocol violation")),
        _ => None,
    }
}

/// A close frame; codes that must not be sent (RFC 6455 section 7.4.1) become 1000.
fn frame(code: u16, reason: &str) -> CloseFrame {
    let code = if matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) { code } else { 1000 };
    // A close frame holds 125 bytes, two of them the code.
    let reason = &reason[..reason.floor_char_boundary(123)];
    CloseFrame { code: CloseCode::from(code), reason: reason.into() }
}

/// The client's stream as tungstenite wants it.
struct Io<'a>(&'a Stream);

impl AsyncRead for Io<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_readable(ctx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Io<'_> {
    fn poll_write(self: Pin<&mut Self>, ctx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.0.poll_writable(ctx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shutdown_write();
        Poll::Ready(Ok(()))
    }
}
