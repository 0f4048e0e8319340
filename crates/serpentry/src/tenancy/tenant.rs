//! One application's claim to a place, as the host's main thread holds it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::estate::Prepared;
use super::keeper::Keeper;
use super::room::Room;
use super::wants::{Unmet, Wants};
use crate::say;

/// How long an application waits for another that is about to give back its share, and between two questions.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// An application in one tenancy. Its place is made when the first worker needs it.
#[derive(Debug)]
pub(crate) struct Tenant {
    keeper: Keeper,
    wants: RefCell<Wants>,
    /// Held while it is being made, so that it is made once.
    place: tokio::sync::Mutex<Kept>,
}

/// How the place is kept. What an isolated application holds it holds also while it sleeps, so that it can wake up. A shared
/// one that may sleep gives its place back with its last worker; one that does not keeps it while a worker is replaced.
#[derive(Debug)]
enum Kept {
    Always(Option<Rc<Place>>),
    WhileUsed(Weak<Place>),
}

impl Kept {
    fn get(&self) -> Option<Rc<Place>> {
        match self {
            Kept::Always(place) => place.clone(),
            Kept::WhileUsed(place) => place.upgrade(),
        }
        .filter(|place| place.is_good())
    }

    fn set(&mut self, new: Option<&Rc<Place>>) {
        match self {
            Kept::Always(place) => *place = new.cloned(),
            Kept::WhileUsed(place) => *place = new.map(Rc::downgrade).unwrap_or_default(),
        }
    }
}

/// Where workers are started. Given back when the last one who holds it lets it go: the application's specification and each
/// of its processes.
#[derive(Debug)]
pub(crate) struct Place {
    keeper: Keeper,
    prepared: Prepared,
    /// Namespaces of its own, if it is isolated.
    room: Option<Room>,
}

impl Tenant {
    /// `sleeps`: it may be without workers for long.
    pub(crate) fn new(keeper: Keeper, wants: Wants, sleeps: bool) -> Self {
        let kept =
            if wants.is_isolated() || !sleeps { Kept::Always(None) } else { Kept::WhileUsed(Weak::new()) };
        Tenant { keeper, wants: RefCell::new(wants), place: tokio::sync::Mutex::new(kept) }
    }

    pub(crate) fn wants(&self) -> std::cell::Ref<'_, Wants> {
        self.wants.borrow()
    }

    /// The place if it is there already.
    pub(crate) fn ready(&self) -> Option<Rc<Place>> {
        self.place.try_lock().ok()?.get()
    }

    /// The place, made if need be.
    ///
    /// # Errors
    /// Why it cannot be had: a sentence. The next call tries again.
    pub(crate) async fn place(&self) -> Result<Rc<Place>, String> {
        let mut kept = self.place.lock().await;
        if let Some(place) = kept.get() {
            return Ok(place);
        }
        // Before another is made in its stead.
        kept.set(None);
        let wants = self.wants.borrow().clone();
        let asked = Instant::now();
        let prepared = loop {
            match self.keeper.prepare(&wants).await {
                Err(denied) if denied.soon && asked.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
                answer => break answer.map_err(|denied| wants.located(denied.key, denied.reason))?,
            }
        };
        // From here on it is given back, also when something below fails.
        let mut place = Place { keeper: self.keeper.clone(), prepared, room: None };
        if place.prepared.has_room {
            match place.make_room(&wants).await {
                Ok(room) => place.room = Some(room),
                Err(why) => place.go_without(&wants, why)?,
            }
        }
        let place = Rc::new(place);
        kept.set(Some(&place));
        Ok(place)
    }

    /// The application is stopped: what it holds is free for others as soon as its last worker is gone, and what its workers
    /// left behind ends.
    pub(crate) fn leave(&self) {
        // Somebody who makes the place at this moment needs it.
        if let Ok(mut kept) = self.place.try_lock() {
            kept.set(None);
        }
    }

    /// Other limits, for the workers there are and for those to come.
    pub(crate) fn adjust(&self, wants: Wants) {
        if let Some(place) = self.ready().filter(|_| *self.wants.borrow() != wants) {
            self.keeper.adjust(place.prepared.token, &wants);
        }
        *self.wants.borrow_mut() = wants;
    }

    /// What is not enforced; nothing is known before the first worker.
    pub(crate) fn unmet(&self) -> Vec<Unmet> {
        self.ready().map(|place| place.prepared.unmet.clone()).unwrap_or_default()
    }
}

impl Place {
    /// `cgroup.procs` files to join.
    pub(crate) fn cgroups(&self) -> &[PathBuf] {
        &self.prepared.cgroups
    }

    pub(crate) fn limits(&self) -> &[jail::Limit] {
        &self.prepared.limits
    }

    pub(crate) fn identity(&self) -> Option<&jail::Identity> {
        self.prepared.identity.as_ref()
    }

    pub(crate) fn confinement(&self) -> Option<&jail::Confinement> {
        self.prepared.confinement.as_ref()
    }

    /// Variables that tell the application about its place.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.prepared.environment
    }

    pub(crate) fn room(&self) -> Option<&Room> {
        self.room.as_ref()
    }

    /// Workers can be started in it.
    fn is_good(&self) -> bool {
        self.room.as_ref().is_none_or(Room::is_there)
    }

    /// Where only root can make rooms, an application may do without one, unless it must not reach the network.
    fn go_without(&mut self, wants: &Wants, why: String) -> Result<(), String> {
        if rustix::process::geteuid().is_root() || wants.strict || wants.has_network() {
            return Err(why);
        }
        say::warning(format_args!(
            "{}: it is not isolated from other processes and files here: {why}",
            wants.app
        ));
        let remedy = "run the host as root".to_owned();
        self.prepared.unmet.push(Unmet { constraint: "namespaces".to_owned(), why, remedy, partly: false });
        Ok(())
    }

    async fn make_room(&self, wants: &Wants) -> Result<Room, String> {
        let data = self.prepared.data.as_deref();
        let plan = jail::RoomPlan {
            parent: std::process::id(),
            cgroups: self.prepared.cgroups.clone(),
            host_name: wants.app.clone(),
            network: wants.has_network(),
            view: wants.view(
                self.identity(),
                data,
                &self.keeper.neighbours(&wants.app),
                self.prepared.resolv_conf.clone(),
            ),
        };
        let problem =
            |error: anyhow::Error| wants.located(Some("tenancy"), format!("cannot make its room: {error:#}"));
        let room = Room::start(&plan, wants).await.map_err(problem)?;
        if wants.has_way_out() {
            let namespace = jail::network::namespace_of(room.pid()).map_err(|error| problem(error.into()))?;
            let connected = self.keeper.connect(self.prepared.token, wants, namespace).await;
            connected.map_err(|why| wants.located(Some("limits.egress"), why))?;
        }
        Ok(room)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.keeper.release(self.prepared.token);
    }
}
