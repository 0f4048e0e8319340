//! Limits of bandwidth and socket buffers over real sockets. A rate is never above its limit, however the machine is
//! loaded; that it is reached as well is shown by the best of a few tries, because somebody else may have the processor.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use router::{App, Command, Settings};
use wire::{FromWorker, Interface, ToWorker, flag};

use crate::harness::{DEADLINE, Host, settings};

const RATE: u64 = 2_000_000;

/// What may come at once: 50 ms at [`RATE`].
const BURST: u64 = RATE / 20;

/// More than a second at [`RATE`].
const SIZE: u64 = 2_600_000;

/// How far from the limit a rate may be.
const TOLERANCE: f64 = 0.05;

const TRIES: usize = 5;

fn limited(inward: Option<u64>, outward: Option<u64>) -> Settings {
    let size = SIZE * 10;
    Settings { bandwidth_in: inward, bandwidth_out: outward, body_size: size, ..settings() }
}

fn set(host: &Host, app: App, settings: Settings) {
    host.send(Command::SetApp { app, name: "set".to_owned(), settings: Box::new(settings) });
    // It has been obeyed when the next one is answered.
    host.snapshot();
}

/// What a worker still has to say about one request.
struct Sending {
    left: u64,
    window: i64,
    websocket: bool,
}

/// A worker that answers "/SIZE" with so many bytes, as far as there is credit, and a body with an empty answer. On a
/// WebSocket, the same as messages. Returns how many request body bytes it has had.
fn flood(host: &mut Host, app: App, interface: Interface) -> Arc<AtomicU64> {
    let worker = host.worker_of(app, 1000, interface);
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    thread::spawn(move || {
        let mut sending: HashMap<u64, Sending> = HashMap::new();
        worker.run(|message, out| {
            let id = match message {
                ToWorker::Request { id, flags, head, .. } => {
                    let path = String::from_utf8_lossy(head.path).into_owned();
                    let left = path.rsplit('/').next().and_then(|size| size.parse().ok()).unwrap_or(0);
                    let websocket = flags & flag::WEBSOCKET != 0;
                    let window = i64::from(head.window);
                    if flags & flag::ACK_START != 0 {
                        FromWorker::Started { id }.encode(out);
                    }
                    if websocket {
                        FromWorker::encode_response(out, id, 101, b"", [].into_iter(), b"", 0);
                    } else if flags & flag::HAS_BODY == 0 {
                        let length = left.to_string();
                        let fields = [(&b"content-length"[..], length.as_bytes())];
                        let flags = if left == 0 { flag::END | flag::DONE } else { 0 };
                        FromWorker::encode_response(out, id, 200, b"", fields.into_iter(), b"", flags);
                    }
                    sending.insert(id, Sending { left, window, websocket });
                    id
                }
                ToWorker::Credit { id, bytes } => {
                    if let Some(sending) = sending.get_mut(&id) {
                        sending.window += i64::from(bytes);
                    }
                    id
                }
                ToWorker::Body { id, data, end } => {
                    count.fetch_add(data.len() as u64, Ordering::SeqCst);
                    let bytes = u32::try_from(data.len()).expect("a frame");
                    FromWorker::Credit { id, bytes }.encode(out);
                    if end {
                        let flags = flag::END | flag::DONE;
                        FromWorker::encode_response(out, id, 200, b"", [].into_iter(), b"", flags);
                    }
                    id
                }
                ToWorker::Message { id, data, end, .. } => {
                    count.fetch_add(data.len() as u64, Ordering::SeqCst);
                    let bytes = wire::message_cost(data.len());
                    FromWorker::Credit { id, bytes }.encode(out);
                    if end && data == b"bye" {
                        FromWorker::Close { id, code: 1000, reason: "" }.encode(out);
                    }
                    id
                }
                ToWorker::Cancel { id } | ToWorker::Close { id, .. } => {
                    // Both may come.
                    if sending.remove(&id).is_some() {
                        FromWorker::Done { id }.encode(out);
                    }
                    return;
                }
            };
            if let Some(sending) = sending.get_mut(&id) {
                send(id, sending, out);
            }
        });
    });
    received
}

