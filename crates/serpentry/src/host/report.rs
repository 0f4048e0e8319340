//! Status and metrics: the supervisors' facts and the machine's, joined with the router's figures.

mod routes;

use std::collections::HashMap;
use std::time::Duration;

use supervisor::{WorkerId, WorkerState as State};

use super::app::{End, HostedApp};
use super::{Host, machine};
use crate::tenancy::Unmet;
use serpentry::control::{
    AppMetrics, AppState, AppStatus, Concurrency, Cpu, Histogram, HostMetrics, HostState, HostStatus,
    Latency, Limits, MetricsSnapshot, Mistake, PartlyEnforced, Pressure, Queue, Requests, Status, Tenancy,
    Unenforced, WorkerMetrics, WorkerState, WorkerStatus,
};

pub(super) use routes::routes;

/// What applications use of the machine, by name.
pub(super) type Usages = HashMap<String, jail::cgroup::Usage>;

/// What this side knows at one moment.
#[derive(Debug)]
pub(super) struct Facts {
    host: HostStatus,
    cpu: Option<Duration>,
    incidents: Vec<(String, u64)>,
    apps: Vec<AppFacts>,
}

#[derive(Debug)]
struct AppFacts {
    id: router::App,
    status: AppStatus,
    endings: Vec<(String, u64)>,
    incidents: Vec<(String, u64)>,
    workers: Vec<WorkerFacts>,
}

#[derive(Debug)]
struct WorkerFacts {
    number: Option<router::Worker>,
    pid: Option<u32>,
    memory: Option<u64>,
    cpu: Option<Duration>,
    /// From when it was asked for until it took requests.
    boot: Option<Duration>,
}

impl Facts {
    pub(super) fn collect(host: &Host) -> Facts {
        let pid = std::process::id();
        let source = host.options.source.as_ref();
        let starting =
            host.apps.values().any(|app| app.supervisor.status().state == supervisor::AppState::Starting);
        let state = match () {
            () if host.stopping => HostState::Stopping,
            () if host.apps.values().any(|app| app.next.is_some()) => HostState::Reloading,
            () if starting => HostState::Starting,
            () => HostState::Serving,
        };
        Facts {
            host: HostStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid,
                state,
                uptime_seconds: host.origin.elapsed().as_secs_f64(),
                file: source.map(|source| source.file.display().to_string()),
                generation: host.generation,
                listeners: host.listening.clone(),
                state_directory: source.map(|source| source.state.display().to_string()).unwrap_or_default(),
                memory_bytes: machine::resident(pid),
            },
            cpu: machine::cpu_time(pid),
            incidents: host.incidents.counts(None),
            apps: host.apps.values().map(|app| AppFacts::collect(host, app)).collect(),
        }
    }
}

impl AppFacts {
    fn collect(host: &Host, app: &HostedApp) -> AppFacts {
        let status = app.supervisor.status();
        let plan = &app.spec.app;
        let limits = &plan.limits;
        let seconds = |limit: Duration| limit.as_secs_f64();
        let workers: Vec<WorkerFacts> = status
            .workers
            .iter()
            .map(|worker| WorkerFacts {
                number: app.processes.get(&worker.id).map(|process| process.number),
                pid: worker.pid,
                memory: worker.pid.and_then(machine::resident),
                cpu: worker.pid.and_then(machine::cpu_time),
                boot: app.processes.get(&worker.id).and_then(|process| process.boot),
            })
            .collect();
        let shown = status.workers.iter().zip(&workers).map(|(worker, facts)| worker_status(worker, facts));
        let next_attempt = status.next_attempt.map(|at| at.saturating_sub(host.origin.elapsed()));
        let troubled = !matches!(
            status.state,
            supervisor::AppState::Serving | supervisor::AppState::Asleep | supervisor::AppState::Stopped
        );
        let mistake = app.last_failure.as_ref().filter(|_| troubled || app.reload_failed);
        let (partly, unmet): (Vec<_>, Vec<_>) =
            app.spec.template.tenant.unmet().into_iter().partition(|it| it.partly);
        AppFacts {
            id: app.id,
            incidents: host.incidents.counts(Some(app.name())),
            endings: status.endings.iter().map(|(cause, count)| (cause.as_str().to_owned(), count)).collect(),
            status: AppStatus {
                name: app.name().to_owned(),
                app: plan.app.clone(),
                tenancy: tenancy(plan.tenancy),
                concurrency: match app.kind.as_ref().map(|kind| kind.concurrency) {
                    None => Concurrency::Auto,
                    Some("async") => Concurrency::Async,
                    Some("threads") => Concurrency::Threads,
                    Some(_) => Concurrency::Sync,
                },
                state: state(app, &status),
                generation: status.generation,
                routes: plan.routes.iter().map(ToString::to_string).collect(),
                target: count(status.target),
                workers: shown.collect(),
                queue: Queue { depth: 0, limit: limits.queue as u64 },
                requests: Requests::default(),
                latency_ms: Latency::default(),
                limits: Limits {
                    cpu_cores: limits.cpu,
                    memory_bytes: limits.memory,
                    processes: limits.processes,
                    open_files: limits.open_files,
                    connections: limits.connections as u64,
                    request_timeout_seconds: limits.request_timeout.map(seconds),
                    queue_timeout_seconds: seconds(limits.queue_timeout),
                },
                cpu: Cpu::default(),
                pressure: Pressure::default(),
                unenforced: unmet.into_iter().map(unenforced).collect(),
                partly_enforced: partly.into_iter().map(partly_enforced).collect(),
                memory_bytes: workers.iter().map(|worker| worker.memory).sum::<Option<u64>>(),
                next_attempt_seconds: next_attempt.map(seconds),
                last_error: mistake.map(|(_, failure)| Mistake::from(failure.clone())),
                respawns: status.endings.iter().map(|(_, count)| count).sum(),
                dropped_log_lines: host.options.logs.as_ref().map_or(0, |logs| logs.dropped(app.name())),
                incidents: host.incidents.of_app(app.name()),
            },
            workers,
        }
    }
}

