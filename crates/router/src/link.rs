//! One worker as the router sees it: its two sockets, its slots, and the requests it holds.
//!
//! ```text
//!  Booting --Hello, Ready--> Ready --admit--> Serving --drain--> Draining --empty: Finish sent--> (socket closes)
//!                                                |  a request outlived its deadline: Hung (takes nothing more)
//!  any state --socket closes or nonsense arrives--> Closed
//! ```
//!
//! A frame from a worker is as untrusted as a request from a client: anything that does not decode, or speaks of a
//! request that this worker does not hold, ends the link and with it the worker.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use wire::{ById, ControlToWorker, FrameBuffer, Interface, Spent, ToWorker};

use crate::exchange::Exchange;
use crate::inputs::Inputs;
use crate::measure::{Figures, RouteId};
use crate::observed::Hearing;

/// A sync or threads worker that holds more requests than slots and has sent nothing for this long is slow: the
/// requests that wait inside it belong elsewhere.
const SILENT: Duration = Duration::from_millis(1);

/// An event loop that has not even started a request after this long is blocked; threads that have said nothing for this
/// long may all wait for one that holds the interpreter lock.
const UNSTARTED: Duration = Duration::from_millis(2);

/// A worker that gave requests back is not tried again for this long, unless it shows life.
const SUSPICION: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Booting,
    Ready,
    Serving,
    Draining,
    Hung,
    Closed,
}

/// A request that a worker holds, until the worker says that the application has finished with it.
#[derive(Debug)]
pub(crate) struct Held {
    /// `None` once nobody waits for what the worker says about it (answered, timed out, client gone).
    pub(crate) exchange: Option<Rc<Exchange>>,
    pub(crate) started: bool,
    pub(crate) interrupted: Option<Interrupted>,
    /// An earlier worker ended with it.
    rerun: bool,
    pub(crate) route: Option<RouteId>,
    /// How long it had waited when it was handed over, and when that was.
    pub(crate) waited: Duration,
    pub(crate) handed: Instant,
}

/// A request that passed its deadline and has not stopped yet.
#[derive(Debug)]
pub(crate) struct Interrupted {
    pub(crate) at: Instant,
    /// For people: id, method and path; taken when the stack is reported.
    pub(crate) request: Option<String>,
}

/// Slots in use by all workers of an application, now and at most.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    now: Cell<usize>,
    peak: Cell<usize>,
}

impl Gauge {
    pub(crate) fn now(&self) -> usize {
        self.now.get()
    }

    /// The most since the last call.
    pub(crate) fn take_peak(&self) -> usize {
        self.peak.replace(self.now.get())
    }

    /// A worker's slots in use were `before` and are `after`.
    fn moved(&self, before: usize, after: usize) {
        let now = self.now.get() + after - before;
        self.now.set(now);
        self.peak.set(self.peak.get().max(now));
    }
}

/// Interrupted requests whose stack may still come after their end.
const MOST_LATE: usize = 16;

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) worker: u64,
    pub(crate) attached: Instant,
    /// The application's, shared by all its links.
    busy: Rc<Gauge>,
    pub(crate) phase: Cell<Phase>,
    pub(crate) interface: Cell<Interface>,
    pub(crate) slots: Cell<usize>,
    pub(crate) held: RefCell<ById<Held>>,
    /// Those of them that are run again.
    reruns: Cell<usize>,
    /// Requests handed over so far, and the number at which the worker is to be replaced.
    pub(crate) served: Cell<u64>,
    pub(crate) quota: Option<u64>,
    pub(crate) inputs: Inputs,
    /// Handed over and not yet known to have started; async workers only.
    unstarted: RefCell<VecDeque<(u64, Instant)>>,
    /// Since when it holds a request, and how long it did before that.
    busy_since: Cell<Option<Instant>>,
    busy_before: Cell<Duration>,
    /// CPU time that requests which are over have accounted for.
    accounted: Cell<Duration>,
    /// Requests that are over, by the first digit of the status.
    pub(crate) classes: Cell<[u64; 5]>,
    /// Interrupted requests that have ended before their stack came, the latest first.
    late: RefCell<VecDeque<(u64, String)>>,
    /// When the worker last showed that it is alive, or got its first request after being idle.
    progress: Cell<Instant>,
    nudge: Cell<Nudge>,
    /// It gave requests back without starting them: until then it gets none, unless it shows life before.
    suspect_until: Cell<Option<Instant>>,
    /// What it may say of itself.
    pub(crate) hearing: Hearing,
    data: Outbox,
    control: Outbox,
    /// Ends the tasks that read from the worker, and with them the sockets.
    pub(crate) closed: Notify,
    /// Nothing more comes on the control link.
    pub(crate) said_all: Notify,
}

