//! The real program as the laboratory's object: started with a configuration of ours, in a directory of ours, asked and
//! changed by its control interface, and ended with us.
//!
//! What is known of it is the command line `PROGRAM host FILE`, the configuration file and the JSON of the control
//! interface; nothing of its source. Every wait has a deadline. It listens on loopback at a port that the kernel chooses.
//!
//! It dies with the laboratory: `--with-parent` lets it ask the kernel for a signal when the *thread* that started it ends,
//! so start it on one that lives as long as it is needed.

mod control;
mod plan;
mod status;

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

pub use control::{CallError, Control};
pub use plan::{AppPlan, HostPlan, toml};
pub use status::{AppStatus, HostStatus, Reloaded, Status, WorkerStatus};

use crate::load::Endpoint;

/// Until every application serves or has failed.
const START: Duration = Duration::from_secs(60);
/// What a call that only asks may take.
const ASK: Duration = Duration::from_secs(8);
/// The host itself gives up a change after 120 s.
const CHANGE: Duration = Duration::from_secs(125);
/// Longest graceful end, as the configuration says, and what cleaning up may take on top.
const GRACE: Duration = Duration::from_secs(2);
const END: Duration = Duration::from_secs(15);
/// Between two looks at something that cannot be waited for.
const GLANCE: Duration = Duration::from_millis(10);
/// Bytes of the host's own words that an error repeats, from the end.
const WORDS: usize = 2_000;

/// Why the host is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("{what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("the host {program} cannot be started: {source}")]
    Spawn { program: PathBuf, source: io::Error },
    #[error("the host ended ({status}) when it was to serve; its last words:\n{words}")]
    Ended { status: String, words: String },
    #[error("the host was not ready after {seconds} s: {state}; its last words:\n{words}", seconds = START.as_secs())]
    NotReady { state: String, words: String },
    #[error("{app} does not serve: {why}")]
    App { app: String, why: String },
    #[error("there is no application {0} in the host")]
    Unknown(String),
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A host that runs. Ended when dropped.
#[derive(Debug)]
pub struct Host {
    child: Child,
    directory: PathBuf,
    control: Control,
    address: SocketAddr,
    plan: HostPlan,
}

