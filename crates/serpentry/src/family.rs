//! The processes this program is the parent of: which may be signalled, and which nobody waits for.
//!
//! Everything here happens on the main thread, which starts all workers, adopts those that a template forked, and reaps
//! them. A [`Handle`] is told in the same breath in which its process is reaped, so a number that may be somebody else's by
//! then is never signalled.
//!
//! Adopting has a price: *every* process that loses its parent below this one falls to it, daemons of applications
//! included. They are reaped when they end and otherwise left alone, as init would.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::say;

thread_local! {
    static FAMILY: Family = Family::default();
}

#[derive(Debug, Default)]
struct Family {
    /// Processes that somebody here waits for.
    known: RefCell<BTreeSet<u32>>,
    /// So many may become children at any moment without being known yet.
    adopting: Cell<usize>,
    adopts: Cell<bool>,
    look_again: Rc<Notify>,
}

/// A child that was not reaped yet, or the knowledge that it was.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pid: u32,
    reaped: Rc<Cell<bool>>,
}

impl Handle {
    /// A child that the caller waits for; [`Handle::reaped`] must follow without a pause once it was reaped. `None` when
    /// somebody waits for it already.
    pub(crate) fn new(pid: u32) -> Option<Self> {
        let new = FAMILY.with(|family| family.known.borrow_mut().insert(pid));
        new.then(|| Handle { pid, reaped: Rc::default() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Kill it and its process group, unless it is gone.
    pub(crate) fn kill(&self) {
        if !self.reaped.get() {
            jail::kill_group(self.pid);
        }
    }

    pub(crate) fn reaped(&self) {
        if self.reaped.replace(true) {
            return;
        }
        FAMILY.with(|family| {
            family.known.borrow_mut().remove(&self.pid);
            family.look_again.notify_one();
        });
    }
}

/// While it exists, a child that nobody knows may be one that is just being adopted: none is reaped.
#[derive(Debug)]
pub(crate) struct Adopting(());

impl Adopting {
    pub(crate) fn begin() -> Self {
        FAMILY.with(|family| family.adopting.set(family.adopting.get() + 1));
        Adopting(())
    }
}

impl Drop for Adopting {
    fn drop(&mut self) {
        FAMILY.with(|family| {
            family.adopting.set(family.adopting.get() - 1);
            family.look_again.notify_one();
        });
    }
}

/// Make this program the parent of orphans below it, for its whole life. Later calls do nothing.
///
/// # Errors
/// When the kernel does not allow it or signals cannot be listened to.
pub(crate) fn adopt_orphans() -> anyhow::Result<()> {
    let (adopts, look_again) =
        FAMILY.with(|family| (family.adopts.replace(true), Rc::clone(&family.look_again)));
    if adopts {
        return Ok(());
    }
    jail::become_subreaper().context("cannot become the parent of forked workers")?;
    let mut ended = signal(SignalKind::child()).context("cannot listen to the end of children")?;
    tokio::task::spawn_local(async move {
        loop {
            tokio::select! {
                _ = ended.recv() => {}
                () = look_again.notified() => {}
            }
            FAMILY.with(reap_orphans);
        }
    });
    Ok(())
}

fn reap_orphans(family: &Family) {
    if family.adopting.get() > 0 {
        return;
    }
    // Where the kernel does not list them they stay zombies until the program ends, which harms nobody.
    for pid in jail::children().unwrap_or_default() {
        if !family.known.borrow().contains(&pid) && jail::reap_orphan(pid) {
            say::debug(format_args!("process {pid}, left behind by an application, has ended"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Command, Stdio};

    use super::*;

    /// Whether a number was used again can not be arranged, but that it is not used after the end can.
    #[test]
    fn what_was_reaped_is_not_signalled() {
        let mut command = Command::new("cat");
        let mut child = command.process_group(0).stdin(Stdio::piped()).spawn().unwrap();
        let handle = Handle::new(child.id()).unwrap();
        let other = handle.clone();
        assert!(Handle::new(child.id()).is_none(), "one waits for it already");
        handle.reaped();
        other.kill();
        // It was not killed: it ends by itself, with its input.
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        // Now the number may be somebody else's, also for us.
        let new = Handle::new(other.pid()).unwrap();
        handle.reaped();
        assert!(Handle::new(new.pid()).is_none(), "the old handle has nothing to do with the new process");
    }

    #[test]
    fn what_runs_is_killed_with_its_group() {
        let mut child = Command::new("cat").process_group(0).stdin(Stdio::piped()).spawn().unwrap();
        let handle = Handle::new(child.id()).unwrap();
        handle.kill();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        handle.reaped();
    }
}
