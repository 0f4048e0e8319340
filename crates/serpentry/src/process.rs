//! One worker process: started through the jail, watched until it is gone.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use supervisor::WorkerId;
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::extension::Extension;
use crate::interpreter::Interpreter;
use crate::logs::{AppLog, Captured};

/// Everything that the workers of one application have in common.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) interpreter: Interpreter,
    pub(crate) extension: Extension,
    pub(crate) directory: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    /// Settings for the worker, as `crates/worker` reads them.
    pub(crate) settings: serde_json::Value,
    pub(crate) output: Output,
}

/// Where a worker's standard output and standard error go.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// To where the program's own go.
    Inherit,
    #[expect(dead_code, reason = "for the host of many applications, which comes next")]
    /// To the application's log, until the worker is gone.
    Captured(AppLog),
}

/// What became of a process.
#[derive(Debug)]
pub(crate) enum Fate {
    /// The jail could not turn it into a worker.
    NotStarted { worker: WorkerId, reason: String },
    /// It is gone and reaped.
    Exited { worker: WorkerId, status: supervisor::ExitStatus },
}

/// A worker that was just started, with our ends of its links.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: u32,
    pub(crate) data: UnixStream,
    pub(crate) control: UnixStream,
}

/// Start a worker. Its fate is sent to `fates`; exactly one [`Fate::Exited`] comes in the end.
///
/// # Errors
/// When no process can be created.
pub(crate) fn start(
    template: &Template,
    worker: WorkerId,
    fates: &mpsc::Sender<Fate>,
) -> anyhow::Result<Started> {
    let (data, worker_data) = UnixStream::pair().context("cannot create its data link")?;
    let (control, worker_control) = UnixStream::pair().context("cannot create its control link")?;
    let mut settings = template.settings.clone();
    settings["extension"] = template.extension.module(template.interpreter.minor).to_string_lossy().into();
    let mut environment = template.environment.clone();
    environment.push(("SERPENTRY_WORKER".to_owned(), settings.to_string()));
    let plan = jail::Plan {
        program: template.interpreter.path.clone(),
        arguments: vec![template.extension.boot().to_string_lossy().into_owned()],
        environment,
        // They were meant for this program, not for the application's.
        without: [
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
        ]
        .map(str::to_owned)
        .to_vec(),
        directory: template.directory.clone(),
        parent: std::process::id(),
        descriptors: 2,
    };
    let descriptors = [OwnedFd::from(worker_data), OwnedFd::from(worker_control)];
    let (mut command, handover) = jail::command().context("cannot create its plan's socket")?;
    let source = match &template.output {
        Output::Inherit => None,
        Output::Captured(log) => {
            let capture = log.capture().context("cannot create the pipes of its output")?;
            command.stdout(capture.stdout).stderr(capture.stderr);
            Some(capture.source)
        }
    };
    // Our copies of the pipes' writing ends are closed with the command.
    let child = tokio::process::Command::from(command).spawn().context("cannot create a process")?;
    let pid = child.id().context("it is gone already")?;
    let captured = source.map(|source| source.begin(pid));
    let report = handover.send(&plan, &descriptors).context("cannot send it its plan")?;
    tokio::task::spawn_local(follow(worker, child, report, fates.clone(), captured));
    Ok(Started { pid, data, control })
}

/// Wait for the jail's report, then for the end. A full channel only makes these tasks wait, never the supervisor.
async fn follow(
    worker: WorkerId,
    mut child: Child,
    report: UnixStream,
    fates: mpsc::Sender<Fate>,
    captured: Option<Captured>,
) {
    if let Some(reason) = jail_report(report).await {
        // The receiver is gone only when the program ends; the same below.
        let _ = fates.send(Fate::NotStarted { worker, reason }).await;
    }
    let status = match child.wait().await.map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => supervisor::ExitStatus::Code(code),
        Ok((None, Some(signal))) => supervisor::ExitStatus::Signal(signal),
        // Nobody else waits for our children, so this cannot happen; 255 as shells say it.
        Ok((None, None)) | Err(_) => supervisor::ExitStatus::Code(255),
    };
    drop(captured);
    let _ = fates.send(Fate::Exited { worker, status }).await;
}

/// `None` when the interpreter is running.
async fn jail_report(report: UnixStream) -> Option<String> {
    report.set_nonblocking(true).ok()?;
    let mut text = Vec::new();
    tokio::net::UnixStream::from_std(report).ok()?.read_to_end(&mut text).await.ok()?;
    if text.is_empty() {
        return None;
    }
    Some(match serde_json::from_slice::<jail::Failure>(&text) {
        Ok(failure) => failure.to_string(),
        Err(_) => String::from_utf8_lossy(&text).into_owned(),
    })
}
