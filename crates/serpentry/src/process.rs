//! One worker process: started through the jail or forked by a template, watched until it is gone.

mod launch;

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
use crate::tenancy::{Place, Tenant, Wants};

pub(crate) use launch::{Kin, Launched, launch};

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
    /// What its workers may use, and where.
    pub(crate) tenant: Rc<Tenant>,
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
    /// It is there.
    Started { worker: Number, started: Started },
    /// It could not be started or forked. Nothing more comes.
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

/// Start a worker of `generation`: [`Fate::Started`] or [`Fate::NotForked`] follows. What was started ends in exactly one
/// [`Fate::Exited`].
///
/// # Errors
/// When its links cannot be created or too many wait already.
pub(crate) fn start(
    template: &Template,
    worker: Number,
    generation: u64,
    fates: &mpsc::Sender<Fate>,
) -> anyhow::Result<()> {
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
        return preload.order(template, generation, order, fates);
    }
    let (template, fates) = (template.clone(), fates.clone());
    tokio::task::spawn_local(async move {
        let launched = launch(&template, template.settings.clone(), &descriptors).await;
        drop(descriptors);
        // The receiver is gone only when the program ends; the same below.
        match launched {
            Ok(launched) => {
                let process = launched.process.clone();
                let started = Started { process, asked, data, control };
                let _ = fates.send(Fate::Started { worker, started }).await;
                let wants = template.tenant.wants().clone();
                follow(worker, launched, wants, fates).await;
            }
            Err(error) => {
                let (reason, traceback) = (format!("{error:#}"), String::new());
                let _ = fates.send(Fate::NotForked { worker, reason, traceback }).await;
            }
        }
    });
    Ok(())
}

/// Wait for the jail's report, then for the end. A full channel only makes these tasks wait, never the supervisor.
async fn follow(worker: Number, launched: Launched, wants: Wants, fates: mpsc::Sender<Fate>) {
    let Launched { mut kin, process, report, captured, place } = launched;
    if let Some(reason) = jail_report(report, &wants).await {
        let _ = fates.send(Fate::NotStarted { worker, reason }).await;
    }
    let status = kin.end(&process).await;
    drop((captured, place));
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
pub(crate) const UNKNOWN: supervisor::ExitStatus = supervisor::ExitStatus::Code(255);

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
pub(crate) async fn follow_forked(
    worker: Number,
    mut kin: Kin,
    process: Handle,
    fates: mpsc::Sender<Fate>,
    captured: Option<Captured>,
    place: Option<Rc<Place>>,
) {
    let status = kin.end(&process).await;
    drop((captured, place));
    let _ = fates.send(Fate::Exited { worker, status }).await;
}

/// Wait for the end of an adopted child and reap it.
pub(crate) async fn end_of(adopted: &AsyncFd<jail::Adopted>) -> supervisor::ExitStatus {
    let status = loop {
        let Ok(mut ready) = adopted.readable().await else { break None };
        match adopted.get_ref().try_wait() {
            Ok(None) => ready.clear_ready(),
            Ok(Some(status)) => break Some(status),
            Err(_) => break None,
        }
    };
    let status = status.and_then(|status| {
        let code = status.exit_status().map(supervisor::ExitStatus::Code);
        code.or_else(|| status.terminating_signal().map(supervisor::ExitStatus::Signal))
    });
    status.unwrap_or(UNKNOWN)
}

/// The key of the configuration that a step of the jail carries out.
fn key_of(step: jail::Step) -> Option<&'static str> {
    use jail::Step;
    Some(match step {
        Step::Limits => "limits.open_files",
        Step::Identity => "user",
        Step::Directory => "directory",
        Step::Exec => "python",
        Step::Namespaces | Step::Room | Step::HostName | Step::Loopback | Step::View => "tenancy",
        Step::BoundingSet | Step::Capabilities | Step::NoNewPrivileges | Step::Access | Step::SystemCalls => {
            "tenancy"
        }
        _ => return None,
    })
}

/// `None` when the interpreter is running; else which step failed, and the place in the configuration that asked for it.
pub(crate) async fn jail_report(report: UnixStream, wants: &Wants) -> Option<String> {
    report.set_nonblocking(true).ok()?;
    let mut text = Vec::new();
    tokio::net::UnixStream::from_std(report).ok()?.read_to_end(&mut text).await.ok()?;
    if text.is_empty() {
        return None;
    }
    Some(match serde_json::from_slice::<jail::Failure>(&text) {
        Ok(failure) => wants.located(key_of(failure.step), failure.to_string()),
        Err(_) => String::from_utf8_lossy(&text).into_owned(),
    })
}
