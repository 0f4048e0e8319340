//! What `serpentry load` may be asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::units;

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScheduleName {
    /// Evenly spaced.
    Constant,
    /// As independent clients do.
    Poisson,
    /// Silence and four times the rate, in turns, half a second of it every two.
    Bursts,
    /// At the times in the log.
    Replay,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// Where to: http://HOST[:PORT]/PATH or unix:SOCKET[:/PATH]; several of one server are chosen from at random
    #[arg(value_name = "URL", required = true)]
    pub(crate) urls: Vec<String>,

    /// Requests per second, whatever the server does [default: 100]
    #[arg(short, long, value_name = "N", conflicts_with = "connections")]
    pub(crate) rate: Option<f64>,

    /// When they are sent [default: poisson; replay with --from-log and no --rate]
    #[arg(short, long, value_enum, conflicts_with = "connections")]
    pub(crate) schedule: Option<ScheduleName>,

    /// Instead of a rate: so many requests at a time, the next when one is done. For the highest throughput, not for latency
    #[arg(short, long, value_name = "N")]
    pub(crate) connections: Option<usize>,

    /// How long [default: 10s; with a replay, to the end of the log]
    #[arg(short, long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) duration: Option<Duration>,

    /// End after so many requests
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) requests: Option<u64>,

    /// Send in the first so and so long, but do not count
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    pub(crate) warm_up: Duration,

    /// Method [default: GET, or POST with a body]
    #[arg(short = 'X', long, value_name = "METHOD", conflicts_with = "from_log")]
    pub(crate) method: Option<String>,

    /// A header field; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    pub(crate) headers: Vec<(String, String)>,

    /// The body, or @FILE to read it from
    #[arg(long, value_name = "TEXT", conflicts_with = "from_log")]
    pub(crate) body: Option<String>,

    /// Requests and their times from an access log: common, combined or JSON. Only methods that change nothing are sent
    #[arg(long, value_name = "FILE")]
    pub(crate) from_log: Option<PathBuf>,

    /// Replay the log so many times as fast
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "from_log")]
    pub(crate) speed: f64,

    /// Longest time for a request
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    pub(crate) timeout: Duration,

    /// Requests under way at a time; one that is due beyond is dropped and counted as failed (at most 4096)
    #[arg(long, value_name = "N", default_value_t = lab::load::MAX_OUTSTANDING)]
    pub(crate) outstanding: usize,

    /// Run before all other threads of this machine, for a generator that is never late; needs root or CAP_SYS_NICE
    #[arg(long, conflicts_with = "connections")]
    pub(crate) realtime: bool,

    /// Use at most so many connections: a request that is due while all are busy waits for one, and its time counts that
    #[arg(long, value_name = "N", conflicts_with = "connections")]
    pub(crate) pool: Option<usize>,

    /// The same seed gives the same requests at the same times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Send even if the server is not on this machine's loopback. Only with its owner's consent
    #[arg(long)]
    pub(crate) i_may_load_that_host: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn field(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("it must look like NAME: VALUE".to_owned()),
    }
}
