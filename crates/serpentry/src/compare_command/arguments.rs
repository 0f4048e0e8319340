//! The command line of `serpentry compare`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use lab::compare::{Depth, Wishes};
use lab::load::access_log::Traffic;

use crate::exit::Usage;
use crate::units;

/// Targets of a log that are asked for: the most frequent ones.
const MOST_TARGETS: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// An application of the configuration file, or `module:attribute`
    pub(super) app: String,

    /// The configuration file that has it
    #[arg(short, long, value_name = "FILE", default_value = "serpentry.toml")]
    pub(super) file: PathBuf,

    /// The directory of a `module:attribute`
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) chdir: PathBuf,

    /// The interpreter of a `module:attribute` [default: .venv or venv in the directory, else python3]
    #[arg(long, value_name = "PATH")]
    pub(super) python: Option<PathBuf>,

    /// Fewer and shorter blocks, one to two minutes: sees large effects only
    #[arg(long, conflicts_with = "thorough")]
    quick: bool,

    /// More and longer blocks: sees smaller effects
    #[arg(long)]
    thorough: bool,

    /// A page to ask for, such as /shop?page=2; repeat it for more, or to weigh one more [default: found by itself]
    #[arg(long, value_name = "PATH", conflicts_with = "log")]
    url: Vec<String>,

    /// Take the pages, and how often each is asked for, from this access log
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Requests per second that are expected [default: what takes half of a core]
    #[arg(long, value_name = "N", value_parser = positive)]
    rate: Option<f64>,

    /// 95 of 100 requests must take no longer than this
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    p95: Option<Duration>,

    /// Price of a core per month, for the cost in the table
    #[arg(long, value_name = "N", requires = "price_gb", value_parser = positive)]
    price_core: Option<f64>,

    /// Price of a GiB of memory per month
    #[arg(long, value_name = "N", requires = "price_core", value_parser = positive)]
    price_gb: Option<f64>,

    /// Write everything that was measured and concluded to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,

    /// Write a page with plots to this file [default: serpentry-compare-APP.html]
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    /// Say what changed since the comparison before (`last`), or since the one in a JSON file
    #[arg(long, value_name = "last|FILE")]
    pub(super) against: Option<String>,

    /// Put the recommendation into the configuration file, and reload the host if one runs
    #[arg(long)]
    pub(super) apply: bool,

    /// Of arrivals and of the order of blocks
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("it must be a number above 0".to_owned()),
    }
}

impl CompareArguments {
    pub(super) fn depth(&self) -> Depth {
        match (self.quick, self.thorough) {
            (true, _) => Depth::Quick,
            (_, true) => Depth::Thorough,
            _ => Depth::Normal,
        }
    }

    /// # Errors
    /// The log cannot be used.
    pub(super) fn wishes(&self) -> anyhow::Result<Wishes> {
        let targets = match &self.log {
            Some(log) => of_log(log, self.seed)?,
            None => counted(self.url.iter().map(String::as_str)),
        };
        Ok(Wishes {
            depth: self.depth(),
            targets,
            rate: self.rate,
            p95: self.p95,
            prices: self.price_core.zip(self.price_gb),
        })
    }
}

fn of_log(log: &Path, seed: u64) -> anyhow::Result<Vec<(String, f64)>> {
    let shown = log.display();
    let file = File::open(log).with_context(|| format!("cannot open {shown}"))?;
    let traffic =
        Traffic::read(BufReader::new(file), seed).with_context(|| format!("cannot read {shown}"))?;
    // Only what may be asked for again and again without changing anything, and was answered.
    let safe = traffic
        .requests
        .iter()
        .filter(|logged| logged.method == "GET" && (200..400).contains(&logged.status));
    let targets = counted(safe.map(|logged| logged.target.as_str()));
    if targets.is_empty() {
        let text = format!(
            "{shown} has no GET request that was answered, in {} lines that are an access log's and {} that are not",
            traffic.requests.len(),
            traffic.unreadable
        );
        return Err(Usage(text).into());
    }
    Ok(targets)
}

/// Each with how often it came, the most frequent ones.
fn counted<'a>(targets: impl Iterator<Item = &'a str>) -> Vec<(String, f64)> {
    let mut counts = std::collections::BTreeMap::new();
    for target in targets {
        *counts.entry(target.to_owned()).or_insert(0.0) += 1.0;
    }
    let mut counts: Vec<(String, f64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.total_cmp(&a.1));
    counts.truncate(MOST_TARGETS);
    counts
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_log_gives_pages_that_were_answered_with_weights() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let line = |method: &str, target: &str, status: u16| {
            format!("1.2.3.4 - - [25/Nov/2026:19:00:00 +0000] \"{method} {target} HTTP/1.1\" {status} 5\n")
        };
        for text in [line("GET", "/a", 200), line("GET", "/b?x=1", 304), line("GET", "/a", 200)] {
            log.write_all(text.as_bytes()).unwrap();
        }
        log.write_all((line("POST", "/a", 200) + &line("GET", "/gone", 404)).as_bytes()).unwrap();
        let targets = of_log(log.path(), 1).unwrap();
        assert_eq!(targets, [("/a".to_owned(), 2.0), ("/b?x=1".to_owned(), 1.0)]);
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(of_log(empty.path(), 1).unwrap_err().to_string().contains("no GET request"));
    }
}
