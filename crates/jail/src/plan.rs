//! What a jailed process becomes, as data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything [`crate::enter`] needs to know. Can be printed and compared. What is absent costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The interpreter, as an absolute path (as the room shows it, if there is one).
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Set on top of the inherited environment.
    pub environment: Vec<(String, String)>,
    /// Removed from the inherited environment.
    pub without: Vec<String>,
    /// Working directory.
    pub directory: PathBuf,
    /// The supervisor's process id: if it is gone, so are we.
    pub parent: u32,
    /// How many descriptors travel with the plan, those of the room not counted.
    pub descriptors: usize,
    /// `cgroup.procs` files of the control groups to join, of both versions: "0" is written into each, in this order.
    #[serde(default)]
    pub cgroups: Vec<PathBuf>,
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// The process is put into a room, see [`crate::Room`]: [`crate::Handover::send_into`] passes what that needs.
    #[serde(default)]
    pub room: bool,
    /// Whose process it becomes. `None`: the supervisor's own user.
    #[serde(default)]
    pub identity: Option<Identity>,
    #[serde(default)]
    pub confinement: Option<Confinement>,
}

/// One resource limit, soft and hard alike (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    pub resource: Resource,
    /// In the resource's own unit; `None` is no limit.
    pub most: Option<u64>,
}

/// What a process can be limited in by itself, whatever its control groups say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// One more than the highest descriptor.
    OpenFiles,
    /// Bytes of a core file. 0 writes none, but only 1 keeps the kernel from starting a program that the machine has set up to
    /// take them (core(5); kernel: `fs/coredump.c`).
    CoreSize,
    /// Processes and threads of the same user, wherever they are.
    Processes,
    /// Bytes of any one file.
    FileSize,
    /// Bytes that may not be swapped out.
    LockedMemory,
    /// Bytes in POSIX message queues of the user.
    MessageQueues,
    /// Queued signals of the user.
    PendingSignals,
}

/// A user, by numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups: these and no others.
    pub groups: Vec<u32>,
}

/// What the process gives up for good. That programs it starts gain nothing (`no_new_privs`) is part of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// All capabilities, from all sets.
    pub capabilities: bool,
    /// Files and connections, by landlock.
    pub access: Option<Access>,
    /// System calls, by seccomp.
    pub system_calls: Option<SystemCalls>,
}

impl Confinement {
    /// All of it, as an isolated application has it: these places to write to besides the private ones of its room.
    #[must_use]
    pub fn strict(writable: impl IntoIterator<Item = PathBuf>, no_tcp: bool) -> Self {
        // What is in /dev is the room's own.
        let private = ["/tmp", "/var/tmp", "/dev"].map(PathBuf::from);
        let writable = private.into_iter().chain(writable).collect();
        Confinement {
            capabilities: true,
            access: Some(Access { writable, no_tcp, scoped: true }),
            system_calls: Some(SystemCalls::Enforce),
        }
    }
}

/// What remains open under landlock: reading and executing everywhere that permissions allow, and this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Files and directories, with everything below, that may be written. What does not exist is skipped.
    pub writable: Vec<PathBuf>,
    /// TCP sockets may neither connect nor bind (Linux 6.7). UDP and Unix sockets are not concerned.
    pub no_tcp: bool,
    /// No signals to and no abstract Unix sockets of processes that are not confined by the same worker (Linux 6.12).
    pub scoped: bool,
}

/// What happens to system calls that are not on the list (`seccomp/`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemCalls {
    /// They fail.
    Enforce,
    /// They work, and the kernel's audit log names them: to learn what an application needs.
    Log,
}

/// The steps in the order in which they are taken. Those that a plan does not ask for are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Receive the plan.
    Receive,
    /// Be killed when the supervisor dies (`PR_SET_PDEATHSIG`).
    DieWithParent,
    /// Join the control groups: before anything else that costs something.
    Cgroups,
    /// Put the passed descriptors in place, and have all others closed by exec.
    Descriptors,
    /// Make namespaces (only where a room is made).
    Namespaces,
    /// Join the namespaces of the room and become the supervisor's child in there.
    Room,
    /// A host name of its own (only where a room is made).
    HostName,
    /// The loopback interface (only where a room is made).
    Loopback,
    /// The view of the file system (only where a room is made).
    View,
    /// A session of its own, so that a terminal's Ctrl-C reaches the supervisor only.
    Session,
    /// Resource limits.
    Limits,
    /// Empty the bounding set, which is possible only before the identity is changed.
    BoundingSet,
    /// Change user and groups.
    Identity,
    /// Give up all capabilities that are left.
    Capabilities,
    /// Change to the application's directory, as the application's user.
    Directory,
    /// Let programs that are started gain nothing.
    NoNewPrivileges,
    /// Landlock.
    Access,
    /// seccomp: last, because it forbids the steps before it.
    SystemCalls,
    /// Replace this program by the interpreter.
    Exec,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {error}", self.doing())]
pub struct Failure {
    pub step: Step,
    /// The operating system's words.
    pub error: String,
    /// The operating system's number, if it was its error.
    #[serde(default)]
    pub errno: Option<i32>,
    /// The path or thing concerned, or empty.
    pub path: String,
}

impl Failure {
    pub(crate) fn new(step: Step, error: &std::io::Error, path: impl Into<String>) -> Self {
        Failure { step, error: error.to_string(), errno: error.raw_os_error(), path: path.into() }
    }

    fn doing(&self) -> String {
        let path = &self.path;
        match self.step {
            Step::Receive => "cannot receive the worker's plan".to_owned(),
            Step::DieWithParent => "cannot tie the worker to its supervisor".to_owned(),
            Step::Cgroups => format!("cannot join the control group {path}"),
            Step::Descriptors => "cannot pass the worker its sockets".to_owned(),
            Step::Namespaces => "cannot make the application's namespaces".to_owned(),
            Step::Room => "cannot enter the application's namespaces".to_owned(),
            Step::HostName => format!("cannot set the application's host name {path}"),
            Step::Loopback => "cannot switch on the application's loopback interface".to_owned(),
            Step::View => format!("cannot make the application's view of the file system: {path}"),
            Step::Session => "cannot start a session".to_owned(),
            Step::Limits => format!("cannot set the resource limit {path}"),
            Step::BoundingSet | Step::Capabilities => "cannot give up capabilities".to_owned(),
            Step::Identity => format!("cannot become user {path}"),
            Step::Directory => format!("cannot enter the application's directory {path}"),
            Step::NoNewPrivileges => "cannot give up gaining privileges".to_owned(),
            Step::Access => format!("cannot restrict access to files by landlock {path}"),
            Step::SystemCalls => "cannot restrict system calls by seccomp".to_owned(),
            Step::Exec => format!("cannot run the interpreter {path}"),
        }
    }
}
