//! A small HTTP server that misbehaves on request, with a thread per connection; it ends with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lab::load::Endpoint;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// 200 and two bytes.
    Answer,
    /// The same, but after so many requests everything stands still once.
    PauseOnce {
        after: u64,
        pause: Duration,
    },
    CloseAnnounced,
    CloseSilently,
    Status(u16),
    Garbage,
    EndlessHead,
    EndlessBody,
    HalfAnAnswer,
    Silence,
    NeverAccept,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    state: Arc<State>,
    /// Kept when nobody accepts: the queue lives as long as the listener.
    _listener: Option<UnixListener>,
    _directory: Option<tempfile::TempDir>,
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    requests: AtomicU64,
    body: AtomicU64,
    /// Taken by whoever answers: a pause stops all.
    turn: std::sync::Mutex<()>,
}

impl Server {
    pub(crate) fn tcp(behaviour: Behaviour) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
        let state = State::new(behaviour);
        let shared = Arc::clone(&state);
        // When the server is dropped its flag ends the thread at the next connection; the process ends it otherwise.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if Arc::strong_count(&shared) == 1 {
                    return;
                }
                let Ok(stream) = stream else { return };
                let _ = stream.set_nodelay(true);
                let (state, reader) = (Arc::clone(&shared), stream.try_clone().unwrap());
                std::thread::spawn(move || state.serve(reader, stream));
            }
        });
        Server { endpoint, state, _listener: None, _directory: None }
    }

    pub(crate) fn unix(behaviour: Behaviour) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let state = State::new(behaviour);
        let mut kept = None;
        if behaviour == Behaviour::NeverAccept {
            // The backlog of an open listener can be made smaller.
            rustix::net::listen(&listener, 2).unwrap();
            kept = Some(listener);
        } else {
            let shared = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let Ok(stream) = stream else { return };
                    let (state, reader) = (Arc::clone(&shared), stream.try_clone().unwrap());
                    std::thread::spawn(move || state.serve(reader, stream));
                }
            });
        }
        Server { endpoint: Endpoint::Unix(path), state, _listener: kept, _directory: Some(directory) }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn body_bytes(&self) -> u64 {
        self.state.body.load(Ordering::SeqCst)
    }

    pub(crate) fn wait_for_requests(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.requests() < count {
            assert!(Instant::now() < deadline, "{count} requests never came");
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wake the thread that accepts, so that the port is closed.
        let address = match &self.endpoint {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(_) => return,
        };
        self.state = State::new(self.state.behaviour);
        let _ = std::net::TcpStream::connect(address);
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::net::TcpStream::connect(address).is_ok() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

impl State {
    fn new(behaviour: Behaviour) -> Arc<State> {
        let turn = std::sync::Mutex::new(());
        Arc::new(State { behaviour, requests: AtomicU64::new(0), body: AtomicU64::new(0), turn })
    }

    /// Errors are the client's leaving.
    fn serve(&self, reader: impl Read, mut writer: impl Write) {
        let mut reader = BufReader::new(reader);
        while let Some(head_only) = self.read_request(&mut reader) {
            let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
            let turn = self.turn.lock().unwrap();
            if let Behaviour::PauseOnce { after, pause } = self.behaviour
                && number == after
            {
                std::thread::sleep(pause);
            }
            drop(turn);
            if !self.answer(&mut writer, head_only) {
                return;
            }
        }
    }

    fn read_request(&self, reader: &mut impl BufRead) -> Option<bool> {
        let (mut length, mut head_only, mut line) = (0, None, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            head_only = head_only.or(Some(line.starts_with("HEAD ")));
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        self.body.fetch_add(length as u64, Ordering::SeqCst);
        head_only
    }

    /// Whether the connection goes on.
    fn answer(&self, writer: &mut impl Write, head_only: bool) -> bool {
        let content = if head_only { "" } else { "ok" };
        let ok = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{content}");
        match self.behaviour {
            Behaviour::Answer | Behaviour::PauseOnce { .. } => writer.write_all(ok.as_bytes()).is_ok(),
            Behaviour::CloseSilently => {
                let _ = writer.write_all(ok.as_bytes());
                false
            }
            Behaviour::CloseAnnounced => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end");
                false
            }
            Behaviour::Status(status) => {
                let answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n");
                writer.write_all(answer.as_bytes()).is_ok()
            }
            Behaviour::Garbage => writer.write_all(b"220 mail ready\r\n\r\n").is_ok(),
            Behaviour::EndlessHead => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\n");
                while writer.write_all(&b"X: y\r\n".repeat(500)).is_ok() {}
                false
            }
            Behaviour::EndlessBody => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while writer.write_all(&[b'x'; 4096]).is_ok() {}
                false
            }
            Behaviour::HalfAnAnswer => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
                false
            }
            Behaviour::Silence | Behaviour::NeverAccept => true,
        }
    }
}
