//! The command line. Names and defaults follow the habits of gunicorn and uvicorn where they agree.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    AppArguments, MoveArguments, ReloadArguments, ScaleArguments, StatusArguments, StopArguments,
};
use crate::commands::{EventsArguments, ExplainArguments, LookArguments, MemoryArguments, WhyArguments};
use crate::say::Level;
use crate::units;

/// Host Python web applications.
#[derive(Debug, Parser)]
#[command(name = "serpentry", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Host one application.
    Serve(Box<ServeArguments>),

    /// Host many applications, as a configuration file says.
    Host(HostArguments),

    /// Show all that is wrong with a configuration file.
    #[command(after_long_help = keys())]
    Check(CheckArguments),
    /// Show which limits this machine can enforce, by what, and what is in the way of the others.
    Doctor(DoctorArguments),
    /// Make a fault happen in a test application, and show how it is explained.
    Drill(Box<crate::drill::DrillArguments>),
    /// Show what applications wrote.
    Logs(crate::logs::command::LogsArguments),

    /// Send requests at planned times and show how long they took.
    Load(Box<crate::load_command::LoadArguments>),
    /// Find out how to host an application: shared or isolated, sync, threads or async, how many workers.
    Compare(Box<crate::compare_command::CompareArguments>),
    /// Put what is commonly said about hosting to the test on this machine, by measurement.
    Claims(crate::claims_command::ClaimsArguments),
    /// Look after the laboratory itself.
    Lab(crate::claims_command::LabArguments),

    /// Say what an application needs for a given traffic, and how far to believe it.
    Plan(Box<crate::plan_command::PlanArguments>),

    /// Look at a project and write a configuration file.
    Init(InitArguments),
    /// Show what the running host and its applications are doing.
    Status(StatusArguments),
    /// Watch the running host live: applications, workers, where time goes, incidents.
    Top(crate::top::TopArguments),
    /// Say what went wrong, in sentences: what happened, to whom, and what to do.
    Why(WhyArguments),
    /// Show what happens to incidents: opened, grew, closed.
    Events(EventsArguments),
    /// Show where the threads of an application's workers are.
    Stacks(LookArguments),
    /// Show which lines of an application allocate memory that stays.
    Memory(MemoryArguments),
    /// Explain a code such as N11; without one, list them all.
    Explain(ExplainArguments),
    /// Let the running host read its file again and apply what changed.
    Reload(ReloadArguments),
    /// Set the number of workers of an application.
    Scale(ScaleArguments),
    /// Stop an application, or the whole host, after its running requests.
    Stop(StopArguments),
    /// Start an application that was stopped.
    Start(AppArguments),
    /// Replace an application's workers by new ones, without losing a request.
    Restart(AppArguments),
    /// Give an application the other tenancy while it serves, without losing a request.
    Move(MoveArguments),
}

/// Kind of application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Interface {
    Auto,
    Wsgi,
    Asgi,
}

/// How a worker runs requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Concurrency {
    /// ASGI: async. WSGI: threads if --threads is above 1, else sync.
    Auto,
    /// One at a time.
    Sync,
    /// --threads at a time.
    Threads,
    /// An event loop.
    Async,
}

/// How an application shares the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tenancy {
    /// With all others.
    Shared,
    /// Its own cores, memory and view of the machine.
    Isolated,
}

/// Whether an ASGI application has startup and shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lifespan {
    /// Try it; go on without if the application does not support it.
    Auto,
    On,
    Off,
}

