//! The loop: take up what is due, move bytes, note what ended. One thread, epoll, and a timer that wakes it exactly when
//! the next request is planned. It never waits for one connection, and between two requests it allocates nothing.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::clock::{clock, nanoseconds, thread_cpu, timespec};
use super::connection::{Connection, Exchange, Phase, Step};
use super::realtime::Realtime;
use super::slots::{Slots, Token};
use super::source::{Due, Source};
use super::{LoadError, LoadPlan, Moment, Outcome, Pace, Record, Recorder, Summary, Watch};
use crate::Random;

/// Requests that are taken up before the network is looked at again.
const BURST: usize = 64;
/// Events that are fetched at once.
const EVENTS: usize = 256;
const BUFFER: usize = 64 * 1024;
/// A request to stop is seen within this time, in nanoseconds.
const GLANCE: u64 = 100_000_000;
/// A full Unix socket is tried again after so long, in nanoseconds.
const STALL: u64 = 1_000_000;
/// Descriptors that are not connections.
const SPARE_DESCRIPTORS: u64 = 64;
/// Not a token: places are far fewer.
const TIMER: u64 = u64::MAX;

/// Carry out a plan on this thread.
///
/// # Errors
/// The plan makes no sense, or the kernel refuses what the loop is made of. What happens to single requests is in the
/// records.
pub fn run<R: Recorder>(plan: &LoadPlan, recorder: &mut R, watch: &Watch) -> Result<Summary, LoadError> {
    let realtime = if plan.realtime { Realtime::ask() } else { None };
    let mut engine = Engine::new(plan, recorder, watch)?;
    engine.summary.realtime = realtime.is_some();
    let cpu = thread_cpu();
    let result = engine.drive();
    engine.abandon();
    engine.publish();
    // An open loop without a request in its last moments lasted as long as it was to.
    engine.summary.elapsed = Duration::from_nanos(engine.last.max(engine.filled).max(1));
    engine.summary.cpu = thread_cpu().saturating_sub(cpu);
    result.map(|()| engine.summary)
}

struct Engine<'a, R> {
    plan: &'a LoadPlan,
    recorder: &'a mut R,
    watch: &'a Watch,
    start: Instant,
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer fires; 0 when it is not set.
    armed: u64,
    choice: Random,
    slots: Slots,
    /// Connections without a request; the one used last is used next.
    idle: Vec<Token>,
    stalled: Vec<Token>,
    /// Taken up, but all connections of the pool are busy. Never more than may be outstanding.
    waiting: VecDeque<Exchange>,
    outstanding: usize,
    /// No request is older than its time limit before this.
    sweep_at: u64,
    buffer: Box<[u8; BUFFER]>,
    source: Source,
    /// When the last request ended.
    last: u64,
    /// Until when the plan was filled with requests, once none is due any more.
    filled: u64,
    answered: u64,
    failed: u64,
    summary: Summary,
}

