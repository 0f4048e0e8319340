//! An application's own file system, whose size is a limit that the kernel keeps (`disk_space`).
//!
//! A volume is an ext4 file system on a file of the host's state directory, mounted through a loop device:
//!
//! ```text
//!  state/shop.img  (fallocate: all of it reserved, mode 0600, locked)
//!       |  /dev/loopN, detached by the kernel when its last user goes (autoclear)
//!       v
//!  state/shop.data  (ext4: nosuid, nodev, noatime, errors=remount-ro)  --->  ENOSPC in the application, nowhere else
//! ```
//!
//! What this gives: a hard limit of bytes and of files; a journal of its own, so that a neighbour's `fsync` does not commit
//! this application's data with its own; space that is there when it is needed, because it was reserved. What it does not
//! give: the disk below is still one disk, and a flush of the volume is an `fsync` of the file.
//!
//! **Nothing is lost, nothing leaks, wherever the host is killed:**
//! * An image is made under the name `*.new` and renamed when it is complete; `*.new` is removed by the next host.
//! * Loop devices are configured in one call with autoclear, so one without a mount ends with its process.
//! * What a dead host left mounted is recognised by the identity of the file (device and inode) behind the loop device, and
//!   used further. An image is never attached twice: that would destroy it.
//! * The image is locked (`flock`) by the process that uses it and by the programs that it runs on it.
//! * An image that is not ours, or damaged beyond what `e2fsck -p` repairs, is renamed to `*.aside-N`, never deleted.
//!
//! **Trust:** the paths of image and mount point are the host's. What is *in* the volume is the tenant's, hence hostile: only
//! its root directory is touched, by descriptor; no name in it is ever followed.
//!
//! **Reserved space can erode:** the kernel turns some writes of zeros in the volume (ext4 zeroes the rest of partly written
//! extents) into holes in the file. [`Usage::unreserved`] tells, and [`Volume::reserve`], also part of every preparation,
//! takes the space back.
//!
//! An alternative without loop devices, not built: project quotas (ext4 `prjquota`, XFS) on the host's own file system. They
//! cost nothing, but need a mount option or feature on a file system that is not ours, and share its journal.
//!
//! Everything here blocks: milliseconds for a new volume, up to minutes when a damaged one is repaired.

mod copy;
mod error;
mod image;
mod loopdev;
mod mounts;
mod own;
mod prepare;
mod programs;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

pub use copy::{Copied, Owners, copy_tree};
pub use error::Error;
use error::io as refused;
use image::{PAUSE, Place};
use loopdev::{BLOCK_SIZE, LoopDevice};
pub use own::own_tree;
use prepare::Preparation;

/// The least `disk_space`, in bytes: below it the journal and inode tables leave too little.
pub const LEAST: u64 = 16 << 20;

/// How long a volume that is still in use is waited for before it is detached lazily, and how long a loop device may take
/// to be given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a volume shall be.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file; its directory exists and only the host can write to it.
    pub image: &'a Path,
    /// Bytes of the file, of which ext4 takes about 2 % plus its journal (4 to 64 MiB). Rounded down to 4 KiB.
    pub size: u64,
    /// Where it is mounted; the directory is made if it is not there, its parent exists.
    pub mount_point: &'a Path,
    /// Who owns the root directory (mode 0700).
    pub owner: (u32, u32),
    /// Only when the volume is made new: what is copied into it before it gets its name. All of it or no volume.
    pub fill: Option<(&'a Path, Owners)>,
}

/// What has just been done, in order; some are left out when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The space of a new image is reserved.
    Reserved,
    /// A file system is made on it.
    Formatted,
    /// A file system that was not taken away in order is repaired.
    Repaired,
    /// The image is a loop device.
    Attached,
    /// It is mounted.
    Mounted,
    /// The data is copied into it.
    Filled,
    /// The new image has its name.
    Named,
    /// The file system has grown.
    Grown,
}

/// What else happened. To be logged: a volume set aside means that the application starts without its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The image was made new.
    pub created: bool,
    /// It was mounted already and is used as it is.
    pub taken_over: bool,
    /// It was repaired (or its journal replayed).
    pub repaired: bool,
    /// It has grown from this many bytes.
    pub grown_from: Option<u64>,
    /// It has less than it should, because it is in use and this kernel grows only what is not mounted (no
    /// `CAP_SYS_RESOURCE`): it will grow when it is prepared with the application stopped. Bytes that it has.
    pub behind: Option<u64>,
    /// An image that could not be used was renamed to this, because of that.
    pub set_aside: Option<(PathBuf, String)>,
    /// What was copied into a new volume.
    pub copied: Option<Copied>,
    /// Whether the loop device passes the host's page cache (it does where the file system below allows it).
    pub direct_io: bool,
}

/// A mounted volume. Dropping it leaves it mounted: see [`Volume::release`].
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    mount_point: PathBuf,
    /// The image, whose lock is held.
    file: File,
    size: u64,
    loop_number: u32,
    /// Device number of the mounted file system.
    device: u64,
    report: Report,
}

