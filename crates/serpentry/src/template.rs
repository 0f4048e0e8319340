//! Template processes: each imports an application once and forks its workers.
//!
//! There is one per generation of an application, started with the first worker that is wanted of it and ended when no more
//! will be. Workers outlive it. To the supervisor a template is nothing but a way to start a worker: what goes wrong in it
//! is told as a worker that could not be forked, and the supervisor's pauses apply.
//!
//! ```text
//!             first order                    Ready
//!  (nothing) -------------> importing ------------------> forking, one worker at a time
//!      ^                        | import error, exit,         |
//!      |                        | start timeout               | died, does not answer
//!      +---- who waits is refused, the next order starts it again (at once if it had lived for STABLE)
//! ```
//!
//! How the fork becomes our child is written in `jail::adopt`; what a template does, in `crates/worker/src/template.rs`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use router::Worker as Number;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::sync::{mpsc, oneshot};
use wire::{ControlFromWorker, ControlToWorker, FrameBuffer};

use crate::family::{self, Adopting, Handle};
use crate::logs::{Captured, Source};
use crate::process::{self, Fate, Kin, Launched, Started, Template};
use crate::say;
use crate::tenancy::{Place, Room};

/// Workers that may wait for one template; the supervisor never wants more at a time.
const MOST_WAITING: usize = 4096;

/// A template that lived so long after its import died of something passing: another is started before it is needed.
const STABLE: Duration = Duration::from_secs(10);

/// How long the kernel may take for the end of a process that was killed or has closed its link.
const END_TIME: Duration = Duration::from_secs(5);

/// A worker that is wanted.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) worker: Number,
    pub(crate) asked: Instant,
    /// Our ends of its links.
    pub(crate) data: UnixStream,
    pub(crate) control: UnixStream,
    /// What it gets: its ends of the links, and standard output and error if they are not the template's own.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Our ends of its output's pipes.
    pub(crate) source: Option<Source>,
}

/// The templates of one application, by generation.
#[derive(Debug)]
pub(crate) struct Preload {
    start_timeout: Duration,
    running: RefCell<BTreeMap<u64, Running>>,
}

/// The task that cares for one template; dropping this ends both.
#[derive(Debug)]
struct Running {
    orders: mpsc::Sender<Order>,
    _end: oneshot::Sender<Infallible>,
}

impl Preload {
    /// `start_timeout` is for the import, and for a fork.
    pub(crate) fn new(start_timeout: Duration) -> Self {
        Preload { start_timeout, running: RefCell::default() }
    }

    /// Have a worker of `generation` forked, by a template as described. [`Fate::Started`] or [`Fate::NotForked`] follows.
    ///
    /// # Errors
    /// When this program cannot become the parent of forked workers, or too many are wanted already.
    pub(crate) fn order(
        &self,
        template: &Template,
        generation: u64,
        order: Order,
        fates: &mpsc::Sender<Fate>,
    ) -> anyhow::Result<()> {
        family::adopt_orphans()?;
        let mut running = self.running.borrow_mut();
        let care = running.entry(generation).or_insert_with(|| {
            let (orders, waiting) = mpsc::channel(MOST_WAITING);
            let (end, ended) = oneshot::channel();
            let care = Care {
                template: Template { preload: None, ..template.clone() },
                generation,
                start_timeout: self.start_timeout,
                orders: waiting,
                waiting: VecDeque::new(),
                forking: None,
                alive: None,
                fates: fates.clone(),
            };
            tokio::task::spawn_local(care.run(ended));
            Running { orders, _end: end }
        });
        match care.orders.try_send(order) {
            Ok(()) => Ok(()),
            Err(_) => bail!("{MOST_WAITING} workers wait for their template already"),
        }
    }

    /// No more workers are wanted of this generation.
    pub(crate) fn retire(&self, generation: u64) {
        self.running.borrow_mut().remove(&generation);
    }

    /// No more workers are wanted of generations before this one.
    pub(crate) fn retire_before(&self, generation: u64) {
        self.running.borrow_mut().retain(|known, _| *known >= generation);
    }

    /// No more workers are wanted at all, for now.
    pub(crate) fn stop(&self) {
        self.running.borrow_mut().clear();
    }
}

/// The care for one template.
struct Care {
    template: Template,
    generation: u64,
    start_timeout: Duration,
    orders: mpsc::Receiver<Order>,
    waiting: VecDeque<Order>,
    /// The worker that is being forked.
    forking: Option<Number>,
    alive: Option<Alive>,
    fates: mpsc::Sender<Fate>,
}

/// A template process.
struct Alive {
    kin: Kin,
    process: Handle,
    /// Where its forks are too.
    place: Rc<Place>,
    control: tokio::net::UnixStream,
    /// Since when it can fork, and the processor time it had used by then.
    ready: Option<(Instant, Option<Duration>)>,
    forked: u64,
    /// Why the application could not be imported, in Python's words.
    traceback: String,
    /// Its output is read for as long.
    _captured: Option<Captured>,
}

