//! From the command line to the plan of a run. Refuses what would load somebody else's machine by accident.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use lab::load::access_log::Traffic;
use lab::load::mix::{self, Request, is_safe};
use lab::load::target::Url;
use lab::load::{Endpoint, Limits, LoadPlan, Mix, Pace, Schedule, StopRule};

use super::LoadArguments;
use super::arguments::ScheduleName;
use crate::exit::Usage;
use crate::say;

const RATE: f64 = 100.0;
const DURATION: Duration = Duration::from_secs(10);
/// A replay ends with its log.
const A_DAY: Duration = Duration::from_secs(86_400);

pub(super) fn make(arguments: &LoadArguments) -> anyhow::Result<LoadPlan> {
    let urls = parse(&arguments.urls)?;
    let traffic = arguments.from_log.as_deref().map(|path| read_log(path, arguments.seed)).transpose()?;
    let replay = match (arguments.schedule, &traffic) {
        (Some(ScheduleName::Replay), None) => return Err(usage("--schedule replay needs --from-log FILE")),
        (Some(ScheduleName::Replay), Some(_)) if arguments.rate.is_some() => {
            return Err(usage("a replay has the log's own rate: leave out --rate, or use --speed"));
        }
        (Some(name), _) => name == ScheduleName::Replay,
        (None, traffic) => traffic.is_some() && arguments.rate.is_none() && arguments.connections.is_none(),
    };
    let pace = pace(arguments, traffic.as_ref().filter(|_| replay))?;
    let mix = match &traffic {
        Some(traffic) => from_log(arguments, &urls[0], traffic, replay)?,
        None => from_urls(arguments, &urls)?,
    };
    let duration = arguments.duration.unwrap_or(if replay { A_DAY } else { DURATION });
    if arguments.warm_up >= duration {
        return Err(usage("--warm-up takes all of --duration: nothing would be counted"));
    }
    let endpoint = urls[0].endpoint().map_err(|error| Usage(error.to_string()))?;
    permit(&endpoint, &arguments.urls[0], arguments.i_may_load_that_host)?;
    Ok(LoadPlan {
        endpoint,
        mix,
        pace,
        stop: StopRule { duration, requests: arguments.requests },
        limits: Limits {
            outstanding: arguments.outstanding,
            pool: arguments.pool,
            timeout: arguments.timeout,
        },
        seed: arguments.seed,
        realtime: arguments.realtime,
        arm: 0,
        block: 0,
    })
}

