//! Loop devices: a file as a block device (loop(4)).
//!
//! A device is attached with `LOOP_CONFIGURE` (Linux 5.8), which sets file, block size and flags at once, so there is no
//! moment in which it exists half configured. `LO_FLAGS_AUTOCLEAR` makes the kernel detach it when the last descriptor and
//! the last mount are gone: whatever happens to this process, no device leaks.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, NoArg, Opcode};

use super::error::{Error, io as refused};

/// Others take free devices too, between our asking for one and taking it: this many times we ask again.
const MOST_RACES: usize = 64;

/// The volume's block size: ext4's here, and large enough for direct I/O on any disk.
pub(super) const BLOCK_SIZE: u64 = 4096;

const CONTROL: &str = "/dev/loop-control";
const LOOP_SET_CAPACITY: Opcode = 0x4c07;
const LOOP_GET_STATUS64: Opcode = 0x4c05;
const LOOP_CONFIGURE: Opcode = 0x4c0a;
const LOOP_CTL_GET_FREE: Opcode = 0x4c82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
const NAME_SIZE: usize = 64;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; NAME_SIZE],
    crypt_name: [u8; NAME_SIZE],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const EMPTY: Info = Info {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; NAME_SIZE],
    crypt_name: [0; NAME_SIZE],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// Asks `loop-control` for a free number, which is the call's return value.
struct GetFree;

// SAFETY: the call takes no argument and answers with its return value, which is all that is read.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<u32> {
        u32::try_from(out).map_err(|_| Errno::RANGE)
    }
}

/// A file, as the kernel knows it whatever its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        Identity { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// An attached loop device, held open.
#[derive(Debug)]
pub(super) struct LoopDevice {
    file: File,
    pub(super) number: u32,
    pub(super) backing: Identity,
    pub(super) direct_io: bool,
}

impl LoopDevice {
    /// Whether there are loop devices to be had; none is taken.
    pub(super) fn survey() -> Result<(), Error> {
        let control = open_control()?;
        free_number(&control).map(drop)
    }

    /// Attach `image` to a device that is free.
    pub(super) fn attach(image: &File, name: &Path) -> Result<Self, Error> {
        // Opened anew: the device keeps what it is given, and with our own descriptor it would keep its lock after us.
        let again = PathBuf::from(format!("/proc/self/fd/{}", image.as_raw_fd()));
        let image = rustix::fs::open(&again, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map(File::from)
            .map_err(refused("open once more", name))?;
        let control = open_control()?;
        let mut last = Errno::BUSY;
        for _ in 0..MOST_RACES {
            let number = free_number(&control)?;
            let node = node(number);
            let file = match open(&node) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(impossible(format!(
                        "the kernel offers loop device {number}, but there is no {} (a container without it)",
                        node.display()
                    )));
                }
                Err(error) if error.raw_os_error() == Some(6) => continue,
                Err(error) => return Err(refused("open", &node)(error)),
            };
            match configure(&file, &image, name) {
                Ok(()) => return Self::of(file).map_err(refused("read the state of", &node)),
                // Somebody was faster, or its last user is just leaving.
                Err(error @ (Errno::BUSY | Errno::NXIO)) => last = error,
                Err(Errno::INVAL | Errno::NOTTY) => {
                    return Err(impossible("loop devices need Linux 5.8 (LOOP_CONFIGURE)".to_owned()));
                }
                Err(error) => return Err(refused("attach the volume to", &node)(error)),
            }
        }
        Err(refused("find a free loop device through", Path::new(CONTROL))(last))
    }

    /// The device that `image` is attached to already, by whomever.
    pub(super) fn find(image: Identity) -> io::Result<Option<Self>> {
        for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(number) = name.to_str().and_then(|name| name.strip_prefix("loop")?.parse().ok()) else {
                continue;
            };
            // Only attached ones have this directory. Opening the others would be wasted time.
            if !entry.path().join("loop/backing_file").exists() {
                continue;
            }
            let Ok(device) = open(&node(number)).and_then(Self::of) else { continue };
            if device.backing == image {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }

    /// The device with these numbers, when it is an attached loop device.
    pub(super) fn by_device(major: u32, minor: u32) -> Option<Self> {
        // The number is the minor only as long as nobody has set the module's `max_part`.
        let uevent = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")).ok()?;
        let name = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME=loop"))?;
        open(&node(name.parse().ok()?)).and_then(Self::of).ok()
    }

    fn of(file: File) -> io::Result<Self> {
        let info = status(&file)?;
        Ok(LoopDevice {
            file,
            number: info.number,
            backing: Identity { device: info.device, inode: info.inode },
            direct_io: info.flags & LO_FLAGS_DIRECT_IO != 0,
        })
    }

    pub(super) fn path(&self) -> PathBuf {
        node(self.number)
    }

    /// For reading what is on it, the mounted file system's view included.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The file has grown: so shall the device.
    pub(super) fn grow(&self) -> io::Result<()> {
        // SAFETY: LOOP_SET_CAPACITY takes no argument.
        Ok(unsafe { ioctl::ioctl(&self.file, NoArg::<LOOP_SET_CAPACITY>::new()) }?)
    }
}

