//! A room's file system: everything read-only, with private directories, hidden parts and parts that show through.
//!
//! It is a recursive copy of the host's mounts, entered with pivot_root(2) so that nothing above is left, with other
//! mounts on top. What is mounted over or below something hidden is taken away rather than covered, so that a volume of
//! another application is not kept busy by this room. Nothing that happens here comes back to the host's mounts, and
//! what the host mounts later does not appear here: both are private.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, mount_move,
    mount_remount, unmount,
};

use super::View;
use super::mounts::{TAME, at, attach, bind, clear, copy_tree, mount_new, seal_everything, unseal};
use crate::plan::Failure;

/// Where the copy is put while it becomes the root: it exists everywhere.
const WAYPOINT: &str = "/proc";

/// Private directories and how they are made. The last are for the processes of the application to write.
const PRIVATE: [(&str, &str); 3] = [("/run", "755"), ("/tmp", "1777"), ("/var/tmp", "1777")];

/// Devices, with their numbers (kernel: admin-guide/devices).
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Of the machine rather than the application, or costly to read (as in the OCI runtimes' list of masked paths).
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Bytes of the file systems that hold names only.
const NAMES_ONLY: &str = "mode=755,size=64k";

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What is done at a path.
enum Change {
    Hide,
    Show { tree: OwnedFd, writable: bool },
}

/// Make it, from the mounts of a namespace that was just copied, as process 1 of a new PID namespace. `alone`: in a user
/// namespace, where devices cannot be made, and what is mounted can be covered only.
pub(super) fn make(view: &View, alone: bool) -> Result<(), Failure> {
    let resolver = resolver();
    enter_copy()?;
    // Before they become without effect.
    let devices = if alone { copy_devices()? } else { Vec::new() };
    seal_everything()?;
    // Before anything is covered.
    let changes = changes(view, alone)?;
    // Names that are made below must be readable whatever the supervisor's mask is.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    system(view.temporary, devices)?;
    for (path, mode) in PRIVATE {
        if Path::new(path).is_dir() {
            clear(Path::new(path), true)?;
            let options = format!("mode={mode},size={}", view.temporary);
            mount_new(c"tmpfs", Path::new(path), TAME, &options)?;
        }
    }
    if let Some(text) = &view.resolv_conf {
        resolve_with(text, &resolver)?;
    }
    apply(changes)
}

/// A copy of all mounts becomes the root.
fn enter_copy() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(at("/"))?;
    mount_bind_recursive("/", WAYPOINT).map_err(at(WAYPOINT))?;
    std::env::set_current_dir(WAYPOINT).map_err(at(WAYPOINT))?;
    match rustix::process::pivot_root(".", ".") {
        // The old root lies over the new one and goes.
        Ok(()) => unmount(".", UnmountFlags::DETACH).map_err(at("/"))?,
        // The root of an initial RAM disk cannot be left (pivot_root(2)): what is there is covered for good, for want of
        // the right to unmount.
        Err(Errno::INVAL) => {
            mount_move(".", "/").map_err(at("/"))?;
            rustix::process::chroot(".").map_err(at("/"))?;
        }
        Err(error) => return Err(at("/")(error)),
    }
    std::env::set_current_dir("/").map_err(at("/"))
}

/// What is to be done where, shorter paths first.
fn changes(view: &View, alone: bool) -> Result<BTreeMap<PathBuf, Change>, Failure> {
    let mut changes = BTreeMap::new();
    for path in &view.hidden {
        if let Some(path) = existing(path, alone)? {
            changes.insert(path, Change::Hide);
        }
    }
    for path in &view.visible {
        if let Some(path) = existing(path, alone)? {
            let tree = copy_tree(&path).map_err(at(&path))?;
            changes.insert(path, Change::Show { tree, writable: false });
        }
    }
    for path in &view.writable {
        let path = fs::canonicalize(path).map_err(at(path))?;
        let tree = copy_tree(&path).map_err(at(&path))?;
        changes.insert(path, Change::Show { tree, writable: true });
    }
    Ok(changes)
}

