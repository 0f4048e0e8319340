//! Which system calls an isolated application may make (seccomp(2), kernel: userspace-api/seccomp_filter).
//!
//! What is what is data, in `table.rs`; `program.rs` makes a filter program of it, and here it is put into force. The rules:
//!
//! * A list of what is allowed, not of what is forbidden: what the kernel learns tomorrow is closed until somebody has
//!   looked at it.
//! * What is not on it fails with ENOSYS, as on a kernel that does not have it, because libraries handle that: the C library
//!   tries `clone3` first, and falls back to `clone`, whose flags a filter can read.
//! * What is forbidden on purpose fails with EPERM, as for any user without privileges. Nothing is killed: one call that was
//!   forgotten must not end a worker.
//! * Other system call conventions of the same processor (x32, 32 bits) do not exist.

mod program;
mod table;

use std::io;

use crate::plan::SystemCalls;

/// From here on only what the table allows; in this thread, the only one, and all that come from it. Needs
/// `no_new_privs`.
///
/// # Errors
/// When the kernel has no seccomp filters.
pub(crate) fn restrict(how: SystemCalls) -> io::Result<()> {
    let program = program::compile(how);
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let whole = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which outlives the call and has the length that is given, and changes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const whole) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel can filter system calls.
#[must_use]
pub fn has_seccomp() -> bool {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: asks whether an action is known; reads the four bytes of `action` (seccomp(2), SECCOMP_GET_ACTION_AVAIL).
    let result = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) };
    result == 0
}

/// `SECCOMP_GET_ACTION_AVAIL`, Linux 4.14.
const GET_ACTION_AVAIL: libc::c_uint = 2;
