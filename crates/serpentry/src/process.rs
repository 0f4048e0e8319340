//! One worker process: started through the jail or forked by a template, watched until it is gone.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context as _;
use router::Worker as Number;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::extension::Extension;
use crate::family::Handle;
use crate::interpreter::Interpreter;
use crate::logs::{AppLog, Capture, Captured};
use crate::template::{Order, Preload};

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
    /// Workers are forked by a process that has imported the application already.
    pub(crate) preload: Option<Rc<Preload>>,
}

/// Where a worker's standard output and standard error go.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// To where the program's own go.
    Inherit,
    /// To the application's log, until the worker is gone.
    Captured(AppLog),
}

impl Output {
    fn capture(&self) -> anyhow::Result<Option<Capture>> {
        match self {
            Output::Inherit => Ok(None),
            Output::Captured(log) => log.capture().map(Some).context("cannot create the pipes of its output"),
        }
    }
}

/// What became of a process.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It was forked: what [`start`] returns at once for a process of its own.
    Started { worker: Number, started: Started },
    /// It could not be forked. Nothing more comes.
    NotForked { worker: Number, reason: String, traceback: String },
    /// The jail could not turn it into a worker.
    NotStarted { worker: Number, reason: String },
    /// It is gone and reaped.
    Exited { worker: Number, status: supervisor::ExitStatus },
}

/// A worker that was just started, with our ends of its links.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: Handle,
    /// When it was asked for.
    pub(crate) asked: Instant,
    pub(crate) data: UnixStream,
    pub(crate) control: UnixStream,
}

/// Start a worker of `generation`. With `None` it will be forked: [`Fate::Started`] or [`Fate::NotForked`] follows. What
/// was started ends in exactly one [`Fate::Exited`].
///
/// # Errors
/// When no process can be created.
pub(crate) fn start(
    template: &Template,
    worker: Number,
    generation: u64,
    fates: &mpsc::Sender<Fate>,
) -> anyhow::Result<Option<Started>> {
    let asked = Instant::now();
    let (data, worker_data) = UnixStream::pair().context("cannot create its data link")?;
    let (control, worker_control) = UnixStream::pair().context("cannot create its control link")?;
    let mut descriptors = vec![OwnedFd::from(worker_data), OwnedFd::from(worker_control)];
    if let Some(preload) = &template.preload {
        let mut source = None;
        if let Some(capture) = template.output.capture()? {
            descriptors.extend([capture.stdout, capture.stderr]);
            source = Some(capture.source);
        }
        let order = Order { worker, asked, data, control, descriptors, source };
        preload.order(template, generation, order, fates)?;
        return Ok(None);
    }
    let Launched { child, process, report, captured } = launch(template, &template.settings, &descriptors)?;
    tokio::task::spawn_local(follow(worker, child, process.clone(), report, fates.clone(), captured));
    Ok(Some(Started { process, asked, data, control }))
}

/// An interpreter on its way through the jail.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) process: Handle,
    pub(crate) report: UnixStream,
    /// What it writes is read until this is dropped.
    pub(crate) captured: Option<Captured>,
}

/// Start an interpreter that runs our extension with `settings`.
///
/// # Errors
/// When no process can be created.
pub(crate) fn launch(
    template: &Template,
    settings: &serde_json::Value,
    descriptors: &[OwnedFd],
) -> anyhow::Result<Launched> {
    let mut settings = settings.clone();
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
        descriptors: descriptors.len(),
        ..jail::Plan::default()
    };
    let (mut command, handover) = jail::command().context("cannot create its plan's socket")?;
    let source = match template.output.capture()? {
        Some(capture) => {
            command.stdout(capture.stdout).stderr(capture.stderr);
            Some(capture.source)
        }
        None => None,
    };
    // Our copies of the pipes' writing ends are closed with the command.
    let child = tokio::process::Command::from(command).spawn().context("cannot create a process")?;
    let process = child.id().and_then(Handle::new).context("it is gone already")?;
    let captured = source.map(|source| source.begin(process.pid()));
    match handover.send(&plan, descriptors) {
        Ok(report) => Ok(Launched { child, process, report, captured }),
        Err(error) => {
            process.kill();
            // The runtime reaps what is dropped; from now on the number is not ours to use.
            process.reaped();
            Err(error).context("cannot send it its plan")
        }
    }
}

/// Wait for the jail's report, then for the end. A full channel only makes these tasks wait, never the supervisor.
async fn follow(
    worker: Number,
    mut child: Child,
    process: Handle,
    report: UnixStream,
    fates: mpsc::Sender<Fate>,
    captured: Option<Captured>,
) {
    if let Some(reason) = jail_report(report).await {
        // The receiver is gone only when the program ends; the same below.
        let _ = fates.send(Fate::NotStarted { worker, reason }).await;
    }
    let status = wait(&mut child, &process).await;
    drop(captured);
    let _ = fates.send(Fate::Exited { worker, status }).await;
}

/// Wait for the end of a child of our own.
pub(crate) async fn wait(child: &mut Child, process: &Handle) -> supervisor::ExitStatus {
    let ended = child.wait().await;
    process.reaped();
    match ended.map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => supervisor::ExitStatus::Code(code),
        Ok((None, Some(signal))) => supervisor::ExitStatus::Signal(signal),
        Ok((None, None)) | Err(_) => UNKNOWN,
    }
}

/// Nobody else waits for our children, so this cannot happen; 255 as shells say it.
const UNKNOWN: supervisor::ExitStatus = supervisor::ExitStatus::Code(255);

/// An adopted child, so that its end can be awaited.
///
/// # Errors
/// When the kernel cannot watch more descriptors.
#[expect(
    deprecated,
    reason = "its successor is unsafe because of types that may close their descriptor; this one does not"
)]
pub(crate) fn watch(adopted: jail::Adopted) -> std::io::Result<AsyncFd<jail::Adopted>> {
    AsyncFd::with_interest(adopted, Interest::READABLE)
}

/// Wait for the end of a worker that a template forked.
pub(crate) async fn follow_adopted(
    worker: Number,
    adopted: AsyncFd<jail::Adopted>,
    process: Handle,
    fates: mpsc::Sender<Fate>,
    captured: Option<Captured>,
) {
    let status = loop {
        let Ok(mut ready) = adopted.readable().await else { break None };
        match adopted.get_ref().try_wait() {
            Ok(None) => ready.clear_ready(),
            Ok(Some(status)) => break Some(status),
            Err(_) => break None,
        }
    };
    process.reaped();
    drop(captured);
    let status = status.and_then(|status| {
        let code = status.exit_status().map(supervisor::ExitStatus::Code);
        code.or_else(|| status.terminating_signal().map(supervisor::ExitStatus::Signal))
    });
    let _ = fates.send(Fate::Exited { worker, status: status.unwrap_or(UNKNOWN) }).await;
}

/// `None` when the interpreter is running.
pub(crate) async fn jail_report(report: UnixStream) -> Option<String> {
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