fn existing(path: &Path, alone: bool) -> Result<Option<PathBuf>, Failure> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match fs::canonicalize(path) {
        Ok(path) => Ok(Some(path)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        // What a holder without privileges does not reach, no worker of the same user does.
        Err(error) if alone && error.kind() == PermissionDenied => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// `/proc`, `/sys`, `/dev` and what is not for applications in them.
fn system(temporary: u64, devices: Vec<OwnedFd>) -> Result<(), Failure> {
    let (proc, sys, dev) = (Path::new("/proc"), Path::new("/sys"), Path::new("/dev"));
    let quiet = TAME | MountFlags::NOEXEC;
    // While there is a list of what is mounted.
    for path in [sys, dev, proc] {
        clear(path, true)?;
    }
    mount_new(c"proc", proc, quiet | MountFlags::RDONLY, "hidepid=2")?;
    if sys.is_dir() {
        show_system(sys, quiet)?;
    }
    mount_new(c"tmpfs", dev, MountFlags::NOSUID | MountFlags::NOEXEC, NAMES_ONLY)?;
    if devices.is_empty() {
        make_devices(dev)?;
    } else {
        for ((name, ..), device) in DEVICES.iter().zip(devices) {
            let path = dev.join(name);
            fs::File::create(&path).map_err(at(&path))?;
            attach(device, &path)?;
        }
    }
    for (name, target) in LINKS {
        std::os::unix::fs::symlink(target, dev.join(name)).map_err(at(dev.join(name)))?;
    }
    for name in ["shm", "pts"] {
        fs::create_dir(dev.join(name)).map_err(at(dev.join(name)))?;
    }
    mount_new(c"tmpfs", &dev.join("shm"), TAME, &format!("mode=1777,size={temporary}"))?;
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_new(c"devpts", &dev.join("pts"), terminals, "newinstance,ptmxmode=0666,mode=0620")?;
    let sealed = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_remount(dev, sealed, c"").map_err(at(dev))?;
    for path in MASKED.map(Path::new) {
        if path.exists() {
            hide(path, MountFlags::RDONLY)?;
        }
    }
    Ok(())
}

/// A sysfs of the room's network. Where that is the host's and the room has no power over it, what is there is read-only
/// already, and the control groups are hidden.
fn show_system(sys: &Path, quiet: MountFlags) -> Result<(), Failure> {
    let flags = quiet | MountFlags::RDONLY;
    match mount(c"sysfs", sys, c"sysfs", flags, c"") {
        Err(Errno::PERM) => {
            let groups = sys.join("fs/cgroup");
            if groups.is_dir() { hide(&groups, MountFlags::RDONLY) } else { Ok(()) }
        }
        other => other.map_err(at(sys)),
    }
}

fn make_devices(dev: &Path) -> Result<(), Failure> {
    let mask = rustix::process::umask(Mode::empty());
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        let number = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, &path, FileType::CharacterDevice, mode, number).map_err(at(&path))?;
    }
    rustix::process::umask(mask);
    Ok(())
}

/// The host's devices, to be put where a device cannot be made.
fn copy_devices() -> Result<Vec<OwnedFd>, Failure> {
    let copy = |(name, ..): &(&str, u32, u32)| {
        let path = Path::new("/dev").join(name);
        copy_tree(&path).map_err(at(path))
    };
    DEVICES.iter().map(copy).collect()
}

/// Nothing is there any more. A directory can be entered, for what shows through below it.
fn hide(path: &Path, sealed: MountFlags) -> Result<(), Failure> {
    if path.is_dir() {
        mount_new(c"tmpfs", path, TAME | MountFlags::NOEXEC | sealed, NAMES_ONLY)
    } else {
        // Reading it yields nothing, writing to it has no effect.
        rustix::mount::mount_bind("/dev/null", path).map_err(at(path))
    }
}

fn apply(changes: BTreeMap<PathBuf, Change>) -> Result<(), Failure> {
    // Whether the nearest thing done above a path was to hide it; so are the private directories.
    let mut done: BTreeMap<PathBuf, bool> =
        ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"].map(|path| (PathBuf::from(path), true)).into();
    let mut hidden = Vec::new();
    // A path sorts before what is below it.
    for (path, change) in changes {
        let covered = path.ancestors().find_map(|above| done.get(above).copied()).unwrap_or(false);
        match change {
            Change::Hide if covered => continue,
            Change::Hide => {
                clear(&path, true)?;
                // Names may be needed in it; it is sealed at the end.
                hide(&path, MountFlags::empty())?;
                hidden.push(path.clone());
                done.insert(path, true);
            }
            Change::Show { writable: false, .. } if !covered => {
                done.insert(path, false);
            }
            Change::Show { tree, writable } => {
                if covered {
                    make_place(&path, &tree)?;
                }
                attach(&tree, &path)?;
                if writable {
                    unseal(&path)?;
                }
                done.insert(path, false);
            }
        }
    }
    for path in hidden {
        if path.is_dir() {
            let sealed = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOEXEC | TAME;
            mount_remount(&path, sealed, c"").map_err(at(&path))?;
        }
    }
    Ok(())
}

/// A name to mount something at, in a file system that is empty otherwise.
fn make_place(path: &Path, tree: &OwnedFd) -> Result<(), Failure> {
    let kind = rustix::fs::fstat(tree).map_err(at(path))?;
    if FileType::from_raw_mode(kind.st_mode) == FileType::Directory {
        return fs::create_dir_all(path).map_err(at(path));
    }
    if let Some(above) = path.parent() {
        fs::create_dir_all(above).map_err(at(above))?;
    }
    fs::File::create(path).map(drop).map_err(at(path))
}

/// The file that names resolvers, links followed, whether it exists or not.
fn resolver() -> PathBuf {
    let named = Path::new(RESOLV_CONF);
    fs::canonicalize(named)
        .or_else(|_| fs::read_link(named).map(|link| Path::new("/etc").join(link)))
        .unwrap_or_else(|_| named.to_owned())
}

fn resolve_with(text: &str, file: &Path) -> Result<(), Failure> {
    if file.starts_with("/run") {
        if let Some(above) = file.parent() {
            fs::create_dir_all(above).map_err(at(above))?;
        }
        return fs::write(file, text).map_err(at(file));
    }
    // A machine that has none looks for no names, and the room is not the place to begin.
    if !file.exists() {
        return Ok(());
    }
    let own = Path::new("/run/resolv.conf");
    fs::write(own, text).map_err(at(own))?;
    bind(own, file)
}