fn worker_status(worker: &supervisor::WorkerStatus, facts: &WorkerFacts) -> WorkerStatus {
    let WorkerId(id) = worker.id;
    WorkerStatus {
        id,
        pid: worker.pid,
        state: worker_state(worker.state),
        generation: worker.generation,
        slots: None,
        requests: 0,
        memory_bytes: facts.memory,
        cpu_seconds: facts.cpu.map(|cpu| cpu.as_secs_f64()),
        boot_ms: facts.boot.map(|boot| boot.as_secs_f64() * 1e3),
    }
}

fn worker_state(state: State) -> WorkerState {
    match state {
        State::Spawning | State::Booting => WorkerState::Starting,
        State::Ready | State::Retiring => WorkerState::Serving,
        State::Draining => WorkerState::Draining,
        _ => WorkerState::Stopping,
    }
}

/// The application as an operator sees it. The supervisor does not know of those that are being ended.
pub(super) fn state(app: &HostedApp, status: &supervisor::Status) -> AppState {
    use supervisor::AppState as From;
    match status.state {
        From::Stopped => AppState::Stopped,
        _ if app.end != End::None => AppState::Stopping,
        From::Idle | From::Starting => AppState::Starting,
        From::Serving => AppState::Serving,
        From::Degraded => AppState::Degraded,
        From::BackingOff => AppState::BackingOff,
        From::Down => AppState::Down,
        From::Asleep => AppState::Asleep,
        From::Stopping => AppState::Stopping,
    }
}

pub(super) fn tenancy(tenancy: config::Tenancy) -> Tenancy {
    match tenancy {
        config::Tenancy::Shared => Tenancy::Shared,
        config::Tenancy::Isolated => Tenancy::Isolated,
    }
}

/// Numbers of workers are small.
pub(super) fn count(workers: usize) -> u32 {
    u32::try_from(workers).unwrap_or(u32::MAX)
}

/// `GET /v1/status`.
pub(super) fn status(facts: Facts, snapshot: &router::Snapshot, usage: &Usages) -> Status {
    let apps = by_id(snapshot);
    let join = |facts: AppFacts| {
        let mut status = facts.status;
        if let Some(usage) = usage.get(&status.name) {
            status.cpu.throttled_ms = usage.cpu.as_ref().map(|cpu| cpu.throttled_us / 1000);
            status.pressure = pressure(&usage.pressure);
        }
        let Some(figures) = apps.get(&facts.id) else { return status };
        status.queue.depth = figures.queue as u64;
        status.requests =
            Requests { total: figures.requests, failed: figures.failed, replayed: figures.replayed };
        let milliseconds = |quantile| figures.recent.quantile(quantile).map(|time| time.as_secs_f64() * 1e3);
        status.latency_ms =
            Latency { p50: milliseconds(0.5), p95: milliseconds(0.95), p99: milliseconds(0.99) };
        for (worker, facts) in status.workers.iter_mut().zip(&facts.workers) {
            if let Some(figures) = worker_figures(figures, facts) {
                worker.requests = figures.requests;
                worker.slots = u32::try_from(figures.slots).ok().filter(|slots| *slots > 0);
            }
        }
        status
    };
    Status { host: facts.host, apps: facts.apps.into_iter().map(join).collect() }
}

