//! Which processors a group runs on.
//!
//! | | version 1 | version 2 |
//! |---|---|---|
//! | cores | `cpuset.cpus`, within the parent's and around all children's | `cpuset.cpus`, empty for the parent's |
//! | memory nodes | `cpuset.mems`, must be set | `cpuset.mems`, empty for the parent's |
//!
//! A new group of version 1 has neither and takes no process until it has both. There, groups without cores of their own
//! are kept equal to their parents, which is what version 2 does by itself. Exclusiveness is the caller's: whoever gives cores
//! to one group takes them away from the others.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::file::{self, Writer, list, print_list};
use super::group::{Place, report};
use super::hierarchy::Version;
use super::limits::{Constraint, Limits, Outcome, Refusal};
use super::tree::directory;

/// Groups with cores of their own, by their paths in the tree.
pub(super) type Pinned = BTreeMap<String, Vec<u32>>;

const CPUS: &str = "cpuset.cpus";

pub(super) fn apply(
    place: &Result<Place, Refusal>,
    limits: &Limits,
    path: &str,
    pinned: &mut Pinned,
    outcomes: &mut Vec<Outcome>,
) {
    let cores = limits.cores.as_deref();
    report(outcomes, Constraint::Cores, cores.is_some(), place, |writer, version| {
        if cores.is_some_and(<[u32]>::is_empty) {
            return Err(none_at_all());
        }
        match version {
            Version::V1 => apply_v1(writer, cores, path, pinned)?,
            Version::V2 => apply_v2(writer, cores)?,
        }
        match cores {
            Some(cores) => pinned.insert(path.to_owned(), cores.to_vec()),
            None => pinned.remove(path),
        };
        Ok(None)
    });
}

/// Version 1: a group that has no processors or memory nodes yet gets its parent's.
pub(super) fn inherit(dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for name in [CPUS, "cpuset.mems"] {
        if file::read(&dir.join(name))?.trim().is_empty() {
            file::write(&dir.join(name), file::read(&parent.join(name))?.trim())?;
        }
    }
    Ok(())
}

fn apply_v1(
    writer: &mut Writer<'_>,
    cores: Option<&[u32]>,
    path: &str,
    pinned: &Pinned,
) -> Result<(), Refusal> {
    let wanted = match cores {
        Some(cores) => list(&print_list(cores)),
        None => {
            let parent = writer.dir.parent().map(|parent| parent.join(CPUS));
            list(&parent.and_then(|file| file::read(&file).ok()).unwrap_or_default())
        }
    };
    if let Some((child, theirs)) = pinned_outside(path, pinned, &wanted) {
        return Err(Refusal {
            why: format!("the group {child} below {path} has the cores {} of its own", print_list(theirs)),
            errno: None,
            remedy: format!("change {child} first"),
        });
    }
    spread(writer.dir, &wanted, path, pinned)?;
    if cores.is_some() {
        writer.write(CPUS, &print_list(&wanted))?;
    }
    Ok(())
}

/// A group below with cores of its own that are not among these.
fn pinned_outside<'a>(path: &str, pinned: &'a Pinned, wanted: &[u32]) -> Option<(&'a String, &'a Vec<u32>)> {
    let below = |child: &str| child.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    pinned.iter().find(|(child, cores)| below(child) && !cores.iter().all(|core| wanted.contains(core)))
}

/// Give a group and those below it that have none of their own these processors. A parent contains its children all the
/// time: it first gets both the old and the new ones.
fn spread(dir: &Path, wanted: &[u32], path: &str, pinned: &Pinned) -> Result<(), Refusal> {
    let cpus = dir.join(CPUS);
    let old = list(&file::read(&cpus).unwrap_or_default());
    if old == wanted {
        return Ok(());
    }
    let write = |cores: &[u32]| {
        let value = print_list(cores);
        file::write(&cpus, &value).map_err(|error| Refusal {
            remedy: remedy(&error).to_owned(),
            ..file::refused(&cpus, &value, &error)
        })
    };
    let both = list(&print_list(&[old.as_slice(), wanted].concat()));
    write(&both)?;
    let result = followers(dir, path, pinned)
        .iter()
        .try_for_each(|(child, below)| spread(child, wanted, below, pinned))
        .and_then(|()| write(wanted));
    if result.is_err() {
        let _ = file::write(&cpus, &print_list(&old));
    }
    result
}

/// The groups directly below that have no cores of their own.
fn followers(dir: &Path, path: &str, pinned: &Pinned) -> Vec<(std::path::PathBuf, String)> {
    let named = |child: std::path::PathBuf| {
        // Names that were changed on disk are looked for as they are written there.
        let name = child.file_name()?.to_str()?.to_owned();
        let own = pinned.keys().any(|key| {
            key.strip_prefix(path)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|rest| directory(rest) == name)
        });
        (!own).then(|| (child, format!("{path}/{name}")))
    };
    file::children(dir).into_iter().filter_map(named).collect()
}

fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::ACCESS) => "give its parent these cores first",
        Some(rustix::io::Errno::BUSY) => "take these cores from the groups below it first",
        Some(rustix::io::Errno::INVAL) => "use cores that this machine has (`nproc`)",
        _ => "",
    }
}

fn apply_v2(writer: &mut Writer<'_>, cores: Option<&[u32]>) -> Result<(), Refusal> {
    let Some(cores) = cores else {
        return if file::read(&writer.dir.join(CPUS)).is_ok_and(|now| now.trim().is_empty()) {
            Ok(())
        } else {
            writer.reset(CPUS, "\n")
        };
    };
    let wanted = list(&print_list(cores));
    writer.write(CPUS, &print_list(&wanted))?;
    // Cores that the parent does not have are taken without a word.
    let effective = list(&file::read(&writer.dir.join("cpuset.cpus.effective")).unwrap_or_default());
    if effective == wanted {
        return Ok(());
    }
    Err(Refusal {
        why: format!("of the cores {} it got {}", print_list(&wanted), print_list(&effective)),
        errno: None,
        remedy: "use cores that this machine and the groups above have".to_owned(),
    })
}

fn none_at_all() -> Refusal {
    Refusal {
        why: "a group needs at least one core".to_owned(),
        errno: None,
        remedy: "leave the limit out for all cores".to_owned(),
    }
}
