//! In which order things are put back. What does it is a parameter.

use std::io;
use std::path::{Path, PathBuf};

use super::Change;

/// What putting back needs to be able to do. Everything is fine if it is done already.
pub trait World {
    /// When a process started; None if there is none of that number.
    fn started(&self, pid: u32) -> Option<u64>;
    /// End a process, gracefully if it can.
    fn end(&self, pid: u32) -> io::Result<()>;
    /// Move a process into the control group of this directory.
    fn enter(&self, pid: u32, group: &Path) -> io::Result<()>;
    /// End what is in a branch of control groups, and remove it.
    fn clear(&self, branch: &Path) -> io::Result<()>;
    /// Remove a control group that is empty; whatever is in it moves up.
    fn dissolve(&self, group: &Path) -> io::Result<()>;
    fn write(&self, path: &Path, text: &str) -> io::Result<()>;
    /// Remove a directory with everything in it.
    fn remove(&self, directory: &Path) -> io::Result<()>;
}

/// Processes go home before their groups are dissolved; hosts end and clear their own branches before these are looked for;
/// directories go when nobody writes there any more.
fn rank(change: &Change) -> u8 {
    match change {
        Change::Moved { .. } => 0,
        Change::Group(_) => 1,
        Change::Process { .. } => 2,
        Change::Tree(_) => 3,
        Change::Written { .. } => 4,
        Change::Directory(_) => 5,
    }
}

/// Put changes back that were noted in this order. What was done, and what could not be, in sentences.
pub fn put_back(changes: Vec<Change>, world: &dyn World) -> (Vec<String>, Vec<String>) {
    let mut changes: Vec<Change> = changes.into_iter().rev().collect();
    // Stable: the latest first within each kind.
    changes.sort_by_key(rank);
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for change in changes {
        match one(&change, world) {
            Ok(Some(sentence)) => done.push(sentence),
            Ok(None) => {}
            Err((what, error)) => failed.push(format!("{what}: {error}")),
        }
    }
    (done, failed)
}

/// None when there was nothing to do.
fn one(change: &Change, world: &dyn World) -> Result<Option<String>, (String, io::Error)> {
    let told = |sentence: String, result: io::Result<()>| match result {
        Ok(()) => Ok(Some(sentence)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err((sentence, error)),
    };
    let lives = |pid: u32, started: u64| world.started(pid) == Some(started);
    match change {
        Change::Moved { pid, started, from } if lives(*pid, *started) => {
            told(format!("process {pid} goes back to {}", from.display()), world.enter(*pid, from))
        }
        Change::Process { pid, started, what } if lives(*pid, *started) => {
            told(format!("{what} (pid {pid}) is ended"), world.end(*pid))
        }
        Change::Moved { .. } | Change::Process { .. } => Ok(None),
        Change::Group(path) => told(format!("group {} is removed", path.display()), world.dissolve(path)),
        Change::Tree(paths) => trees(paths, world),
        Change::Written { path, before } => {
            told(format!("{} is {} again", path.display(), before.trim()), world.write(path, before))
        }
        Change::Directory(path) => {
            told(format!("directory {} is removed", path.display()), world.remove(path))
        }
    }
}

fn trees(paths: &[PathBuf], world: &dyn World) -> Result<Option<String>, (String, io::Error)> {
    let mut cleared = None;
    for path in paths {
        match world.clear(path) {
            Ok(()) => cleared = Some(format!("control groups {} are removed", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err((format!("control groups {}", path.display()), error)),
        }
    }
    Ok(cleared)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[derive(Default)]
    struct Fake {
        calls: RefCell<Vec<String>>,
    }

    impl Fake {
        fn call(&self, what: &str, path: &Path) -> io::Result<()> {
            self.calls.borrow_mut().push(format!("{what} {}", path.display()));
            match path.to_str() {
                Some("/gone") => Err(io::ErrorKind::NotFound.into()),
                Some("/stuck") => Err(io::ErrorKind::ResourceBusy.into()),
                _ => Ok(()),
            }
        }
    }

    impl World for Fake {
        fn started(&self, pid: u32) -> Option<u64> {
            (pid < 100).then_some(7)
        }
        fn end(&self, pid: u32) -> io::Result<()> {
            self.call("end", Path::new(&pid.to_string()))
        }
        fn enter(&self, pid: u32, group: &Path) -> io::Result<()> {
            self.call(&format!("enter {pid}"), group)
        }
        fn clear(&self, branch: &Path) -> io::Result<()> {
            self.call("clear", branch)
        }
        fn dissolve(&self, group: &Path) -> io::Result<()> {
            self.call("dissolve", group)
        }
        fn write(&self, path: &Path, text: &str) -> io::Result<()> {
            self.call(&format!("write {text}"), path)
        }
        fn remove(&self, directory: &Path) -> io::Result<()> {
            self.call("remove", directory)
        }
    }

    #[test]
    fn in_an_order_in_which_each_step_can_succeed() {
        let world = Fake::default();
        let process = |pid, started| Change::Process { pid, started, what: "host".into() };
        let moved = |pid, from: &str| Change::Moved { pid, started: 7, from: from.into() };
        let changes = vec![
            Change::Directory("/d".into()),
            process(1, 7),
            // Another process has its number by now.
            process(2, 8),
            Change::Tree(vec!["/gone".into(), "/t".into()]),
            Change::Written { path: "/w".into(), before: "old".into() },
            Change::Written { path: "/w".into(), before: "new".into() },
            Change::Group("/g".into()),
            moved(3, "/home"),
            moved(3, "/g"),
            moved(100, "/home"),
            Change::Group("/stuck".into()),
        ];
        let (done, failed) = put_back(changes, &world);
        let calls = world.calls.into_inner();
        let expected = [
            "enter 3 /g",
            "enter 3 /home",
            "dissolve /stuck",
            "dissolve /g",
            "end 1",
            "clear /gone",
            "clear /t",
            "write new /w",
            "write old /w",
            "remove /d",
        ];
        assert_eq!(calls, expected);
        assert_eq!(done.len(), 8, "{done:?}");
        assert!(failed.len() == 1 && failed[0].starts_with("group /stuck"), "{failed:?}");
    }
}