/// How full a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that files can use in all, and those that are used.
    pub total: u64,
    pub used: u64,
    /// Files that can be made in all, and those that are there.
    pub files_total: u64,
    pub files_used: u64,
    /// The kernel found damage and stopped writing; preparing it anew repairs it.
    pub read_only: bool,
    /// About how many bytes of the image the disk below does not hold ready at the moment; see [`Volume::reserve`].
    pub unreserved: u64,
}

/// How a volume went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Somebody still used it: it has left the directory tree and ends with its last user.
    pub lazily: bool,
    /// The loop device is free again.
    pub detached: bool,
}

/// Whether volumes can be had on this machine.
///
/// # Errors
/// What is missing, and what would make it possible.
pub fn survey() -> Result<(), Error> {
    if let Some(program) = programs::missing().first().copied() {
        return Err(Error::MissingProgram { program });
    }
    LoopDevice::survey()
}

impl Volume {
    /// Make, reopen or take over a volume and mount it: see [`Volume::prepare_with`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn prepare(image: &Path, size: u64, mount_point: &Path, owner: (u32, u32)) -> Result<Self, Error> {
        Self::prepare_with(&Request { image, size, mount_point, owner, fill: None }, &mut |_| {})
    }

    /// As [`Volume::prepare`]; `watch` is told of each step that is done.
    ///
    /// # Errors
    /// See [`Error`]. What was begun is undone as far as it was ours; nothing is deleted that had its name.
    pub fn prepare_with(request: &Request<'_>, watch: &mut dyn FnMut(Step)) -> Result<Self, Error> {
        let size = request.size / BLOCK_SIZE * BLOCK_SIZE;
        if size < LEAST {
            return Err(Error::TooSmall { asked: request.size, least: LEAST });
        }
        let image =
            mounts::resolved(request.image).map_err(refused("find the directory of", request.image))?;
        let mount_point = mounts::resolved(request.mount_point)
            .map_err(refused("find the directory of", request.mount_point))?;
        mounts::ensure_directory(&mount_point).map_err(refused("make the directory", &mount_point))?;
        let place = Place::open(&image)?;
        let mut preparation =
            Preparation { request, place, mount_point, size, report: Report::default(), watch };
        let (file, device, root) = preparation.run()?;
        let Preparation { mount_point, report, .. } = preparation;
        let stat = rustix::fs::fstat(&root).map_err(refused("look at", &mount_point))?;
        Ok(Volume {
            image,
            mount_point,
            file,
            size,
            loop_number: device.number,
            device: stat.st_dev,
            report: Report { direct_io: device.direct_io, ..report },
        })
    }

    /// What happened while it was prepared.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// How full it is. Two system calls.
    ///
    /// # Errors
    /// When it is no longer mounted there.
    pub fn usage(&self) -> Result<Usage, Error> {
        let root = mounts::open_directory(&self.mount_point).map_err(refused("open", &self.mount_point))?;
        let stat = rustix::fs::fstat(&root).map_err(refused("look at", &self.mount_point))?;
        if stat.st_dev != self.device {
            let error = std::io::Error::other("the volume is no longer mounted there");
            return Err(refused("look at", &self.mount_point)(error));
        }
        let space = rustix::fs::fstatvfs(&root).map_err(refused("look at", &self.mount_point))?;
        let image = rustix::fs::fstat(&self.file).map_err(refused("look at", &self.image))?;
        Ok(Usage {
            total: space.f_blocks * space.f_frsize,
            used: space.f_blocks.saturating_sub(space.f_bfree) * space.f_frsize,
            files_total: space.f_files,
            files_used: space.f_files.saturating_sub(space.f_ffree),
            read_only: space.f_flag.contains(StatVfsMountFlags::RDONLY),
            unreserved: self.size.saturating_sub(image.st_blocks.unsigned_abs() * 512),
        })
    }

    /// Take back from the disk below what has eroded of the reserved space.
    ///
    /// # Errors
    /// When the disk is too full for that.
    pub fn reserve(&self) -> Result<(), Error> {
        image::extend(&self.file, &self.image, self.size, self.size)
    }

    /// Unmount it. A volume still in use is waited for ([`PATIENCE`]), then detached lazily: it cannot be seen under its
    /// path any more, and ends with its last user. End the application first.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn release(self) -> Result<Released, Error> {
        let mounted = mounts::mounted_at(&self.mount_point)
            .map_err(refused("read the mounts for", &self.mount_point))?;
        let ours = mounted.and_then(|mount| LoopDevice::by_device(mount.major, mount.minor));
        let lazily = match ours {
            Some(device) if device.number == self.loop_number => {
                drop(device);
                take_away(&self.mount_point)?
            }
            _ => false,
        };
        Ok(Released { lazily, detached: wait_detached(self.loop_number, &self.image) })
    }
}

/// Unmount, lazily after [`PATIENCE`]; true if lazily.
fn take_away(mount_point: &Path) -> Result<bool, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match mounts::unmount(mount_point, false) {
            Ok(()) => return Ok(false),
            // No event tells when it is free.
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(Errno::BUSY) => break,
            Err(error) => return Err(refused("unmount", mount_point)(error)),
        }
    }
    mounts::unmount(mount_point, true).map_err(refused("unmount", mount_point))?;
    Ok(true)
}

/// The kernel detaches a loop device after its last user has gone, on a worker of its own.
fn wait_detached(number: u32, image: &Path) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while loopdev::is_attached(number, image) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}