fn send(id: u64, sending: &mut Sending, out: &mut Vec<u8>) {
    const PIECE: usize = 16 * 1024;
    while sending.left > 0 && sending.window >= PIECE as i64 {
        let piece = PIECE.min(usize::try_from(sending.left).unwrap_or(PIECE));
        sending.left -= piece as u64;
        sending.window -= piece as i64;
        let (data, end) = (&[0; PIECE][..piece], sending.left == 0);
        if sending.websocket {
            FromWorker::Message { id, data, text: false, end: true }.encode(out);
        } else {
            FromWorker::Body { id, data, end, done: end }.encode(out);
        }
    }
}

fn connect(host: &Host) -> TcpStream {
    let stream = TcpStream::connect(host.address()).expect("the router accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream.set_write_timeout(Some(DEADLINE)).expect("a deadline");
    stream
}

fn request(stream: &mut TcpStream, head: &str) {
    stream.write_all(format!("{head}\r\nHost: a\r\n\r\n").as_bytes()).expect("the router reads");
}

/// Read so many bytes, or to the end.
fn read(stream: &mut impl Read, most: u64) -> u64 {
    let mut space = vec![0; 64 * 1024];
    let (mut total, until) = (0, Instant::now() + DEADLINE);
    while total < most {
        assert!(Instant::now() < until, "only {total} of {most} bytes came in time");
        let wanted = space.len().min(usize::try_from(most - total).unwrap_or(usize::MAX));
        match stream.read(&mut space[..wanted]) {
            Ok(0) => break,
            Ok(count) => total += count as u64,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("after {total} bytes: {error}"),
        }
    }
    total
}

/// Download `size` bytes; the time it took.
fn download(host: &Host, path: &str, size: u64) -> Duration {
    let mut stream = connect(host);
    let began = Instant::now();
    request(&mut stream, &format!("GET {path}/{size} HTTP/1.1"));
    assert_eq!(read(&mut stream, size), size);
    began.elapsed()
}

/// `attempt` moves so many bytes in the time it returns: never above the limit, and near it once.
fn keeps_the_rate(mut attempt: impl FnMut() -> (u64, Duration)) {
    let mut rates = Vec::new();
    while rates.len() < TRIES {
        let (bytes, took) = attempt();
        // The burst is not the rate.
        let rate = (bytes - BURST) as f64 / took.as_secs_f64() / RATE as f64;
        assert!(rate <= 1.0 + TOLERANCE, "{rate} of the limit");
        if rate >= 1.0 - TOLERANCE {
            return;
        }
        rates.push(rate);
    }
    panic!("{rates:?} of the limit");
}

#[test]
fn downloads_keep_their_rate_and_reach_it() {
    let mut host = Host::start(&[("/", 0)], &limited(None, Some(RATE)));
    flood(&mut host, 0, Interface::Wsgi);
    keeps_the_rate(|| (SIZE, download(&host, "", SIZE)));
    let waited = host.snapshot().apps[0].held_back_out;
    assert!(waited > Duration::from_secs(1), "the figures tell of it: {waited:?}");
}

#[test]
fn uploads_keep_their_rate_streamed_and_stored() {
    for interface in [Interface::Asgi, Interface::Wsgi] {
        let mut host = Host::start(&[("/", 0)], &limited(Some(RATE), None));
        let received = flood(&mut host, 0, interface);
        keeps_the_rate(|| {
            let before = received.load(Ordering::SeqCst);
            let took = upload(&host, SIZE, false);
            assert_eq!(received.load(Ordering::SeqCst), before + SIZE);
            (SIZE, took)
        });
    }
}

fn upload(host: &Host, size: u64, chunked: bool) -> Duration {
    let mut stream = connect(host);
    let framing =
        if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {size}") };
    let began = Instant::now();
    request(&mut stream, &format!("PUT /up HTTP/1.1\r\n{framing}"));
    if chunked {
        // One byte of body and five of framing.
        for _ in 0..size / 1000 {
            stream.write_all("1\r\nx\r\n".repeat(1000).as_bytes()).expect("the router reads");
        }
        stream.write_all(b"0\r\n\r\n").expect("the router reads");
    } else {
        stream.write_all(&vec![0; usize::try_from(size).expect("a size")]).expect("the router reads");
    }
    assert!(read(&mut stream, 12) == 12);
    began.elapsed()
}

#[test]
fn what_frames_a_body_is_paid_as_well() {
    for interface in [Interface::Asgi, Interface::Wsgi] {
        let mut host = Host::start(&[("/", 0)], &limited(Some(RATE), None));
        flood(&mut host, 0, interface);
        let took = upload(&host, SIZE / 6, true);
        let least = Duration::from_secs_f64((SIZE / 6 / 1000 * 6000 - BURST) as f64 / RATE as f64);
        assert!(took >= least.mul_f64(1.0 - TOLERANCE), "{took:?} instead of {least:?}");
    }
}

#[test]
fn heads_are_paid_before_the_application_sees_them() {
    let mut host = Host::start(&[("/", 0)], &limited(Some(RATE), None));
    flood(&mut host, 0, Interface::Wsgi);
    let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(13_000));
    let (connections, requests) = (10, 20);
    let began = Instant::now();
    // New connections and kept ones.
    for _ in 0..connections {
        let mut stream = connect(&host);
        for _ in 0..requests {
            request(&mut stream, &head);
            assert!(read(&mut stream, 12) == 12);
            let _ = stream.set_nonblocking(true);
            while matches!(stream.read(&mut [0; 512]), Ok(1..)) {}
            let _ = stream.set_nonblocking(false);
        }
    }
    let sent = connections * requests * (head.len() as u64 + 13);
    let least = Duration::from_secs_f64((sent - BURST) as f64 / RATE as f64);
    assert!(began.elapsed() >= least.mul_f64(1.0 - TOLERANCE), "{:?}", began.elapsed());
    assert_eq!(host.snapshot().apps[0].bytes_in, sent, "each is counted once");
}

