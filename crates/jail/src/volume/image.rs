//! The file a volume lives on: reserving it, knowing whether it is one of ours, setting it aside when it is not.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::{Error, io as refused};
use super::loopdev::BLOCK_SIZE;
use super::programs::LABEL;

/// While a program repairs the image for a host that died, its lock is held: so long we wait.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Names tried for an image that is set aside.
const MOST_ASIDE: u32 = 1000;

/// Between two looks at something the kernel announces by no event.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// The directory and the name of an image. All its files are reached through the open directory.
pub(super) struct Place {
    pub(super) path: PathBuf,
    directory: OwnedFd,
    name: OsString,
}

impl Place {
    pub(super) fn open(image: &Path) -> Result<Self, Error> {
        let parent = image.parent().unwrap_or(Path::new("/"));
        let name = image.file_name().unwrap_or_default().to_owned();
        let directory =
            rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(refused("open the directory", parent))?;
        Ok(Place { path: image.to_owned(), directory, name })
    }

    /// Where the image is made before it gets its name: an image with its name is complete.
    pub(super) fn unfinished(&self) -> (OsString, PathBuf) {
        let mut name = self.name.clone();
        name.push(".new");
        let path = self.path.with_file_name(&name);
        (name, path)
    }

    /// The image, locked, if there is one.
    pub(super) fn existing(&self) -> Result<Option<File>, Error> {
        self.open_locked(&self.name, &self.path)
    }

    /// What a host that died left of an image it was making, locked.
    pub(super) fn leftover(&self) -> Result<Option<File>, Error> {
        let (name, path) = self.unfinished();
        self.open_locked(&name, &path)
    }

    fn open_locked(&self, name: &OsStr, path: &Path) -> Result<Option<File>, Error> {
        // Not blocking: a FIFO in its place must not stop us.
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(refused("open the volume", path)(error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(refused("look at the volume", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let error = io::Error::other("it is not a regular file");
            return Err(refused("use as a volume", path)(error));
        }
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR).map_err(refused("set the mode of", path))?;
        lock(&file, path)?;
        Ok(Some(file))
    }

    /// A new file under the unfinished name, locked, with its space reserved.
    pub(super) fn reserve(&self, size: u64) -> Result<File, Error> {
        let (name, path) = self.unfinished();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.directory, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(refused("create the volume", &path))?;
        let file = File::from(file);
        lock(&file, &path)?;
        extend(&file, &self.path, 0, size)?;
        Ok(file)
    }

    /// Give the finished image its name; from now on it survives a loss of power.
    pub(super) fn finish(&self, file: &File) -> Result<(), Error> {
        let (name, path) = self.unfinished();
        file.sync_all().map_err(refused("write out the volume", &path))?;
        rustix::fs::renameat_with(
            &self.directory,
            &name,
            &self.directory,
            &self.name,
            RenameFlags::NOREPLACE,
        )
        .map_err(refused("give the volume its name", &self.path))?;
        rustix::fs::fsync(&self.directory).map_err(refused("write out the directory of", &self.path))
    }

    pub(super) fn remove_unfinished(&self) -> Result<(), Error> {
        let (name, path) = self.unfinished();
        match rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(refused("remove the unfinished volume", &path)(error)),
        }
    }

    /// Rename what is in the image's place, so that a new one can be made and a person can look at the old one.
    pub(super) fn set_aside(&self) -> Result<PathBuf, Error> {
        for number in 1..=MOST_ASIDE {
            let mut name = self.name.clone();
            name.push(format!(".aside-{number}"));
            match rustix::fs::renameat_with(
                &self.directory,
                &self.name,
                &self.directory,
                &name,
                RenameFlags::NOREPLACE,
            ) {
                Ok(()) => return Ok(self.path.with_file_name(name)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(refused("set aside the volume", &self.path)(error)),
            }
        }
        let error = io::Error::other(format!("{MOST_ASIDE} of them are there already"));
        Err(refused("set aside the volume", &self.path)(error))
    }
}

/// The lock belongs to whoever uses the image, and to the programs it runs on it.
fn lock(file: &File, path: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(Error::InUse { image: path.to_owned() }),
            Err(error) => return Err(refused("lock the volume", path)(error)),
        }
    }
}