fn pressure(found: &jail::cgroup::Pressures) -> Pressure {
    let some =
        |pressure: &Option<jail::cgroup::Pressure>| pressure.as_ref().map(|pressure| pressure.some.avg10);
    Pressure { cpu: some(&found.cpu), io: some(&found.io), memory: some(&found.memory) }
}

fn unenforced(unmet: Unmet) -> Unenforced {
    Unenforced { constraint: unmet.constraint, why: unmet.why, remedy: unmet.remedy }
}

fn partly_enforced(unmet: Unmet) -> PartlyEnforced {
    PartlyEnforced { constraint: unmet.constraint, why: unmet.why }
}

fn by_id(snapshot: &router::Snapshot) -> HashMap<router::App, &router::AppSnapshot> {
    snapshot.apps.iter().map(|app| (app.app, app)).collect()
}

fn worker_figures<'a>(
    app: &'a router::AppSnapshot,
    facts: &WorkerFacts,
) -> Option<&'a router::WorkerSnapshot> {
    app.workers.iter().find(|worker| Some(worker.worker) == facts.number)
}

/// `GET /metrics`.
pub(super) fn metrics(facts: Facts, snapshot: &router::Snapshot, _: &Usages) -> MetricsSnapshot {
    let apps = by_id(snapshot);
    let none = router::AppSnapshot::default();
    let join = |facts: AppFacts| app_metrics(&facts, apps.get(&facts.id).copied().unwrap_or(&none));
    MetricsSnapshot {
        host: HostMetrics {
            version: facts.host.version,
            uptime: Duration::from_secs_f64(facts.host.uptime_seconds),
            generation: facts.host.generation,
            connections: snapshot.connections as u64,
            memory_bytes: facts.host.memory_bytes,
            cpu: facts.cpu,
            incidents: facts.incidents,
            unrouted: snapshot.refused.iter().map(|(reason, count)| (status_of(*reason), *count)).collect(),
        },
        apps: facts.apps.into_iter().map(join).collect(),
    }
}

fn app_metrics(facts: &AppFacts, figures: &router::AppSnapshot) -> AppMetrics {
    let status = &facts.status;
    let worker = |(status, facts): (&WorkerStatus, &WorkerFacts)| {
        let figures = worker_figures(figures, facts);
        WorkerMetrics {
            id: status.id,
            pid: facts.pid,
            state: status.state,
            // 200 stands for 2xx, and so on.
            requests: figures.map_or(Vec::new(), |worker| {
                (1..).zip(worker.classes).map(|(class, count)| (class * 100, count)).collect()
            }),
            busy: figures.map_or(Duration::ZERO, |worker| worker.busy_time),
            idle: figures.map_or(Duration::ZERO, |worker| worker.age.saturating_sub(worker.busy_time)),
            memory_bytes: facts.memory,
            cpu: facts.cpu,
        }
    };
    AppMetrics {
        name: status.name.clone(),
        state: status.state,
        generation: status.generation,
        target: status.target,
        requests: figures.statuses.clone(),
        failed: figures.failed,
        replayed: figures.replayed,
        refused: figures.refused.iter().map(|(reason, count)| (reason.as_str().to_owned(), *count)).collect(),
        bytes_in: figures.bytes_in,
        bytes_out: figures.bytes_out,
        queue_depth: figures.queue as u64,
        queue_limit: status.queue.limit,
        running: figures.in_flight.saturating_sub(figures.queue) as u64,
        queued: histogram(&figures.queued),
        service: histogram(&figures.service),
        total: histogram(&figures.total),
        respawns: facts.endings.clone(),
        dropped_log_lines: status.dropped_log_lines,
        incidents: facts.incidents.clone(),
        open_incidents: status.incidents.len() as u64,
        workers: status.workers.iter().zip(&facts.workers).map(worker).collect(),
    }
}

/// What the host answers when no application is concerned.
fn status_of(reason: router::Reason) -> u16 {
    match reason {
        router::Reason::UnknownHost => 421,
        router::Reason::NoRoute => 404,
        router::Reason::HeadTooLarge => 431,
        router::Reason::SlowHead => 408,
        router::Reason::Malformed => 400,
        _ => 503,
    }
}

fn histogram(fine: &router::Histogram) -> Histogram {
    let mut coarse = Histogram::default();
    for (duration, count) in fine.buckets() {
        coarse.add(duration.as_secs_f64(), count);
    }
    coarse
}