impl Care {
    async fn run(mut self, end: oneshot::Receiver<Infallible>) {
        tokio::select! {
            biased;
            _ = end => {}
            () = self.keep_alive() => {}
        }
        self.bury().await;
        let reason = "the template it was to be forked from is not needed any more";
        self.refuse_forking(reason).await;
        self.refuse_waiting(reason, "").await;
    }

    /// Start templates and serve orders until no more can come.
    async fn keep_alive(&mut self) {
        let Some(first) = self.orders.recv().await else { return };
        self.waiting.push_back(first);
        loop {
            let reason = match self.start().await {
                Ok(()) => match self.serve().await {
                    Some(reason) => reason,
                    None => return,
                },
                Err(error) => format!("{error:#}"),
            };
            let ready = self.alive.as_ref().and_then(|alive| alive.ready);
            let traceback = self.alive.as_mut().map(|alive| std::mem::take(&mut alive.traceback));
            let traceback = traceback.unwrap_or_default();
            self.bury().await;
            if ready.is_some() {
                say::warning(format_args!("generation {}: {reason}; its workers live on", self.generation));
            }
            self.refuse_forking(&reason).await;
            if ready.is_some_and(|(since, _)| since.elapsed() >= STABLE) {
                continue;
            }
            self.refuse_waiting(&reason, &traceback).await;
            let Some(next) = self.orders.recv().await else { return };
            self.waiting.push_back(next);
        }
    }

