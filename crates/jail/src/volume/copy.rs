//! Copy a directory of data into a volume, or out of one, while its application is stopped.
//!
//! Both sides may be a tenant's, so no name is ever followed: every step is one component relative to an open directory with
//! `O_NOFOLLOW`, and what was opened is looked at again. Symbolic links are copied as links, whatever they point to. Another
//! file system mounted inside, devices and sockets are passed over and counted. Contents with their holes, modes, owners
//! and times are kept, and names of one file stay names of one file; extended attributes are not copied.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::error::{Error, io as refused};

/// Levels of directories. Each holds three descriptors while it is copied.
pub(super) const DEEPEST: usize = 200;

/// Files with several names that are remembered; those beyond become copies of their own.
const MOST_LINKED: usize = 100_000;

const BUFFER: usize = 256 << 10;

/// Whose the copies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// As they were.
    Kept,
    /// All of this user and group.
    All(u32, u32),
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    pub files: u64,
    pub directories: u64,
    pub links: u64,
    /// Of contents, holes not counted.
    pub bytes: u64,
    /// Devices, sockets and other file systems' directories, which were passed over.
    pub skipped: u64,
}

/// Copy what is in the directory `source` into the empty directory `target`. Both are the host's own paths.
///
/// # Errors
/// [`Error::DoesNotFit`] before anything is copied if the sum is too large, or when space runs out all the same;
/// [`Error::NotEmpty`]; [`Error::TooDeep`]; else the step that failed with its path. What was copied before stays.
pub fn copy_tree(source: &Path, target: &Path, owners: Owners) -> Result<Copied, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(target, flags, Mode::empty()).map_err(refused("open", target))?;
    copy_into(source, directory.as_fd(), target, owners)
}

pub(super) fn copy_into(
    source: &Path,
    target: BorrowedFd<'_>,
    target_path: &Path,
    owners: Owners,
) -> Result<Copied, Error> {
    let from = open_directory(CWD, source).map_err(refused("open", source))?;
    let present = entries(target).map_err(refused("read", target_path))?;
    if !present.is_empty() {
        return Err(Error::NotEmpty { target: target_path.to_owned() });
    }
    let device = rustix::fs::fstat(&from).map_err(refused("look at", source))?.st_dev;
    let mut copying = Copying {
        source,
        device,
        owners,
        linked: HashMap::new(),
        root: target,
        buffer: vec![0; BUFFER],
        copied: Copied::default(),
    };
    let free = free(target).map_err(refused("look at", target_path))?;
    let needed = copying.measure(from.as_fd(), source, 0, &mut HashSet::new())?;
    let does_not_fit = |needed| Error::DoesNotFit {
        source_path: source.to_owned(),
        target: target_path.to_owned(),
        needed,
        free,
    };
    if needed > free {
        return Err(does_not_fit(needed));
    }
    match copying.directory(from.as_fd(), target, Path::new(""), source, 0) {
        Ok(()) => Ok(copying.copied),
        Err(Error::Io { error, .. })
            if matches!(Errno::from_io_error(&error), Some(Errno::NOSPC | Errno::DQUOT)) =>
        {
            Err(does_not_fit(needed))
        }
        Err(error) => Err(error),
    }
}

struct Copying<'a> {
    source: &'a Path,
    /// The source's file system.
    device: u64,
    owners: Owners,
    /// Files with several names: inode to the first name in the target.
    linked: HashMap<u64, PathBuf>,
    root: BorrowedFd<'a>,
    buffer: Vec<u8>,
    copied: Copied,
}

