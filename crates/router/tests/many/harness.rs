//! A router with many applications, and workers and clients that do what the test says, one step at a time. Every wait
//! ends with what is waited for, or fails after [`DEADLINE`].

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use router::{
    App, Command, Event, HostPattern, HostSettings, Listener, Route, RouteTable, Settings, Snapshot, Start,
    TrustedProxies,
};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use wire::{ControlFromWorker, ControlToWorker, FrameBuffer, FromWorker, Hello, Interface, ToWorker, flag};

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Bounds that a test does not reach unless it changes them.
pub(crate) fn settings() -> Settings {
    Settings {
        queue: 100,
        queue_timeout: 2 * DEADLINE,
        start_patience: 2 * DEADLINE,
        request_timeout: None,
        first_byte_timeout: None,
        interrupt_grace: DEADLINE,
        body_timeout: DEADLINE,
        keepalive_timeout: DEADLINE,
        header_size: 16 * 1024,
        body_size: 1 << 20,
        message_size: 64 * 1024,
        connections: 1000,
        bandwidth_in: None,
        bandwidth_out: None,
        socket_buffers: None,
        root_path: String::new(),
        server_timing: false,
        retry_budget: 0.1,
        overrides: Vec::new(),
    }
}

pub(crate) fn host_settings() -> HostSettings {
    HostSettings {
        connections: 1000,
        header_timeout: DEADLINE,
        keepalive_timeout: DEADLINE,
        body_timeout: DEADLINE,
        header_size: 16 * 1024,
        trusted_proxies: TrustedProxies::parse("").expect("a valid list"),
    }
}

/// "example.com/shop", "*.example.com", "/shop" or "/".
pub(crate) fn routes(list: &[(&str, App)]) -> RouteTable {
    RouteTable::new(list.iter().map(|(route, app)| parse_route(route, *app)), None)
}

fn parse_route(route: &str, app: App) -> Route {
    let (host, prefix) = route.split_at(route.find('/').unwrap_or(route.len()));
    let host = match (host, host.strip_prefix("*.")) {
        ("", _) => HostPattern::Any,
        (_, Some(parent)) => HostPattern::Wildcard(parent.to_owned()),
        _ => HostPattern::Exact(host.to_owned()),
    };
    Route { host, prefix: prefix.to_owned(), app }
}

pub(crate) struct Host {
    runtime: Runtime,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    folder: tempfile::TempDir,
    tcp: SocketAddr,
    workers: u64,
}

impl Host {
    /// Applications are numbered from 0 and have the same settings.
    pub(crate) fn start(list: &[(&str, App)], settings: &Settings) -> Host {
        Host::start_with(host_settings(), list, settings)
    }

    pub(crate) fn start_with(host: HostSettings, list: &[(&str, App)], settings: &Settings) -> Host {
        let folder = tempfile::tempdir().expect("a directory");
        let listener = Listener::unix(&folder.path().join("http")).expect("a socket");
        let tcp = Listener::tcp("127.0.0.1:0").expect("a free port");
        let Listener::Tcp(socket) = &tcp else { panic!("a TCP socket") };
        let address = socket.local_addr().expect("bound");
        let last = list.iter().map(|(_, app)| *app).max().unwrap_or(0);
        let start = Start {
            host,
            apps: (0..=last).map(|app| (app, format!("app{app}"), settings.clone())).collect(),
            routes: routes(list),
            listeners: vec![listener, tcp],
            access_log: None,
            seed: 1,
        };
        let router = router::start(start).expect("a router");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Host { runtime, commands: router.commands, events: router.events, folder, tcp: address, workers: 0 }
    }

    pub(crate) fn send(&self, command: Command) {
        self.commands.blocking_send(command).expect("the router lives");
    }

