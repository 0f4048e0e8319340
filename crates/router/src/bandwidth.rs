//! Limits of bandwidth: one bucket per application and direction, and the line of connections that wait for tokens.
//!
//! ```text
//!  connection: "n bytes" --nobody waits, enough there--> goes on at once
//!                   \--else--> line --every 10 ms, all that came in is divided by all who wait--> woken with its share
//! ```
//!
//! What goes out waits before it is written; what comes in is paid before it is passed on, and until then nothing more is
//! read, so the client feels it. An application without a limit has no bucket and pays one comparison. There is no timer
//! per connection: one task serves all lines, and sleeps while there are none.
//!
//! Not here: how much of a response may wait in the router. That is the flow control of `exchange.rs`, which holds a worker
//! no longer because its client is slow by our will than when it is slow by its own.

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::app::App;
use crate::bucket::Bucket;
use crate::core::Core;
use crate::settings::Settings;

/// How often those who wait are served, while there are any.
pub(crate) const PACE: Duration = Duration::from_millis(10);

/// Least share, in bytes: with many who wait, some get so much now and the others later, instead of all getting crumbs.
const LEAST_SHARE: i64 = 1024;

/// As seen by the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// The two buckets of an application, made when it gets its first limit: there may be thousands without one.
#[derive(Debug, Default)]
pub(crate) struct Bandwidth(OnceCell<Box<Lanes>>);

#[derive(Debug, Default)]
struct Lanes {
    inward: RefCell<Option<Lane>>,
    outward: RefCell<Option<Lane>>,
    /// Time with at least one connection in line.
    held_back_in: Cell<Duration>,
    held_back_out: Cell<Duration>,
    /// It is in the core's list of applications with a line.
    served: Cell<bool>,
}

impl Bandwidth {
    pub(crate) fn new(settings: &Settings) -> Self {
        let bandwidth = Bandwidth::default();
        bandwidth.set(settings, Instant::now());
        bandwidth
    }

    /// Other limits, from now on and also for those who wait.
    pub(crate) fn set(&self, settings: &Settings, now: Instant) {
        let (inward, outward) = (settings.bandwidth_in, settings.bandwidth_out);
        if inward.or(outward).is_none() && self.0.get().is_none() {
            return;
        }
        let lanes = self.0.get_or_init(Box::default);
        for (lane, rate) in [(&lanes.inward, inward), (&lanes.outward, outward)] {
            let mut lane = lane.borrow_mut();
            match (&mut *lane, rate) {
                (None, None) => {}
                (None, Some(rate)) => *lane = Some(Lane::new(rate, now)),
                (Some(known), Some(rate)) => known.bucket.set_rate(rate, now),
                (Some(known), None) => {
                    known.release();
                    *lane = None;
                }
            }
        }
    }

    /// Time with at least one connection in line, inward and outward.
    pub(crate) fn held_back(&self) -> (Duration, Duration) {
        self.0
            .get()
            .map_or_else(Default::default, |lanes| (lanes.held_back_in.get(), lanes.held_back_out.get()))
    }

    /// The lane of this direction; `None` if there is no limit.
    fn lane(&self, direction: Direction) -> Option<RefMut<'_, Lane>> {
        let lanes = self.0.get()?;
        let lane = match direction {
            Direction::In => &lanes.inward,
            Direction::Out => &lanes.outward,
        };
        RefMut::filter_map(lane.borrow_mut(), Option::as_mut).ok()
    }
}

impl App {
    pub(crate) fn is_limited(&self, direction: Direction) -> bool {
        self.bandwidth.lane(direction).is_some()
    }