/// Event loop of async workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventLoop {
    /// uvloop if the application's environment has it.
    Auto,
    Asyncio,
    Uvloop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Common,
    Combined,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// The application: `module`, `module:attribute` or `module:factory()`
    pub(crate) app: String,

    /// Where to listen: HOST:PORT, unix:PATH or fd://N; may be repeated [default: 127.0.0.1:8000, or 0.0.0.0:$PORT]
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) bind: Vec<String>,

    /// Worker processes
    #[arg(short, long, value_name = "N", env = "WEB_CONCURRENCY", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: u16,

    /// Requests at a time in each worker of a WSGI application
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,

    /// How a worker runs requests
    #[arg(long, value_enum, default_value_t = Concurrency::Auto)]
    pub(crate) concurrency: Concurrency,

    /// How the application shares the machine; isolated needs root
    #[arg(long, value_enum, default_value_t = Tenancy::Shared)]
    pub(crate) tenancy: Tenancy,

    /// Cores it may use: whole ones are its own if it is isolated, a fraction is a quota [default: no limit; 1 if isolated]
    #[arg(long, value_name = "CORES", value_parser = units::cores)]
    pub(crate) cpu: Option<f64>,

    /// Memory of all workers together; a worker is killed at the limit [default: no limit; 512MiB if isolated]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) memory: Option<u64>,

    /// Kind of application
    #[arg(long, value_enum, default_value_t = Interface::Auto)]
    pub(crate) interface: Interface,

    /// Startup and shutdown of an ASGI application
    #[arg(long, value_enum, default_value_t = Lifespan::Auto)]
    pub(crate) lifespan: Lifespan,

    /// Event loop of async workers
    #[arg(long = "loop", value_enum, default_value_t = EventLoop::Auto)]
    pub(crate) event_loop: EventLoop,

    /// Longest time for a request, from its arrival to the last byte of the answer; 0 for none
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration)]
    pub(crate) timeout: Duration,

    /// Longest time for requests to finish when stopping or replacing workers
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration)]
    pub(crate) graceful_timeout: Duration,

    /// Longest time for a worker to become ready
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::duration)]
    pub(crate) start_timeout: Duration,

    /// How long an idle connection is kept
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = units::duration)]
    pub(crate) keep_alive: Duration,

    /// Longest time for a request head to arrive
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    pub(crate) header_timeout: Duration,

    /// Longest pause while a request body arrives or a response is read
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration)]
    pub(crate) body_timeout: Duration,

    /// Largest request body
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = units::size)]
    pub(crate) max_body: u64,

    /// Largest request head (at most 128KiB)
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = units::size)]
    pub(crate) max_header: u64,

    /// Requests that may wait for a worker; more are answered 503
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) queue: usize,

    /// Longest wait for a worker; then the answer is 503
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    pub(crate) queue_timeout: Duration,

    /// Open client connections; more are answered 503
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) connections: usize,

    /// Replace a worker after this many requests; 0 for never
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_requests: u64,

    /// Add up to this many to --max-requests, at random, so that workers are not replaced together
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_requests_jitter: u64,

    /// Import the application once and fork the workers from that process: they start in milliseconds and share memory.
    /// What an application opens while it is imported is shared too (docs/preload.md)
    #[arg(long)]
    pub(crate) preload: bool,

    /// Restart workers when a Python file in the directory changes (for development)
    #[arg(long)]
    pub(crate) reload: bool,

    /// Call the attribute to get the application
    #[arg(long)]
    pub(crate) factory: bool,

    /// The application's directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) chdir: PathBuf,

    /// The application's interpreter [default: .venv or venv in the directory, else python3]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,

    /// Set an environment variable for the workers; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) env: Vec<(String, String)>,

    /// Where the application is mounted, for example /shop
    #[arg(long, value_name = "PREFIX", default_value = "", value_parser = root_path)]
    pub(crate) root_path: String,

    /// Proxies whose X-Forwarded-* and Forwarded fields are believed: addresses, networks, or * for any
    #[arg(long, value_name = "LIST", env = "FORWARDED_ALLOW_IPS", default_value = "127.0.0.1,::1", value_parser = router::TrustedProxies::parse)]
    pub(crate) forwarded_allow_ips: router::TrustedProxies,

    /// Write an access log to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) access_log: Option<PathBuf>,

    /// Form of the access log
    #[arg(long, value_enum, default_value_t = LogFormat::Combined)]
    pub(crate) log_format: LogFormat,

    /// What is said on standard error
    #[arg(long, value_enum, default_value_t = Level::Info)]
    pub(crate) log_level: Level,
}

#[derive(Debug, Args)]
pub(crate) struct HostArguments {
    /// The configuration
    #[arg(value_name = "FILE", default_value = "serpentry.toml")]
    pub(crate) file: PathBuf,

    /// Reload when the file changes
    #[arg(long)]
    pub(crate) watch: bool,

    /// Do not show on standard error what the applications write; it is in their logs in any case
    #[arg(long)]
    pub(crate) no_echo: bool,

    /// Stop, as on TERM, when the thread that started it ends: the laboratory's hosts end with it
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// The project's directory; nothing in it is run
    #[arg(default_value = ".")]
    pub(crate) directory: PathBuf,

    /// The file to write [default: serpentry.toml in the directory]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write to standard output instead, as if to that file
    #[arg(long)]
    pub(crate) print: bool,

    /// Overwrite the file if there is one
    #[arg(long, conflicts_with = "print")]
    pub(crate) force: bool,

    /// Carry over this configuration of NGINX Unit (JSON) instead of looking at the files
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The configuration
    #[arg(value_name = "FILE", default_value = "serpentry.toml")]
    pub(crate) file: PathBuf,

    /// Print the problems as JSON on standard output
    #[arg(long, conflicts_with = "print")]
    pub(crate) json: bool,

    /// Print what every setting comes to, and where it came from
    #[arg(long)]
    pub(crate) print: bool,

    /// Print the JSON Schema of the file, for editors
    #[arg(long, conflicts_with_all = ["json", "print", "file"])]
    pub(crate) schema: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Also say of each application of this configuration which of its limits hold here
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What can be in a configuration.
fn keys() -> String {
    format!(
        "Keys of the file, with their defaults (docs/configuration.md says more):\n\n{}",
        config::reference::summary()
    )
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !text.contains('\0') => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("it must look like KEY=VALUE".to_owned()),
    }
}

fn root_path(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('/');
    if trimmed.is_empty() || (trimmed.starts_with('/') && trimmed.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        Ok(trimmed.to_owned())
    } else {
        Err("it must begin with a slash".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
