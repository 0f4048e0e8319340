//! What a service manager is told, and when. Without one all of this does nothing.

use std::collections::HashSet;
use std::time::Duration;

use crate::{say, service_manager};

/// The way to the service manager, and how far the start has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notify {
    period: Option<Duration>,
    /// Applications that were there at the start and have neither been ready nor failed yet.
    starting: HashSet<router::App>,
    ready: bool,
}

/// How far the start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Starting,
    /// Everything is settled, and the service manager has not been told.
    Ready,
    Told,
}

impl Notify {
    /// `WATCHDOG_USEC` is halved: a host that reports twice per period is never late (sd_watchdog_enabled(3)).
    pub(crate) fn from_environment() -> Self {
        Notify { period: service_manager::watchdog().map(|period| period / 2), ..Notify::default() }
    }

    pub(crate) fn watchdog_period(&self) -> Option<Duration> {
        self.period
    }

    /// These are being started.
    pub(crate) fn expect(&mut self, apps: impl IntoIterator<Item = router::App>) {
        self.starting.extend(apps);
    }

    /// This one has been ready, has failed, or is gone.
    pub(crate) fn settled(&mut self, app: router::App) {
        self.starting.remove(&app);
    }

    pub(crate) fn state(&self) -> State {
        match (self.ready, self.starting.is_empty()) {
            (true, _) => State::Told,
            (false, true) => State::Ready,
            (false, false) => State::Starting,
        }
    }

    pub(crate) fn ready(&mut self, status: &str) {
        self.ready = true;
        send(&["READY=1", &format!("STATUS={status}")]);
    }

    /// `Type=notify-reload` wants the time of the monotonic clock with it, so that the answer can be told from an older one.
    pub(crate) fn reloading(&self) {
        send(&["RELOADING=1", &service_manager::monotonic()]);
    }

    /// A reload is done, well or not.
    pub(crate) fn reloaded(&self, status: &str) {
        if self.ready {
            send(&["READY=1", &format!("STATUS={status}")]);
        }
    }

    pub(crate) fn stopping(&self) {
        send(&["STOPPING=1"]);
    }

    pub(crate) fn watchdog(&self) {
        send(&["WATCHDOG=1"]);
    }
}

fn send(lines: &[&str]) {
    if let Err(error) = service_manager::tell(lines) {
        say::debug(format_args!("the service manager cannot be told: {error}"));
    }
}