    /// Wait for tokens for up to `want` bytes: at least 1, unless `want` is 0. `turn` is the caller's place in line; it
    /// belongs to this wait until it has ended.
    pub(crate) fn poll_bandwidth(
        self: &Rc<Self>,
        direction: Direction,
        turn: &mut Turn,
        ctx: &Context<'_>,
        want: usize,
    ) -> Poll<usize> {
        let polled = match self.bandwidth.lane(direction) {
            Some(mut lane) => lane.poll(turn, ctx, want, Instant::now()),
            None => {
                turn.0 = None;
                return Poll::Ready(want);
            }
        };
        let lanes = self.bandwidth.0.get();
        if polled.is_pending() && lanes.is_some_and(|lanes| !lanes.served.replace(true)) {
            self.core.serve_line(self);
        }
        polled
    }

    /// Tokens for up to `want` bytes, see [`App::poll_bandwidth`].
    pub(crate) async fn take_bandwidth(self: &Rc<Self>, direction: Direction, want: usize) -> usize {
        let mut turn = Turn::default();
        poll_fn(|ctx| self.poll_bandwidth(direction, &mut turn, ctx, want)).await
    }

    /// True when so many bytes may pass without waiting; then they are paid.
    pub(crate) fn try_bandwidth(&self, direction: Direction, bytes: usize) -> bool {
        self.bandwidth.lane(direction).is_none_or(|mut lane| lane.try_take(bytes, Instant::now()))
    }

    /// Tokens that were taken and not needed.
    pub(crate) fn return_bandwidth(&self, direction: Direction, bytes: usize) {
        if let Some(mut lane) = self.bandwidth.lane(direction) {
            lane.bucket.put_back(bytes);
        }
    }

    /// Bytes that have passed, paid by whoever comes next.
    pub(crate) fn owe_bandwidth(&self, direction: Direction, bytes: usize) {
        if let Some(mut lane) = self.bandwidth.lane(direction) {
            lane.bucket.take(bytes);
        }
    }

    /// Divide what has come in. False when nobody is left to be served.
    fn serve_lines(&self, now: Instant) -> bool {
        let mut waiting = false;
        let Some(lanes) = self.bandwidth.0.get() else { return false };
        let Lanes { inward, outward, held_back_in, held_back_out, served } = &**lanes;
        for (lane, total) in [(inward, held_back_in), (outward, held_back_out)] {
            if let Some(lane) = &mut *lane.borrow_mut() {
                waiting |= lane.divide(now);
                let held_back = std::mem::take(&mut lane.held_back);
                total.set(total.get() + held_back);
            }
        }
        served.set(waiting);
        waiting
    }
}

impl Core {
    /// Serve the lines of all applications. Runs until the router ends; sleeps while nobody waits.
    pub(crate) async fn serve_lines(self: Rc<Self>) {
        loop {
            while self.lines.borrow().is_empty() {
                self.line_formed.notified().await;
            }
            tokio::time::sleep(PACE).await;
            let now = Instant::now();
            let mut lines = std::mem::take(&mut *self.lines.borrow_mut());
            lines.retain(|app| app.serve_lines(now));
            lines.append(&mut self.lines.borrow_mut());
            *self.lines.borrow_mut() = lines;
        }
    }
}

/// A place in line, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Turn(Option<Rc<Ticket>>);

#[derive(Debug)]
struct Ticket {
    want: usize,
    granted: Cell<usize>,
    waker: RefCell<Waker>,
}

/// One direction of an application that has a limit.
#[derive(Debug)]
struct Lane {
    bucket: Bucket,
    /// Those who went away are passed over.
    line: VecDeque<Weak<Ticket>>,
    /// Time with somebody in line, since that was last asked for.
    held_back: Duration,
    /// The line was served, or formed.
    looked: Instant,
}

impl Lane {
    fn new(rate: u64, now: Instant) -> Self {
        let bucket = Bucket::new(rate, now);
        Lane { bucket, line: VecDeque::new(), held_back: Duration::ZERO, looked: now }
    }