/// Whether device `number` is still attached to this file. It is not opened for that: a device that is just being given up
/// would be held by it.
pub(super) fn is_attached(number: u32, image: &Path) -> bool {
    std::fs::read_to_string(format!("/sys/block/loop{number}/loop/backing_file"))
        .is_ok_and(|path| Path::new(path.trim_end_matches('\n')) == image)
}

fn open_control() -> Result<File, Error> {
    open(Path::new(CONTROL)).map_err(|error| match error.raw_os_error() {
        Some(2 | 6 | 19) => {
            impossible(format!("{CONTROL} is not there (no loop devices in this container or kernel)"))
        }
        Some(1 | 13) => impossible(format!("{CONTROL} may not be opened ({error}): this needs root")),
        _ => refused("open", Path::new(CONTROL))(error),
    })
}

fn free_number(control: &File) -> Result<u32, Error> {
    // SAFETY: `GetFree` describes LOOP_CTL_GET_FREE, which touches no memory of ours.
    unsafe { ioctl::ioctl(control, GetFree) }
        .map_err(|error| impossible(format!("the kernel gives no loop device: {error}")))
}

fn node(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/loop{number}"))
}

fn open(path: &Path) -> io::Result<File> {
    Ok(File::from(rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?))
}

fn configure(device: &File, image: &File, name: &Path) -> rustix::io::Result<()> {
    let mut info = EMPTY;
    info.flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    // Only for people with `losetup`; the kernel wants a terminating zero.
    let bytes = name.as_os_str().as_encoded_bytes();
    let tail = &bytes[bytes.len().saturating_sub(NAME_SIZE - 1)..];
    info.file_name[..tail.len()].copy_from_slice(tail);
    let config = Config {
        fd: image.as_fd().as_raw_fd().unsigned_abs(),
        block_size: BLOCK_SIZE as u32,
        info,
        reserved: [0; 8],
    };
    // SAFETY: `Config` is the kernel's `struct loop_config`, which LOOP_CONFIGURE reads.
    unsafe { ioctl::ioctl(device, ioctl::Setter::<LOOP_CONFIGURE, Config>::new(config)) }
}

fn status(device: &File) -> io::Result<Info> {
    let mut info = EMPTY;
    // SAFETY: `Info` is the kernel's `struct loop_info64`, which LOOP_GET_STATUS64 writes; any bytes are valid in it.
    unsafe { ioctl::ioctl(device, ioctl::Updater::<LOOP_GET_STATUS64, Info>::new(&mut info)) }?;
    Ok(info)
}

fn impossible(why: String) -> Error {
    Error::Impossible { why }
}

#[cfg(test)]
mod tests {
    use super::{Config, Info};

    #[test]
    fn the_structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<Info>(), 232);
        assert_eq!(size_of::<Config>(), 304);
    }
}