fn usage(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

fn parse(texts: &[String]) -> anyhow::Result<Vec<Url>> {
    let urls: Result<Vec<Url>, _> = texts.iter().map(|text| Url::parse(text)).collect();
    let urls = urls.map_err(|error| Usage(error.to_string()))?;
    match urls.iter().position(|url| url.place != urls[0].place) {
        Some(other) => {
            Err(usage(format!("{} and {} are two servers: measure one at a time", texts[0], texts[other])))
        }
        None => Ok(urls),
    }
}

/// Load goes to this machine unless the user insists.
fn permit(endpoint: &Endpoint, url: &str, insisted: bool) -> anyhow::Result<()> {
    if endpoint.is_local() || insisted {
        return Ok(());
    }
    Err(usage(format!(
        "{url} is {endpoint}, which is not this machine's loopback: load can harm a server and its network; if its owner \
         agrees, repeat with --i-may-load-that-host"
    )))
}

fn pace(arguments: &LoadArguments, replayed: Option<&Traffic>) -> anyhow::Result<Pace> {
    if let Some(connections) = arguments.connections {
        return Ok(Pace::Closed { connections });
    }
    let rate = arguments.rate.unwrap_or(RATE);
    let schedule = match (replayed, arguments.schedule) {
        (Some(_), _) if !(arguments.speed > 0.0 && arguments.speed.is_finite()) => {
            return Err(usage("--speed must be above 0"));
        }
        (Some(traffic), _) => Schedule::Replay(safe(traffic).offsets(arguments.speed).into()),
        (None, Some(ScheduleName::Constant)) => Schedule::Constant { rate },
        (None, Some(ScheduleName::Bursts)) => Schedule::bursts_of_mean(rate),
        (None, _) => Schedule::Poisson { rate },
    };
    schedule.check().map_err(|error| Usage(error.to_string()))?;
    Ok(Pace::Open(schedule))
}

fn from_urls(arguments: &LoadArguments, urls: &[Url]) -> anyhow::Result<Mix> {
    let body = match arguments.body.as_deref().map(|body| (body, body.strip_prefix('@'))) {
        None => Vec::new(),
        Some((_, Some(path))) => {
            fs::read(path).with_context(|| format!("cannot read the body from {path}"))?
        }
        Some((text, None)) => text.as_bytes().to_vec(),
    };
    let method = arguments.method.as_deref().unwrap_or(if arguments.body.is_some() { "POST" } else { "GET" });
    let request = |url: &Url| Request::new(method, &url.authority, &url.target, &arguments.headers, &body);
    let requests: Result<Vec<_>, _> =
        urls.iter().map(|url| request(url).map(|request| (request, 1.0))).collect();
    let mix = requests.and_then(Mix::weighted);
    Ok(mix.map_err(|error| Usage(error.to_string()))?)
}

fn read_log(path: &Path, seed: u64) -> anyhow::Result<Traffic> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot open the log {shown}"))?;
    let traffic =
        Traffic::read(BufReader::new(file), seed).with_context(|| format!("cannot read the log {shown}"))?;
    if traffic.unreadable > 0 {
        say::warning(format_args!(
            "{} lines of {shown} are no requests and are left out",
            traffic.unreadable
        ));
    }
    if traffic.truncated {
        say::warning(format_args!("{shown} is longer than a replay may be: the rest is left out"));
    }
    let changing = traffic.requests.iter().filter(|logged| !is_safe(&logged.method)).count();
    if changing > 0 {
        say::warning(format_args!("{changing} requests of {shown} may change something and are left out"));
    }
    if safe(&traffic).requests.is_empty() {
        return Err(usage(format!("{shown} has no request that could be repeated")));
    }
    Ok(traffic)
}

/// Only what may be repeated without asking.
fn safe(traffic: &Traffic) -> Traffic {
    let requests = traffic.requests.iter().filter(|logged| is_safe(&logged.method)).cloned().collect();
    Traffic { requests, ..Traffic::default() }
}

/// Every different request once, in the log's order or as often as it is in the log.
fn from_log(arguments: &LoadArguments, url: &Url, traffic: &Traffic, replay: bool) -> anyhow::Result<Mix> {
    let mut positions = HashMap::new();
    let (mut requests, mut order, mut refused) = (Vec::new(), Vec::new(), 0);
    for logged in &safe(traffic).requests {
        let key = (logged.method.clone(), logged.target.clone());
        let position = match positions.get(&key) {
            Some(&position) => position,
            None => {
                let new =
                    Request::new(&logged.method, &url.authority, &logged.target, &arguments.headers, b"");
                let position = match new {
                    Ok(request) if requests.len() < mix::MAX_REQUESTS => {
                        requests.push((request, 0.0));
                        Some(requests.len() - 1)
                    }
                    _ => None,
                };
                positions.insert(key, position);
                position
            }
        };
        // One that cannot be sent is replaced by the first: the times must stay.
        refused += usize::from(position.is_none());
        let position = position.unwrap_or(0);
        order.push(u16::try_from(position).unwrap_or(0));
        if let Some((_, weight)) = requests.get_mut(position) {
            *weight += 1.0;
        }
    }
    if refused > 0 {
        say::warning(format_args!(
            "{refused} requests of the log cannot be sent as they are; another takes their place"
        ));
    }
    let mix = if replay {
        Mix::in_order(requests.into_iter().map(|(request, _)| request).collect(), order)
    } else {
        Mix::weighted(requests)
    };
    Ok(mix.map_err(|error| Usage(error.to_string()))?)
}
