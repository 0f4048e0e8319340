//! Version 2: giving controllers to groups.
//!
//! A group has the controllers that its parent's `cgroup.subtree_control` names, and a group that has processes cannot give any
//! (Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint"), except the root of the whole hierarchy.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::file;
use super::hierarchy::{Controller, Hierarchy, Version, available};
use super::limits::Refusal;

/// Where to make our branch. With version 2 that cannot be a group in which others are, such as that of a shell and all that
/// was started from it: then it is the nearest one above that has no processes, or the hierarchy's root, which may have
/// some, if we may write there. What was limited for all of them together counts for us too that way, as far as it can.
pub(super) fn place(hierarchy: &Hierarchy, base: PathBuf) -> PathBuf {
    let others = |dir: &Path| {
        let pids = file::processes(dir).unwrap_or_default();
        pids.iter().any(|pid| *pid != std::process::id())
    };
    let alone = |dir: &Path| !others(dir) || is_root(dir) || is_namespace_root(dir);
    if hierarchy.version == Version::V1 || available(&hierarchy.mount).is_empty() || alone(&base) {
        return base;
    }
    let above = base.ancestors().skip(1).take_while(|dir| dir.starts_with(&hierarchy.mount));
    let writable = |dir: &&Path| access(*dir, Access::WRITE_OK).is_ok();
    above.take_while(writable).find(|dir| alone(dir)).map_or(base.clone(), Path::to_path_buf)
}

/// The root of the whole hierarchy: it has no type.
pub(super) fn is_root(dir: &Path) -> bool {
    !dir.join("cgroup.type").exists()
}

/// The root of our cgroup namespace: nothing above it is a group.
pub(super) fn is_namespace_root(dir: &Path) -> bool {
    !is_root(dir) && !dir.parent().is_some_and(|parent| parent.join("cgroup.procs").exists())
}

/// Version 2: the controllers that children of `dir` have.
pub(super) fn enabled(dir: &Path) -> Vec<Controller> {
    let text = file::read(&dir.join("cgroup.subtree_control")).unwrap_or_default();
    let names: Vec<&str> = text.split_whitespace().collect();
    Controller::ALL.into_iter().filter(|it| !core(*it) && names.contains(&it.name(Version::V2))).collect()
}

/// Give the children of `dir` these controllers, each by itself, so that one that fails does not cost the others.
pub(super) fn enable(dir: &Path, controllers: &[Controller]) -> Vec<(Controller, io::Error)> {
    let there = enabled(dir);
    let wanted = controllers.iter().filter(|controller| !there.contains(controller));
    let control = dir.join("cgroup.subtree_control");
    wanted
        .filter_map(|controller| {
            let result = file::write(&control, &format!("+{}", controller.name(Version::V2)));
            result.err().map(|error| (*controller, error))
        })
        .collect()
}

/// Take them away again. Somebody else's groups may need them by now: then they stay.
pub(super) fn disable(dir: &Path, controllers: &[Controller]) {
    for controller in controllers {
        let _ =
            file::write(&dir.join("cgroup.subtree_control"), &format!("-{}", controller.name(Version::V2)));
    }
}

pub(super) fn not_enabled(controller: Controller, dir: &Path, error: &io::Error) -> Refusal {
    let busy = error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error());
    let name = controller.name(Version::V2);
    let others = file::processes(dir).unwrap_or_default();
    let (why, remedy) = if busy && !others.is_empty() {
        let others: Vec<String> = others.iter().take(5).map(u32::to_string).collect();
        (
            format!(
                "{name:?} cannot be given to groups below {}: other processes are in it (pid {})",
                dir.display(),
                others.join(", ")
            ),
            "start the host in a group of its own: as a service, or with `systemd-run --scope -p Delegate=yes`",
        )
    } else {
        (format!("{name:?} cannot be given to groups below {}: {error}", dir.display()), file::NO_PERMISSION)
    };
    Refusal { why, errno: error.raw_os_error(), remedy: remedy.to_owned() }
}

/// A part of every group of version 2, not to be enabled.
pub(super) fn core(controller: Controller) -> bool {
    matches!(controller, Controller::Cpuacct | Controller::Freezer)
}
