//! The thread that prepares and gives back places, one job after the other.
//!
//! What it does may block: directories in cgroupfs, processes that take their time to die, file systems that are made. One
//! at a time, so that giving back and preparing the same thing cannot overtake each other.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context as _;
use jail::cgroup::Usage;
use tokio::sync::{mpsc, oneshot};

use super::estate::{Denied, Estate, Pool, Prepared, Settings, Token};
use super::register::Register;
use super::shortage::Shortage;
use super::wants::Wants;
use crate::say;

/// Directories of the system, which applications cannot do without.
const SYSTEM: [&str; 12] =
    ["/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/run", "/sys", "/usr", "/var"];

/// Jobs that may wait: a few for each of the most applications of one host.
const MOST_WAITING: usize = 65_536;

/// Where jobs are sent. Ends the thread when the last one is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    jobs: mpsc::Sender<Job>,
    /// What of the file system is whose, so that it can be hidden from the others.
    grounds: Rc<RefCell<Grounds>>,
    register: Register,
}

/// Paths that isolated applications must not see, but for their own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grounds {
    /// The host's state directory.
    pub(crate) state: PathBuf,
    /// Its configuration, with the environment of all applications.
    pub(crate) file: PathBuf,
    /// By application.
    pub(crate) apps: BTreeMap<String, PathBuf>,
}

enum Job {
    Prepare {
        wants: Box<Wants>,
        reply: oneshot::Sender<Result<Prepared, Denied>>,
    },
    /// A way out for a place whose room is made.
    Connect {
        token: Token,
        wants: Box<Wants>,
        namespace: OwnedFd,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Other limits for a place.
    Adjust {
        token: Token,
        wants: Box<Wants>,
    },
    Release {
        token: Token,
    },
    /// Another ceiling for the shared applications together.
    Pool(Pool),
    /// By application: what the control groups of its places say, the latest place first.
    Usage {
        reply: oneshot::Sender<HashMap<String, Usage>>,
    },
    /// A process of this application was ended by SIGKILL.
    Shortage {
        app: String,
        reply: oneshot::Sender<Option<Shortage>>,
    },
    /// See whether others have changed what keeps applications apart.
    Refresh,
    /// Give everything back.
    Sweep {
        reply: oneshot::Sender<()>,
    },
}

impl Grounds {
    /// What an application must not see.
    fn hidden_from(&self, app: &str) -> Vec<PathBuf> {
        let own = self.apps.get(app);
        let others = self.apps.iter().filter(|(name, path)| *name != app && Some(*path) != own);
        let mut hidden: Vec<PathBuf> = others.map(|(_, path)| path.clone()).collect();
        hidden.push(self.state.clone());
        hidden.push(self.file.clone());
        // Editors put a new file in the place of the old, and with that what hid the old one is gone: its directory is hidden
        // too, if that is not needed.
        let folder =
            self.file.parent().filter(|folder| !SYSTEM.iter().any(|system| *folder == Path::new(system)));
        hidden.extend(
            folder.filter(|folder| own.is_none_or(|own| !folder.starts_with(own))).map(Path::to_owned),
        );
        hidden
    }
}

impl Keeper {
    /// Take hold of what this host may use. Blocks while leftovers of a dead host of the same name are cleared away. The
    /// program's main thread, which calls this, moves into the host's own control group with all others.
    ///
    /// # Errors
    /// When no thread can be created.
    pub(crate) fn start(settings: Settings) -> anyhow::Result<Keeper> {
        let (jobs, mut waiting) = mpsc::channel(MOST_WAITING);
        let mut estate = Estate::take(settings);
        let register = estate.register();
        std::thread::Builder::new()
            .name("tenancy".to_owned())
            .spawn(move || {
                while let Some(job) = waiting.blocking_recv() {
                    carry_out(&mut estate, job);
                }
            })
            .context("cannot create the thread that keeps applications apart")?;
        Ok(Keeper { jobs, grounds: Rc::default(), register })
    }

    /// What there is, to be looked at without waiting for this thread.
    pub(crate) fn register(&self) -> Register {
        self.register.clone()
    }

    /// What is whose. Holds for rooms that are made from now on.
    pub(crate) fn set_grounds(&self, grounds: Grounds) {
        *self.grounds.borrow_mut() = grounds;
    }

