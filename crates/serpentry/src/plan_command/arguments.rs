//! What `serpentry plan` may be asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lab::plan::capacity;

use crate::commands::HostArguments;
use crate::units;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConcurrencyName {
    Sync,
    Threads,
    Async,
}

impl ConcurrencyName {
    pub(super) fn concurrency(self) -> capacity::Concurrency {
        match self {
            ConcurrencyName::Sync => capacity::Concurrency::Sync,
            ConcurrencyName::Threads => capacity::Concurrency::Threads,
            ConcurrencyName::Async => capacity::Concurrency::Async,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// An application of the running host, which has had its usual traffic; or `module:attribute`, which is hosted for some
    /// seconds and asked for its pages (root)
    pub(crate) app: Option<String>,

    /// The directory of a `module:attribute`
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) chdir: PathBuf,

    /// The interpreter of a `module:attribute` [default: .venv or venv in the directory, else python3]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,

    /// A page of a `module:attribute` to ask for; repeat it for more [default: found by itself]
    #[arg(long, value_name = "PATH")]
    pub(crate) url: Vec<String>,

    /// Requests per second that are expected
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rps: f64,

    /// 95 % of them shall be answered within this time [default: 250ms]
    #[arg(long, value_name = "TIME", value_parser = latency, conflicts_with = "p99")]
    pub(crate) p95: Option<Duration>,

    /// 99 % of them shall be
    #[arg(long, value_name = "TIME", value_parser = latency)]
    pub(crate) p99: Option<Duration>,

    /// Only this concurrency; may be repeated [default: those that the application can have]
    #[arg(long, value_enum, value_name = "MODEL")]
    pub(crate) concurrency: Vec<ConcurrencyName>,

    /// Do not search: say what so many workers would do
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,

    /// With so many threads each
    #[arg(long, value_name = "N", default_value_t = 4, requires = "workers", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,

    /// Price of a core, per hour, in any currency
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub(crate) price_core: Option<f64>,

    /// Price of a GiB of memory, per hour
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub(crate) price_gb: Option<f64>,

    /// Cores of the machine to plan for [default: this one's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) cores: Option<u32>,

    /// Memory of the machine to plan for [default: this one's]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) memory: Option<u64>,

    /// Cores that neighbours use on average, if it is shared
    #[arg(long, value_name = "CORES", default_value_t = 0.0, value_parser = load)]
    pub(crate) neighbours: f64,

    /// Plan with what a file says that requests need, instead of a running application
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,

    /// Write to a file what requests need
    #[arg(long, value_name = "FILE")]
    pub(crate) save_profile: Option<PathBuf>,

    /// How long to look at the present traffic, to compare it with what is predicted for it
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = units::duration)]
    pub(crate) observe: Duration,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) host: HostArguments,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=100_000.0).contains(rate));
    rate.ok_or_else(|| format!("{text:?} is not a number of requests per second between 0.01 and 100,000"))
}

fn latency(text: &str) -> Result<Duration, String> {
    let time = units::duration(text)?;
    if time.is_zero() { Err("nothing is answered within no time".into()) } else { Ok(time) }
}

fn price(text: &str) -> Result<f64, String> {
    let price = text.parse().ok().filter(|price| (0.0..=1e9).contains(price));
    price.ok_or_else(|| format!("{text:?} is not a price"))
}

fn load(text: &str) -> Result<f64, String> {
    let load = text.parse().ok().filter(|load| (0.0..=1024.0).contains(load));
    load.ok_or_else(|| format!("{text:?} is not a number of cores"))
}
