//! Reading `/proc/self/mountinfo` and `/proc/self/cgroup` (proc_pid_mountinfo(5), cgroups(7)).
//!
//! Pure functions from text to data. A line that does not look as it should is left out, never guessed at: what a
//! container runtime or a hostile mount name made of it must not decide where limits are written.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Device number of the filesystem.
    pub device: (u32, u32),
    /// What of the filesystem is mounted here: "/", or a directory in it (bind mounts, containers).
    pub root: PathBuf,
    pub point: PathBuf,
    /// Options of this mount, such as `ro`.
    pub options: Vec<String>,
    pub kind: String,
    pub source: PathBuf,
    /// Options of the filesystem: for cgroup v1 its controllers are here.
    pub filesystem_options: Vec<String>,
}

impl Mount {
    /// Neither this mount nor its filesystem can be written to.
    #[must_use]
    pub fn read_only(&self) -> bool {
        let ro = |options: &[String]| options.iter().any(|option| option == "ro");
        ro(&self.options) || ro(&self.filesystem_options)
    }
}

/// One line of `/proc/PID/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// 0 is version 2.
    pub hierarchy: u32,
    /// Empty for version 2. Named hierarchies without controllers are `name=systemd` and the like.
    pub controllers: Vec<String>,
    /// As seen from our cgroup namespace; begins with a slash.
    pub path: PathBuf,
}

/// All mounts, in the order of the file: later ones hide earlier ones at the same place.
#[must_use]
pub fn mounts(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn mount(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let device = fields.by_ref().nth(2)?.split_once(':')?;
    let device = (device.0.parse().ok()?, device.1.parse().ok()?);
    let (root, point, options) = (fields.next()?, fields.next()?, fields.next()?);
    // Any number of optional fields, ended by a dash.
    fields.by_ref().find(|field| *field == "-")?;
    let (kind, source) = (fields.next()?, fields.next()?);
    Some(Mount {
        device,
        root: absolute(unescape(root))?,
        point: absolute(unescape(point))?,
        options: list(options),
        kind: kind.to_owned(),
        source: unescape(source),
        filesystem_options: list(fields.next().unwrap_or_default()),
    })
}

/// The groups a process is in, one in each hierarchy.
#[must_use]
pub fn memberships(text: &str) -> Vec<Membership> {
    text.lines().filter_map(membership).collect()
}

/// `4:memory:/user.slice` or `0::/user.slice`; the path may contain colons.
fn membership(line: &str) -> Option<Membership> {
    let mut fields = line.splitn(3, ':');
    let hierarchy = fields.next()?.parse().ok()?;
    let controllers = list(fields.next()?);
    let path = fields.next()?;
    // A process whose group was removed under it has no place to put children.
    let path = absolute(PathBuf::from(path)).filter(|_| !path.ends_with(" (deleted)"))?;
    Some(Membership { hierarchy, controllers, path })
}

/// Where below its mount point the group `path` is found, given the part of the hierarchy that is mounted there.
///
/// In a container without a cgroup namespace, `path` is that of outside (`/docker/abc`) and so is `root`: then the mount
/// point itself is our group. `None` when the group is not visible there, which is so for `root` or `path` with `..`
/// (the namespace's own root is below what is mounted).
#[must_use]
pub fn below(root: &Path, path: &Path) -> Option<PathBuf> {
    let plain =
        |path: &Path| path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    if !plain(root) || !plain(path) {
        return None;
    }
    path.strip_prefix(root).ok().map(Path::to_path_buf)
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn absolute(path: PathBuf) -> Option<PathBuf> {
    path.is_absolute().then_some(path)
}

/// The kernel writes blanks, tabs, line feeds and backslashes in names as `\040`, `\011`, `\012` and `\134`.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1..at + 4).and_then(octal)) {
            (b'\\', Some(escaped)) => {
                plain.push(escaped);
                at += 4;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

fn octal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(digit - b'0'),
        _ => None,
    })
}

