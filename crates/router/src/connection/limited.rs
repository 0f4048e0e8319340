//! What a connection does about its application's limits of bandwidth and socket buffers. Nothing here runs for
//! applications without them; what does is boxed, so that it is no part of other connections' memory.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::{Connection, Gone};
use crate::app::App;
use crate::bandwidth::{Direction, Turn};
use crate::exchange::Exchange;
use crate::stream::{Buffers, Stream};
use crate::visit::Seat;

/// Bytes that have come from the client, have been passed on, and are not paid yet. Until they are, nothing is read.
#[derive(Debug, Default)]
pub(crate) struct Debt {
    owed: usize,
    turn: Turn,
}

impl Debt {
    pub(crate) fn is_owed(&self) -> bool {
        self.owed > 0
    }

    pub(crate) fn add(&mut self, app: &App, bytes: usize) {
        if app.is_limited(Direction::In) {
            self.owed += bytes;
        }
    }

    /// Wait until all is paid.
    pub(crate) fn poll_paid(&mut self, app: &Rc<App>, ctx: &Context<'_>) -> Poll<()> {
        while self.owed > 0 {
            self.owed -= ready!(app.poll_bandwidth(Direction::In, &mut self.turn, ctx, self.owed));
        }
        Poll::Ready(())
    }

    /// The connection goes on to something else: whoever comes next waits for what it owes.
    pub(crate) fn settle(&mut self, app: &App) {
        app.owe_bandwidth(Direction::In, std::mem::take(&mut self.owed));
        self.turn = Turn::default();
    }
}

impl Connection {
    pub(crate) fn app(&self) -> Option<Rc<App>> {
        self.seat.as_ref().map(|seat| Rc::clone(&seat.app))
    }

    /// The application of the latest request, if it has a limit.
    fn limited(&self, direction: Direction) -> Option<Rc<App>> {
        self.seat.as_ref().map(|seat| &seat.app).filter(|app| app.is_limited(direction)).cloned()
    }

    /// Wait until `bytes` that came from the client are paid. Returns how long that took.
    pub(crate) async fn pay(&self, bytes: usize) -> Duration {
        let Some(app) = self.limited(Direction::In) else { return Duration::ZERO };
        let began = Instant::now();
        let mut left = bytes;
        while left > 0 {
            left -= Box::pin(app.take_bandwidth(Direction::In, left)).await;
        }
        began.elapsed()
    }

    /// What came last is not paid yet.
    pub(crate) fn owes(&self) -> bool {
        self.debt.is_owed()
    }

    /// Something was taken out of the buffer, to be paid before more is read.
    pub(crate) fn owe(&mut self, bytes: usize) {
        if let Some(seat) = &self.seat {
            self.debt.add(&seat.app, bytes);
        }
    }

    /// The exchange is over; what it owes is the application's.
    pub(super) fn settle(&mut self) {
        if self.owes()
            && let Some(seat) = &self.seat
        {
            self.debt.settle(&seat.app);
        }
    }

    /// Write as fast as the application's limit lets. `exchange`: what the bytes belong to, if it may be cut meanwhile.
    pub(crate) async fn write(&self, bytes: &[u8], exchange: Option<&Exchange>) -> Result<(), Gone> {
        match self.limited(Direction::Out) {
            None => self.write_now(bytes).await,
            Some(app) => Box::pin(self.write_limited(&app, bytes, exchange)).await,
        }
    }

    async fn write_limited(
        &self,
        app: &Rc<App>,
        bytes: &[u8],
        exchange: Option<&Exchange>,
    ) -> Result<(), Gone> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let granted = app.take_bandwidth(Direction::Out, rest.len()).await;
            if exchange.is_some_and(Exchange::is_cut) {
                self.incoming.stream.reset_on_close();
                return Err(Gone);
            }
            let mut left = granted;
            let blocked = loop {
                if left == 0 {
                    break None;
                }
                match self.incoming.stream.try_write(&rest[..left]) {
                    Ok(count) => {
                        left -= count;
                        rest = &rest[count..];
                    }
                    Err(error) => break Some(error),
                }
            };
            // Nobody else must wait for what this client does not take.
            app.return_bandwidth(Direction::Out, left);
            match blocked {
                None => {}
                Some(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let limit = self.body_timeout();
                    self.watchdog.guard(limit, self.incoming.stream.writable()).await??;
                }
                Some(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Give the socket the buffers that the application of `seat` is to have, or those it came with.
pub(super) fn set_buffers(stream: &Stream, seat: Option<&Seat>, current: &mut Option<Box<Buffers>>) {
    let wanted = seat.and_then(|seat| seat.app.settings().socket_buffers).map(|bytes| bytes as usize);
    if wanted == current.as_ref().map(|buffers| buffers.asked) {
        return;
    }
    // It fails only for a socket that is none; then the system's buffers are as good.
    let _ = stream.set_buffers(wanted, current);
}
