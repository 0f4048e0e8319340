//! The few mount operations that a view is made of, each with the error of the path concerned; and what to do on kernels
//! before 5.12, which cannot change the attributes of a whole tree at once (mount_setattr(2)).

use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, mount_remount, move_mount,
    open_tree, unmount,
};

use crate::plan::{Failure, Step};

/// What every mount of a view is. Read-only comes to it.
pub(super) const TAME: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// For `map_err`.
pub(super) fn at<E: Into<io::Error>>(path: impl AsRef<Path>) -> impl FnOnce(E) -> Failure {
    move |error| Failure::new(Step::View, &error.into(), path.as_ref().display().to_string())
}

/// A new file system of a kind that needs no device.
pub(super) fn mount_new(kind: &CStr, path: &Path, flags: MountFlags, options: &str) -> Result<(), Failure> {
    let options = std::ffi::CString::new(options).map_err(at(path))?;
    mount(kind, path, kind, flags, options.as_c_str()).map_err(at(path))
}

pub(super) fn bind(from: &Path, to: &Path) -> Result<(), Failure> {
    mount_bind(from, to).map_err(at(to))?;
    mount_remount(to, MountFlags::BIND | MountFlags::RDONLY | TAME, c"").map_err(at(to))
}

/// A copy of everything mounted at and below the path, which is nowhere yet.
pub(super) fn copy_tree(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags)
}

pub(super) fn attach(tree: impl AsFd, path: &Path) -> Result<(), Failure> {
    move_mount(tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(at(path))
}

/// Take everything away that is mounted below the path, and at it if `itself`.
pub(super) fn clear(path: &Path, itself: bool) -> Result<(), Failure> {
    for point in mount_points().map_err(at("/proc/self/mountinfo"))?.iter().rev() {
        if point.starts_with(path) && (itself || point != path) {
            match unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                // It went with one that it was below; or, in a user namespace, it can be covered only, and may be out of reach.
                Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::ACCESS) => {}
                Err(error) => return Err(at(point)(error)),
            }
        }
    }
    Ok(())
}

/// Where something is mounted, in the order in which it was (proc_pid_mountinfo(5)).
pub(super) fn mount_points() -> io::Result<Vec<PathBuf>> {
    let list = std::fs::read("/proc/self/mountinfo")?;
    let points = list.split(|byte| *byte == b'\n').filter_map(|line| {
        let point = line.split(|byte| *byte == b' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(unescape(point))))
    });
    Ok(points.collect())
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                rest = &after[3..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

/// `struct mount_attr` (mount_setattr(2)).
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// `MOUNT_ATTR_RDONLY`
const READ_ONLY: u64 = 1;
/// `MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV`
const NO_SUID_NO_DEVICES: u64 = 2 | 4;

fn set_attributes(tree: BorrowedFd<'_>, further: libc::c_int, set: u64, clear: u64) -> io::Result<()> {
    let attributes = Attributes { set, clear, propagation: 0, user_namespace: 0 };
    // SAFETY: the path is a C string and the structure has the size that is given; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | further,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn path_only(path: &Path) -> Result<OwnedFd, Failure> {
    use rustix::fs::{Mode, OFlags, open};
    open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(at(path))
}

/// Make all that is mounted read-only, for this namespace, and set-user-id bits and devices without effect.
pub(super) fn seal_everything() -> Result<(), Failure> {
    let root = path_only(Path::new("/"))?;
    match set_attributes(root.as_fd(), libc::AT_RECURSIVE, READ_ONLY | NO_SUID_NO_DEVICES, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
        other => return other.map_err(at("/")),
    }
    for point in mount_points().map_err(at("/proc/self/mountinfo"))? {
        let flags = MountFlags::BIND | MountFlags::RDONLY | TAME | kept(&point);
        match mount_remount(&point, flags, c"") {
            // Below something that was mounted over it later, where nobody gets.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => {}
            Err(error) => return Err(at(&point)(error)),
        }
    }
    Ok(())
}

/// What a remount in the old way would take away from what is mounted at the path.
fn kept(path: &Path) -> MountFlags {
    match rustix::fs::statvfs(path) {
        Ok(now) if now.f_flag.contains(StatVfsMountFlags::NOEXEC) => MountFlags::NOEXEC,
        _ => MountFlags::empty(),
    }
}

/// Allow writing to what is mounted at the path, as far as its file system does; not to what is mounted below.
pub(super) fn unseal(path: &Path) -> Result<(), Failure> {
    let tree = path_only(path)?;
    match set_attributes(tree.as_fd(), 0, 0, READ_ONLY) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            mount_remount(path, MountFlags::BIND | TAME | kept(path), c"").map_err(at(path))
        }
        other => other.map_err(at(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_the_list_are_escaped() {
        assert_eq!(unescape(br"/a\040b\134c"), br"/a b\c");
        assert_eq!(unescape(br"/a\04"), br"/a\04");
        assert_eq!(unescape(br"/\999"), br"/\999");
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(mount_points().unwrap().iter().any(|point| point == Path::new("/")));
    }
}
