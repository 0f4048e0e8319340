//! Control groups that killed hosts have left.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jail::cgroup::{Hierarchies, Tree};

/// What the directories of all hosts begin with, and after that the names of those that tests make without a lock.
const TREE: &str = "serpentry-";
const OTHERS: &str = "test-";

/// Clear away what killed hosts have left. The next host of the same name would do it too, but there may never be one: those
/// without a state directory are named by their pid, and state directories are removed. Whoever lives holds a lock.
pub(super) fn clear_dead(found: &Hierarchies, own: &str) {
    let bases = || found.list.iter().map(|hierarchy| &hierarchy.base);
    let names = bases().flat_map(|base| fs::read_dir(base).into_iter().flatten().flatten());
    let is_locked = |name: &String| bases().any(|base| is_locked(&base.join(format!("{TREE}{name}"))));
    let dead: BTreeSet<String> = names
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(TREE)?.to_owned()))
        .filter(|name| name != own && !name.starts_with(OTHERS) && !is_locked(name))
        .collect();
    for name in dead {
        // One that cannot be cleared away is in nobody's way.
        let _ = Tree::create(found, &name).and_then(Tree::remove);
    }
}

fn is_locked(directory: &Path) -> bool {
    use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
    let opened = open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    opened.is_ok_and(|opened| flock(&opened, FlockOperation::NonBlockingLockExclusive).is_err())
}
