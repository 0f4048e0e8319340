//! SIGTERM becomes an event of the steward.
//!
//! Python only runs signal handlers between bytecodes of the main thread, which may be busy or stuck for
//! long. So SIGTERM gets a C handler that writes to an eventfd. An application that installs its own handler
//! replaces ours, as with any host. Other signals keep Python's defaults; boot.py makes SIGINT harmless.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{EventfdFlags, eventfd};

static TERMINATE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_terminate(_signal: libc::c_int) {
    let one = 1_u64;
    #[expect(unsafe_code, reason = "a signal handler may only make bare system calls")]
    // SAFETY: write(2) is async-signal-safe, `one` outlives the call and the descriptor is never closed.
    unsafe {
        libc::write(TERMINATE.load(Ordering::Relaxed), (&raw const one).cast(), 8);
    }
}

/// Install the handler; the result becomes readable when SIGTERM arrives.
///
/// # Errors
/// When the kernel has no descriptor left.
pub(crate) fn terminate_fd() -> std::io::Result<OwnedFd> {
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    TERMINATE.store(fd.as_raw_fd(), Ordering::Relaxed);
    let handler: extern "C" fn(libc::c_int) = on_terminate;
    #[expect(unsafe_code, reason = "there is no safe interface to signal handlers")]
    // SAFETY: the handler only calls write(2); an all-zero sigaction is valid (empty mask) before the two
    // fields are set.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        if libc::sigaction(libc::SIGTERM, &raw const action, std::ptr::null_mut()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(fd)
}
