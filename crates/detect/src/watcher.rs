//! All detectors of one application.

use std::time::Duration;

use incident::Detection;

use crate::{Memory, NearLimit, ProcessLimit, Processes, Quota, Room, Throttled, VolumeFull};

/// What was read of an application at one moment. `None`: it has no such limit, or this machine does not tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// With the cores that its quota is worth.
    pub quota: Option<(Quota, f64)>,
    pub memory: Option<Memory>,
    pub processes: Option<Processes>,
    pub volume: Option<Room>,
    /// Requests that are over, since whenever, and those that are not.
    pub requests: u64,
    pub in_flight: u64,
}

/// Looks at one application, as long as it has processes.
#[derive(Debug)]
pub struct Watcher {
    app: String,
    requests: Option<u64>,
    throttled: Throttled,
    near: NearLimit,
    processes: ProcessLimit,
    volume: VolumeFull,
}

impl Watcher {
    #[must_use]
    pub fn new(app: String) -> Self {
        Watcher {
            app,
            requests: None,
            throttled: Throttled::default(),
            near: NearLimit::default(),
            processes: ProcessLimit::default(),
            volume: VolumeFull::default(),
        }
    }

    /// What is wrong with it, if that is proven by now.
    pub fn look(&mut self, at: Duration, now: &Reading) -> Vec<Detection> {
        let app = self.app.as_str();
        let before = self.requests.replace(now.requests);
        let awaited = now.in_flight > 0 || before.is_some_and(|before| now.requests > before);
        let mut found = Vec::new();
        if let Some((quota, limit)) = now.quota {
            found.extend(self.throttled.look(at, quota, limit, awaited, app));
        }
        if let Some(memory) = now.memory {
            found.extend(self.near.look(at, memory, None, app));
        }
        if let Some(processes) = now.processes {
            found.extend(self.processes.look(processes, app));
        }
        if let Some(room) = now.volume {
            found.extend(self.volume.look(at, room, Some(app)));
        }
        found
    }
}
