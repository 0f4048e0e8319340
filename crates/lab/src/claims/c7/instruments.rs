//! How C7 is measured.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use super::clients::{RECEIVE_BUFFER, SlowReader, crowd, hold};
use super::{Abandoned, Beside, LADDER, Level, Measured, Model, Occupancy, PROCESSES, THREADS};
use crate::claims::Finding;
use crate::claims::requests::{begin, finish};
use crate::experiment::{Session, SessionError};
use crate::host::{AppPlan, HostPlan};
use crate::load::mix::Request;
use crate::load::{self, Endpoint, Limits, LoadPlan, Mix, Outcome, Pace, Schedule, StopRule, Tally, Watch};
use crate::probe::{self, Direct};

/// Probes of one level.
const PROBES: f64 = 50.0;
const LEVEL: Duration = Duration::from_millis(600);
/// A probe that takes longer has failed.
const PROBE: Duration = Duration::from_secs(1);
const REPEATS: u32 = 2;

/// A slow reader, in bytes per second, and the answers it reads: a large page, and a download.
const RATE: f64 = 512.0 * 1024.0;
const ANSWERS: [(u64, &str); 2] = [(512 << 10, "/big?mb=0&kb=512"), (2 << 20, "/big?mb=2")];
/// Asked of the kernel for each connection's send buffer, in bytes.
const SEND_BUFFER: u32 = 32 * 1024;
/// What the router takes of an answer before the client has read any of it.
const ROUTER: u64 = 512 * 1024;

/// Work that is abandoned, in milliseconds of processor time, when its client leaves, and when its time is up.
const WORK_MS: u32 = 1_000;
const LEAVES: Duration = Duration::from_millis(200);
const TIME_IS_UP: &str = "400ms";
/// Beside it in the same worker: begun before, over after the time is up.
const BESIDE: u32 = 3;
const BESIDE_MS: u32 = 300;

/// Connections of the whole host, those that a neighbour wants, and its limit.
const HOST_CONNECTIONS: u32 = 1_400;
const CROWD: u32 = 1_600;
const CAP: u32 = 200;
/// Descriptors that all this needs in the laboratory.
const DESCRIPTORS: u64 = 2_048;

const CLIENTS: &str = "connect to the server that is measured";

/// # Errors
/// The session cannot go on.
pub(super) fn run(session: &mut Session<'_>) -> Result<Finding, SessionError> {
    let mut measured = Measured::default();
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if descriptors < DESCRIPTORS {
        let why =
            format!("{DESCRIPTORS} open files are needed, the limit is {descriptors}: raise it (ulimit -n)");
        return Err(SessionError::Missing(why));
    }
    session.start(plan(session))?;
    for repeat in 0..REPEATS {
        for model in Model::ALL {
            for hosted in [false, true] {
                session.check()?;
                session.progress.note(&format!("connections: {} {}", super::place(hosted), model.name()));
                measured.levels.extend(ladder(session, model, hosted, repeat)?);
            }
        }
    }
    for (bytes, target) in ANSWERS {
        for hosted in [false, true] {
            session.check()?;
            session.progress.note(&format!("a slow reader of {} KiB: {}", bytes >> 10, super::place(hosted)));
            measured.occupancies.push(occupancy(session, hosted, bytes, target)?);
        }
    }
    for model in Model::ALL {
        for (hosted, timed_out) in [(false, false), (true, false), (true, true)] {
            session.check()?;
            session.progress.note(&format!("work for nobody: {} {}", super::place(hosted), model.name()));
            measured.abandoned.push(abandoned(session, model, hosted, timed_out)?);
        }
    }
    for capped in [None, Some(CAP)] {
        session.check()?;
        session.progress.note("a neighbour that takes connections");
        measured.beside.push(beside(session, capped)?);
    }
    measured.notes.push(format!(
        "direct: servers of the standard library with {PROCESSES} processes, {THREADS} threads, and one event loop; hosted: \
         the same numbers of workers, threads and loops"
    ));
    session.stop()?;
    Ok(super::conclude(&measured))
}