/// Reserve the file's space up to `size`, of which it has `has` already. `image` is for the words.
pub(super) fn extend(file: &File, image: &Path, has: u64, size: u64) -> Result<(), Error> {
    let free = || {
        rustix::fs::fstatvfs(file)
            .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
            .map_err(refused("ask for the free space around", image))
    };
    let missing = size.saturating_sub(has);
    let no_space = |free| Error::NoSpace { image: image.to_owned(), size, missing, free };
    let before = free()?;
    if missing > before {
        return Err(no_space(before));
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(Errno::NOSPC | Errno::DQUOT) => Err(no_space(free()?)),
        Err(Errno::OPNOTSUPP) => Err(Error::Impossible {
            why: format!("the file system of {} cannot reserve space (fallocate)", image.display()),
        }),
        Err(error) => Err(refused("reserve the space of", image)(error)),
    }
}

/// What of an ext4 superblock matters here (`Documentation/filesystems/ext4/super.rst`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    /// Size of the file system in bytes.
    pub(super) size: u64,
    /// Taken away in order: no journal to replay, no errors noted.
    pub(super) clean: bool,
}

/// The superblock of a file or device, or why it is none of ours.
pub(super) fn superblock(file: &File) -> io::Result<Result<Superblock, &'static str>> {
    let mut bytes = [0; 1024];
    match file.read_exact_at(&mut bytes, 1024) {
        Ok(()) => Ok(parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err("it is too short")),
        Err(error) => Err(error),
    }
}

fn parse(bytes: &[u8; 1024]) -> Result<Superblock, &'static str> {
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if u16_at(0x38) != 0xef53 {
        return Err("there is no ext4 file system on it");
    }
    let label = bytes[0x78..0x88].split(|byte| *byte == 0).next().unwrap_or_default();
    if label != LABEL.as_bytes() {
        return Err("its file system was not made by this program");
    }
    if u32_at(0x18) != 2 {
        return Err("its blocks have an unexpected size");
    }
    let (state, incompatible) = (u16_at(0x3a), u32_at(0x60));
    let high = if incompatible & 0x80 == 0 { 0 } else { u64::from(u32_at(0x150)) };
    let blocks = high << 32 | u64::from(u32_at(0x4));
    Ok(Superblock {
        size: blocks.checked_mul(BLOCK_SIZE).ok_or("its size is nonsense")?,
        clean: state & 0b11 == 1 && incompatible & 0x4 == 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good() -> [u8; 1024] {
        let mut bytes = [0; 1024];
        bytes[0x4..0x8].copy_from_slice(&16384_u32.to_le_bytes());
        bytes[0x18] = 2;
        bytes[0x38..0x3a].copy_from_slice(&0xef53_u16.to_le_bytes());
        bytes[0x3a] = 1;
        bytes[0x78..0x88].copy_from_slice(LABEL.as_bytes());
        bytes
    }

    #[test]
    fn our_own_superblock_is_known_and_its_state() {
        assert_eq!(parse(&good()), Ok(Superblock { size: 64 << 20, clean: true }));
        let mut to_replay = good();
        to_replay[0x60] = 0x4;
        assert!(!parse(&to_replay).unwrap().clean);
        let mut with_errors = good();
        with_errors[0x3a] = 3;
        assert!(!parse(&with_errors).unwrap().clean);
    }

    #[test]
    fn what_is_not_ours_is_named() {
        let mut labelled = good();
        labelled[0x78] = b'X';
        assert_eq!(parse(&labelled), Err("its file system was not made by this program"));
        assert_eq!(parse(&[0; 1024]), Err("there is no ext4 file system on it"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(at in 0..1024_usize, value: u8, rest: u8) {
            let mut bytes = good();
            bytes[at] = value;
            let _ = parse(&bytes);
            let _ = parse(&[rest; 1024]);
        }
    }
}