/// What the kernel would write for `path`: the inverse of reading it.
#[must_use]
pub fn escape(path: &Path) -> OsString {
    let mut escaped = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => escaped.extend(format!("\\{byte:03o}").bytes()),
            byte => escaped.push(byte),
        }
    }
    OsString::from_vec(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_mountinfo_of_a_hybrid_machine() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                    35 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct\n\
                    41 31 0:38 / /sys/fs/cgroup/unified ro,relatime shared:1 master:2 - cgroup2 cgroup2 rw,nsdelegate\n\
                    50 27 254:17 /a\\040b /mnt/with\\134back\\011tab rw - ext4 /dev/vda1 rw\n\
                    nonsense\n\
                    1 2 3 / /no/device rw - x y z\n";
        let mounts = mounts(text);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[1].filesystem_options, ["rw", "cpu", "cpuacct"]);
        assert_eq!((mounts[2].kind.as_str(), mounts[2].read_only()), ("cgroup2", true));
        assert!(!mounts[1].read_only());
        assert_eq!(mounts[3].device, (254, 17));
        assert_eq!(mounts[3].root, Path::new("/a b"));
        assert_eq!(mounts[3].point, Path::new("/mnt/with\\back\ttab"));
    }

    #[test]
    fn reads_memberships() {
        let all = memberships(
            "4:cpu,cpuacct:/a:b\n1:name=systemd:/init.scope\n0::/user.slice/x\n9:pids:/gone (deleted)\n7:x\n",
        );
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].hierarchy, all[0].path.as_path()), (4, Path::new("/a:b")));
        assert_eq!(all[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(all[1].controllers, ["name=systemd"]);
        assert_eq!((all[2].hierarchy, all[2].controllers.len()), (0, 0));
    }

    #[test]
    fn finds_where_a_group_is_below_its_mount() {
        let cases = [
            ("/", "/", Some("")),
            ("/", "/system.slice/x.service", Some("system.slice/x.service")),
            // A container without a namespace: both are those of outside.
            ("/docker/abc", "/docker/abc", Some("")),
            ("/docker/abc", "/docker/abc/inner", Some("inner")),
            ("/docker/abc", "/docker/abcd", None),
            ("/docker/abc", "/", None),
            // A namespace below what is mounted.
            ("/..", "/", None),
            ("/", "/../other", None),
        ];
        for (root, path, expected) in cases {
            assert_eq!(
                below(root.as_ref(), path.as_ref()).as_deref(),
                expected.map(Path::new),
                "{root} {path}"
            );
        }
    }

    /// Seeds and findings of the fuzz target `machine_tables`.
    #[test]
    fn the_corpus_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/machine_tables");
        let mut groups = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let _ = (crate::cgroup::list(&text), crate::cgroup::parse_pressure(&text));
            let (mounts, memberships) = (mounts(&text), memberships(&text));
            groups += mounts
                .iter()
                .flat_map(|mount| memberships.iter().map(|membership| below(&mount.root, &membership.path)))
                .flatten()
                .count();
        }
        assert!(groups > 50, "{groups}: the corpus is not there");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(?s).{0,200}") {
            let _ = (mounts(&text), memberships(&text));
        }

        #[test]
        fn almost_mountinfo_makes_nothing_panic(text in "([0-9:]{0,5} |/[a\\\\0-9]{0,6} |- |rw,? |cgroup2? |\n){0,40}") {
            for mount in mounts(&text) {
                prop_assert!(mount.point.is_absolute() && mount.root.is_absolute());
            }
        }

        #[test]
        fn escaped_names_are_read_as_they_were(name in "/[ -~\t\nü\\\\]{0,30}") {
            let path = Path::new(&name);
            let line = format!("1 2 3:4 / {} rw - x y z", escape(path).to_string_lossy());
            let read = mounts(&line);
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(&read[0].point, path);
        }

        #[test]
        fn a_group_is_never_outside_its_mount(root in "(/[a.]{1,3}){0,3}/?", path in "(/[a.]{1,3}){0,4}") {
            if let Some(found) = below(root.as_ref(), path.as_ref()) {
                prop_assert!(found.is_relative());
                prop_assert!(found.components().all(|part| matches!(part, Component::Normal(_))), "{:?}", found);
            }
        }
    }
}
