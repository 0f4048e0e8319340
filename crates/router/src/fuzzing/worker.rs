//! A router with one client, and a worker that says whatever the input says.
//!
//! Only what the router offers to everybody is used: commands, events, a listening socket, the frames of `wire`. The
//! promise: whatever a worker says, the router goes on, the client gets at most one answer with sound framing, and a
//! request that may be run again is answered by the next worker.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use wire::{ControlFromWorker, Frame, FrameBuffer, FromWorker, Hello, Interface, flag};

use super::read_response;
use crate::{
    App, Command, Event, HostPattern, HostSettings, Listener, Route, RouteTable, Settings, Start,
    TrustedProxies,
};

/// Longest wait for anything; only a router that hangs ever reaches it.
const DEADLINE: Duration = Duration::from_secs(10);

/// Sent by the client and put into the answer's head, so that a second head cannot hide.
const REQUEST_ID: &str = "one-head-only-b1946ac92492d234";

/// What the client sends, by the first two bits of the input, and whether it asks for HEAD or a WebSocket.
const REQUESTS: [(&str, bool, bool); 4] = [
    ("GET / HTTP/1.1\r\n", false, false),
    ("HEAD / HTTP/1.1\r\n", true, false),
    ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", false, false),
    (
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        false,
        true,
    ),
];

struct Host {
    runtime: Runtime,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    folder: tempfile::TempDir,
    workers: u64,
}

/// One router serves all inputs, as one serves all workers.
static HOST: Mutex<Option<Host>> = Mutex::new(None);

/// The first byte chooses request, interface and application; what follows are records of selector, kind, flags, length and so
/// many payload bytes. Selector bit 0: on the control link. Bit 1: for request 7 instead of the one it holds. Bit 2: as
/// raw bytes instead of a frame.
pub fn worker_protocol(bytes: &[u8]) {
    let Some((&choice, records)) = bytes.split_first() else { return };
    let mut host = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let host = host.get_or_insert_with(Host::start);
    let (start, head, websocket) = REQUESTS[usize::from(choice & 3)];
    let interface = if choice & 4 == 0 { Interface::Wsgi } else { Interface::Asgi };
    let (app, start) =
        if choice & 8 == 0 { (0, start.to_owned()) } else { (1, start.replacen(" /", " /other/", 1)) };

    let (hostile, mut data, mut control) = host.attach(app, interface);
    let mut client = UnixStream::connect(host.socket()).expect("the router accepts");
    client.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let close = if websocket { "" } else { "Connection: close\r\n" };
    let body = if start.starts_with("POST") { "5\r\nhello\r\n0\r\n\r\n" } else { "" };
    write!(client, "{start}Host: a\r\nX-Request-ID: {REQUEST_ID}\r\n{close}\r\n{body}").expect("sent");

    let mut buffer = FrameBuffer::default();
    let id = read_frame(&mut data, &mut buffer, |frame| frame.is_request().then_some(frame.id));
    speak(records, id.expect("the request is handed over"), &mut data, &mut control);
    for link in [&data, &control] {
        // The router may have closed them: that is what it does to a worker that breaks the protocol.
        let _ = link.shutdown(Shutdown::Write);
    }
    host.wait_for(|event| match event {
        Event::Closed { worker, .. } | Event::Misbehaved { worker, .. } => *worker == hostile,
        _ => false,
    });

    let (rescuer, data, control) = host.attach(app, Interface::Wsgi);
    let theirs = data.try_clone().expect("a descriptor");
    let rescue = thread::spawn(move || answer_all(theirs));
    if websocket {
        client.shutdown(Shutdown::Write).expect("the client leaves");
    }
    let mut answer = Vec::new();
    let ended = client.read_to_end(&mut answer);
    assert!(websocket || ended.is_ok(), "the client waits in vain: {ended:?}");
    host.send(Command::Detach { worker: rescuer });
    for link in [data, control] {
        let _ = link.shutdown(Shutdown::Both);
    }
    rescue.join().expect("the next worker is served well");
    check(&answer, head, websocket);
}

fn check(answer: &[u8], head: bool, websocket: bool) {
    let shown = answer.escape_ascii();
    assert!(websocket || !answer.is_empty(), "no answer at all");
    let field = format!("x-request-id: {REQUEST_ID}\r\n");
    let heads = answer.windows(field.len()).filter(|window| *window == field.as_bytes()).count();
    assert!(heads <= 1, "two answers to one request: {shown}");
    if !websocket {
        let mut rest = answer;
        // None: cut in the middle, and the client can see that.
        if let Some(response) = read_response(&mut rest, head) {
            assert!((200..=999).contains(&response.status));
            assert!(response.lines.list("connection", "close"), "the client asked for it: {shown}");
            assert!(!response.until_close, "HTTP/1.1 has chunks: {shown}");
            assert!(!head || response.body.is_empty());
            assert!(rest.is_empty(), "bytes after the answer: {shown}");
        }
    }
}