    /// The next event that is none of the regular reports, unless `wanted` wants those.
    pub(crate) fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let events = &mut self.events;
        let find = async {
            loop {
                let event = events.recv().await.expect("the router lives");
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
        };
        let found = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, find).await });
        found.expect("the event comes in time")
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.send(Command::Snapshot { reply });
        answer.blocking_recv().expect("the router answers")
    }

    /// Wait until the figures are as wanted.
    pub(crate) fn snapshot_when(&self, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let until = Instant::now() + DEADLINE;
        loop {
            let snapshot = self.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < until, "it never comes to this: {snapshot:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A worker that is given requests.
    pub(crate) fn worker(&mut self, app: App, slots: u32) -> Worker {
        self.worker_of(app, slots, Interface::Wsgi)
    }

    pub(crate) fn worker_of(&mut self, app: App, slots: u32, interface: Interface) -> Worker {
        let worker = self.booting_worker(app, slots, interface);
        self.send(Command::Admit { worker: worker.number });
        worker
    }

    /// One that is ready and not admitted yet.
    pub(crate) fn booting_worker(&mut self, app: App, slots: u32, interface: Interface) -> Worker {
        self.workers += 1;
        let number = self.workers;
        let (data, theirs) = UnixStream::pair().expect("sockets");
        let (mut control, theirs_control) = UnixStream::pair().expect("sockets");
        let mut hello = Vec::new();
        let greeting = Hello { version: wire::VERSION, interface, slots, runtime: "test" };
        ControlFromWorker::Hello(greeting).encode(&mut hello);
        ControlFromWorker::Ready.encode(&mut hello);
        control.write_all(&hello).expect("room for a greeting");
        for link in [&data, &control] {
            link.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        }
        self.send(Command::Attach {
            app,
            worker: number,
            data: theirs,
            control: theirs_control,
            quota: None,
        });
        self.wait_for(|event| matches!(event, Event::Ready { worker } if *worker == number).then_some(()));
        Worker { number, data, control, buffer: FrameBuffer::default(), orders: FrameBuffer::default() }
    }

    pub(crate) fn client(&self) -> Client {
        let stream = UnixStream::connect(self.folder.path().join("http")).expect("the router accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        Client { stream: Box::new(stream), read: Vec::new() }
    }

    /// One that comes over TCP, from an address that nobody trusts.
    pub(crate) fn stranger(&self) -> Client {
        let stream = TcpStream::connect(self.tcp).expect("the router accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        Client { stream: Box::new(stream), read: Vec::new() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.tcp
    }

    pub(crate) fn unix_address(&self) -> std::path::PathBuf {
        self.folder.path().join("http")
    }

    /// A client that has sent a GET.
    pub(crate) fn get(&self, host: &str, path: &str) -> Client {
        let mut client = self.client();
        client.get(host, path);
        client
    }
}

pub(crate) struct Worker {
    pub(crate) number: u64,
    data: UnixStream,
    control: UnixStream,
    buffer: FrameBuffer,
    orders: FrameBuffer,
}

/// What a worker sees of a request.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) root_path: String,
    pub(crate) path: String,
    pub(crate) raw_path: String,
}

impl Worker {
    /// Wait for a request.
    pub(crate) fn request(&mut self) -> Seen {
        self.read(|message| match message {
            ToWorker::Request { id, head, .. } => Some(Seen {
                id,
                root_path: head.root_path.to_owned(),
                path: String::from_utf8_lossy(head.path).into_owned(),
                raw_path: String::from_utf8_lossy(head.raw_path).into_owned(),
            }),
            _ => None,
        })
    }

    /// Wait for a message.
    pub(crate) fn read<T>(&mut self, wanted: impl Fn(ToWorker<'_>) -> Option<T>) -> T {
        read_frame(&mut self.data, &mut self.buffer, |frame| wanted(ToWorker::decode(frame).expect("sound")))
    }

    /// Give each message to `each`, which returns what to say, until the router closes the link.
    pub(crate) fn run(mut self, mut each: impl FnMut(ToWorker<'_>, &mut Vec<u8>)) {
        loop {
            let mut out = Vec::new();
            while let Some(frame) = self.buffer.next_frame().expect("sound") {
                each(ToWorker::decode(frame).expect("sound"), &mut out);
            }
            // Either fails only when the router is gone.
            if self.data.write_all(&out).is_err() {
                return;
            }
            match self.data.read(self.buffer.space()) {
                Ok(0) => return,
                Ok(count) => self.buffer.filled(count),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the router says nothing: {error}"),
            }
        }
    }

    /// Wait for an order.
    pub(crate) fn order(&mut self, wanted: impl Fn(&ControlToWorker) -> bool) {
        read_frame(&mut self.control, &mut self.orders, |frame| {
            wanted(&ControlToWorker::decode(frame).expect("sound")).then_some(())
        });
    }

    pub(crate) fn say(&mut self, message: &FromWorker<'_>) {
        let mut out = Vec::new();
        message.encode(&mut out);
        self.data.write_all(&out).expect("the router listens");
    }

    /// Over the control link.
    pub(crate) fn tell(&mut self, message: &ControlFromWorker<'_>) {
        let mut out = Vec::new();
        message.encode(&mut out);
        self.control.write_all(&out).expect("the router listens");
    }

    pub(crate) fn answer(&mut self, id: u64, status: u16, body: &str) {
        let mut out = Vec::new();
        let flags = flag::END | flag::DONE;
        FromWorker::encode_response(&mut out, id, status, b"", [].into_iter(), body.as_bytes(), flags);
        self.data.write_all(&out).expect("the router listens");
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.data.write_all(bytes).expect("the router listens");
    }

    /// Wait for a request and answer it.
    pub(crate) fn serve(&mut self, body: &str) -> Seen {
        let seen = self.request();
        self.answer(seen.id, 200, body);
        seen
    }

    pub(crate) fn die(&self) {
        for link in [&self.data, &self.control] {
            link.shutdown(Shutdown::Both).expect("open until now");
        }
    }
}

fn read_frame<T>(
    link: &mut UnixStream,
    buffer: &mut FrameBuffer,
    wanted: impl Fn(wire::Frame<'_>) -> Option<T>,
) -> T {
    loop {
        while let Some(frame) = buffer.next_frame().expect("the router's frames are sound") {
            if let Some(found) = wanted(frame) {
                return found;
            }
        }
        match link.read(buffer.space()) {
            Ok(0) => panic!("the router closed the link"),
            Ok(count) => buffer.filled(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the router says nothing: {error}"),
        }
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

pub(crate) struct Client {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

/// A response, its head as text.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Client {
    pub(crate) fn get(&mut self, host: &str, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("the router reads");
    }

    /// The next response, which must have a length.
    pub(crate) fn response(&mut self) -> Response {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(), "closed before the head is complete: {}", self.read.escape_ascii());
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).expect("text");
        let status = head[9..12].parse().expect("a status");
        let mut response = Response { status, head, body: String::new() };
        let length = response.field("content-length").map_or(0, |length| length.parse().expect("a number"));
        while self.read.len() < length {
            assert!(self.fill(), "closed before the body is complete");
        }
        response.body = String::from_utf8(self.read.drain(..length).collect()).expect("text");
        response
    }

    /// The router closes the connection without sending anything more.
    pub(crate) fn closed(&mut self) {
        while self.fill() {}
        assert!(self.read.is_empty(), "more came: {}", self.read.escape_ascii());
    }

    fn fill(&mut self) -> bool {
        let mut space = [0; 4096];
        let count = self.stream.read(&mut space).expect("the router answers in time");
        self.read.extend_from_slice(&space[..count]);
        count > 0
    }

    /// Go without a word. The router reads the end after what was sent.
    pub(crate) fn leave(self) {
        drop(self);
    }

    /// What comes next, as it comes.
    pub(crate) fn raw(&mut self) -> Vec<u8> {
        if self.read.is_empty() {
            assert!(self.fill(), "closed");
        }
        std::mem::take(&mut self.read)
    }
}
