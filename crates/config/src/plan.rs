//! The resolved plan: what the file, the defaults and the environment together say, with nothing left open.
//!
//! Plain data. Two plans are compared to find what changed, application by application; where a value came from is not
//! part of that and is kept in [`crate::Origins`]. `None` means "no limit", never "not said". Paths are absolute.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::names::named;

/// Everything one host does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub host: Host,
    /// In the order of the file.
    pub apps: Vec<App>,
}

impl Plan {
    /// The application of that name.
    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name == name)
    }
}

/// What belongs to no single application.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Host {
    /// Addresses in full: `HOST:PORT`, `[IPv6]:PORT`, `unix:/PATH` or `fd://N`; at least one, each once.
    pub listen: Vec<String>,
    /// State directory: control socket, logs, incidents.
    pub state: PathBuf,
    /// Client connections of the whole host.
    pub connections: usize,
    /// Addresses, networks or `*`, separated by commas.
    pub forwarded_allow_ips: String,
    /// `-` is standard output.
    pub access_log: Option<PathBuf>,
    pub access_log_format: AccessLogFormat,
    /// The application that gets requests which no route matches. Set to the only application if that has no routes.
    pub default_app: Option<String>,
    /// For the host to stop: from the signal until everything is killed.
    pub graceful_timeout: Duration,
    /// Before the application is known: the largest of the applications'.
    pub header_timeout: Duration,
    /// Before the application is known: the largest of the applications'.
    pub keepalive_timeout: Duration,
    /// Before the application is known: the largest of the applications', in bytes.
    pub header_size: u64,
    pub log_level: LogLevel,
    /// Bytes after which an application's log is rotated.
    pub log_size: u64,
    /// Rotated logs that are kept.
    pub log_files: u32,
    /// Cores that all shared applications together may use.
    pub pool_cpu: Option<f64>,
    /// Bytes of memory that all shared applications together may use.
    pub pool_memory: Option<u64>,
    /// Who is told about incidents.
    pub on_incident: Option<Hook>,
}

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Hook {
    Program(PathBuf),
    /// `http://` URL: `HOST:PORT` to connect to, the Host field, and the path with its query.
    Url {
        address: String,
        host: String,
        path: String,
    },
}

impl Hook {
    /// Longest URL.
    const LONGEST: usize = 2_048;

    /// Take an `http://` URL apart; `None` if it is none, or one with more than host, port, path and query.
    pub(crate) fn url(text: &str) -> Option<Hook> {
        let rest = text.strip_prefix("http://")?;
        let (host, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let graphic = text.len() <= Self::LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
        let port = match host.rsplit_once(':') {
            // `[::1]` has colons and no port.
            Some((_, port)) if !port.ends_with(']') => Some(port.parse::<u16>().ok()?),
            _ => None,
        };
        let name = host.rsplit_once(':').filter(|_| port.is_some()).map_or(host, |(name, _)| name);
        let bracketed = name.starts_with('[') && name.ends_with(']');
        let sound = !name.is_empty() && (bracketed || !name.contains([':', '[', ']']));
        if !graphic || !sound || text.contains(['@', '#', '\\']) {
            return None;
        }
        let address = if port.is_some() { host.to_owned() } else { format!("{host}:80") };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(Hook::Url { address, host: host.to_owned(), path: format!("{slash}{path}") })
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hook::Program(path) => path.display().fmt(f),
            Hook::Url { host, path, .. } => write!(f, "http://{host}{path}"),
        }
    }
}

/// One application.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct App {
    /// `[a-z0-9][a-z0-9_-]{0,62}`.
    pub name: String,
    /// `module:attribute`, or `module` for `module:application` and the like.
    pub app: String,
    /// The attribute is called to get the application.
    pub factory: bool,
    pub directory: PathBuf,
    /// Absolute, or one bare name to be looked up in `PATH`. `None`: find it.
    pub python: Option<PathBuf>,
    /// Each once; empty only for the default application.
    pub routes: Vec<Route>,
    pub tenancy: Tenancy,
    /// Name or number of the user its workers run as. `None`: the host's own if it is shared, one of its own if isolated.
    pub user: Option<String>,
    pub enforce: Enforcement,
    pub interface: Interface,
    pub concurrency: Concurrency,
    /// Requests at a time in a worker whose concurrency is `threads`.
    pub threads: u32,
    pub lifespan: Lifespan,
    pub event_loop: EventLoop,
    pub workers: Workers,
    pub preload: bool,
    /// Sorted by name, each name once.
    pub env: Vec<(String, String)>,
    /// Requests after which a worker is replaced.
    pub max_requests: Option<u64>,
    /// Up to this many are added to `max_requests` at random.
    pub max_requests_jitter: u64,
    /// Bytes of memory above which a worker is replaced.
    pub recycle_memory: Option<u64>,
    pub start_timeout: Duration,
    pub graceful_timeout: Duration,
    /// Share of requests that may be run again after a worker died: 0 to 1.
    pub retry_budget: f64,
    /// Clients are told what their requests took.
    pub server_timing: bool,
    pub limits: Limits,
    /// Longest prefix first.
    pub overrides: Vec<RouteOverride>,
}

