//! Beginnings and ends: of processes in rooms, of rooms, of hosts.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jail::RoomEvent;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::support::{HOST_MODE, Outcome, PATIENCE, Process, Room, as_root, plan, wait_readable};

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
    let deadline = Instant::now() + PATIENCE;
    while std::path::Path::new(&format!("/proc/{}", ended.pid)).exists() {
        assert!(Instant::now() < deadline, "never reaped");
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

/// What a template does to fork a worker (`crates/worker/src/template.rs`), in a room.
#[test]
fn the_host_learns_of_what_a_template_forked() {
    if !as_root() {
        return;
    }
    let room = Room::usual();
    let script = "import ctypes, os, socket, sys
birth = socket.socket(fileno=3)
r, w = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.close(w)
        os.read(r, 1)
        ctypes.CDLL(None).prctl(1, 9)
        if os.getppid() == 1: birth.send(b'+')
        sys.stdin.read()
        os.abort()
    os._exit(0)
os.wait()
os.close(w)
os.execv('/bin/sleep', ['sleep', '600'])";
    let (birth, theirs) = jail::birth_pair().unwrap();
    let template = Process::start_with(&room, &plan(script), &[theirs]).unwrap();
    wait_readable(&birth);
    let (word, pid) = jail::receive_birth(&birth).unwrap();
    assert_eq!(word, b"+");
    let pid = pid.unwrap();
    assert!(jail::Adopted::new(pid).is_err(), "it is the room's child, not the host's");
    let Some(RoomEvent::Ended(ended)) = room.event() else { panic!("not an end") };
    assert_eq!((ended.pid, ended.code, ended.signal), (pid, None, Some(6)));
    room.socket.reap(ended).unwrap();
    jail::kill_group(template.adopted.pid());
    assert_eq!(template.end().signal, Some(9));
}

/// A host with one room and one worker, until it is killed. Never returns.
#[expect(clippy::zombie_processes, reason = "it is killed, and its children with it")]
pub(crate) fn be_a_host() -> ! {
    let mut out = std::io::stdout();
    writeln!(out, "{}", std::process::id()).unwrap();
    let room = Room::usual();
    let script = "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(600)\nprint('up', flush=True); time.sleep(600)";
    let mut worker = Process::start(&room, &plan(script)).unwrap();
    assert_eq!(worker.line(), "up");
    // And one outside, of another user: changing that loosens the tie to the parent.
    let (mut command, handover) = jail::command().unwrap();
    let child = command.spawn().unwrap();
    drop(command);
    let sleep = jail::Plan { program: "/bin/sleep".into(), arguments: vec!["600".to_owned()], ..plan("") };
    let report = handover.send(&sleep, &[]).unwrap();
    assert_eq!(crate::support::report_of(report), None);
    writeln!(out, "{} {} {}", room.holder.pid(), worker.adopted.pid(), child.id()).unwrap();
    loop {
        std::thread::park();
    }
}

/// A host in a process of its own, and a word that everything it starts has in its environment.
fn host(mark: &str) -> std::process::Child {
    let mut command = Command::new("/proc/self/exe");
    command.arg(HOST_MODE).env("SERPENTRY_TEST_MARK", mark).stdout(Stdio::piped()).spawn().unwrap()
}

/// Ends what a test that fails would leave behind.
struct Marked(String);

impl Drop for Marked {
    fn drop(&mut self) {
        for pid in marked(&self.0) {
            let pid = pid.parse().ok().and_then(Pid::from_raw);
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
}

/// Processes with the mark that are not zombies.
fn marked(mark: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let pids =
        std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let wanted = format!("SERPENTRY_TEST_MARK={mark}");
    pids.filter(|pid| *pid != own && pid.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        })
        .collect()
}

#[test]
fn nothing_outlives_a_host_that_is_killed() {
    if !as_root() {
        return;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mark = format!("{}-ready", std::process::id());
    let _end = Marked(mark.clone());
    let mut host = host(&mark);
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let line = lines.next().unwrap().unwrap();
    assert_eq!(marked(&mark).len(), 5, "the host, the holder, two workers and what one of them started");
    let watched: Vec<OwnedFd> = line
        .split(' ')
        .map(|pid| pidfd_open(Pid::from_raw(pid.parse().unwrap()).unwrap(), PidfdFlags::empty()).unwrap())
        .collect();
    let killed = Instant::now();
    host.kill().unwrap();
    watched.iter().for_each(wait_readable);
    let took = killed.elapsed();
    host.wait().unwrap();
    println!("all gone after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    await_none(&mark);
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
}

/// At any moment of the start: what has begun ends, too.
#[test]
fn nothing_outlives_a_host_that_is_killed_on_its_way() {
    if !as_root() {
        return;
    }
    for step in 0..30 {
        let mark = format!("{}-{step}", std::process::id());
        let _end = Marked(mark.clone());
        let mut host = host(&mark);
        BufReader::new(host.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        // Not waiting for anything: each round hits another moment.
        std::thread::sleep(Duration::from_micros(step * 700));
        host.kill().unwrap();
        host.wait().unwrap();
        await_none(&mark);
    }
}

fn await_none(mark: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = marked(mark);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{left:?} live on");
        std::thread::yield_now();
    }
}
