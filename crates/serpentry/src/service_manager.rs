//! The protocol of service managers: sockets passed on (sd_listen_fds(3)), the watchdog (sd_watchdog_enabled(3)) and messages
//! (sd_notify(3)). Everything is in the environment; without it there is no service manager and nothing is done.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The first descriptor that is passed on: `SD_LISTEN_FDS_START`.
const FIRST: i32 = 3;

/// More sockets than anybody passes on.
const MOST: i32 = 1024;

/// The numbers of the sockets that were passed to this process.
pub(crate) fn passed() -> impl Iterator<Item = i32> {
    let count = if is_for_us("LISTEN_PID") { number::<i32>("LISTEN_FDS").unwrap_or(0) } else { 0 };
    FIRST..FIRST + count.clamp(0, MOST)
}

/// How often at least the service manager wants to hear that we live.
pub(crate) fn watchdog() -> Option<Duration> {
    // Without a process id it is for whoever reads it.
    let ours = env::var_os("WATCHDOG_PID").is_none() || is_for_us("WATCHDOG_PID");
    let microseconds = number("WATCHDOG_USEC").filter(|time| *time > 0 && ours)?;
    Some(Duration::from_micros(microseconds))
}

/// Send lines like `READY=1`.
///
/// # Errors
/// When there is a service manager and it cannot be reached.
pub(crate) fn tell(lines: &[&str]) -> io::Result<()> {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return Ok(()) };
    // "@name" is a socket of the abstract namespace (unix(7)).
    let address = match socket.as_encoded_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(lines.join("\n").as_bytes(), &address)?;
    Ok(())
}

/// The time of `RELOADING=1` on the clock that the service manager uses.
pub(crate) fn monotonic() -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    format!("MONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)
}

fn is_for_us(variable: &str) -> bool {
    number(variable) == Some(std::process::id())
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    env::var(variable).ok()?.parse().ok()
}
