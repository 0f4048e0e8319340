//! What is mounted where, and mounting a volume there.
//!
//! The list is `/proc/thread-self/mountinfo` (proc_pid_mountinfo(5)). Mounting goes through the newer calls (fsopen(2) and
//! following, Linux 5.2): the file system is complete before it appears anywhere, and it is placed on a descriptor of the
//! mount point, not on a path that could be exchanged meanwhile.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) major: u32,
    pub(super) minor: u32,
    /// The directory of the file system that is mounted.
    pub(super) root: PathBuf,
    pub(super) mount_point: PathBuf,
    /// Of this mount, comma separated.
    pub(super) options: String,
    pub(super) file_system: String,
    pub(super) source: String,
    /// Of the file system, comma separated.
    pub(super) super_options: String,
}

impl Mount {
    /// Whether both the mount and its file system can be written to.
    pub(super) fn is_writable(&self) -> bool {
        let writable = |options: &str| options.split(',').any(|option| option == "rw");
        writable(&self.options) && writable(&self.super_options)
    }

    /// Whether the mount has this option.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }
}

/// What is mounted on `mount_point`: the last one, which is what is seen there.
pub(super) fn mounted_at(mount_point: &Path) -> io::Result<Option<Mount>> {
    let list = std::fs::read("/proc/thread-self/mountinfo")?;
    Ok(parse(&list).into_iter().rfind(|mount| mount.mount_point == mount_point))
}

/// The lines that have the form of proc_pid_mountinfo(5); others are passed over.
pub(super) fn parse(list: &[u8]) -> Vec<Mount> {
    list.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let _id = fields.next()?;
    let _parent = fields.next()?;
    let device = std::str::from_utf8(fields.next()?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let root = path(fields.next()?);
    let mount_point = path(fields.next()?);
    let options = text(fields.next()?);
    // Any number of optional fields, up to a single hyphen.
    fields.by_ref().find(|field| *field == b"-")?;
    Some(Mount {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        root,
        mount_point,
        options,
        file_system: text(fields.next()?),
        source: text(fields.next()?),
        super_options: text(fields.next()?),
    })
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

/// Space, tab, newline and backslash come as three octal digits after a backslash (`mangle` in `fs/proc_namespace.c`).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (first, tail) {
            out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// The directory itself, not what a symbolic link in its last place points to.
pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// An ext4 file system on `device`, mounted on the directory `place`. Returns its root directory.
///
/// Options: no set-user-id programs and no devices (`nosuid`, `nodev`); access times are not kept, they would turn reads
/// into writes of the journal; after an error the volume becomes read-only instead of going on with damage; the kernel does
/// not write inode tables in the background, they are zeros already.
///
/// Not `noexec`: Python runs whatever it reads in any case, and compiled extensions or caches of such (numba) on the volume
/// would fail with words that name no cause. A sandbox that wants it sets it on its own view.
pub(super) fn mount(device: &Path, place: impl AsFd) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let result = (|| {
        rustix::mount::fsconfig_set_string(context.as_fd(), "source", device)?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "errors", "remount-ro")?;
        rustix::mount::fsconfig_set_flag(context.as_fd(), "noinit_itable")?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOATIME;
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    })();
    let tree = result.map_err(|error: rustix::io::Errno| with_words(&context, error.into()))?;
    let root = rustix::fs::openat(
        &tree,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree.as_fd(), "", place.as_fd(), "", flags)?;
    Ok(root)
}

/// The kernel leaves sentences about a failed mount on the context, each read separately.
fn with_words(context: &OwnedFd, error: io::Error) -> io::Error {
    let mut buffer = [0; 1024];
    match rustix::io::read(context, &mut buffer) {
        Ok(count) => {
            let words = String::from_utf8_lossy(&buffer[..count]);
            io::Error::new(error.kind(), format!("{error} ({})", words.trim_start_matches("e ").trim_end()))
        }
        Err(_) => error,
    }
}

/// Take away what is mounted on `mount_point`. With `lazily` it leaves the directory tree at once and ends when its last
/// user does.
pub(super) fn unmount(mount_point: &Path, lazily: bool) -> rustix::io::Result<()> {
    let flags = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    rustix::mount::unmount(mount_point, flags | UnmountFlags::NOFOLLOW)
}

/// `path` with its directories resolved, as mountinfo names it; its last part is taken as it is.
pub(super) fn resolved(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(parent.canonicalize()?.join(name))
}

/// Make the directory if it is not there.
pub(super) fn ensure_directory(path: &Path) -> io::Result<()> {
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_the_manual_is_understood() {
        let line =
            b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n";
        let [mount] = &parse(line)[..] else { panic!("one line") };
        assert_eq!((mount.major, mount.minor), (98, 0));
        assert_eq!(mount.mount_point, Path::new("/mnt 2"));
        assert_eq!((mount.file_system.as_str(), mount.source.as_str()), ("ext3", "/dev/root"));
        assert!(mount.is_writable() && mount.has("noatime"));
    }

    #[test]
    fn a_file_system_that_turned_read_only_is_seen() {
        let line = b"36 35 7:0 / /data rw,nosuid - ext4 /dev/loop0 ro";
        assert!(!parse(line)[0].is_writable());
    }

    #[test]
    fn the_kernels_own_list_is_understood_to_the_last_line() {
        let list = std::fs::read("/proc/thread-self/mountinfo").unwrap();
        let lines = list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        assert_eq!(parse(&list).len(), lines);
        assert!(mounted_at(Path::new("/")).unwrap().is_some());
    }

    fn escape(name: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in name {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' => out.extend(format!("\\{byte:03o}").bytes()),
                _ => out.push(*byte),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_mount_point_survives_the_kernels_escaping(name in proptest::collection::vec(1..=255_u8, 1..40)) {
            let mut line = b"1 2 7:3 / /".to_vec();
            line.extend(escape(&name));
            line.extend(b" rw - ext4 /dev/loop3 rw\n");
            let found = parse(&line);
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(&found[0].mount_point.as_os_str().as_bytes()[1..], &name[..]);
        }
    }
}
