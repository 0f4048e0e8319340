//! Sockets that somebody else bound for us (`--bind fd://3`, socket activation).

use std::net::TcpListener;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::net::{AddressFamily, SocketType, sockopt};

/// The descriptor is not a listening socket.
#[derive(Debug, thiserror::Error)]
#[error("file descriptor {fd} is not a listening socket that this program was started with: {why}")]
pub struct NotInherited {
    fd: i32,
    why: String,
}

/// A listening socket that this process was started with.
#[derive(Debug)]
pub enum Inherited {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The listening socket with this number. The original stays open, ours is a copy.
///
/// # Errors
/// When there is no such descriptor or it is something else.
pub fn listener_from_fd(fd: i32) -> Result<Inherited, NotInherited> {
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
    match family {
        AddressFamily::INET | AddressFamily::INET6 if is_stream && listens => Ok(Inherited::Tcp(copy.into())),
        AddressFamily::UNIX if is_stream && listens => Ok(Inherited::Unix(copy.into())),
        _ => Err(wrong("it is not a listening stream socket of IPv4, IPv6 or Unix".to_owned())),
    }
}
