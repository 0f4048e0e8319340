//! Files and connections by landlock (kernel: userspace-api/landlock): a second fence, which needs no privileges and no
//! namespaces, and which a mistake in the view does not open.
//!
//! Three system calls and bits that came with versions of the interface. What the kernel is too old for is left out; what
//! that means is [`Landlock::of`], for whoever must know. Not used: the version that denies all renaming between
//! directories (1, before Linux 5.19), because replacing files that way is what careful programs do.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::plan::Access;

/// What landlock can do on this kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Landlock {
    /// Of the interface, as the kernel says; 0 when it has none or it is switched off.
    pub version: u32,
    /// Files are restricted.
    pub files: bool,
    /// TCP can be restricted (Linux 6.7).
    pub tcp: bool,
    /// Signals and abstract sockets can be restricted (Linux 6.12).
    pub scopes: bool,
}

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// Everywhere.
const READ: u64 = EXECUTE | READ_FILE | READ_DIR;

/// Those that make sense for a file that is no directory.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// Binding and connecting.
const TCP: u64 = 1 | 2;

/// Abstract Unix sockets and signals.
const SCOPES: u64 = 1 | 2;

impl Landlock {
    /// What this kernel has.
    #[must_use]
    pub fn here() -> Self {
        // SAFETY: with this flag and no attributes the call only says the version.
        let version = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                std::ptr::null::<Ruleset>(),
                0_usize,
                CREATE_RULESET_VERSION,
            )
        };
        Landlock::of(u32::try_from(version).unwrap_or(0))
    }

    /// What a version can do.
    #[must_use]
    pub fn of(version: u32) -> Self {
        Landlock { version, files: version >= 2, tcp: version >= 4, scopes: version >= 6 }
    }

    /// Every access to files that this version knows.
    fn file_accesses(self) -> u64 {
        match self.version {
            0 | 1 => 0,
            2 => (1 << 14) - 1,
            3 | 4 => (1 << 15) - 1,
            _ => (1 << 16) - 1,
        }
    }
}

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: libc::c_int = 1;

/// `struct landlock_ruleset_attr`; a kernel that knows fewer fields wants the others zero.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// Allow this and nothing else, in this thread, the only one, and all that come from it. Needs `no_new_privs`. Where the
/// kernel has no landlock, nothing happens.
///
/// # Errors
/// With the path concerned.
pub(crate) fn restrict(access: &Access) -> Result<(), (io::Error, String)> {
    let here = Landlock::here();
    let handled = Ruleset {
        files: here.file_accesses(),
        network: if here.tcp && access.no_tcp { TCP } else { 0 },
        scoped: if here.scopes && access.scoped { SCOPES } else { 0 },
    };
    if handled.files == 0 {
        return Ok(());
    }
    let nowhere = |error| (error, String::new());
    let rules = create(&handled).map_err(nowhere)?;
    allow(&rules, Path::new("/"), READ).map_err(|error| (error, "/".to_owned()))?;
    for path in &access.writable {
        match allow(&rules, path, handled.files) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err((error, path.display().to_string()));
            }
            _ => {}
        }
    }
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0_u32) };
    check(result).map(drop).map_err(nowhere)
}

fn create(handled: &Ruleset) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads the structure, whose size is given and which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::from_ref(handled),
            size_of::<Ruleset>(),
            0_u32,
        )
    };
    let number = i32::try_from(check(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn allow(rules: &OwnedFd, path: &Path, accesses: u64) -> io::Result<()> {
    let place = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
    let allowed = if place.metadata()?.is_dir() { accesses } else { accesses & OF_FILES };
    let rule = Beneath { allowed, parent: place.as_raw_fd() };
    // SAFETY: the kernel reads the structure that belongs to this kind of rule; it and the descriptor outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    };
    check(result).map(drop)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_bring_what_they_are_said_to() {
        let able = |version| {
            let Landlock { files, tcp, scopes, .. } = Landlock::of(version);
            (files, tcp, scopes)
        };
        assert_eq!(
            [0, 1, 2, 3].map(able),
            [(false, false, false), (false, false, false), (true, false, false), (true, false, false)]
        );
        assert_eq!(
            [4, 5, 6, 99].map(able),
            [(true, true, false), (true, true, false), (true, true, true), (true, true, true)]
        );
        assert_eq!(Landlock::of(2).file_accesses() & (TRUNCATE | IOCTL_DEV), 0);
        assert_eq!(Landlock::of(3).file_accesses() & (TRUNCATE | IOCTL_DEV), TRUNCATE);
        assert_eq!(Landlock::of(7).file_accesses(), 0xFFFF);
    }
}