    /// What an application must not see.
    pub(super) fn neighbours(&self, app: &str) -> Vec<PathBuf> {
        self.grounds.borrow().hidden_from(app)
    }

    /// A place as wanted.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(super) async fn prepare(&self, wants: &Wants) -> Result<Prepared, Denied> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Prepare { wants: Box::new(wants.clone()), reply });
        answer.await.unwrap_or_else(|_| Err("the host is stopping".to_owned().into()))
    }

    /// Give the network of a room its way out.
    ///
    /// # Errors
    /// Why that is not possible: a sentence.
    pub(super) async fn connect(
        &self,
        token: Token,
        wants: &Wants,
        namespace: OwnedFd,
    ) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Connect { token, wants: Box::new(wants.clone()), namespace, reply });
        answer.await.unwrap_or_else(|_| Err("the host is stopping".to_owned()))
    }

    pub(super) fn adjust(&self, token: Token, wants: &Wants) {
        self.send(Job::Adjust { token, wants: Box::new(wants.clone()) });
    }

    pub(super) fn release(&self, token: Token) {
        self.send(Job::Release { token });
    }

    pub(crate) fn set_pool(&self, pool: Pool) {
        self.send(Job::Pool(pool));
    }

    /// Whether a process of the application that was ended by SIGKILL was so for want of memory.
    pub(crate) async fn shortage(&self, app: String) -> Option<Shortage> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Shortage { app, reply });
        answer.await.ok().flatten()
    }

    pub(crate) fn refresh(&self) {
        self.send(Job::Refresh);
    }

    /// What applications use, by name. Those without a place are not there.
    pub(crate) fn usage(&self) -> oneshot::Receiver<HashMap<String, Usage>> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Usage { reply });
        answer
    }

    /// Give everything back. Answered when it is done, or as far as it can be done.
    pub(crate) async fn sweep(&self) {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Sweep { reply });
        let _ = answer.await;
    }

    fn send(&self, job: Job) {
        // The thread ends only with the program, or by a defect. Who waits for an answer is told by its end.
        if self.jobs.try_send(job).is_err() {
            say::error(format_args!(
                "the thread that keeps applications apart takes no more orders; what one holds may be given back only at the end"
            ));
        }
    }
}

fn carry_out(estate: &mut Estate, job: Job) {
    // Whoever asked may have gone.
    match job {
        Job::Prepare { wants, reply } => {
            if let Err(Ok(prepared)) = reply.send(estate.prepare(&wants)) {
                estate.release(prepared.token);
            }
        }
        Job::Connect { token, wants, namespace, reply } => {
            let _ = reply.send(estate.connect(token, &wants, &namespace));
        }
        Job::Adjust { token, wants } => estate.adjust(token, &wants),
        Job::Release { token } => estate.release(token),
        Job::Pool(pool) => estate.set_pool(pool),
        Job::Shortage { app, reply } => drop(reply.send(estate.shortage(&app))),
        Job::Refresh => estate.refresh(),
        Job::Usage { reply } => drop(reply.send(estate.usage())),
        Job::Sweep { reply } => {
            estate.sweep();
            let _ = reply.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(file: &str, own: &str) -> Vec<String> {
        let apps = [("shop", own), ("blog", "/srv/blog")];
        let grounds = Grounds {
            state: "/srv/.serpentry".into(),
            file: file.into(),
            apps: apps.map(|(name, path)| (name.to_owned(), path.into())).into(),
        };
        let mut hidden: Vec<String> =
            grounds.hidden_from("shop").iter().map(|path| path.display().to_string()).collect();
        hidden.sort();
        hidden
    }

    #[test]
    fn the_configuration_is_hidden_with_its_directory() {
        let (blog, state) = ("/srv/blog", "/srv/.serpentry");
        assert_eq!(hidden("/srv/serpentry.toml", "/srv/shop"), ["/srv", state, blog, "/srv/serpentry.toml"]);
        let system = hidden("/etc/serpentry.toml", "/srv/shop");
        assert_eq!(system, ["/etc/serpentry.toml", state, blog], "/etc is needed");
        // Beside the application's own files it can only be hidden itself.
        assert_eq!(hidden("/srv/shop/conf/x.toml", "/srv/shop"), [state, blog, "/srv/shop/conf/x.toml"]);
        assert_eq!(hidden("/srv/shop/x.toml", "/srv/shop"), [state, blog, "/srv/shop/x.toml"]);
    }
}