impl<'a, R: Recorder> Engine<'a, R> {
    fn new(plan: &'a LoadPlan, recorder: &'a mut R, watch: &'a Watch) -> Result<Self, LoadError> {
        let system = |what| move |source| LoadError::System { what, source };
        if plan.stop.duration.is_zero() || plan.limits.timeout.is_zero() {
            return Err(LoadError::NoTime);
        }
        let need = match plan.pace {
            Pace::Open(_) => plan.limits.outstanding,
            Pace::Closed { connections } => connections,
        };
        if !(1..=super::plan::MAX_OUTSTANDING).contains(&need) {
            return Err(LoadError::Outstanding(need));
        }
        if plan.limits.pool == Some(0) {
            return Err(LoadError::Pool);
        }
        let have = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        if need as u64 + SPARE_DESCRIPTORS > have {
            return Err(LoadError::Descriptors { need, have });
        }
        let source = Source::new(plan)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(system("epoll_create"))?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(system("timerfd_create"))?;
        // Edge-triggered: setting it again clears it, so it never has to be read.
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)
            .map_err(system("epoll_ctl"))?;
        Ok(Engine {
            plan,
            recorder,
            watch,
            start: Instant::now(),
            epoll,
            timer,
            armed: 0,
            choice: Random::stream(plan.seed, 2),
            slots: Slots::default(),
            idle: Vec::with_capacity(need),
            stalled: Vec::new(),
            waiting: VecDeque::new(),
            outstanding: 0,
            sweep_at: 0,
            buffer: Box::new([0; BUFFER]),
            source,
            last: 0,
            filled: 0,
            answered: 0,
            failed: 0,
            summary: Summary {
                planned: 0,
                elapsed: Duration::ZERO,
                cpu: Duration::ZERO,
                connections: 0,
                resent: 0,
                received: 0,
                peak: 0,
                connect_error: None,
                realtime: false,
                stopped: false,
            },
        })
    }

    fn now(&self) -> u64 {
        clock(self.start)
    }

    fn drive(&mut self) -> Result<(), LoadError> {
        let end = nanoseconds(self.plan.stop.duration);
        loop {
            if self.watch.is_stopped() {
                self.summary.stopped = true;
                return Ok(());
            }
            self.let_in();
            let due = self.take_up(end);
            self.sweep();
            self.try_stalled();
            self.let_in();
            if due.is_none() && self.outstanding == 0 {
                return Ok(());
            }
            let mut until = due.unwrap_or(u64::MAX).min(self.now() + GLANCE);
            if self.outstanding > 0 {
                until = until.min(self.sweep_at);
            }
            if !self.stalled.is_empty() {
                until = until.min(self.now() + STALL);
            }
            self.publish();
            self.wait(until)?;
        }
    }

    /// Begin what is due, up to [`BURST`] requests. When the next one is; None when there will be no more.
    fn take_up(&mut self, end: u64) -> Option<u64> {
        for _ in 0..BURST {
            let now = self.now();
            if self.plan.stop.requests.is_some_and(|most| self.summary.planned >= most) {
                return None;
            }
            match self.source.take(now, end) {
                Due::Now(planned) => self.begin(planned, now),
                Due::At(time) => return Some(time),
                Due::Never { filled } => {
                    self.filled = filled;
                    return None;
                }
            }
        }
        Some(0)
    }

    fn begin(&mut self, planned: u64, now: u64) {
        let class = self.plan.mix.choose(self.summary.planned, &mut self.choice);
        self.summary.planned += 1;
        let exchange = Exchange { planned, begun: now, class, ..Exchange::default() };
        let timeout = nanoseconds(self.plan.limits.timeout);
        // A generator that is later than that cannot catch up: sending it now would only prolong the run.
        let hopeless = now - planned > timeout;
        let full = self.outstanding >= self.plan.limits.outstanding;
        if (full || hopeless) && self.source.is_open() {
            self.note(&exchange, Outcome::Dropped, 0);
            return;
        }
        if self.outstanding == 0 {
            self.sweep_at = now.saturating_add(timeout);
        }
        self.outstanding += 1;
        self.summary.peak = self.summary.peak.max(self.outstanding);
        if self.has_room() { self.start(exchange) } else { self.waiting.push_back(exchange) }
    }

    /// Whether the request that was just counted may have a connection now: nobody waits, and not all are busy.
    fn has_room(&self) -> bool {
        self.plan.limits.pool.is_none_or(|pool| self.waiting.is_empty() && self.outstanding <= pool)
    }

    /// Those that waited for a connection, in order.
    fn let_in(&mut self) {
        while self.plan.limits.pool.is_some_and(|pool| self.outstanding - self.waiting.len() < pool) {
            let Some(exchange) = self.waiting.pop_front() else { return };
            self.start(exchange);
        }
    }

    /// Put a request on a connection.
    fn start(&mut self, exchange: Exchange) {
        let is_head = self.plan.mix.requests()[usize::from(exchange.class)].is_head;
        let kept = self.idle.pop();
        match kept.and_then(|token| Some((token, self.slots.get(token)?))) {
            Some((token, connection)) => {
                connection.assign(exchange, is_head);
                self.send(token);
            }
            None => self.open(exchange),
        }
    }

    fn open(&mut self, exchange: Exchange) {
        let is_head = self.plan.mix.requests()[usize::from(exchange.class)].is_head;
        let connection = match Connection::open(&self.plan.endpoint, exchange, is_head) {
            Ok(connection) => connection,
            Err(error) => {
                self.summary.connect_error = Some(error);
                self.finish(&exchange, Outcome::ConnectFailed, 0);
                return;
            }
        };
        self.summary.connections += 1;
        let phase = connection.phase;
        let token = self.slots.insert(connection);
        match phase {
            Phase::Stalled => self.stalled.push(token),
            phase => self.register(token, phase),
        }
    }

    /// Tell epoll of a new connection, and send if it is open already.
    fn register(&mut self, token: Token, phase: Phase) {
        let Some(connection) = self.slots.get(token) else { return };
        connection.waits_to_write = phase == Phase::Connecting;
        let interest = interest(connection.waits_to_write);
        let data = EventData::new_u64(token.word());
        if let Err(error) = epoll::add(&self.epoll, &connection.socket, data, interest) {
            self.conclude(token, Step::Refused(error));
        } else if phase == Phase::Sending {
            self.send(token);
        }
    }

    fn send(&mut self, token: Token) {
        let start = self.start;
        let Some(connection) = self.slots.get(token) else { return };
        let request = &self.plan.mix.requests()[usize::from(connection.exchange.class)];
        let step = connection.send(&request.bytes, || clock(start));
        self.conclude(token, step);
    }

    fn receive(&mut self, token: Token) {
        let start = self.start;
        let Some(connection) = self.slots.get(token) else { return };
        let length = self.plan.mix.requests()[usize::from(connection.exchange.class)].bytes.len();
        let step = connection.receive(&mut self.buffer[..], length, || clock(start));
        self.conclude(token, step);
    }

    /// What follows from a step of a connection.
    fn conclude(&mut self, token: Token, step: Step) {
        let Some(connection) = self.slots.get(token) else { return };
        let exchange = connection.exchange;
        match step {
            Step::Wait => {
                let blocked = matches!(connection.phase, Phase::Sending | Phase::Connecting);
                if connection.waits_to_write != blocked {
                    connection.waits_to_write = blocked;
                    let data = EventData::new_u64(token.word());
                    // Cannot fail for a descriptor that is registered.
                    let _ = epoll::modify(&self.epoll, &connection.socket, data, interest(blocked));
                }
            }
            Step::Complete { status, reusable } => {
                self.summary.received += connection.content();
                if reusable {
                    connection.phase = Phase::Idle;
                    self.idle.push(token);
                } else {
                    self.slots.remove(token);
                }
                let success = (200..400).contains(&status);
                self.finish(
                    &exchange,
                    if success { Outcome::Answered } else { Outcome::ErrorStatus },
                    status,
                );
            }
            Step::Stale => {
                self.slots.remove(token);
                if self.plan.mix.requests()[usize::from(exchange.class)].idempotent {
                    self.summary.resent += 1;
                    self.open(Exchange { sent: 0, first: 0, written: 0, again: true, ..exchange });
                } else {
                    self.finish(&exchange, Outcome::Disconnected, 0);
                }
            }
            Step::Refused(error) => {
                self.summary.connect_error = Some(error);
                self.slots.remove(token);
                self.finish(&exchange, Outcome::ConnectFailed, 0);
            }
            Step::Failed(outcome) => {
                self.summary.received += connection.content();
                self.slots.remove(token);
                self.finish(&exchange, outcome, 0);
            }
        }
    }

    /// A request that was taken up has ended.
    fn finish(&mut self, exchange: &Exchange, outcome: Outcome, status: u16) {
        self.outstanding -= 1;
        let now = self.note(exchange, outcome, status);
        self.source.ended(outcome == Outcome::Answered, now);
    }

    fn note(&mut self, exchange: &Exchange, outcome: Outcome, status: u16) -> u64 {
        let done = self.now();
        self.last = self.last.max(done);
        if outcome == Outcome::Answered {
            self.answered += 1;
        } else {
            self.failed += 1;
        }
        let Exchange { planned, begun, sent, first, class, .. } = *exchange;
        let (arm, block) = (self.plan.arm, self.plan.block);
        self.recorder.record(&Record {
            planned,
            begun,
            sent,
            first,
            done,
            status,
            outcome,
            arm,
            block,
            class,
        });
        done
    }

    /// End what is over its time limit.
    fn sweep(&mut self) {
        let now = self.now();
        if self.outstanding == 0 || now < self.sweep_at {
            return;
        }
        let timeout = nanoseconds(self.plan.limits.timeout);
        // Whatever begins from now on is due later than this.
        let mut next = now.saturating_add(timeout);
        let mut over = Vec::new();
        for (token, connection) in self.slots.iter().filter(|(_, connection)| connection.phase != Phase::Idle)
        {
            let due = connection.exchange.begun.saturating_add(timeout);
            if due <= now { over.push(token) } else { next = next.min(due) }
        }
        while let Some(first) = self.waiting.front() {
            let due = first.begun.saturating_add(timeout);
            if due > now {
                next = next.min(due);
                break;
            }
            if let Some(exchange) = self.waiting.pop_front() {
                self.finish(&exchange, Outcome::TimedOut, 0);
            }
        }
        self.sweep_at = next;
        for token in over {
            self.conclude(token, Step::Failed(Outcome::TimedOut));
        }
    }

    /// Connect again where a Unix socket's queue was full.
    fn try_stalled(&mut self) {
        for token in std::mem::take(&mut self.stalled) {
            // Its time limit may have ended it.
            if let Some(connection) = self.slots.remove(token) {
                self.summary.connections -= 1;
                self.open(connection.exchange);
            }
        }
    }

    /// Wait for the network or until a time, and handle what happened.
    fn wait(&mut self, until: u64) -> Result<(), LoadError> {
        let system = |what| move |source| LoadError::System { what, source };
        let now = self.now();
        let immediately = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = if until <= now { Some(&immediately) } else { None };
        if timeout.is_none() && self.armed != until {
            let it_value = timespec(until - now);
            let once = Itimerspec { it_interval: immediately, it_value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
                .map_err(system("timerfd_settime"))?;
            self.armed = until;
        }
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, timeout) {
            Ok(events) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(source) => return Err(LoadError::System { what: "epoll_wait", source }),
        };
        for event in events.iter() {
            match event.data.u64() {
                TIMER => self.armed = 0,
                word => self.happened(Token::from_word(word)),
            }
        }
        Ok(())
    }

    fn happened(&mut self, token: Token) {
        let Some(connection) = self.slots.get(token) else { return };
        match connection.phase {
            Phase::Connecting => match connection.connected() {
                Step::Wait => self.send(token),
                step => self.conclude(token, step),
            },
            Phase::Sending => {
                self.send(token);
                // It may be answered, or closed, before it is sent.
                if self.slots.get(token).is_some_and(|connection| connection.phase == Phase::Sending) {
                    self.receive(token);
                }
            }
            Phase::Receiving => self.receive(token),
            // Closed by the server, or it sends what nobody asked for.
            Phase::Idle => {
                self.idle.retain(|&idle| idle != token);
                self.slots.remove(token);
            }
            Phase::Stalled => {}
        }
    }

    /// The run is over: whatever has no answer yet will not get one.
    fn abandon(&mut self) {
        while let Some(exchange) = self.waiting.pop_front() {
            self.finish(&exchange, Outcome::Unfinished, 0);
        }
        let open: Vec<Token> = self
            .slots
            .iter()
            .filter(|(_, connection)| connection.phase != Phase::Idle)
            .map(|(token, _)| token)
            .collect();
        for token in open {
            self.conclude(token, Step::Failed(Outcome::Unfinished));
        }
    }

    fn publish(&self) {
        self.watch.publish(Moment {
            planned: self.summary.planned,
            answered: self.answered,
            failed: self.failed,
            outstanding: self.outstanding as u64,
        });
    }
}

fn interest(to_write: bool) -> EventFlags {
    let read = EventFlags::IN | EventFlags::RDHUP;
    if to_write { read | EventFlags::OUT } else { read }
}
