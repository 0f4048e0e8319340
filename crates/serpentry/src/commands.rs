//! The commands that talk to a running host. Each is one or a few calls of [`control::Client`]; what they print is made
//! here and in `commands/`, what they mean is decided by the host.

mod change;
mod explain;
mod incidents;
mod look;
mod show;
pub(crate) mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serpentry::control::{Client, ClientError, MemoryQuery};
use serpentry::state;

use crate::exit::{Denied, FAILED, Unavailable};
use crate::{load, say};

pub(crate) use change::{reload, relocate, restart, scale, start, stop};
pub(crate) use explain::explain;
pub(crate) use incidents::{events, paragraph, why};
pub(crate) use look::{memory, stacks};
pub(crate) use show::status;
pub(crate) use table::Style;

/// Which host is meant.
#[derive(Debug, Args)]
pub(crate) struct HostArguments {
    /// The host's state directory [default: $SERPENTRY_STATE, what ./serpentry.toml says, $STATE_DIRECTORY, .serpentry]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// Only this application, with its workers, routes and latest error
    pub(crate) app: Option<String>,

    /// What its requests take, by method and path
    #[arg(long, requires = "app")]
    pub(crate) routes: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Print again and again, every so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(crate) watch: Option<u16>,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArguments {
    /// Only of this application, or only this incident (N11-36NPJZM01)
    #[arg(value_name = "APP|INCIDENT")]
    pub(crate) what: Option<String>,

    /// Print JSON, newest first
    #[arg(long)]
    pub(crate) json: bool,

    /// At most so many
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) number: u32,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArguments {
    /// Only of this application
    pub(crate) app: Option<String>,

    /// Wait for more, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Print JSON, one event per line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The code, or the name of an incident
    pub(crate) code: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReloadArguments {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArguments {
    pub(crate) app: String,

    /// How many workers, until the configuration says otherwise; to have none: serpentry stop APP
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) workers: u32,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

#[derive(Debug, Args)]
pub(crate) struct StopArguments {
    /// Only this application; without it the whole host is stopped
    pub(crate) app: Option<String>,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

#[derive(Debug, Args)]
pub(crate) struct AppArguments {
    pub(crate) app: String,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

#[derive(Debug, Args)]
pub(crate) struct LookArguments {
    pub(crate) app: String,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

#[derive(Debug, Args)]
pub(crate) struct MemoryArguments {
    #[command(flatten)]
    pub(crate) look: LookArguments,

    /// How long to trace; its workers are slower meanwhile
    #[arg(long, value_name = "SECONDS", default_value_t = MemoryQuery::USUAL, value_parser = clap::value_parser!(u16).range(1..=60))]
    pub(crate) seconds: u16,
}

#[derive(Debug, Args)]
pub(crate) struct MoveArguments {
    pub(crate) app: String,

    /// Where to. To keep it so over a restart of the host, set `tenancy` in the file as well
    #[arg(value_parser = ["shared", "isolated"])]
    pub(crate) tenancy: String,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

impl HostArguments {
    pub(crate) fn client(&self) -> Client {
        Client::new(&state::find(self.state.as_deref(), load::state_here))
    }
}

/// Tell the user what went wrong; the exit status.
pub(crate) fn fail(error: ClientError) -> anyhow::Result<ExitCode> {
    match error {
        ClientError::NotRunning(_) => Err(Unavailable(error.to_string()).into()),
        ClientError::Denied { .. } => Err(Denied(error.to_string()).into()),
        ClientError::Refused(problem) => {
            say::error(format_args!("{}", table::printable(&problem.detail)));
            if let Some(traceback) = &problem.traceback {
                show_traceback(traceback);
            }
            Ok(FAILED.into())
        }
        error => Err(error.into()),
    }
}

/// The application's own words.
fn show_traceback(traceback: &str) {
    say::error(format_args!("the application's traceback:\n{}", table::printable(traceback.trim_end())));
}
