//! The disks behind a file.
//!
//! The kernel limits whole disks, by device number. Between a file and its disk there can be a partition, a volume
//! (`/sys/.../slaves`), a loop device over another file, or an overlay: each is followed, and every device that requests pass
//! is listed, the one that the filesystem is on first.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::file;
use super::limits::Refusal;
use crate::machine::Roots;
use crate::machine::mounts::{Mount, mounts};

/// Volumes over volumes: more than anyone stacks.
const DEEPEST: usize = 8;

/// A whole block device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Disk {
    pub major: u32,
    pub minor: u32,
    /// As in `/sys/block`.
    pub name: String,
}

impl Disk {
    /// `254:0`, as the kernel's files have it.
    #[must_use]
    pub fn number(&self) -> String {
        format!("{}:{}", self.major, self.minor)
    }

    /// The scheduler in use, such as `mq-deadline` or `bfq`.
    #[must_use]
    pub fn scheduler(&self, roots: &Roots) -> Option<String> {
        let text =
            fs::read_to_string(roots.sys.join("block").join(&self.name).join("queue/scheduler")).ok()?;
        let (_, rest) = text.split_once('[')?;
        rest.split_once(']').map(|(name, _)| name.to_owned())
    }
}

/// The disks that `path` is on, each once.
///
/// # Errors
/// When there is none, as for tmpfs and network filesystems, or it cannot be found out.
pub fn disks(roots: &Roots, path: &Path) -> Result<Vec<Disk>, Refusal> {
    let mut found = Vec::new();
    of_path(roots, path, 0, &mut found)?;
    Ok(found)
}

fn of_path(roots: &Roots, path: &Path, depth: usize, found: &mut Vec<Disk>) -> Result<(), Refusal> {
    if depth > DEEPEST {
        return Err(unknown(path, "too many devices over each other"));
    }
    let device = fs::metadata(path).map_err(|error| unknown(path, error))?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    if of_block(roots, major, minor, depth, found).map_err(|error| unknown(path, error))? {
        return Ok(());
    }
    // No block device by that number: the filesystem has numbers of its own.
    let mount =
        mount_of(roots, path, (major, minor)).ok_or_else(|| unknown(path, "its mount is not known"))?;
    let upper = mount.filesystem_options.iter().find_map(|option| option.strip_prefix("upperdir="));
    match upper {
        Some(upper) if mount.kind == "overlay" => of_path(roots, Path::new(upper), depth + 1, found),
        _ => {
            let source = fs::metadata(&mount.source).map(|metadata| metadata.rdev()).unwrap_or(0);
            let (major, minor) = (rustix::fs::major(source), rustix::fs::minor(source));
            match of_block(roots, major, minor, depth, found) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Refusal {
                    why: format!("{} is on {}, which has no disk of its own", path.display(), mount.kind),
                    errno: None,
                    remedy: "put it on a filesystem with a block device".to_owned(),
                }),
                Err(error) => Err(unknown(path, error)),
            }
        }
    }
}

/// The block device of this number and those behind it; false if there is none.
fn of_block(roots: &Roots, major: u32, minor: u32, depth: usize, found: &mut Vec<Disk>) -> io::Result<bool> {
    let Ok(mut dir) = fs::canonicalize(roots.sys.join(format!("dev/block/{major}:{minor}"))) else {
        return Ok(false);
    };
    if dir.join("partition").exists() {
        dir.pop();
    }
    let text = file::read(&dir.join("dev"))?;
    let number = text
        .trim()
        .split_once(':')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let name = dir.file_name().and_then(|name| name.to_str());
    let (Some((major, minor)), Some(name)) = (number, name) else {
        return Err(io::Error::other(format!("{} is not a device", dir.display())));
    };
    let disk = Disk { major, minor, name: name.to_owned() };
    if depth > DEEPEST || found.contains(&disk) {
        return Ok(true);
    }
    found.push(disk);
    if let Ok(backing) = file::read(&dir.join("loop/backing_file")) {
        // A file that is not visible here, or was deleted: the loop device alone must do.
        let _ = of_path(roots, Path::new(backing.trim_end_matches('\n')), depth + 1, found);
    }
    for slave in fs::read_dir(dir.join("slaves")).into_iter().flatten().flatten() {
        let text = file::read(&slave.path().join("dev")).unwrap_or_default();
        if let Some((major, minor)) = text.trim().split_once(':')
            && let (Ok(major), Ok(minor)) = (major.parse(), minor.parse())
        {
            of_block(roots, major, minor, depth + 1, found)?;
        }
    }
    Ok(true)
}

/// By its device number, or for subvolumes, which have numbers that no mount has, by its place.
fn mount_of(roots: &Roots, path: &Path, device: (u32, u32)) -> Option<Mount> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    let text = fs::read(roots.proc.join("self/mountinfo")).ok()?;
    let mounts = mounts(&String::from_utf8_lossy(&text));
    let above = mounts.into_iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| (mount.device == device, mount.point.components().count()))
}

fn unknown(path: &Path, error: impl std::fmt::Display) -> Refusal {
    Refusal {
        why: format!("the disk behind {} cannot be found: {error}", path.display()),
        errno: None,
        remedy: String::new(),
    }
}
