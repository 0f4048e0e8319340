//! How long a start takes: a plain process, a room, a process in a room, and a confined one in it, interleaved.
//!
//! `cargo run --release -p jail --example start [PROGRAM]` as root. Median and range of 30 rounds in milliseconds, from the
//! decision to the end of file that says that the program runs (for a room: that it is ready). Then what memory a room costs.

#![expect(clippy::unwrap_used, reason = "a measurement, not a part of the program")]

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use jail::{
    Access, Adopted, Confinement, Identity, Plan, RoomEvent, RoomPlan, RoomSocket, SystemCalls, View,
};
use rustix::event::{PollFd, PollFlags, poll};

const ROUNDS: usize = 30;

fn main() {
    match std::env::args_os().nth(1) {
        Some(mode) if mode == jail::MODE => std::process::exit(jail::enter()),
        Some(mode) if mode == jail::ROOM_MODE => std::process::exit(jail::enter_room()),
        _ => {}
    }
    jail::become_subreaper().unwrap();
    let program = std::env::args().nth(1).unwrap_or_else(|| "/bin/true".to_owned());
    let plain = Plan {
        program: program.into(),
        directory: "/".into(),
        parent: std::process::id(),
        ..Plan::default()
    };
    let roomy = Plan { room: true, ..plain.clone() };
    let somebody = Identity { uid: 61_200, gid: 61_200, groups: Vec::new() };
    let mut view = View { hidden: vec!["/var/log".into()], temporary: 64 << 20, ..View::default() };
    // As a host does it with an interpreter in somebody's home.
    if let Some(barrier) = jail::identity::barrier(&plain.program, &somebody).unwrap() {
        view.hidden.push(barrier);
        let real = plain.program.canonicalize().unwrap();
        view.visible.push(real.ancestors().nth(2).unwrap().to_owned());
    }
    let confined = Plan {
        identity: Some(somebody),
        confinement: Some(Confinement {
            capabilities: true,
            access: Some(Access {
                writable: ["/tmp", "/var/tmp", "/dev"].map(Into::into).to_vec(),
                no_tcp: false,
                scoped: true,
            }),
            system_calls: Some(SystemCalls::Enforce),
        }),
        ..roomy.clone()
    };
    let (mut outside, mut rooms, mut inside, mut closed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        outside.push(start_outside(&plain));
        let began = Instant::now();
        let (holder, _socket) = start_room(&view);
        rooms.push(began.elapsed());
        inside.push(start_inside(&holder, &roomy));
        closed.push(start_inside(&holder, &confined));
    }
    for (what, mut times) in
        [("plain", outside), ("room", rooms), ("in a room", inside), ("in a room, confined", closed)]
    {
        times.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (low, high) = (ms(times[0]), ms(times[ROUNDS - 1]));
        println!("{what:20} {:6.2} ms ({low:.2} to {high:.2})", ms(times[ROUNDS / 2]));
    }
    let (holder, _socket) = start_room(&view);
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", holder.pid())).unwrap();
    let line = |name: &str| smaps.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    println!("a room's holder: {}, {}", line("Rss"), line("Private_Dirty"));
}

fn start_outside(plan: &Plan) -> Duration {
    let began = Instant::now();
    let (mut command, handover) = jail::command().unwrap();
    let mut child = command.spawn().unwrap();
    drop(command);
    let report = handover.send(plan, &[]).unwrap();
    succeeded(report);
    let took = began.elapsed();
    child.wait().unwrap();
    took
}

fn start_inside(holder: &Adopted, plan: &Plan) -> Duration {
    let began = Instant::now();
    let (mut command, handover) = jail::command().unwrap();
    let mut child = command.spawn().unwrap();
    drop(command);
    let (report, birth) = handover.send_into(holder, plan, &[]).unwrap();
    wait(&birth);
    let (_, pid) = jail::receive_birth(&birth).unwrap();
    let adopted = Adopted::new(pid.unwrap()).unwrap();
    succeeded(report);
    let took = began.elapsed();
    child.wait().unwrap();
    wait(&adopted);
    adopted.try_wait().unwrap();
    took
}

fn start_room(view: &View) -> (Adopted, RoomSocket) {
    let plan = RoomPlan {
        parent: std::process::id(),
        host_name: "app".to_owned(),
        network: true,
        view: view.clone(),
        ..RoomPlan::default()
    };
    let (mut command, handover) = jail::room_command().unwrap();
    let mut child = command.spawn().unwrap();
    drop(command);
    let (report, socket) = handover.send(&plan).unwrap();
    succeeded(report);
    wait(&socket);
    child.wait().unwrap();
    match socket.receive().unwrap() {
        Some(RoomEvent::Ready(holder)) => (holder, socket),
        other => panic!("{other:?}"),
    }
}

fn succeeded(mut report: UnixStream) {
    let mut text = String::new();
    report.read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
}

fn wait(fd: impl std::os::fd::AsFd) {
    poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)], None).unwrap();
}
