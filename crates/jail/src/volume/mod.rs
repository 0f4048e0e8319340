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
mod programs;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Gid, Mode, StatVfsMountFlags, Uid};
use rustix::io::Errno;
use rustix::ioctl;

pub use copy::{Copied, Owners, copy_tree};
pub use error::Error;
use error::io as refused;
use image::{PAUSE, Place, Superblock};
use loopdev::{BLOCK_SIZE, Identity, LoopDevice};
pub use own::own_tree;

/// The least `disk_space`, in bytes: below it the journal and inode tables leave too little.
pub const LEAST: u64 = 16 << 20;

/// How long a volume that is still in use is waited for before it is detached lazily, and how long a loop device may take
/// to be given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// `EXT4_IOC_RESIZE_FS` (`include/uapi/linux/ext4.h`): grow a mounted file system to a number of blocks.
const EXT4_IOC_RESIZE_FS: ioctl::Opcode = ioctl::opcode::write::<u64>(b'f', 16);

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

/// A volume on its way.
struct Preparation<'a, 'w> {
    request: &'a Request<'a>,
    place: Place,
    mount_point: PathBuf,
    size: u64,
    report: Report,
    watch: &'w mut dyn FnMut(Step),
}

type Mounted = (LoopDevice, OwnedFd);

impl Preparation<'_, '_> {
    fn run(&mut self) -> Result<(File, LoopDevice, OwnedFd), Error> {
        let existing = self.place.existing()?;
        self.clear_leftovers()?;
        let reopened = match existing {
            Some(file) => self.reopen(&file)?.map(|mounted| (file, mounted)),
            None => None,
        };
        let (file, mounted) = match reopened {
            Some(opened) => opened,
            None => self.create()?,
        };
        match self.grow(&file, mounted).and_then(|mounted| self.own(mounted)) {
            Ok((device, root)) => Ok((file, device, root)),
            Err(error) => {
                if !self.report.taken_over {
                    // The error that stopped us is the one to tell.
                    let _ = take_away(&self.mount_point);
                }
                Err(error)
            }
        }
    }

    /// What a host that died while it made an image has left: mounted or not, it is nobody's.
    fn clear_leftovers(&mut self) -> Result<(), Error> {
        if let Some(leftover) = self.place.leftover()? {
            let identity = self.identity(&leftover)?;
            if self
                .on_mount_point()?
                .is_some_and(|(_, device)| device.is_some_and(|it| it.backing == identity))
            {
                take_away(&self.mount_point)?;
            }
            self.place.remove_unfinished()?;
        }
        Ok(())
    }

    /// What is mounted where the volume belongs, and the loop device below it if it is one.
    fn on_mount_point(&self) -> Result<Option<(mounts::Mount, Option<LoopDevice>)>, Error> {
        let mount = mounts::mounted_at(&self.mount_point)
            .map_err(refused("read the mounts for", &self.mount_point))?;
        Ok(mount.map(|mount| {
            let device = LoopDevice::by_device(mount.major, mount.minor);
            (mount, device)
        }))
    }

    fn identity(&self, file: &File) -> Result<Identity, Error> {
        let stat = rustix::fs::fstat(file).map_err(refused("look at", &self.place.path))?;
        Ok(Identity::of(&stat))
    }

    /// Bring an image that is there to its place. None: it cannot be used and was set aside.
    fn reopen(&mut self, file: &File) -> Result<Option<Mounted>, Error> {
        let identity = self.identity(file)?;
        if let Some((mount, device)) = self.on_mount_point()? {
            match device.filter(|device| device.backing == identity) {
                Some(device) if mount.is_writable() && mount.has("nosuid") && mount.has("nodev") => {
                    let root = open_root(&self.mount_point)?;
                    self.report.taken_over = true;
                    return Ok(Some((device, root)));
                }
                // Read-only after an error: it is repaired below.
                Some(device) => {
                    drop(device);
                    take_away(&self.mount_point)?;
                }
                None => return Err(self.occupied(&mount)),
            }
        }
        let attached = self.attached_elsewhere(identity)?;
        let state = image::superblock(file).map_err(refused("read the volume", &self.place.path))?;
        let length =
            rustix::fs::fstat(file).map_err(refused("look at", &self.place.path))?.st_size.unsigned_abs();
        let superblock = match state {
            Ok(superblock) if superblock.size <= length => superblock,
            Ok(_) => return self.set_aside("the file is shorter than the file system on it").map(|()| None),
            Err(why) => return self.set_aside(why).map(|()| None),
        };
        // In use by processes that hold another view of it: the kernel has one file system for both.
        if let Some(device) = attached {
            let root = self.mount(&device)?;
            return Ok(Some((device, root)));
        }
        if !superblock.clean && !self.repair(file)? {
            return self.set_aside("it is damaged, and e2fsck -p cannot repair it").map(|()| None);
        }
        match self.attach_and_mount(file, &self.place.path.clone()) {
            // Damage that the superblock did not tell of.
            Err(Error::Io { doing: "mount the volume on", error, .. }) if !self.report.repaired => {
                self.attached_elsewhere(identity)?;
                if !self.repair(file)? {
                    let why = format!("it cannot be mounted ({error}), and e2fsck -p cannot repair it");
                    return self.set_aside(&why).map(|()| None);
                }
                self.attach_and_mount(file, &self.place.path.clone()).map(Some)
            }
            outcome => outcome.map(Some),
        }
    }