/// What has been asked of a silent worker since its last sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nudge {
    None,
    Flush,
    Reclaim,
}

/// Bytes on their way to a worker.
#[derive(Debug, Default)]
struct Outbox {
    bytes: RefCell<Vec<u8>>,
    filled: Notify,
}

impl Link {
    pub(crate) fn new(worker: u64, quota: Option<u64>, busy: Rc<Gauge>) -> Rc<Self> {
        Rc::new(Link {
            worker,
            attached: Instant::now(),
            busy,
            phase: Cell::new(Phase::Booting),
            interface: Cell::new(Interface::Wsgi),
            slots: Cell::new(0),
            held: RefCell::default(),
            reruns: Cell::new(0),
            served: Cell::new(0),
            quota,
            inputs: Inputs::default(),
            unstarted: RefCell::default(),
            busy_since: Cell::new(None),
            busy_before: Cell::new(Duration::ZERO),
            accounted: Cell::new(Duration::ZERO),
            classes: Cell::default(),
            late: RefCell::default(),
            progress: Cell::new(Instant::now()),
            nudge: Cell::new(Nudge::None),
            suspect_until: Cell::new(None),
            hearing: Hearing::default(),
            data: Outbox::default(),
            control: Outbox::default(),
            closed: Notify::new(),
            said_all: Notify::new(),
        })
    }

    /// Give `exchange` to the worker.
    pub(crate) fn hand_over(self: &Rc<Self>, exchange: &Rc<Exchange>, now: Instant) {
        let mut held = self.held.borrow_mut();
        let before = held.len();
        if held.is_empty() {
            self.progress.set(now);
            self.busy_since.set(Some(now));
        }
        if self.interface.get() == Interface::Asgi {
            self.unstarted.borrow_mut().push_back((exchange.id, now));
        }
        held.insert(
            exchange.id,
            Held {
                exchange: Some(Rc::clone(exchange)),
                started: false,
                interrupted: None,
                rerun: exchange.is_rerun(),
                route: exchange.route,
                waited: now.saturating_duration_since(exchange.arrived),
                handed: now,
            },
        );
        self.busy.moved(self.in_use(before), self.in_use(held.len()));
        self.served.set(self.served.get() + 1);
        self.reruns.set(self.reruns.get() + usize::from(exchange.is_rerun()));
        self.inputs.count(exchange.input);
        self.data.append(|out| exchange.hand_over(self, out, now));
    }

    /// Slots in use by so many requests: what is handed over ahead waits for one.
    fn in_use(&self, held: usize) -> usize {
        held.min(self.slots.get())
    }

    /// The worker does not hold this request any more.
    pub(crate) fn take(&self, id: u64) -> Option<Held> {
        let mut held = self.held.borrow_mut();
        let before = held.len();
        let taken = held.remove(&id);
        let rerun = taken.as_ref().is_some_and(|held| held.rerun);
        self.reruns.set(self.reruns.get() - usize::from(rerun));
        if let Some(request) = taken.as_ref().and_then(|it| it.interrupted.as_ref()?.request.clone()) {
            let mut late = self.late.borrow_mut();
            late.truncate(MOST_LATE - 1);
            late.push_front((id, request));
        }
        if held.is_empty() && taken.is_some() {
            self.rests(Instant::now());
        }
        self.busy.moved(self.in_use(before), self.in_use(held.len()));
        taken
    }