    fn poll(&mut self, turn: &mut Turn, ctx: &Context<'_>, want: usize, now: Instant) -> Poll<usize> {
        if want == 0 {
            return Poll::Ready(0);
        }
        if let Some(ticket) = &turn.0 {
            let granted = ticket.granted.get();
            if granted > 0 {
                turn.0 = None;
                self.bucket.put_back(granted.saturating_sub(want));
                return Poll::Ready(granted.min(want));
            }
            ticket.waker.borrow_mut().clone_from(ctx.waker());
            return Poll::Pending;
        }
        if let Some(granted) = self.take(want, now) {
            return Poll::Ready(granted);
        }
        let ticket =
            Rc::new(Ticket { want, granted: Cell::new(0), waker: RefCell::new(ctx.waker().clone()) });
        if self.line.is_empty() {
            self.looked = now;
        }
        self.line.push_back(Rc::downgrade(&ticket));
        turn.0 = Some(ticket);
        Poll::Pending
    }

    /// All that is wanted, or a piece that is worth the while; nobody who waits is overtaken.
    fn take(&mut self, want: usize, now: Instant) -> Option<usize> {
        if !self.line.is_empty() {
            return None;
        }
        self.bucket.refill(now, false);
        let level = self.bucket.level();
        let piece = self.bucket.worth(PACE).max(LEAST_SHARE);
        let enough = level >= piece.min(i64::try_from(want).unwrap_or(i64::MAX));
        enough.then(|| {
            let granted = want.min(usize::try_from(level).unwrap_or(0));
            self.bucket.take(granted);
            granted
        })
    }

    fn try_take(&mut self, bytes: usize, now: Instant) -> bool {
        match self.take(bytes, now) {
            Some(granted) if granted < bytes => {
                self.bucket.put_back(granted);
                false
            }
            taken => taken.is_some(),
        }
    }

    /// Everybody in line gets an equal share of what is there, as far as it is wanted. False when the line is empty.
    fn divide(&mut self, now: Instant) -> bool {
        let waited = !self.line.is_empty();
        if waited {
            self.held_back += now.saturating_duration_since(self.looked);
            self.looked = now;
        }
        self.bucket.refill(now, waited);
        self.line.retain(|ticket| ticket.strong_count() > 0);
        while self.bucket.level() > 0 {
            let waiting = i64::try_from(self.line.len()).unwrap_or(i64::MAX);
            let Some(ticket) = self.line.pop_front().and_then(|ticket| ticket.upgrade()) else { break };
            let share = (self.bucket.level() / waiting).max(LEAST_SHARE);
            let granted = ticket.want.min(usize::try_from(share).unwrap_or(usize::MAX));
            self.bucket.take(granted);
            ticket.granted.set(granted);
            ticket.waker.borrow().wake_by_ref();
        }
        !self.line.is_empty()
    }

