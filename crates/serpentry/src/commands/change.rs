//! `reload`, `scale`, `stop`, `start` and `restart`: one call each, one line about what it did.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serpentry::control::{AppState, Changed, ClientError, Reloaded, Tenancy};

use super::table::{count, printable, state_name};
use super::{
    AppArguments, MoveArguments, ReloadArguments, ScaleArguments, StopArguments, fail, show_traceback,
};
use crate::exit::FAILED;
use crate::output::print;
use crate::say;

/// What a host may need beyond its graceful timeout to end.
const STOP_GRACE: Duration = Duration::from_secs(15);

pub(crate) fn reload(arguments: &ReloadArguments) -> anyhow::Result<ExitCode> {
    let done = match arguments.host.client().reload() {
        Ok(done) => done,
        Err(error) => return fail(error),
    };
    for warning in &done.warnings {
        say::warning(format_args!("{}", printable(warning)));
    }
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&done)?))?;
    } else {
        print(&reloaded(&done))?;
    }
    for failed in &done.failed {
        say::error(format_args!("{}: {}", printable(&failed.app), printable(&failed.error.text)));
        if let Some(traceback) = &failed.error.traceback {
            show_traceback(traceback);
        }
    }
    Ok(if done.failed.is_empty() { ExitCode::SUCCESS } else { FAILED.into() })
}

/// For example `reloaded: 1 added (blog), 2 changed (shop, api), 7 unchanged`.
fn reloaded(done: &Reloaded) -> String {
    let failed: Vec<String> = done.failed.iter().map(|failed| failed.app.clone()).collect();
    let lists = [
        (&done.added, "added"),
        (&done.changed, "changed"),
        (&done.removed, "removed"),
        (&failed, "failed (what served before serves on)"),
    ];
    let mut parts: Vec<String> = lists
        .into_iter()
        .filter(|(apps, _)| !apps.is_empty())
        .map(|(apps, what)| format!("{} {what}: {}", apps.len(), printable(&apps.join(", "))))
        .collect();
    if parts.is_empty() {
        return format!("reloaded: nothing changed in {}\n", count(done.unchanged.len(), "application"));
    }
    parts.push(format!("{} unchanged", done.unchanged.len()));
    format!("reloaded: {}\n", parts.join("; "))
}

pub(crate) fn scale(arguments: &ScaleArguments) -> anyhow::Result<ExitCode> {
    changed(arguments.host.client().scale(&arguments.app, arguments.workers))
}

pub(crate) fn start(arguments: &AppArguments) -> anyhow::Result<ExitCode> {
    changed(arguments.host.client().start(&arguments.app))
}

pub(crate) fn restart(arguments: &AppArguments) -> anyhow::Result<ExitCode> {
    changed(arguments.host.client().restart(&arguments.app))
}

/// The other tenancy, and how long it took until the application served there.
pub(crate) fn relocate(arguments: &MoveArguments) -> anyhow::Result<ExitCode> {
    let tenancy = if arguments.tenancy == "isolated" { Tenancy::Isolated } else { Tenancy::Shared };
    let began = Instant::now();
    let changed = match arguments.host.client().relocate(&arguments.app, tenancy) {
        Ok(changed) => changed,
        Err(error) => return fail(error),
    };
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&changed)?))?;
    } else {
        let (app, to, seconds) = (printable(&changed.app), &arguments.tenancy, began.elapsed().as_secs_f64());
        print(&format!("{app}: {to} since generation {}, moved in {seconds:.2} s\n", changed.generation))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn stop(arguments: &StopArguments) -> anyhow::Result<ExitCode> {
    let client = arguments.host.client();
    if let Some(app) = &arguments.app {
        return changed(client.stop(app));
    }
    let stopping = match client.stop_host() {
        Ok(stopping) => stopping,
        Err(error) => return fail(error),
    };
    let graceful = Duration::try_from_secs_f64(stopping.graceful_timeout_seconds).unwrap_or(STOP_GRACE);
    if !ends_within(stopping.pid, graceful.saturating_add(STOP_GRACE))? {
        bail!("the host (pid {}) is asked to stop and still runs; its log says why", stopping.pid);
    }
    print(&format!("the host (pid {}) has stopped\n", stopping.pid))?;
    Ok(ExitCode::SUCCESS)
}

fn changed(result: Result<Changed, ClientError>) -> anyhow::Result<ExitCode> {
    let changed = match result {
        Ok(changed) => changed,
        Err(error) => return fail(error),
    };
    let workers = match changed.state {
        AppState::Stopped | AppState::Stopping | AppState::Asleep => String::new(),
        _ => format!(", {} wanted", count(changed.target as usize, "worker")),
    };
    let (app, state) = (printable(&changed.app), state_name(changed.state));
    print(&format!("{app}: {state}{workers}, generation {}\n", changed.generation))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether a process is gone, waiting for that at most `limit`.
fn ends_within(pid: u32, limit: Duration) -> anyhow::Result<bool> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        bail!("{pid} is not a process id")
    };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Ok(true),
        Err(error) => return Err(error).context("cannot wait for the host to end"),
    };
    let limit = Timespec::try_from(limit).context("the graceful timeout is out of range")?;
    let mut events = [PollFd::new(&process, PollFlags::IN)];
    loop {
        match poll(&mut events, Some(&limit)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the host to end"),
        }
    }
}