impl Copying<'_> {
    /// Bytes that the target will need: contents without holes, in blocks of 4 KiB, one block per directory and long link.
    fn measure(
        &self,
        directory: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
        seen: &mut HashSet<u64>,
    ) -> Result<u64, Error> {
        self.check(depth)?;
        let mut sum = 4096;
        for name in entries(directory).map_err(refused("read", path))? {
            let at = || path.join(to_path(&name));
            let stat = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| refused("look at", &at())(error))?;
            match FileType::from_raw_mode(stat.st_mode) {
                _ if stat.st_dev != self.device => {}
                FileType::Directory => {
                    let below =
                        open_directory(directory, &*name).map_err(|error| refused("open", &at())(error))?;
                    sum += self.measure(below.as_fd(), &at(), depth + 1, seen)?;
                }
                FileType::RegularFile if stat.st_nlink > 1 && !seen.insert(stat.st_ino) => {}
                FileType::RegularFile => {
                    let size = stat.st_size.unsigned_abs().next_multiple_of(4096);
                    sum += size.min(stat.st_blocks.unsigned_abs() * 512);
                }
                FileType::Symlink if stat.st_size >= 60 => sum += 4096,
                _ => {}
            }
        }
        Ok(sum)
    }

    fn check(&self, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(Error::TooDeep { source_path: self.source.to_owned(), deepest: DEEPEST });
        }
        Ok(())
    }

    /// Copy what is in a directory. `below` is its path from the target's root, `path` the source's, for words.
    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        below: &Path,
        path: &Path,
        depth: usize,
    ) -> Result<(), Error> {
        self.check(depth)?;
        for name in entries(from).map_err(refused("read", path))? {
            let at = path.join(to_path(&name));
            let stat = rustix::fs::statat(from, &*name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(refused("look at", &at))?;
            if stat.st_dev != self.device {
                self.copied.skipped += 1;
                continue;
            }
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let inner = open_directory(from, &*name).map_err(refused("open", &at))?;
                    let stat = rustix::fs::fstat(&inner).map_err(refused("look at", &at))?;
                    rustix::fs::mkdirat(to, &*name, Mode::RWXU).map_err(refused("make the copy of", &at))?;
                    let copy = open_directory(to, &*name).map_err(refused("open the copy of", &at))?;
                    self.directory(inner.as_fd(), copy.as_fd(), &below.join(to_path(&name)), &at, depth + 1)?;
                    self.dress(copy.as_fd(), &stat).map_err(refused("set the owner of the copy of", &at))?;
                    self.copied.directories += 1;
                }
                FileType::RegularFile => self.file(from, to, &name, below, &at)?,
                FileType::Symlink => {
                    self.link(from, to, &name, &stat).map_err(refused("copy the link", &at))?;
                    self.copied.links += 1;
                }
                FileType::Fifo => {
                    let made = rustix::fs::mknodat(to, &*name, FileType::Fifo, mode(&stat), 0);
                    made.and_then(|()| self.dress_name(to, &name, &stat)).map_err(refused("copy", &at))?;
                    self.copied.files += 1;
                }
                _ => self.copied.skipped += 1,
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        below: &Path,
        at: &Path,
    ) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file =
            File::from(rustix::fs::openat(from, name, flags, Mode::empty()).map_err(refused("open", at))?);
        let stat = rustix::fs::fstat(&file).map_err(refused("look at", at))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            // Exchanged since it was listed.
            self.copied.skipped += 1;
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&stat.st_ino) {
                // Within the target, which nobody else can reach yet.
                return rustix::fs::linkat(self.root, first, to, name, AtFlags::empty())
                    .map_err(refused("link the copy of", at));
            }
            if self.linked.len() < MOST_LINKED {
                self.linked.insert(stat.st_ino, below.join(to_path(name)));
            }
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(refused("make the copy of", at))?;
        self.contents(&file, &copy, stat.st_size.unsigned_abs()).map_err(refused("copy", at))?;
        self.dress(copy.as_fd(), &stat).map_err(refused("set the owner of the copy of", at))?;
        self.copied.files += 1;
        Ok(())
    }

    /// Copy the parts that hold data; holes stay holes. No more than `size` bytes, however the file grows meanwhile.
    fn contents(&mut self, from: &File, to: &File, size: u64) -> std::io::Result<()> {
        rustix::fs::ftruncate(to, size)?;
        let mut position = 0;
        while position < size {
            let start = match rustix::fs::seek(from, SeekFrom::Data(position)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                // A file system that does not know its holes.
                Err(Errno::INVAL) => position,
                Err(error) => return Err(error.into()),
            };
            let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(size).min(size);
            position = start;
            while position < end {
                let want = usize::try_from(end - position).unwrap_or(BUFFER).min(BUFFER);
                let count = from.read_at(&mut self.buffer[..want], position)?;
                if count == 0 {
                    return Ok(());
                }
                to.write_all_at(&self.buffer[..count], position)?;
                position += count as u64;
                self.copied.bytes += count as u64;
            }
        }
        Ok(())
    }

    fn link(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> rustix::io::Result<()> {
        let content = rustix::fs::readlinkat(from, name, Vec::new())?;
        rustix::fs::symlinkat(&*content, to, name)?;
        self.dress_name(to, name, stat)
    }

    fn owner(&self, stat: &Stat) -> (Option<Uid>, Option<Gid>) {
        let (uid, gid) = match self.owners {
            Owners::Kept => (stat.st_uid, stat.st_gid),
            Owners::All(uid, gid) => (uid, gid),
        };
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    /// Owner, mode and times, in this order: changing the owner changes the mode, and the rest would change the times.
    fn dress(&self, copy: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
        let (uid, gid) = self.owner(stat);
        rustix::fs::fchown(copy, uid, gid)?;
        rustix::fs::fchmod(copy, mode(stat))?;
        rustix::fs::futimens(copy, &times(stat))
    }

    fn dress_name(&self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> rustix::io::Result<()> {
        let (uid, gid) = self.owner(stat);
        rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
    }
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn free(directory: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    let stat = rustix::fs::fstatvfs(directory)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

pub(super) fn open_directory<P: rustix::path::Arg>(
    directory: BorrowedFd<'_>,
    name: P,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

pub(super) fn to_path(name: &CStr) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

/// The names in a directory but `.` and `..`.
pub(super) fn entries(directory: impl AsFd) -> rustix::io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}