/// How many processes. `workers = 3` gives `min` = `max` = 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Workers {
    /// 0: the first request starts one.
    pub min: u32,
    /// At least 1 and at least `min`.
    pub max: u32,
    /// How long a worker above `min` may be idle.
    pub idle: Duration,
}

/// Which requests an application gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Route {
    pub host: HostPattern,
    /// Empty for all paths, else like "/shop": no slash at the end.
    pub prefix: String,
}

/// The host names of a route, in lower case and without port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostPattern {
    Any,
    Exact(String),
    /// `Wildcard("example.com")` is `*.example.com`: any number of labels below, not `example.com` itself.
    Wildcard(String),
}

/// What an application may use. Bytes, seconds, cores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    /// Cores.
    pub cpu: Option<f64>,
    /// 1 to 10000, as cgroup v2 has it; 100 is ordinary.
    pub cpu_weight: u32,
    pub memory: Option<u64>,
    pub disk_read: Option<Rate>,
    pub disk_write: Option<Rate>,
    pub disk_space: Option<u64>,
    /// Processes and threads of all workers together.
    pub processes: u32,
    /// Per process.
    pub open_files: u32,
    pub connections: usize,
    pub queue: usize,
    pub queue_timeout: Duration,
    pub request_timeout: Option<Duration>,
    pub first_byte_timeout: Option<Duration>,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub keepalive_timeout: Duration,
    pub header_size: u64,
    pub body_size: u64,
    /// Bytes per second.
    pub bandwidth_in: Option<u64>,
    /// Bytes per second.
    pub bandwidth_out: Option<u64>,
    /// `None`: what the system gives.
    pub socket_buffers: Option<u64>,
    pub egress: Egress,
    /// Largest WebSocket message.
    pub message_size: u64,
}

/// Other limits for some paths of an application. `None` leaves the application's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteOverride {
    /// A prefix, on segment boundaries, of the path inside the application: without the route's own prefix.
    pub prefix: String,
    /// `Some(None)`: no limit here.
    pub request_timeout: Option<Option<Duration>>,
    pub first_byte_timeout: Option<Option<Duration>>,
    pub body_size: Option<u64>,
}

/// How fast a disk may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rate {
    /// Per second.
    Bytes(u64),
    /// Per second.
    Operations(u64),
}

named! {
    /// How an application shares the machine.
    pub enum Tenancy {
        Shared "shared" "In one pool with the other shared applications: dense, with fair shares by weight.",
        Isolated "isolated" "Its own cores, memory, namespaces and view of the disk.",
    }

    /// What becomes of an application with limits that the machine cannot keep.
    pub enum Enforcement {
        Available "available" "It starts; what is not enforced is reported in `serpentry status` and `serpentry doctor`.",
        Strict "strict" "It does not start.",
    }

    /// Kind of application.
    pub enum Interface {
        Auto "auto" "Found out when the application is loaded.",
        Wsgi "wsgi" "PEP 3333.",
        Asgi "asgi" "ASGI 3.",
    }

    /// How a worker runs requests.
    pub enum Concurrency {
        Auto "auto" "ASGI: `async`. WSGI: `threads` if `threads` is above 1, else `sync`.",
        Sync "sync" "One request at a time.",
        Threads "threads" "As many at a time as `threads` says.",
        Async "async" "An event loop with many requests.",
    }

    /// Startup and shutdown of an ASGI application.
    pub enum Lifespan {
        Auto "auto" "Tried; the worker goes on without if the application does not support it.",
        On "on" "Must succeed.",
        Off "off" "Not used.",
    }

    /// Event loop of async workers.
    pub enum EventLoop {
        Auto "auto" "uvloop if the application's environment has it, else asyncio.",
        Asyncio "asyncio" "Python's own.",
        Uvloop "uvloop" "Must be installed in the application's environment.",
    }

    /// Where an application may connect to.
    pub enum Egress {
        Host "host" "Wherever the host can.",
        None "none" "Nowhere.",
        Nat "nat" "Outside, through a network of its own; not to other processes of this machine.",
    }

    /// Form of the access log.
    pub enum AccessLogFormat {
        Common "common" "NCSA common log format.",
        Combined "combined" "The same with referrer and user agent.",
        Json "json" "One JSON object per line.",
    }

    /// What the host says on standard error.
    pub enum LogLevel {
        Error "error" "Errors.",
        Warning "warning" "And warnings.",
        Info "info" "And what happens to workers.",
        Debug "debug" "Everything.",
    }
}
