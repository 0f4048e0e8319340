//! Which user an application's processes belong to: one that the administrator named, or one of its own that nobody else
//! has. Pure but for [`barrier`], and for [`lookup`], which reads `/etc/passwd` and `/etc/group` (passwd(5), group(5)) and no other source of
//! users: a network directory that is slow or away must not hold up a start.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::plan::Identity;

/// Users without a name that systemd sets aside for this use (`DynamicUser=`, its document "Users, Groups, UIDs and GIDs").
/// A machine's own users are elsewhere.
pub const DYNAMIC: std::ops::RangeInclusive<u32> = 61184..=65519;

/// A user and group of its own for the application of this name: always the same, unless `is_taken` says that another
/// application has it; then the next free one. `None` when all are taken.
#[must_use]
pub fn dynamic(name: &str, is_taken: impl Fn(u32) -> bool) -> Option<Identity> {
    let count = DYNAMIC.end() - DYNAMIC.start() + 1;
    let first = fnv1a(name) % count;
    (0..count)
        .map(|further| DYNAMIC.start() + (first + further) % count)
        .find(|id| !is_taken(*id))
        .map(|id| Identity { uid: id, gid: id, groups: Vec::new() })
}

/// Fowler, Noll and Vo's hash (FNV-1a, 32 bits): spreads similar names, and never changes.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The user of this name, or of this number, with its groups. `None` when the files do not know it.
///
/// # Errors
/// When `/etc/passwd` cannot be read. Without `/etc/group` there are no supplementary groups.
pub fn lookup(user: &str) -> io::Result<Option<Identity>> {
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    Ok(find(user, &passwd, &group))
}

fn find(user: &str, passwd: &str, group: &str) -> Option<Identity> {
    let (name, uid, gid) = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (name == user || uid == user).then_some((name, uid, gid))
    })?;
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    let mut groups: Vec<u32> = group
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':').skip(2);
            let (number, members) = (fields.next()?, fields.next()?);
            members.split(',').any(|member| member == name).then(|| number.parse().ok())?
        })
        .collect();
    groups.retain(|group| *group != gid);
    Some(Identity { uid, gid, groups })
}

/// The first directory on the way to the path that this user may not pass. If it is hidden in a room and the path visible
/// (see [`crate::View`]), the user gets there all the same, and sees nothing else that is in it.
///
/// Goes by modes alone: what access control lists allow beyond them counts for nothing.
///
/// # Errors
/// When the path does not exist or cannot be looked at.
pub fn barrier(path: &Path, identity: &Identity) -> io::Result<Option<PathBuf>> {
    let path = path.canonicalize()?;
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    for directory in above {
        let metadata = directory.metadata()?;
        if !may_pass(metadata.mode(), metadata.uid(), metadata.gid(), identity) {
            return Ok(Some(directory.to_owned()));
        }
    }
    Ok(None)
}

/// The first class of permissions that fits decides (path_resolution(7)).
fn may_pass(mode: u32, owner: u32, group: u32, identity: &Identity) -> bool {
    let class = if identity.uid == owner {
        0o100
    } else if identity.gid == group || identity.groups.contains(&group) {
        0o010
    } else {
        0o001
    };
    identity.uid == 0 || mode & class != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn who_may_pass_a_directory() {
        let somebody = Identity { uid: 1000, gid: 1000, groups: vec![7] };
        let root = Identity { uid: 0, gid: 0, groups: vec![] };
        assert!(may_pass(0o755, 0, 0, &somebody) && may_pass(0o711, 0, 0, &somebody));
        assert!(!may_pass(0o700, 0, 0, &somebody) && may_pass(0o700, 0, 0, &root));
        assert!(may_pass(0o710, 0, 7, &somebody) && may_pass(0o710, 0, 1000, &somebody));
        assert!(!may_pass(0o701, 0, 7, &somebody), "the group's class fits first");
        assert!(!may_pass(0o077, 1000, 1000, &somebody), "and the owner's before that");
    }

    #[test]
    fn the_barrier_is_the_first_closed_directory() {
        let place = tempfile::tempdir().unwrap();
        let inner = place.path().join("closed/open");
        std::fs::create_dir_all(&inner).unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(place.path(), 0o755);
        mode(&place.path().join("closed"), 0o700);
        let somebody = Identity { uid: 4_000_000, gid: 4_000_000, groups: vec![] };
        let closed = place.path().canonicalize().unwrap().join("closed");
        assert_eq!(barrier(&inner, &somebody).unwrap(), Some(closed.clone()));
        assert_eq!(barrier(&closed, &somebody).unwrap(), None, "it can be got to, if not into");
        mode(&closed, 0o711);
        assert_eq!(barrier(&inner, &somebody).unwrap(), None);
    }

    #[test]
    fn an_application_keeps_its_user() {
        let first = dynamic("shop", |_| false).unwrap();
        assert_eq!(Some(&first), dynamic("shop", |_| false).as_ref());
        assert!(DYNAMIC.contains(&first.uid));
        assert_eq!(first.uid, 61_705, "files of volumes belong to it: it may never change");
        assert_ne!(first, dynamic("shop2", |_| false).unwrap());
    }

    #[test]
    fn what_is_taken_is_not_given_again() {
        let mut taken = Vec::new();
        for _ in 0..100 {
            let next = dynamic("shop", |id| taken.contains(&id)).unwrap().uid;
            assert!(!taken.contains(&next) && DYNAMIC.contains(&next));
            taken.push(next);
        }
        // The last free one is found, wherever it is.
        for last in [*DYNAMIC.start(), 61_704, *DYNAMIC.end()] {
            assert_eq!(dynamic("shop", |id| id != last).map(|identity| identity.uid), Some(last));
        }
        assert_eq!(dynamic("shop", |_| true), None);
    }

    #[test]
    fn a_named_user_has_its_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:34::/var/www:/bin/false\n";
        let group = "root:x:0:\nadm:x:4:syslog,www\nwww:x:34:www\nssl:x:110:www\nother:x:5:wwww\nbroken:x\n";
        let expected = Identity { uid: 33, gid: 34, groups: vec![4, 110] };
        assert_eq!(find("www", passwd, group), Some(expected.clone()));
        assert_eq!(find("33", passwd, group), Some(expected));
        assert_eq!(find("ww", passwd, group), None);
        assert_eq!(find("broken", passwd, group), None);
    }
}
