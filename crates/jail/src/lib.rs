//! The step between the supervisor and Python.
//!
//! A multi-threaded program must not run code between fork and exec, so a worker is started in two stages (as
//! Firecracker's jailer and runc do): [`command`] starts this same program again in jail mode, which is single-threaded and
//! free to do what it likes; [`enter`] receives the [`Plan`] there, prepares the process step by step, and execs the
//! interpreter. The plan is data, sent over an inherited socket together with the descriptors that the worker needs; a
//! step that fails is reported by name over the same socket, which closes by itself when exec succeeds.
//!
//! ```text
//!  supervisor --spawn--> /proc/self/exe jail --plan, descriptors--> steps --exec--> python
//!       ^                                                             |
//!       +------------------ "step X failed: errno" or end of file ----+
//! ```
//!
//! What is not asked for costs nothing: a shared application's plan is a few files of control groups and a few limits. An
//! isolated one has, in the order in which it meets them (the order of the steps is [`Step`]'s):
//!
//! * a room (`room/`): namespaces and a view of the files, held by a small process of ours;
//! * a user of its own (`identity.rs`) without capabilities (`steps.rs`);
//! * landlock (`landlock.rs`), which holds where the view has a mistake, and without privileges;
//! * a list of system calls (`seccomp/`), so that it meets as little of the kernel as possible.
//!
//! What this kernel has of it is [`Landlock::here`], [`has_seccomp`], and whether a room can be made; a step that is asked for
//! and fails ends the start, except that landlock leaves out what the kernel is too old for.
//!
//! Workers that a template process forks are not started here, but become our children all the same: see `adopt.rs`; in
//! a room they are its holder's, which reports them: see `room/`.
//!
//! It knows nothing of HTTP or Python.

mod adopt;
pub mod cgroup;
mod enter;
pub mod identity;
mod inherited;
mod inject;
mod landlock;
pub mod machine;
pub mod network;
mod plan;
mod room;
mod seccomp;
mod spawn;
mod steps;
pub mod volume;

pub use adopt::{Adopted, become_subreaper, birth_pair, children, reap_orphan, receive_birth};
pub use enter::enter;
pub use inherited::{Inherited, NotInherited, listener_from_fd};
pub use landlock::Landlock;
pub use plan::{Access, Confinement, Failure, Identity, Limit, Plan, Resource, Step, SystemCalls};
pub use room::{
    Ended, ROOM_MODE, RoomEvent, RoomHandover, RoomPlan, RoomSocket, View, Wards, Whose, enter_room,
    room_command,
};
pub use seccomp::has_seccomp;
pub use spawn::{Handover, command, kill_group, send_with_descriptors};

/// First argument of this program in jail mode. Not part of the command line for people.
pub const MODE: &str = "__jail";

/// The descriptors that [`Handover::send`] passes appear in the worker under these numbers, in order.
pub const FIRST_FD: i32 = 3;
