//! Request bodies on their way from the client to a worker: stored first, or streamed as the application takes them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use wire::ToWorker;

use crate::answer::Problem;
use crate::body::{BodyError, BodyReader, StoredBody};
use crate::connection::{Connection, Gone};
use crate::exchange::Exchange;
use crate::http::head::Reject;
use crate::watchdog::Expired;

/// A body that is stored must arrive at this rate on average, in bytes per second: one byte now and then is an attack.
const SLOWEST_UPLOAD: u64 = 1024;

/// A stored body up to this size stays in memory, while there are few clients; the rest goes to a file.
const LARGEST_IN_MEMORY: usize = 1024 * 1024;
const SMALLEST_IN_MEMORY: usize = 64 * 1024;
const BODY_MEMORY: usize = 64 * 1024 * 1024;

fn memory_share(connections: usize) -> usize {
    (BODY_MEMORY / connections.max(1)).clamp(SMALLEST_IN_MEMORY, LARGEST_IN_MEMORY)
}

/// How much of the next requests is read while one is being answered.
const READ_AHEAD: usize = 64 * 1024;

/// Where the rest of a request body comes from.
pub(crate) enum Body<'s> {
    Complete,
    Stored { stored: &'s mut StoredBody, position: u64 },
    Streamed { reader: BodyReader, credit: u32, expect_continue: bool },
}

impl Body<'_> {
    /// The connection is at a message boundary when the response ends.
    pub(crate) fn is_finished(&self) -> bool {
        !matches!(self, Body::Streamed { reader, .. } if !reader.is_finished())
    }

    /// The client's bytes are wanted now: for the body while there is credit, else for what comes after, bounded.
    pub(crate) fn watches_client(&self, buffered: usize) -> bool {
        match self {
            Body::Streamed { reader, credit, .. } if !reader.is_finished() => *credit > 0,
            _ => buffered < READ_AHEAD,
        }
    }

    /// Nothing can happen until the client sends more of the body.
    pub(crate) fn waits_for_client(&self) -> bool {
        matches!(self, Body::Streamed { reader, credit, .. } if !reader.is_finished() && *credit > 0)
    }
}

impl Connection {
    /// Collect the whole body before any worker is bothered with it.
    pub(crate) async fn store_body(
        &mut self,
        reader: &mut BodyReader,
    ) -> Result<Result<StoredBody, Problem>, Gone> {
        let mut stored = StoredBody::new(memory_share(self.core.connections.get()));
        let began = Instant::now();
        let mut held_back = Duration::ZERO;
        loop {
            let buffered = self.incoming.buffer.len();
            loop {
                let piece = match reader.take(&mut self.incoming.buffer, wire::MAX_CHUNK) {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break,
                    Err(BodyError::TooLarge) => return Ok(Err(Problem::BODY_TOO_LARGE)),
                    Err(BodyError::Malformed(reject)) => return Ok(Err(Problem::refused(reject))),
                };
                let result = if stored.will_block(piece.len()) {
                    let append = move || {
                        let result = stored.append(&piece);
                        (stored, result)
                    };
                    let (returned, result) = tokio::task::spawn_blocking(append).await.map_err(|_| Gone)?;
                    stored = returned;
                    result
                } else {
                    stored.append(&piece)
                };
                if result.is_err() {
                    return Ok(Err(Problem::SPOOL_FAILED));
                }
            }
            held_back += self.pay(buffered - self.incoming.buffer.len()).await;
            if reader.is_finished() {
                return Ok(Ok(stored));
            }
            if self.incoming.closed {
                // The body was cut short and nobody is left to answer.
                return Err(Gone);
            }
            let limit = self.body_timeout();
            let slowest = limit + held_back + Duration::from_secs(stored.len() / SLOWEST_UPLOAD);
            if began.elapsed() > slowest {
                return Ok(Err(Problem::SLOW_BODY));
            }
            match self.watchdog.guard(limit, self.incoming.read()).await {
                Ok(result) => result?,
                Err(Expired) => return Ok(Err(Problem::SLOW_BODY)),
            }
        }
    }

    /// The worker takes more of the body.
    pub(crate) async fn feed(
        &mut self,
        exchange: &Rc<Exchange>,
        body: &mut Body<'_>,
        new_credit: u32,
        restart: bool,
    ) -> Result<(), Gone> {
        match body {
            Body::Complete => {}
            Body::Streamed { credit, expect_continue, .. } => {
                *credit = credit.saturating_add(new_credit).min(4 * wire::REQUEST_WINDOW);
                if std::mem::take(expect_continue) && self.incoming.buffer.is_empty() {
                    self.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                }
                self.pass_on(exchange, body);
            }
            Body::Stored { stored, position } => {
                if restart {
                    *position = 0;
                }
                let handover = exchange.handovers();
                let mut left = new_credit as usize;
                while left > 0 && *position < stored.len() {
                    let most = left.min(wire::MAX_CHUNK);
                    // The file was written a moment ago and is read from the page cache.
                    let Ok(data) = stored.read_at(*position, most) else {
                        self.stop_upload(exchange, Problem::SPOOL_FAILED);
                        return Ok(());
                    };
                    *position += data.len() as u64;
                    left -= data.len().min(left);
                    let end = *position == stored.len();
                    // While this task paused, the worker may have died and another have got the request: it will ask itself.
                    let same = exchange.handovers() == handover;
                    let Some(link) = exchange.link().filter(|_| same) else { return Ok(()) };
                    link.send(&ToWorker::Body { id: exchange.id, data: &data, end });
                    // One piece at a time: other connections want the router too.
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(())
    }

    /// Pass on what has arrived of a streamed body, as far as there is credit.
    pub(crate) fn pass_on(&mut self, exchange: &Rc<Exchange>, body: &mut Body<'_>) {
        if self.owes() {
            return;
        }
        let buffered = self.incoming.buffer.len();
        self.pass_on_buffered(exchange, body);
        self.owe(buffered - self.incoming.buffer.len());
    }

    fn pass_on_buffered(&mut self, exchange: &Rc<Exchange>, body: &mut Body<'_>) {
        let Body::Streamed { reader, credit, .. } = body else {
            return;
        };
        let Some(link) = exchange.link() else { return };
        while *credit > 0 && !reader.is_finished() {
            match reader.take(&mut self.incoming.buffer, (*credit as usize).min(wire::MAX_CHUNK)) {
                Ok(Some(data)) => {
                    self.count_in(data.len());
                    *credit -= u32::try_from(data.len()).unwrap_or(u32::MAX).min(*credit);
                    let end = reader.is_finished();
                    link.send(&ToWorker::Body { id: exchange.id, data: &data, end });
                    if end {
                        exchange.body_fed();
                        return;
                    }
                }
                Ok(None) if reader.is_finished() => {
                    link.send(&ToWorker::Body { id: exchange.id, data: b"", end: true });
                    exchange.body_fed();
                }
                Ok(None) => {
                    if self.incoming.closed {
                        self.stop_upload(exchange, Problem::refused(Reject::Malformed));
                    }
                    return;
                }
                Err(error) => {
                    let problem = match error {
                        BodyError::TooLarge => Problem::BODY_TOO_LARGE,
                        BodyError::Malformed(reject) => Problem::refused(reject),
                    };
                    self.stop_upload(exchange, problem);
                    return;
                }
            }
        }
    }

    /// The body will never be complete: the application gets an error instead of a short body.
    pub(crate) fn stop_upload(&self, exchange: &Exchange, problem: Problem) {
        self.abandon(exchange);
        exchange.fail(problem);
    }
}
