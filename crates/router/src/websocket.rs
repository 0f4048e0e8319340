//! An accepted WebSocket: frames on the client's side (by tungstenite), whole messages on the worker's.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
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

use crate::app::App;
use crate::bandwidth::{Direction, Turn};
use crate::connection::{Connection, Debt, Gone};
use crate::exchange::{Exchange, Step};
use crate::http::response::{is_field_value, is_token};
use crate::stream::{READ_SIZE, Stream};
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
    let app = connection.app();
    let mut debt = Debt::default();
    if let Some(app) = &app {
        debt.add(app, early.len());
    }
    let held_back = Cell::new(false);
    let stream = &connection.incoming.stream;
    let io = Io { stream, app: app.clone(), debt, turn: Turn::default(), held_back: &held_back };
    let mut socket = WebSocketStream::from_partially_read(io, early, Role::Server, Some(config)).await;
    let mut session = Session {
        connection,
        exchange,
        held_back: &held_back,
        assembled: Vec::new(),
        credit: i64::from(wire::REQUEST_WINDOW),
    };
    let close = session.carry(&mut socket).await;
    let goodbye = async {
        // The client may be gone already; there is nobody else to tell.
        let _ = socket.close(close).await;
        while let Some(Ok(_)) = poll_fn(|ctx| Pin::new(&mut socket).poll_next(ctx)).await {}
    };
    let _ = connection.watchdog.guard(CLOSE_TIME, goodbye).await;
    if let Some(app) = &app {
        socket.get_mut().debt.settle(app);
    }
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
    /// A limit of bandwidth has kept us waiting since this was last asked.
    held_back: &'a Cell<bool>,
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
                // Not listened to is not silent.
                Err(Expired) if self.held_back.take() => continue,
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
                if self.in_time(socket.flush()).await.is_err() {
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
        let mut message = Some(message);
        let send = async {
            poll_fn(|ctx| Pin::new(&mut *socket).poll_ready(ctx)).await?;
            if let Some(message) = message.take() {
                Pin::new(&mut *socket).start_send(message)?;
            }
            poll_fn(|ctx| Pin::new(&mut *socket).poll_flush(ctx)).await
        };
        self.in_time(send).await
    }

    /// The client takes what it is sent within the time for a body; time without bandwidth does not count.
    async fn in_time(&self, send: impl Future<Output = Result<(), tungstenite::Error>>) -> Result<(), Gone> {
        let mut send = pin!(send);
        loop {
            let limit = self.connection.body_timeout();
            match self.connection.watchdog.guard(limit, send.as_mut()).await {
                Err(Expired) if self.held_back.take() => {}
                result => return result?.map_err(|_| Gone),
            }
        }
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
struct Io<'a> {
    stream: &'a Stream,
    app: Option<Rc<App>>,
    debt: Debt,
    /// In the line of what goes out.
    turn: Turn,
    held_back: &'a Cell<bool>,
}

impl Io<'_> {
    /// Bytes that may be written now.
    fn poll_bandwidth(&mut self, ctx: &Context<'_>, want: usize) -> Poll<usize> {
        let Some(app) = self.app.as_ref().filter(|app| app.is_limited(Direction::Out)) else {
            return Poll::Ready(want);
        };
        let polled = app.poll_bandwidth(Direction::Out, &mut self.turn, ctx, want);
        if polled.is_pending() {
            self.held_back.set(true);
        }
        polled
    }

    fn return_bandwidth(&self, bytes: usize) {
        if let Some(app) = &self.app {
            app.return_bandwidth(Direction::Out, bytes);
        }
    }
}

impl AsyncRead for Io<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Io { stream, app, debt, held_back, .. } = &mut *self;
        let limited = app.as_ref().filter(|app| app.is_limited(Direction::In));
        if let Some(app) = limited
            && debt.poll_paid(app, ctx).is_pending()
        {
            held_back.set(true);
            return Poll::Pending;
        }
        loop {
            let space = buffer.initialize_unfilled();
            // What is read is owed: not more than a read's worth.
            let most = limited.map_or(space.len(), |_| space.len().min(READ_SIZE));
            match stream.try_read(&mut space[..most]) {
                Ok(count) => {
                    buffer.advance(count);
                    if let Some(app) = limited {
                        debt.add(app, count);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_readable(ctx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Io<'_> {
    fn poll_write(mut self: Pin<&mut Self>, ctx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let granted = ready!(self.poll_bandwidth(ctx, bytes.len()));
            let result = self.stream.try_write(&bytes[..granted]);
            self.return_bandwidth(granted - result.as_ref().map_or(0, |count| *count));
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_writable(ctx))?;
                }
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.shutdown_write();
        Poll::Ready(Ok(()))
    }
}