    /// Start a process and wait until the application is imported.
    async fn start(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        let (control, theirs) = UnixStream::pair().context("cannot create a template's control link")?;
        control.set_nonblocking(true).context("a template's control link")?;
        let control = tokio::net::UnixStream::from_std(control).context("a template's control link")?;
        // Instead of a data link, which a template has not.
        let nothing = File::open("/dev/null").context("cannot open /dev/null")?;
        let mut settings = self.template.settings.clone();
        // Before it is launched, because in a room its forks fall to the holder, process 1 in there.
        let place = self.template.tenant.place().await.map_err(anyhow::Error::msg)?;
        settings["template_of"] = if place.room().is_some() { 1 } else { std::process::id() }.into();
        let descriptors = [OwnedFd::from(nothing), OwnedFd::from(theirs)];
        let Launched { kin, process, report, captured, place } =
            process::launch(&self.template, settings, &descriptors).await?;
        drop(descriptors);
        let alive = self.alive.insert(Alive {
            kin,
            process,
            place,
            control,
            ready: None,
            forked: 0,
            traceback: String::new(),
            _captured: captured,
        });
        let wants = self.template.tenant.wants().clone();
        let outcome = tokio::time::timeout(self.start_timeout, async {
            match process::jail_report(report, &wants).await {
                Some(reason) => bail!(reason),
                None => alive.imported().await,
            }
        });
        match outcome.await {
            Ok(outcome) => outcome?,
            Err(_) => bail!(
                "the template has not imported the application within {} s",
                self.start_timeout.as_secs_f64()
            ),
        }
        let pid = alive.process.pid();
        alive.ready = Some((Instant::now(), processor_time(pid)));
        let memory = resident(pid).map(|bytes| format!(", {} MiB resident", bytes >> 20)).unwrap_or_default();
        say::debug(format_args!(
            "the template of generation {} is process {pid}: the application is imported after {:.2} s{memory}",
            self.generation,
            began.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// Carry out orders. Why that is not possible any more, or `None` when no more can come.
    async fn serve(&mut self) -> Option<String> {
        loop {
            let alive = self.alive.as_mut()?;
            let order = match self.waiting.pop_front() {
                Some(order) => order,
                None => tokio::select! {
                    biased;
                    status = alive.kin.end(&alive.process) => {
                        return Some(format!("the template {status}"));
                    }
                    order = self.orders.recv() => order?,
                },
            };
            let worker = order.worker;
            self.forking = Some(worker);
            let forked = tokio::time::timeout(self.start_timeout, alive.fork(order, &self.fates)).await;
            match forked {
                Ok(Ok(started)) => {
                    alive.forked += 1;
                    self.tell(Fate::Started { worker, started }).await;
                    self.forking = None;
                }
                Ok(Err(error)) => self.refuse_forking(&format!("{error:#}")).await,
                Err(_) => {
                    let seconds = self.start_timeout.as_secs_f64();
                    return Some(format!("the template did not fork a worker within {seconds} s"));
                }
            }
        }
    }

    /// End the process, if there is one: it holds nothing that anybody would miss.
    async fn bury(&mut self) {
        let Some(Alive { mut kin, process, ready, forked, .. }) = self.alive.take() else { return };
        if let Some((since, before)) = ready {
            let used = processor_time(process.pid()).zip(before).map(|(now, before)| {
                format!(", in which it used {:.1} ms of the processor", (now - before).as_secs_f64() * 1e3)
            });
            say::debug(format_args!(
                "the template of generation {} ends after {:.1} s and {forked} workers{}",
                self.generation,
                since.elapsed().as_secs_f64(),
                used.unwrap_or_default()
            ));
        }
        process.kill();
        if tokio::time::timeout(END_TIME, kin.end(&process)).await.is_err() {
            say::warning(format_args!("the template process {} cannot be killed", process.pid()));
        }
    }

    // What is awaited below may be the last that happens here: an order is forgotten only once it is answered.

    async fn refuse_forking(&mut self, reason: &str) {
        if let Some(worker) = self.forking {
            let traceback = String::new();
            self.tell(Fate::NotForked { worker, reason: reason.to_owned(), traceback }).await;
            self.forking = None;
        }
    }

    async fn refuse_waiting(&mut self, reason: &str, mut traceback: &str) {
        loop {
            while let Ok(order) = self.orders.try_recv() {
                self.waiting.push_back(order);
            }
            let Some(worker) = self.waiting.front().map(|order| order.worker) else { return };
            // Once is enough, for all who waited for the same import.
            let traceback = std::mem::take(&mut traceback).to_owned();
            self.tell(Fate::NotForked { worker, reason: reason.to_owned(), traceback }).await;
            self.waiting.pop_front();
        }
    }

    async fn tell(&self, fate: Fate) {
        // The receiver is gone only when the program ends.
        let _ = self.fates.send(fate).await;
    }
}

impl Alive {
    /// Wait for the word that the application is imported, or why not.
    async fn imported(&mut self) -> anyhow::Result<()> {
        let mut frames = FrameBuffer::default();
        loop {
            match frames.next_frame().and_then(|frame| frame.map(ControlFromWorker::decode).transpose()) {
                Ok(None) => {}
                Ok(Some(ControlFromWorker::Ready)) => return Ok(()),
                Ok(Some(ControlFromWorker::BootFailed(failure))) => {
                    failure.traceback.clone_into(&mut self.traceback);
                    bail!("{}", failure.message);
                }
                Ok(Some(_)) => bail!("the template sent a control message that makes no sense"),
                Err(error) => bail!("the template broke the protocol: {error}"),
            }
            let count = self.control.read(frames.space()).await.unwrap_or(0);
            frames.filled(count);
            if count == 0 {
                let end = tokio::time::timeout(END_TIME, self.kin.end(&self.process));
                match end.await {
                    Ok(status) => bail!("the template {status} while it imported the application"),
                    Err(_) => bail!("the template closed its link while it imported the application"),
                }
            }
        }
    }

    /// One worker.
    async fn fork(&mut self, order: Order, fates: &mpsc::Sender<Fate>) -> anyhow::Result<Started> {
        let Order { worker, asked, data, control, descriptors, source } = order;
        // From here until the new child is known, it must not be taken for somebody's orphan.
        let _adopting = Adopting::begin();
        let expected = self.place.room().map(Room::expect);
        let (birth, theirs) = jail::birth_pair().context("cannot create a birth socket")?;
        // Any socket of the family, whatever its type, can be watched as a stream; it is not read as one.
        let birth = tokio::net::UnixStream::from_std(UnixStream::from(birth)).context("a birth socket")?;
        let descriptors: Vec<OwnedFd> = std::iter::once(theirs).chain(descriptors).collect();
        let mut frame = Vec::new();
        ControlToWorker::Fork { descriptors: u8::try_from(descriptors.len())? }.encode(&mut frame);
        let send = || jail::send_with_descriptors(&self.control, &frame, &descriptors);
        self.control.async_io(Interest::WRITABLE, send).await.context("cannot order its template to fork")?;
        // If nobody else holds these any more, the fork has failed, and the socket tells.
        drop(descriptors);
        let received = birth.async_io(Interest::READABLE, || jail::receive_birth(&birth)).await;
        let (message, sender) = received.context("a birth socket")?;
        let pid = match (message.split_first(), sender) {
            (Some((&wire::BORN, _)), Some(pid)) => pid,
            (None, _) => bail!("the forked process ended before it could become a worker"),
            (Some((_, reason)), _) => bail!("{}", String::from_utf8_lossy(reason)),
        };
        let process = Handle::new(pid).with_context(|| format!("process {pid} is a worker already"))?;
        let kin = match expected {
            Some(expected) => Kin::InRoom(expected.born(process.clone())),
            None => {
                let adopted =
                    jail::Adopted::new(pid).with_context(|| format!("process {pid} is not our child"))?;
                Kin::Adopted(process::watch(adopted).context("cannot watch a worker")?)
            }
        };
        let captured = source.map(|source| source.begin(pid));
        let (place, fates) = (Some(Rc::clone(&self.place)), fates.clone());
        let follow = process::follow_forked(worker, kin, process.clone(), fates, captured, place);
        tokio::task::spawn_local(follow);
        Ok(Started { process, asked, data, control })
    }
}

/// Bytes of memory that a process has in use, shared ones included (proc_pid_statm(5)).
fn resident(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

/// Time that the main thread of a process has spent on a processor (`/proc/PID/schedstat`).
fn processor_time(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