fn plan(session: &Session<'_>) -> HostPlan {
    let sync = session.probe(probe::WSGI).limit("connections", 2_048);
    let app = |model| match model {
        Model::Sync => sync.clone(),
        Model::Threads => sync.clone().set("threads", 8),
        Model::Async => session.probe(probe::ASGI).limit("connections", 2_048),
    };
    let mut plan = HostPlan::default();
    plan.keys.insert("connections".to_owned(), HOST_CONNECTIONS.into());
    for model in Model::ALL {
        let many: AppPlan = match model {
            Model::Sync => app(model).set("workers", PROCESSES),
            Model::Threads => sync.clone().set("threads", THREADS),
            Model::Async => app(model),
        };
        plan = plan
            .with(model.name(), many)
            .with(&format!("{}-short", model.name()), app(model).limit("request_timeout", TIME_IS_UP));
    }
    plan.with("slot", sync.clone().limit("socket_buffers", format!("{}KiB", SEND_BUFFER / 1024)))
        .with("crowd", session.probe(probe::ASGI).limit("connections", 100_000))
        .with("crowd-capped", session.probe(probe::ASGI).limit("connections", CAP))
}

fn direct(
    session: &Session<'_>,
    model: Model,
    buffer: Option<u32>,
    single: bool,
) -> Result<Direct, SessionError> {
    let kind = match model {
        Model::Sync => probe::Model::Sync(if single { 1 } else { PROCESSES }),
        Model::Threads => probe::Model::Threads(THREADS),
        Model::Async => probe::Model::Async,
    };
    Direct::start(&session.directory().join("apps"), kind, buffer)
        .map_err(SessionError::io("start the direct server"))
}

fn ladder(
    session: &mut Session<'_>,
    model: Model,
    hosted: bool,
    repeat: u32,
) -> Result<Vec<Level>, SessionError> {
    let server = if hosted { None } else { Some(direct(session, model, None, false)?) };
    let address = match &server {
        Some(server) => server.address(),
        None => session.host()?.address(),
    };
    let authority = HostPlan::authority(model.name());
    let mut levels = Vec::new();
    for connections in LADDER {
        session.check()?;
        let held = hold(address, &authority, connections).map_err(SessionError::io(CLIENTS))?;
        let tally = probes(address, &authority, session.random.next_u64())?;
        drop(held);
        let planned = tally.planned().max(1) as f64;
        let level = Level {
            model,
            hosted,
            repeat,
            connections,
            answered: tally.count(Outcome::Answered) as f64 / planned,
            p95_ms: tally.latency(0.95).map_or(f64::INFINITY, |latency| latency as f64 / 1e6),
        };
        levels.push(level);
        // More of them make it no better.
        if level.answered < 0.5 {
            break;
        }
    }
    Ok(levels)
}

fn probes(address: SocketAddr, authority: &str, seed: u64) -> Result<Tally, SessionError> {
    let plan = LoadPlan {
        endpoint: Endpoint::Tcp(address),
        mix: Mix::single(Request::new("GET", authority, "/", &[], b"")?),
        pace: Pace::Open(Schedule::Constant { rate: PROBES }),
        stop: StopRule { duration: LEVEL, requests: None },
        limits: Limits { outstanding: 128, pool: None, timeout: PROBE },
        seed,
        realtime: false,
        arm: 0,
        block: 0,
    };
    let mut tally = Tally::default();
    load::run(&plan, &mut tally, &Watch::default())?;
    Ok(tally)
}

/// From the first byte that a slow reader gets until the only worker answers somebody else.
fn occupancy(
    session: &mut Session<'_>,
    hosted: bool,
    bytes: u64,
    target: &str,
) -> Result<Occupancy, SessionError> {
    let server = if hosted { None } else { Some(direct(session, Model::Sync, Some(SEND_BUFFER), true)?) };
    let address = match &server {
        Some(server) => server.address(),
        None => session.host()?.address(),
    };
    let authority = HostPlan::authority("slot");
    let measure = || -> io::Result<f64> {
        let reader = SlowReader::start(address, &authority, target, RATE)?;
        let begun = reader.begun().ok_or_else(|| io::Error::other("the answer did not begin"))?;
        let next = finish(begin(address, &authority, "/")?);
        let seconds = begun.elapsed().as_secs_f64();
        let read = reader.finish()?;
        if next != Some(200) || read != bytes {
            return Err(io::Error::other(format!("{read} of {bytes} bytes, then status {next:?}")));
        }
        Ok(seconds)
    };
    let seconds = measure().map_err(SessionError::io("read an answer slowly"))?;
    let sockets = u64::from(SEND_BUFFER) + RECEIVE_BUFFER as u64;
    let buffers = if hosted { sockets + ROUTER } else { sockets };
    Ok(Occupancy { hosted, bytes, rate: RATE, buffers, seconds })
}

