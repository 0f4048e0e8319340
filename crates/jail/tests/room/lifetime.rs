//! Beginnings and ends: of processes in rooms, of rooms, of hosts.

use jail::RoomEvent;

use crate::support::{Outcome, Process, Room, as_root, plan, wait_readable};

#[test]
fn the_host_sees_each_end_exactly() {
    if !as_root() {
        return;
    }
    let room = Room::usual();
    let end = |script: &str| {
        let Outcome { code, signal, .. } = Process::start(&room, &plan(script)).unwrap().end();
        (code, signal)
    };
    assert_eq!(end("raise SystemExit(0)"), (Some(0), None));
    assert_eq!(end("raise SystemExit(137)"), (Some(137), None));
    assert_eq!(end("import os; os.abort()"), (None, Some(6)));
    assert_eq!(end("import os; os.kill(os.getpid(), 9)"), (None, Some(9)));
    assert_eq!(end("import os; os.kill(os.getpid(), 15)"), (None, Some(15)));
    assert_eq!(end("import ctypes; ctypes.string_at(0)"), (None, Some(11)));
}

#[test]
fn orphans_fall_to_the_room() {
    if !as_root() {
        return;
    }
    let room = Room::usual();
    // The grandchild outlives its parent and reports who its new one is.
    let script = "import os, time
r, w = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.read(r, 1)
        while os.getppid() != 1: time.sleep(0.001)
        os._exit(42)
    os._exit(0)
os.wait()
os.write(w, b'.')
print('done', flush=True)
os._exit(3)";
    let process = Process::start(&room, &plan(script)).unwrap();
    let Some(RoomEvent::Ended(ended)) = room.event() else { panic!("not an end") };
    assert_eq!((ended.code, ended.signal), (Some(42), None));
    let status = std::fs::read_to_string(format!("/proc/{}/status", ended.pid)).unwrap();
    assert!(status.contains("State:\tZ"), "its pid is its own until it is reaped: {status}");
    room.socket.reap(ended).unwrap();
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while std::path::Path::new(&format!("/proc/{}", ended.pid)).exists() {
        assert!(std::time::Instant::now() < deadline, "never reaped");
        std::thread::yield_now();
    }
    assert_eq!(process.end().code, Some(3));
}

#[test]
fn closing_the_socket_ends_everything_in_the_room() {
    if !as_root() {
        return;
    }
    let Room { holder, socket } = Room::usual();
    let room = Room { holder, socket };
    let mut process =
        Process::start(&room, &plan("import time; print('up', flush=True); time.sleep(600)")).unwrap();
    assert_eq!(process.line(), "up");
    let Room { holder, socket } = room;
    drop(socket);
    let Outcome { code, signal, .. } = process.end();
    assert_eq!((code, signal), (None, Some(9)));
    wait_readable(&holder);
    assert!(holder.try_wait().unwrap().is_some());
}
