//! The probe applications as they are written to disk, under the rules of both interfaces.

#![expect(clippy::unwrap_used, reason = "the whole file is a test")]
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::probe::{Direct, Model};

#[test]
fn both_applications_keep_to_their_interface_and_their_bounds() {
    let directory = tempfile::tempdir().unwrap();
    lab::probe::write(directory.path()).unwrap();
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probe/check.py");
    let output =
        Command::new("python3").args(["-B", "-W", "error", check]).arg(directory.path()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

fn get(direct: &Direct, target: &str) -> String {
    let mut stream = TcpStream::connect(direct.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn direct_servers_hold_as_many_connections_as_their_model() {
    let directory = tempfile::tempdir().unwrap();
    lab::probe::write(directory.path()).unwrap();
    for (model, held, waits) in [
        (Model::Sync(2), 1, false),
        (Model::Sync(2), 2, true),
        (Model::Threads(4), 3, false),
        (Model::Threads(4), 4, true),
        (Model::Async, 20, false),
    ] {
        let direct = Direct::start(directory.path(), model, None).unwrap();
        assert!(
            get(&direct, "/").starts_with("HTTP/1.1 200 ") && get(&direct, "/").ends_with("\r\n\r\nprobe\n")
        );
        assert!(get(&direct, "/cpu?ms=-1").starts_with("HTTP/1.1 400 "));
        assert!(get(&direct, "/big?mb=2").len() > 2 << 20);
        let slow: Vec<TcpStream> = (0..held)
            .map(|_| {
                let mut stream = TcpStream::connect(direct.address()).unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
                stream
            })
            .collect();
        let release = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(slow);
        });
        let start = Instant::now();
        assert!(get(&direct, "/").ends_with("probe\n"));
        assert_eq!(start.elapsed() > Duration::from_millis(200), waits, "{model:?} {held}");
        release.join().unwrap();
        let process = format!("/proc/{}", direct.pid());
        assert!(Path::new(&process).exists());
        drop(direct);
        assert!(!Path::new(&process).exists());
    }
}
