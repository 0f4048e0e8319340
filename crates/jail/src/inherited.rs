//! Sockets that somebody else bound for us (`--bind fd://3`, socket activation).

use std::net::TcpListener;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, sockopt};

/// The descriptor is not a listening TCP socket.
#[derive(Debug, thiserror::Error)]
#[error("file descriptor {fd} is not a listening TCP socket that this program was started with: {why}")]
pub struct NotInherited {
    fd: i32,
    why: String,
}

/// A listening TCP socket that this process was started with. The original stays open, ours is a copy.
///
/// # Errors
/// When there is no such descriptor or it is something else.
pub fn listener_from_fd(fd: i32) -> Result<TcpListener, NotInherited> {
    let wrong = |why: String| NotInherited { fd, why };
    if fd < 0 {
        return Err(wrong("negative number".to_owned()));
    }
    // SAFETY: only borrowed for the duplication below, and a number that is not open yields EBADF there.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let copy: OwnedFd =
        rustix::io::fcntl_dupfd_cloexec(borrowed, 3).map_err(|error| wrong(error.to_string()))?;
    let family = sockopt::socket_domain(&copy).map_err(|error| wrong(error.to_string()))?;
    let is_stream = sockopt::socket_type(&copy).is_ok_and(|kind| kind == SocketType::STREAM);
    let listens = sockopt::socket_acceptconn(&copy).unwrap_or(false);
    if !is_stream || !listens || !matches!(family, AddressFamily::INET | AddressFamily::INET6) {
        return Err(wrong("it is not a listening stream socket of IPv4 or IPv6".to_owned()));
    }
    Ok(TcpListener::from(copy))
}