    /// It holds no request from now on.
    fn rests(&self, now: Instant) {
        self.busy_before.set(self.busy_time(now));
        self.busy_since.set(None);
    }

    /// Time with at least one request inside.
    pub(crate) fn busy_time(&self, now: Instant) -> Duration {
        let current =
            self.busy_since.get().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.busy_before.get() + current
    }

    /// What a request of this worker took, as far as the worker is believed; `last`: it takes nothing more.
    pub(crate) fn believe(&self, spent: Spent, held: &Held, now: Instant, last: bool) -> Figures {
        // An event loop is one thread.
        let threads = if self.interface.get() == Interface::Asgi { 1 } else { self.slots.get() };
        let possible = self.busy_time(now).saturating_mul(u32::try_from(threads).unwrap_or(u32::MAX));
        let room = possible.saturating_sub(self.accounted.get());
        let stay = now.saturating_duration_since(held.handed);
        let figures = Figures::believe(spent, held.waited, stay, room);
        if last {
            self.accounted.set(self.accounted.get() + figures.cpu);
        }
        figures
    }

    /// A request that it was given last is over.
    pub(crate) fn count(&self, status: u16) {
        self.classes.update(|mut classes| {
            if let Some(class) = classes.get_mut(usize::from(status / 100).wrapping_sub(1)) {
                *class += 1;
            }
            classes
        });
    }

    /// The description of an interrupted request, for its stack. Each is given once, whatever the worker sends. The stack comes
    /// over another link than the request's end, so either may be first.
    pub(crate) fn take_interrupted(&self, id: u64) -> Option<String> {
        if let Some(held) = self.held.borrow_mut().get_mut(&id) {
            return held.interrupted.as_mut()?.request.take();
        }
        let mut late = self.late.borrow_mut();
        let position = late.iter().position(|(known, _)| *known == id)?;
        late.remove(position).map(|(_, request)| request)
    }

    /// Nor any other.
    pub(crate) fn take_all(&self) -> ById<Held> {
        let held = std::mem::take(&mut *self.held.borrow_mut());
        self.rests(Instant::now());
        self.busy.moved(self.in_use(held.len()), 0);
        held
    }

    /// Do something with every request that somebody waits for.
    pub(crate) fn each_held(&self, action: impl Fn(&Exchange)) {
        self.held.borrow().values().filter_map(|held| held.exchange.as_deref()).for_each(action);
    }

    pub(crate) fn send(&self, message: &ToWorker<'_>) {
        self.data.append(|out| message.encode(out));
    }

    pub(crate) fn order(&self, message: ControlToWorker) {
        self.control.append(|out| message.encode(out));
    }

    pub(crate) fn credit(&self, id: u64, bytes: u32) {
        if self.held.borrow().contains_key(&id) {
            self.send(&ToWorker::Credit { id, bytes });
        }
    }

    /// Slots in use, requests that wait inside the worker included.
    pub(crate) fn load(&self) -> usize {
        self.held.borrow().len()
    }

    /// What it holds may end it: an earlier worker ended with it.
    pub(crate) fn reruns(&self) -> bool {
        self.reruns.get() > 0
    }

    pub(crate) fn has_free_slot(&self, now: Instant) -> bool {
        self.serves(now) && self.load() < self.slots.get()
    }

    /// The worker sent something: it is not stuck.
    pub(crate) fn saw_life(&self, now: Instant) {
        self.progress.set(now);
        self.nudge.set(Nudge::None);
        self.suspect_until.set(None);
    }

    /// It gave requests back: do not try it again at once.
    pub(crate) fn suspect(&self) {
        self.suspect_until.set(Some(Instant::now() + SUSPICION));
        self.nudge.set(Nudge::None);
    }

