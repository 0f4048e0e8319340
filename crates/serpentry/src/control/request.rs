//! What the control server asks of the host's driver, and how the driver says no.

use tokio::sync::oneshot;

use super::incidents::{Events, Incident, Incidents};
use super::metrics::MetricsSnapshot;
use super::routes::Routes;
use super::types::{Changed, Looked, Reloaded, Status, Stopping, Tenancy};

/// Requests on their way to the driver; a caller who finds it full waits, bounded by the time limit of its call.
pub const QUEUE: usize = 64;

/// Where an answer goes. Whoever waits may have gone: a failed send is no error.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// One call. An answer that is dropped counts as "the host is stopping".
#[derive(Debug)]
pub enum Request {
    Status {
        reply: Answer<Status>,
    },
    /// What its requests take, by route.
    Routes {
        app: String,
        reply: Answer<Routes>,
    },
    Metrics {
        reply: Answer<MetricsSnapshot>,
    },
    /// Newest first, at most `limit`.
    Incidents {
        app: Option<String>,
        limit: usize,
        reply: Answer<Incidents>,
    },
    /// By any of its names.
    Incident {
        name: incident::Name,
        reply: Answer<Incident>,
    },
    /// Those after that number, oldest first; without a number, all that are still known.
    Events {
        app: Option<String>,
        after: Option<u64>,
        reply: Answer<Events>,
    },
    /// Where the threads of its workers are.
    Stacks {
        app: String,
        reply: Answer<Looked>,
    },
    /// Which lines allocate memory, traced for so long.
    Memory {
        app: String,
        seconds: u16,
        reply: Answer<Looked>,
    },
    /// Read the file again and apply the difference. Answered when every application has switched or failed.
    Reload {
        reply: Answer<Reloaded>,
    },
    /// Answered when the new number is wanted, not when all of them serve.
    Scale {
        app: String,
        workers: u32,
        reply: Answer<Changed>,
    },
    /// Answered when new requests are refused; running ones finish.
    Stop {
        app: String,
        reply: Answer<Changed>,
    },
    /// Answered when the application serves (or sleeps, with `min = 0`), or could not be started.
    Start {
        app: String,
        reply: Answer<Changed>,
    },
    /// A new generation of the same configuration. Answered when it serves, or failed.
    Restart {
        app: String,
        reply: Answer<Changed>,
    },
    /// Another tenancy, live: a new generation boots there and takes over. Answered when it serves, or failed.
    Move {
        app: String,
        tenancy: Tenancy,
        reply: Answer<Changed>,
    },
    /// Stop the whole host gracefully. Answered at once.
    StopHost {
        reply: Answer<Stopping>,
    },
}

/// Why the driver did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no application {0:?}")]
    NoSuchApp(String),
    #[error("there is no incident {0} (any more)")]
    NoSuchIncident(String),
    /// The call or the configuration file makes no sense: nothing was changed. May be several lines.
    #[error("{0}")]
    Invalid(String),
    /// It was tried and did not work: what served before serves on.
    #[error("{text}")]
    Failed {
        text: String,
        /// Python's own words.
        traceback: Option<String>,
    },
    /// Something that excludes this is under way, for example another reload.
    #[error("{0}")]
    Busy(String),
    #[error("the host is stopping")]
    Stopping,
}