fn abandoned(
    session: &mut Session<'_>,
    model: Model,
    hosted: bool,
    timed_out: bool,
) -> Result<Abandoned, SessionError> {
    let server = if hosted { None } else { Some(direct(session, model, None, false)?) };
    let app = if timed_out { format!("{}-short", model.name()) } else { model.name().to_owned() };
    let authority = HostPlan::authority(&app);
    let address = match &server {
        Some(server) => server.address(),
        None => session.host()?.address(),
    };
    let mut pids = || match &server {
        Some(server) => Ok(family(server.pid())),
        None => session.host()?.workers(&app).map_err(SessionError::from),
    };
    let before = pids()?;
    let start = cpu(&before);
    let error = SessionError::io(CLIENTS);
    let worker = begin(address, &authority, &format!("/cpu?ms={WORK_MS}")).map_err(error)?;
    sleep(LEAVES);
    let beside: Vec<_> = if timed_out && model != Model::Sync {
        let one = |_| begin(address, &authority, &format!("/io?ms={BESIDE_MS}")).ok();
        (0..BESIDE).map(one).collect()
    } else {
        Vec::new()
    };
    let status = if timed_out {
        finish(worker)
    } else {
        drop(worker);
        None
    };
    let then = cpu(&before);
    let failed =
        beside.into_iter().filter_map(|stream| (stream.and_then(finish) != Some(200)).then_some(())).count();
    // What is still computed is over by then.
    sleep(Duration::from_millis(u64::from(WORK_MS) + 200));
    let end = cpu(&before);
    let replaced = pids()? != before;
    Ok(Abandoned {
        model,
        hosted,
        timed_out,
        status,
        cpu_before: then - start,
        cpu_after: (end - then).max(0.0),
        replaced,
        beside: if timed_out && model != Model::Sync { BESIDE } else { 0 },
        beside_failed: u32::try_from(failed).unwrap_or(u32::MAX),
    })
}

fn beside(session: &mut Session<'_>, capped: Option<u32>) -> Result<Beside, SessionError> {
    let address = session.host()?.address();
    let name = if capped.is_some() { "crowd-capped" } else { "crowd" };
    let before = overflows();
    let held = crowd(address, &HostPlan::authority(name), CROWD);
    let tally = probes(address, &HostPlan::authority("async"), session.random.next_u64())?;
    let overflows = overflows().saturating_sub(before);
    let count = u32::try_from(held.len()).unwrap_or(u32::MAX);
    drop(held);
    // The next one shall find the router without them.
    let deadline = Instant::now() + PROBE;
    while Instant::now() < deadline
        && finish(begin(address, &HostPlan::authority("async"), "/").map_err(SessionError::io(CLIENTS))?)
            != Some(200)
    {
        sleep(Duration::from_millis(10));
    }
    Ok(Beside {
        capped,
        held: count,
        answered: tally.count(Outcome::Answered) as f64 / tally.planned().max(1) as f64,
        p95_ms: tally.latency(0.95).map_or(f64::INFINITY, |latency| latency as f64 / 1e6),
        overflows,
    })
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let path = PathBuf::from(format!("/proc/{pid}/task/{pid}/children"));
    let children = std::fs::read_to_string(path).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
}

/// Processor time of processes, in seconds; those that are gone have none.
fn cpu(pids: &[u32]) -> f64 {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let one = |pid: &u32| -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may contain anything: fields 14 and 15 of proc_pid_stat(5).
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut next = || fields.next()?.parse::<f64>().ok();
        Some(next()? + next()?)
    };
    pids.iter().filter_map(one).sum::<f64>() / ticks
}

/// Connections that the kernel refused because an accept queue was full, on this machine since it started.
fn overflows() -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let found =
        names.split_whitespace().zip(values.split_whitespace()).find(|(name, _)| *name == "ListenOverflows");
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}