    /// It may be given requests now.
    pub(crate) fn serves(&self, now: Instant) -> bool {
        self.phase.get() == Phase::Serving && self.suspect_until.get().is_none_or(|until| until <= now)
    }

    /// When the last sign of life was.
    pub(crate) fn last_progress(&self) -> Instant {
        self.progress.get()
    }

    /// Requests wait inside this worker although it does nothing with them.
    pub(crate) fn is_stalled(&self, now: Instant) -> bool {
        let held = self.held.borrow();
        match self.interface.get() {
            // One thread: what is beyond its slot waits. Several: any but the first may wait for the interpreter lock.
            Interface::Wsgi => {
                let silent = now.duration_since(self.progress.get());
                let threads = self.slots.get() > 1;
                (held.len() > self.slots.get() && silent >= SILENT)
                    || (threads && held.len() > 1 && silent >= UNSTARTED)
            }
            Interface::Asgi => {
                let mut unstarted = self.unstarted.borrow_mut();
                while let Some((id, _)) = unstarted.front() {
                    if held.get(id).is_some_and(|held| !held.started) {
                        break;
                    }
                    unstarted.pop_front();
                }
                unstarted.front().is_some_and(|(_, at)| now.duration_since(*at) >= UNSTARTED)
            }
        }
    }

    /// True while [`Link::is_stalled`] may become true without anything else happening.
    pub(crate) fn may_stall(&self) -> bool {
        match self.interface.get() {
            Interface::Wsgi => self.load() > 1,
            Interface::Asgi => !self.unstarted.borrow().is_empty(),
        }
    }

    /// Ask a stalled worker to flush its answers and, when they could run elsewhere, to give back what it has not
    /// started. Asked once each per sign of life.
    pub(crate) fn nudge(&self, reclaim: bool) {
        let asked = if reclaim { Nudge::Reclaim } else { Nudge::Flush };
        if self.nudge.get() != asked && self.nudge.get() != Nudge::Reclaim {
            self.nudge.set(asked);
            self.order(ControlToWorker::Nudge { reclaim });
        }
    }

    /// Send what was queued for the worker until the link closes. Runs as a task per socket.
    pub(crate) async fn write_loop(self: Rc<Self>, stream: OwnedWriteHalf, control: bool) -> io::Result<()> {
        let outbox = if control { &self.control } else { &self.data };
        let mut batch = Vec::new();
        loop {
            while outbox.bytes.borrow().is_empty() {
                outbox.filled.notified().await;
                if self.phase.get() == Phase::Closed {
                    return Ok(());
                }
            }
            std::mem::swap(&mut batch, &mut *outbox.bytes.borrow_mut());
            let mut rest = &batch[..];
            while !rest.is_empty() {
                match stream.try_write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
                    Err(error) => return Err(error),
                }
            }
            batch.clear();
            // A burst of bodies must not keep its memory for the worker's lifetime.
            if batch.capacity() > 1 << 20 {
                batch = Vec::new();
            }
        }
    }

    /// Wake the write loops so that they end.
    pub(crate) fn close(&self) {
        self.phase.set(Phase::Closed);
        self.data.filled.notify_one();
        self.control.filled.notify_one();
        self.closed.notify_waiters();
    }
}

impl Outbox {
    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes.borrow_mut();
        let was_empty = bytes.is_empty();
        write(&mut bytes);
        if was_empty {
            self.filled.notify_one();
        }
    }
}

/// Wait for bytes from a worker and take them. False at the end of the stream,
/// or when the link is closed from our side.
pub(crate) async fn read_some(
    link: &Link,
    stream: &mut OwnedReadHalf,
    buffer: &mut FrameBuffer,
) -> io::Result<bool> {
    if link.phase.get() == Phase::Closed {
        return Ok(false);
    }
    let count = tokio::select! {
        biased;
        count = stream.read(buffer.space()) => count?,
        () = link.closed.notified() => 0,
    };
    buffer.filled(count);
    Ok(count > 0 && link.phase.get() != Phase::Closed)
}
