//! Give what is in a directory to a user, when its application changes from one user to another.
//!
//! What is in there is a tenant's: no name is followed, links are given themselves, other file systems are left alone. A
//! file with several names is left alone where it could be somebody else's: only in a volume are all its names the tenant's.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Uid};

use super::copy::{DEEPEST, entries, open_directory, to_path};
use super::error::{Error, io as refused};

/// Give the directory and everything in it that does not belong to `(uid, gid)` to them; how many were given.
/// `is_volume`: all of the file system is the tenant's.
///
/// # Errors
/// [`Error::TooDeep`], else the step that failed with its path. What was given before stays given.
pub fn own_tree(directory: &Path, owner: (u32, u32), is_volume: bool) -> Result<u64, Error> {
    let root = open_directory(CWD, directory).map_err(refused("open", directory))?;
    let device = rustix::fs::fstat(&root).map_err(refused("look at", directory))?.st_dev;
    let mut owning = Owning { owner, is_volume, device, given: 0 };
    let (uid, gid) = owning.ids();
    rustix::fs::fchown(&root, Some(uid), Some(gid)).map_err(refused("change the owner of", directory))?;
    owning.below(root.as_fd(), directory, 0)?;
    Ok(owning.given)
}

struct Owning {
    owner: (u32, u32),
    is_volume: bool,
    device: u64,
    given: u64,
}

impl Owning {
    fn ids(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1))
    }

    fn below(&mut self, directory: BorrowedFd<'_>, path: &Path, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(Error::TooDeep { source_path: path.to_owned(), deepest: DEEPEST });
        }
        for name in entries(directory).map_err(refused("read", path))? {
            let at = path.join(to_path(&name));
            let Ok(stat) = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW) else {
                // Gone since the directory was read: its application may still run.
                continue;
            };
            if stat.st_dev != self.device {
                continue;
            }
            let kind = FileType::from_raw_mode(stat.st_mode);
            let alone = kind == FileType::Directory || stat.st_nlink == 1 || self.is_volume;
            if alone && (stat.st_uid, stat.st_gid) != self.owner {
                let (uid, gid) = self.ids();
                match rustix::fs::chownat(directory, &*name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                {
                    Ok(()) => self.given += 1,
                    Err(rustix::io::Errno::NOENT) => continue,
                    Err(error) => return Err(refused("change the owner of", &at)(error)),
                }
            }
            if kind == FileType::Directory
                && let Ok(inner) = open_directory(directory, &*name)
            {
                self.below(inner.as_fd(), &at, depth + 1)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn gives_what_is_inside_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root can give files away");
        }
        let folder = tempfile::tempdir().unwrap();
        let (data, outside) = (folder.path().join("data"), folder.path().join("outside"));
        fs::create_dir_all(data.join("a/b")).unwrap();
        fs::write(data.join("a/b/file"), "x").unwrap();
        fs::write(&outside, "x").unwrap();
        symlink(&outside, data.join("link")).unwrap();
        fs::hard_link(&outside, data.join("a/name")).unwrap();
        // The directories a and b, the file, the link.
        assert_eq!(own_tree(&data, (61_200, 61_200), false).unwrap(), 4);
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        for own in [data.clone(), data.join("a"), data.join("a/b"), data.join("a/b/file"), data.join("link")]
        {
            assert_eq!(owner(&own), 61_200, "{}", own.display());
        }
        assert_eq!(owner(&outside), 0, "a second name of somebody else's file");
        assert_eq!(
            own_tree(&data, (61_200, 61_200), true).unwrap(),
            1,
            "in a volume all names are the tenant's"
        );
        assert_eq!(own_tree(&data, (61_200, 61_200), true).unwrap(), 0);
        symlink("/etc", folder.path().join("etc")).unwrap();
        assert!(
            own_tree(&folder.path().join("etc"), (61_200, 61_200), false).is_err(),
            "a link is no directory"
        );
    }
}
