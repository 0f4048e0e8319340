//! Switches of single interfaces, below `/proc/sys/net`. The calling thread's namespace is meant, whatever the process's.

use std::io;
use std::path::PathBuf;

/// `name` may be an interface or `all`. The kernel lets no interface have a slash in its name, or be called `..`.
fn path(family: &str, name: &str, switch: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/{family}/conf/{name}/{switch}"))
}

/// Whether the kernel forwards IPv4 packets that come in through the interface; `all`: whether somebody has switched it on
/// for all at once (`net.ipv4.ip_forward`).
pub(super) fn forwards(name: &str) -> io::Result<bool> {
    Ok(std::fs::read_to_string(path("ipv4", name, "forwarding"))?.trim() != "0")
}

pub(super) fn set_forwarding(name: &str, on: bool) -> io::Result<()> {
    std::fs::write(path("ipv4", name, "forwarding"), if on { "1" } else { "0" })
}

/// What our own end of a wire to an application is: it forwards, believes only the application's address as a source
/// (strict reverse path, RFC 3704), sends and takes no redirects, and has no IPv6.
pub(super) fn settle(name: &str) -> io::Result<()> {
    for (switch, value) in [("rp_filter", "1"), ("send_redirects", "0"), ("accept_redirects", "0")] {
        std::fs::write(path("ipv4", name, switch), value)?;
    }
    without_ipv6(name)?;
    set_forwarding(name, true)
}

/// Not even link-local addresses. A kernel without IPv6 has none anyway.
pub(super) fn without_ipv6(name: &str) -> io::Result<()> {
    match std::fs::write(path("ipv6", name, "disable_ipv6"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