fn speak(mut records: &[u8], held: u64, data: &mut UnixStream, control: &mut UnixStream) {
    while let Some((&[selector, kind, flags, length], rest)) = records.split_first_chunk::<4>() {
        let (payload, rest) = rest.split_at(usize::from(length).min(rest.len()));
        records = rest;
        let mut out = Vec::new();
        if selector & 4 == 0 {
            let id = if selector & 2 == 0 { held } else { 7 };
            wire::put_frame(&mut out, kind, flags, id, |out| out.extend_from_slice(payload));
        } else {
            out.extend_from_slice(payload);
        }
        let link = if selector & 1 == 0 { &mut *data } else { &mut *control };
        if link.write_all(&out).is_err() {
            return;
        }
    }
}

/// The worker that everybody wishes for.
fn answer_all(mut data: UnixStream) {
    let mut buffer = FrameBuffer::default();
    let request = |frame: Frame<'_>| frame.is_request().then_some(frame.id);
    while let Some(id) = read_frame(&mut data, &mut buffer, request) {
        let mut out = Vec::new();
        FromWorker::encode_response(&mut out, id, 200, b"", [].into_iter(), b"ok", flag::END | flag::DONE);
        data.write_all(&out).expect("the router listens");
    }
}

/// The first frame that `wanted` wants; `None` at the end of the stream.
fn read_frame<T>(
    link: &mut UnixStream,
    buffer: &mut FrameBuffer,
    wanted: impl Fn(Frame<'_>) -> Option<T>,
) -> Option<T> {
    loop {
        while let Some(frame) = buffer.next_frame().expect("the router's frames are sound") {
            if let Some(found) = wanted(frame) {
                return Some(found);
            }
        }
        match link.read(buffer.space()) {
            Ok(0) => return None,
            Ok(count) => buffer.filled(count),
            // The timer of the fuzzer.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the router says nothing: {error}"),
        }
    }
}

/// Bounds that nothing here reaches.
pub(crate) fn settings() -> Settings {
    Settings {
        queue: 10,
        queue_timeout: DEADLINE,
        start_patience: DEADLINE,
        request_timeout: None,
        first_byte_timeout: None,
        interrupt_grace: DEADLINE,
        body_timeout: DEADLINE,
        keepalive_timeout: DEADLINE,
        header_size: 16 * 1024,
        body_size: 1 << 20,
        message_size: 64 * 1024,
        connections: 10,
        bandwidth_in: None,
        bandwidth_out: None,
        socket_buffers: None,
        root_path: String::new(),
        server_timing: true,
        retry_budget: 1.0,
        overrides: Vec::new(),
    }
}

pub(crate) fn host_settings() -> HostSettings {
    HostSettings {
        connections: 10,
        header_timeout: DEADLINE,
        keepalive_timeout: DEADLINE,
        body_timeout: DEADLINE,
        header_size: 16 * 1024,
        trusted_proxies: TrustedProxies::parse("*").expect("a valid list"),
    }
}

impl Host {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let listener = Listener::unix(&folder.path().join("http")).expect("a socket");
        let route = |prefix: &str, app| Route { host: HostPattern::Any, prefix: prefix.to_owned(), app };
        let start = Start {
            host: host_settings(),
            apps: vec![(0, "root".to_owned(), settings()), (1, "other".to_owned(), settings())],
            routes: RouteTable::new([route("", 0), route("/other", 1)], None),
            listeners: vec![listener],
            access_log: None,
            seed: 1,
        };
        let router = crate::start(start).expect("a router");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Host { runtime, commands: router.commands, events: router.events, folder, workers: 0 }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("http")
    }

    /// A worker that is given requests: its number and its ends of the links.
    fn attach(&mut self, app: App, interface: Interface) -> (u64, UnixStream, UnixStream) {
        self.workers += 1;
        let worker = self.workers;
        let (data, theirs) = UnixStream::pair().expect("sockets");
        let (mut control, theirs_control) = UnixStream::pair().expect("sockets");
        let mut hello = Vec::new();
        let greeting = Hello { version: wire::VERSION, interface, slots: 1, runtime: "test" };
        ControlFromWorker::Hello(greeting).encode(&mut hello);
        ControlFromWorker::Ready.encode(&mut hello);
        control.write_all(&hello).expect("room for a greeting");
        data.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        self.send(Command::Attach { app, worker, data: theirs, control: theirs_control, quota: None });
        self.wait_for(|event| matches!(event, Event::Ready { worker: ready } if *ready == worker));
        self.send(Command::Admit { worker });
        (worker, data, control)
    }

    fn send(&self, command: Command) {
        self.commands.blocking_send(command).expect("the router lives");
    }

    fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) {
        let events = &mut self.events;
        let find = async {
            while let Some(event) = events.recv().await {
                if wanted(&event) {
                    return true;
                }
            }
            false
        };
        // A timer must be made inside the runtime.
        let found = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, find).await });
        assert!(matches!(found, Ok(true)), "the router is stuck or gone");
    }
}