    /// The device that the image is attached to although it is not mounted here: one that is just going is waited for.
    fn attached_elsewhere(&self, identity: Identity) -> Result<Option<LoopDevice>, Error> {
        let find =
            || LoopDevice::find(identity).map_err(refused("look for the loop device of", &self.place.path));
        let Some(device) = find()? else { return Ok(None) };
        let number = device.number;
        drop(device);
        if wait_detached(number, &self.place.path) { Ok(None) } else { find() }
    }

    fn repair(&mut self, file: &File) -> Result<bool, Error> {
        let repaired = programs::repair(&self.place.path, file)?;
        self.report.repaired = repaired;
        if repaired {
            (self.watch)(Step::Repaired);
        }
        Ok(repaired)
    }

    fn set_aside(&mut self, why: &str) -> Result<(), Error> {
        let path = self.place.set_aside()?;
        self.report.set_aside = Some((path, why.to_owned()));
        Ok(())
    }

    fn occupied(&self, mount: &mounts::Mount) -> Error {
        let by = format!("{} ({})", mount.source, mount.file_system);
        Error::Occupied { mount_point: self.mount_point.clone(), by }
    }

    fn create(&mut self) -> Result<(File, Mounted), Error> {
        if let Some((mount, _)) = self.on_mount_point()? {
            return Err(self.occupied(&mount));
        }
        let (_, unfinished) = self.place.unfinished();
        let created = self.create_unfinished(&unfinished);
        if created.is_err() {
            // The error that stopped us is the one to tell.
            if matches!(self.on_mount_point(), Ok(Some(_))) {
                let _ = take_away(&self.mount_point);
            }
            let _ = self.place.remove_unfinished();
        }
        created
    }

    fn create_unfinished(&mut self, unfinished: &Path) -> Result<(File, Mounted), Error> {
        let file = self.place.reserve(self.size)?;
        (self.watch)(Step::Reserved);
        programs::make(unfinished, &file, self.size, self.request.owner)?;
        (self.watch)(Step::Formatted);
        let (device, root) = self.attach_and_mount(&file, unfinished)?;
        // Made by mkfs, empty. `e2fsck` makes it again should it ever need it.
        let _ = rustix::fs::unlinkat(&root, "lost+found", AtFlags::REMOVEDIR);
        if let Some((source, owners)) = self.request.fill {
            let copied = copy::copy_into(source, root.as_fd(), &self.mount_point, owners)?;
            rustix::fs::syncfs(&root).map_err(refused("write out", &self.mount_point))?;
            self.report.copied = Some(copied);
            (self.watch)(Step::Filled);
        }
        self.place.finish(&file)?;
        self.report.created = true;
        (self.watch)(Step::Named);
        Ok((file, (device, root)))
    }

    fn attach_and_mount(&mut self, file: &File, name: &Path) -> Result<Mounted, Error> {
        let device = LoopDevice::attach(file, name)?;
        (self.watch)(Step::Attached);
        let root = self.mount(&device)?;
        Ok((device, root))
    }