impl Host {
    /// Start the program with this plan. `directory` is empty, and becomes the host's: file, state, words.
    ///
    /// # Errors
    /// It does not come up, or one of its applications does not.
    pub fn start(program: &Path, plan: HostPlan, directory: &Path) -> Result<Host, HostError> {
        let file = directory.join("serpentry.toml");
        write(&file, &plan.text(directory))?;
        let words = directory.join("host.log");
        let log = File::create(&words).map_err(|source| file_error("cannot create", &words, source))?;
        let child = Command::new(program)
            .args(["host", "--with-parent", "--no-echo"])
            .arg(&file)
            // What the caller's environment says of another host does not concern this one.
            .env_remove("SERPENTRY_STATE")
            .env_remove("STATE_DIRECTORY")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env_remove("PORT")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|source| HostError::Spawn { program: program.to_owned(), source })?;
        let mut host = Host {
            child,
            directory: directory.to_owned(),
            control: Control::new(directory.join("state/control.sock")),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            plan,
        };
        let status = host.ready()?;
        let bound = status.host.listeners.iter().find_map(|url| url.strip_prefix("http://")?.parse().ok());
        host.address = bound.ok_or_else(|| HostError::NotReady {
            state: format!("it listens on {:?}", status.host.listeners),
            words: host.words(),
        })?;
        Ok(host)
    }

    fn ready(&mut self) -> Result<Status, HostError> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.exited() {
                return Err(HostError::Ended { status: status.to_string(), words: self.words() });
            }
            let answer = self.control.get::<Status>("/v1/status", ASK);
            match &answer {
                Ok(status) if status.host.state != "starting" => {
                    let failed = status.apps.iter().find(|app| app.is_broken());
                    return match failed {
                        Some(app) => Err(HostError::App { app: app.name.clone(), why: app.why() }),
                        None => Ok(answer?),
                    };
                }
                _ if Instant::now() >= deadline => {
                    let state = match answer {
                        Ok(status) => status.host.state,
                        Err(error) => error.to_string(),
                    };
                    return Err(HostError::NotReady { state, words: self.words() });
                }
                _ => sleep(GLANCE),
            }
        }
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The end of what it said on standard error.
    #[must_use]
    pub fn words(&self) -> String {
        let text = fs::read(self.directory.join("host.log")).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(WORDS)..]).into_owned()
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    #[must_use]
    pub fn plan(&self) -> &HostPlan {
        &self.plan
    }

    /// Where load is sent.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.address)
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Status, HostError> {
        Ok(self.control.get("/v1/status", ASK)?)
    }

    /// # Errors
    /// It does not answer, or does not know the application.
    pub fn app(&self, name: &str) -> Result<AppStatus, HostError> {
        let found = self.status()?.apps.into_iter().find(|app| app.name == name);
        found.ok_or_else(|| HostError::Unknown(name.to_owned()))
    }

    /// Process ids of the workers that serve.
    ///
    /// # Errors
    /// As [`Host::app`].
    pub fn workers(&self, app: &str) -> Result<Vec<u32>, HostError> {
        let app = self.app(app)?;
        Ok(app
            .workers
            .iter()
            .filter(|worker| worker.state == "serving")
            .filter_map(|worker| worker.pid)
            .collect())
    }

    /// Another configuration, live. Returns when every application has switched, and its old workers are gone, so that
    /// they are not measured with the new ones.
    ///
    /// # Errors
    /// It was refused, or an application could not be changed; then the old one serves on.
    pub fn apply(&mut self, plan: HostPlan) -> Result<Reloaded, HostError> {
        let file = self.directory.join("serpentry.toml");
        write(&file, &plan.text(&self.directory))?;
        let reloaded: Reloaded = self.control.post("/v1/reload", None, CHANGE)?;
        if let Some(failed) = reloaded.failed.first() {
            return Err(HostError::App { app: failed.app.clone(), why: failed.text.clone() });
        }
        self.plan = plan;
        self.settle()?;
        Ok(reloaded)
    }

    /// `shared` or `isolated`, until the file says something else.
    ///
    /// # Errors
    /// As [`Host::apply`].
    pub fn relocate(&self, app: &str, tenancy: &str) -> Result<(), HostError> {
        let body = json!({ "tenancy": tenancy });
        self.control.post::<serde_json::Value>(&format!("/v1/apps/{app}/move"), Some(&body), CHANGE)?;
        self.settle()
    }

    /// # Errors
    /// It was refused.
    pub fn scale(&self, app: &str, workers: u32) -> Result<(), HostError> {
        let body = json!({ "workers": workers });
        self.control.post::<serde_json::Value>(&format!("/v1/apps/{app}/scale"), Some(&body), ASK)?;
        self.settle()
    }

    /// A new generation of an application, and the old one gone.
    ///
    /// # Errors
    /// It does not start; then the old one serves on.
    pub fn restart(&self, app: &str) -> Result<(), HostError> {
        self.control.post::<serde_json::Value>(&format!("/v1/apps/{app}/restart"), None, CHANGE)?;
        self.settle()
    }

    /// Anything else that the control interface has.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn ask<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, HostError> {
        Ok(self.control.get(path, ASK)?)
    }

    /// Wait until every application has exactly the workers that it is to have.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn settle(&self) -> Result<(), HostError> {
        let deadline = Instant::now() + START;
        loop {
            let status = self.status()?;
            if let Some(app) = status.apps.iter().find(|app| app.is_broken()) {
                return Err(HostError::App { app: app.name.clone(), why: app.why() });
            }
            let Some(app) = status.apps.iter().find(|app| !app.is_settled()) else { return Ok(()) };
            if Instant::now() >= deadline {
                let why = format!("it is {} after {} s", app.state, START.as_secs());
                return Err(HostError::App { app: app.name.clone(), why });
            }
            sleep(GLANCE);
        }
    }

    /// End it, gracefully if it can.
    ///
    /// # Errors
    /// It did not end by itself and was killed.
    pub fn stop(mut self) -> Result<(), HostError> {
        let status = self.end();
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(HostError::Ended { status: status.to_string(), words: self.words() }),
            None => Err(HostError::Ended { status: "killed".to_owned(), words: self.words() }),
        }
    }

    fn end(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.exited() {
            return Some(status);
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Not yet waited for, so the number is still its own.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let deadline = Instant::now() + GRACE + END;
        while Instant::now() < deadline {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            sleep(GLANCE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}

fn write(path: &Path, text: &str) -> Result<(), HostError> {
    fs::write(path, text).map_err(|source| file_error("cannot write", path, source))
}

fn file_error(what: &'static str, path: &Path, source: io::Error) -> HostError {
    HostError::File { what, path: path.to_owned(), source }
}
