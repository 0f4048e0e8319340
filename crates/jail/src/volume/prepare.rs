//! Bringing a volume to its place, from whatever is there: nothing, an image, a mount, or what a dead host left of one.
//!
//! ```text
//!  image there? --no--> reserve *.new, mkfs, attach, mount, fill, rename --+
//!     | yes                                                                 |
//!  mounted here, writable? --yes--> use it ---------------------------------+--> grow, own the root directory
//!     | no (read-only: unmount)                                             |
//!  ours, and as long as it says? --no--> set aside, make a new one ---------+
//!     | yes                                                                 |
//!  attached elsewhere? --yes--> mount that device here too -----------------+
//!     | no                                                                  |
//!  clean? --no--> e2fsck -p --fails--> set aside, make a new one -----------+
//!     | yes, or repaired                                                    |
//!  attach, mount -----------------------------------------------------------+
//! ```

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::ioctl;

use super::error::{Error, io as refused};
use super::image::{self, Place, Superblock};
use super::loopdev::{BLOCK_SIZE, Identity, LoopDevice};
use super::{Report, Request, Step, copy, mounts, programs, take_away, wait_detached};

/// `EXT4_IOC_RESIZE_FS` (`include/uapi/linux/ext4.h`): grow a mounted file system to a number of blocks.
const EXT4_IOC_RESIZE_FS: ioctl::Opcode = ioctl::opcode::write::<u64>(b'f', 16);

/// A volume on its way.
pub(super) struct Preparation<'a, 'w> {
    pub(super) request: &'a Request<'a>,
    pub(super) place: Place,
    pub(super) mount_point: PathBuf,
    pub(super) size: u64,
    pub(super) report: Report,
    pub(super) watch: &'w mut dyn FnMut(Step),
}

type Mounted = (LoopDevice, OwnedFd);

impl Preparation<'_, '_> {
    pub(super) fn run(&mut self) -> Result<(File, LoopDevice, OwnedFd), Error> {
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
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(mount_point, flags, Mode::empty()).map_err(refused("open", mount_point))
}
