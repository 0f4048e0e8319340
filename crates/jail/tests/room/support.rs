//! A host in a test: starts rooms and processes in them, and waits for what becomes of them.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use jail::{Adopted, Confinement, Failure, Identity, Plan, RoomEvent, RoomPlan, RoomSocket, View};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A test's own binary is what `/proc/self/exe` starts again: it must be able to be a jail, before the test harness reads
/// the arguments.
#[used]
#[unsafe(link_section = ".init_array")]
static MODES: extern "C" fn() = {
    extern "C" fn modes() {
        match std::env::args_os().nth(1) {
            Some(mode) if mode == jail::MODE => std::process::exit(jail::enter()),
            Some(mode) if mode == jail::ROOM_MODE => std::process::exit(jail::enter_room()),
            Some(mode) if mode == HOST_MODE => crate::lifetime::be_a_host(),
            Some(mode) if mode == ALONE_MODE => crate::unprivileged::be_alone(),
            _ => {}
        }
    }
    modes
};

/// First argument of a host of its own, which can be killed.
pub(crate) const HOST_MODE: &str = "__host";

/// First argument of a host without privileges, which tries a room.
pub(crate) const ALONE_MODE: &str = "__alone";

/// For everything that takes milliseconds on a machine with nothing else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Whose processes the tests start in rooms.
pub(crate) const USER: u32 = 61_200;

/// Whether the test can be done; says why not.
pub(crate) fn as_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: rooms need the superuser");
    }
    root
}

pub(crate) fn wait_readable(fd: impl AsFd) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let time =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap(), tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&time)) {
            Ok(0) => panic!("nothing came in {PATIENCE:?}"),
            Ok(_) => return,
            Err(Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// The step that failed, if one did.
pub(crate) fn report_of(mut report: UnixStream) -> Option<Failure> {
    let mut text = Vec::new();
    report.read_to_end(&mut text).unwrap();
    (!text.is_empty()).then(|| serde_json::from_slice(&text).unwrap())
}

/// A room with its holder.
pub(crate) struct Room {
    pub(crate) holder: Adopted,
    pub(crate) socket: RoomSocket,
}

impl Room {
    pub(crate) fn start(plan: &RoomPlan) -> Result<Self, Failure> {
        jail::become_subreaper().unwrap();
        let (mut command, handover) = jail::room_command().unwrap();
        let mut child = command.spawn().unwrap();
        drop(command);
        let (report, socket) = handover.send(plan).unwrap();
        if let Some(failure) = report_of(report) {
            child.wait().unwrap();
            return Err(failure);
        }
        wait_readable(&socket);
        let Ok(Some(RoomEvent::Ready(holder))) = socket.receive() else { panic!("the room is not ready") };
        assert_eq!(child.wait().unwrap().code(), Some(0));
        Ok(Room { holder, socket })
    }

    /// With the usual things in it.
    pub(crate) fn usual() -> Self {
        Room::start(&room_plan()).unwrap()
    }

    pub(crate) fn event(&self) -> Option<RoomEvent> {
        wait_readable(&self.socket);
        self.socket.receive().unwrap()
    }
}

pub(crate) fn room_plan() -> RoomPlan {
    RoomPlan {
        parent: std::process::id(),
        cgroups: Vec::new(),
        host_name: "app".to_owned(),
        network: true,
        view: View {
            hidden: vec!["/root".into()],
            visible: vec![prefix()],
            writable: Vec::new(),
            temporary: 16 << 20,
            resolv_conf: Some("nameserver 192.0.2.1\n".to_owned()),
        },
    }
}

/// Every Python that the tests know, or the machine's.
pub(crate) fn prefixes() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let own =
        ["3.13.0", "3.12.1", "3.11.7", "3.10.13"].map(|version| home.join(".pyenv/versions").join(version));
    let mut found: Vec<PathBuf> = own.into_iter().filter(|prefix| prefix.is_dir()).collect();
    if found.is_empty() {
        found.push("/usr".into());
    }
    found
}

/// One to try things with.
pub(crate) fn prefix() -> PathBuf {
    prefixes().remove(0)
}

/// A Python process that runs `script`, as an isolated worker would be.
pub(crate) fn plan(script: &str) -> Plan {
    Plan {
        program: prefix().join("bin/python3"),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        directory: "/".into(),
        parent: std::process::id(),
        identity: Some(Identity { uid: USER, gid: USER, groups: Vec::new() }),
        confinement: Some(Confinement { capabilities: true, ..Confinement::default() }),
        ..Plan::default()
    }
}

/// A process in a room and the reading end of its output.
pub(crate) struct Process {
    pub(crate) adopted: Adopted,
    pub(crate) output: File,
}

/// How a process ended, and everything it wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) text: String,
}

impl Process {
    /// Put a process into the room.
    pub(crate) fn start(room: &Room, plan: &Plan) -> Result<Self, Failure> {
        Process::start_with(room, plan, &[])
    }

    pub(crate) fn start_with(room: &Room, plan: &Plan, descriptors: &[OwnedFd]) -> Result<Self, Failure> {
        let plan = Plan { room: true, descriptors: descriptors.len(), ..plan.clone() };
        let (output, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (mut command, handover) = jail::command().unwrap();
        command.stdout(Stdio::from(theirs.try_clone().unwrap())).stderr(Stdio::from(theirs));
        let mut child = command.spawn().unwrap();
        drop(command);
        let (report, birth) = handover.send_into(&room.holder, &plan, descriptors).unwrap();
        wait_readable(&birth);
        let (word, pid) = jail::receive_birth(&birth).unwrap();
        if word.is_empty() {
            child.wait().unwrap();
            return Err(report_of(report).unwrap());
        }
        let adopted = Adopted::new(pid.unwrap()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        match report_of(report) {
            Some(failure) => {
                wait_readable(&adopted);
                adopted.try_wait().unwrap().unwrap();
                Err(failure)
            }
            None => Ok(Process { adopted, output: output.into() }),
        }
    }

    /// Wait until it has written a line, which is returned without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.output.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.extend_from_slice(&byte);
        }
        String::from_utf8(line).unwrap()
    }

    pub(crate) fn end(mut self) -> Outcome {
        wait_readable(&self.adopted);
        let status = self.adopted.try_wait().unwrap().unwrap();
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        Outcome { code: status.exit_status(), signal: status.terminating_signal(), text }
    }
}

/// Run a script in the room to its end, which must be a good one; what it wrote.
pub(crate) fn run(room: &Room, script: &str) -> String {
    run_plan(room, &plan(script))
}

pub(crate) fn run_plan(room: &Room, plan: &Plan) -> String {
    let outcome = Process::start(room, plan).unwrap().end();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome.text
}

/// Confinement as an isolated application has it, with these places to write to.
pub(crate) fn confined(writable: &[&Path]) -> Confinement {
    Confinement::strict(writable.iter().map(|path| (*path).to_owned()), false)
}
