//! What is used of the control interface's answers. Fields that are not known here are ignored, as its contract asks.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    pub host: HostStatus,
    pub apps: Vec<AppStatus>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct HostStatus {
    pub version: String,
    pub pid: u32,
    pub state: String,
    pub listeners: Vec<String>,
    pub memory_bytes: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct AppStatus {
    pub name: String,
    pub tenancy: String,
    pub concurrency: String,
    pub state: String,
    pub generation: u64,
    pub target: u32,
    pub workers: Vec<WorkerStatus>,
    pub requests: Requests,
    pub memory_bytes: Option<u64>,
    pub unenforced: Vec<Unenforced>,
    pub respawns: u64,
    pub last_error: Option<Mistake>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct WorkerStatus {
    pub id: u64,
    pub pid: Option<u32>,
    pub state: String,
    pub generation: u64,
    pub requests: u64,
    pub memory_bytes: Option<u64>,
    pub cpu_seconds: Option<f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Requests {
    pub total: u64,
    pub failed: u64,
    pub replayed: u64,
}

/// A limit that was asked for and does not hold on this machine.
#[derive(Debug, Clone, Deserialize)]
pub struct Unenforced {
    pub constraint: String,
    pub why: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Mistake {
    pub text: String,
    pub traceback: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Reloaded {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub unchanged: Vec<String>,
    pub failed: Vec<NotReloaded>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct NotReloaded {
    pub app: String,
    pub text: String,
}

impl AppStatus {
    /// It will not serve without somebody doing something.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.state == "backing off"
    }

    /// As many workers as wanted, all serving, none on its way out.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let serving = self.workers.iter().filter(|worker| worker.state == "serving").count();
        let all = self.workers.len() == serving && serving == self.target as usize;
        (self.state == "serving" && all) || self.state == "asleep" || self.state == "stopped"
    }

    /// What is known of its trouble.
    #[must_use]
    pub fn why(&self) -> String {
        match &self.last_error {
            Some(Mistake { text, traceback }) => format!("{text}\n{}", traceback.as_deref().unwrap_or("")),
            None => format!("it is {}", self.state),
        }
    }
}
