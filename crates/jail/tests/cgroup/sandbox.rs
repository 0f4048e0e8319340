//! A tree that is gone after the test, however the test ends, and processes in it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jail::cgroup::{Controller, Group, Hierarchies, Limits, Outcome, Tree};
use jail::machine::Roots;

/// Long enough for whatever is waited for, on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A tree moves its process: one at a time in a process with several tests.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct Sandbox {
    tree: Option<Tree>,
    pub(crate) name: String,
    _turn: MutexGuard<'static, ()>,
}

impl Sandbox {
    /// `None` when one of these controllers is not to be had here; says so.
    pub(crate) fn with(controllers: &[Controller]) -> Option<Self> {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("test-{}", std::process::id());
        let tree = Tree::create(&Hierarchies::find(&Roots::default()).unwrap(), &name).unwrap();
        // Whatever else this machine is doing, what is allowed can be had.
        accepted_if_any(&tree.whole().apply(&Limits { cpu_weight: Some(10_000), ..Limits::default() }));
        let missing =
            tree.missing().iter().find(|missing| controllers.contains(&missing.controller)).cloned();
        let sandbox = Sandbox { tree: Some(tree), name, _turn: turn };
        match missing {
            None => Some(sandbox),
            Some(missing) => {
                println!("skipped: {}", missing.refusal.why);
                None
            }
        }
    }

    /// Drop the tree without removing it.
    pub(crate) fn lose(&mut self) {
        self.tree = None;
    }

    /// To be removed in the end.
    pub(crate) fn give(&mut self, tree: Tree) {
        self.tree = Some(tree);
    }

    /// Directories that a host of this name, which this process started or was, left: below this one's group or those above.
    pub(crate) fn left(&self, name: &str) -> Vec<PathBuf> {
        let own = format!("serpentry-{name}");
        let here = self.tree().host().entries();
        let above = here.iter().flat_map(|entry| entry.ancestors().skip(1).take(3));
        above.map(|dir| dir.join(&own)).filter(|dir| dir.exists()).collect()
    }

    pub(crate) fn tree(&self) -> &Tree {
        self.tree.as_ref().unwrap()
    }

    /// An application's group with these limits, all of which the kernel must take.
    pub(crate) fn group(&self, limits: &Limits) -> Group {
        let group = self.tree().group("isolated/app").unwrap();
        accepted(&group.apply(limits));
        group
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let result = self.tree.take().map(Tree::remove);
        if !std::thread::panicking() {
            result.map_or(Ok(()), |result| result).unwrap();
        }
    }
}

/// Without the controller there is nothing to accept.
fn accepted_if_any(outcomes: &[Outcome]) {
    accepted(&outcomes.iter().filter(|outcome| !outcome.written.is_empty()).cloned().collect::<Vec<_>>());
}

pub(crate) fn accepted(outcomes: &[Outcome]) {
    for outcome in outcomes {
        assert!(outcome.enforced(), "{outcome:?}");
    }
}

/// A process that has joined the group before it runs the script. Killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn shell(group: &Group, script: &str) -> Self {
        let join: String = group
            .entries()
            .iter()
            .map(|entry| format!("echo 0 > '{}' || exit 99\n", entry.display()))
            .collect();
        let mut command = Command::new("/bin/bash");
        command
            .arg("-c")
            .arg(join + script)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Process(command.spawn().unwrap())
    }

    pub(crate) fn python(group: &Group, script: &str) -> Self {
        assert!(!script.contains('"'), "it is quoted with these");
        Self::shell(group, &format!("exec python3 -c \"{script}\""))
    }

    /// Its exit status, or minus the signal, and its output.
    pub(crate) fn finish(mut self) -> (i32, String) {
        use std::io::Read as _;
        use std::os::unix::process::ExitStatusExt as _;
        let status = wait_for("the process to end", || self.0.try_wait().unwrap());
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (status.code().unwrap_or_else(|| -status.signal().unwrap()), text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