    /// There is no limit any more: everybody may go.
    fn release(&mut self) {
        for ticket in self.line.drain(..).filter_map(|ticket| ticket.upgrade()) {
            ticket.granted.set(ticket.want);
            ticket.waker.borrow().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Someone who wants `want` bytes again and again, each time as soon as the last ones are there.
    #[derive(Default)]
    struct Caller {
        turn: Turn,
        want: usize,
        got: u64,
        /// Longest time without anything, in steps.
        patience: u32,
        waited: u32,
    }

    fn callers(wants: &[usize]) -> Vec<Caller> {
        wants.iter().map(|want| Caller { want: *want, ..Caller::default() }).collect()
    }

    /// Let `callers` take what they can for `steps` of [`PACE`], in this order and greedily; returns the time after it.
    fn play(lane: &mut Lane, callers: &mut [Caller], steps: u32, mut now: Instant) -> Instant {
        for _ in 0..steps {
            ask(lane, callers, now);
            now += PACE;
            lane.divide(now);
        }
        now
    }

    fn ask(lane: &mut Lane, callers: &mut [Caller], now: Instant) {
        let ctx = Context::from_waker(Waker::noop());
        for caller in callers {
            let before = caller.got;
            while let Poll::Ready(granted) = lane.poll(&mut caller.turn, &ctx, caller.want, now) {
                assert!(granted > 0 && granted <= caller.want);
                caller.got += granted as u64;
            }
            caller.waited = if caller.got > before { 0 } else { caller.waited + 1 };
            caller.patience = caller.patience.max(caller.waited);
        }
    }

    #[test]
    fn who_waits_shares_equally_however_greedy() {
        let start = Instant::now();
        let mut lane = Lane::new(10_000_000, start);
        let mut callers = callers(&[1 << 20, 30_000, 400_000, 65_536]);
        play(&mut lane, &mut callers, 100, start);
        let total: u64 = callers.iter().map(|caller| caller.got).sum();
        assert!((9_900_000..=10_600_000).contains(&total), "{total}");
        for caller in &callers[1..] {
            let share = caller.got as f64 / total as f64;
            assert!((0.22..=0.28).contains(&share), "{share} for {}", caller.want);
        }
    }

    #[test]
    fn small_and_rare_wants_do_not_wait_behind_large_ones() {
        let start = Instant::now();
        let mut lane = Lane::new(1_000_000, start);
        let mut greedy = callers(&[1 << 20; 3]);
        let mut now = play(&mut lane, &mut greedy, 50, start);
        let ctx = Context::from_waker(Waker::noop());
        for _ in 0..20 {
            ask(&mut lane, &mut greedy, now);
            let mut turn = Turn::default();
            // There is enough for it, but the others were here first.
            let between = now + PACE / 2;
            assert_eq!(lane.poll(&mut turn, &ctx, 500, between), Poll::Pending, "nobody is overtaken");
            now += PACE;
            lane.divide(now);
            assert_eq!(lane.poll(&mut turn, &ctx, 500, now), Poll::Ready(500));
        }
    }

    #[test]
    fn the_line_passes_over_who_went_away_and_ends_with_the_limit() {
        let start = Instant::now();
        let mut lane = Lane::new(100_000, start);
        let ctx = Context::from_waker(Waker::noop());
        let mut first = Turn::default();
        while lane.poll(&mut first, &ctx, 100_000, start).is_ready() {}
        let mut gone = Turn::default();
        assert!(lane.poll(&mut gone, &ctx, 100_000, start).is_pending());
        drop(gone);
        assert!(!lane.divide(start + PACE), "the other one is not waited for");
        assert_eq!(lane.poll(&mut first, &ctx, 100_000, start), Poll::Ready(1024));
        assert!(lane.poll(&mut first, &ctx, 100_000, start).is_pending());
        lane.release();
        assert_eq!(lane.poll(&mut first, &ctx, 100_000, start), Poll::Ready(100_000));
    }

    proptest! {
        /// Any rate, any number of callers of any size: the rate is kept and reached, and everybody gets something.
        #[test]
        fn keeps_and_reaches_the_rate_and_starves_nobody(
            rate in 20_000_u64..1_000_000_000,
            wants in prop::collection::vec(1_usize..200_000, 1..40),
        ) {
            const STEPS: u32 = 200;
            let start = Instant::now();
            let mut lane = Lane::new(rate, start);
            let mut callers = callers(&wants);
            let full = lane.bucket.level() as f64;
            play(&mut lane, &mut callers, STEPS, start);
            let total: f64 = callers.iter().map(|caller| caller.got as f64).sum();
            let come = rate as f64 * (PACE * STEPS).as_secs_f64();
            // One share at a time may be given on credit.
            let slack = LEAST_SHARE as f64;
            prop_assert!(total <= full + come + slack, "{total} instead of {come}");
            // With no want above what comes in between two looks, some of it may stay in the bucket.
            let asked: f64 = wants.iter().map(|want| *want as f64).sum();
            if asked > rate as f64 * PACE.as_secs_f64() * 2.0 {
                prop_assert!(total >= 0.97 * come - slack, "{total} instead of {come}");
            }
            // A round of least shares, and a few looks more.
            let round = wants.len() as f64 * slack / (rate as f64 * PACE.as_secs_f64());
            let longest = callers.iter().map(|caller| caller.patience).max().unwrap_or(0);
            prop_assert!(f64::from(longest) <= 2.0 * round + 4.0, "{longest} looks, a round takes {round}");
        }
    }
}
