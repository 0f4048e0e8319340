//! The room of an isolated application, as the host sees it: the process that holds its namespaces, and the ends of
//! processes that fell to that process.
//!
//! What a room is and how workers are put into it is written in `jail::room`. It exists as long as somebody holds this.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jail::{Ended, RoomEvent, RoomPlan, RoomSocket, Wards, Whose};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::wants::Wants;
use crate::family::{self, Adopting, Handle};
use crate::{process, say};

/// How long the holder may take until the room is ready: it makes a few dozen mounts.
const START_TIME: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Room {
    shared: Rc<Shared>,
    socket: Rc<AsyncFd<RoomSocket>>,
    pidfd: OwnedFd,
    holder: Handle,
    /// Dropping it ends the room.
    _end: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    gone: Cell<bool>,
    /// Processes whose end somebody waits for.
    watched: RefCell<HashMap<u32, Watched>>,
    wards: RefCell<Wards>,
}

#[derive(Debug)]
struct Watched {
    process: Handle,
    ended: oneshot::Sender<supervisor::ExitStatus>,
}

impl Room {
    /// Make a room.
    ///
    /// # Errors
    /// What could not be made, and why.
    pub(crate) async fn start(plan: &RoomPlan, wants: &Wants) -> anyhow::Result<Room> {
        family::adopt_orphans()?;
        // From here until the holder is known, it must not be taken for somebody's orphan.
        let adopting = Adopting::begin();
        let (command, handover) = jail::room_command().context("cannot create the room's socket")?;
        let mut child = tokio::process::Command::from(command).spawn().context("cannot create a process")?;
        let starter = child.id().and_then(Handle::new).context("it is gone already")?;
        let (report, socket) = handover.send(plan).context("cannot send the room its plan")?;
        let socket = watch(socket).context("cannot watch a room")?;
        let ready = tokio::time::timeout(START_TIME, async {
            if let Some(reason) = process::jail_report(report, wants).await {
                bail!(reason);
            }
            match next(&socket).await {
                Some(RoomEvent::Ready(holder)) => Ok(holder),
                _ => bail!("the process that holds it ended before it was ready"),
            }
        });
        let ready = ready.await.unwrap_or_else(|_| {
            bail!("it is not ready after {} s", START_TIME.as_secs());
        });
        if ready.is_err() {
            starter.kill();
        }
        process::wait(&mut child, &starter).await;
        let holder = ready?;
        let pidfd = holder.as_fd().try_clone_to_owned().context("cannot keep the room's pidfd")?;
        let process = Handle::new(holder.pid()).context("the room's process is somebody else already")?;
        drop(adopting);
        let shared = Rc::new(Shared::default());
        let (end, ended) = oneshot::channel();
        let socket = Rc::new(socket);
        tokio::task::spawn_local(care(Rc::clone(&shared), Rc::clone(&socket), ended));
        tokio::task::spawn_local(follow(holder, process.clone()));
        Ok(Room { shared, socket, pidfd, holder: process, _end: end })
    }

    /// The process whose namespaces workers join.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// Workers can be started in it.
    pub(crate) fn is_there(&self) -> bool {
        !self.shared.gone.get()
    }

    /// A template in the room is about to be told to fork: what ends from now on may be that fork.
    pub(crate) fn expect(&self) -> Expected {
        self.shared.wards.borrow_mut().expect();
        Expected { shared: Rc::clone(&self.shared), socket: Rc::clone(&self.socket), is_born: false }
    }
}

/// A fork that was ordered and has not shown itself.
pub(crate) struct Expected {
    shared: Rc<Shared>,
    socket: Rc<AsyncFd<RoomSocket>>,
    is_born: bool,
}

impl Expected {
    /// It has shown itself. Be told of its end; `process` is told first. Nothing comes when the room itself ends, and all that
    /// is in it.
    pub(crate) fn born(mut self, process: Handle) -> oneshot::Receiver<supervisor::ExitStatus> {
        self.is_born = true;
        let (told, receiver) = oneshot::channel();
        let (ended, orphans) = self.shared.wards.borrow_mut().born(process.pid());
        self.shared.watched.borrow_mut().insert(process.pid(), Watched { process, ended: told });
        if let Some(ended) = ended {
            self.shared.tell(ended);
        }
        self.reap(ended.into_iter().chain(orphans));
        receiver
    }

    fn reap(&self, ended: impl IntoIterator<Item = Ended>) {
        for ended in ended {
            // If that fails the room is gone, which is noticed where its socket is read.
            let _ = self.socket.get_ref().reap(ended);
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if !self.is_born {
            let orphans = self.shared.wards.borrow_mut().not_born();
            self.reap(orphans);
        }
    }
}

impl Shared {
    /// A process has ended: tell who waits for it, and have it reaped unless it is not known yet whose it is.
    fn hear(&self, ended: Ended, socket: &RoomSocket) -> io::Result<()> {
        let whose = self.wards.borrow_mut().ended(ended);
        match whose {
            Whose::Unknown => return Ok(()),
            Whose::Ward => self.tell(ended),
            Whose::Orphan => {}
        }
        socket.reap(ended)
    }

    fn tell(&self, ended: Ended) {
        let Some(Watched { process, ended: told }) = self.watched.borrow_mut().remove(&ended.pid) else {
            return;
        };
        process.reaped();
        // Whoever waited may have gone.
        let _ = told.send(status(ended));
    }
}

/// Hear what the holder says until nobody needs the room any more. Dropping the socket ends it.
async fn care(shared: Rc<Shared>, socket: Rc<AsyncFd<RoomSocket>>, mut end: oneshot::Receiver<()>) {
    loop {
        let event = tokio::select! {
            biased;
            _ = &mut end => break,
            event = next(&socket) => event,
        };
        let Some(event) = event else { break };
        if let RoomEvent::Ended(ended) = event
            && shared.hear(ended, socket.get_ref()).is_err()
        {
            break;
        }
    }
    shared.gone.set(true);
    for (_, watched) in shared.watched.borrow_mut().drain() {
        // They die with the room; their numbers are the holder's to give back, which is gone.
        watched.process.reaped();
    }
}

fn status(ended: Ended) -> supervisor::ExitStatus {
    match (ended.code, ended.signal) {
        (Some(code), _) => supervisor::ExitStatus::Code(code),
        (None, Some(signal)) => supervisor::ExitStatus::Signal(signal),
        (None, None) => process::UNKNOWN,
    }
}

/// Reap the holder when it ends.
async fn follow(holder: jail::Adopted, process: Handle) {
    let pid = holder.pid();
    match process::watch(holder) {
        Ok(holder) => drop(process::end_of(&holder).await),
        Err(error) => say::warning(format_args!("the room of process {pid} cannot be watched: {error}")),
    }
    process.reaped();
}

/// The next event; `None` when the holder is gone or makes no sense.
async fn next(socket: &AsyncFd<RoomSocket>) -> Option<RoomEvent> {
    let event = socket.async_io(Interest::READABLE, RoomSocket::receive).await;
    event.unwrap_or_else(|error| {
        say::warning(format_args!("a room is given up: {error}"));
        None
    })
}

#[expect(
    deprecated,
    reason = "its successor is unsafe because of types that may close their descriptor; this one does not"
)]
fn watch(socket: RoomSocket) -> io::Result<AsyncFd<RoomSocket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}