fn websocket(host: &Host, path: &str) -> TcpStream {
    let mut stream = connect(host);
    let key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13";
    request(
        &mut stream,
        &format!("GET {path} HTTP/1.1\r\n{key}\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
    );
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    stream
}

/// A masked binary frame (RFC 6455 section 5.2); the mask is zero.
fn frame(data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match data.len() {
        0..126 => frame.push(0x80 | u8::try_from(data.len()).expect("small")),
        length => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("medium").to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(data);
    frame
}

#[test]
fn websockets_keep_the_rate_both_ways() {
    let mut host = Host::start(&[("/", 0)], &limited(Some(RATE), Some(RATE)));
    let received = flood(&mut host, 0, Interface::Asgi);
    keeps_the_rate(|| {
        let mut stream = websocket(&host, &format!("/{SIZE}"));
        let began = Instant::now();
        assert_eq!(read(&mut stream, SIZE), SIZE);
        (SIZE, began.elapsed())
    });
    let (messages, size) = (SIZE / 32_768, 32_768);
    keeps_the_rate(|| {
        let before = received.load(Ordering::SeqCst);
        let mut stream = websocket(&host, "/0");
        let began = Instant::now();
        for _ in 0..messages {
            stream.write_all(&frame(&vec![0; size as usize])).expect("the router reads");
        }
        stream.write_all(&frame(b"bye")).expect("the router reads");
        // The close frame.
        read(&mut stream, 1);
        assert_eq!(received.load(Ordering::SeqCst), before + messages * size + 3);
        (messages * size, began.elapsed())
    });
}

#[test]
fn connections_share_a_limit_equally_and_one_that_stalls_takes_nothing() {
    let mut host = Host::start(&[("/", 0)], &limited(None, Some(RATE)));
    flood(&mut host, 0, Interface::Wsgi);
    // One that does not read at all: its buffers fill, and then it wants nothing more.
    let mut stalled = connect(&host);
    request(&mut stalled, &format!("GET /{} HTTP/1.1", SIZE * 4));
    host.snapshot_when(|snapshot| snapshot.apps[0].bytes_out > 0);
    let counts: Vec<_> = (0..3).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let (stop, stopped) = mpsc::sync_channel::<u64>(3);
    let readers: Vec<_> = counts
        .iter()
        .map(|count| {
            let (count, stop, mut stream) = (Arc::clone(count), stop.clone(), connect(&host));
            thread::spawn(move || {
                request(&mut stream, &format!("GET /{} HTTP/1.1", SIZE * 4));
                let mut space = [0; 16 * 1024];
                while let Ok(count_read @ 1..) = stream.read(&mut space) {
                    let total = count.fetch_add(count_read as u64, Ordering::SeqCst);
                    if total > SIZE {
                        let _ = stop.send(total);
                        return;
                    }
                }
            })
        })
        .collect();
    stopped.recv_timeout(DEADLINE).expect("one of them gets there");
    let shares: Vec<_> = counts.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    for share in &shares {
        assert!((*share as f64) > 0.85 * SIZE as f64, "{shares:?}");
    }
    drop((host, stalled));
    for reader in readers {
        reader.join().expect("it read");
    }
}

#[test]
fn a_slow_reader_leaves_to_the_others_what_it_does_not_take() {
    let small = Settings { socket_buffers: Some(4096), ..limited(None, Some(RATE)) };
    let mut host = Host::start(&[("/", 0)], &small);
    flood(&mut host, 0, Interface::Wsgi);
    let mut slow = UnixStream::connect(host.unix_address()).expect("the router accepts");
    slow.write_all(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", SIZE * 4).as_bytes()).expect("sent");
    let reader = thread::spawn(move || {
        // 100 kB/s at most, until the host ends.
        while slow.read_exact(&mut [0; 1000]).is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    let mut rates = Vec::new();
    while rates.len() < TRIES && rates.last().is_none_or(|rate| *rate < 0.85) {
        rates.push(SIZE as f64 / download(&host, "", SIZE).as_secs_f64() / RATE as f64);
    }
    drop(host);
    reader.join().expect("it read");
    assert!(rates.last().is_some_and(|rate| *rate >= 0.85), "{rates:?} of the limit");
}

#[test]
fn a_limit_holds_for_its_own_application_only() {
    let mut host = Host::start(&[("/slow", 0), ("/", 1)], &settings());
    set(&host, 0, limited(None, Some(50_000)));
    flood(&mut host, 0, Interface::Wsgi);
    flood(&mut host, 1, Interface::Wsgi);
    let mut slow: Vec<_> = (0..4).map(|_| connect(&host)).collect();
    for stream in &mut slow {
        request(stream, "GET /slow/400000 HTTP/1.1");
    }
    host.snapshot_when(|snapshot| snapshot.apps[0].held_back_out > Duration::ZERO);
    for _ in 0..100 {
        download(&host, "", 1000);
    }
    download(&host, "", 50_000_000);
    // They take 32 s.
    let apps = host.snapshot().apps;
    assert_eq!((apps[0].in_flight, apps[1].requests), (4, 101));
    assert_eq!(apps[1].held_back_out, Duration::ZERO);
}

#[test]
fn a_limit_changes_in_place_for_who_waits_already() {
    let mut host = Host::start(&[("/", 0)], &limited(None, Some(20_000)));
    flood(&mut host, 0, Interface::Wsgi);
    let mut stream = connect(&host);
    request(&mut stream, &format!("GET /{SIZE} HTTP/1.1"));
    host.snapshot_when(|snapshot| snapshot.apps[0].held_back_out > Duration::ZERO);
    // Two minutes at the old rate.
    set(&host, 0, limited(None, Some(RATE)));
    let began = Instant::now();
    let first = read(&mut stream, SIZE / 2);
    let least = Duration::from_secs_f64((SIZE / 2 - 2 * BURST) as f64 / RATE as f64);
    assert!(began.elapsed() >= least.mul_f64(1.0 - TOLERANCE), "{:?}", began.elapsed());
    set(&host, 0, limited(None, Some(20_000)));
    host.snapshot_when(|snapshot| snapshot.apps[0].held_back_out > Duration::ZERO);
    set(&host, 0, limited(None, None));
    assert!(first + read(&mut stream, SIZE / 2) >= SIZE);
    assert!(began.elapsed() < DEADLINE);
}

#[test]
fn a_deadline_holds_for_an_answer_that_is_held_back() {
    let slow = Settings {
        request_timeout: Some(Duration::from_millis(300)),
        interrupt_grace: Duration::from_millis(100),
        ..limited(None, Some(50_000))
    };
    let mut host = Host::start(&[("/", 0)], &slow);
    flood(&mut host, 0, Interface::Wsgi);
    let mut stream = connect(&host);
    let began = Instant::now();
    request(&mut stream, &format!("GET /{SIZE} HTTP/1.1"));
    let got = read(&mut stream, SIZE);
    // What the worker had sent by then alone takes 10 s.
    assert!(got < 200_000 && began.elapsed() < Duration::from_secs(5), "{got} in {:?}", began.elapsed());
}

#[test]
fn a_worker_is_not_held_by_an_answer_that_is_held_back() {
    let mut host = Host::start(&[("/", 0)], &limited(None, Some(50_000)));
    let mut worker = host.worker(0, 1);
    let mut slow = connect(&host);
    request(&mut slow, "GET /large HTTP/1.1");
    let large = worker.request();
    worker.answer(large.id, 200, &"x".repeat(60_000));
    let mut other = host.get("a", "/small");
    worker.serve("small");
    assert_eq!(other.response().body, "small");
    assert_eq!(host.snapshot().apps[0].in_flight, 1, "the large one is still under way");
    assert!(read(&mut slow, 60_000) == 60_000);
}

/// On a Unix socket, the send buffer alone decides how much a client that does not read is ahead of.
#[test]
fn socket_buffers_follow_the_application() {
    let mut host = Host::start(&[("/small", 0), ("/", 1)], &settings());
    set(&host, 0, Settings { socket_buffers: Some(4096), ..settings() });
    let mut workers = [host.worker(0, 1), host.worker(1, 1)];
    let mut stream = UnixStream::connect(host.unix_address()).expect("the router accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    for (app, path, few) in [(0, "/small", true), (1, "/", false), (0, "/small", true)] {
        let before = host.snapshot().apps[app].bytes_out;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("sent");
        let id = workers[app].request().id;
        const PIECES: usize = 80;
        let length = (PIECES * 1024).to_string();
        let fields = [(&b"content-length"[..], length.as_bytes())];
        let mut out = Vec::new();
        FromWorker::encode_response(&mut out, id, 200, b"", fields.into_iter(), b"", 0);
        workers[app].raw(&out);
        // One piece after another, each written before the next one comes, until no more goes in.
        let mut pieces = 0;
        while pieces < PIECES {
            let written = host.snapshot().apps[app].bytes_out;
            let end = pieces + 1 == PIECES;
            workers[app].say(&FromWorker::Body { id, data: &[b'x'; 1024], end, done: end });
            pieces += 1;
            let until = Instant::now() + Duration::from_millis(300);
            while host.snapshot().apps[app].bytes_out == written && Instant::now() < until {}
            if host.snapshot().apps[app].bytes_out == written {
                break;
            }
        }
        let fitted = host.snapshot().apps[app].bytes_out - before;
        assert_eq!(fitted < 12 * 1024, few, "{fitted} bytes fitted into {path}");
        while pieces < PIECES {
            let end = pieces + 1 == PIECES;
            workers[app].say(&FromWorker::Body { id, data: &[b'x'; 1024], end, done: end });
            pieces += 1;
        }
        let mut seen: Vec<u8> = Vec::new();
        let mut space = [0; 4096];
        while seen.iter().filter(|byte| **byte == b'x').count() < PIECES * 1024 {
            let count = stream.read(&mut space).expect("the answer");
            assert!(count > 0, "closed");
            seen.extend(&space[..count]);
        }
    }
}