    fn mount(&mut self, device: &LoopDevice) -> Result<OwnedFd, Error> {
        let place = mounts::open_directory(&self.mount_point).map_err(refused("open", &self.mount_point))?;
        let root = mounts::mount(&device.path(), &place).map_err(|error| match error.raw_os_error() {
            Some(1 | 13) => {
                Error::Impossible { why: format!("mounting is refused ({error}): this needs root") }
            }
            Some(19) => Error::Impossible { why: "the kernel has no ext4".to_owned() },
            _ => refused("mount the volume on", &self.mount_point)(error),
        })?;
        (self.watch)(Step::Mounted);
        Ok(root)
    }

    /// Bring file, device and file system to the size asked for, whichever of them is behind.
    fn grow(&mut self, file: &File, (device, root): Mounted) -> Result<Mounted, Error> {
        let path = self.place.path.clone();
        let length = rustix::fs::fstat(file).map_err(refused("look at", &path))?.st_size.unsigned_abs();
        // Through the device: what the mounted file system has written there need not be in the file yet.
        let Superblock { size: has, .. } = image::superblock(device.file())
            .and_then(|state| state.map_err(std::io::Error::other))
            .map_err(refused("read the volume", &path))?;
        if self.size < has {
            return Err(Error::Smaller { image: path, has, asked: self.size });
        }
        // Also when nothing grows: a restored or eroded image gets its space back.
        if !self.report.created {
            image::extend(file, &path, length, self.size)?;
        }
        if has == self.size {
            return Ok((device, root));
        }
        device.grow().map_err(refused("grow the loop device of", &path))?;
        let blocks = self.size / BLOCK_SIZE;
        // SAFETY: EXT4_IOC_RESIZE_FS reads one u64, the number of blocks.
        let grown = unsafe { ioctl::ioctl(&root, ioctl::Setter::<EXT4_IOC_RESIZE_FS, u64>::new(blocks)) };
        let mounted = match grown {
            Ok(()) => (device, root),
            Err(Errno::PERM) => match self.grow_unmounted(file, (device, root))? {
                (mounted, true) => mounted,
                (mounted, false) => {
                    self.report.behind = Some(has);
                    return Ok(mounted);
                }
            },
            Err(error) => return Err(refused("grow the file system of", &path)(error)),
        };
        self.report.grown_from = Some(has);
        (self.watch)(Step::Grown);
        Ok(mounted)
    }

    /// The kernel grows a mounted file system only for whom it lets exceed resource limits (`CAP_SYS_RESOURCE`), which
    /// containers withhold also from root. Unmounted, `resize2fs` does it. False: it is in use and stays as it is.
    fn grow_unmounted(&mut self, file: &File, (device, root): Mounted) -> Result<(Mounted, bool), Error> {
        let (number, path) = (device.number, self.place.path.clone());
        // Both would keep it in use.
        drop((device, root));
        match mounts::unmount(&self.mount_point, false) {
            Ok(()) => {}
            Err(Errno::BUSY) => return Ok(((self.device_of(file)?, open_root(&self.mount_point)?), false)),
            Err(error) => return Err(refused("unmount", &self.mount_point)(error)),
        }
        if !wait_detached(number, &path) {
            let device = self.device_of(file)?;
            let root = self.mount(&device)?;
            return Ok(((device, root), false));
        }
        // Not beyond the size asked for: what is behind the file system is nobody's.
        rustix::fs::ftruncate(file, self.size).map_err(refused("set the length of", &path))?;
        programs::grow(&path, file)?;
        Ok((self.attach_and_mount(file, &path)?, true))
    }

    /// The device that the image is attached to.
    fn device_of(&self, file: &File) -> Result<LoopDevice, Error> {
        let path = &self.place.path;
        let device =
            LoopDevice::find(self.identity(file)?).map_err(refused("look for the loop device of", path))?;
        device.ok_or_else(|| refused("find the loop device of", path)(Errno::NXIO))
    }

    /// The root directory is the application's, and nobody else looks into it.
    fn own(&self, (device, root): Mounted) -> Result<Mounted, Error> {
        let (uid, gid) = self.request.owner;
        rustix::fs::fchown(&root, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .and_then(|()| rustix::fs::fchmod(&root, Mode::RWXU))
            .map_err(refused("give the application", &self.mount_point))?;
        Ok((device, root))
    }
}

/// The root directory of what is mounted there.
fn open_root(mount_point: &Path) -> Result<OwnedFd, Error> {
    use rustix::fs::OFlags;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(mount_point, flags, Mode::empty()).map_err(refused("open", mount_point))
}
