//! Integration tests over real processes: what cannot be seen from a client's side of HTTP (that is `tests/blackbox`).
//!
//! Each test starts the development program as a user would, from a command line, and looks at its output, its processes
//! and its files. They run one at a time (`TestContext` sees to it), wait for events with a deadline and never for mere
//! time, and end every process they started by its id.

#![expect(clippy::unwrap_used, reason = "the whole binary is a test")]

mod access_log;
mod check;
mod command_line;
mod context;
mod control;
mod doctor;
mod drill;
mod embedded;
mod http;
mod incidents;
mod init;
mod interpreters;
mod jail;
mod laboratory;
mod listening;
mod load;
mod logs;
mod plan;
mod preload;
mod program;
mod rogue;
mod signals;
