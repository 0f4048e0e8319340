//! An interpreter on its way through the jail, into the place that its application has.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use anyhow::{Context as _, bail};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::oneshot;

use super::{Template, end_of, jail_report, wait, watch};
use crate::family::{self, Adopting, Handle};
use crate::logs::{Captured, Source};
use crate::tenancy::{Place, Wants};

/// Variables that were meant for this program, not for the application's.
const OURS: [&str; 6] =
    ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// A process that runs an interpreter, or has failed on the way: its report tells.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) kin: Kin,
    pub(crate) process: Handle,
    pub(crate) report: UnixStream,
    /// What it writes is read until this is dropped.
    pub(crate) captured: Option<Captured>,
    pub(crate) place: Rc<Place>,
}

/// How we learn of a process' end.
#[derive(Debug)]
pub(crate) enum Kin {
    /// We started it.
    Child(Child),
    /// It became our child.
    Adopted(AsyncFd<jail::Adopted>),
    /// It is the child of its room's holder, which tells.
    InRoom(oneshot::Receiver<supervisor::ExitStatus>),
}

impl Kin {
    /// Wait for its end. Its handle is told in the same breath.
    pub(crate) async fn end(&mut self, process: &Handle) -> supervisor::ExitStatus {
        match self {
            Kin::Child(child) => wait(child, process).await,
            Kin::Adopted(adopted) => {
                let status = end_of(adopted).await;
                process.reaped();
                status
            }
            // The room itself is gone: the kernel has killed all that was in it.
            Kin::InRoom(ended) => ended.await.unwrap_or(supervisor::ExitStatus::Signal(9)),
        }
    }
}

/// Start an interpreter that runs our extension with `settings`, in the application's place, which is made if need be.
///
/// # Errors
/// When it has no place, or no process can be created.
pub(crate) async fn launch(
    template: &Template,
    settings: serde_json::Value,
    descriptors: &[OwnedFd],
) -> anyhow::Result<Launched> {
    let place = template.tenant.place().await.map_err(anyhow::Error::msg)?;
    let plan = plan(template, settings, descriptors.len(), &place);
    let (mut command, handover) = jail::command().context("cannot create its plan's socket")?;
    let source = match template.output.capture()? {
        Some(capture) => {
            command.stdout(capture.stdout).stderr(capture.stderr);
            Some(capture.source)
        }
        None => None,
    };
    if place.room().is_some() {
        let wants = template.tenant.wants().clone();
        return launch_into(place, &wants, (command, handover), &plan, descriptors, source).await;
    }
    // Our copies of the pipes' writing ends are closed with the command.
    let child = tokio::process::Command::from(command).spawn().context("cannot create a process")?;
    let process = child.id().and_then(Handle::new).context("it is gone already")?;
    let captured = source.map(|source| source.begin(process.pid()));
    match handover.send(&plan, descriptors) {
        Ok(report) => Ok(Launched { kin: Kin::Child(child), process, report, captured, place }),
        Err(error) => {
            process.kill();
            // The runtime reaps what is dropped; from now on the number is not ours to use.
            process.reaped();
            Err(error).context("cannot send it its plan")
        }
    }
}

/// The same for a place with a room: what we spawn forks the worker on the other side, and we adopt it.
async fn launch_into(
    place: Rc<Place>,
    wants: &Wants,
    (command, handover): (std::process::Command, jail::Handover),
    plan: &jail::Plan,
    descriptors: &[OwnedFd],
    source: Option<Source>,
) -> anyhow::Result<Launched> {
    let room = place.room().context("its place has no room")?;
    family::adopt_orphans()?;
    // From here until the new child is known, it must not be taken for somebody's orphan.
    let adopting = Adopting::begin();
    let mut starter = tokio::process::Command::from(command).spawn().context("cannot create a process")?;
    let handle = starter.id().and_then(Handle::new).context("it is gone already")?;
    let sent = handover.send_into(room.pidfd(), plan, descriptors);
    let (report, birth) = match sent {
        Ok(sent) => sent,
        Err(error) => {
            handle.kill();
            wait(&mut starter, &handle).await;
            return Err(error).context("cannot send it its plan");
        }
    };
    // Any socket of the family, whatever its type, can be watched as a stream; it is not read as one.
    let birth = tokio::net::UnixStream::from_std(UnixStream::from(birth)).context("a birth socket")?;
    let born = birth.async_io(Interest::READABLE, || jail::receive_birth(&birth)).await;
    wait(&mut starter, &handle).await;
    let pid = match born.context("a birth socket")? {
        (message, Some(pid)) if !message.is_empty() => pid,
        _ => match jail_report(report, wants).await {
            Some(reason) => bail!(reason),
            None => bail!("it ended on its way into its room"),
        },
    };
    let adopted = jail::Adopted::new(pid).with_context(|| format!("process {pid} is not our child"))?;
    let adopted = watch(adopted).context("cannot watch a worker")?;
    let process = Handle::new(pid).with_context(|| format!("process {pid} is a worker already"))?;
    drop(adopting);
    let captured = source.map(|source| source.begin(pid));
    Ok(Launched { kin: Kin::Adopted(adopted), process, report, captured, place })
}

fn plan(
    template: &Template,
    mut settings: serde_json::Value,
    descriptors: usize,
    place: &Place,
) -> jail::Plan {
    settings["extension"] = template.extension.module(template.interpreter.minor).to_string_lossy().into();
    let mut environment = place.environment().to_vec();
    // What the configuration says comes last, and counts.
    environment.extend(template.environment.iter().cloned());
    environment.push(("SERPENTRY_WORKER".to_owned(), settings.to_string()));
    jail::Plan {
        program: template.interpreter.path.clone(),
        arguments: vec![template.extension.boot().to_string_lossy().into_owned()],
        environment,
        without: OURS.map(str::to_owned).to_vec(),
        directory: template.directory.clone(),
        parent: std::process::id(),
        descriptors,
        cgroups: place.cgroups().to_vec(),
        limits: place.limits().to_vec(),
        room: place.room().is_some(),
        identity: place.identity().cloned(),
        confinement: place.confinement().cloned(),
    }
}
