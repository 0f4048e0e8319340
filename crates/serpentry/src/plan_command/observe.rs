//! From a running host to what an application's requests need, and how it does at present.

use std::sync::Arc;
use std::time::Duration;

use lab::compare::Visited;
use lab::plan::capacity::{Concurrency, Configuration, Tenancy};
use lab::plan::trust::Figures;
use lab::simulate::{Class, Profile, Sample};
use serpentry::control::{self, AppStatus, Client, ClientError, RouteStatus, Routes, WorkerState};

use crate::commands::table::printable;

/// Requests without which there is nothing to plan with.
const ENOUGH: u64 = 30;
/// Requests in the observed time without which the present rate says nothing.
const ENOUGH_NOW: u64 = 30;
/// A request's way through the host and the sockets, which no part of the simulation stands for: an estimate, between what a hello world
/// takes alone and under load.
const ON_THE_WAY_US: f64 = 150.0;
/// Of a host that does not say how long its workers took.
const COLD_START_MS: f64 = 1_000.0;
const COLD_START: &str = "a worker's cold start";

/// What is planned with.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) profile: Arc<Profile>,
    /// Only of a running application.
    pub(super) present: Option<Present>,
    /// What is not measured, one sentence each.
    pub(super) assumed: Vec<String>,
}

/// How it runs now.
#[derive(Debug)]
pub(super) struct Present {
    /// None when it is not running as any plan could be.
    pub(super) configuration: Option<Configuration>,
    pub(super) concurrency: control::Concurrency,
    /// Requests per second, and latencies of about the last minute; None with too little traffic.
    pub(super) measured: Option<Figures>,
}

/// Why there is nothing to plan with.
#[derive(Debug)]
pub(super) enum Unobserved {
    Host(ClientError),
    /// A sentence with what to do.
    Nothing(String),
}

impl From<ClientError> for Unobserved {
    fn from(error: ClientError) -> Self {
        Unobserved::Host(error)
    }
}

impl Observed {
    /// It was hosted only to be visited: what it had then is no traffic to be compared with.
    pub(super) fn visited(self, name: &str, visited: &Visited) -> Observed {
        let cold_start_ms = visited.cold_start.as_secs_f64() * 1e3;
        let profile = Profile { cold_start_ms, ..(*self.profile).clone() };
        let pages: Vec<&str> = visited.mix.iter().map(|(target, _)| target.as_str()).collect();
        Observed {
            name: name.to_owned(),
            source: format!(
                "a visit to {} of its pages, each as often as the others: {}",
                pages.len(),
                pages.join(" ")
            ),
            profile: Arc::new(profile),
            present: None,
            assumed: self.assumed.into_iter().filter(|text| !text.starts_with(COLD_START)).collect(),
        }
    }
}

pub(super) fn running(client: &Client, name: &str, observe: Duration) -> Result<Observed, Unobserved> {
    let before = client.routes(name, true)?;
    let app = client.app(name)?;
    let measured = measured_requests(&before);
    if measured < ENOUGH {
        let shown = printable(name);
        return Err(Unobserved::Nothing(format!(
            "{shown} has had {measured} requests that were measured, a plan needs {ENOUGH} or more: let it have its usual \
             traffic for a minute, or send some with serpentry load, and ask again"
        )));
    }
    std::thread::sleep(observe);
    let after = client.routes(name, true)?;
    let app_after = client.app(name)?;
    let profile = profile(&after, &app);
    profile.check().map_err(|error| Unobserved::Nothing(format!("{}: {error}", printable(name))))?;
    let mut assumed = vec![on_the_way()];
    if booted(&app).is_none() {
        assumed.push(format!("{COLD_START} was not measured: {COLD_START_MS:.0} ms are assumed"));
    }
    assumed.push(if profile.worker_bytes == 0 {
        "the memory of its workers is not known: memory is not planned".into()
    } else {
        "memory is planned with what its workers hold now: what more requests at a time need is not known (`serpentry compare` \
         measures it)"
            .into()
    });
    let present = Present {
        configuration: configuration(&app_after),
        concurrency: app_after.concurrency,
        measured: figures(&before, &after, &app_after, observe),
    };
    let source = format!("{measured} requests on {} routes of the running host", after.routes.len());
    Ok(Observed {
        name: name.to_owned(),
        source,
        profile: Arc::new(profile),
        present: Some(present),
        assumed,
    })
}

fn on_the_way() -> String {
    format!("a request's way through the host and the sockets: {} ms are assumed", ON_THE_WAY_US / 1e3)
}

fn measured_requests(routes: &Routes) -> u64 {
    routes.routes.iter().filter(|route| route.cpu_ms.is_some()).map(|route| route.requests).sum()
}

/// Each route with what was measured of its latest requests, or their mean.
fn profile(routes: &Routes, app: &AppStatus) -> Profile {
    let serving: Vec<u64> = app
        .workers
        .iter()
        .filter(|worker| worker.state == WorkerState::Serving)
        .filter_map(|worker| worker.memory_bytes)
        .collect();
    Profile {
        classes: routes.routes.iter().filter_map(class).collect(),
        overhead_us: ON_THE_WAY_US,
        fsync_us: Vec::new(),
        worker_bytes: serving.iter().sum::<u64>() / serving.len().max(1) as u64,
        request_bytes: 0,
        cold_start_ms: booted(app).unwrap_or(COLD_START_MS),
    }
}

/// What its workers took until they served, milliseconds: the slowest, as after a crash everything is cold.
fn booted(app: &AppStatus) -> Option<f64> {
    app.workers.iter().filter_map(|worker| worker.boot_ms).max_by(f64::total_cmp)
}

fn class(route: &RouteStatus) -> Option<Class> {
    let mean =
        Sample { cpu_us: (route.cpu_ms? * 1e3) as f32, wait_us: (route.wait_ms? * 1e3) as f32, fsyncs: 0 };
    let samples: Vec<Sample> = route
        .samples_us
        .iter()
        .map(|[cpu, wait]| Sample { cpu_us: *cpu as f32, wait_us: *wait as f32, fsyncs: 0 })
        .collect();
    Some(Class {
        name: printable(&format!("{} {}", route.method, route.route)),
        share: route.requests as f64,
        waits: 1,
        samples: if samples.is_empty() { vec![mean] } else { samples },
    })
}

/// How it runs, in the words of a plan.
fn configuration(app: &AppStatus) -> Option<Configuration> {
    let slots = app.workers.iter().find_map(|worker| worker.slots)?;
    let serving = app.workers.iter().filter(|worker| worker.state == WorkerState::Serving).count();
    let concurrency = match app.concurrency {
        control::Concurrency::Sync => Concurrency::Sync,
        control::Concurrency::Threads => Concurrency::Threads,
        control::Concurrency::Async => Concurrency::Async,
        control::Concurrency::Auto => return None,
    };
    let machine = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let tenancy = match app.tenancy {
        control::Tenancy::Shared => Tenancy::Shared,
        control::Tenancy::Isolated => Tenancy::Isolated,
    };
    Some(Configuration {
        tenancy,
        concurrency,
        workers: u16::try_from(serving).ok().filter(|workers| *workers > 0)?,
        threads: u16::try_from(slots).unwrap_or(u16::MAX),
        cores: app.limits.cpu_cores.unwrap_or(machine).min(machine),
    })
}

/// What clients see at present.
fn figures(before: &Routes, after: &Routes, app: &AppStatus, observe: Duration) -> Option<Figures> {
    let count = |routes: &Routes| routes.routes.iter().map(|route| route.requests).sum::<u64>();
    let requests = count(after).checked_sub(count(before)).filter(|requests| *requests >= ENOUGH_NOW)?;
    Some(Figures {
        p50: app.latency_ms.p50? / 1e3,
        p95: app.latency_ms.p95? / 1e3,
        throughput: requests as f64 / observe.as_secs_f64(),
    })
}
